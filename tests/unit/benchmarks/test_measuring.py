"""How it is measured: rounds, budgets, ratios, memory."""

import os
import sys

import pytest

from benchmarks.memory import peak_memory
from benchmarks.program import program_with
from benchmarks.timing import Budget, interleave, ratio_of


def test_every_variant_runs_once_a_round() -> None:
    calls: list[str] = []

    def run(name: str) -> float:
        calls.append(name)
        return 1.0

    samples = interleave({"a": lambda: run("a"), "b": lambda: run("b")}, 3, warm_up=1)

    assert samples == {"a": [1.0] * 3, "b": [1.0] * 3}
    assert all(set(calls[place : place + 2]) == {"a", "b"} for place in range(0, 8, 2))


def test_one_round_is_made_when_there_is_no_time() -> None:
    assert interleave({"a": lambda: 1.0}, 5, warm_up=0, budget_s=0.0) == {"a": [1.0]}


def test_no_round_is_begun_that_would_end_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def run() -> float:
        nonlocal now
        now += 10
        return 10.0

    monkeypatch.setattr("benchmarks.timing.perf_counter", lambda: now)

    assert len(interleave({"a": run}, 9, warm_up=0, budget_s=35.0)["a"]) == 3


def test_budget_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("benchmarks.timing.perf_counter", lambda: now)
    budget = Budget(100)
    assert budget.share(4) == 25
    now = 40.0
    assert budget.share(2) == 30
    now = 200.0
    assert budget.share(1) == 0
    assert Budget(None).share(3) is None


def test_ratio_is_that_within_the_rounds() -> None:
    assert ratio_of([1.0, 4.0, 3.0], [2.0, 2.0, 2.0]) == (1.5, 0.5, 2.0)


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="the system does not say what is shared")
def test_peak_of_memory_is_that_of_all_processes_together() -> None:
    child = "import time; data = bytearray(b'x') * (30 << 20); time.sleep(0.5)"
    start = f"subprocess.Popen([sys.executable, '-c', {child!r}])"
    parent = f"import subprocess, sys; [each.wait() for each in [{start} for _ in 'ab']]"

    peak = peak_memory([sys.executable, "-c", parent], dict(os.environ))

    assert 60 << 20 < peak.size_bytes < 120 << 20
    assert "counted once" in peak.meaning


def test_constant_that_does_not_exist_is_not_replaced() -> None:
    with pytest.raises(AttributeError):
        program_with({"pfndispatchcopy.workers._NOT_THERE": 1})


def test_program_runs_with_another_constant() -> None:
    argv = program_with({"pfndispatchcopy.workers._MOST": 3})

    assert argv[:2] == (sys.executable, "-c")
    assert "'pfndispatchcopy.workers._MOST': 3" in argv[2]
