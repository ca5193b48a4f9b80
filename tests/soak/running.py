"""One run: in this process, on a system with faults, or by the command, with whatever happens to its processes."""

import base64
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pfndispatchcopy.cli.arguments import parse
from pfndispatchcopy.errors import PfnDispatchCopyError
from pfndispatchcopy.offload import prepare_offload
from tests.faults.scenarios import Fault as CallFault
from tests.faults.scenarios import ViolationError, require
from tests.soak.card import Card, Entry
from tests.soak.faults import Fault, Where
from tests.soak.faulty_command import VARIABLE
from tests.soak.volume import fill
from tests.soak.wish import Wish
from tests.support.command import environment
from tests.support.faulty_system import Rule
from tests.support.medium import Medium
from tests.support.recording import RecordingSystem
from tests.support.tree_trial import HARMLESS, HINTS
from tests.support.trial import open_below

__all__ = ["Ended", "checkout_environment", "run_command", "run_fault", "run_in_library"]

_CHECKOUT = Path(__file__).parents[2]
_PATIENCE_S = 60.0
_SIGNALS = {
    Where.KILL_GROUP: signal.SIGKILL,
    Where.KILL_FRONT: signal.SIGKILL,
    Where.KILL_ANY: signal.SIGKILL,
    Where.INTERRUPT: signal.SIGINT,
    Where.TERMINATE: signal.SIGTERM,
    Where.HANG_UP: signal.SIGHUP,
    Where.TWICE: signal.SIGINT,
    Where.STOP: signal.SIGSTOP,
}
_STOPPED_S = 0.5


@dataclass
class Ended:
    """How a run ended.

    Attributes:
        exit_code: of the command; negative when a signal ended it.
        states: of the destinations, in their order; empty where nobody was told.
        errors: what it said in errors.
        stderr: all of standard error, of a command.
        medium: what is durable, of a run in this process; *roots* are the numbers of the destinations in it.
        changed: what the source held before it was changed.
    """

    exit_code: int
    states: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    stderr: str = ""
    medium: Medium | None = None
    roots: list[int] = field(default_factory=list)
    changed: dict[str, Entry | None] = field(default_factory=dict)


def run_fault(wish: Wish, card: Card, fault: Fault, chance: random.Random, folder: Path) -> Ended:
    """Run with a fault."""
    if fault.is_in_library:
        return run_in_library(wish, card, fault)
    return run_command(wish, card, fault, chance, folder)


# -- in this process ---------------------------------------------------------------------------------------------------


def run_in_library(wish: Wish, card: Card, fault: Fault | None = None, more: tuple[str, ...] = ()) -> Ended:
    """Run in this process, on what passes for a disk."""
    system = RecordingSystem(keeps_data=False)
    medium = system.medium_of([str(root) for root in wish.roots])
    cancel, release = threading.Event(), threading.Event()
    changed: dict[str, Entry | None] = {}
    rule = _rule(wish, card, fault, cancel, release, changed) if fault is not None else None
    if rule is not None:
        system.state.rules.append(rule)
    threads = set(threading.enumerate())
    events: list[Any] = []
    ended = Ended(1, medium=medium, roots=list(medium.roots), changed=changed)
    try:
        request = parse(wish.arguments(*more), {"HOME": "/nonexistent"})
        offload = prepare_offload(
            request.sources,
            request.destinations,
            request.options,
            observer=events.append,
            cancel=cancel,
            system=system,
            files_from=request.files_from,
            executor=request.executor,
        )
        result = offload.run()
        ended.exit_code = int(result.exit_code)
        ended.states = [str(each.state) for each in result.destinations]
    except PfnDispatchCopyError as error:
        ended.exit_code = int(error.exit_code)
        ended.errors.append(str(error))
    finally:
        release.set()
        if fault is not None and rule is not None:
            fault.fired = rule.fired
    ended.errors += [event.notice.message for event in events if type(event).__name__ == "ErrorEvent"]
    until = time.monotonic() + 5
    while left := [each for each in threading.enumerate() if each not in threads]:
        require(time.monotonic() < until, f"threads left behind: {left}")
        time.sleep(0.001)
    for root in (card.folder, *wish.roots):
        require(not (still := open_below(root)), f"left open: {still}")
    for operation in system.log:
        medium.apply(operation)
    return ended


