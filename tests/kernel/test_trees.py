"""A card with everything in it that cards have, on every file system of the kernel; and one with very many files."""

import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from tests.kernel.runs import check, copy, measuring
from tests.kernel.volumes import DISK_KINDS, Volumes, run_tool
from tests.support.command import PROGRAM, environment
from tests.support.files import make_file, partials

MIB = 1 << 20
_LONG = "l" * 250 + ".mov"  # 254 bytes, for .corrupt there is no room
_LONGEST = "n" * 255
_UMLAUTS = "ü" * 127  # 254 bytes


def _make_card(card: Path) -> None:
    make_file(card / "clip.mov", 5 * MIB + 3)
    make_file(card / "DCIM/100/still.jpg", 70_001)
    (card / "empty").touch()
    (card / "EMPTY FOLDER").mkdir()
    for name in (_LONG, _LONGEST, _UMLAUTS):
        make_file(card / "long" / name, 3000)
    make_file(card / "long" / ("d" * 255) / "x", 10)
    with open(card / "holes", "wb") as file:
        file.truncate(6 * MIB)
        file.seek(3 * MIB + 77)
        file.write(b"an island")
    (card / "nowhere").symlink_to("no/such/thing")
    (card / "circle").symlink_to("circle")
    (card / "outside").symlink_to("/etc/hostname")
    (card / "way").symlink_to("DCIM")
    make_file(card / "setuid", 500)
    (card / "setuid").chmod(0o6755)
    make_file(card / "secret", 501)
    (card / "secret").chmod(0o400)
    (card / "sticky").mkdir()
    (card / "sticky").chmod(0o1770)
    (card / "tabs\tand\nlines \x1b[31m").write_bytes(b"odd")
    (Path(os.fsdecode(os.path.join(os.fsencode(card), b"bytes \xff\xfe")))).write_bytes(b"odder")
    _make_deep(card / "deep", 40)
    for number, (_, folders, names, fd) in enumerate(os.fwalk(card)):
        for name in [*folders, *names]:
            os.utime(name, ns=(10**18, 10**18 + number * 1_000_000_100), dir_fd=fd, follow_symlinks=False)


def _make_deep(top: Path, levels: int) -> None:
    """Make a folder in a folder and so on, so that the path of the file in the last one is longer than paths may be."""
    top.mkdir()
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    name = "v" * 200
    for _ in range(levels):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    file = os.open("bottom", os.O_WRONLY | os.O_CREAT, dir_fd=fd)
    os.write(file, b"at the bottom")
    os.close(file)
    os.close(fd)


def _look(folder: Path, *, is_timed: bool = True) -> dict[str, tuple[object, ...]]:
    """Everything below a folder, however deep: kind, permissions, perhaps time, content."""
    found: dict[str, tuple[object, ...]] = {}
    for path, folders, names, fd in os.fwalk(folder):
        above = os.path.relpath(path, folder)
        for name in [*folders, *names]:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            mode, content = status.st_mode, b""
            if stat.S_ISLNK(mode):
                mode, content = stat.S_IFLNK, os.fsencode(os.readlink(name, dir_fd=fd))
            elif stat.S_ISREG(mode):
                with open(os.open(name, os.O_RDONLY, dir_fd=fd), "rb") as file:
                    content = file.read()
            found[os.path.normpath(os.path.join(above, name))] = (mode, status.st_mtime_ns if is_timed else 0, content)
    return found


