"""What became of the files of a tree on one destination, counted."""

from time import monotonic

from pfndispatchcopy.engine.jobs import Outcome
from pfndispatchcopy.errors import OperationCancelledError
from pfndispatchcopy.model import Notice, State, TreeDestinationResult
from pfndispatchcopy.notices import failure_notice

__all__ = ["Tally"]

_WORST_FIRST = (State.MISMATCH, State.FAILED, State.CANCELLED)
_GOOD_LEAST_PROVEN_FIRST = (State.COPIED, State.VERIFIED, State.IDENTICAL, State.SKIPPED)


class Tally:
    """Counts.

    Attributes:
        files_ok: complete there.
        files_failed: not complete there.
        bytes_ok: of the complete ones.
        first_error: the first reason why something is not complete.
    """

    def __init__(self) -> None:
        self.files_ok = 0
        self.files_failed = 0
        self.bytes_ok = 0
        self.first_error: Notice | None = None
        self._states: set[State] = set()
        self._done_at = 0.0

    def add(self, outcome: Outcome, files: int, size: int) -> None:
        """Count *files* that ended alike, of *size* bytes together; none for what is about the whole destination."""
        self._states.add(outcome.state)
        self._done_at = monotonic()
        if outcome.state.is_complete and outcome.error is None:
            self.files_ok += files
            self.bytes_ok += size if outcome.state is not State.SKIPPED else 0
        else:
            self.files_failed += files
            self.first_error = self.first_error or outcome.error

    def distrust(self, outcome: Outcome, size: int) -> None:
        """A file that had been counted as complete cannot be trusted after all: *outcome* is how it ends now."""
        self.files_ok -= 1
        self.bytes_ok -= size
        self.add(outcome, 1, size)

    def state(self, *, failure: Notice | None, is_cancelled: bool, if_empty: State) -> State:
        """The state of all files together: the worst there is, or of good ones the one that proves least."""
        for state in _WORST_FIRST:
            if state in self._states:
                return state
        if failure is not None or self.first_error is not None:
            return State.FAILED
        for state in _GOOD_LEAST_PROVEN_FIRST:
            if state in self._states:
                return state
        return State.CANCELLED if is_cancelled else if_empty

    def result(
        self, label: str, *, failure: Notice | None, is_cancelled: bool, if_empty: State, started_at: float
    ) -> TreeDestinationResult:
        """What to tell of the destination.

        Args:
            label: of the destination.
            failure: why it takes no part any more, or None.
            is_cancelled: whether the run was stopped.
            if_empty: its state when there was nothing to copy.
            started_at: when the run began, on the monotonic clock.
        """
        state = self.state(failure=failure, is_cancelled=is_cancelled, if_empty=if_empty)
        error = failure or self.first_error
        if error is None and state is State.CANCELLED:
            cancelled = OperationCancelledError("cancelled")
            error = failure_notice(cancelled, path=label, operation="copy", destination=label)
        return TreeDestinationResult(
            label=label,
            state=state,
            files_ok=self.files_ok,
            files_failed=self.files_failed,
            bytes_ok=self.bytes_ok,
            duration_s=max(0.0, (self._done_at or monotonic()) - started_at),
            error=error,
        )
