"""What a run means for the person who has the card in the hand: what is safe, what is not, may it be formatted.

Nothing is called safe here that the run has not proven file by file: the copy was read back from a medium that
keeps it, and was equal. And one copy is no reason to erase a source, nor are two on one disk.
"""

import os
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from pfndispatchcopy.errors import ExitCode
from pfndispatchcopy.model import STANDARD_INPUT, ReadBack, State
from pfndispatchcopy.printable import printable
from pfndispatchcopy.report.contents import Contents, Place
from pfndispatchcopy.report.figures import amount, count

__all__ = ["Level", "Verdict", "doubt_of", "doubts", "is_good", "judge"]

_PAST_CACHE = frozenset({ReadBack.DIRECT, ReadBack.EVICTED})


class Level(StrEnum):
    """How good it is."""

    SAFE = "safe"
    CAUTION = "caution"
    UNSAFE = "unsafe"


class Verdict(NamedTuple):
    """What to say first.

    Attributes:
        level: how good it is.
        headline: a few words.
        summary: one sentence.
        may_erase: whether the source may be erased; None where that is no question.
        erase: the same in words; empty where it is no question.
        safe: what is safe, a line for each place.
        unsafe: what is not.
        cautions: why not to rely on it alone, or what to look at before.
    """

    level: Level
    headline: str
    summary: str
    may_erase: bool | None
    erase: str
    safe: tuple[str, ...] = ()
    unsafe: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()


def judge(contents: Contents) -> Verdict:
    """Return the verdict."""
    return _judge_check(contents) if contents.is_check else _judge_copy(contents)


# -- copies -----------------------------------------------------------------------------------------------


def _judge_copy(contents: Contents) -> Verdict:
    proven = [place for place in contents.places if not doubts(contents, place) and is_good(place)]
    doubtful = [place for place in contents.places if is_good(place) and place not in proven]
    bad = [place for place in contents.places if not is_good(place)]
    what = _what(contents)
    safe = [f"{printable(place.label)}: {what}, read back from the medium and equal to the source." for place in proven]
    unsafe = [f"{printable(place.label)}: {'; '.join(doubts(contents, place))}." for place in doubtful]
    unsafe += [f"{printable(place.label)}: {_shortfall(contents, place)}" for place in bad]
    if contents.summary["exit_code"] == ExitCode.REFUSED:
        unsafe = list(dict.fromkeys(printable(place.summary["error"] or "") for place in contents.places))
    if contents.summary["exit_code"] != ExitCode.OK:
        headline, summary = _bad_news(contents, proven, bad)
        keep, cautions = _keep(contents), _partly(contents)
        return Verdict(Level.UNSAFE, headline, summary, _no(contents), keep, tuple(safe), tuple(unsafe), cautions)
    disks = _disks(proven)
    reasons = [*_too_few(proven, disks), *_partly(contents)]
    notes = _shared(proven, disks)
    if unsafe or reasons:
        headline = _caution_headline(contents, proven, doubtful, disks)
        summary = f"{_copies(proven, disks)} of {what}." if proven else f"Complete: {what}. Nothing proves it."
        return Verdict(
            Level.CAUTION,
            headline,
            summary,
            _no(contents),
            _keep(contents),
            tuple(safe),
            tuple(unsafe),
            (*reasons, *notes),
        )
    return Verdict(
        Level.SAFE,
        "Everything is safe.",
        f"{_copies(proven, disks)} of {what}.",
        None if _no(contents) is None else True,
        _may(contents),
        tuple(safe),
        (),
        tuple(notes),
    )


def is_good(place: Place) -> bool:
    """Whether it holds what it was asked to hold."""
    return place.state.is_complete and not place.summary["files_failed"] and place.summary["error"] is None


def doubts(contents: Contents, place: Place) -> list[str]:
    """Why nothing is proven of a complete destination, in words; empty where every single file is proven."""
    found: dict[str, int] = {}
    for (state, read_back), files in place.ways.items():
        doubt = doubt_of(state, read_back, is_by_time=bool(contents.options.get("quick_check")))
        if doubt is not None:
            found[doubt] = found.get(doubt, 0) + files
    doubts = [f"{_number_of(contents, files)} {doubt}" for doubt, files in found.items()]
    if place.is_memory:
        doubts.append("it lies in memory, and is gone when the machine is switched off")
    untold = _expected(contents) - sum(place.ways.values())
    if untold > 0 and not doubts:
        doubts.append(f"nothing was told of {count(untold, 'file')}")
    return doubts


def doubt_of(state: State, read_back: ReadBack, *, is_by_time: bool) -> str | None:
    """What of a file is not proven; None where it is, or where that is said elsewhere."""
    if state is State.SKIPPED:
        return "skipped: another file of that name is there, and was left as it is"
    if read_back is ReadBack.MEMORY or not state.is_complete or state is State.VERIFIED:
        return None
    if read_back in _PAST_CACHE:
        return None if state is State.IDENTICAL else "copied and not proven: not forced to the medium"
    if read_back is ReadBack.CACHED:
        return "compared in the system's memory only, not on the medium"
    if state is State.IDENTICAL:  # without reading: a link, or by size and time
        return "judged by size and time, and not read" if is_by_time else None
    return "copied, and not read back"


