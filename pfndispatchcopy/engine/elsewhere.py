"""Where jobs are done by a process that was not forked from the one that runs the offload, maybe on another host.

Such a process has to show that it sees the very same source and destinations before it does a job: a worker without
the mount would read an empty folder, or fill its own disk under the same name. And nobody can send it a signal: the
tokens that lie in the destinations are the sign that the offload goes on. They are removed at its end and when it is
cancelled, and those of a killed run by the next one.
"""

import os
import threading
from time import monotonic

from pfndispatchcopy.dispatch import UnfitWorkerError
from pfndispatchcopy.engine.jobs import Job, JobReport, JobSetup, Landmark, Presence, Token
from pfndispatchcopy.engine.lanes import Lane, Supervisor
from pfndispatchcopy.engine.workplace import Workplace
from pfndispatchcopy.fileio.folders import OpenFolders
from pfndispatchcopy.fileio.system import System
from pfndispatchcopy.notices import reason_of
from pfndispatchcopy.printable import printable

__all__ = ["Elsewhere"]

# How often a token is looked for.
_LOOK_S = 1.0
# A worker that cannot do a job would be the first to be free for the next one: it is held back for a while.
_HELD_BACK_S = 1.0
# When no destination has told for so long whether its token is there, nobody waits for the jobs any more.
_SILENCE_S = 600.0
_READ_ONLY = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)


