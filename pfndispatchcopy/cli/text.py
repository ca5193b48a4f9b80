"""What people read: errors and warnings, the summary, the plan, and the historic lines of ``-v``."""

from typing import Any

from pfndispatchcopy.cli.jsonlines import exact_path
from pfndispatchcopy.cli.request import PROGRAM, Request
from pfndispatchcopy.cli.streams import ERROR, WARNING, Outlet
from pfndispatchcopy.model import State
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
        self._files = 0
        self._is_tree = False

    def event(self, fields: dict[str, Any], now: float) -> None:
        """Print what there is to say of one event; *now* is in seconds of a clock that never goes back."""
        match fields["event"]:
            case "error" | "warning" as kind:
                priority = ERROR if kind == "error" else WARNING
                self._err.write(f"{PROGRAM}: {kind}: {printable(fields['message'])}\n", priority)
            case "crash":
                self._err.write(f"{PROGRAM}: internal error: {printable(fields['message'])}\n", ERROR)
                for line in fields["trace"].splitlines():
                    self._err.write(f"{printable(line)}\n", ERROR)
            case "start" if self._request.verbose:
                for source in self._request.sources:
                    self._info(f"{'checking' if self._request.check else 'copying'} {printable(source)}...")
            case "left_out" if self._request.verbose:
                self._info(f"left out: {printable(exact_path(fields))} ({printable(fields['reason'])})")
            case "plan":
                self._is_tree = fields.get("is_tree", False)
                if self._request.dry_run and not self._is_silent:
                    self._plan(fields)
            case "progress" if self._request.verbose:
                self._historic_progress(fields, now)
            case "file":
                self._file = fields
                self._files += 1
                if self._request.verbose and self._is_tree:
                    self._one_of_many(fields)
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
        if self._request.reads_standard_input or total is None:
            self._info(f"copied {done} bytes")
        else:
            self._info(f"copied {done} of {total} bytes ({100 * done // total if total else 100}%)")

    def _one_of_many(self, file: dict[str, Any]) -> None:
        """The historic lines of one file of a tree, or what was found of one that was checked."""
        if self._request.check:
            self._one_checked(file)
            return
        self._info(f"copying {printable(exact_path(file))}...")
        self._copied(file["size"], file["size"])
        for name, digest in file["hashes"].items():
            self._info(f"hash {name.upper()}:{digest}")
        if all(each["error"] is None for each in file["destinations"]):
            self._info("done.")

    def _one_checked(self, file: dict[str, Any]) -> None:
        for each in file["destinations"]:
            digests = "".join(f", {name}:{digest}" for name, digest in file["hashes"].items())
            self._info(f"{printable(exact_path(each))}: {each['state']} ({each['read_back']}){digests}")

    def _check_summary(self, fields: dict[str, Any]) -> None:
        """A line for each list, or folder, that was checked."""
        if self._is_silent or self._request.dry_run:
            return
        left_out = f", {fields['left_out']} left out" if fields.get("left_out") else ""
        for each in fields["destinations"]:
            line = f"{printable(exact_path(each))}: {each['state']}"
            if each["state"] == State.VERIFIED:
                line += f", {_files(each['files_ok'])}, {each['bytes']} bytes, {each['speed_mb_sec']:.1f} MB/s"
            elif "verified" in each:
                line += ", " + ", ".join(f"{each[word]} {word}" for word in ("verified", "changed", "missing", "new"))
                others = each["files_failed"] - each["changed"] - each["missing"]
                word = "not checked" if each["state"] == State.CANCELLED else "failed"
                line += f", {others} {word}" if others else ""
            self._out.write(f"{line}{left_out}\n")

    def _tree_summary(self, fields: dict[str, Any]) -> None:
        if self._request.verbose:
            seconds, rate = fields["elapsed_s"], fields["speed_mb_sec"]
            self._info(f"copy speed {fields['bytes']} bytes in {seconds:.3f} sec ({rate:.2f} MB/sec)")
            if fields["ok"]:
                self._info("done.")
        if self._is_silent:
            return
        left_out = f", {fields['left_out']} left out" if fields["left_out"] else ""
        for each in fields["destinations"]:
            word = "not copied" if each["state"] == State.CANCELLED else "failed"
            failed = f", {each['files_failed']} {word}" if each["files_failed"] else ""
            self._out.write(
                f"{printable(exact_path(each))}: {each['state']}, {_files(each['files_ok'])}{failed},"
                f" {each['bytes']} bytes, {each['speed_mb_sec']:.1f} MB/s{left_out}\n"
            )
        if any(each["state"] == State.CANCELLED for each in fields["destinations"]):
            remembered = "what is complete is remembered: run the same command again to go on"
            self._err.write(f"{PROGRAM}: {remembered}\n", WARNING)

    def _summary(self, fields: dict[str, Any]) -> None:
        if self._request.check:
            self._check_summary(fields)
            return
        if self._is_tree and "left_out" in fields and not self._request.dry_run:
            self._tree_summary(fields)
            return
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
            line = (
                f"{printable(exact_path(on_file))}: {whole['state']}, {_files(whole['files_ok'])},"
                f" {whole['bytes']} bytes, {whole['speed_mb_sec']:.1f} MB/s"
            )
            holds_it = whole["state"] in (State.VERIFIED, State.COPIED, State.IDENTICAL)
            self._out.write(f"{line}, {digest}\n" if digest and holds_it else f"{line}\n")

    def _plan(self, plan: dict[str, Any]) -> None:
        size = "unknown size" if plan["bytes"] is None else f"{plan['bytes']} bytes"
        from_where = ", ".join(printable(source) for source in self._request.sources)
        lines = [f"plan: {_files(plan['files'])}, {size}, from {from_where}"]
        if self._request.check:
            lines += [f"how: {plan['reason']}", f"memory bound: {plan['memory_bound']} bytes", "no file was read"]
            self._out.write("\n".join(lines) + "\n")
            return
        for each in plan["free_bytes"]:
            free = "free space unknown" if each["bytes"] is None else f"{amount(each['bytes'])} free"
            lines.append(f"  to {printable(exact_path(each))}: {free}")
        lines += [
            f"strategy: {plan['strategy']} ({plan['reason']})",
            f"chunk size: {plan['chunk_size']} bytes",
            f"queue depth: {plan['queue_depth']}",
            f"jobs: {plan['jobs']}",
            f"memory bound: {plan['memory_bound']} bytes",
        ]
        if self._request.verbose:
            lines += [printable(f"{name} = {value} ({where})") for name, value, where in self._request.origins]
        lines.append("nothing was written")
        self._out.write("\n".join(lines) + "\n")


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"
