"""Runs as they are told of, event by event, and the reports that are made of them."""

import io
import json
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pfndispatchcopy import CopyOptions
from pfndispatchcopy.cli.jsonlines import path_fields
from pfndispatchcopy.report.contents import Contents
from pfndispatchcopy.report.csv_report import csv_report
from pfndispatchcopy.report.json_report import json_report
from pfndispatchcopy.report.notes import Notes

__all__ = ["Told", "demonstration", "many_files"]

_LETTERS = "0123456789abcdef"


class Told:
    """The events of one run, each of which a test may change.

    Args:
        destinations: as spelled.
        sources: as spelled.
        is_check: whether lists are checked.
        is_list: whether only what a list names is copied.
        options: of the run.
    """

    def __init__(
        self,
        *destinations: str,
        sources: Sequence[str] = ("/media/A001",),
        is_check: bool = False,
        is_list: bool = False,
        **options: Any,
    ) -> None:
        self.labels = destinations or ("/mnt/raid/day1", "/mnt/shuttle/day1")
        self.sources = sources
        self.is_check = is_check
        self.is_list = is_list
        self.is_tree = True
        self.command = f"pfndispatchcopy {' '.join((*sources, *self.labels))}"
        self.events: list[tuple[float, dict[str, Any]]] = []
        self.volumes: list[dict[str, Any]] = []
        self.files: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.options = CopyOptions(**options).as_dict()
        self.places: list[dict[str, Any]] = [
            {
                **path_fields(label),
                "state": "verified",
                "files_ok": 0,
                "files_failed": 0,
                "bytes": 0,
                "speed_mb_sec": 240.0,
                "error": None,
            }
            for label in self.labels
        ]
        self.lie_on(*range(100, 100 + len(self.labels)))

    def lie_on(self, *devices: int, filesystem: str = "ext4") -> None:
        """Say what the destinations lie on. The numbers are of volumes that no machine has."""
        self.volumes = [
            {**path_fields(label), "device": device << 20, "filesystem": filesystem, "mount_point": f"/mnt/{device}"}
            for label, device in zip(self.labels, devices, strict=True)
        ]

    def file(
        self,
        path: str,
        size: int = 1000,
        states: Sequence[str | None] = (),
        *,
        read_back: str = "evicted",
        error: str | None = None,
        **hashes: str,
    ) -> None:
        """Tell of a file. A state of None means that a destination was not given it."""
        told = []
        for number, label in enumerate(self.labels):
            state = states[number] if states else "verified"
            if state is None:
                continue
            is_good = state in ("verified", "identical", "copied", "skipped")
            where = path if self.is_check else f"{label}/{self.sources[0].rpartition('/')[2]}/{path}"
            told.append(
                {
                    **path_fields(where),
                    "state": state,
                    "read_back": read_back if is_good and state != "skipped" else "none",
                    "error": None if is_good else error or f"{where}: {state}",
                }
            )
            place = self.places[number]
            place["files_ok" if is_good else "files_failed"] += 1
            place["bytes"] += size * is_good
            if not is_good:
                place["state"] = state if place["state"] != "mismatch" else "mismatch"
                place["error"] = place["error"] or told[-1]["error"]
        self.files.append(
            {
                "event": "file",
                **path_fields(path),
                "size": size,
                "hashes": hashes or {"xxh64be": f"{len(self.files):016x}"},
                "destinations": told,
            }
        )

    def notice(
        self, kind: str, message: str, operation: str = "write", errno: str | None = None, path: str = ""
    ) -> None:
        """Tell of a warning or an error."""
        self.files.append(
            {
                "event": kind,
                "message": message,
                **path_fields(path),
                "operation": operation,
                "errno": errno,
                "destination": None,
            }
        )

    def left_out(self, path: str) -> None:
        """Tell of something that was left out."""
        self.files.append({"event": "left_out", **path_fields(path), "reason": "excluded"})

    def sample(
        self, at_s: float, copied: Sequence[int | None], verified: Sequence[int], states: Sequence[str] = ()
    ) -> None:
        """Tell how far each destination is."""
        words = list(states or ["copying"] * len(self.labels))
        self.events.append(
            (at_s, {"event": "sample", "copied": list(copied), "verified": list(verified), "states": words})
        )

    def all_events(self, exit_code: int = 0, planned: int | None = None) -> Iterator[tuple[float, dict[str, Any]]]:
        """Yield everything, from the start to the summary; *planned* is the number of files, where not all are told."""
        told = [each for each in self.files if each["event"] == "file"]
        files = len(told) if planned is None else planned
        size = sum(each["size"] for each in told)
        yield (
            0.0,
            {
                "event": "start",
                "time": "2026-11-25T14:30:00.000Z",
                "version": "0.1.0",
                "sources": [path_fields(path) for path in self.sources],
                "destinations": [path_fields(path) for path in self.labels],
                "options": json.loads(json.dumps(self.options)),
            },
        )
        plan = {
            "event": "plan",
            "files": files,
            "bytes": size,
            "strategy": "mixed",
            "chunk_size": 2 << 20,
            "queue_depth": 7,
            "jobs": 2,
            "memory_bound": 36 << 20,
            "reason": "1,180 small files in batches, 24 large files one by one; 2 jobs: rotational storage",
            "is_tree": self.is_tree,
        }
        yield 0.1, plan
        if not self.is_check:
            yield 0.1, {"event": "volumes", "volumes": self.volumes}
        yield from self.events
        for each in self.files:
            yield 1.0, each
        yield (
            2.0,
            {
                "event": "summary",
                "ok": exit_code == 0,
                "exit_code": exit_code,
                "files": files,
                "bytes": size,
                "elapsed_s": 2472.0,
                "speed_mb_sec": 103.2,
                "destinations": self.places,
                **self.summary,
            },
        )

    @contextmanager
    def contents(self, exit_code: int = 0, planned: int | None = None) -> Iterator[Contents]:
        """What reports are made of this."""
        with tempfile.TemporaryFile() as spool:
            notes = Notes(spool, self.command, is_check=self.is_check, is_list=self.is_list)
            for now, event in self.all_events(exit_code, planned):
                notes.event(event, now)
            notes.close("2026-11-25T14:56:06Z")
            contents = Contents(spool)
            try:
                yield contents
            finally:
                contents.close()

    def write(self, path: Path, exit_code: int = 0, planned: int | None = None) -> Path:
        """Write the report that the suffix asks for."""
        make: dict[str, Callable[[Contents], Iterator[bytes]]] = {".json": json_report, ".csv": csv_report}
        if path.suffix == ".html":
            from pfndispatchcopy.report.html_report import html_report

            make[".html"] = html_report
        with self.contents(exit_code, planned) as contents, io.BytesIO() as page:
            page.writelines(make[path.suffix](contents))
            path.write_bytes(page.getvalue())
        return path


