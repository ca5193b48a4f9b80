"""The fuzz targets, for as long as a test may take; and, every day, mutations at random."""

import importlib.util
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from pfndispatchcopy.hashlists.asc import read_asc
from pfndispatchcopy.hashlists.legacy import read_legacy
from pfndispatchcopy.hashlists.sums import read_sums
from tests.fuzz.driver import attempt
from tests.fuzz.seeds import ASC, LEGACY, SUMS

_ROOT = Path(__file__).parents[2]

_TARGETS: dict[str, tuple[Callable[[bytes], Iterable[object]], tuple[bytes, ...]]] = {
    "legacy": (lambda data: read_legacy([data]), LEGACY),
    "asc": (lambda data: read_asc([data]), ASC),
    "sums": (lambda data: read_sums([data], None), SUMS),
}


@pytest.mark.parametrize("target", _TARGETS)
def test_seeds_are_sound(target: str) -> None:
    read, seeds = _TARGETS[target]
    assert all(attempt(read, seed) for seed in seeds)


def _mutated(seed: bytes, generator: random.Random, others: bytes) -> bytes:
    data = bytearray(seed)
    for _ in range(generator.randint(1, 4)):
        at = generator.randrange(len(data) + 1)
        end = at + generator.choice([0, 0, 1, 1, generator.randrange(40)])
        start = generator.randrange(len(others))
        data[at:end] = generator.choice([b"", generator.randbytes(1), others[start : start + generator.randrange(40)]])
    return bytes(data)


@pytest.mark.parametrize("target", _TARGETS)
def test_mutated_documents_are_read_or_refused(target: str) -> None:
    read, seeds = _TARGETS[target]
    generator = random.Random(7)
    taken = [
        attempt(read, _mutated(generator.choice(seeds), generator, b"".join(LEGACY + ASC + SUMS))) for _ in range(1500)
    ]
    assert 0 < sum(taken) < len(taken)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("target", _TARGETS)
def test_fuzzer_finds_nothing_in_twenty_seconds(target: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed (pip install '.[fuzz]')")
    answer = subprocess.run(
        [sys.executable, "-m", f"tests.fuzz.fuzz_{target}", "-max_total_time=20", f"-artifact_prefix={tmp_path}/"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-4000:]
    assert "Done" in answer.stderr