class Elsewhere(Workplace):
    """A workplace that proves what it sees, and ends with the offload.

    Args:
        setup: what all jobs have in common.
        presence: what has to be seen.
        system: the calls.
    """

    def __init__(self, setup: JobSetup, presence: Presence, system: System) -> None:
        self._is_same_kernel = presence.kernel == system.kernel()
        if not self._is_same_kernel:  # devices have other numbers there; the tokens tell
            setup = setup._replace(
                sources=tuple(source._replace(identity=None) for source in setup.sources),
                targets=tuple(target._replace(identity=None) for target in setup.targets),
            )
        super().__init__(setup, system, threading.Event())
        self._tokens = {token.destination: token for token in presence.tokens}
        self._landmarks = {landmark.source: landmark for landmark in presence.landmarks}
        self._seen_sources: set[int] = set()
        self._signs: dict[int, bool | None] = {}  # whether a token was there at the last look; None: it gave no answer
        self._signed_at = monotonic()
        self._seen_targets: set[int] = set()
        self._proving = threading.Lock()
        self._running = 0
        self._is_idle = threading.Condition()

    def run(self, job: Job) -> JobReport:
        """Do one job, if everything that it needs is in sight.

        Raises:
            UnfitWorkerError: it is not, or the offload is over.
        """
        with self._is_idle:
            self._running += 1
        try:
            try:
                self.require_sight(job.setup, (job.root,), job.targets)
            except UnfitWorkerError:
                self.cancel.wait(_HELD_BACK_S)
                raise
            return super().run(job)._replace(was_stopped=self.cancel.is_set())
        finally:
            with self._is_idle:
                self._running -= 1
                self._is_idle.notify_all()

    def require_sight(self, setup: JobSetup, sources: tuple[int, ...], targets: tuple[int, ...]) -> None:
        """See that these sources and destinations are those of the offload; what was seen once is not looked at again.

        Args:
            setup: as it came with the job.
            sources: numbers of the roots.
            targets: numbers of the destinations.

        Raises:
            UnfitWorkerError: they are not, or cannot be looked at.
        """
        with self._proving:
            if self.cancel.is_set():
                raise self._unfit("the offload is over")
            new_sources = [number for number in sources if number not in self._seen_sources]
            new_targets = [number for number in targets if number not in self._seen_targets]
            if not (new_sources or new_targets):
                return
            where = [setup.sources[number].path for number in new_sources]
            supervisor = Supervisor(self.setup.options.stall_timeout_s, self.cancel)
            watch = supervisor.watch(where[0] if where else "")

            def look() -> None:
                for number in new_sources:
                    watch.label = setup.sources[number].path
                    with watch("look at the source"):
                        self._look_at_source(number, setup)
                for number in new_targets:
                    watch.label = setup.targets[number].path
                    with watch("look for the token"):
                        self._look_for_token(number)

            lane: Lane | None = None
            try:
                lane = supervisor.lane("pfn-sight")
                task = lane.submit(look, watch)
                supervisor.wait([task])
                if task.error is not None:
                    raise self._unfit(f"{printable(watch.label)}: {reason_of(task.error)}")
                self._seen_sources.update(new_sources)
                for number in new_targets:
                    self._signs[number] = True
                    threading.Thread(target=self._watch, args=(number,), name=f"pfn-sign-{number}", daemon=True).start()
                    self._seen_targets.add(number)
            except RuntimeError as error:
                raise self._unfit(f"no threads can be started there: {error}") from None
            finally:
                if not self._seen_targets:  # no job can be going on, and nothing will tell when the offload is over
                    if lane is not None and lane.is_given_up:
                        lane.submit(self.close)  # when it comes back
                    else:
                        self.close()
                supervisor.close()

    def _unfit(self, reason: str) -> UnfitWorkerError:
        return UnfitWorkerError(f"{printable(self.system.host_name())} cannot take part: {reason}")

    # -- what has to be seen ------------------------------------------------------------------------------

    def _look_at_source(self, number: int, setup: JobSetup) -> None:
        """See that a source is the very folder, and holds the very file.

        Raises:
            OSError: it cannot be looked at.
            UnfitWorkerError: it is another one.
        """
        handle = self.source(number)
        known = setup.sources[number].identity
        if known is not None and handle.identity.inode != known.inode:
            raise UnfitWorkerError("another folder than the source is there")
        landmark = self._landmarks.get(number)
        if landmark is None:
            return
        folders = OpenFolders(self.system, handle, follow=setup.sources[number].follow)
        try:
            status = self.system.status_of_name(folders.get(landmark.folder), landmark.name)
        finally:
            folders.close()
        found = Landmark(number, *landmark[1:3], status.st_size, status.st_mtime_ns, status.st_ino)
        if found != landmark:
            path = "/".join(part for part in landmark[1:3] if part)
            raise UnfitWorkerError(f"{printable(path)} in it is not the file that was listed")

    def _look_for_token(self, number: int) -> None:
        """See that a destination holds its token.

        Raises:
            OSError: it is not there, or cannot be read.
            UnfitWorkerError: something else is in it.
        """
        token = self._tokens.get(number)
        if token is None:
            raise UnfitWorkerError("no token was put there")
        if self._read(token) != token.content:
            raise UnfitWorkerError("the token there is another one's")

    def _read(self, token: Token) -> bytes:
        """What a token holds. It is opened anew each time: that is when a network file system asks its server."""
        fd = self.system.open_name(self.root(token.destination).handle, token.name, _READ_ONLY)
        try:
            buffer = memoryview(bytearray(len(token.content) + 1))
            return bytes(buffer[: self.system.read(fd, buffer)])
        finally:
            self.system.close(fd)

    # -- whether it goes on -------------------------------------------------------------------------------

    def _watch(self, number: int) -> None:
        """Look for one token until the offload is over. A destination that hangs leaves it at what was seen last."""
        while not self.cancel.wait(_LOOK_S):
            sign: bool | None = True
            try:
                self._look_for_token(number)
            except (FileNotFoundError, UnfitWorkerError):
                sign = False
            except OSError:  # it may be back in a moment
                sign = None
            with self._is_idle:
                self._signs[number] = sign
                if self.cancel.is_set() or not self._is_over():
                    continue
                self.cancel.set()
                self._is_idle.wait_for(lambda: not self._running)
            self.close()

    def _is_over(self) -> bool:
        """Whether a token is gone, and no other is there; or for long no destination has given an answer."""
        if True in self._signs.values():
            self._signed_at = monotonic()
            return False
        return False in self._signs.values() or monotonic() - self._signed_at > _SILENCE_S
