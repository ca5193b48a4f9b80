"""Where jobs are done: what comes back from a job, whatever path it takes, and what hangs, vanishes or is swapped."""

import errno
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from pfndispatchcopy import CopyOptions, State, TreeResult
from pfndispatchcopy.engine import lanes, workplace
from pfndispatchcopy.engine.crew import ChunkSizes, Digests
from pfndispatchcopy.engine.jobs import Job, JobReport, JobSetup, TreeSource, TreeTarget
from pfndispatchcopy.engine.workplace import Turn, Workplace, cancel_everything, execute
from pfndispatchcopy.errors import RefusedError
from pfndispatchcopy.events import ErrorEvent, PartialEvent
from pfndispatchcopy.fileio.names import journal_name
from pfndispatchcopy.journal import Journal
from pfndispatchcopy.model import Identity, ReadBack, Strategy
from tests.support.files import make_file, partials
from tests.support.tree_trial import CARD, AnyCall, TreeSystem, TreeTrial, sweep
from tests.support.trial import open_below

_STALL_S = 0.2
_ALL = [Strategy.BATCH, Strategy.SINGLE, Strategy.PARALLEL]
_ALONE = [Strategy.SINGLE, Strategy.PARALLEL]
_NAMES = ("a.mov", "b.mov", "sub/c.mov")


