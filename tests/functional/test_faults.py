"""The command on failing destinations and sources: real file systems, real processes."""

import os
import time
from pathlib import Path

import pytest

from tests.support.command import PROGRAM, events_of, run, start
from tests.support.files import make_file
from tests.support.mounts import in_namespace, needs_loop, needs_namespace


@pytest.mark.fault(1)
def test_full_destination_does_not_stop_the_others(tmp_path: Path) -> None:
    needs_namespace()
    make_file(tmp_path / "s", 20_000_000)
    done = in_namespace(
        f"mkdir v && mount -t tmpfs -o size=3m t v && '{PROGRAM}' --json - v/x a/x b/x < s; echo $? >&2; ls -A v >&2"
        " && cmp s a/x && cmp s b/x && echo same >&2",
        tmp_path,
    )
    assert done.stderr.splitlines()[-2:] == ["3", "same"], done.stderr
    events = events_of(done.stdout)
    error = next(event for event in events if event["event"] == "error")
    assert (error["errno"], error["destination"], error["operation"]) == ("ENOSPC", "v/x", "write")
    assert [each["state"] for each in events[-1]["destinations"]] == ["failed", "verified", "verified"]


@pytest.mark.fault(20)
def test_read_only_destination_fails_alone_and_is_refused_alone(tmp_path: Path) -> None:
    needs_namespace()
    make_file(tmp_path / "s", 1000)
    done = in_namespace(
        "mkdir ro && mount --bind ro ro && mount -o remount,bind,ro ro"
        f" && '{PROGRAM}' s ro/ a/; echo $?; '{PROGRAM}' s ro/; echo $?",
        tmp_path,
    )
    assert [line for line in done.stdout.splitlines() if line.isdigit()] == ["3", "2"]
    assert "(EROFS)" in done.stderr


@pytest.mark.fault(27)
def test_frozen_file_system_costs_the_stall_time_and_the_command_ends(tmp_path: Path) -> None:
    needs_loop()
    make_file(tmp_path / "s", 30_000_000)
    done = in_namespace(
        "truncate -s 100M i && mkfs.ext4 -qF i && mkdir v && mount -o loop i v || exit 99;"
        "( sleep 1; fsfreeze -f v ) &"
        f" timeout 30 '{PROGRAM}' --bwlimit 10M --stall-timeout 2 s v/x a/x; echo $?; cmp s a/x && echo same;"
        f" timeout 30 '{PROGRAM}' --stall-timeout 1 a/x v/y b/y; echo $?; cmp s b/y && echo same;"
        " fsfreeze -u v; sleep 0.5;"
        f" timeout 30 '{PROGRAM}' s v/x a/x; echo $?; timeout 30 '{PROGRAM}' s v/y b/y; echo $?; ls -A v; umount v",
        tmp_path,
    )
    assert done.returncode != 99, done.stderr
    # The lock of the run that hung went with its process, and the next run on a file sweeps what it left.
    lines = [line for line in done.stdout.splitlines() if ":" not in line]
    assert lines == ["3", "same", "3", "same", "0", "0", "lost+found", "x", "y"], (done.stdout, done.stderr)
    assert done.stderr.count("it hangs: nothing finished for") == 2


@pytest.mark.fault(22)
def test_lazily_unmounted_destination_is_noticed(tmp_path: Path) -> None:
    needs_loop()
    make_file(tmp_path / "s", 20_000_000)
    done = in_namespace(
        "truncate -s 100M i && mkfs.ext4 -qF i && mkdir v && mount -o loop i v || exit 99;"
        "( sleep 1; umount -l v ) &"
        f" timeout 30 '{PROGRAM}' --bwlimit 10M s v/x a/x; echo $?; cmp s a/x && echo same; find v",
        tmp_path,
    )
    assert done.returncode != 99, done.stderr
    assert [line for line in done.stdout.splitlines() if ":" not in line] == ["3", "same", "v"]
    assert "unmounted or replaced" in done.stderr


@pytest.mark.fault(32, 33, 34, 35)
def test_source_that_grows_or_shrinks_or_is_replaced_fails_everywhere(tmp_path: Path) -> None:
    for change in ("grow", "shrink", "replace", "touch back"):
        source = tmp_path / change
        make_file(source, 3_000_000)
        process = start("--bwlimit", "2M", "-b", "100000", source.name, "a/", "b/", cwd=tmp_path)
        time.sleep(0.7)
        status = source.stat()
        if change == "grow":
            with source.open("ab") as file:
                file.write(b"more")
        elif change == "shrink":
            os.truncate(source, 100_000)
        elif change == "replace":
            os.replace(_twin(source), source)
        else:
            with source.open("r+b") as file:
                file.write(b"X")
            os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
        out, err = process.communicate(timeout=30)
        assert process.returncode == 1, (change, out, err)
        assert "while it was read" in err
        assert not (tmp_path / "a").exists()


def _twin(source: Path) -> Path:
    twin = source.with_name("twin")
    twin.write_bytes(source.read_bytes())
    return twin


@pytest.mark.fault(56)
def test_second_run_on_the_same_file_is_refused_and_names_the_first(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 3_000_000)
    first = start("--bwlimit", "2M", "s", "a/", cwd=tmp_path)
    _wait_for_partial(tmp_path / "a")
    second = run("s", "a/", "b/", cwd=tmp_path)
    assert second.returncode == 2
    assert "another run is writing s: process " in second.stderr
    assert not (tmp_path / "b").exists()
    waiting = run("--lock-wait", "20", "s", "a/", cwd=tmp_path)
    assert waiting.returncode == 0
    assert ": identical," in waiting.stdout
    assert first.wait(timeout=20) == 0
    first.communicate()


def _wait_for_partial(folder: Path) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if folder.exists() and any(path.stat().st_size > 100 for path in folder.glob(".pfn.*.partial")):
            return
        time.sleep(0.02)
    raise AssertionError("no partial came")


def test_many_single_files_go_into_one_folder_at_once(tmp_path: Path) -> None:
    names = [f"s{number}" for number in range(6)]
    for name in names:
        make_file(tmp_path / name, 300_000)
    processes = [start("-q", name, "a/", cwd=tmp_path) for name in names]
    for process in processes:
        _, err = process.communicate(timeout=40)
        assert (process.returncode, err) == (0, "")
    assert sorted(os.listdir(tmp_path / "a")) == names
