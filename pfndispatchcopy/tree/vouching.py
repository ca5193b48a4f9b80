"""What workers elsewhere recognise sources and destinations by, and see that the offload goes on.

A source is never written to: it is known by its folder and one of its files. Into each destination goes a small file
under a temporary name, with content that nobody can guess. It is removed when no job is wanted any more; one that a
killed run leaves is swept by the next, as all that has such a name.
"""

import os
from collections.abc import Sequence
from contextlib import suppress

from pfndispatchcopy.engine.jobs import Landmark, Presence, Token
from pfndispatchcopy.engine.lanes import Lane, OperationWatch, Supervisor
from pfndispatchcopy.fileio.folders import OpenFolders
from pfndispatchcopy.fileio.names import temporary_name
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.places import Places
from pfndispatchcopy.tree.places import TreePlace
from pfndispatchcopy.tree.scan import Tree

__all__ = ["Vouching"]

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
# A worker may run as another user than this process.
_READABLE = 0o644


class Vouching:
    """The tokens of an offload.

    Args:
        system: the calls.
        places: the destinations.
        supervisor: waits for them.
    """

    def __init__(self, system: System, places: Places[TreePlace], supervisor: Supervisor) -> None:
        self._system = system
        self._places = places
        self._supervisor = supervisor
        self._tokens: dict[int, Token] = {}

    def begin(
        self, tree: Tree, sources: Sequence[FolderHandle], lane: Lane, watch: OperationWatch, follow: Sequence[bool]
    ) -> Presence:
        """Put the tokens there, and look at one file of each source.

        Args:
            tree: what is copied.
            sources: the open folders of its roots.
            lane: of the source.
            watch: of the source.
            follow: for each root, whether links to folders in it are followed.
        """
        landmarks: list[Landmark] = []

        def look() -> None:
            with watch("stat"):
                landmarks.extend(_landmarks(self._system, tree, sources, follow))

        task = lane.submit(look, watch)
        self._places.for_each(self._put, task)
        return Presence(self._system.kernel(), tuple(self._tokens.values()), tuple(landmarks))

    def _put(self, place: TreePlace) -> None:
        folder = place.open_folder.handle
        content = "".join(self._system.random_token() for _ in range(4)).encode()
        token = Token(place.number, temporary_name(self._system, place.probed_name), content)
        with place.watch("create"):
            fd = self._system.open_name(folder, token.name, _CREATE, _READABLE)
        self._tokens[place.number] = token
        try:
            with place.watch("write"):
                self._system.write(fd, memoryview(token.content))
        finally:
            self._system.close(fd)

    def end(self) -> None:
        """Remove the tokens: whoever does a job elsewhere stops within a second or two. Nothing is done twice."""
        tokens, self._tokens = self._tokens, {}

        def remove(place: TreePlace, name: str) -> None:
            with place.watch("remove the token"), suppress(OSError):
                self._system.remove_name(place.open_folder.handle, name)

        tasks = []
        for number, token in tokens.items():
            place, lane = self._places.all[number], self._places.lanes[number]
            if not lane.is_given_up:
                tasks.append(lane.submit(lambda place=place, name=token.name: remove(place, name), place.watch))  # type: ignore[misc]
        self._supervisor.wait(tasks)


def _landmarks(system: System, tree: Tree, sources: Sequence[FolderHandle], follow: Sequence[bool]) -> list[Landmark]:
    """One file of each source. What has vanished since it was listed is told when it is to be copied."""
    found: dict[int, Landmark] = {}
    for file in tree.files:
        root, folder = tree.folders[file.folder]
        if root in found:
            continue
        folders = OpenFolders(system, sources[root], follow=follow[root])
        try:
            with suppress(OSError):
                status = system.status_of_name(folders.get(folder), file.name)
                found[root] = Landmark(root, folder, file.name, status.st_size, status.st_mtime_ns, status.st_ino)
        finally:
            folders.close()
        if len(found) == len(sources):
            break
    return list(found.values())
