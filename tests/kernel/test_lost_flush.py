"""Disks that take every write, and turn out to be full when they are flushed."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.runs import copy
from tests.kernel.volumes import Volume, Volumes, run_tool
from tests.support.files import make_file, partials

MIB = 1 << 20
_NO_JOURNAL = ("-O", "^has_journal")


@pytest.fixture
def thin(volumes: Volumes) -> Volume:
    """A disk of 64 MiB that stands on 6 MiB: a thin volume, as the providers of storage have them."""
    ground = volumes.memory("ground", "6m")
    return volumes.disk("thin", "ext4", size=64 * MIB, below=ground.path, format_options=_NO_JOURNAL)


@pytest.fixture
def zram(volumes: Volumes) -> Iterator[Volume]:
    """A disk of 64 MiB in compressed memory, of which there are 4 MiB."""
    control = Path("/sys/class/zram-control")
    if not control.exists():
        pytest.skip("this kernel has no zram")
    number = int((control / "hot_add").read_text())
    try:
        settings = Path(f"/sys/block/zram{number}")
        (settings / "disksize").write_text("64M")
        run_tool("mkfs.ext4", "-qF", *_NO_JOURNAL, f"/dev/zram{number}", why="e2fsprogs")
        (settings / "mem_limit").write_text("4M")
        volume = Volume(volumes.folder("zram"), "ext4")
        run_tool("mount", "-t", "ext4", f"/dev/zram{number}", volume.path)
        yield volume
        volumes.unmount(volume)
        (settings / "reset").write_text("1")
    finally:
        (control / "hot_remove").write_text(str(number))


def _require_that_a_second_flush_would_lie(folder: Path) -> None:
    """Prove the fault: a flush fails, sooner or later it says that all is well, and what it says is not true."""
    data = os.urandom(8 * MIB)
    path = folder / "proof"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        assert os.write(fd, data) == len(data)
        with pytest.raises(OSError, match=r"No space left|Input/output") as failure:
            os.fsync(fd)
        assert failure.value.errno in (errno.ENOSPC, errno.EIO)
        for _ in range(4):
            try:
                os.fsync(fd)
                break
            except OSError:
                continue
        else:
            pytest.fail("the flush went on failing, which this test does not know")
        assert os.pread(fd, len(data), 0) == data, (
            "the page cache has forgotten the data, which this test does not know"
        )
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        assert os.pread(fd, len(data), 0) != data, "nothing was lost"
    finally:
        os.close(fd)
        path.unlink()


@pytest.mark.fault(3, 7)
@pytest.mark.parametrize("strategy", ["single", "parallel"])
def test_flush_that_fails_once_is_final(volumes: Volumes, thin: Volume, strategy: str) -> None:
    _require_that_a_second_flush_would_lie(thin.path)
    data = make_file(volumes.root / "s", 8 * MIB)
    report = copy("--strategy", strategy, "s", "thin/", "good/", cwd=volumes.root)
    assert report.exit_code == 3, report.text
    assert report.states == {"thin": "failed", "good": "verified"}
    assert report.error["operation"] == "flush"
    assert report.error["errno"] in ("ENOSPC", "EIO")
    assert "Nothing of it was left behind." in report.error["message"]
    assert thin.names == []
    assert (volumes.root / "good/s").read_bytes() == data
    run_tool("mount", "-o", "remount,size=100m", volumes.root / "ground")
    report = copy("s", "thin/", "good/", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    assert report.states == {"thin": "verified", "good": "identical"}
    volumes.mount_again(thin)
    assert (thin.path / "s").read_bytes() == data


@pytest.mark.fault(3, 7)
def test_card_on_a_disk_whose_flushes_fail_is_complete_elsewhere(volumes: Volumes, thin: Volume) -> None:
    _require_that_a_second_flush_would_lie(thin.path)
    files = {f"f{number:02}": make_file(volumes.root / f"CARD/f{number:02}", 400_000, number) for number in range(20)}
    report = copy("CARD", "thin", "good", cwd=volumes.root)
    assert report.exit_code == 3, report.text
    assert report.states == {"thin": "failed", "good": "verified"}
    assert "flush" in {error["operation"] for error in report.errors} <= {"flush", "flush the folder"}
    assert {error["errno"] for error in report.errors} <= {"ENOSPC", "EIO"}
    assert {name: (volumes.root / "good/CARD" / name).read_bytes() for name in files} == files
    kept = os.listdir(thin.path / "CARD") if (thin.path / "CARD").exists() else []
    run_tool("mount", "-o", "remount,size=100m", volumes.root / "ground")
    volumes.mount_again(thin)
    assert {name: (thin.path / "CARD" / name).read_bytes() for name in kept} == {name: files[name] for name in kept}
    report = copy("CARD", "thin", "good", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    volumes.mount_again(thin)
    assert {name: (thin.path / "CARD" / name).read_bytes() for name in os.listdir(thin.path / "CARD")} == files
    assert partials(thin.path) == []


@pytest.mark.fault(7)
def test_block_device_that_fails_in_the_write_back_fails_the_flush(volumes: Volumes, zram: Volume) -> None:
    _require_that_a_second_flush_would_lie(zram.path)
    data = make_file(volumes.root / "s", 8 * MIB)
    report = copy("s", "zram/", "good/", cwd=volumes.root)
    assert report.exit_code == 3, report.text
    assert report.states == {"zram": "failed", "good": "verified"}
    assert (report.error["operation"], report.error["errno"]) == ("flush", "EIO")
    assert zram.names == []
    assert (volumes.root / "good/s").read_bytes() == data
