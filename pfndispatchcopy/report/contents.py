"""The notes of a run, read again: what every kind of report is written from."""

import json
import mmap
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple

from pfndispatchcopy.exact_paths import exact_path
from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.fileio.storage import Storage, StorageKind, storage_of
from pfndispatchcopy.model import Notice, ReadBack, State
from pfndispatchcopy.printable import printable
from pfndispatchcopy.report.notes import END, FILE, LEFT_OUT, NOTICE

__all__ = ["Contents", "Outcome", "Place", "Row", "Sample", "Volume", "machine"]


_LINES_OF_A_BEAT = 5000
# For every file and destination: a look-up takes a fifth of the time of making a member of its text.
_STATES = {str(each): each for each in State}
_READ_BACKS = {str(each): each for each in ReadBack}
_BAD_STATES = frozenset(each for each in State if not each.is_complete)
_decode = json.JSONDecoder().decode


class Outcome(NamedTuple):
    """One file on one destination: where it is, or would be, how it ended, how it was compared, and what went wrong."""

    path: str
    state: State
    read_back: ReadBack
    error: str | None


class Row(NamedTuple):
    """One file.

    Attributes:
        path: below its source; of what was checked, as it was found.
        size: in bytes.
        hashes: digests by name.
        outcomes: how it ended on each destination; None where it was not begun, or is in another list.
        is_problem: whether something is wrong with it anywhere.
    """

    path: str
    size: int
    hashes: Mapping[str, str]
    outcomes: tuple[Outcome | None, ...]
    is_problem: bool


class Volume(NamedTuple):
    """What a destination lies on."""

    device: int
    filesystem: str
    mount_point: str
    storage: Storage


class Sample(NamedTuple):
    """One moment: seconds since the beginning, and by destination bytes copied, bytes read back, and a word."""

    at_s: float
    copied: tuple[int, ...]
    verified: tuple[int, ...]
    states: tuple[str, ...]


class Place(NamedTuple):
    """One destination, or one list that was checked, and what became of it.

    Attributes:
        label: as spelled.
        summary: the fields of the summary event; without the path.
        volume: what it lies on, where that is known.
        ways: files by state and by how they were compared.
    """

    label: str
    summary: Mapping[str, Any]
    volume: Volume | None
    ways: Counter[tuple[State, ReadBack]]

    @property
    def state(self) -> State:
        """How it ended as a whole."""
        return State(self.summary["state"])

    @property
    def is_memory(self) -> bool:
        """Whether the medium is memory."""
        is_volatile = self.volume is not None and self.volume.storage.kind is StorageKind.MEMORY
        return is_volatile or any(read_back is ReadBack.MEMORY for _, read_back in self.ways)


