"""The places of a run: each works in a lane of its own, fails alone, and leaves no probe behind."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from pfndispatchcopy.engine import lanes
from pfndispatchcopy.engine.lanes import Supervisor
from pfndispatchcopy.errors import RefusedError, UsageError
from pfndispatchcopy.events import ErrorEvent, Event
from pfndispatchcopy.fileio.folders import DestinationFolder
from pfndispatchcopy.fileio.names import is_temporary
from pfndispatchcopy.model import Notice
from pfndispatchcopy.places import Place, Places, no_room_for, same_destination, same_file
from tests.support.faulty_system import FaultySystem

_STALL_S = 0.2


class _Yard:
    """Three places, and a supervisor of their lanes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.system = FaultySystem()
        self.events: list[Event] = []
        self.cancel = threading.Event()
        self.release = threading.Event()
        self.supervisor = Supervisor(_STALL_S, self.cancel)
        self.all = [Place(number, f"label {number}", self.supervisor.watch(str(number))) for number in range(3)]
        self.places = Places(self.all, self.supervisor, self.events.append)

    def hire(self) -> None:
        self.places.hire(self.system, 10, 20)

    def enter(self, place: Place) -> None:
        path = self.root / f"d{place.number}"
        path.mkdir(exist_ok=True)
        place.folder = DestinationFolder.open(self.system, str(path))
        place.probe = place.folder.probe(place.probed_name)

    def close(self) -> None:
        self.release.set()
        self.supervisor.close()
        for place in self.all:
            if place.folder is not None:
                place.folder.close()


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Yard]:
    monkeypatch.setattr(lanes, "TICK_S", 0.03)
    yard = _Yard(tmp_path)
    yield yard
    yard.close()


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- lanes ----------------------------------------------------------------------------------------------------


def test_every_place_and_the_source_get_a_lane(yard: _Yard) -> None:
    before = set(threading.enumerate())
    source = yard.places.hire(yard.system, 10, 20)
    names = sorted(each.name for each in threading.enumerate() if each not in before)
    assert names == ["pfn-destination-0", "pfn-destination-1", "pfn-destination-2", "pfn-source"]
    assert source.name == "pfn-source"
    assert [lane.name for lane in yard.places.lanes] == names[:3]


def test_descriptors_are_asked_for_in_time(yard: _Yard) -> None:
    asked: list[int] = []

    def limit(real: Callable[[], int], needed: int) -> int:
        asked.append(needed)
        return needed

    yard.system.rule("raise_descriptor_limit", limit)
    yard.hire()
    assert asked == [3 * 10 + 20]


@pytest.mark.fault(18)
def test_too_few_descriptors_are_a_refusal(yard: _Yard) -> None:
    rule = yard.system.rule("raise_descriptor_limit", lambda real, needed: 49)
    with pytest.raises(RefusedError, match="need 50 open files, 49 are allowed") as caught:
        yard.hire()
    assert rule.fired == 1
    assert (caught.value.exit_code, caught.value.errno) == (2, "EMFILE")


@pytest.mark.fault(17, 62)
@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError(), OSError(), ValueError()])
def test_system_without_threads_is_a_refusal(error: Exception, yard: _Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise error

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RefusedError, match="threads or memory for 3 destinations") as caught:
        yard.hire()
    assert caught.value.exit_code == 2


# -- steps ----------------------------------------------------------------------------------------------------


def test_places_take_a_step_at_once_and_each_in_its_own_lane(yard: _Yard) -> None:
    yard.hire()
    together = threading.Barrier(3)
    threads: dict[int, str] = {}

    def step(place: Place) -> None:
        together.wait(5)
        threads[place.number] = threading.current_thread().name

    yard.places.for_each(step)
    assert threads == {number: f"pfn-destination-{number}" for number in range(3)}
    assert all(place.is_alive for place in yard.all)


