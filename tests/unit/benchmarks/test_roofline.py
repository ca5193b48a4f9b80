"""The limit in C copies truly and takes the right digest, so that what it is compared with did the same work."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import xxhash

from benchmarks.roofline import compiled_roofline

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler"),
]
_CHUNK = 1 << 20


@pytest.fixture(scope="module")
def roofline(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = compiled_roofline(str(tmp_path_factory.mktemp("build")))
    assert path is not None
    return path


def _run(roofline: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([roofline, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("options", [[], ["--flush"], ["--flush", "--read-back"]], ids=" ".join)
@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 100, _CHUNK - 1, _CHUNK, 9 * _CHUNK + 7, 40 * _CHUNK])
def test_copies_and_digest_are_true(size: int, options: Sequence[str], roofline: str, tmp_path: Path) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    source, copies = tmp_path / "source", [tmp_path / name for name in "abc"]
    source.write_bytes(data)

    ended = _run(roofline, *options, source, *copies)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.strip() == xxhash.xxh64_hexdigest(data)
    assert all(copy.read_bytes() == data for copy in copies)


def test_it_is_compiled_once(roofline: str) -> None:
    made_at = Path(roofline).stat().st_mtime_ns

    assert compiled_roofline(str(Path(roofline).parent)) == roofline
    assert Path(roofline).stat().st_mtime_ns == made_at


def test_nothing_that_exists_is_overwritten(roofline: str, tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(b"new")
    copy.write_bytes(b"old")

    ended = _run(roofline, source, copy)

    assert ended.returncode == 1
    assert "copy: create: File exists" in ended.stderr
    assert copy.read_bytes() == b"old"


@pytest.mark.parametrize("arguments", [[], ["source"], ["--fast", "source", "copy"]])
def test_wrong_arguments_are_refused(arguments: Sequence[str], roofline: str) -> None:
    ended = _run(roofline, *arguments)

    assert ended.returncode == 2
    assert ended.stderr.startswith("usage: roofline")
