"""Random offloads with random faults: ``python -m tests.soak --seconds 120 --seed 7``.

A round is a card with anything on it, one to five destinations, any options, one to three runs with something going
wrong, and the same command again without that. After each run the invariants have to hold; in the end everything has
to be complete, and the lists have to pass ``--check``. What is drawn follows from the seed and from the number of the
round alone, so that ``--seed 7 --round 31`` plays that one again; only the moment at which a signal meets a process is
the machine's own.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from tests.soak.rounds import Report, play

_IN_NAMESPACE = "PFNDISPATCHCOPY_SOAK_IN_NAMESPACE"
_MEMORY = Path("/dev/shm")
_LEAST_MEMORY = 600 << 20


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Random offloads with random faults.")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long (default: 120)")
    parser.add_argument("--seed", type=int, help="of all that is drawn (default: another one each time)")
    parser.add_argument("--round", type=int, help="play this round alone, and tell of it")
    parser.add_argument("--rounds", type=int, help="play so many rounds at the most")
    parser.add_argument("--keep-going", action="store_true", help="go on after a violation")
    return parser.parse_args(arguments)


def _enter_namespace(arguments: Sequence[str]) -> str:
    """Start again where mounts are nobody else's; returns why that cannot be had, or nothing when it is done."""
    if os.geteuid() != 0:
        return "needs root"
    if os.environ.get(_IN_NAMESPACE):
        return ""
    unshare = ["unshare", "--mount", "--propagation", "private"]
    if shutil.which("unshare") and subprocess.run([*unshare, "true"], check=False).returncode == 0:
        again = [*unshare, sys.executable, "-m", "tests.soak", *arguments]
        os.execvpe("unshare", again, {**os.environ, _IN_NAMESPACE: "1"})
    return "no private mount namespace (unshare)"


def main(arguments: Sequence[str]) -> int:
    given = _arguments(arguments)
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 31)
    no_volumes = _enter_namespace([*arguments, *([] if given.seed is not None else ["--seed", str(seed)])])
    volumes = f"no small volumes: {no_volumes}" if no_volumes else "small volumes mounted"
    _say(f"soak: seed {seed}, {volumes}")
    until = time.monotonic() + given.seconds
    rounds = runs = violations = 0
    fired: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for number in _numbers(given):
        if rounds and time.monotonic() > until:
            break
        report = play(seed, number, _folder(seed, number), has_volumes=not no_volumes)
        rounds += 1
        runs += len(report.fired) + len(report.missed)
        fired.update(report.fired)
        missed.update(report.missed)
        violations += len(report.violations)
        if given.round is not None:
            _say("\n".join(report.told))
        if report.violations:
            _tell(seed, number, report)
            if not given.keep_going:
                break
    for kind in sorted(fired | missed):
        _say(f"  {fired[kind]:>5} fired {missed[kind]:>4} missed  {kind}")
    _say(f"soak: seed {seed}: {rounds} rounds, {fired.total()} faults fired of {runs}, {violations} violations")
    return 1 if violations else 0


def _numbers(given: argparse.Namespace) -> Iterator[int]:
    if given.round is not None:
        return iter([given.round])
    return iter(range(1, given.rounds + 1)) if given.rounds is not None else count(1)


def _folder(seed: int, number: int) -> Path:
    """Where a round is played: every other one in memory, if there is enough of it."""
    has_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _LEAST_MEMORY
    parent = _MEMORY if number % 2 and has_memory else None
    return Path(tempfile.mkdtemp(prefix=f"pfn-soak-{seed}-{number}-", dir=parent)).resolve()


def _say(text: str) -> None:
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n")
    sys.stdout.flush()


def _tell(seed: int, number: int, report: Report) -> None:
    _say(f"VIOLATION in round {number}:")
    for line in (*report.told, *report.violations):
        _say(f"  {line}")
    _say(f"  kept: {report.folder}\n  again: python -m tests.soak --seed {seed} --round {number}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
