"""Keeps the machine from falling asleep while a run goes on: by the system's own tool, or not at all."""

import os
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pfndispatchcopy.fileio.windows import WindowsAwake

__all__ = ["Awake"]

# No machine falls asleep within seconds, and most runs are over by then: they never start anything.
AFTER_S = 10.0
_JOIN_S = 1.0


class Awake:
    """Holds the machine awake from the tenth second on, until :meth:`close`.

    Whatever becomes of this process, the hold ends with it: the tool waits at the end of a pipe, or for this
    process. Where there is no such tool, or it is not allowed to, nothing happens and nothing is said.

    Args:
        after_s: seconds before anything is started.
    """

    def __init__(self, after_s: float | None = None) -> None:
        self._after_s = AFTER_S if after_s is None else after_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._hold, name="pfn-awake", daemon=True)
        with suppress(RuntimeError):  # the system has no thread left
            self._thread.start()

    def close(self) -> None:
        """Let the machine sleep again."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)

    def _hold(self) -> None:
        if self._over.wait(self._after_s):
            return
        with suppress(OSError):  # there is no such tool, or no process to be had
            hold = _start()
            self._over.wait()
            hold.release()


def _start() -> "_Tool | WindowsAwake":
    """Begin to hold.

    Raises:
        OSError: there is nothing to hold with.
    """
    system: str = sys.platform
    if system == "win32":
        from pfndispatchcopy.fileio.windows import WindowsAwake  # noqa: PLC0415 - chosen by platform

        return WindowsAwake()
    return _Tool(_command(system))


def _command(system: str) -> list[str]:
    if system == "darwin":
        return ["caffeinate", "-i", "-m", "-w", str(os.getpid())]
    what = ["--what=idle:sleep", "--who=pfndispatchcopy", "--why=Files are being copied and verified", "--mode=block"]
    # It holds for as long as the command that it is given runs, and that one until its standard input ends.
    return ["systemd-inhibit", *what, "cat"]


class _Tool:
    """A tool that is told by the end of its standard input, and by a signal, that it is no longer needed."""

    def __init__(self, command: list[str]) -> None:
        import subprocess  # noqa: PLC0415 - only what runs for long needs it

        # A session of its own: Ctrl-C is not meant for it, and it has no terminal to ask for a password on.
        self._process = subprocess.Popen(  # noqa: S603 - all our own words
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def release(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.kill()
        self._process.wait()