def _expected(contents: Contents) -> int:
    return int(contents.plan["files"]) if contents.plan is not None else 1


def _number_of(contents: Contents, files: int) -> str:
    if not contents.is_tree:
        return "it was" if files else ""
    return f"{count(files, 'file')} {'was' if files == 1 else 'were'}"


def _what(contents: Contents) -> str:
    """All that was to be copied, in words."""
    size = amount(int(contents.summary["bytes"]))
    if contents.is_tree:
        files = int(contents.summary["files"])
        return f"all {count(files, 'file')} ({size})" if files != 1 else f"the one file ({size})"
    if contents.sources == (STANDARD_INPUT,):
        return f"the stream ({size})"
    return f"{printable(os.path.basename(contents.sources[0]))} ({size})"


def _shortfall(contents: Contents, place: Place) -> str:
    summary, reason = place.summary, printable(contents.reason(place))
    total = summary["files_ok"] + summary["files_failed"]
    if total <= 1:
        return reason
    failed = summary["files_failed"]
    return f"{failed:,} of {total:,} files {'is' if failed == 1 else 'are'} not complete there: {reason}"


def _bad_news(contents: Contents, proven: Sequence[Place], bad: Sequence[Place]) -> tuple[str, str]:
    """Headline and sentence of a run that did not end well."""
    summary = contents.summary
    if contents.is_interrupted:
        return "Stopped before the end.", "The run was interrupted. What is complete stays; run it again to go on."
    if summary["exit_code"] == ExitCode.REFUSED:
        return "Nothing was copied.", "The run was refused before anything was written."
    if summary["exit_code"] == ExitCode.MISMATCH:
        return "A copy is not what the source is.", "A verification found bytes that differ."
    if proven and bad:
        rest = f"{len(bad)} of {count(len(contents.places), 'destination')} {'is' if len(bad) == 1 else 'are'}"
        return "Not everything is safe.", f"{_copies(proven, _disks(proven))}; {rest} not complete."
    if not bad:  # complete everywhere, and still not all: something could not even be listed
        return "Not everything is safe.", "Parts of the source could not be read: they are in no copy."
    if any(place.summary["files_ok"] for place in contents.places):
        return "Not everything is safe.", "No destination is complete."
    return "Nothing is safe.", "No destination is known to have a complete copy."


def _disks(places: Sequence[Place]) -> list[list[Place]]:
    """The places by what they lie on; two volumes on one disk are one disk."""
    groups: list[list[Place]] = []
    for place in places:
        together = [group for group in groups if any(_share(place, other) for other in group)]
        groups = [group for group in groups if group not in together]
        groups.append([*(each for group in together for each in group), place])
    return groups


def _share(one: Place, other: Place) -> bool:
    if one.volume is None or other.volume is None:
        return False
    disks = [set(filter(None, each.storage.disk.split("+"))) for each in (one.volume, other.volume)]
    return one.volume.device == other.volume.device or bool(disks[0] & disks[1])


def _copies(proven: Sequence[Place], disks: Sequence[Sequence[Place]]) -> str:
    """``2 verified copies on 2 disks``."""
    copies = f"{len(proven)} verified {'copy' if len(proven) == 1 else 'copies'}"
    volumes = [place.volume for place in proven]
    if any(volume is None for volume in volumes) or len(proven) == 1:
        return copies
    is_disk = all(volume is not None and volume.storage.disk for volume in volumes)
    return f"{copies} on {count(len(disks), 'disk' if is_disk or len(disks) < len(proven) else 'volume')}"


def _too_few(proven: Sequence[Place], disks: Sequence[Sequence[Place]]) -> list[str]:
    if len(proven) == 1:
        return ["If the one verified copy is lost, nothing is left: keep the source until there is a second one."]
    if len(proven) > 1 and any(place.volume is None for place in proven):
        return ["Nobody could tell what the copies lie on: make sure that they are on different disks."]
    if len(proven) > 1 and len(disks) == 1:
        return ["All verified copies are on one disk. If it fails, nothing is left: keep the source."]
    return []


def _shared(proven: Sequence[Place], disks: Sequence[Sequence[Place]]) -> list[str]:
    """Which copies stand and fall together, where that does not count as too few."""
    if len(disks) < 2:
        return []
    return [
        f"{' and '.join(printable(place.label) for place in group)} are on one disk: count them as one copy."
        for group in disks
        if len(group) > 1 and len(proven) > 2
    ]


