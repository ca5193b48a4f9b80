"""The power fails after any of the calls: what was not flushed is gone, or has outlasted what was done before it.

One run is recorded; then it is done again, call by call, on a model of the medium. After every call all that may be
there after a power cut is looked at: nothing may have a final name that is not durable as a whole, and nothing may be
told of that is not: no file in a record or in a list, and no list in a chain. At some of the points what may be left
is put into real folders, and the same command has to complete it.
"""

import json
import os
import random
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import NamedTuple

import pytest

from pfndispatchcopy.events import ErrorEvent
from pfndispatchcopy.fileio.names import is_record, is_temporary
from pfndispatchcopy.hashing import digests_of
from pfndispatchcopy.hashlists.asc import ASC_CHAIN, read_asc, read_chain
from pfndispatchcopy.hashlists.entries import ListedFile
from tests.faults.scenarios import SCENARIOS, Count, Scenario, ViolationError, fast_folder, require
from tests.faults.trial import COUNT, Card, Trial
from tests.support.medium import Medium, Node, Operation
from tests.support.recording import RecordingSystem
from tests.support.tree_trial import CARD, last_name

# Many jobs at once, in folders that one of them makes for all.
_AT_ONCE = Scenario("several at once", True, {"strategy": "parallel", "jobs": 3, "mhl": "asc", "sums": ("xxh64be",)})
_AT_ONCE_SIZES = {"a/b/one": 5000, "a/b/two": 3000, "a/three": 100, "four": 10, "a/b/c/empty": 0, "d/five": 700}
_ALL = {**SCENARIOS, _AT_ONCE.name: _AT_ONCE}
_STEP = 24
_SEEDS = 2


class _Recording(NamedTuple):
    """What one run did, and to which folders, as they were before."""

    log: list[Operation]
    before: Medium

    @property
    def roots(self) -> tuple[int, ...]:
        return self.before.roots


def _record(card: Card, scenario: Scenario) -> _Recording:
    with fast_folder() as root:
        trial = Trial(root, card, scenario)
        system = RecordingSystem()
        before = system.medium_of([str(trial.place(number)) for number in range(COUNT)])
        run = trial.run(system=system)
        assert run.exit_code == 0
        for number in range(COUNT):
            trial.require_complete(run, number)
        return _Recording(system.log, before)


def _prefixes(recording: _Recording) -> Iterator[tuple[int, Medium]]:
    """The medium after each call; the same object each time."""
    medium = deepcopy(recording.before)
    yield 0, medium
    for point, operation in enumerate(recording.log, 1):
        medium.apply(operation)
        yield point, medium


# -- whatever is left, what has a good name is good ------------------------------------------------------------------


class _Look:
    """What may be there after a power cut, on one destination."""

    def __init__(self, medium: Medium, root: int, files: Mapping[str, bytes]) -> None:
        self.medium = medium
        self.root = root
        self.files = files

    def require_good(self) -> None:
        for path, node in self.medium.possible(self.root):
            name = last_name(path)
            if is_record(name):
                self._require_true_record(node)
            elif not is_temporary(name):
                require(not node.is_dirty, f"{path} may be there without its bytes")
                if path in self.files:
                    require(node.durable == self.files[path], f"{path} may be there with wrong bytes")
                elif not node.is_old:
                    self._require_true_list(path, node.durable or b"")

    def _require_durable(self, path: str, teller: str) -> None:
        durable = self.medium.durable_file(self.root, path)
        require(durable is not None, f"{teller} tells of {path}, which may be missing")
        require(durable == self.files.get(path, durable), f"{teller} tells of {path}, which is not what it says")

    def _require_true_record(self, node: Node) -> None:
        for line in bytes(node.data).split(b"\n")[:-1]:
            for path, *_ in json.loads(line.partition(b" ")[2]).get("files", ()):
                self._require_durable(path, "the record")

    def _require_true_list(self, path: str, data: bytes) -> None:
        above, _, name = path.rpartition("/")
        if name == ASC_CHAIN:
            for link in read_chain([data]):
                manifest = self.medium.durable_file(self.root, f"{above}/{link.name}")
                require(manifest is not None, f"the chain names {link.name}, which may be missing")
                require(digests_of(["c4"], manifest or b"")["c4"] == link.c4, f"the chain is wrong about {link.name}")
        elif name.endswith(".mhl") and above.endswith("/ascmhl"):
            for item in read_asc([data]):
                if isinstance(item, ListedFile):
                    self._require_durable(f"{CARD}/{item.path}", name)
        elif name.endswith(".mhl"):
            for listed in re.findall(rb"<file>([^<]*)</file>", data):
                self._require_durable(listed.decode(), name)
        else:
            for line in data.decode().splitlines():
                listed = line.partition("  ")[2]
                self._require_durable(f"{above}/{listed}" if above else listed, name)


def _looks(recording: _Recording, files: Mapping[str, bytes]) -> tuple[int, list[str]]:
    points, problems = 0, []
    for point, medium in _prefixes(recording):
        points += 1
        for number, root in enumerate(recording.roots):
            try:
                _Look(medium, root, files).require_good()
            except ViolationError as violation:
                done = recording.log[point - 1]
                problems.append(f"after call {point} ({done.kind} {done.name}): on {number}: {violation}")
    return points, problems


