"""A disk that fails on demand: a FUSE file system that shows a folder, but for what its rules say.

It speaks the kernel's protocol itself (linux/fuse.h, over ``/dev/fuse``), so it needs nothing but root, and runs as a
process of its own: ``python -m tests.kernel.fuse_disk BACKING MOUNT_POINT RULES LOG [--like-exfat]``.

The file of rules may be changed at any time: a list of JSON objects with the fields of a ``Rule``. What a rule did is a
line in the log, written before the caller hears of it. A request that hangs is answered as soon as the rules are
changed; all others go on meanwhile.
"""

import ctypes
import errno
import os
import select
import signal
import stat
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from tests.kernel.disk_rules import Rule, Rules, spoiled

__all__ = ["OPERATIONS", "Disk", "Request", "main"]

OPERATIONS = {
    1: "lookup", 3: "getattr", 4: "setattr", 5: "readlink", 6: "symlink", 9: "mkdir", 10: "unlink",
    11: "rmdir", 12: "rename", 13: "link", 14: "open", 15: "read", 16: "write", 17: "statfs", 18: "release",
    20: "fsync", 25: "flush", 26: "init", 27: "opendir", 28: "readdir", 29: "releasedir", 30: "fsyncdir",
    35: "create", 45: "rename2",
}  # fmt: skip
_FORGET, _INTERRUPT, _DESTROY, _BATCH_FORGET = 2, 36, 38, 42
_NAMED = {"lookup": 0, "symlink": 0, "mkdir": 8, "unlink": 0, "rmdir": 0, "link": 8, "create": 16}
_RENAMES = {"rename": 8, "rename2": 16}

_IN = struct.Struct("=IIQQIIIHH")
_OUT = struct.Struct("=IiQ")
_ATTRIBUTES = struct.Struct("=6Q10I")
_SET_ATTRIBUTES = struct.Struct("=IIQQQQQQIIIIIIII")
_IO = struct.Struct("=QQIIQII")
_MOST = 1 << 20  # bytes of one write
_ASYNC_READ, _BIG_WRITES, _MAX_PAGES = 1 << 0, 1 << 5, 1 << 22
_NO_REPLACE = 1  # renameat2(2)
_MOUNT_FLAGS = 2 | 4  # MS_NOSUID, MS_NODEV
_NOT_ON_EXFAT = frozenset(b'":<>?*\\|')

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(answer: int) -> None:
    if answer != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Request(NamedTuple):
    """What the kernel asks for."""

    operation: str
    unique: int
    node: int
    body: bytes

    def name(self, start: int, which: int = 0) -> str:
        return os.fsdecode(self.body[start:].split(b"\0")[which])