@pytest.mark.fault(69, 70, 71, 72, 73, 74, 75)
@pytest.mark.parametrize("kind", DISK_KINDS)
def test_whole_card_comes_over_as_it_is_and_its_list_holds(volumes: Volumes, kind: str) -> None:
    disk = volumes.disk("disk", kind, size=160 * MIB)
    card = volumes.root / "CARD"
    _make_card(card)
    expected = _look(card)
    assert max(map(len, expected)) > 4096, "no path is too long"
    os.mkfifo(card / "pipe")
    listening = socket.socket(socket.AF_UNIX)
    here = os.open(card, os.O_PATH)
    listening.bind(f"/proc/self/fd/{here}/socket")
    os.close(here)
    listening.close()
    os.mknod(card / "device", stat.S_IFCHR | 0o600, os.makedev(1, 7))
    os.utime(card, ns=(10**18, 10**18))
    report = copy("--mhl", "asc", "CARD", "disk", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    assert report.states == {"disk": "verified"}
    _require_told_of(report.text, "pipe", "socket", "device")
    volumes.mount_again(disk)
    found = {name: each for name, each in _look(disk.path / "CARD").items() if not name.startswith("ascmhl")}
    for name in ("setuid", "sticky"):
        mode, *rest = expected[name]
        assert isinstance(mode, int)
        expected[name] = (mode & ~(stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX), *rest)
    assert sorted(found) == sorted(expected)
    assert {name: found[name] for name in found if found[name] != expected[name]} == {}
    report = check("disk/CARD", cwd=volumes.root)
    assert report.exit_code in (0, 3), report.text  # a name that XML cannot hold is in no list
    assert "mismatch" not in {each["state"] for event in report.of("file") for each in event["destinations"]}
    report = copy("CARD", "disk", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    assert report.states == {"disk": "identical"}


def _require_told_of(text: str, *names: str) -> None:
    for name in names:
        assert f"CARD/{name}" in text, name


@pytest.mark.fault(68)
@pytest.mark.parametrize("kind", DISK_KINDS)
@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_has_the_name_already_is_kept_or_is_the_same(volumes: Volumes, kind: str, what: str) -> None:
    disk = volumes.disk("disk", kind)
    data = make_file(volumes.root / "CARD/s", 5000)
    source = "CARD" if what == "folder" else "CARD/s"
    below = "disk/" if what == "folder" else "disk/CARD/"
    final, outside = disk.path / "CARD/s", volumes.root / "outside"
    outside.write_bytes(b"outside")
    final.parent.mkdir()
    for occupy in (_occupy_with_file, _occupy_with_folder, _occupy_with_link):
        occupy(final, outside)
        before = _look(disk.path, is_timed=False)
        report = copy(source, below, cwd=volumes.root)
        assert report.exit_code == 1, report.text
        assert report.error["operation"] == "conflict"
        assert {name: each for name, each in _look(disk.path, is_timed=False).items() if ".pfn." not in name} == before
        assert outside.read_bytes() == b"outside"
        shutil.rmtree(final) if final.is_dir() and not final.is_symlink() else final.unlink()
    _occupy_with_link(final, outside)
    report = copy("--on-conflict", "overwrite", source, below, cwd=volumes.root)
    assert report.exit_code == 0, report.text
    assert not final.is_symlink()
    assert final.read_bytes() == data
    assert outside.read_bytes() == b"outside"
    inode = final.stat().st_ino
    report = copy(source, below, cwd=volumes.root)
    assert (report.exit_code, report.states) == (0, {"disk": "identical"})
    assert final.stat().st_ino == inode
    assert partials(disk.path) == []


def _occupy_with_file(final: Path, outside: Path) -> None:
    make_file(final, 5000, seed=2)


def _occupy_with_folder(final: Path, outside: Path) -> None:
    make_file(final / "in it", 1)


def _occupy_with_link(final: Path, outside: Path) -> None:
    final.symlink_to(outside)


@pytest.mark.fault(76)
@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_very_many_files_in_one_folder_are_copied_in_bounded_memory(volumes: Volumes, count: int) -> None:
    run_tool("mount", "-o", f"remount,nr_inodes={4 * count},size=2g", volumes.root)
    (volumes.root / "CARD").mkdir()
    for number in range(count):
        fd = os.open(volumes.root / f"CARD/IMG_{number:06}.JPG", os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"%d" % number)
        os.close(fd)
    peak = volumes.root / "peak"
    done = subprocess.run(
        [*measuring(peak), PROGRAM, "CARD", "disk"],
        cwd=volumes.root,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    assert f"disk: verified, {count} files, " in done.stdout
    assert int(peak.read_text()) < 60 * MIB + count * 1500
    assert (volumes.root / f"disk/CARD/IMG_{count - 1:06}.JPG").read_bytes() == b"%d" % (count - 1)


@pytest.mark.fault(88)
def test_nothing_needs_a_network(volumes: Volumes) -> None:
    without = ["unshare", "-n"]
    if subprocess.run([*without, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network namespace can be had here")
    links = subprocess.run([*without, "cat", "/proc/net/dev"], capture_output=True, text=True, check=True).stdout
    assert [line.split(":")[0].strip() for line in links.splitlines()[2:]] == ["lo"]
    make_file(volumes.root / "CARD/s", 1000)
    make_file(volumes.root / "CARD/clip.mov", 5 * MIB)
    report = copy("--mhl", "asc", "--sums", "md5", "CARD", "one", "two", cwd=volumes.root, wrapper=without)
    assert report.exit_code == 0, report.text
    report = copy("CARD/s", "three/", cwd=volumes.root, wrapper=without)
    assert report.exit_code == 0, report.text
    report = check("one/CARD", "two/CARD", cwd=volumes.root, wrapper=without)
    assert report.exit_code == 0, report.text