def test_failing_step_fails_its_place_alone_and_says_where_and_why(yard: _Yard) -> None:
    yard.hire()

    def step(place: Place) -> None:
        with place.watch("create"):
            if place.number == 1:
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    yard.places.for_each(step, aftermath="Nothing at all.")
    assert [place.is_alive for place in yard.all] == [True, False, True]
    failure = yard.all[1].failure
    assert failure is not None
    assert (failure.operation, failure.errno, failure.destination) == ("create", "EACCES", "label 1")
    assert "Nothing at all." in failure.message
    assert not yard.all[1].was_given_up


def test_place_that_failed_takes_no_further_step(yard: _Yard) -> None:
    yard.hire()
    yard.all[1].failure = Notice("broken", "", "open")
    stepped: list[int] = []
    yard.places.for_each(lambda place: stepped.append(place.number))
    assert sorted(stepped) == [0, 2]
    assert yard.places.alive == [yard.all[0], yard.all[2]]


@pytest.mark.fault(29)
def test_bug_in_a_step_fails_its_place_and_is_called_one(yard: _Yard) -> None:
    yard.hire()

    def step(place: Place) -> None:
        if place.number == 2:
            raise KeyError("a bug")

    yard.places.for_each(step)
    failure = yard.all[2].failure
    assert failure is not None
    assert "internal error: KeyError" in failure.message


@pytest.mark.parametrize("error", [RefusedError("locked"), UsageError("nonsense")])
def test_refusal_in_a_step_is_the_whole_run_s(error: Exception, yard: _Yard) -> None:
    yard.hire()

    def step(place: Place) -> None:
        if place.number == 1:
            raise error

    with pytest.raises(type(error)):
        yard.places.for_each(step)


@pytest.mark.fault(28)
@pytest.mark.leaks
def test_step_that_hangs_is_given_up_and_the_others_are_taken(yard: _Yard) -> None:
    yard.hire()
    stepped: list[int] = []

    def step(place: Place) -> None:
        with place.watch("stat"):
            if place.number == 0:
                yard.release.wait()
        stepped.append(place.number)

    begin = monotonic()
    yard.places.for_each(step)
    assert _STALL_S <= monotonic() - begin < _STALL_S + 2
    assert sorted(stepped) == [1, 2]
    place = yard.all[0]
    assert place.was_given_up
    assert place.failure is not None
    assert "it hangs" in place.failure.message
    assert yard.supervisor.has_given_up


def test_other_tasks_are_waited_for_at_the_same_time(yard: _Yard) -> None:
    yard.hire()
    source = yard.places.hire(yard.system, 10, 20)
    stepped = threading.Event()
    task = source.submit(lambda: stepped.wait(5))
    yard.places.for_each(lambda place: stepped.set(), task)
    assert task.is_done
    assert task.error is None


# -- whether there is anyone ------------------------------------------------------------------------------------


def _fail(place: Place, reason: str, *, was_given_up: bool = False) -> None:
    place.failure = Notice(reason, f"path of {reason}", "open", "EACCES", place.label)
    place.was_given_up = was_given_up


def test_one_place_that_is_left_is_enough(yard: _Yard) -> None:
    _fail(yard.all[0], "first")
    _fail(yard.all[2], "third")
    yard.places.require_anyone()


def test_no_place_left_is_a_refusal_that_names_every_reason(yard: _Yard) -> None:
    for place, reason in zip(yard.all, ("first", "second", "third"), strict=True):
        _fail(place, reason)
    with pytest.raises(RefusedError, match="first; second; third") as caught:
        yard.places.require_anyone()
    assert (caught.value.exit_code, caught.value.path, caught.value.errno) == (2, "path of first", "EACCES")


@pytest.mark.fault(28)
def test_place_that_hangs_is_a_failure_and_no_refusal(yard: _Yard) -> None:
    for place in yard.all:
        _fail(place, "failed", was_given_up=place.number == 1)
    yard.places.require_anyone()


