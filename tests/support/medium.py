"""A model of what is on a medium: it knows what was flushed, and so what a power cut may leave.

Stricter than any file system that is in use: the bytes of a file are durable after it was flushed, the entries of a
folder after that folder was flushed, and nothing else ever is. Between two flushes, what was done may be lost, or may
outlast what was done before it.
"""

import random
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Medium", "Node", "Operation"]

FOLDER_MODE = 0o700


class Operation(NamedTuple):
    """One call that changed something, or made it durable.

    Attributes:
        kind: ``create``, ``make folder``, ``rename``, ``remove``, ``write``, ``set``, ``flush``, ``flush folder``.
        node: what it was done to: for entries, the folder.
        name: of the entry.
        target: what the entry leads to; for a rename, nothing.
        new_name: of a rename.
        offset: of a write.
        data: of a write; None where only its size was recorded.
        size: of a write.
        mtime_ns, mode: what was set; None for the other one.
    """

    kind: str
    node: int
    name: str = ""
    target: int = 0
    new_name: str = ""
    offset: int = 0
    data: bytes | None = None
    size: int = 0
    mtime_ns: int | None = None
    mode: int | None = None


class _Entry(NamedTuple):
    """One change of a folder that is not durable yet: names that go, and one that comes."""

    gone: str
    name: str
    node: int


class Node:
    """A file or a folder, as it is now and as it is on the medium.

    Attributes:
        is_folder: whether it is one.
        data, mtime_ns, mode: of a file, now.
        is_dirty: whether anything was changed since the last flush.
        is_old: whether it was there before.
        durable: the bytes on the medium; None before the first flush.
        entries: of a folder, now.
        durable_entries: of a folder, on the medium.
        pending: what was changed in it since it was flushed, in order.
    """

    def __init__(self, *, is_folder: bool) -> None:
        self.is_folder = is_folder
        self.data = bytearray()
        self.size = 0
        self.mtime_ns = 0
        self.mode = 0o600
        self.is_dirty = True
        self.is_old = False
        self.durable: bytes | None = None
        self.durable_mtime_ns = 0
        self.durable_mode = 0o600
        self.entries: dict[str, int] = {}
        self.durable_entries: dict[str, int] = {}
        self.pending: list[_Entry] = []

    def may_be(self, name: str) -> set[int]:
        """Everything that may have a name after a power cut."""
        found = {each.node for each in self.pending if each.name == name}
        if name in self.durable_entries:
            found.add(self.durable_entries[name])
        return found

    def names(self) -> set[str]:
        """All names that there may be after a power cut."""
        return {each.name for each in self.pending if each.name} | set(self.durable_entries)

    def holds_for_certain(self, name: str) -> int | None:
        """What has a name whatever happens; None where that is not certain."""
        node = self.durable_entries.get(name)
        if node is None or any(name in (each.gone, each.name) for each in self.pending):
            return None
        return node


