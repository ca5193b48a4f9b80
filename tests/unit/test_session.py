"""A whole offload through the library: what is promised about results, whatever fails."""

import errno
import os
import threading
from pathlib import Path

import pytest

from pfndispatchcopy import Conflict, CopyOptions, ReadBack, State
from pfndispatchcopy.events import ErrorEvent, Event
from pfndispatchcopy.fileio.system import Mount
from pfndispatchcopy.session import offload
from tests.support.faulty_system import FaultySystem
from tests.support.files import make_file


def test_copy_is_complete_and_verified_everywhere(tmp_path: Path) -> None:
    data = make_file(tmp_path / "clip.mov", 3_000_000)
    result = offload(str(tmp_path / "clip.mov"), [f"{tmp_path}/a/", f"{tmp_path}/b/c.mov"], CopyOptions())
    assert result["success"]
    assert [each.state for each in result.destinations] == [State.VERIFIED, State.VERIFIED]
    assert (tmp_path / "a/clip.mov").read_bytes() == data == (tmp_path / "b/c.mov").read_bytes()


@pytest.mark.fault(6)
def test_failing_write_fails_that_destination_only(tmp_path: Path, faulty: FaultySystem) -> None:
    data = make_file(tmp_path / "clip.mov", 3_000_000)
    rule = faulty.fail("write", errno.EIO, where="/b/", nth=2)  # the first one names the owner of the lock
    result = offload(str(tmp_path / "clip.mov"), [f"{tmp_path}/a/", f"{tmp_path}/b/"], CopyOptions(), system=faulty)
    assert rule.fired == 1
    assert [each.state for each in result.destinations] == [State.VERIFIED, State.FAILED]
    assert (tmp_path / "a/clip.mov").read_bytes() == data
    assert not (tmp_path / "b").exists()
    assert result.exit_code == 3


@pytest.mark.fault(28)
def test_only_destination_that_hangs_from_the_start_is_a_failure_and_no_refusal(
    tmp_path: Path, faulty: FaultySystem
) -> None:
    make_file(tmp_path / "clip.mov", 1000)
    (tmp_path / "a").mkdir()
    release = threading.Event()
    rule = faulty.hang("usage", release, where=f"{tmp_path}/a")
    options = CopyOptions(stall_timeout_s=0.3, memory_limit=1_000_000)
    result = offload(str(tmp_path / "clip.mov"), [f"{tmp_path}/a/"], options, system=faulty)
    release.set()
    assert rule.fired == 1
    assert (result.exit_code, result.destinations[0].state) == (1, State.FAILED)
    assert result.destinations[0].error is not None
    assert "it hangs" in result.destinations[0].error.message


def test_dry_run_tells_of_a_destination_that_cannot_be_reached(tmp_path: Path, faulty: FaultySystem) -> None:
    make_file(tmp_path / "clip.mov", 1000)
    rule = faulty.fail("usage", errno.EIO, where=str(tmp_path))
    events: list[Event] = []
    result = offload(
        str(tmp_path / "clip.mov"),
        [f"{tmp_path}/a/", f"{tmp_path}/b/"],
        CopyOptions(),
        system=faulty,
        observer=events.append,
        dry_run=True,
    )
    assert rule.fired == 1
    assert [isinstance(event, ErrorEvent) for event in events].count(True) == 1
    assert result.exit_code == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mov"]


def test_how_an_older_file_was_read_does_not_vouch_for_the_copy_of_a_stream(
    tmp_path: Path, faulty: FaultySystem
) -> None:
    data = make_file(tmp_path / "new", 5000)
    make_file(tmp_path / "a/x", 5000, seed=2)
    faulty.rule("mount", lambda real, *_: Mount("ext4", "/"), times=None)
    cached = faulty.rule("is_cached", lambda real, *_: True, where="/a/.pfn.", times=None)
    evicted = faulty.rule("is_cached", lambda real, *_: False, where="/a/x", times=None)
    direct = faulty.fail("open_direct", errno.EINVAL, times=None)
    standard_input = os.dup(0)
    try:
        with (tmp_path / "new").open("rb") as file:
            os.dup2(file.fileno(), 0)
        result = offload("-", [f"{tmp_path}/a/x"], CopyOptions(on_conflict=Conflict.OVERWRITE), system=faulty)
    finally:
        os.dup2(standard_input, 0)
        os.close(standard_input)
    assert (cached.fired, evicted.fired, direct.fired) == (1, 1, 1)
    (copy,) = result.destinations
    assert (copy.state, copy.read_back, copy.success) == (State.COPIED, ReadBack.CACHED, False)
    assert (tmp_path / "a/x").read_bytes() == data
