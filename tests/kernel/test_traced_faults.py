"""The command with system calls that fail, and killed at any of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pfndispatchcopy.hashing import digests_of
from tests.faults.scenarios import Count, fast_folder
from tests.kernel.injection import CARD, Ended, Offload, count_of
from tests.kernel.tracing import Traced, known_names, needs_strace

Trace = Callable[..., Traced]


@pytest.fixture(autouse=True, scope="module")
def _tracer() -> None:
    needs_strace()


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    return lambda calls, *inject, paths=(): Traced(tmp_path / "trace", calls.split(), *inject, paths=paths)


@pytest.fixture(params=[False, True], ids=["file", "folder"])
def offload(request: pytest.FixtureRequest, tmp_path: Path) -> Offload:
    return Offload(tmp_path, tmp_path / "d0", tmp_path / "d0", is_folder=request.param)


def _folder(offload: Offload) -> Path:
    """Where the large file goes on the first destination, which exists."""
    folder = offload.root / "d0" / offload.top
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _partials(offload: Offload) -> list[Path]:
    """The temporary names of the large file on the first destination."""
    return [_folder(offload) / name for name in known_names("clip.mov")]


def _require_failed_alone(offload: Offload, done: Ended, operation: str, name: str) -> None:
    assert done.code == 3, done.err
    error = done.errors(offload.bad)[0]
    assert (error["operation"], error["errno"]) == (operation, name)
    offload.require_others_complete(done)
    offload.require_only_true_names()


# -- one call fails -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["single", "parallel"])
@pytest.mark.parametrize(
    ("call", "inject", "operation", "name"),
    [
        pytest.param("write", "error=EIO:when=3", "write", "EIO", marks=pytest.mark.fault(6)),
        pytest.param("write", "error=ENOSPC:when=3+", "write", "ENOSPC", marks=pytest.mark.fault(1)),
        pytest.param("write", "error=EFBIG:when=3+", "write", "EFBIG", marks=pytest.mark.fault(5)),
        pytest.param("write", "error=ENXIO:when=2+", "write", "ENXIO", marks=pytest.mark.fault(24)),
        pytest.param("fsync", "error=EIO:when=1", "flush", "EIO", marks=pytest.mark.fault(7)),
        pytest.param("fsync", "error=EDQUOT:when=1", "flush", "EDQUOT", marks=pytest.mark.fault(4)),
    ],
)
def test_failed_call_fails_its_destination_only(
    call: str, inject: str, operation: str, name: str, strategy: str, offload: Offload, trace: Trace
) -> None:
    traced = trace(call, f"{call}:{inject}", paths=_partials(offload))
    done = offload.run("--strategy", strategy, "-b", "1M", wrapper=traced.wrapper)
    assert traced.fired
    assert call != "fsync" or len(traced.fired) == 1, "a flush that failed was asked again"
    _require_failed_alone(offload, done, operation, name)
    assert offload.clip not in offload.finals(0)
    offload.require_next_run_completes()


@pytest.mark.fault(8)
def test_failed_close_is_a_failure(offload: Offload, trace: Trace) -> None:
    # Of one file, the probe had the same name, and was closed before.
    nth = 1 if offload.is_folder else 2
    traced = trace("close", f"close:error=EIO:when={nth}", paths=_partials(offload))
    done = offload.run("--strategy", "parallel", wrapper=traced.wrapper)
    assert len(traced.fired) == 1
    _require_failed_alone(offload, done, "close", "EIO")
    assert offload.clip not in offload.finals(0)
    offload.require_next_run_completes()


@pytest.mark.fault(9)
@pytest.mark.parametrize("name", ["EIO", "EROFS", "EACCES"])
def test_failed_rename_leaves_no_final_name(name: str, offload: Offload, trace: Trace) -> None:
    traced = trace("renameat2", f"renameat2:error={name}", paths=[_folder(offload)])
    done = offload.run(wrapper=traced.wrapper)
    assert traced.fired
    _require_failed_alone(offload, done, "rename", name)
    assert offload.clip not in offload.finals(0)
    offload.require_next_run_completes()


@pytest.mark.parametrize("name", ["ENOSYS", "EINVAL"])
def test_system_without_an_exclusive_rename_gets_the_same_copies(name: str, offload: Offload, trace: Trace) -> None:
    traced = trace("renameat2", f"renameat2:error={name}")
    done = offload.run(wrapper=traced.wrapper)
    assert traced.fired
    assert (done.code, done.states) == (0, ["verified"] * 3)
    for number in range(3):
        assert offload.finals(number) == offload.files


@pytest.mark.fault(10)
def test_folder_that_cannot_be_flushed_has_the_copy_but_it_is_not_called_durable(
    offload: Offload, trace: Trace
) -> None:
    traced = trace("fsync", "fsync:error=EIO", paths=[_folder(offload)])
    done = offload.run(wrapper=traced.wrapper)
    assert traced.fired
    _require_failed_alone(offload, done, "flush the folder", "EIO")
    assert offload.clip in offload.finals(0)
    offload.require_next_run_completes()


@pytest.mark.fault(11)
@pytest.mark.parametrize("name", ["EINVAL", "EOPNOTSUPP", "ENOSYS", "ENOTTY"])
def test_file_system_that_cannot_flush_folders_is_a_warning(name: str, offload: Offload, trace: Trace) -> None:
    traced = trace("fsync", f"fsync:error={name}", paths=[_folder(offload)])
    done = offload.run(wrapper=traced.wrapper)
    assert traced.fired
    assert (done.code, done.states) == (0, ["verified"] * 3)
    warnings = [each for each in done.events if each["event"] == "warning" and each["destination"] == offload.bad]
    assert "flush the folder" in {each["operation"] for each in warnings}


@pytest.mark.fault(14)
def test_write_that_lies_is_found_out(offload: Offload, trace: Trace) -> None:
    traced = trace("write", "write:retval=1048576:when=2", paths=_partials(offload))
    done = offload.run("--strategy", "single", "-b", "1MiB", wrapper=traced.wrapper)
    assert len(traced.fired) == 1
    assert done.code == 3
    offload.require_others_complete(done)
    offload.require_only_true_names()
    assert offload.clip not in offload.finals(0)
    offload.require_next_run_completes()


@pytest.mark.fault(15)
def test_interrupted_writes_are_made_again(offload: Offload, trace: Trace) -> None:
    traced = trace("write", "write:error=EINTR:when=2..4", paths=_partials(offload))
    done = offload.run("-b", "1M", wrapper=traced.wrapper)
    assert len(traced.fired) == 3
    assert (done.code, done.states) == (0, ["verified"] * 3)
    assert offload.finals(0) == offload.files


# -- reading back -----------------------------------------------------------------------------------------------------


@pytest.mark.fault(44, 45)
def test_no_way_around_the_cache_is_told_and_nothing_is_called_verified(offload: Offload, trace: Trace) -> None:
    # Of one file, the probe had the same name; the partial is made, opened for reading, and once more past the cache.
    nth = 3 if offload.is_folder else 4
    names = [known_names("clip.mov", number)[0] for number in range(3)]
    full = [offload.root / f"d{number}" / offload.top / name for number, name in enumerate(names)]
    faults = ("fadvise64:error=EINVAL", f"openat:error=EINVAL:when={nth}")
    traced = trace("fadvise64 openat", *faults, paths=[*names, *full])
    done = offload.run("--strategy", "parallel", wrapper=traced.wrapper)
    if any(each["event"] == "file" and each["destinations"][0]["read_back"] == "memory" for each in done.events):
        pytest.skip("the folder for temporary files is in memory: there is no cache to read around")
    assert sum("O_DIRECT" in line for line in traced.lines) == 3
    assert sum("openat" in line for line in traced.fired) == 3
    [clip] = [each for each in done.events if each["event"] == "file" and each["path"].endswith("clip.mov")]
    assert [each["read_back"] for each in clip["destinations"]] == ["cached"] * 3
    assert "verified" not in [each["state"] for each in clip["destinations"]]
    assert done.code in (1, 3)
    offload.require_only_true_names()
    offload.require_next_run_completes()


@pytest.mark.fault(46)
def test_copy_that_cannot_be_read_back_is_no_copy(offload: Offload, trace: Trace) -> None:
    traced = trace("readv", "readv:error=EIO:when=2", paths=_partials(offload))
    done = offload.run(wrapper=traced.wrapper)
    assert traced.fired
    assert (done.code, done.states[0]) == (4, "mismatch")
    offload.require_others_complete(done)
    offload.require_only_true_names()
    offload.require_next_run_completes()


@pytest.mark.fault(43)
def test_memory_that_changes_behind_the_hash_is_found_on_every_destination(offload: Offload, trace: Trace) -> None:
    traced = trace("write", "write:poke_enter=@arg2=deadbeef:when=2", paths=_partials(offload))
    done = offload.run("--strategy", "single", "-b", "1M", wrapper=traced.wrapper)
    assert len(traced.fired) == 1
    assert done.code == 4
    assert done.states == ["mismatch"] * 3, "one buffer for all: it was wrong on all of them"
    copies = {offload.finals(number)[f"{offload.clip}.corrupt"] for number in range(3)}
    assert len(copies) == 1, "wrong in the same way, so that a comparison with each other would have passed"
    for number in range(3):
        assert offload.clip not in offload.finals(number)
    offload.require_next_run_completes()


# -- the source -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [pytest.param("ENODEV", marks=pytest.mark.fault(31)), pytest.param("EIO", marks=pytest.mark.fault(30))]
)
def test_source_that_is_pulled_out_is_on_no_destination(name: str, offload: Offload, trace: Trace) -> None:
    traced = trace("readv", f"readv:error={name}:when=3+", paths=[offload.root / CARD / "clip.mov"])
    done = offload.run("-b", "1M", wrapper=traced.wrapper)
    assert traced.fired
    assert done.code == (3 if offload.is_folder else 1)
    assert done.errors()[0]["errno"] == name
    for number in range(3):
        assert offload.clip not in offload.finals(number)
    offload.require_only_true_names()
    offload.require_next_run_completes()


@pytest.mark.fault(31)
def test_files_behind_the_one_where_the_source_went_are_not_tried(tmp_path: Path, trace: Trace) -> None:
    offload = Offload(tmp_path, tmp_path / "d0", tmp_path / "d0", is_folder=True)
    names = ("clip.mov", "empty.txt", "small.txt")
    full = [tmp_path / CARD / name for name in ("clip.mov", "sub/small.txt")]
    traced = trace("openat readv", "openat:error=ENODEV", "readv:error=ENODEV", paths=[*names, *full])
    done = offload.run(wrapper=traced.wrapper)
    assert traced.fired
    assert done.code == 1
    assert {each["errno"] for each in done.errors()} == {"ENODEV"}
    for number in range(3):
        assert offload.finals(number) == {}
    offload.require_next_run_completes()


@pytest.mark.fault(39)
@pytest.mark.parametrize("name", ["EIO", "EACCES"])
def test_folder_that_cannot_be_listed_is_never_a_smaller_tree_without_a_word(
    name: str, tmp_path: Path, trace: Trace
) -> None:
    offload = Offload(tmp_path, tmp_path / "d0", tmp_path / "d0", is_folder=True)
    traced = trace("getdents64", f"getdents64:error={name}", paths=[tmp_path / CARD / "sub"])
    done = offload.run(wrapper=traced.wrapper)
    assert traced.fired
    assert done.code == 3
    [error] = done.errors()
    assert (error["errno"], error["path"]) == (name, str(tmp_path / CARD / "sub"))
    for number in range(3):
        assert set(offload.finals(number)) == {f"{CARD}/clip.mov", f"{CARD}/empty.txt"}
    offload.require_next_run_completes()


# -- killed at any call --------------------------------------------------------------------------------------------

_CHANGING = (
    "write pwrite64 fsync fdatasync renameat renameat2 rename unlink unlinkat mkdir mkdirat rmdir link linkat symlinkat"
    " fchmod fchmodat utimensat fallocate ftruncate flock sync_file_range fadvise64 close"
)
# Of each scenario.
_KILLED_EVERY_DAY = 13
_SCENARIOS = {
    "file": (False, ("--mhl", "legacy", "--sums", "md5")),
    "folder": (True, ("--mhl", "asc", "--sums", "md5", "--jobs", "1")),
}


@pytest.fixture(params=_SCENARIOS)
def scenario(request: pytest.FixtureRequest) -> tuple[bool, tuple[str, ...]]:
    return _SCENARIOS[request.param]


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Count:
    return count_of(request)


def _require_true_lists(offload: Offload, number: int) -> None:
    """What a list tells of is there, and is as it says."""
    root = offload.root / f"d{number}"
    known = {path: digests_of(["md5"], data)["md5"] for path, data in offload.files.items()}
    for path in root.rglob("*.md5"):
        for line in path.read_text().splitlines():
            digest, _, name = line.partition("  ")
            listed = (path.parent / name).relative_to(root)
            assert known[str(listed)] == digest
            assert (root / listed).exists(), f"{path.name} lists {listed}, which is not there"
    for path in root.rglob("*.mhl"):
        text = path.read_text()
        assert text.rstrip().endswith(("</hashlist>", "</ascmhldirectory>")), f"{path} is not whole"
    for path in root.rglob("*.journal.partial"):
        for record in path.read_bytes().split(b"\n")[:-1]:
            for listed, *_ in json.loads(record.partition(b" ")[2]).get("files", ()):
                assert (root / listed).exists(), f"the record tells of {listed}, which is not there"


def _require_survived(offload: Offload) -> None:
    """What is there after a kill is true, and the next run completes it."""
    lists = (".md5", ".mhl", "ascmhl_chain.xml")
    for number in range(3):
        for path, data in offload.finals(number).items():
            assert path.endswith(lists) or data == offload.files[path], f"wrong bytes under {path} on {number}"
        _require_true_lists(offload, number)


def _kill_at(points: list[tuple[str, int]], is_folder: bool, options: tuple[str, ...]) -> tuple[int, list[str]]:
    """Kill a run at each of these points, and complete it; returns how many were killed, and what went wrong."""
    killed, problems = 0, []
    with fast_folder() as root:
        offload = Offload(root, root / "d0", root / "d0", is_folder=is_folder)
        for call, nth in points:
            for number in range(3):
                shutil.rmtree(root / f"d{number}", ignore_errors=True)
            traced = Traced(root / "trace", [call], f"{call}:signal=SIGKILL:when={nth}")
            done = offload.run(*options, wrapper=traced.wrapper)
            done.require_gone()
            killed += traced.was_killed
            try:
                _require_survived(offload)
                again = offload.run(*options)
                assert again.code == 0, again.err
                _require_survived(offload)
                for number in range(3):
                    assert set(offload.files) <= set(offload.finals(number))
                    assert offload.temporary(number) == []
            except AssertionError as error:
                problems.append(f"{call} {nth}: {error}")
    return killed, problems


def _all_points(is_folder: bool, options: tuple[str, ...]) -> list[tuple[str, int]]:
    """Every call of a run that was not killed, as strace counts them."""
    with fast_folder() as root:
        offload = Offload(root, root / "d0", root / "d0", is_folder=is_folder)
        traced = Traced(root / "trace", _CHANGING.split())
        assert offload.run(*options, wrapper=traced.wrapper).code == 0
        most = traced.most_by_a_thread()
    return [(call, nth) for call, count in sorted(most.items()) for nth in range(1, count + 1)]


@pytest.mark.fault(51, 57)
@pytest.mark.timeout(180)
def test_run_that_is_killed_at_a_call_is_completed_by_the_next_one(
    scenario: tuple[bool, tuple[str, ...]], count: Count
) -> None:
    is_folder, options = scenario
    points = _all_points(is_folder, options)
    # Not the closes: half of all calls, and nothing happens at them that does not happen at the next call.
    changing = [point for point in points if point[0] != "close"]
    step = max(1, len(changing) // _KILLED_EVERY_DAY)
    killed, problems = _kill_at(changing[::step], is_folder, options)
    count("killed at a system call", killed, len(problems))
    assert killed >= _KILLED_EVERY_DAY * 2 // 3, "hardly a kill: this test has lost its meaning"
    assert not problems, "\n".join(problems)


@pytest.mark.fault(51, 57)
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_run_that_is_killed_at_any_call_is_completed_by_the_next_one(
    scenario: tuple[bool, tuple[str, ...]], count: Count
) -> None:
    is_folder, options = scenario
    points = _all_points(is_folder, options)
    killed, problems = _kill_at(points, is_folder, options)
    count("killed at a system call", killed, len(problems))
    assert killed >= len(points) // 2
    assert not problems, "\n".join(problems)
