"""The command with calls of the C library that fail on one of three destinations, or on the source."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.injection import CARD, Ended, Offload, card, ended
from tests.kernel.preload import CallFault, PreloadedFaults, build_library
from tests.support.command import run, start

_BYTE = 3_000_000
_BAD = "/d0/"
_STALL_S = 1
_SLACK_S = 6.0

Inject = Callable[..., PreloadedFaults]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("preload"))


@pytest.fixture
def inject(library: Path, tmp_path: Path) -> Inject:
    return lambda *faults: PreloadedFaults(library, tmp_path / "log", *faults)


@pytest.fixture(params=[False, True], ids=["file", "folder"])
def offload(request: pytest.FixtureRequest, tmp_path: Path) -> Offload:
    return Offload(tmp_path, tmp_path / "d0", tmp_path / "d0", is_folder=request.param)


def _require_failed_alone(offload: Offload, done: Ended, operation: str, name: str | None) -> None:
    assert done.code == 3
    error = done.errors(offload.bad)[0]
    assert (error["operation"], error["errno"]) == (operation, name)
    offload.require_others_complete(done)
    offload.require_only_true_names()
    # Several files are on their way at once: which of them meets a fault that comes once is not known before.
    assert os.path.relpath(error["path"], offload.bad) not in offload.finals(0)
    assert [each for each in offload.temporary(0) if not each.endswith(".journal.partial")] == []
    offload.require_next_run_completes()


# -- writes -------------------------------------------------------------------------------------------------------


@pytest.mark.fault(12)
@pytest.mark.parametrize("strategy", ["single", "parallel"])
def test_true_short_writes_are_finished(strategy: str, offload: Offload, inject: Inject) -> None:
    faults = inject(CallFault("write", _BAD, "short=1000"))
    done = offload.run("--strategy", strategy, wrapper=faults.wrapper)
    assert len(faults.fired) > 5000
    assert (done.code, done.states) == (0, ["verified"] * 3)
    assert offload.finals(0) == offload.files


@pytest.mark.fault(13)
def test_write_that_takes_nothing_a_few_times_is_asked_again(offload: Offload, inject: Inject) -> None:
    faults = inject(CallFault("write", ".partial", "none", skip=3, times=3))
    done = offload.run(wrapper=faults.wrapper)
    assert len(faults.fired) == 3
    assert (done.code, done.states) == (0, ["verified"] * 3)


@pytest.mark.fault(13)
def test_write_that_takes_nothing_for_ever_is_an_error(offload: Offload, inject: Inject) -> None:
    faults = inject(CallFault("write", f"{_BAD}{offload.top}.pfn.", "none"))
    done = offload.run(wrapper=faults.wrapper)
    assert 4 <= len(faults.fired) < 100
    _require_failed_alone(offload, done, "write", "EIO")


@pytest.mark.fault(15)
@pytest.mark.parametrize("call", ["write", "fsync", "readv"])
def test_interrupted_calls_are_made_again(call: str, offload: Offload, inject: Inject) -> None:
    faults = inject(CallFault(call, _BAD, "EINTR", times=3))
    done = offload.run(wrapper=faults.wrapper)
    assert len(faults.fired) == 3
    assert (done.code, done.states) == (0, ["verified"] * 3)
    assert offload.finals(0) == offload.files


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("EAGAIN", marks=pytest.mark.fault(16)),
        pytest.param("ENOMEM", marks=pytest.mark.fault(16)),
        pytest.param("EIO", marks=pytest.mark.fault(6)),
        pytest.param("EDQUOT", marks=pytest.mark.fault(4)),
    ],
)
@pytest.mark.parametrize("strategy", ["single", "parallel"])
def test_failed_write_fails_its_destination_only(strategy: str, name: str, offload: Offload, inject: Inject) -> None:
    faults = inject(CallFault("write", f"{_BAD}{offload.top}.pfn.", name, skip=2))
    done = offload.run("--strategy", strategy, "-b", "1M", wrapper=faults.wrapper)
    assert faults.fired
    assert done.code == 3
    offload.require_others_complete(done)
    offload.require_only_true_names()
    assert done.errors(offload.bad)[0]["errno"] == name
    offload.require_next_run_completes()


@pytest.mark.fault(14)
def test_write_that_lies_is_found_out(offload: Offload, inject: Inject) -> None:
    faults = inject(CallFault("write", f"{_BAD}{offload.top}.pfn.", "lie", skip=3, times=1))
    done = offload.run("-b", "1M", wrapper=faults.wrapper)
    assert len(faults.fired) == 1
    assert done.code == 3
    offload.require_others_complete(done)
    offload.require_only_true_names()
    assert offload.clip not in offload.finals(0)
    offload.require_next_run_completes()


def test_bit_that_flips_on_the_way_to_one_destination_is_found_there(offload: Offload, inject: Inject) -> None:
    faults = inject(CallFault("write", f"{_BAD}{offload.top}.pfn.", f"flip={_BYTE}"))
    done = offload.run(wrapper=faults.wrapper)
    assert len(faults.fired) == 1
    assert (done.code, done.states) == (4, ["mismatch", "verified", "verified"])
    offload.require_others_complete(done)
    offload.require_only_true_names()
    assert f"{offload.clip}.corrupt" in offload.finals(0)
    offload.require_next_run_completes()


# -- flushing and closing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [pytest.param("EIO", marks=pytest.mark.fault(7)), pytest.param("ENOSPC", marks=pytest.mark.fault(3))]
)
def test_flush_that_fails_once_is_never_asked_again(name: str, offload: Offload, inject: Inject) -> None:
    faults = inject(CallFault("fsync", f"{_BAD}{offload.top}.pfn.", name, times=1))
    done = offload.run("--strategy", "single", wrapper=faults.wrapper)
    assert len(faults.fired) == 1
    _require_failed_alone(offload, done, "flush", name)


@pytest.mark.fault(8)
def test_failed_close_is_a_failure(tmp_path: Path, inject: Inject) -> None:
    offload = Offload(tmp_path, tmp_path / "d0", tmp_path / "d0", is_folder=True)
    # In this folder the first file that is closed is the large one, when all of it was written and flushed.
    faults = inject(CallFault("close", f"{_BAD}{CARD}/.pfn.", "EIO", times=1))
    done = offload.run("--exclude", "sub", "--exclude", "empty.txt", wrapper=faults.wrapper)
    assert len(faults.fired) == 1
    assert done.code == 3
    error = done.errors(offload.bad)[0]
    assert (error["operation"], error["errno"]) == ("close", "EIO")
    offload.require_only_true_names()
    assert offload.clip not in offload.finals(0)
    offload.require_next_run_completes()


# -- hangs that are not in the kernel --------------------------------------------------------------------------------


@pytest.mark.fault(27)
@pytest.mark.parametrize("call", ["write", "fsync", "readv"])
def test_call_that_never_comes_back_costs_the_stall_time(call: str, offload: Offload, inject: Inject) -> None:
    faults = inject(CallFault(call, f"{_BAD}{offload.top}.pfn.", "hang"))
    done = offload.run("--stall-timeout", str(_STALL_S), wrapper=faults.wrapper)
    assert faults.fired
    assert done.seconds < _STALL_S + _SLACK_S
    assert done.code == 3
    assert "it hangs" in done.errors(offload.bad)[0]["message"]
    offload.require_others_complete(done)
    offload.require_only_true_names()
    done.require_gone()
    offload.require_next_run_completes()


# -- reading back past the page cache ----------------------------------------------------------------------------------


def _ways(done: Ended) -> list[set[str]]:
    files = [each for each in done.events if each["event"] == "file"]
    return [{file["destinations"][number]["read_back"] for file in files if file["size"]} for number in range(3)]


@pytest.mark.fault(44)
@pytest.mark.parametrize("action", ["EINVAL", "EIO", "lie"])
def test_cache_that_cannot_be_dropped_is_read_around(action: str, offload: Offload, inject: Inject) -> None:
    faults = inject(CallFault("posix_fadvise", _BAD, action))
    done = offload.run(wrapper=faults.wrapper)
    assert faults.fired
    assert (done.code, done.states) == (0, ["verified"] * 3)
    ways = _ways(done)
    if ways[1] == {"memory"}:
        pytest.skip("the folder for temporary files is in memory: there is no cache to drop")
    assert ways == [{"direct"}, {"evicted"}, {"evicted"}]
    assert offload.finals(0) == offload.files


@pytest.mark.fault(44, 45)
def test_copy_that_could_only_be_compared_in_the_cache_is_not_called_verified(offload: Offload, inject: Inject) -> None:
    # The openings around the cache are by names in a folder, and are the same on all destinations.
    faults = inject(CallFault("posix_fadvise", _BAD, "lie"), CallFault("open_direct", ".partial", "EINVAL"))
    done = offload.run(wrapper=faults.wrapper)
    assert {line.split()[0] for line in faults.fired} == {"posix_fadvise", "open_direct"}
    if _ways(done)[1] == {"memory"}:
        pytest.skip("the folder for temporary files is in memory: there is no cache to drop")
    assert _ways(done) == [{"cached"}, {"evicted"}, {"evicted"}]
    assert done.states[0] != "verified"
    assert done.states[1:] == ["verified", "verified"]
    assert done.code == 3
    assert "does not count as verified" in done.err
    assert offload.finals(0) == offload.files
    offload.require_next_run_completes()


# -- the source ---------------------------------------------------------------------------------------------------


@pytest.mark.fault(38)
@pytest.mark.parametrize("when", ["per-file", "after-all"])
def test_memory_that_changes_what_is_read_is_found_by_reading_twice(
    when: str, offload: Offload, inject: Inject
) -> None:
    faults = inject(CallFault("readv", "A001/clip.mov", f"flip={_BYTE}", times=1))
    done = offload.run("--verify-source", when, wrapper=faults.wrapper)
    assert len(faults.fired) == 1
    assert (done.code, done.states) == (4, ["mismatch"] * 3)
    for number in range(3):
        assert offload.clip not in offload.finals(number)
    offload.require_next_run_completes("--verify-source", when)


@pytest.mark.parametrize(
    "name", [pytest.param("EIO", marks=pytest.mark.fault(30)), pytest.param("ENODEV", marks=pytest.mark.fault(31))]
)
def test_source_that_cannot_be_read_on_is_on_no_destination(name: str, offload: Offload, inject: Inject) -> None:
    faults = inject(CallFault("readv", "A001/clip.mov", name, skip=2))
    done = offload.run(wrapper=faults.wrapper)
    assert faults.fired
    assert done.code == (3 if offload.is_folder else 1)
    assert done.errors()[0]["errno"] == name
    for number in range(3):
        assert offload.clip not in offload.finals(number)
    offload.require_only_true_names()
    offload.require_next_run_completes()


# -- checking ---------------------------------------------------------------------------------------------------


@pytest.fixture
def handed_over(tmp_path: Path) -> Path:
    card(tmp_path / CARD)
    done = run("--sums", "xxh64be", "-q", tmp_path / CARD, tmp_path / "d0")
    assert done.returncode == 0, done.stderr
    return tmp_path / "d0" / CARD


def _check(folder: Path, faults: PreloadedFaults, *options: str) -> Ended:
    process = start("--check", "--json", *options, folder, wrapper=faults.wrapper, start_new_session=True)
    return ended(process, since=time.monotonic())


@pytest.mark.parametrize(
    ("name", "action", "code"),
    [
        ("clip.mov", f"flip={_BYTE}", 4),
        ("sub/small.txt", "flip=1000", 4),
        ("clip.mov", "EIO", 3),
        ("sub/small.txt", "EIO", 3),
        ("clip.mov", "EINTR", 0),
    ],
)
def test_check_tells_what_reading_gives(name: str, action: str, code: int, handed_over: Path, inject: Inject) -> None:
    faults = inject(CallFault("readv", name, action, times=2 if action == "EINTR" else -1))
    checked = _check(handed_over, faults)
    assert faults.fired
    assert checked.code == code


@pytest.mark.fault(44)
def test_check_reads_around_a_cache_that_cannot_be_dropped(handed_over: Path, inject: Inject) -> None:
    faults = inject(CallFault("posix_fadvise", _BAD, "lie"))
    checked = _check(handed_over, faults)
    assert faults.fired
    assert checked.code == 0


@pytest.mark.fault(44, 45)
def test_check_that_saw_only_the_cache_is_no_proof(handed_over: Path, inject: Inject) -> None:
    faults = inject(CallFault("posix_fadvise", _BAD, "lie"), CallFault("open_direct", "clip.mov", "EINVAL"))
    checked = _check(handed_over, faults)
    assert any(line.startswith("open_direct") for line in faults.fired)
    assert checked.code == 3
