"""The report for programs: one JSON object, described by ``docs/report.schema.json``."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from pfndispatchcopy.exact_paths import notice_fields, path_fields
from pfndispatchcopy.report.contents import Contents, Place, Row
from pfndispatchcopy.report.throughput import measure
from pfndispatchcopy.report.verdict import judge

__all__ = ["PROGRAM", "json_report"]

PROGRAM = "pfndispatchcopy"
_FORMAT = 1


def json_report(contents: Contents) -> Iterator[bytes]:
    """Yield the report in pieces: what is one for each file, a line each; nothing is held in memory."""
    summary = contents.summary
    head = {
        "program": PROGRAM,
        "report": _FORMAT,
        "version": contents.version,
        "kind": "check" if contents.is_check else "copy",
        "command": contents.command,
        "system": contents.machine,
        "started": contents.started,
        "ended": contents.ended,
        "verdict": _verdict(contents),
        "sources": [path_fields(path) for path in contents.sources],
        "options": dict(contents.options),
        "plan": _plan(contents),
        "summary": {name: summary[name] for name in ("ok", "exit_code", "files", "bytes", "elapsed_s", "speed_mb_sec")},
        "destinations": [_place(place) for place in contents.places],
        "throughput": _throughput(contents),
    }
    yield _dump(head)[:-1].encode("ascii")
    yield from _list("warnings", (notice_fields(each) for each in contents.told("warning")))
    yield from _list("errors", (notice_fields(each) for each in contents.told("error")))
    left_out = ({**path_fields(path), "reason": reason} for path, reason in contents.all_left_out())
    yield from _list("left_out", left_out)
    yield from _list("files", (_row(row) for row in contents.rows()))
    yield b"}\n"


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _list(name: str, items: Iterable[Any]) -> Iterator[bytes]:
    separator = f',\n"{name}":[\n'
    for item in items:
        yield f"{separator}{_dump(item)}".encode("ascii")
        separator = ",\n"
    yield b"\n]" if separator == ",\n" else f"{separator}]".encode("ascii")


def _verdict(contents: Contents) -> dict[str, Any]:
    found = judge(contents)
    return {
        "level": found.level,
        "headline": found.headline,
        "summary": found.summary,
        "may_erase_source": found.may_erase,
        "safe": found.safe,
        "unsafe": found.unsafe,
        "cautions": found.cautions,
    }


def _plan(contents: Contents) -> dict[str, Any] | None:
    if contents.plan is None:
        return None
    names = ("files", "bytes", "strategy", "chunk_size", "queue_depth", "jobs", "memory_bound", "reason")
    return {name: contents.plan[name] for name in names}


def _place(place: Place) -> dict[str, Any]:
    told = {name: value for name, value in place.summary.items() if name not in ("path", "path_b64")}
    volume = None
    if place.volume is not None:
        volume = {
            "device": place.volume.device,
            "filesystem": place.volume.filesystem,
            **path_fields(place.volume.mount_point, "mount_point"),
            "kind": place.volume.storage.kind,
            "disk": place.volume.storage.disk,
        }
    ways = [
        {"state": state, "read_back": read_back, "files": files}
        for (state, read_back), files in sorted(place.ways.items())
    ]
    return {**path_fields(place.label), **told, "volume": volume, "proof": ways}


def _throughput(contents: Contents) -> dict[str, Any] | None:
    found = measure(contents)
    if found is None:
        return None
    return {
        "step_s": round(found.step_s, 3),
        "begins_s": round(found.begins_s, 3),
        "copied": [[round(rate) for rate in curve.rates] for curve in found.copied],
        "read_back": [[round(rate) for rate in curve.rates] for curve in found.verified],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        **path_fields(row.path),
        "size": row.size,
        "hashes": row.hashes,
        "destinations": [
            {
                "destination": number,
                **path_fields(each.path),
                "state": each.state,
                "read_back": each.read_back,
                "error": each.error,
            }
            for number, each in enumerate(row.outcomes)
            if each is not None
        ],
    }