@pytest.fixture(scope="module")
def small_card() -> Iterator[Card]:
    with fast_folder() as root:
        yield Card(root, _AT_ONCE_SIZES)


def _card_of(scenario: Scenario, card: Card, small_card: Card) -> Card:
    return small_card if scenario is _AT_ONCE else card


@pytest.mark.fault(53, 54, 55)
@pytest.mark.parametrize("scenario", _ALL.values(), ids=_ALL)
def test_nothing_has_a_good_name_or_is_told_of_before_it_is_durable(
    card: Card, small_card: Card, count: Count, scenario: Scenario
) -> None:
    mine = _card_of(scenario, card, small_card)
    with fast_folder() as root:
        files = Trial(root, mine, scenario).files
    recording = _record(mine, scenario)
    points, problems = _looks(recording, files)
    count("power cut, all that may be left", points, len(problems))
    assert points > 40, "hardly a call: this test has lost its meaning"
    assert not problems, "\n".join(problems[:20])


@pytest.mark.fault(55)
def test_each_line_of_a_record_is_durable_before_the_next_one(card: Card) -> None:
    log = _record(card, SCENARIOS["folder"]).log
    made = {each.name: each.target for each in log if each.kind == "create"}
    records = [made[each.name] for each in log if each.kind == "rename" and is_record(each.new_name)]
    assert len(records) == COUNT
    for record in records:
        kinds = [each.kind for each in log if each.node == record]
        assert len(kinds) >= 6  # what it is, the large file, and the batch
        assert kinds == ["write", "flush"] * (len(kinds) // 2)


@pytest.mark.parametrize("kind", ["flush", "flush folder"])
def test_flush_that_is_left_out_is_noticed(card: Card, kind: str) -> None:
    """The model bites: without these calls everything can be lost, and that is what it says."""
    scenario = SCENARIOS["folder with lists"]
    recording = _record(card, scenario)
    with fast_folder() as root:
        files = Trial(root, card, scenario).files
    unflushed = recording._replace(log=[each for each in recording.log if each.kind != kind])
    assert _looks(unflushed, files)[1]


# -- the next run ----------------------------------------------------------------------------------------------------


def _materialise(trial: Trial, medium: Medium, roots: Sequence[int], chance: random.Random | None) -> None:
    """Put what is left into the folders of a trial."""
    for number, root in enumerate(roots):
        shutil.rmtree(trial.place(number))
        trial.place(number).mkdir()
        for path, node in medium.after_power_cut(root, chance).items():
            full = trial.place(number) / path
            if node.is_folder:
                full.mkdir()
                continue
            full.write_bytes(node.data)
            full.chmod(node.mode)
            os.utime(full, ns=(node.mtime_ns, node.mtime_ns))
        trial.before[number] = trial.finals(number)


def _complete(
    card: Card, scenario: Scenario, medium: Medium, roots: Sequence[int], chance: random.Random | None
) -> None:
    with fast_folder() as root:
        trial = Trial(root, card, scenario)
        _materialise(trial, medium, roots, chance)
        for number in range(COUNT):
            trial.require_nothing_false(number)
            trial.require_true_history(number, may_be_unfinished=True)
        there = [trial.finals(number) for number in range(COUNT)]
        again = trial.run()
        require(again.exit_code == 0, lambda: f"the next run ends with {again.exit_code}: {again.notices(ErrorEvent)}")
        for number in range(COUNT):
            trial.require_nothing_false(number)
            trial.require_complete(again, number, may_be_set_aside=True)
            trial.require_spotless(number)
            now = trial.finals(number)
            for path in set(there[number]) & set(trial.files):
                require(now[path] == there[number][path], f"{path} on {number} was good and is written again")


def _cut_at(card: Card, count: Count, scenario: Scenario, start: int, step: int) -> None:
    recording = _record(card, scenario)
    runs, problems = 0, []
    for point, medium in _prefixes(recording):
        if point % step != start % step:
            continue
        for seed in (None, *range(_SEEDS)):
            runs += 1
            chance = None if seed is None else random.Random(point * _SEEDS + seed)
            how = "forgotten" if seed is None else f"reordered {seed}"
            try:
                _complete(card, scenario, medium, recording.roots, chance)
            except ViolationError as violation:
                problems.append(f"after call {point}, {how}: {violation}")
    count("power cut, completed by the next run", runs, len(problems))
    assert runs > 5, "hardly a state: this test has lost its meaning"
    assert not problems, "\n".join(problems[:20])


@pytest.mark.fault(53, 54, 55)
@pytest.mark.timeout(120)
@pytest.mark.parametrize("scenario", _ALL.values(), ids=_ALL)
def test_next_run_completes_what_a_power_cut_has_left(
    card: Card, small_card: Card, count: Count, scenario: Scenario
) -> None:
    _cut_at(_card_of(scenario, card, small_card), count, scenario, list(_ALL).index(scenario.name), _STEP)


@pytest.mark.fault(53, 54, 55)
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", _ALL.values(), ids=_ALL)
def test_next_run_completes_what_a_power_cut_at_any_call_has_left(
    card: Card, small_card: Card, count: Count, scenario: Scenario
) -> None:
    _cut_at(_card_of(scenario, card, small_card), count, scenario, 0, 1)