class Contents:
    """Everything that a report says.

    Args:
        spool: what was noted, to its end.
        beat: called now and then, for whoever watches.

    Attributes:
        is_check: whether lists were checked, and nothing was copied.
        is_list: whether only what a list names was copied.
        command: the command line.
        started, ended: times in UTC.
        version: of the program.
        sources: as spelled.
        options: effective values.
        plan: the fields of the plan event; None where it did not come to that.
        summary: the fields of the summary event.
        places: the destinations.
        hash_names: of all digests that files have, in their order.
        samples: how far each destination was.
        files_told: how many files there are rows for.
        notices: how many warnings and errors there are, by kind.
        left_out: how much was left out.
        machine: what this runs on, in words.

    Raises:
        OSError, ValueError: the spool is damaged.
    """

    def __init__(self, spool: BinaryIO, beat: Callable[[], None] = lambda: None) -> None:
        self._beat = beat
        self._lines_read = 0
        spool.seek(0)
        self._data = mmap.mmap(spool.fileno(), 0, access=mmap.ACCESS_READ)
        self._heads: list[str] = []
        self._files: list[tuple[str, int]] = []
        self._beside: list[int] = []
        self.left_out = 0
        self.notices: Counter[str] = Counter()
        end: dict[str, Any] = {}
        position, size = 0, len(self._data)
        while position < size:
            line = self._line(position)
            kind = line[0]
            if kind == FILE:
                self._files.append((line[1], position))
            elif kind == END:
                end = line[1]
            else:
                self._beside.append(position)
                self.left_out += kind == LEFT_OUT
                if kind == NOTICE:
                    self.notices[line[1]] += 1
            position = self._data.find(b"\n", position) + 1
        if not end or end["start"] is None or end["summary"] is None:
            raise ValueError("the notes of the run are not complete")
        self._files.sort()
        self.is_check: bool = end["is_check"]
        self.is_list: bool = end["is_list"]
        self.command: str = end["command"]
        self.started: str = end["start"]["time"]
        self.ended: str = end["ended"]
        self.version: str = end["start"]["version"]
        self.sources = tuple(exact_path(each) for each in end["start"]["sources"])
        self.options: Mapping[str, Any] = end["start"]["options"]
        self.plan: Mapping[str, Any] | None = end["plan"]
        self.summary: Mapping[str, Any] = end["summary"]
        self.samples = _samples(end["samples"])
        self.machine = machine()
        self._heads = end["heads"]
        labels = [exact_path(each) for each in end["start"]["destinations"]]
        self._count = len(labels)
        volumes = {exact_path(each): _volume(each) for each in end["volumes"]}
        summaries = {exact_path(each): each for each in self.summary["destinations"]}
        ways, self.hash_names, self.files_told = self._count_ways()
        self.places = tuple(
            Place(label, summaries.get(label, _UNKNOWN), volumes.get(label), ways[number])
            for number, label in enumerate(labels)
        )

    @property
    def is_tree(self) -> bool:
        """Whether a folder, or several sources, were copied, and not one file."""
        return self.plan is not None and bool(self.plan.get("is_tree"))

    @property
    def is_interrupted(self) -> bool:
        """Whether a signal ended the run before its time."""
        return int(self.summary["exit_code"]) > 128

    def rows(self) -> Iterator[Row]:
        """Yield all files, by their paths; what was told of one at several times is one row, the last word counts."""
        at, count = 0, len(self._files)
        while at < count:
            path, position = self._files[at]
            line = self._line(position)
            size, hashes = line[2], line[3]
            outcomes: list[Outcome | None] = [None] * self._count
            self._take(path, line[4], outcomes)
            at += 1
            while not self.is_check and at < count and self._files[at][0] == path:
                line = self._line(self._files[at][1])
                size, hashes = max(size, line[2]), hashes | line[3]
                self._take(path, line[4], outcomes)
                at += 1
            is_problem = (not self.is_check and None in outcomes) or any(_is_bad(each) for each in outcomes if each)
            yield Row(path, size, hashes, tuple(outcomes), is_problem)

    def told(self, kind: str) -> Iterator[Notice]:
        """Yield all notices of a kind, ``warning`` or ``error``, in the order in which they were told."""
        for position in self._beside:
            line = self._line(position)
            if line[0] == NOTICE and line[1] == kind:
                yield Notice(*line[2:7])

    def reason(self, place: Place) -> str:
        """Why a destination is not complete: what its first error says, without its path and without advice."""
        message = str(place.summary["error"] or "it is not complete.")
        notice = next((each for each in self.told("error") if each.message == message), None)
        if notice is None or not notice.path.startswith(place.label):
            return message
        reason = message.removeprefix(f"{printable(notice.path)}: ")
        return f"{reason.partition('. ')[0].rstrip('.')}."

    def all_left_out(self) -> Iterator[tuple[str, str]]:
        """Yield path and reason of all that was left out because that was asked for."""
        for position in self._beside:
            line = self._line(position)
            if line[0] == LEFT_OUT:
                yield line[1], line[2]

    def close(self) -> None:
        """Let go of the spool."""
        self._data.close()

    def _line(self, position: int) -> list[Any]:
        self._lines_read += 1
        if self._lines_read % _LINES_OF_A_BEAT == 0:
            self._beat()
        line: list[Any] = _decode(self._data[position : self._data.find(b"\n", position)].decode("ascii"))
        return line

    def _take(self, path: str, told: list[list[Any]], outcomes: list[Outcome | None]) -> None:
        for place, state, read_back, at, *error in told:
            where = at if isinstance(at, str) else self._heads[at] + path
            outcomes[place] = Outcome(where, _STATES[state], _READ_BACKS[read_back], error[0] if error else None)

    def _count_ways(self) -> tuple[list[Counter[tuple[State, ReadBack]]], tuple[str, ...], int]:
        ways: list[Counter[tuple[State, ReadBack]]] = [Counter() for _ in range(self._count)]
        names: dict[str, None] = dict.fromkeys(() if self.is_check else self.options["hashes"])
        files = 0
        for row in self.rows():
            files += 1
            names.update(dict.fromkeys(row.hashes))
            for counter, outcome in zip(ways, row.outcomes, strict=True):
                if outcome is not None:
                    counter[outcome.state, outcome.read_back] += 1
        return ways, tuple(names), files


_UNKNOWN: Mapping[str, Any] = {
    "state": "failed",
    "files_ok": 0,
    "files_failed": 0,
    "bytes": 0,
    "speed_mb_sec": 0.0,
    "error": None,
}


def _is_bad(outcome: Outcome) -> bool:
    return outcome.error is not None or outcome.state in _BAD_STATES


def _volume(fields: Mapping[str, Any]) -> Volume:
    device, filesystem = fields["device"], fields["filesystem"]
    return Volume(device, filesystem, exact_path(fields, "mount_point"), storage_of(device, filesystem))


def _samples(noted: list[list[Any]]) -> tuple[Sample, ...]:
    """What is no longer counted, since that phase is over, stays as it was."""
    found: list[Sample] = []
    for at_s, copied, verified, states in noted:
        before = found[-1].copied if found else (0,) * len(copied)
        whole = tuple(last if each is None else each for each, last in zip(copied, before, strict=True))
        found.append(Sample(at_s, whole, tuple(verified), tuple(states)))
    return tuple(found)


def machine() -> dict[str, str]:
    """What this runs on."""
    system = platform.platform()
    with suppress(OSError, AttributeError):
        system = f"{platform.freedesktop_os_release()['PRETTY_NAME']} ({system})"
    user, _ = native_system().user()
    return {
        "host": native_system().host_name(),
        "user": user,
        "system": system,
        "python": platform.python_version(),
    }