def _partly(contents: Contents) -> tuple[str, ...]:
    """What of the source is on no destination, although nothing went wrong."""
    reasons = []
    options = contents.options
    is_by_pattern = bool(options.get("exclude") or options.get("include"))
    if contents.left_out and is_by_pattern:
        reasons.append(f"Left out because that was asked for, and in no copy: {_entries(contents.left_out)}.")
    if contents.is_list:
        reasons.append("Only what a list names was copied: the rest of the source is in no copy.")
    skipped = sum(
        notice.operation == "list the folder" and notice.message.endswith(": not copied")
        for notice in contents.told("warning")
    )
    if skipped:
        reasons.append(f"No files, and so in no copy: {_entries(skipped)}; see the warnings.")
    if contents.is_tree and not contents.summary["files"] and contents.summary["exit_code"] == ExitCode.OK:
        reasons.append("There was no file to copy.")
    if contents.notices["error"] and contents.summary["exit_code"] == ExitCode.OK:
        reasons.append("There were errors: see below.")
    return tuple(reasons)


def _entries(number: int) -> str:
    return f"{number:,} {'entry' if number == 1 else 'entries'} of the source"


def _caution_headline(
    contents: Contents, proven: Sequence[Place], doubtful: Sequence[Place], disks: Sequence[Sequence[Place]]
) -> str:
    if contents.is_tree and not contents.summary["files"]:
        return "There was nothing to copy."
    if any(place.state is State.SKIPPED or _has_skipped(place) for place in doubtful):
        return "Done, but other files were left in place."
    if doubtful and not proven:
        return "Complete, but not proven."
    if doubtful:
        return "Complete, but not proven everywhere."
    if len(proven) == 1:
        return "Verified, but only one copy."
    if len(disks) == 1 and all(place.volume is not None for place in proven):
        return "Verified, but all on one disk."
    return "Verified, with a reservation."


def _has_skipped(place: Place) -> bool:
    return any(state is State.SKIPPED for state, _ in place.ways)


def _source(contents: Contents) -> str:
    names = [printable(os.path.basename(os.path.abspath(path)) or path) for path in contents.sources]
    return names[0] if len(names) == 1 else f"the {len(names)} sources"


def _no(contents: Contents) -> bool | None:
    return None if contents.sources == (STANDARD_INPUT,) else False


def _keep(contents: Contents) -> str:
    return "" if _no(contents) is None else f"Do not erase or format {_source(contents)} yet."


def _may(contents: Contents) -> str:
    if _no(contents) is None:
        return ""
    verb = "erased or formatted" if contents.is_tree else "deleted"
    source = _source(contents) if len(contents.sources) == 1 else f"All {len(contents.sources)} sources"
    return f"{source} may be {verb}."


# -- checks -----------------------------------------------------------------------------------------------


def _judge_check(contents: Contents) -> Verdict:
    summary = contents.summary
    good = [place for place in contents.places if place.state is State.VERIFIED]
    bad = [place for place in contents.places if place not in good]
    files = f"{count(summary['files'], 'file')} ({amount(summary['bytes'])})"
    volatile = [place for place in good if place.is_memory]
    safe = tuple(
        f"{printable(place.label)}: {count(place.summary['files_ok'], 'file')}"
        f" ({amount(place.summary['bytes'])}), each as its list says."
        for place in good
    )
    unsafe = tuple(f"{printable(place.label)}: {_findings(place)}" for place in bad)
    cautions = tuple(
        f"{printable(place.label)} lies in memory, and is gone when the machine is switched off." for place in volatile
    )
    exit_code = summary["exit_code"]
    if exit_code == ExitCode.OK:
        level = Level.CAUTION if volatile or not summary["files"] else Level.SAFE
        headline = "Everything is as the lists say." if summary["files"] else "The lists name no file."
        sentence = f"{files} read from the medium, each with the digest that its list names."
        return Verdict(level, headline, sentence, None, "", safe, unsafe, cautions)
    changed = sum(place.summary.get("changed", 0) for place in contents.places)
    if contents.is_interrupted:
        headline, sentence = "Stopped before the end.", "The check was interrupted: it proves only what it has reached."
    elif exit_code == ExitCode.MISMATCH:
        is_one = changed == 1
        headline = f"{count(changed, 'file')} {'has' if is_one else 'have'} changed."
        sentence = f"{'It is' if is_one else 'They are'} no longer what the lists say: look for a good copy."
    elif exit_code == ExitCode.REFUSED:
        headline, sentence = "A list cannot be trusted.", "Nothing is proven by a list that cannot be read or believed."
    else:
        headline, sentence = "Not everything is as the lists say.", "Files are missing, unreadable, or in no list."
    return Verdict(Level.UNSAFE, headline, sentence, None, "", safe, unsafe, cautions)


def _findings(place: Place) -> str:
    summary = place.summary
    if "verified" not in summary:
        return printable(summary["error"] or "it was not checked.")
    others = summary["files_failed"] - summary["changed"] - summary["missing"]
    counts = [*((word, summary[word]) for word in ("verified", "changed", "missing", "new")), ("not compared", others)]
    words = ", ".join(f"{number:,} {word}" for word, number in counts if number or word == "verified")
    error = f" First reason: {printable(summary['error'])}" if summary["error"] else ""
    return f"{words}.{error}"
