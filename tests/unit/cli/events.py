"""Events as they come to the printers, for the tests of the command."""

from typing import Any

__all__ = ["error", "file", "plan", "progress", "start", "summary"]


def start(source: str = "clip.mov", *destinations: str) -> dict[str, Any]:
    return {
        "event": "start",
        "sources": [{"path": source}],
        "destinations": [{"path": path} for path in destinations or ("/a/",)],
    }


def plan(**changes: Any) -> dict[str, Any]:
    return {
        "event": "plan",
        "files": 1,
        "bytes": 1000,
        "strategy": "single",
        "chunk_size": 4096,
        "queue_depth": 1,
        "jobs": 1,
        "memory_bound": 8192,
        "reason": "asked for",
        "free_bytes": [{"path": "/a/", "bytes": 5_000_000}, {"path": "/b\x1b/", "bytes": None}],
        **changes,
    }


def progress(done: int = 250, total: int | None = 1000, **changes: Any) -> dict[str, Any]:
    return {
        "event": "progress",
        "phase": "copy",
        "bytes_done": done,
        "bytes_total": total,
        "rate": 2_500_000.0,
        "eta_s": 3.0,
        "destinations": [
            {"path": path, "bytes_done": done, "rate": 2_500_000.0, "state": "copying"} for path in ("/a/", "/b\x1b/")
        ],
        **changes,
    }


def file(
    *paths: str, size: int = 1000, hashes: dict[str, str] | None = None, state: str = "verified"
) -> dict[str, Any]:
    return {
        "event": "file",
        "path": "clip.mov",
        "size": size,
        "hashes": {"xxh64be": "0123456789abcdef"} if hashes is None else hashes,
        "destinations": [
            {"path": path, "state": state, "read_back": "direct", "error": None} for path in paths or ("/a/clip.mov",)
        ],
    }


def summary(count: int = 1, *, ok: bool = True, state: str = "verified", size: int = 1000) -> dict[str, Any]:
    return {
        "event": "summary",
        "ok": ok,
        "exit_code": 0 if ok else 1,
        "files": 1,
        "bytes": size,
        "elapsed_s": 0.5,
        "speed_mb_sec": 12.345,
        "destinations": [
            {
                "path": "/a/",
                "state": state,
                "files_ok": int(ok),
                "files_failed": int(not ok),
                "bytes": size if ok else 0,
                "speed_mb_sec": 12.345,
                "error": None if ok else "it broke",
            }
        ]
        * count,
    }


def error(message: str = "it broke", kind: str = "error") -> dict[str, Any]:
    return {
        "event": kind,
        "message": message,
        "path": "/a",
        "operation": "write",
        "errno": "EIO",
        "destination": None,
    }
