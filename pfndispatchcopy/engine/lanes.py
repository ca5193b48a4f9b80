"""Lanes and their supervisor: whatever may hang in the kernel runs in a lane, and the supervisor never does.

A lane is one thread with a name that runs tasks one after another: there is one for the source and one
for each destination, kept for the whole run. What a lane is doing is written into an
:class:`OperationWatch`, so that the supervisor can tell a hung operation from an idle lane, give the
lane up, and go on with the others. A thread that is stuck in the kernel cannot be ended; it is left
behind as a daemon, with nothing to its name.
"""

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from time import monotonic
from types import TracebackType
from typing import Any, Protocol

from pfndispatchcopy.errors import NoThreadError, OperationCancelledError, StalledError

__all__ = ["SOURCE", "AwakeClock", "Lane", "OperationWatch", "Pulse", "Supervisor", "Task", "Watch"]

# How often the supervisor looks: the pace of progress events, of which with a last one there may be ten in
# any second, and the finest stall it can see.
TICK_S = 0.125
# After a cancel, how long an operation that is in the kernel may take before its lane is given up.
CANCEL_GRACE_S = 5.0
# The owner of an operation that concerns the source, where destinations have numbers.
SOURCE = -1


class AwakeClock:
    """Seconds during which this process was awake: a stopped or starved process does not age.

    Only the supervisor advances it, so reading it costs nothing.
    """

    __slots__ = ("_last", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self._last = monotonic()

    def advance(self) -> None:
        """Let the time since the last call pass, but no more of it than two ticks."""
        current = monotonic()
        self.now += min(current - self._last, 2 * TICK_S)
        self._last = current


class OperationWatch:
    """What one destination, or the source, is doing in the operating system; used as a context.

    Attributes:
        label: whose operations these are.
        operation: the latest one, in a word.
        offset: the byte that it is about, where that makes sense.
    """

    __slots__ = ("_clock", "is_busy", "label", "offset", "operation", "since")

    def __init__(self, label: str, clock: AwakeClock) -> None:
        self.label = label
        self.operation = "open"
        self.offset: int | None = None
        self.is_busy = False
        self.since = 0.0
        self._clock = clock

    def __call__(self, operation: str, offset: int | None = None) -> "OperationWatch":
        """Name the operation that begins: ``with watch("write", 4096): …``."""
        self.operation = operation
        self.offset = offset
        return self

    def __enter__(self) -> None:
        self.since = self._clock.now
        self.is_busy = True

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_busy = False

    def beat(self) -> None:
        """The operation at hand is a long one, and has just got on: count from now."""
        self.since = self._clock.now

    def seconds_busy(self) -> float:
        """For how long the operation at hand has been going on; 0 between operations."""
        return self._clock.now - self.since if self.is_busy else 0.0


class Watch(Protocol):
    """What shows a supervisor that an operation goes on."""

    operation: str

    def seconds_busy(self) -> float:
        """For how long the operation at hand has been going on; 0 between operations."""


class Pulse:
    """Shows, for next to nothing, that a loop goes on: a watch for its supervisor.

    Attributes:
        owner: number of the destination whose operation goes on; -1 is the source.
        operation: in a word.
        beats: operations so far.
        is_busy: whether an operation goes on at all.
    """

    __slots__ = ("_clock", "_last", "_since", "beats", "is_busy", "offset", "operation", "owner")

    def __init__(self, clock: AwakeClock) -> None:
        self.owner = SOURCE
        self.operation = "open"
        self.offset: int | None = None
        self.beats = 0
        self.is_busy = False
        self._clock = clock
        self._last = -1
        self._since = 0.0

    def seconds_busy(self) -> float:
        """For how long the operation at hand has been going on, as far as the supervisor has looked."""
        if self.beats != self._last or not self.is_busy:
            self._last, self._since = self.beats, self._clock.now
            return 0.0
        return self._clock.now - self._since


class Task:
    """Something that a lane was asked to do, and how it ended."""

    __slots__ = ("_call", "error", "hung_watch", "is_done", "lane", "watches")

    def __init__(self, lane: "Lane", call: Callable[[], Any], watches: Sequence[Watch]) -> None:
        self.lane = lane
        self.watches = tuple(watches)
        self.is_done = False
        self.error: BaseException | None = None
        self.hung_watch: Watch | None = None  # what showed that it had to be given up
        self._call = call

    def run(self) -> BaseException | None:
        """Run it; returns what it raised."""
        try:
            self._call()
        except BaseException as error:  # noqa: BLE001 - carried to the supervisor, which decides
            return error
        return None


class Lane:
    """One thread that runs tasks in turn, until it is closed or given up.

    Args:
        name: of the thread.
        finished: the condition that is notified when a task is done.

    Raises:
        NoThreadError: the system has none left.
    """

    def __init__(self, name: str, finished: threading.Condition) -> None:
        self.name = name
        self.is_given_up = False
        self._finished = finished
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            raise NoThreadError(f"the system has no thread left: {error}") from error

    def submit(self, call: Callable[[], Any], *watches: Watch) -> Task:
        """Ask for *call*; *watches* are what its operations are seen through."""
        task = Task(self, call, watches)
        self._tasks.put(task)
        return task

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            error = task.run()
            with self._finished:
                if not task.is_done:  # else the supervisor has given it up in the meantime
                    task.error = error
                    task.is_done = True
                self._finished.notify_all()

    def close(self) -> None:
        """End the thread and wait for it; one that was given up is left behind."""
        self._tasks.put(None)
        if not self.is_given_up:
            self._thread.join()


class Supervisor:
    """Makes lanes, waits for their tasks, and gives up what hangs.

    Args:
        stall_timeout_s: how long one operation may take; 0 is for ever.
        cancel: set from anywhere to stop.
        on_tick: called eight times a second while waiting.
    """

    def __init__(
        self, stall_timeout_s: float, cancel: threading.Event, on_tick: Callable[[], None] = lambda: None
    ) -> None:
        self.clock = AwakeClock()
        self.on_tick = on_tick
        self._stall_timeout_s = stall_timeout_s
        self._cancel = cancel
        self._cancelled_at: float | None = None
        self._finished = threading.Condition()
        self._lanes: list[Lane] = []
        self._next_tick = monotonic() + TICK_S

    def lane(self, name: str) -> Lane:
        """Start a lane.

        Raises:
            NoThreadError: the system has no thread left to give.
        """
        lane = Lane(name, self._finished)
        self._lanes.append(lane)
        return lane

    def watch(self, label: str) -> OperationWatch:
        """Make a watch on this supervisor's clock."""
        return OperationWatch(label, self.clock)

    def wait(self, tasks: Sequence[Task], on_stall: Callable[[Task], None] | None = None) -> None:
        """Wait until every task is done or has been given up.

        A task that was given up has :class:`StalledError`, or after a cancel
        :class:`OperationCancelledError`, as its error.

        Args:
            tasks: the tasks; several may be in one lane.
            on_stall: told of each task that was given up.
        """
        self.clock.advance()
        while True:
            with self._finished:
                if all(task.is_done for task in tasks):
                    return
                self._finished.wait(TICK_S)
                pending = [task for task in tasks if not task.is_done]
            self.clock.advance()
            self._tick()
            limit = self._limit()
            if limit is None:
                continue
            for task in pending:
                hung = next((watch for watch in task.watches if watch.seconds_busy() > limit), None)
                if hung is not None and self._give_up(task, hung, limit) and on_stall is not None:
                    on_stall(task)

    def _tick(self) -> None:
        now = monotonic()
        if now >= self._next_tick:
            self._next_tick = now + TICK_S
            self.on_tick()

    def _limit(self) -> float | None:
        """For how long an operation may go on at this moment."""
        if self._cancel.is_set():
            if self._cancelled_at is None:
                self._cancelled_at = self.clock.now
            if self.clock.now - self._cancelled_at >= CANCEL_GRACE_S:
                return CANCEL_GRACE_S
        return self._stall_timeout_s or None

    def _give_up(self, task: Task, hung: Watch, limit: float) -> bool:
        with self._finished:
            if task.is_done:
                return False
            task.lane.is_given_up = True
            task.is_done = True
            task.hung_watch = hung
            task.error = (
                OperationCancelledError(f"cancelled while it hung in {hung.operation}")
                if self._cancel.is_set()
                else StalledError(f"it hangs: nothing finished for {limit:g} s")
            )
            return True

    @property
    def has_given_up(self) -> bool:
        """Whether a thread was left behind in the kernel."""
        return any(lane.is_given_up for lane in self._lanes)

    def close(self) -> None:
        """End all lanes that can be ended."""
        for lane in self._lanes:
            lane.close()
