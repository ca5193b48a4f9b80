"""What people read: errors and warnings, the summary, the plan, and the historic lines of ``-v``."""

from typing import Any

from pfndispatchcopy.cli.jsonlines import exact_path
from pfndispatchcopy.cli.request import PROGRAM, Request
from pfndispatchcopy.cli.streams import Outlet
from pfndispatchcopy.model import STANDARD_INPUT, State
from pfndispatchcopy.notices import amount
from pfndispatchcopy.printable import printable

__all__ = ["TextLines"]

# Seconds between two progress lines of -v.
_HISTORIC_PACE_S = 0.5


class TextLines:
    """Prints events as text; with ``--json`` only what belongs on standard error.

    Args:
        request: what was asked for.
        out: standard output.
        err: standard error.
    """

    def __init__(self, request: Request, out: Outlet, err: Outlet) -> None:
        self._request = request
        self._out = out
        self._err = err
        self._last_progress = 0.0
        self._file: dict[str, Any] | None = None

    def event(self, fields: dict[str, Any], now: float) -> None:
        """Print what there is to say of one event; *now* is in seconds of a clock that never goes back."""
        match fields["event"]:
            case "error" | "warning" as kind:
                self._err.write(f"{PROGRAM}: {kind}: {printable(fields['message'])}\n")
            case "crash":
                self._err.write(f"{PROGRAM}: internal error: {printable(fields['message'])}\n")
                for line in fields["trace"].splitlines():
                    self._err.write(f"{printable(line)}\n")
            case "start" if self._request.verbose:
                self._info(f"copying {printable(self._request.source)}...")
            case "plan" if self._request.dry_run and not self._is_silent:
                self._plan(fields)
            case "progress" if self._request.verbose:
                self._historic_progress(fields, now)
            case "file":
                self._file = fields
            case "summary":
                self._summary(fields)

    @property
    def _is_silent(self) -> bool:
        return self._request.quiet or self._request.json

    def _info(self, text: str) -> None:
        self._err.write(f"INFO: {text}\n")

    def _historic_progress(self, fields: dict[str, Any], now: float) -> None:
        if fields["phase"] != "copy" or now - self._last_progress < _HISTORIC_PACE_S:
            return
        self._last_progress = now
        self._copied(fields["bytes_done"], fields["bytes_total"])

    def _copied(self, done: int, total: int | None) -> None:
        if self._request.source == STANDARD_INPUT or total is None:
            self._info(f"copied {done} bytes")
        else:
            self._info(f"copied {done} of {total} bytes ({100 * done // total if total else 100}%)")

    def _summary(self, fields: dict[str, Any]) -> None:
        file = self._file
        if file is None:
            return
        if self._request.verbose and any(each["bytes"] for each in fields["destinations"]):
            self._copied(file["size"], file["size"])
        if self._request.verbose:
            seconds, rate = fields["elapsed_s"], fields["speed_mb_sec"]
            self._info(f"copy speed {fields['bytes']} bytes in {seconds:.3f} sec ({rate:.2f} MB/sec)")
            for name, digest in file["hashes"].items():
                self._info(f"hash {name.upper()}:{digest}")
            if fields["ok"]:
                self._info("done.")
        if self._is_silent:
            return
        digest = ", ".join(f"{name}:{value}" for name, value in file["hashes"].items())
        for whole, on_file in zip(fields["destinations"], file["destinations"], strict=True):
            files = whole["files_ok"]
            line = (
                f"{printable(exact_path(on_file))}: {whole['state']}, {files} file{'' if files == 1 else 's'},"
                f" {whole['bytes']} bytes, {whole['speed_mb_sec']:.1f} MB/s"
            )
            holds_it = whole["state"] in (State.VERIFIED, State.COPIED, State.IDENTICAL)
            self._out.write(f"{line}, {digest}\n" if digest and holds_it else f"{line}\n")

    def _plan(self, plan: dict[str, Any]) -> None:
        size = "unknown size" if plan["bytes"] is None else f"{plan['bytes']} bytes"
        files = plan["files"]
        lines = [f"plan: {files} file{'' if files == 1 else 's'}, {size}, from {printable(self._request.source)}"]
        for each in plan["free_bytes"]:
            free = "free space unknown" if each["bytes"] is None else f"{amount(each['bytes'])} free"
            lines.append(f"  to {printable(exact_path(each))}: {free}")
        lines += [
            f"strategy: {plan['strategy']} ({plan['reason']})",
            f"chunk size: {plan['chunk_size']} bytes",
            f"queue depth: {plan['queue_depth']}",
            f"jobs: {plan['jobs']}",
            f"memory bound: {plan['memory_bound']} bytes",
            "nothing was written",
        ]
        self._out.write("\n".join(lines) + "\n")
