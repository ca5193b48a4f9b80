"""Events as JSON Lines: what ``--json`` prints, and what the two processes of the command talk in."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pfndispatchcopy import __version__
from pfndispatchcopy.cli.request import Request
from pfndispatchcopy.events import (
    AmendedEvent,
    ErrorEvent,
    Event,
    FileEvent,
    LeftOutEvent,
    PartialEvent,
    PlanEvent,
    ProgressEvent,
    WarningEvent,
)
from pfndispatchcopy.exact_paths import exact_path, notice_fields, path_fields
from pfndispatchcopy.model import CheckResult, CopyResult, DestinationResult, Phase, State, TreeResult

__all__ = [
    "AMENDED",
    "LEFT_OUT",
    "PARTIAL",
    "SAMPLE",
    "VOLUMES",
    "check_summary_fields",
    "encode",
    "event_fields",
    "exact_path",
    "path_fields",
    "refusal_summary",
    "report_fields",
    "start_fields",
    "summary_fields",
    "tree_summary_fields",
]

VERSION = 1
# Between the two processes only.
AMENDED = "amended"
LEFT_OUT = "left_out"
PARTIAL = "partial"
SAMPLE = "sample"
VOLUMES = "volumes"


def encode(event: str, fields: Mapping[str, Any]) -> bytes:
    """Return one event as a line of JSON; ASCII, so that no reader can break it at a strange line end."""
    now = time.time()
    stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z"
    line = json.dumps({"v": VERSION, "event": event, "time": stamp, **fields}, separators=(",", ":"))
    return line.encode("ascii") + b"\n"


def event_fields(event: Event) -> tuple[str, dict[str, Any]]:
    """Return the name and the fields of an event."""
    match event:
        case PlanEvent():
            fields = event._asdict()
            del fields["volumes"]
            fields["free_bytes"] = [{**path_fields(path), "bytes": free} for path, free in event.free_bytes]
            return "plan", fields
        case ProgressEvent():
            return "progress", {
                "phase": event.phase,
                "bytes_done": event.bytes_done,
                "bytes_total": event.bytes_total,
                "rate": round(event.rate, 1),
                "eta_s": None if event.eta_s is None else round(event.eta_s, 1),
                "destinations": [
                    {
                        **path_fields(each.path),
                        "bytes_done": each.bytes_done,
                        "rate": round(each.rate, 1),
                        "state": each.state,
                    }
                    for each in event.destinations
                ],
            }
        case FileEvent() | AmendedEvent():
            return AMENDED if isinstance(event, AmendedEvent) else "file", {
                **path_fields(event.path),
                "size": event.size,
                "hashes": event.hashes,
                "destinations": [_file_on_destination(each) for each in event.destinations],
            }
        case PartialEvent():
            return PARTIAL, {**path_fields(event.path), "exists": event.exists}
        case LeftOutEvent():
            return LEFT_OUT, {**path_fields(event.path), "reason": event.reason}
        case WarningEvent():
            return "warning", notice_fields(event.notice)
        case ErrorEvent():
            return "error", notice_fields(event.notice)


def report_fields(event: Event) -> tuple[str, dict[str, Any]] | None:
    """Return what a report wants to know beside an event; None for nothing."""
    match event:
        case PlanEvent():
            volumes = [
                {
                    **path_fields(each.path),
                    "device": each.device,
                    "filesystem": each.filesystem,
                    **path_fields(each.mount_point, "mount_point"),
                }
                for each in event.volumes
            ]
            return VOLUMES, {"volumes": volumes}
        case ProgressEvent():
            is_copying = event.phase is Phase.COPY
            copied = [each.bytes_done if is_copying else None for each in event.destinations]
            verified = [each.bytes_verified if is_copying else each.bytes_done for each in event.destinations]
            states = [each.state for each in event.destinations]
            return SAMPLE, {"copied": copied, "verified": verified, "states": states}
        case _:
            return None


def _file_on_destination(result: DestinationResult) -> dict[str, Any]:
    return {
        **path_fields(result.location),
        "state": result.state,
        "read_back": result.read_back,
        "error": result.error.message if result.error else None,
    }


def start_fields(request: Request) -> dict[str, Any]:
    """What is about to be done."""
    return {
        "version": __version__,
        "sources": [path_fields(path) for path in request.sources],
        "destinations": [path_fields(path) for path in request.destinations],
        "options": _plain(request.options.as_dict()),
    }


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options may hold paths, and paths any bytes."""

    def text(value: Any) -> Any:
        if isinstance(value, list):
            return [text(each) for each in value]
        return path_fields(value)["path"] if isinstance(value, str) else value

    return {name: text(value) for name, value in options.items()}


