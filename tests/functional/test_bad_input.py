"""What cannot be done is refused: exit 2, one clear line, nothing written, nothing lost."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.command import PROGRAM, events_of, run
from tests.support.files import make_file
from tests.support.mounts import in_namespace, needs_namespace


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.fault(23, 63, 66, 69)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing", "a/"], "No such file"),
        (["fifo", "a/"], "no regular file"),
        (["/dev/zero", "a/"], "no regular file"),
        (["s", "s"], "same file"),
        (["s", "./"], "same file"),
        (["s", "link"], "same file"),
        (["s", "hard"], "same file"),
        (["s", "folder/../s"], "same file"),
        (["s", "a/", "a/"], "same destination"),
        (["s", "a/", "./a/s"], "same destination"),
        (["s", "new/x", "folder/../new/x"], "same destination"),
        (["-f_size", "7", "s", "a/"], "7 were expected"),
        (["-t", "crc32", "s", "a/"], "unknown hash name"),
        (["-b", "8 parsecs", "s", "a/"], "-b/--buffer-size"),
        (["-b", "0", "s", "a/"], "-b/--buffer-size"),
        (["--bwlimit", "-3", "s", "a/"], "--bwlimit"),
        (["--queue-depth", "many", "s", "a/"], "--queue-depth"),
        (["--stall-timeout", "soon", "s", "a/"], "--stall-timeout"),
        (["--memory-limit", "4K", "s", "a/"], "memory"),
        (["--preserve", "smell", "s", "a/"], "preserve"),
        (["--on-conflict", "ask", "s", "a/"], "--on-conflict"),
        (["-noflush_dest", "b/", "s", "a/"], "names no destination"),
        (["--frobnicate", "s", "a/"], "--frobnicate"),
        (["--mhl", "asc", "s", "a/"], "--mhl"),
        (["s"], "DESTINATION"),
        ([], "SOURCE"),
        (["", "a/"], "empty"),
        (["s", ""], "empty"),
        (["-", "folder"], "folder"),
        (["s", "-"], "standard output"),
        (["--require-mount", "s", "a/"], "mounted volume"),
        (["--config", "missing.toml", "s", "a/"], "missing.toml"),
        (["--preset", "x", "s", "a/"], "no configuration"),
        (["--log-file", "folder", "s", "a/"], "folder"),
    ],
)
def test_refused_with_one_line_and_nothing_written(tmp_path: Path, arguments: list[str], words: str) -> None:
    if "--require-mount" in arguments and tmp_path.stat().st_dev != os.stat("/").st_dev:
        pytest.skip("the temporary folder is on a volume of its own")
    make_file(tmp_path / "s", 1000)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("s")
    (tmp_path / "hard").hardlink_to(tmp_path / "s")
    before = _tree(tmp_path)
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr
    assert _tree(tmp_path) == before
    assert sorted(os.listdir(tmp_path)) == ["fifo", "folder", "hard", "link", "s"]


def test_refusal_is_also_told_in_json(tmp_path: Path) -> None:
    for arguments in (["missing", "a/"], ["--frobnicate", "s", "a/"], ["-t", "x", "s", "a/"]):
        done = run("--json", *arguments, cwd=tmp_path)
        events = [event for event in events_of(done.stdout) if event["event"] != "start"]
        assert [event["event"] for event in events] == ["error", "summary"]
        assert events[-1]["exit_code"] == done.returncode == 2
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.fault(69)
def test_socket_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(tmp_path)  # the name of a socket is short
        listener.bind("sock")
        assert run("sock", "a/", cwd=tmp_path).returncode == 2


@pytest.mark.fault(37)
def test_unreadable_source_is_refused(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 10)
    os.chmod(tmp_path / "s", 0)
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    done = run("s", "a/", cwd=tmp_path)
    assert done.returncode == 2
    assert "Permission denied" in done.stderr


def test_closed_standard_input_is_refused_as_a_source(tmp_path: Path) -> None:
    done = subprocess.run(
        f"exec '{PROGRAM}' - a/x <&-", shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 2
    assert "standard input is closed" in done.stderr
    assert os.listdir(tmp_path) == []


def test_stream_of_another_size_than_announced_gets_no_final_name(tmp_path: Path) -> None:
    for announced in ("10", "1000000"):
        done = run("-f_size", announced, "-", "a/x", cwd=tmp_path, stdin=b"x" * 100_000)
        assert done.returncode == 1
        assert "were expected" in done.stderr
        assert not (tmp_path / "a").exists()


def test_too_little_space_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    needs_namespace()
    make_file(tmp_path / "s", 2_000_000)
    done = in_namespace(
        f"mkdir v && mount -t tmpfs -o size=3m t v && '{PROGRAM}' s v/one/ v/two/ new/; echo $?; find v new", tmp_path
    )
    assert done.stdout.splitlines() == ["2", "v"]
    assert "not enough space: 4.0 MB are needed" in done.stderr


@pytest.mark.fault(63)
def test_bind_mount_of_the_source_is_recognised(tmp_path: Path) -> None:
    needs_namespace()
    data = make_file(tmp_path / "in/s", 1000)
    done = in_namespace(f"mkdir b && mount --bind in b && '{PROGRAM}' in/s b/; echo $?", tmp_path)
    assert done.stdout == "2\n"
    assert "same file" in done.stderr
    assert (tmp_path / "in/s").read_bytes() == data


@pytest.mark.fault(64)
def test_overlay_cannot_hide_that_two_folders_are_one(tmp_path: Path) -> None:
    needs_namespace()
    make_file(tmp_path / "lower/s", 1000)
    done = in_namespace(
        "mkdir m1 tm && mount -t tmpfs t tm && mkdir tm/up tm/work"
        " && mount -t overlay o -o lowerdir=lower,upperdir=tm/up,workdir=tm/work m1"
        f" && echo hi > tm/up/x && '{PROGRAM}' tm/up/x m1/; echo $?;"
        # Both sides are worked on at once, and each order of what they do has to be refused.
        f" for n in 1 2 3 4 5 6 7 8; do '{PROGRAM}' lower/s tm/up/q m1/q; echo $?; done; ls -A tm/up",
        tmp_path,
    )
    if "overlay" in done.stderr and "mount" in done.stderr:
        pytest.skip(f"no overlay here: {done.stderr}")
    assert done.stdout.splitlines() == ["2"] * 9 + ["x"], done.stderr