class _Yard:
    """Three files, three destinations, and a workplace for them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.system = TreeSystem()
        self.cancel = threading.Event()
        self.release = threading.Event()
        self.files = {name: make_file(root / "src" / name, 5000, seed) for seed, name in enumerate(_NAMES)}
        for number in range(3):
            (root / f"d{number}").mkdir()
        self.setup = self.make_setup()
        self.place = Workplace(self.setup, self.system, self.cancel)
        self.place.open()

    def make_setup(self, **options: Any) -> JobSetup:
        targets = []
        for number in range(3):
            path = self.root / f"d{number}"
            identity = Identity(path.stat().st_dev, path.stat().st_ino)
            targets.append(TreeTarget(number, f"label {number}", str(path), identity, False, True))
        return JobSetup(
            key=f"test-{id(self)}-{len(options)}",
            sources=(TreeSource("card", str(self.root / "src"), CARD),),
            targets=tuple(targets),
            options=CopyOptions(**{"stall_timeout_s": 0, **options}),
            digests=Digests(("xxh64be",), "xxh64be"),
            sizes=ChunkSizes(4096, 4, 65536),
            largest_small=4 << 20,
        )

    def job(self, strategy: Strategy, *names: str, targets: tuple[int, ...] = (0, 1, 2)) -> Job:
        rows = []
        for number, path in enumerate(names or _NAMES):
            folder, _, name = path.rpartition("/")
            rows.append((number, folder, name, 5000, False))
        return Job(self.setup, 0, strategy, tuple(rows), targets)

    def open_all(self) -> None:
        """As where the offload itself lends what is open."""
        self.place.source(0)
        for number in range(3):
            self.place.root(number)

    def copy(self, number: int, name: str) -> Path:
        return self.root / f"d{number}" / CARD / name

    def is_good(self, number: int, *names: str) -> bool:
        return all(
            self.copy(number, name).exists() and self.copy(number, name).read_bytes() == self.files[name]
            for name in names or _NAMES
        )

    def close(self) -> None:
        self.release.set()
        self.place.close()


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Yard]:
    monkeypatch.setattr(lanes, "TICK_S", 0.03)
    yard = _Yard(tmp_path)
    yield yard
    yard.close()


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TreeTrial]:
    """A card whose files are copied one by one, in several chunks each."""
    monkeypatch.setattr(lanes, "TICK_S", 0.03)
    trial = TreeTrial(tmp_path, {"clip.mov": 20_000, "empty.txt": 0, "sub/small.txt": 100}, chunk_size=4096)
    yield trial
    trial.end()


def _states(report: JobReport) -> list[list[State]]:
    return [[outcome.state for outcome in sorted(file.outcomes)] for file in report.files]


# -- jobs and reports -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", _ALL)
def test_report_has_an_outcome_for_every_file_and_destination(strategy: Strategy, yard: _Yard) -> None:
    report = execute(yard.job(strategy))
    assert [file.number for file in report.files] == [0, 1, 2]
    assert [sorted(outcome.number for outcome in file.outcomes) for file in report.files] == [[0, 1, 2]] * 3
    assert _states(report) == [[State.VERIFIED] * 3] * 3
    assert {outcome.read_back for file in report.files for outcome in file.outcomes} == {ReadBack.EVICTED}
    assert [(file.size, len(file.digests)) for file in report.files] == [(5000, 1)] * 3
    assert all(
        file.mtime_ns == (yard.root / "src" / name).stat().st_mtime_ns
        for file, name in zip(report.files, _NAMES, strict=True)
    )
    assert (report.notices, report.dead, report.source_gone, report.has_given_up) == ((), (), None, False)
    assert all(yard.is_good(number) for number in range(3))


def test_all_paths_report_the_same(yard: _Yard) -> None:
    reports = []
    for strategy in _ALL:
        report = execute(yard.job(strategy))
        reports.append((report.files, {(each.outcome, each.files, each.size) for each in report.settled}))
        for number in range(3):
            for name in _NAMES:
                yard.copy(number, name).unlink()
    assert reports[0][0] == reports[1][0] == reports[2][0]


@pytest.mark.parametrize("strategy", _ALL)
def test_other_destinations_than_the_job_names_are_not_touched(strategy: Strategy, yard: _Yard) -> None:
    report = execute(yard.job(strategy, targets=(1,)))
    assert _states(report) == [[State.VERIFIED]] * 3
    assert yard.is_good(1)
    assert list((yard.root / "d0").iterdir()) == list((yard.root / "d2").iterdir()) == []
    assert not [path for _, path in yard.system.calls if "/d0" in path or "/d2" in path]


@pytest.mark.parametrize("strategy", _ALL)
def test_job_and_report_survive_the_way_to_another_process(strategy: Strategy, yard: _Yard) -> None:
    job = pickle.loads(pickle.dumps(yard.job(strategy)))
    assert job == yard.job(strategy)
    report = execute(job)
    assert pickle.loads(pickle.dumps(report)) == report


@pytest.mark.parametrize("strategy", _ALL)
def test_report_without_files_comes_to_the_same(strategy: Strategy, yard: _Yard) -> None:
    job = yard.job(strategy)
    yard.copy(1, "b.mov").parent.mkdir()
    yard.copy(1, "b.mov").write_bytes(b"another take")
    bare = execute(job._replace(setup=job.setup._replace(wants_files=False)))
    assert bare.files == ()
    counts: dict[tuple[int, State], int] = {}
    for each in bare.settled:
        key = (each.outcome.number, each.outcome.state)
        counts[key] = counts.get(key, 0) + each.files
        assert each.size == 5000 * each.files
    assert counts == {
        (0, State.VERIFIED): 3,
        (1, State.VERIFIED): 2,
        (1, State.FAILED): 1,
        (2, State.VERIFIED): 3,
    }


@pytest.mark.parametrize("strategy", _ALL)
def test_lines_of_a_report_are_what_a_record_is_read_from(strategy: Strategy, yard: _Yard) -> None:
    report = execute(yard.job(strategy))
    folder = yard.system.open_folder(str(yard.root))
    record = yard.root / journal_name("key")
    record.write_bytes(b"".join(each.line for each in report.settled if each.outcome.number == 0))
    record.chmod(0o600)
    found, doubt = Journal.read(yard.system, folder, "key")
    yard.system.close_folder(folder)
    record.unlink()
    assert doubt is None
    assert sorted(each.path for _, each in found) == sorted(f"{CARD}/{name}" for name in _NAMES)
    assert {(proof.state, proof.read_back, proof.hashes) for proof, _ in found} == {
        (State.VERIFIED, ReadBack.EVICTED, ("xxh64be",))
    }
    digests = {file.digests for file in report.files}
    assert {each.digests for _, each in found} == digests


@pytest.mark.fault(7)
@pytest.mark.parametrize("strategy", _ALL)
def test_nothing_is_remembered_of_what_failed(strategy: Strategy, yard: _Yard) -> None:
    yard.system.fail("flush", errno.EIO, where="/d1/", times=None)
    report = execute(yard.job(strategy))
    assert [each.line for each in report.settled if each.outcome.number == 1] == [b""] * 3
    assert all(each.line for each in report.settled if each.outcome.number != 1)


def test_workplace_is_made_where_there_is_none(yard: _Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in another process."""
    yard.place.close()
    made: dict[str, Workplace] = {}
    monkeypatch.setattr(workplace, "_workplaces", made)
    monkeypatch.setattr(workplace, "native_system", lambda: yard.system)
    try:
        for _ in range(2):
            report = execute(yard.job(Strategy.BATCH))
        assert _states(report) == [[State.IDENTICAL] * 3] * 3
        assert list(made) == [yard.setup.key]
        opened = [path for call, path in yard.system.calls if call == "open_folder"]
        assert sorted(opened) == sorted(str(yard.root / name) for name in ("d0", "d1", "d2", "src"))
    finally:
        for place in list(made.values()):
            yard.place = place


