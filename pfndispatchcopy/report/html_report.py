"""The report for people: one page that needs nothing but itself.

Every value goes through the template's escaping, names through :func:`printable` before that; the files are data
for the page's own script, in a block that is never run. The page forbids itself everything that is not in it.
"""

import base64
import json
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from pfndispatchcopy.errors import ExitCode
from pfndispatchcopy.fileio.storage import StorageKind
from pfndispatchcopy.hashing import HashCalculator
from pfndispatchcopy.model import STANDARD_INPUT, Notice, ReadBack, State
from pfndispatchcopy.printable import printable
from pfndispatchcopy.report.contents import Contents, Outcome, Place, Row, Volume
from pfndispatchcopy.report.figures import amount, count, duration, moment, rate, short_names
from pfndispatchcopy.report.throughput import Throughput, draw, measure
from pfndispatchcopy.report.verdict import Level, doubt_of, doubts, is_good, judge

__all__ = ["html_report"]

# So many good files are printed, or shown without JavaScript, and so many messages: more, nobody reads.
_MOST_STATIC = 2000
_MOST_TOLD = 200
_BAD, _DOUBT, _GOOD = "bad", "doubt", "good"
_TONES = (_BAD, _DOUBT, _GOOD)
_TONE_OF_LEVEL = {Level.SAFE: _GOOD, Level.CAUTION: _DOUBT, Level.UNSAFE: _BAD}
_SIGNS = {_GOOD: "✓", _DOUBT: "△", _BAD: "✕"}
_NOT_BEGUN = "-"
_WAYS = {
    ReadBack.EVICTED: "read back from the medium",
    ReadBack.DIRECT: "read back from the medium, around the cache",
    ReadBack.MEMORY: "compared in memory, which is the medium",
    ReadBack.CACHED: "compared in the system's memory",
    ReadBack.NONE: "not read back",
}
_KINDS = {
    StorageKind.MEMORY: "memory",
    StorageKind.SOLID: "solid state",
    StorageKind.ROTATIONAL: "rotating disk",
    StorageKind.NETWORK: "network",
}
_PROMISE = (
    "Verified means: forced to the medium, read back from the medium and not from the system's memory, and equal to"
    " what was read from the source. It says nothing of what happens to the medium afterwards."
)
_PROMISE_OF_CHECK = (
    "Verified means: read from the medium and not from the system's memory, and equal to the digest that the list"
    " names. It is worth as much as the list."
)


class _Legend:
    """A letter for each way in which a file can end, so that a hundred thousand rows are short."""

    def __init__(self, contents: Contents) -> None:
        self._is_by_time = bool(contents.options.get("quick_check"))
        self._letters: dict[tuple[State, ReadBack, bool], str] = {}
        self.words: dict[str, tuple[str, str]] = {_NOT_BEGUN: ("not copied", _BAD)}
        ways = sorted({way for place in contents.places for way in place.ways})
        for state, read_back in ways:
            for has_error in (False, True):
                letter = chr(ord("A") + len(self._letters))
                self._letters[state, read_back, has_error] = letter
                self.words[letter] = self._describe(state, read_back, has_error=has_error)

    def _describe(self, state: State, read_back: ReadBack, *, has_error: bool) -> tuple[str, str]:
        if has_error or not state.is_complete:
            return str(state), _BAD
        if read_back is ReadBack.MEMORY:
            return f"{state} in memory", _DOUBT
        is_doubtful = doubt_of(state, read_back, is_by_time=self._is_by_time) is not None
        return str(state), _DOUBT if is_doubtful else _GOOD

    def letter(self, outcome: Outcome | None) -> str:
        """The letter for how a file ended."""
        if outcome is None:
            return _NOT_BEGUN
        return self._letters[outcome.state, outcome.read_back, outcome.error is not None]


def html_report(contents: Contents) -> Iterator[bytes]:
    """Yield the page in pieces; the files pass through, and are not held in memory."""
    style, script = _part("page.css"), _part("page.js")
    legend = _Legend(contents)
    pieces = _template().generate(
        **_words(contents),
        style=Markup(style),  # noqa: S704 - a part of this package
        script=Markup(script),  # noqa: S704
        style_hash=_source_hash(style),
        script_hash=_source_hash(script),
        page_json=_json(_page(contents, legend)),
        rows_json=_rows(contents, legend),
        static_rows=_static_rows(contents, legend),
    )
    for piece in pieces:
        yield piece.encode("utf-8")