def summary_fields(result: CopyResult, exit_code: int, *, dry_run: bool) -> dict[str, Any]:
    """What became of it."""
    return {
        "ok": exit_code == 0,
        "exit_code": exit_code,
        "files": 0 if dry_run else 1,
        "bytes": 0 if dry_run else result.size,
        "elapsed_s": round(result.duration, 3),
        "speed_mb_sec": 0.0 if dry_run else round(result.speed_mb_sec, 2),
        "destinations": [
            {
                **path_fields(each.label),
                "state": each.state,
                "files_ok": int(each.success and not dry_run),
                "files_failed": int(not each.success),
                "bytes": result.size if each.state.is_complete and each.state is not State.SKIPPED else 0,
                "speed_mb_sec": round(each.speed_mb_sec, 2),
                "error": each.error.message if each.error else None,
            }
            for each in result.destinations
        ],
    }


def tree_summary_fields(result: TreeResult, exit_code: int, *, dry_run: bool) -> dict[str, Any]:
    """What became of a tree."""
    return {
        "ok": exit_code == 0,
        "exit_code": exit_code,
        "files": 0 if dry_run else result.files,
        "bytes": 0 if dry_run else result.size,
        "left_out": result.left_out,
        "elapsed_s": round(result.duration, 3),
        "speed_mb_sec": 0.0 if dry_run else round(result.speed_mb_sec, 2),
        "destinations": [
            {
                **path_fields(each.label),
                "state": each.state,
                "files_ok": each.files_ok,
                "files_failed": each.files_failed,
                "bytes": each.bytes_ok,
                "speed_mb_sec": round(each.speed_mb_sec, 2),
                "error": each.error.message if each.error else None,
            }
            for each in result.destinations
        ],
    }


def check_summary_fields(result: CheckResult, exit_code: int, *, dry_run: bool) -> dict[str, Any]:
    """What was found of lists."""
    return {
        "ok": exit_code == 0,
        "exit_code": exit_code,
        "files": 0 if dry_run else result.files,
        "bytes": 0 if dry_run else result.size,
        "left_out": result.left_out,
        "elapsed_s": round(result.duration, 3),
        "speed_mb_sec": 0.0 if dry_run else round(result.speed_mb_sec, 2),
        "destinations": [
            {
                **path_fields(each.label),
                "state": each.state,
                "files_ok": each.verified,
                "files_failed": each.changed + each.missing + each.failed,
                "bytes": each.bytes_verified,
                "speed_mb_sec": round(each.speed_mb_sec, 2),
                "error": each.error.message if each.error else None,
                "verified": each.verified,
                "changed": each.changed,
                "missing": each.missing,
                "new": each.new,
            }
            for each in result.checked
        ],
    }


def refusal_summary(destinations: Sequence[str], exit_code: int, message: str) -> dict[str, Any]:
    """The summary of a run that was refused, or that failed as a whole."""
    return {
        "ok": False,
        "exit_code": exit_code,
        "files": 0,
        "bytes": 0,
        "elapsed_s": 0.0,
        "speed_mb_sec": 0.0,
        "destinations": [
            {
                **path_fields(path),
                "state": State.FAILED,
                "files_ok": 0,
                "files_failed": 0,
                "bytes": 0,
                "speed_mb_sec": 0.0,
                "error": message,
            }
            for path in destinations
        ],
    }
