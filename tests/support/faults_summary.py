"""How many faults were injected, for the summary at the end of a session, whichever process the tests ran in."""

from collections import Counter

import pytest

__all__ = ["PROPERTY", "faults_summary"]

PROPERTY = "faults"
"""Of a test: what kind of fault, in how many runs, and how many violations were found."""


def faults_summary(reporter: pytest.TerminalReporter) -> list[str]:
    """One line for each kind of fault."""
    runs: Counter[str] = Counter()
    violations: Counter[str] = Counter()
    for reports in reporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") != "call":
                continue
            for name, value in report.user_properties:
                if name == PROPERTY:
                    kind, more_runs, more_violations = value
                    runs[kind] += more_runs
                    violations[kind] += more_violations
    return [f"{kind}: {count} runs, {violations[kind]} violations" for kind, count in sorted(runs.items())]
