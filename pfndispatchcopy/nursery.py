"""A process that is forked early, while there is no thread yet, and forks workers when it is asked to.

Both talk over sockets: a message is its length and a pickle. Nothing here is for strangers: each end was forked
from the other, or from the same process.
"""

import errno
import os
import pickle
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

__all__ = ["CANCEL_SIGNAL", "Nursery", "is_connected", "receive", "send"]

CANCEL_SIGNAL = getattr(signal, "SIGUSR1", None)
_LENGTH = struct.Struct("!Q")
# How often a worker looks whether it is an orphan.
_ORPHAN_POLL_S = 0.1


class Nursery:
    """The connection to that process.

    It has what its parent had imported when it was opened, and so have the workers.

    Args:
        link: the connection to the nursery.
    """

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls,
        on_cancel: Callable[[], None],
        *,
        closing: Sequence[int] = (),
        preparing: Callable[[], None] = lambda: None,
    ) -> "Nursery | None":
        """Fork the nursery; None where that cannot be had. Call it before there is any thread.

        Args:
            on_cancel: what a worker does when it is told to stop.
            closing: descriptors that neither the nursery nor a worker may keep open.
            preparing: called in the nursery, while this process goes on: what it loads, all workers have.
        """
        if not hasattr(os, "fork") or not hasattr(socket, "send_fds"):
            return None
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError:
            return None
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            return None
        if pid == 0:
            try:
                ours.close()
                for fd in closing:
                    os.close(fd)
                preparing()
                _raise_children(theirs, on_cancel)
            finally:
                os._exit(0)
        theirs.close()
        return cls(ours)

    def worker(self) -> tuple[socket.socket, int]:
        """Have a worker forked; returns the connection to it, and its process number.

        Raises:
            OSError: there is no process to be had.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with theirs, self._lock:
                socket.send_fds(self._link, [b"f"], [theirs.fileno()])
            pid = int.from_bytes(_receive_exactly(ours, 4), "big")
        except EOFError:
            ours.close()
            raise OSError(errno.ECHILD, "the process that starts others has ended") from None
        except BaseException:
            ours.close()
            raise
        return ours, pid

    def close(self) -> None:
        """No more workers; those there are go on until their own connection ends."""
        self._link.close()


def _raise_children(link: socket.socket, on_cancel: Callable[[], None]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    while True:
        message, fds, _, _ = socket.recv_fds(link, 1, 1)
        if not message or not fds:
            return
        if os.fork() == 0:
            link.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if CANCEL_SIGNAL is not None:
                signal.signal(CANCEL_SIGNAL, lambda *_: on_cancel())
            threading.Thread(target=_die_with, args=(os.getppid(),), name="pfn-orphan", daemon=True).start()
            with suppress(OSError):
                _serve(socket.socket(fileno=fds[0]))
            os._exit(0)
        os.close(fds[0])


def _die_with(parent: int) -> None:
    """End this process when its parent has: nobody wants its work any more, and nobody else would stop it."""
    while os.getppid() == parent:
        time.sleep(_ORPHAN_POLL_S)
    os._exit(0)


def _serve(link: socket.socket) -> None:
    """Do what comes over the connection until it ends."""
    link.sendall(os.getpid().to_bytes(4, "big"))
    while True:
        packed = receive(link)
        if packed is None:
            return
        # Not from strangers: the bytes come from the process that this one was forked from.
        call, arguments = pickle.loads(packed)  # noqa: S301
        try:
            answer = pickle.dumps((True, call(*arguments)))
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is asked for
            answer = pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
        send(link, answer)


def send(link: socket.socket, data: bytes) -> None:
    """Send one message.

    Raises:
        OSError: there is nobody at the other end.
    """
    link.sendall(_LENGTH.pack(len(data)) + data)


def receive(link: socket.socket) -> bytes | None:
    """Wait for the next message; None at the end of the connection."""
    try:
        size = _LENGTH.unpack(_receive_exactly(link, _LENGTH.size))[0]
        return _receive_exactly(link, size)
    except EOFError:
        return None


def is_connected(link: socket.socket) -> bool:
    """Whether there is still somebody at the other end; never waits, and takes nothing out."""
    try:
        return link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def _receive_exactly(link: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = link.recv(min(size - len(data), 1 << 20))
        if not more:
            raise EOFError
        data += more
    return bytes(data)