@dataclass
class _FileCall(Rule):
    """A call that concerns a file of a destination, whichever; *call* empty is any call that can fail."""

    def takes(self, call: str, path: str) -> bool:
        if not f"{path}/".startswith(f"{self.where}/") or (self.call and call != self.call):
            return False
        if not self.call and (call in HINTS or call in HARMLESS):
            return False
        self.seen += 1
        if self.seen < self.nth or (self.times is not None and self.seen >= self.nth + self.times):
            return False
        self.fired += 1
        return True


def _rule(
    wish: Wish,
    card: Card,
    fault: Fault,
    cancel: threading.Event,
    release: threading.Event,
    changed: dict[str, Entry | None],
) -> Rule:
    """Make the fault."""
    on_destination = str(wish.roots[max(0, fault.victim)])

    def hang(real: Callable[[], Any], *arguments: Any) -> Any:
        release.wait(_PATIENCE_S)
        return real()

    def flip(real: Callable[[], int], fd: int, buffer: memoryview) -> int:
        got = real()
        if got:
            buffer[got // 2] ^= 1
        return got

    def take_less(real: Callable[[], int], fd: int, data: memoryview) -> int:
        return os.write(fd, data[: max(1, len(data) // 3)])

    def lose(real: Callable[[], int], fd: int, data: memoryview) -> int:
        os.lseek(fd, len(data), os.SEEK_CUR)
        return len(data)

    def stop(real: Callable[[], Any], *arguments: Any) -> Any:
        cancel.set()
        return real()

    def change(real: Callable[[], Any], *arguments: Any) -> Any:
        _change(card, fault, changed)
        return real()

    source = str(card.folder)
    if fault.kind in (Where.LIBRARY_DESTINATION, Where.LIBRARY_SOURCE):
        where = source if fault.kind == Where.LIBRARY_SOURCE else on_destination
        return CallFault.at(where, fault.nth, fault.error, is_persistent=fault.is_persistent)
    call, where, action, times = {
        Where.LIBRARY_HANG: (fault.call, on_destination, hang, None),
        Where.LIBRARY_FLIP: ("read", on_destination, flip, 1),
        Where.LIBRARY_LOST: ("write", on_destination, lose, 1),
        Where.LIBRARY_SHORT: ("write", on_destination, take_less, None),
        Where.LIBRARY_CANCEL: ("", "", stop, 1),
        Where.LIBRARY_CHANGE: ("", source, change, 1),
    }[fault.kind]
    return _FileCall(call, where, action, fault.nth, times)


def _change(card: Card, fault: Fault, changed: dict[str, Entry | None]) -> None:
    changed[fault.changed] = card.entries[fault.changed]
    card.change(fault.changed, fault.how)


# -- by the command ----------------------------------------------------------------------------------------------------


def run_command(
    wish: Wish, card: Card, fault: Fault, chance: random.Random, folder: Path, more: tuple[str, ...] = ()
) -> Ended:
    """Run the command in a group of processes of its own; all of them have ended afterwards."""
    is_json = chance.random() < 0.8
    shown = ["--json"] if is_json else chance.choice((["-v"], ["-q"], ["--progress", "plain"], []))
    program = [sys.executable, "-m", "pfndispatchcopy"]
    log = folder / "fired"
    variables: dict[str, str] = {}
    if fault.kind in (Where.COMMAND_DESTINATION, Where.COMMAND_SOURCE):
        where = wish.roots[fault.victim] if fault.victim >= 0 else card.folder
        told = {"where": str(where), "nth": fault.nth, "error": fault.error, "is_persistent": fault.is_persistent}
        variables[VARIABLE] = json.dumps({**told, "log": str(log)})
        program = [sys.executable, "-m", "tests.soak.faulty_command"]
    process = subprocess.Popen(
        [*program, *wish.arguments(*shown, *more)],
        stdin=subprocess.PIPE if wish.stream is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=checkout_environment(variables),
        start_new_session=True,
        preexec_fn=_hear_signals,  # noqa: PLW1509 - nothing but this runs in the child before the command
    )
    changed: dict[str, Entry | None] = {}
    meddler = threading.Thread(
        target=_meddle, args=(process, wish, card, fault, chance.random(), changed), name="soak-meddler"
    )
    meddler.start()
    try:
        out, err = process.communicate(wish.stream, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise ViolationError(f"the command did not end within {_PATIENCE_S:.0f} s") from None
    finally:
        meddler.join()
    _require_all_ended(process.pid)
    if log.exists():
        fault.fired = log.stat().st_size
        log.unlink()
    ended = Ended(process.returncode, stderr=err.decode("utf-8", "surrogateescape"), changed=changed)
    if is_json:
        _read_events(out, wish, ended)
    return ended


def checkout_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment in which the package is the one that these tests belong to."""
    return environment({"PYTHONPATH": str(_CHECKOUT), "PYTHONIOENCODING": "utf-8:strict", **(more or {})})


def _hear_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _meddle(
    process: "subprocess.Popen[bytes]",
    wish: Wish,
    card: Card,
    fault: Fault,
    which: float,
    changed: dict[str, Entry | None],
) -> None:
    """Do at the right moment what is to happen to the command."""
    if not (fault.is_signal or fault.kind in (Where.COMMAND_CHANGE, Where.COMMAND_FULL)):
        fault.fired += fault.kind == Where.COMMAND_NOTHING
        return
    with suppress(subprocess.TimeoutExpired):
        process.wait(fault.at_s)
        return
    if fault.kind == Where.COMMAND_CHANGE:
        _change(card, fault, changed)
        fault.fired += 1
    elif fault.kind == Where.COMMAND_FULL:
        fill(wish.volume_folder)
        fault.fired += 1
    else:
        with suppress(ProcessLookupError):
            _signal(process, fault, which)
            fault.fired += 1


def _signal(process: "subprocess.Popen[bytes]", fault: Fault, which: float) -> None:
    """Send a signal, unless the command has ended: its number may be that of another process by then.

    Raises:
        ProcessLookupError: it has.
    """
    number = _SIGNALS[fault.kind]
    if process.poll() is not None:
        raise ProcessLookupError
    match fault.kind:
        case Where.KILL_GROUP:
            os.killpg(process.pid, number)
        case Where.KILL_ANY:
            members = sorted(_members(process.pid))
            os.kill(members[int(which * len(members))] if members else process.pid, number)
        case Where.STOP:
            os.killpg(process.pid, number)
            time.sleep(_STOPPED_S)
            os.killpg(process.pid, signal.SIGCONT)
        case Where.TWICE:
            process.send_signal(number)
            time.sleep(which * 0.05)
            process.send_signal(number)
        case _:
            process.send_signal(number)


def _members(group: int) -> Iterator[int]:
    """Processes of a group that have not ended."""
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if not name.isdigit():
            continue
        with suppress(OSError):
            told = Path(f"/proc/{name}/stat").read_text(errors="replace").rpartition(")")[2].split()
            if int(told[2]) == group and told[0] not in ("Z", "X"):
                yield int(name)


def _require_all_ended(group: int) -> None:
    """No process of the command may outlive it, whatever happened to it."""
    until = time.monotonic() + 10
    while members := list(_members(group)):
        if time.monotonic() > until:
            os.killpg(group, signal.SIGKILL)
            raise ViolationError(f"processes left behind: {members}")
        time.sleep(0.005)


def _read_events(out: bytes, wish: Wish, ended: Ended) -> None:
    """Take from the events what is told of the destinations; the last line may be cut off by a kill."""
    lines = out.split(b"\n")
    events = []
    for number, line in enumerate(lines):
        try:
            if line:
                events.append(json.loads(line))
        except ValueError:
            require(number == len(lines) - 1, f"no event: {line[:200]!r}")
    for event in events:
        require(event["event"] != "crash", f"it crashed: {event}")
        if event["event"] == "error":
            ended.errors.append(event["message"])
        if event["event"] == "summary":
            states = {_exact(each): each["state"] for each in event["destinations"]}
            ended.states = [states[label] for label in wish.labels] if states else []
            is_code = ended.exit_code in (event["exit_code"], event["exit_code"] - 256)
            require(
                is_code or ended.exit_code < 0 or ended.exit_code > 128, f"exit code {ended.exit_code}, told {event}"
            )


def _exact(fields: dict[str, Any]) -> str:
    """A path as it is, and not as JSON can hold it."""
    return os.fsdecode(base64.b64decode(fields["path_b64"])) if "path_b64" in fields else str(fields["path"])