@cache
def _part(name: str) -> str:
    data = pkgutil.get_data(__package__, name)
    assert data is not None
    return data.decode("utf-8")


def _template() -> Any:
    environment = Environment(
        autoescape=True,
        loader=DictLoader({"page": _part("page.html")}),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("page")


def _source_hash(text: str) -> str:
    """What a content security policy calls the text of a style or a script."""
    calculator = HashCalculator(["sha256"])
    calculator.update(memoryview(text.encode("utf-8")))
    digest = bytes.fromhex(calculator.hexdigests()["sha256"])
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _json(value: Any) -> Markup:
    """JSON that neither ends the element that it stands in nor begins another one."""
    text = json.dumps(value, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - ASCII, and nothing in it means anything to HTML


# -- files ------------------------------------------------------------------------------------------------


def _rows(contents: Contents, legend: _Legend) -> Iterator[Markup]:
    separator = ""
    names = contents.hash_names
    for row in contents.rows():
        digests: str | list[str] = [row.hashes.get(name, "") for name in names]
        if len(names) == 1:
            digests = digests[0]
        cells: list[Any] = [printable(row.path), row.size, digests, _letters(contents, row, legend)]
        errors = _errors(row)
        if errors:
            cells.append(errors)
        yield Markup(separator) + _json(cells)  # noqa: S704 - a comma
        separator = ",\n"


def _letters(contents: Contents, row: Row, legend: _Legend) -> str:
    if not contents.is_check:
        return "".join(map(legend.letter, row.outcomes))
    return "".join(legend.letter(each) for each in row.outcomes if each is not None)


def _errors(row: Row) -> list[str]:
    """What went wrong with a file; what every destination says is said once."""
    return list(dict.fromkeys(printable(each.error) for each in row.outcomes if each and each.error))


def _static_rows(contents: Contents, legend: _Legend) -> Iterator[dict[str, Any]]:
    """All files that something is wrong with, and the first of the others."""
    problems = (row for row in contents.rows() if row.is_problem)
    others = islice((row for row in contents.rows() if not row.is_problem), _MOST_STATIC)
    for some in (problems, others):
        for row in some:
            yield {
                "path": printable(row.path),
                "size": f"{row.size:,}",
                "states": [legend.words[letter] for letter in _letters(contents, row, legend)],
                "errors": _errors(row),
                "digests": "\n".join(_named(contents, row.hashes)),
            }


def _named(contents: Contents, hashes: Mapping[str, str]) -> Iterator[str]:
    for name in contents.hash_names:
        if name in hashes:
            yield hashes[name] if len(contents.hash_names) == 1 else f"{name} {hashes[name]}"


def _column_names(contents: Contents) -> list[str]:
    return ["Result"] if contents.is_check else short_names([place.label for place in contents.places])


def _digests_heading(contents: Contents) -> str:
    return f"Digest ({contents.hash_names[0]})" if len(contents.hash_names) == 1 else "Digests"


def _page(contents: Contents, legend: _Legend) -> dict[str, Any]:
    """What the script has to know beside the files."""
    shows: dict[str, str] = {}
    for letter, (word, _) in sorted(legend.words.items(), key=lambda item: item[1]):
        if letter != _NOT_BEGUN or (not contents.is_check and any(_is_unbegun(contents))):
            shows[word] = shows.get(word, "") + letter
    return {
        "columns": _column_names(contents),
        "hashes": contents.hash_names,
        "digestsHeading": _digests_heading(contents),
        "states": legend.words,
        "tones": _TONES,
        "signs": _SIGNS,
        "shows": shows,
        "mostPrinted": _MOST_STATIC,
    }


def _is_unbegun(contents: Contents) -> Iterator[bool]:
    """For each destination, whether there are files that it was not given."""
    return (sum(place.ways.values()) < contents.files_told for place in contents.places)


# -- words ------------------------------------------------------------------------------------------------


def _words(contents: Contents) -> dict[str, Any]:
    verdict = judge(contents)
    throughput = measure(contents)
    shorts = short_names([place.label for place in contents.places])
    left_out = [printable(path) for path, _ in islice(contents.all_left_out(), _MOST_TOLD)]
    return {
        "version": contents.version,
        "kind": "check" if contents.is_check else "offload",
        "title": _title(contents, shorts),
        "ended": moment(contents.ended),
        "tone": _TONE_OF_LEVEL[verdict.level],
        "verdict": verdict,
        "judged": (
            ("What is safe", _GOOD, verdict.safe),
            (_heading_of_bad(contents), _BAD if verdict.level is Level.UNSAFE else _DOUBT, verdict.unsafe),
            ("Bear in mind", _DOUBT, verdict.cautions),
        ),
        "facts": _facts(contents),
        "places_heading": "Lists" if contents.is_check else "Destinations",
        "places": [_place(contents, place, short) for place, short in zip(contents.places, shorts, strict=True)],
        "pictures": [] if throughput is None else list(_pictures(throughput, shorts)),
        "has_copied": throughput is not None and any(curve.bytes for curve in throughput.copied),
        "has_verified": throughput is not None and any(curve.bytes for curve in throughput.verified),
        "told": (
            ("Errors", *_told(contents, "error")),
            ("Warnings", *_told(contents, "warning")),
        ),
        "files": contents.files_told,
        "unbegun": _unbegun(contents),
        "column_names": _column_names(contents),
        "digests_heading": _digests_heading(contents),
        "digest_class": "digest" if len(contents.hash_names) == 1 else "digest long",
        "static_note": f"All files that something is wrong with, and up to {_MOST_STATIC:,} others."
        " With JavaScript, all can be sorted and searched.",
        "signs": _SIGNS,
        "left_out": left_out,
        "left_out_more": _more(contents.left_out - len(left_out)),
        "command": printable(contents.command),
        "details": list(_details(contents)),
        "promise": _PROMISE_OF_CHECK if contents.is_check else _PROMISE,
    }


def _heading_of_bad(contents: Contents) -> str:
    is_refused = contents.summary["exit_code"] == ExitCode.REFUSED and not contents.is_check
    return "Why" if is_refused else "What is not"


def _title(contents: Contents, shorts: Iterable[str]) -> str:
    if contents.is_check:
        return " · ".join(printable(place.label) for place in contents.places)
    sources = " + ".join("standard input" if path == STANDARD_INPUT else printable(path) for path in contents.sources)
    return f"{sources} → {', '.join(shorts)}"


def _facts(contents: Contents) -> Iterator[tuple[str, str]]:
    summary = contents.summary
    if contents.plan is not None:
        yield "Files", f"{contents.plan['files']:,}"
        size = contents.plan["bytes"]
        yield "Data", amount(summary["bytes"] if size is None else size)
    yield "Time", duration(summary["elapsed_s"])
    if summary["speed_mb_sec"] and summary["exit_code"] == ExitCode.OK:
        yield "On average", rate(summary["speed_mb_sec"])
    if contents.hash_names:
        yield "Digest" if len(contents.hash_names) == 1 else "Digests", ", ".join(contents.hash_names)
    if contents.left_out:
        yield "Left out", f"{contents.left_out:,}"


def _place(contents: Contents, place: Place, short: str) -> dict[str, Any]:
    summary = place.summary
    tone = _BAD
    if contents.is_check:
        if place.state is State.VERIFIED:
            tone = _DOUBT if place.is_memory else _GOOD
    elif is_good(place):
        tone = _DOUBT if doubts(contents, place) else _GOOD
    return {
        "tone": tone,
        "short": short,
        "path": printable(place.label),
        "state": str(place.state),
        "facts": list(_facts_of_check(place) if contents.is_check else _facts_of_copy(place)),
        "error": printable(summary["error"] or ""),
    }


def _facts_of_check(place: Place) -> Iterator[tuple[str, str]]:
    summary = place.summary
    if "verified" not in summary:
        return
    yield "Verified", f"{count(summary['verified'], 'file')}, {amount(summary['bytes'])}"
    for word in ("changed", "missing", "new"):
        if summary[word]:
            yield word.capitalize(), count(summary[word], "file")
    others = summary["files_failed"] - summary["changed"] - summary["missing"]
    if others:
        yield "Not compared", count(others, "file")
    if summary["speed_mb_sec"]:
        yield "Speed", rate(summary["speed_mb_sec"])
    yield from _how_compared(place)


def _facts_of_copy(place: Place) -> Iterator[tuple[str, str]]:
    summary = place.summary
    total = summary["files_ok"] + summary["files_failed"]
    if total:
        yield "Complete", f"{summary['files_ok']:,} of {count(total, 'file')}"
        yield "Data", amount(summary["bytes"])
    if summary["speed_mb_sec"]:
        yield "Overall", rate(summary["speed_mb_sec"])
    yield from _how_compared(place)
    if place.volume is not None:
        yield "Lies on", _volume(place.volume)


def _how_compared(place: Place) -> Iterator[tuple[str, str]]:
    ways: dict[str, int] = {}
    for (state, read_back), files in sorted(place.ways.items()):
        if state.is_complete and (read_back is not ReadBack.NONE or state is State.COPIED):
            ways[_WAYS[read_back]] = ways.get(_WAYS[read_back], 0) + files
    if len(ways) == 1:
        yield "Proof", next(iter(ways))
    elif ways:
        yield "Proof", "; ".join(f"{files:,} {way}" for way, files in ways.items())


def _volume(volume: Volume) -> str:
    words = [volume.filesystem, _KINDS.get(volume.storage.kind, "")]
    if volume.storage.disk:
        words.append(f"disk {volume.storage.disk}")
    if volume.mount_point:
        words.append(f"mounted at {printable(volume.mount_point)}")
    return ", ".join(filter(None, words)) or "nobody can tell"


def _pictures(found: Throughput, shorts: Iterable[str]) -> Iterator[tuple[Any, str, str]]:
    for picture, short, copied, verified in zip(draw(found), shorts, found.copied, found.verified, strict=True):
        averages = []
        if copied.bytes:
            averages.append(f"copying {rate(copied.average / 1e6)}")
        if verified.bytes:
            averages.append(f"reading back {rate(verified.average / 1e6)}")
        yield picture, short, ", ".join(averages) or "nothing was copied"


def _told(contents: Contents, kind: str) -> tuple[list[str], str]:
    notices: Iterator[Notice] = contents.told(kind)
    shown = [printable(each.message) for each in islice(notices, _MOST_TOLD)]
    return shown, _more(contents.notices[kind] - len(shown))


def _more(number: int) -> str:
    return f"And {number:,} more: they are in a report of the kind .json, and in the log." if number > 0 else ""


def _unbegun(contents: Contents) -> str:
    if contents.plan is None or contents.is_check:
        return ""
    number = contents.plan["files"] - contents.files_told
    if number <= 0:
        return ""
    return f"{count(number, 'file')} of {contents.plan['files']:,} {'was' if number == 1 else 'were'} not begun."


def _details(contents: Contents) -> Iterator[tuple[str, str]]:
    yield "Began", moment(contents.started)
    yield "Ended", moment(contents.ended)
    yield "Machine", contents.machine["host"]
    yield "User", contents.machine["user"]
    yield "System", contents.machine["system"]
    yield "Program", f"pfndispatchcopy {contents.version}, Python {contents.machine['python']}"
    yield "Exit code", str(contents.summary["exit_code"])
    plan = contents.plan
    if plan is not None:
        yield "Strategy", f"{plan['strategy']}: {plan['reason']}"
        yield "Files at once", str(plan["jobs"])
        yield "Memory bound", amount(plan["memory_bound"])
    for name, value in contents.options.items():
        if name == "resume":
            if not value:
                yield "--no-resume", "yes"
        elif value not in (None, [], "", False):
            yield f"--{_OPTION_NAMES.get(name, name.replace('_', '-'))}", printable(_plain(value))


# Where the command calls an option otherwise than the library.
_OPTION_NAMES = {
    "hashes": "hash",
    "chunk_size": "buffer-size",
    "lock_wait_s": "lock-wait",
    "stall_timeout_s": "stall-timeout",
    "bandwidth_limit": "bwlimit",
}


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes"
    return f"{value:g}" if isinstance(value, float) else str(value)