class _Node:
    """A file or folder that the kernel knows."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.lookups = 0

    @property
    def path(self) -> str:
        return f"/proc/self/fd/{self.fd}"


class Disk:
    """The file system.

    Args:
        backing: the folder that is shown.
        mount_point: where.
        rules: name of the file of rules.
        log: name of the file where the rules that fired are told of.
        like_exfat: whether names are one when they differ only in case, some are refused, and there are no links.
    """

    def __init__(self, backing: str, mount_point: str, rules: str, log: str, *, like_exfat: bool = False) -> None:
        self._root = os.path.realpath(backing)
        self._nodes = {1: _Node(os.open(backing, os.O_PATH))}
        self._numbers: dict[tuple[int, int], int] = {}
        self._listings: dict[int, list[tuple[str, int, int]]] = {}
        self._last = 1
        self._rules = Rules(rules, log)
        self._like_exfat = like_exfat
        self._hanging: list[Request] = []
        self._fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._fuse},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
        arguments = (b"faulty", os.fsencode(mount_point), b"fuse.faulty", _MOUNT_FLAGS, options.encode())
        _checked(_libc.mount(*arguments))

    def serve(self, on_ready: Callable[[], None]) -> None:
        """Answer until it is unmounted."""
        buffer = bytearray(_MOST + 4096)
        poll = select.poll()
        poll.register(self._fuse, select.POLLIN)
        opcode = 0
        while opcode != _DESTROY:
            is_asked = poll.poll(50 if self._hanging else 500)
            if self._rules.have_changed():
                waiting, self._hanging = self._hanging, []
                for request in waiting:
                    self._dispatch(request)
            try:
                count = os.readv(self._fuse, [buffer]) if is_asked else 0
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    return
                if error.errno != errno.ENOENT:  # it was taken back meanwhile
                    raise
                continue
            if count:
                _, opcode, unique, node, *_ = _IN.unpack_from(buffer)
                self._hear(opcode, unique, node, bytes(memoryview(buffer)[_IN.size : count]))
                if OPERATIONS.get(opcode) == "init":
                    on_ready()

    def _hear(self, opcode: int, unique: int, node: int, body: bytes) -> None:
        if opcode in OPERATIONS:
            self._dispatch(Request(OPERATIONS[opcode], unique, node, body))
        elif opcode == _FORGET:
            self._forget(node, *struct.unpack_from("=Q", body))
        elif opcode == _BATCH_FORGET:
            for each, lookups in struct.iter_unpack("=QQ", body[8 : 8 + 16 * struct.unpack_from("=I", body)[0]]):
                self._forget(each, lookups)
        elif opcode not in (_INTERRUPT, _DESTROY):
            self._reply(unique, -errno.ENOSYS)

    # -- rules --------------------------------------------------------------------------------------------

    def _paths(self, request: Request) -> list[str]:
        """What a request is about, below the top."""
        node = self._nodes.get(request.node)
        try:
            path = os.path.relpath(os.readlink(node.path), self._root) if node else "?"
        except OSError:
            path = "?"
        if request.operation in _RENAMES:
            start = _RENAMES[request.operation]
            return [os.path.normpath(f"{path}/{request.name(start, each)}") for each in (0, 1)]
        if request.operation in _NAMED:
            return [os.path.normpath(f"{path}/{request.name(_NAMED[request.operation])}")]
        return [path.removesuffix(" (deleted)")]

    def _length(self, request: Request, length: int) -> int:
        """Bytes of a read or write, else of the file."""
        if length >= 0:
            return length
        with suppress(OSError, KeyError):
            if request.operation in _RENAMES:
                name = request.name(_RENAMES[request.operation])
                return os.stat(name, dir_fd=self._nodes[request.node].fd, follow_symlinks=False).st_size
            return os.fstat(self._nodes[request.node].fd).st_size
        return 0

    def _dispatch(self, request: Request) -> None:
        try:
            self._reply(request.unique, 0, self._answer(request))
        except BlockingIOError:
            self._hanging.append(request)
        except OSError as error:
            self._reply(request.unique, -(error.errno or errno.EIO))

    def _answer(self, request: Request) -> bytes:
        operation = request.operation
        start, length = _IO.unpack_from(request.body)[1:3] if operation in ("read", "write") else (0, -1)
        rule = self._rules.first(
            operation, lambda: self._paths(request), lambda: (start, self._length(request, length))
        )
        if rule is not None:
            return self._fail(rule, request, start)
        answer: bytes = getattr(self, f"_{operation}")(request)
        return answer

    def _fail(self, rule: Rule, request: Request, start: int) -> bytes:
        action, _, number = rule.action.partition(":")
        own: Callable[[Request], bytes] = getattr(self, f"_{request.operation}")
        at = max(rule.offset, start) - start
        if action == "hang":
            raise BlockingIOError
        if action == "delay":
            time.sleep(float(number))
            return own(request)
        if action == "lose":
            return struct.pack("=II", len(request.body) - _IO.size, 0)
        if action == "short" or (action.isupper() and request.operation == "write" and at > 0):
            return own(request._replace(body=request.body[: _IO.size + (int(number) if number else at)]))
        if action.isupper():
            raise OSError(getattr(errno, action), rule.action)
        if request.operation == "read":
            return spoiled(own(request), action, at, int(number or 1))
        head, data = request.body[: _IO.size], request.body[_IO.size :]
        return own(request._replace(body=head + spoiled(data, action, at, int(number or 1))))

    # -- the protocol -------------------------------------------------------------------------------------

    def _reply(self, unique: int, error: int, body: bytes = b"") -> None:
        with suppress(FileNotFoundError):  # whoever asked was killed meanwhile
            os.writev(self._fuse, [_OUT.pack(_OUT.size + len(body), error, unique), body])

    def _init(self, request: Request) -> bytes:
        major, minor, read_ahead, flags = struct.unpack_from("=IIII", request.body)
        assert (major, minor >= 28) == (7, True), "this kernel speaks another protocol"
        flags &= _ASYNC_READ | _BIG_WRITES | _MAX_PAGES
        fields = (7, 31, read_ahead, flags, 12, 9, _MOST, 1, _MOST // 4096, 0)
        return struct.pack("=IIIIHHIIHH", *fields) + bytes(32)

    def _attributes(self, fd: int) -> bytes:
        status = os.fstat(fd)
        times = (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)
        return _ATTRIBUTES.pack(
            status.st_ino, status.st_size, status.st_blocks, *(each // 10**9 for each in times),
            *(each % 10**9 for each in times), status.st_mode, status.st_nlink, status.st_uid, status.st_gid,
            status.st_rdev, 4096, 0,
        )  # fmt: skip

    def _forget(self, number: int, lookups: int) -> None:
        node = self._nodes.get(number)
        if node is None or number == 1:
            return
        node.lookups -= lookups
        if node.lookups <= 0:
            status = os.fstat(node.fd)
            self._numbers.pop((status.st_dev, status.st_ino), None)
            os.close(self._nodes.pop(number).fd)

    def _entry(self, folder: int, name: str) -> bytes:
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=self._nodes[folder].fd)
        status = os.fstat(fd)
        number = self._numbers.get((status.st_dev, status.st_ino))
        if number is None:
            self._last += 1
            number = self._numbers[status.st_dev, status.st_ino] = self._last
            self._nodes[number] = _Node(fd)
        else:
            os.close(fd)
        node = self._nodes[number]
        node.lookups += 1
        return struct.pack("=QQQQII", number, 0, 0, 0, 0, 0) + self._attributes(node.fd)

    def _name_on_disk(self, folder: int, name: str, *, is_new: bool = False) -> str:
        """Under which name there is what is called so, or comes to be."""
        if not self._like_exfat:
            return name
        raw = os.fsencode(name)
        try:
            raw.decode()
        except UnicodeDecodeError:
            raise OSError(errno.EILSEQ, name) from None
        if is_new and (_NOT_ON_EXFAT & set(raw) or raw.endswith((b".", b" "))):
            raise OSError(errno.EINVAL, name)
        same = (each for each in os.listdir(self._nodes[folder].path) if each.casefold() == name.casefold())
        return next(same, name)

    def _lookup(self, request: Request) -> bytes:
        return self._entry(request.node, self._name_on_disk(request.node, request.name(0)))

    def _getattr(self, request: Request) -> bytes:
        return bytes(16) + self._attributes(self._nodes[request.node].fd)

    def _setattr(self, request: Request) -> bytes:
        valid, _, _, size, _, *times, mode, _, uid, gid, _ = _SET_ATTRIBUTES.unpack_from(request.body)
        path = self._nodes[request.node].path
        if valid & 1:
            os.chmod(path, stat.S_IMODE(mode))
        if valid & 6:
            os.chown(path, uid if valid & 2 else -1, gid if valid & 4 else -1)
        if valid & 8:
            os.truncate(path, size)
        if valid & (16 | 32):
            status, now = os.stat(path), time.time_ns()
            atime_ns, mtime_ns = times[0] * 10**9 + times[3], times[1] * 10**9 + times[4]
            atime_ns = now if valid & 128 else atime_ns if valid & 16 else status.st_atime_ns
            mtime_ns = now if valid & 256 else mtime_ns if valid & 32 else status.st_mtime_ns
            os.utime(path, ns=(atime_ns, mtime_ns))
        return self._getattr(request)

    def _readlink(self, request: Request) -> bytes:
        return os.fsencode(os.readlink("", dir_fd=self._nodes[request.node].fd))

    def _symlink(self, request: Request) -> bytes:
        if self._like_exfat:
            raise OSError(errno.EPERM, "symlink")
        os.symlink(request.name(0, 1), request.name(0), dir_fd=self._nodes[request.node].fd)
        return self._entry(request.node, request.name(0))

    def _link(self, request: Request) -> bytes:
        if self._like_exfat:
            raise OSError(errno.EPERM, "link")
        old = self._nodes[struct.unpack_from("=Q", request.body)[0]].path
        os.link(old, request.name(8), dst_dir_fd=self._nodes[request.node].fd, follow_symlinks=True)
        return self._entry(request.node, request.name(8))

    def _mkdir(self, request: Request) -> bytes:
        name = self._name_on_disk(request.node, request.name(8), is_new=True)
        os.mkdir(name, struct.unpack_from("=I", request.body)[0], dir_fd=self._nodes[request.node].fd)
        return self._entry(request.node, name)

    def _unlink(self, request: Request) -> bytes:
        os.unlink(self._name_on_disk(request.node, request.name(0)), dir_fd=self._nodes[request.node].fd)
        return b""

    def _rmdir(self, request: Request) -> bytes:
        os.rmdir(self._name_on_disk(request.node, request.name(0)), dir_fd=self._nodes[request.node].fd)
        return b""

    def _rename(self, request: Request, flags: int = 0, start: int = 8) -> bytes:
        target = struct.unpack_from("=Q", request.body)[0]
        old = self._name_on_disk(request.node, request.name(start))
        new = self._name_on_disk(target, request.name(start, 1), is_new=True)
        folders = (self._nodes[request.node].fd, self._nodes[target].fd)
        _checked(_libc.renameat2(folders[0], os.fsencode(old), folders[1], os.fsencode(new), flags))
        return b""

    def _rename2(self, request: Request) -> bytes:
        return self._rename(request, struct.unpack_from("=QI", request.body)[1], 16)

    def _opened(self, node: int, flags: int) -> bytes:
        flags &= os.O_ACCMODE | os.O_TRUNC
        return struct.pack("=QII", os.open(self._nodes[node].path, flags), 0, 0)

    def _open(self, request: Request) -> bytes:
        return self._opened(request.node, struct.unpack_from("=I", request.body)[0])

    def _create(self, request: Request) -> bytes:
        flags, mode = struct.unpack_from("=II", request.body)
        name = self._name_on_disk(request.node, request.name(16), is_new=True)
        made = os.open(name, flags | os.O_CREAT | os.O_NOFOLLOW, mode, dir_fd=self._nodes[request.node].fd)
        os.close(made)
        entry = self._entry(request.node, name)
        return entry + self._opened(struct.unpack_from("=Q", entry)[0], flags & ~os.O_TRUNC)

    def _read(self, request: Request) -> bytes:
        fd, offset, size, *_ = _IO.unpack_from(request.body)
        return os.pread(fd, size, offset)

    def _write(self, request: Request) -> bytes:
        fd, offset, *_ = _IO.unpack_from(request.body)
        taken = os.pwrite(fd, memoryview(request.body)[_IO.size :], offset)
        return struct.pack("=II", taken, 0)

    def _statfs(self, request: Request) -> bytes:
        found = os.statvfs(self._nodes[request.node].fd)
        blocks = (found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree)
        return struct.pack("=5Q10I", *blocks, found.f_bsize, found.f_namemax, found.f_frsize, *[0] * 7)

    def _release(self, request: Request) -> bytes:
        os.close(struct.unpack_from("=Q", request.body)[0])
        return b""

    def _flush(self, request: Request) -> bytes:
        return b""

    def _fsync(self, request: Request) -> bytes:
        return b""

    def _fsyncdir(self, request: Request) -> bytes:
        return b""

    def _opendir(self, request: Request) -> bytes:
        fd = os.open(self._nodes[request.node].path, os.O_RDONLY | os.O_DIRECTORY)
        with os.scandir(fd) as entries:
            listed = [(each.name, each.inode(), each.stat(follow_symlinks=False).st_mode >> 12) for each in entries]
        self._listings[fd] = [(".", 1, 4), ("..", 1, 4), *listed]
        return struct.pack("=QII", fd, 0, 0)

    def _readdir(self, request: Request) -> bytes:
        handle, offset, size, *_ = _IO.unpack_from(request.body)
        answer = b""
        for entry in _entries(self._listings[handle], offset):
            if len(answer) + len(entry) > size:
                break
            answer += entry
        return answer

    def _releasedir(self, request: Request) -> bytes:
        handle = struct.unpack_from("=Q", request.body)[0]
        del self._listings[handle]
        os.close(handle)
        return b""


def _entries(listing: list[tuple[str, int, int]], offset: int) -> Iterator[bytes]:
    for number, (name, inode, kind) in enumerate(listing[offset:], offset + 1):
        raw = os.fsencode(name)
        yield struct.pack("=QQII", inode, number, len(raw), kind) + raw + bytes(-len(raw) % 8)


def main(disk: type[Disk], arguments: list[str]) -> None:
    """Serve until the end, and not longer than whoever has started this."""
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    like_exfat = "--like-exfat" in arguments
    backing, mount_point, rules, log = (each for each in arguments if each != "--like-exfat")
    disk(backing, mount_point, rules, log, like_exfat=like_exfat).serve(lambda: os.close(1))


if __name__ == "__main__":
    main(Disk, sys.argv[1:])