def test_failures_are_told_in_order(yard: _Yard) -> None:
    _fail(yard.all[2], "third")
    _fail(yard.all[0], "first")
    yard.places.tell_failures()
    assert [event.notice.message for event in yard.events if isinstance(event, ErrorEvent)] == ["first", "third"]


# -- probes ---------------------------------------------------------------------------------------------------


def test_probe_is_a_temporary_name_and_is_taken_back(yard: _Yard, tmp_path: Path) -> None:
    place = yard.all[0]
    yard.enter(place)
    assert [is_temporary(name) for name in _names(tmp_path / "d0")] == [True]
    place.remove_probe()
    assert place.probe is None
    place.remove_probe()  # once more does no harm
    assert _names(tmp_path / "d0") == []


def test_place_without_a_probe_or_a_folder_has_nothing_to_take_back(yard: _Yard) -> None:
    yard.all[0].remove_probe()
    assert yard.system.calls == []


def test_probe_is_taken_back_after_what_is_done(yard: _Yard, tmp_path: Path) -> None:
    place = yard.all[0]
    yard.enter(place)
    with place.probe_removed_after():
        assert len(_names(tmp_path / "d0")) == 1
    assert _names(tmp_path / "d0") == []


def test_probe_is_taken_back_though_what_is_done_fails(yard: _Yard, tmp_path: Path) -> None:
    place = yard.all[0]
    yard.enter(place)
    with pytest.raises(RefusedError, match="locked"), place.probe_removed_after():
        raise RefusedError("locked")
    assert _names(tmp_path / "d0") == []


def test_failure_of_what_is_done_is_not_hidden_by_one_of_the_probe(yard: _Yard) -> None:
    place = yard.all[0]
    yard.enter(place)
    rule = yard.system.fail("replace_name", errno.EPERM, where="/d0/")
    with pytest.raises(RefusedError, match="locked"), place.probe_removed_after():
        raise RefusedError("locked")
    assert rule.fired == 1


def test_failing_step_is_named_and_not_the_probe_that_is_taken_back_after_it(yard: _Yard) -> None:
    yard.places.hire(yard.system, 10, 20)

    def step(place: Place) -> None:
        yard.enter(place)
        with place.probe_removed_after(), place.watch("create"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    yard.places.for_each(step)
    assert [place.failure.operation for place in yard.all if place.failure is not None] == ["create"] * 3


@pytest.mark.fault(21)
@pytest.mark.parametrize("call", ["replace_name", "remove_name"])
def test_folder_that_does_not_let_the_probe_be_taken_back_is_of_no_use(call: str, yard: _Yard, tmp_path: Path) -> None:
    place = yard.all[0]
    yard.enter(place)
    rule = yard.system.fail(call, errno.EPERM, where="/d0/")
    with pytest.raises(PermissionError), place.probe_removed_after():
        pass
    assert rule.fired == 1
    for path in (tmp_path / "d0").iterdir():
        path.unlink()


def test_probe_is_watched_while_it_is_taken_back(yard: _Yard) -> None:
    place = yard.all[0]
    yard.enter(place)
    seen: list[tuple[bool, str]] = []

    def look(real: Callable[[], Any], *arguments: Any) -> Any:
        seen.append((place.watch.is_busy, place.watch.operation))
        return real()

    yard.system.rule("replace_name", look)
    place.remove_probe()
    assert seen == [(True, "rename and remove a file")]


# -- words ----------------------------------------------------------------------------------------------------


@pytest.mark.fault(78)
def test_refusals_name_both_sides_and_hold_no_control_characters() -> None:
    refusal = same_destination("/a\x1b[31m", "/b")
    assert (refusal.path, refusal.operation, refusal.exit_code) == ("/b", "same-destination", 2)
    for words in (str(refusal), str(same_file("/a\x1b[31m"))):
        assert "\x1b" not in words
        assert "nothing was written" in words
    assert "2 destinations" in str(no_room_for(2, MemoryError()))