class Medium:
    """One or more folders that outlast everything, and what was done in them.

    Args:
        roots: numbers of the folders that were there before.
    """

    def __init__(self, roots: "tuple[int, ...] | list[int]") -> None:
        self.roots = tuple(roots)
        self.nodes: dict[int, Node] = {}
        for root in roots:
            self.nodes[root] = Node(is_folder=True)

    def adopt(
        self,
        folder: int,
        name: str,
        number: int,
        *,
        is_folder: bool,
        data: bytes = b"",
        mtime_ns: int = 0,
        mode: int = 0,
    ) -> None:
        """Take note of what is there already, and has long been durable."""
        node = self.nodes[number] = Node(is_folder=is_folder)
        node.is_dirty, node.is_old = False, True
        node.data, node.durable = bytearray(data), data
        node.mtime_ns = node.durable_mtime_ns = mtime_ns
        node.mode = node.durable_mode = mode
        self.nodes[folder].entries[name] = number
        self.nodes[folder].durable_entries[name] = number

    def apply(self, operation: Operation) -> None:
        """Do what was done."""
        node = self.nodes.get(operation.node)
        if node is None:  # outside of what is looked at
            return
        if operation.kind in ("create", "make folder"):
            self.nodes[operation.target] = Node(is_folder=operation.kind == "make folder")
            node.entries[operation.name] = operation.target
            node.pending.append(_Entry("", operation.name, operation.target))
        elif operation.kind == "rename":
            moved = node.entries.pop(operation.name)
            node.entries[operation.new_name] = moved
            node.pending.append(_Entry(operation.name, operation.new_name, moved))
        elif operation.kind == "remove":
            node.entries.pop(operation.name, None)
            node.pending.append(_Entry(operation.name, "", 0))
        elif operation.kind == "flush folder":
            node.durable_entries = dict(node.entries)
            node.pending.clear()
        else:
            _change(node, operation)

    def is_durable(self, root: int, path: str) -> bool:
        """Whether a file would be there after a power cut, with all that was written to it."""
        at = root
        for name in path.split("/"):
            found = self.nodes[at].holds_for_certain(name)
            if found is None:
                return False
            at = found
        return not self.nodes[at].is_dirty

    def durable_file(self, root: int, path: str) -> bytes | None:
        """The bytes that a file has after every power cut; None where it may be missing, or have others."""
        at = root
        for name in path.split("/"):
            found = self.nodes[at].holds_for_certain(name)
            if found is None:
                return None
            at = found
        node = self.nodes[at]
        return None if node.is_dirty or node.is_folder else node.durable

    def possible(self, root: int, above: str = "") -> Iterator[tuple[str, Node]]:
        """Every file that may be there after a power cut, with its path; a path may come more than once."""
        folder = self.nodes[root]
        for name in sorted(folder.names()):
            path = f"{above}/{name}" if above else name
            for number in sorted(folder.may_be(name)):
                node = self.nodes[number]
                if node.is_folder:
                    yield from self.possible(number, path)
                else:
                    yield path, node

    def after_power_cut(self, root: int, chance: random.Random | None = None) -> dict[str, Node]:
        """One state that a power cut may leave: paths, and what is there in the end.

        Args:
            root: the folder to look into.
            chance: None forgets all that was not flushed. Otherwise some of it is forgotten and some stays.
        """
        found: dict[str, Node] = {}
        self._survive(root, "", chance, found)
        return found

    def _survive(self, number: int, above: str, chance: random.Random | None, found: dict[str, Node]) -> None:
        folder = self.nodes[number]
        entries = dict(folder.durable_entries)
        for change in folder.pending if chance is not None else ():
            if chance is not None and chance.random() < 0.5:
                entries.pop(change.gone, None)
                if change.name:
                    entries[change.name] = change.node
        for name, each in entries.items():
            path = f"{above}/{name}" if above else name
            node = self.nodes[each]
            found[path] = node if node.is_folder else _remains(node, chance)
            if node.is_folder:
                self._survive(each, path, chance, found)


def _change(node: Node, operation: Operation) -> None:
    if operation.kind == "flush":
        node.is_dirty = False
        node.durable = bytes(node.data)
        node.durable_mtime_ns, node.durable_mode = node.mtime_ns, node.mode
        return
    if operation.kind == "write":
        node.is_dirty = True
        node.size = max(node.size, operation.offset + operation.size)
        if operation.data is not None:
            end = operation.offset + len(operation.data)
            if len(node.data) < end:
                node.data.extend(bytes(end - len(node.data)))
            node.data[operation.offset : end] = operation.data
        return
    assert operation.kind == "set", operation
    if operation.mtime_ns is not None:
        node.mtime_ns = operation.mtime_ns
    if operation.mode is not None:
        node.mode = operation.mode


def _remains(node: Node, chance: random.Random | None) -> Node:
    """What is left of a file: at the worst its length and its time, and none of its bytes."""
    left = Node(is_folder=False)
    left.data = bytearray(node.durable or b"")
    left.mtime_ns, left.mode = node.durable_mtime_ns, node.durable_mode
    if node.is_dirty and chance is not None:
        how = chance.randrange(4)
        if how == 1:
            left.data = bytearray(node.data)
        elif how == 2:
            left.data = bytearray(len(node.data))
        elif how == 3:
            left.data = node.data[: len(node.data) // 2]
        if how:
            left.mtime_ns, left.mode = node.mtime_ns, node.mode
    return left