def test_workplace_that_was_made_for_a_job_lets_go_of_the_volumes_when_it_is_closed(tmp_path: Path) -> None:
    """In a process that lives on, as of a cluster, a destination could else never be unmounted."""
    yard = _Yard(tmp_path)
    execute(yard.job(Strategy.BATCH))
    assert len(open_below(tmp_path)) == 4
    yard.place.close()
    assert open_below(tmp_path) == []


def test_folders_that_two_threads_ask_for_at_once_are_all_closed(yard: _Yard) -> None:
    together = threading.Barrier(2)

    def meet(real: Callable[[], Any], *arguments: Any) -> Any:
        with suppress(threading.BrokenBarrierError):
            together.wait(0.5)
        return real()

    yard.system.rule("open_folder", meet, where="/d0", times=None)
    threads = [threading.Thread(target=yard.place.root, args=(0,), name="asking") for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    yard.place.close()
    left = [int(fd) for fd in os.listdir("/proc/self/fd") if _leads_to(fd, str(yard.root))]
    for fd in left:
        os.close(fd)
    assert left == []


def _leads_to(fd: str, folder: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith(folder)
    except OSError:
        return False


def test_told_to_stop_a_process_stops_what_it_does(yard: _Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    cancel = threading.Event()
    monkeypatch.setattr(workplace, "_cancel", cancel)
    monkeypatch.setattr(workplace, "_workplaces", {})
    monkeypatch.setattr(workplace, "native_system", lambda: yard.system)

    def stop(real: Callable[[], Any], *arguments: Any) -> Any:
        cancel_everything()
        return real()

    rule = yard.system.rule("write", stop, where="/d1/")
    report = execute(yard.job(Strategy.BATCH))
    place = workplace._workplaces[yard.setup.key]
    yard.place.close()
    yard.place = place
    assert rule.fired == 1
    assert _states(report) == [[State.CANCELLED] * 3] * 3
    assert partials(yard.root) == []


@pytest.mark.parametrize("strategy", _ALL)
def test_cancelled_workplace_does_nothing(strategy: Strategy, yard: _Yard) -> None:
    yard.cancel.set()
    report = execute(yard.job(strategy))
    assert _states(report) == [[State.CANCELLED] * 3] * 3
    assert all(outcome.error is not None for file in report.files for outcome in file.outcomes)
    assert not any(path.is_file() for path in (yard.root / "d0").rglob("*"))


@pytest.mark.parametrize("strategy", _ALONE)
def test_temporary_names_are_announced_and_taken_back(strategy: Strategy, yard: _Yard) -> None:
    told: list[PartialEvent] = []
    yard.place.observer = lambda event: told.append(event) if isinstance(event, PartialEvent) else None
    execute(yard.job(strategy))
    assert {event.path for event in told if event.exists} == {event.path for event in told if not event.exists}
    assert len({event.path for event in told}) == 9


# -- destinations that are not what they were ------------------------------------------------------------------


@pytest.mark.fault(22)
@pytest.mark.parametrize("strategy", _ALL)
def test_root_that_is_another_folder_than_at_the_start_gets_nothing(strategy: Strategy, yard: _Yard) -> None:
    (yard.root / "d1").rename(yard.root / "unmounted")
    (yard.root / "d1").mkdir()
    report = execute(yard.job(strategy))
    assert _states(report) == [[State.VERIFIED, State.FAILED, State.VERIFIED]] * 3
    assert list((yard.root / "d1").iterdir()) == list((yard.root / "unmounted").iterdir()) == []
    assert any("another folder" in event.notice.message for event in report.notices)


@pytest.mark.fault(80)
@pytest.mark.parametrize("strategy", _ALL)
def test_root_that_leads_elsewhere_only_while_it_is_opened_gets_nothing(strategy: Strategy, yard: _Yard) -> None:
    outside = yard.root / "outside"
    outside.mkdir()

    def swap(real: Callable[[], Any], *arguments: Any) -> Any:
        (yard.root / "d1").rename(yard.root / "aside")
        (yard.root / "d1").symlink_to(outside)
        try:
            return real()
        finally:
            (yard.root / "d1").unlink()
            (yard.root / "aside").rename(yard.root / "d1")

    rule = yard.system.rule("open_folder", swap, where="/d1")
    report = execute(yard.job(strategy))
    assert rule.fired == 1
    assert _states(report) == [[State.VERIFIED, State.FAILED, State.VERIFIED]] * 3
    assert list(outside.iterdir()) == list((yard.root / "d1").iterdir()) == []


@pytest.mark.fault(80)
@pytest.mark.parametrize("strategy", _ALL)
def test_source_that_leads_to_another_folder_than_at_the_start_is_not_read(strategy: Strategy, yard: _Yard) -> None:
    """As in another process, which opens it by its path."""
    status = (yard.root / "src").stat()
    source = yard.setup.sources[0]._replace(identity=Identity(status.st_dev, status.st_ino))
    yard.setup = yard.place.setup = yard.setup._replace(sources=(source,))
    (yard.root / "src").rename(yard.root / "aside")
    for name in _NAMES:
        make_file(yard.root / "outside" / name, 5000, seed=9)
    (yard.root / "src").symlink_to("outside")
    report = execute(yard.job(strategy))
    assert _states(report) == [[State.FAILED] * 3] * 3
    assert report.source_gone is not None
    assert report.source_gone.errno == "ESTALE"
    assert not [path for number in range(3) for path in (yard.root / f"d{number}").rglob("*") if path.is_file()]


@pytest.mark.fault(20)
@pytest.mark.parametrize("strategy", _ALL)
def test_root_that_cannot_be_opened_costs_that_destination(strategy: Strategy, yard: _Yard) -> None:
    rule = yard.system.fail("open_folder", errno.EACCES, where="/d1", times=None)
    report = execute(yard.job(strategy))
    assert rule.fired >= 1
    assert _states(report) == [[State.VERIFIED, State.FAILED, State.VERIFIED]] * 3
    assert list((yard.root / "d1").iterdir()) == []


@pytest.mark.fault(1, 4, 19, 24)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENODEV, errno.ESTALE])
@pytest.mark.parametrize("strategy", _ALL)
def test_destination_that_is_full_or_gone_is_not_asked_again(strategy: Strategy, number: int, yard: _Yard) -> None:
    rule = yard.system.fail("write", number, where="/d1/", times=None)
    report = execute(yard.job(strategy))
    assert rule.fired == 1
    assert _states(report) == [[State.VERIFIED, State.FAILED, State.VERIFIED]] * 3
    ((dead, notice),) = report.dead
    assert (dead, notice.errno) == (1, errno.errorcode[number])
    assert len(report.notices) == 1


@pytest.mark.fault(7)
@pytest.mark.parametrize("strategy", _ALL)
def test_single_failure_does_not_cost_the_destination(strategy: Strategy, yard: _Yard) -> None:
    rule = yard.system.fail("flush", errno.EIO, where="/d1/")
    report = execute(yard.job(strategy))
    assert rule.fired == 1
    assert _states(report) == [[State.VERIFIED, State.FAILED, State.VERIFIED], *[[State.VERIFIED] * 3] * 2]
    assert report.dead == ()


@pytest.mark.fault(31)
@pytest.mark.parametrize("number", [errno.ENODEV, errno.ENXIO, errno.ENOTCONN])
@pytest.mark.parametrize("call", ["open_source_name", "read"])
@pytest.mark.parametrize("strategy", _ALL)
def test_source_that_is_gone_is_not_asked_again(strategy: Strategy, call: str, number: int, yard: _Yard) -> None:
    rule = yard.system.fail(call, number, where="/src/b.mov", times=None)
    report = execute(yard.job(strategy))
    assert rule.fired == 1
    assert _states(report) == [[State.VERIFIED] * 3, [State.FAILED] * 3, [State.FAILED] * 3]
    assert report.source_gone is not None
    assert report.source_gone.errno == errno.errorcode[number]
    assert not yard.copy(0, "sub/c.mov").exists()
    assert not any("c.mov" in path for call, path in yard.system.calls if call == "open_source_name")


@pytest.mark.fault(29)
@pytest.mark.parametrize("strategy", _ALONE)
def test_bug_on_one_destination_costs_that_file_there(strategy: Strategy, yard: _Yard) -> None:
    def explode(real: Callable[[], Any], *arguments: Any) -> Any:
        raise RuntimeError("a bug")

    rule = yard.system.rule("write", explode, where="/d1/")
    report = execute(yard.job(strategy))
    assert rule.fired == 1
    assert _states(report) == [[State.VERIFIED, State.FAILED, State.VERIFIED], *[[State.VERIFIED] * 3] * 2]
    assert "internal error: RuntimeError: a bug" in report.notices[0].notice.message
    assert partials(yard.root) == []


@pytest.mark.fault(29)
@pytest.mark.parametrize("call", ["write", "flush", "read", "rename_to_free_name", "open_source_name"])
def test_bug_in_a_batch_is_raised_and_leaves_nothing_unfinished(call: str, yard: _Yard) -> None:
    def explode(real: Callable[[], Any], *arguments: Any) -> Any:
        raise RuntimeError("a bug")

    rule = yard.system.rule(call, explode, where="/src/" if call == "open_source_name" else "/d1/")
    with pytest.raises(RuntimeError, match="a bug"):
        execute(yard.job(Strategy.BATCH))
    assert rule.fired == 1
    assert partials(yard.root) == []
    for number in range(3):
        for path in (yard.root / f"d{number}").rglob("*.mov"):
            assert path.read_bytes() == yard.files[str(path.relative_to(yard.root / f"d{number}" / CARD))]
    report = execute(yard.job(Strategy.BATCH))
    assert all(state in (State.VERIFIED, State.IDENTICAL) for states in _states(report) for state in states)


# -- whose turn it is -----------------------------------------------------------------------------------------


def test_turn_is_given_back_once() -> None:
    turns = threading.Semaphore(1)
    turn = Turn(turns, threading.Event())
    turn.end()
    turn.end()
    assert turns.acquire(blocking=False)
    assert not turns.acquire(blocking=False)


def test_turn_is_waited_for_until_a_cancel() -> None:
    turns, cancel = threading.Semaphore(1), threading.Event()
    first = Turn(turns, cancel)
    timer = threading.Timer(0.05, cancel.set)
    timer.start()
    second = Turn(turns, cancel)
    timer.join()
    second.end()  # which never had it
    assert not turns.acquire(blocking=False)
    first.end()
    assert turns.acquire(blocking=False)


@pytest.mark.parametrize("readers", [1, 2])
@pytest.mark.parametrize("strategy", _ALONE)
def test_so_many_files_are_read_at_once_as_there_are_readers(strategy: Strategy, readers: int, yard: _Yard) -> None:
    yard.place.turns = threading.Semaphore(readers)
    yard.open_all()
    reading: set[str] = set()
    most = 0
    lock = threading.Lock()
    met = threading.Event()

    def read(real: Callable[[], int], fd: int, buffer: memoryview) -> int:
        nonlocal most
        name = os.readlink(f"/proc/self/fd/{fd}")
        with lock:
            reading.add(name)
            most = max(most, len(reading))
        if len(reading) > 1:
            met.set()
        met.wait(0.1)
        count = real()
        if count == 0:
            with lock:
                reading.discard(name)
        return count

    yard.system.rule("read", read, where="/src/", times=None)
    _at_once(*(yard.job(strategy, name) for name in ("a.mov", "b.mov")))
    assert most == readers
    assert all(yard.is_good(number, "a.mov", "b.mov") for number in range(3))


def _at_once(*jobs: Job) -> list[JobReport]:
    reports: list[JobReport] = []
    threads = [threading.Thread(target=lambda job=job: reports.append(execute(job)), name="job") for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(reports) == len(jobs)
    return reports


@pytest.mark.parametrize("strategy", _ALONE)
def test_next_file_is_read_while_the_one_before_is_made_durable(strategy: Strategy, yard: _Yard) -> None:
    """A flush of the first file waits for the second one to be read: with one reader that works all the same."""
    is_read = threading.Event()
    yard.open_all()

    def read(real: Callable[[], int], *arguments: Any) -> int:
        count = real()
        if count == 0:
            is_read.set()
        return count

    def flush(real: Callable[[], Any], *arguments: Any) -> Any:
        assert is_read.wait(5)
        return real()

    second = yard.system.rule("read", read, where="/src/b.mov", times=None)
    first = yard.system.rule("flush", flush, where="/d1/", nth=1)
    threads = [threading.Thread(target=execute, args=(yard.job(strategy, "a.mov"),), name="job")]
    threads[0].start()
    until = monotonic() + 5
    while not first.fired and monotonic() < until:
        sleep(0.002)
    execute(yard.job(strategy, "b.mov"))
    threads[0].join(10)
    assert (first.fired, second.fired > 0) == (1, True)
    assert all(yard.is_good(number, "a.mov", "b.mov") for number in range(3))


def test_jobs_of_all_kinds_may_be_done_at_once(yard: _Yard) -> None:
    yard.open_all()
    jobs = [yard.job(strategy, name) for strategy, name in zip(_ALL, _NAMES, strict=True)]
    reports = _at_once(*jobs)
    assert [_states(report) for report in reports] == [[[State.VERIFIED] * 3]] * 3
    assert len(yard.place._crews) <= 3


def test_crews_serve_one_job_after_another(yard: _Yard) -> None:
    for strategy in _ALL * 2:
        execute(yard.job(strategy))
    assert len(yard.place._crews) == 1
    before = threading.active_count()
    execute(yard.job(Strategy.PARALLEL))
    assert threading.active_count() == before


# -- every call fails in turn, in files that are copied one by one ------------------------------------------------


@pytest.mark.fault(1, 6, 7, 8, 9, 10)
@pytest.mark.parametrize("strategy", _ALONE)
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=lambda number: errno.errorcode[number])
def test_calls_on_a_destination_may_fail_in_turn(error: int, strategy: Strategy) -> None:
    """Some, and not the same ones for each error and path; all of them for batches, in test_batch.py."""

    def check(trial: TreeTrial, fault: AnyCall) -> None:
        result = trial.run_within(20)
        trial.require_good(result, 0, 2)
        trial.require_nothing_false()
        mine = result.destinations[1]
        assert mine.success == (mine.error is None) == (trial.notices(ErrorEvent) == [])
        assert result.exit_code == (0 if mine.success else 4 if mine.state is State.MISMATCH else 3)
        if fault.victim != "remove_name":
            assert [path for path in partials(trial.root) if path.name != journal_name(CARD)] == []
        assert open_below(trial.root) == []
        again = trial.run_again()
        assert again.exit_code == 0, trial.notices(ErrorEvent)
        for number in range(3):
            for name, data in trial.files.items():
                assert trial.copy(number, name).read_bytes() == data

    def rule(trial: TreeTrial, nth: int) -> AnyCall:
        return trial.fail_any(error, 1, nth, after="open_folder")

    part = 2 * _ALONE.index(strategy) + (error == errno.ENOSPC)
    sweep(check, rule, part, 11, strategy=strategy)


@pytest.mark.fault(30, 31)
@pytest.mark.parametrize("strategy", _ALONE)
@pytest.mark.parametrize("error", [errno.EIO, errno.ENODEV], ids=lambda number: errno.errorcode[number])
def test_calls_on_the_source_may_fail_in_turn(error: int, strategy: Strategy) -> None:
    def check(trial: TreeTrial, fault: AnyCall) -> None:
        try:
            result = trial.run_within(20)
        except RefusedError:
            assert all(trial.names(number) == [] for number in range(3))
        else:
            assert (result.exit_code == 0) == (trial.notices(ErrorEvent) == [])
            assert open_below(trial.root) == []
        trial.require_nothing_false()
        assert [path for path in partials(trial.root) if path.name != journal_name(CARD)] == []
        again = trial.run_again()
        assert again.exit_code == 0
        trial.require_good(again, 0, 1, 2)

    part = 2 * _ALONE.index(strategy) + (error == errno.ENODEV)
    sweep(check, lambda trial, nth: trial.fail_any(error, None, nth), part, 5, strategy=strategy)


@pytest.mark.parametrize("strategy", _ALONE)
def test_file_whose_folder_cannot_be_made_is_named_as_a_whole(strategy: Strategy, trial: TreeTrial) -> None:
    rule = trial.fail("make_subfolder", errno.EIO, 1)
    trial.run(strategy=strategy)
    assert rule.fired == 1
    [notice] = trial.notices(ErrorEvent)
    assert notice.path == f"{trial.label(1)}/{CARD}/clip.mov"
    assert trial.run_again().exit_code == 0


# -- hangs, in files that are copied one by one -----------------------------------------------------------------

_MOMENTS = [
    ("make_subfolder", 1),
    ("open_subfolder", 1),
    ("status_of_name", 1),
    ("open_name", 1),
    ("write", 1),
    ("write", 3),
    ("set_times", 1),
    ("flush", 1),
    ("close", 1),
    ("read", 1),
    ("rename_to_free_name", 1),
    ("flush_folder", 2),
]


def _message(result: TreeResult, number: int = 1) -> str:
    error = result.destinations[number].error
    assert error is not None
    return error.message


@pytest.mark.fault(27, 28)
@pytest.mark.leaks
@pytest.mark.parametrize("strategy", _ALONE)
@pytest.mark.parametrize(("call", "nth"), _MOMENTS)
def test_destination_that_hangs_is_given_up_and_the_others_never_notice(
    call: str, nth: int, strategy: Strategy, trial: TreeTrial
) -> None:
    rule = trial.hang(call, 1, nth=nth)
    begin = monotonic()
    result = trial.run_within(8, strategy=strategy, stall_timeout_s=_STALL_S)
    assert monotonic() - begin < _STALL_S + 3
    assert rule.fired >= 1
    trial.require_good(result, 0, 2)
    each = result.destinations[1]
    assert (each.state, each.files_failed) == (State.FAILED, 3)
    assert "it hangs: nothing finished for 0.2 s" in _message(result)
    assert result.exit_code == 3
    assert trial.offload is not None
    assert trial.offload.has_given_up
    assert [notice.destination for notice in trial.notices(ErrorEvent)] == [trial.label(1)]
    trial.end()
    trial.require_nothing_false()
    trial.require_good(result, 0, 2)


@pytest.mark.fault(27)
@pytest.mark.leaks
@pytest.mark.parametrize("strategy", _ALONE)
def test_hang_behind_the_rename_leaves_the_copy_but_does_not_call_it_durable(
    strategy: Strategy, trial: TreeTrial
) -> None:
    rule = trial.hang("flush_folder", 1, name=CARD)
    result = trial.run_within(8, strategy=strategy, stall_timeout_s=_STALL_S)
    assert rule.fired >= 1
    trial.require_good(result, 0, 2)
    assert (result.destinations[1].state, result.destinations[1].files_ok) == (State.FAILED, 0)
    assert trial.copy(1, "clip.mov").read_bytes() == trial.files["clip.mov"]


@pytest.mark.fault(27)
@pytest.mark.leaks
@pytest.mark.parametrize("strategy", _ALONE)
def test_hang_in_a_later_file_leaves_the_earlier_ones_good(strategy: Strategy, trial: TreeTrial) -> None:
    rule = trial.hang("write", 1, name="small.txt")
    result = trial.run_within(8, strategy=strategy, stall_timeout_s=_STALL_S)
    assert rule.fired >= 1
    trial.require_good(result, 0, 2)
    each = result.destinations[1]
    assert (each.state, each.files_ok, each.files_failed) == (State.FAILED, 2, 1)
    assert trial.copy(1, "clip.mov").read_bytes() == trial.files["clip.mov"]


@pytest.mark.fault(27)
@pytest.mark.leaks
@pytest.mark.parametrize("strategy", _ALONE)
def test_two_destinations_may_hang(strategy: Strategy, trial: TreeTrial) -> None:
    rules = [trial.hang("write", 0), trial.hang("flush", 2)]
    result = trial.run_within(10, strategy=strategy, stall_timeout_s=_STALL_S)
    assert all(rule.fired for rule in rules)
    trial.require_good(result, 1)
    assert [result.destinations[number].state for number in (0, 2)] == [State.FAILED] * 2


@pytest.mark.fault(27)
@pytest.mark.leaks
@pytest.mark.parametrize("strategy", _ALONE)
def test_all_destinations_may_hang(strategy: Strategy, trial: TreeTrial) -> None:
    rules = [trial.hang("write", number) for number in range(3)]
    result = trial.run_within(10, strategy=strategy, stall_timeout_s=_STALL_S)
    assert all(rule.fired for rule in rules)
    assert [each.state for each in result.destinations] == [State.FAILED] * 3
    assert result.exit_code == 1


@pytest.mark.leaks
@pytest.mark.parametrize("strategy", _ALONE)
@pytest.mark.parametrize(("call", "nth"), [("open_source_name", 1), ("status_of_file", 2), ("read", 1), ("read", 3)])
def test_source_that_hangs_ends_the_run(call: str, nth: int, strategy: Strategy, trial: TreeTrial) -> None:
    rule = trial.hang(call, nth=nth)
    result = trial.run_within(8, strategy=strategy, stall_timeout_s=_STALL_S)
    assert rule.fired >= 1
    assert [(each.state, each.files_ok) for each in result.destinations] == [(State.FAILED, 0)] * 3
    assert all("it hangs" in _message(result, number) for number in range(3))
    assert result.exit_code == 1
    trial.end()
    trial.require_nothing_false()
    assert not any(trial.copy(number, "clip.mov").exists() for number in range(3))


@pytest.mark.fault(27)
@pytest.mark.leaks
@pytest.mark.parametrize("strategy", _ALONE)
@pytest.mark.parametrize("call", ["open_name", "write", "flush"])
def test_what_a_hung_file_held_is_free_again_when_the_hang_is_over(
    call: str, strategy: Strategy, trial: TreeTrial
) -> None:
    """As it is for a single file, and for a batch."""
    rule = trial.hang(call, 1, name="clip.mov")
    trial.run_within(8, strategy=strategy, stall_timeout_s=_STALL_S)
    assert rule.fired >= 1
    trial.end()
    trial.require_no_partials(but_records=True)
    assert open_below(trial.root) == []


@pytest.mark.fault(27)
@pytest.mark.leaks
@pytest.mark.parametrize("strategy", _ALONE)
@pytest.mark.parametrize("call", ["open_name", "write", "flush"])
def test_destination_that_hung_can_be_written_again_when_the_hang_is_over(
    call: str, strategy: Strategy, trial: TreeTrial
) -> None:
    rule = trial.hang(call, 1, name="clip.mov")
    trial.run_within(8, strategy=strategy, stall_timeout_s=_STALL_S)
    assert rule.fired >= 1
    trial.end()
    again = trial.run_again()
    assert again.exit_code == 0
    trial.require_good(again, 0, 1, 2)


@pytest.mark.fault(27)
@pytest.mark.leaks
@pytest.mark.parametrize("strategy", _ALONE)
@pytest.mark.parametrize("call", ["write", "flush"])
def test_cancel_does_not_wait_for_a_destination_that_hangs(
    call: str, strategy: Strategy, trial: TreeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "CANCEL_GRACE_S", 0.3)
    rule = trial.hang(call, 1)
    cancel_soon = threading.Timer(0.15, trial.cancel.set)
    cancel_soon.start()
    result = trial.run_within(5, strategy=strategy)
    cancel_soon.join()
    assert rule.fired == 1
    assert [result.destinations[number].state for number in (0, 2)] == [State.CANCELLED] * 2
    assert result.destinations[1].state in (State.CANCELLED, State.FAILED)
    trial.end()
    trial.require_nothing_false()


# -- cancel, in files that are copied one by one -----------------------------------------------------------------


@pytest.mark.parametrize("strategy", _ALONE)
@pytest.mark.parametrize(("call", "nth"), [("make_subfolder", 1), ("open_name", 1), ("write", 1), ("write", 3)])
def test_cancel_stops_at_the_next_chunk_and_leaves_nothing(
    call: str, nth: int, strategy: Strategy, trial: TreeTrial
) -> None:
    gate = threading.Event()

    def cancel(real: Callable[[], Any], *arguments: Any) -> Any:
        trial.cancel.set()
        gate.set()
        return real()

    def wait_for_the_cancel(real: Callable[[], int], *arguments: Any) -> int:
        assert gate.wait(5)
        return real()

    rule = trial.rule(call, cancel, 1, nth=nth)
    trial.rule("read", wait_for_the_cancel, nth=nth + 1, times=None)
    result = trial.run_within(10, strategy=strategy)
    assert rule.fired == 1
    assert [each.state for each in result.destinations] == [State.CANCELLED] * 3
    assert [trial.names(number) for number in range(3)] == [[], [], []]
    assert trial.notices(ErrorEvent) == []
    assert result.exit_code == 1


@pytest.mark.parametrize("strategy", _ALONE)
def test_cancel_after_a_file_keeps_that_and_a_second_run_does_not_copy_it_again(
    strategy: Strategy, trial: TreeTrial
) -> None:
    rule = trial.cancel_at("open_source_name", name="small.txt")
    result = trial.run_within(10, strategy=strategy)
    assert rule.fired == 1
    assert [(each.state, each.files_ok, each.files_failed) for each in result.destinations] == [
        (State.CANCELLED, 2, 1)
    ] * 3
    inodes = {
        (number, name): trial.copy(number, name).stat().st_ino
        for number in range(3)
        for name in ("clip.mov", "empty.txt")
    }
    again = trial.run_again(strategy=strategy)
    assert again.exit_code == 0
    trial.require_good(again, 0, 1, 2)
    assert inodes == {(number, name): trial.copy(number, name).stat().st_ino for number, name in inodes}
    assert [trial.reads_of(name) for name in ("clip.mov", "empty.txt", "sub/small.txt")] == [0, 0, 1]