def many_files(count: int, **options: Any) -> Told:
    """A run of so many files on three destinations."""
    told = Told("/mnt/raid/day1", "/mnt/shuttle/day1", "/mnt/nas/day1", **options)
    for number in range(count):
        told.file(f"DCIM/{number // 1000:03}FILMS/IMG_{number:06}.JPG", 1_000_000 + number)
    return told


def demonstration() -> tuple[Told, int, int]:
    """A day's card on three destinations, of which one fills up; returns it, its exit code and the files planned."""
    chance = random.Random(7)
    told = Told("/Volumes/RAID/day1", "/Volumes/Shuttle_A/day1", "/Volumes/Shuttle_B/day1", hashes=("xxh64be", "md5"))
    told.sources = ("/Volumes/A001",)
    told.options |= {"exclude_system": True, "mhl": "asc"}
    told.command = (
        "pfndispatchcopy --exclude-system --mhl asc -t xxh64be,md5 --report day1.html /Volumes/A001"
        " /Volumes/RAID/day1 /Volumes/Shuttle_A/day1 /Volumes/Shuttle_B/day1"
    )
    told.lie_on(101, 102, 103, filesystem="exfat")
    for each, name in zip(told.volumes, ("RAID", "Shuttle_A", "Shuttle_B"), strict=True):
        each["mount_point"] = f"/Volumes/{name}"
    told.volumes[0]["filesystem"] = "xfs"
    message = (
        "/Volumes/Shuttle_B/day1/A001/CLIPS/A001C0{0:02}.mov: write failed at byte 7340032000: No space left on device"
        " (ENOSPC). 3.2 GB more are needed. Nothing is left of it. Free some space on this volume and run the same"
        " command again."
    )
    for number in range(1, 25):
        states: list[str | None] = ["verified", "verified", "verified"]
        if number > 17:
            states[2] = "failed" if number == 18 else None
        told.file(
            f"CLIPS/A001C0{number:02}.mov",
            10_600_000_000 + chance.randrange(300_000_000),
            states,
            error=message.format(number) if number == 18 else None,
            **_digests(chance),
        )
    told.notice("error", message.format(18), errno="ENOSPC", path=message.format(18).partition(": ")[0])
    for number in range(1, 61):
        told.file(
            f"STILLS/I{number:04}.DNG",
            24_000_000 + chance.randrange(900_000),
            ["verified", "verified", None],
            **_digests(chance),
        )
    told.notice("warning", "the extended attribute user.tag could not be kept on 3 files", operation="preserve")
    for name in (".DS_Store", ".Spotlight-V100", ".fseventsd"):
        told.left_out(f"/Volumes/A001/{name}")
    told.summary = {"left_out": 3}
    told.places[2] |= {"state": "failed", "files_failed": 67, "speed_mb_sec": 187.0}
    elapsed_s = _tell_speeds(told, chance)
    size = told.places[0]["bytes"]
    told.places[0]["speed_mb_sec"] = told.places[1]["speed_mb_sec"] = round(size / elapsed_s / 1e6, 1)
    told.summary |= {"elapsed_s": elapsed_s, "speed_mb_sec": round(size / elapsed_s / 1e6, 1)}
    return told, 3, 84


def _digests(chance: random.Random) -> dict[str, str]:
    return {
        "xxh64be": "".join(chance.choice(_LETTERS) for _ in range(16)),
        "md5": "".join(chance.choice(_LETTERS) for _ in range(32)),
    }


def _tell_speeds(told: Told, chance: random.Random) -> float:
    """Curves as disks have them: an array, a disk that slows down inwards, one that is full in the middle; how long."""
    size = sum(each["size"] for each in told.files if each["event"] == "file")
    copied, verified = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    at_s = 0.0
    while min(verified[:2]) < size:
        share = copied[0] / size
        step = 6.0
        together = (235 - 60 * share) * chance.uniform(0.9, 1.06) * 1e6 * step
        for number in range(3):
            is_lost = number == 2 and share > 0.71
            if not is_lost:
                copied[number] = min(size, copied[number] + together * chance.uniform(0.97, 1.0))
                pace = (300, 190 - 60 * share, 200)[number] * chance.uniform(0.9, 1.05) * 1e6 * step
                verified[number] = min(
                    copied[number] * (1 if copied[number] >= size else 0.96), verified[number] + pace
                )
        is_lost = copied[0] / size > 0.71
        told.sample(
            at_s,
            [int(each) for each in copied],
            [int(each) for each in verified],
            ["copying", "copying", "failed" if is_lost else "copying"],
        )
        at_s += step
    return at_s - 6.0
