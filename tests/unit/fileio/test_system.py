"""Plain POSIX: the base that the other systems build on, and the one that is chosen here."""

import errno
import os
import resource
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.fileio.system import FolderHandle, System
from pfndispatchcopy.model import Identity

pytestmark = pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="needs POSIX")


@pytest.fixture(params=[System, native_system], ids=["posix", "native"])
def system(request: pytest.FixtureRequest) -> System:
    made: System = request.param()
    return made


@pytest.fixture
def folder(system: System, tmp_path: Path) -> Iterator[FolderHandle]:
    handle = system.open_folder(str(tmp_path))
    yield handle
    system.close_folder(handle)


def _fail_with(number: int) -> object:
    def call(*arguments: object, **named: object) -> object:
        raise OSError(number, os.strerror(number))

    return call


def test_native_system_is_that_of_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    assert native_system().name in ("linux", "darwin", "windows", "posix")
    for platform, name in (("linux", "linux"), ("darwin", "darwin"), ("win32", "windows"), ("freebsd14", "posix")):
        monkeypatch.setattr(sys, "platform", platform)
        assert native_system().name == name


# -- folders --------------------------------------------------------------------------------------------


def test_folder_is_known_by_device_and_inode(system: System, folder: FolderHandle, tmp_path: Path) -> None:
    assert folder.path == str(tmp_path)
    assert folder.identity == Identity(tmp_path.stat().st_dev, tmp_path.stat().st_ino)
    assert not os.get_inheritable(folder.fd)


def test_file_is_not_opened_as_a_folder(system: System, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        system.open_folder(str(tmp_path / "file"))
    with pytest.raises(FileNotFoundError):
        system.open_folder(str(tmp_path / "missing"))


def test_names_are_reached_through_the_open_folder_wherever_it_moves(system: System, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    handle = system.open_folder(str(tmp_path / "old"))
    (tmp_path / "old").rename(tmp_path / "new")
    (tmp_path / "old").mkdir()
    os.close(system.open_name(handle, "file", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    system.close_folder(handle)
    assert (tmp_path / "new/file").exists()
    assert not (tmp_path / "old/file").exists()


def test_folders_are_made_listed_and_removed(system: System, folder: FolderHandle, tmp_path: Path) -> None:
    system.make_subfolder(folder, "sub")
    with pytest.raises(FileExistsError):
        system.make_subfolder(folder, "sub")
    assert system.list_names(folder) == ["sub"]
    (tmp_path / "sub/file").touch()
    with pytest.raises(OSError, match="not empty"):
        system.remove_subfolder(folder, "sub")
    (tmp_path / "sub/file").unlink()
    system.remove_subfolder(folder, "sub")
    assert system.list_names(folder) == []


def test_folder_is_flushed(system: System, folder: FolderHandle) -> None:
    assert system.flush_folder(folder) is True


@pytest.mark.fault(11)
@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOTTY, errno.ENOSYS, errno.ENOENT])
def test_folder_that_cannot_be_flushed_is_told_not_raised(
    number: int, system: System, folder: FolderHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", _fail_with(number))
    assert system.flush_folder(folder) is False


@pytest.mark.fault(10)
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENODEV])
def test_failed_flush_of_a_folder_is_an_error(
    number: int, system: System, folder: FolderHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", _fail_with(number))
    with pytest.raises(OSError, match=rf"Errno {number}\]"):
        system.flush_folder(folder)


# -- names --------------------------------------------------------------------------------------------------


@pytest.mark.fault(79)
def test_planted_link_is_not_followed(system: System, folder: FolderHandle, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / "link").symlink_to("target")
    for flags in (os.O_RDONLY, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_CREAT | os.O_EXCL):
        with pytest.raises(OSError, match="link") as caught:
            system.open_name(folder, "link", flags)
        assert caught.value.errno in (errno.ELOOP, errno.EEXIST, errno.EMLINK)
    assert stat.S_ISLNK(system.status_of_name(folder, "link").st_mode)
    assert stat.S_ISREG(system.status(str(tmp_path / "link")).st_mode)
    system.remove_name(folder, "link")
    assert (tmp_path / "target").read_bytes() == b"precious"


def test_new_file_is_private_and_not_inherited(system: System, folder: FolderHandle, tmp_path: Path) -> None:
    fd = system.open_name(folder, "file", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    assert not os.get_inheritable(fd)
    system.close(fd)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_rename_to_a_free_name(system: System, folder: FolderHandle, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"1")
    system.rename_to_free_name(folder, "old", "new")
    assert sorted(system.list_names(folder)) == ["new"]
    assert (tmp_path / "new").read_bytes() == b"1"


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_rename_never_replaces_what_exists(kind: str, system: System, folder: FolderHandle, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"1")
    if kind == "file":
        (tmp_path / "new").write_bytes(b"2")
    elif kind == "folder":
        (tmp_path / "new").mkdir()
    else:
        (tmp_path / "new").symlink_to("nowhere")
    before = (tmp_path / "new").lstat()
    with pytest.raises(FileExistsError):
        system.rename_to_free_name(folder, "old", "new")
    assert (tmp_path / "old").read_bytes() == b"1"
    assert (tmp_path / "new").lstat().st_ino == before.st_ino


def test_rename_of_what_is_not_there_is_an_error(system: System, folder: FolderHandle) -> None:
    with pytest.raises(FileNotFoundError):
        system.rename_to_free_name(folder, "old", "new")


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS])
def test_without_hard_links_a_free_name_is_looked_for_first(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = System()
    handle = system.open_folder(str(tmp_path))
    monkeypatch.setattr(os, "link", _fail_with(number))
    try:
        (tmp_path / "old").write_bytes(b"1")
        (tmp_path / "taken").write_bytes(b"2")
        with pytest.raises(FileExistsError):
            system.rename_to_free_name(handle, "old", "taken")
        assert (tmp_path / "taken").read_bytes() == b"2"
        system.rename_to_free_name(handle, "old", "new")
        assert (tmp_path / "new").read_bytes() == b"1"
        assert not (tmp_path / "old").exists()
    finally:
        system.close_folder(handle)


def test_failed_link_is_an_error_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = System()
    handle = system.open_folder(str(tmp_path))
    monkeypatch.setattr(os, "link", _fail_with(errno.EIO))
    (tmp_path / "old").write_bytes(b"1")
    with pytest.raises(OSError, match="Errno 5"):
        system.rename_to_free_name(handle, "old", "new")
    system.close_folder(handle)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_replacing_takes_the_place_in_one_step(system: System, folder: FolderHandle, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"1")
    (tmp_path / "new").write_bytes(b"2")
    system.replace_name(folder, "old", "new")
    assert (tmp_path / "new").read_bytes() == b"1"
    assert system.list_names(folder) == ["new"]


# -- files --------------------------------------------------------------------------------------------------


def test_bytes_go_in_and_come_out(system: System, folder: FolderHandle) -> None:
    fd = system.open_name(folder, "file", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        assert system.write(fd, memoryview(b"hello")) == 5
        system.flush(fd)
        system.rewind(fd)
        buffer = bytearray(3)
        assert system.read(fd, memoryview(buffer)) == 3
        assert bytes(buffer) == b"hel"
        assert system.read(fd, memoryview(buffer)) == 2
        assert system.read(fd, memoryview(buffer)) == 0
        assert system.status_of_file(fd).st_size == 5
    finally:
        system.close(fd)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EINVAL])
def test_failed_flush_is_an_error(
    number: int, folder: FolderHandle, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    if system.name == "darwin":
        pytest.skip("flushes by another call")
    monkeypatch.setattr(os, "fsync", _fail_with(number))
    fd = system.open_name(folder, "file", os.O_WRONLY | os.O_CREAT)
    try:
        with pytest.raises(OSError, match=rf"Errno {number}\]"):
            system.flush(fd)
    finally:
        os.close(fd)


def test_source_cannot_be_written_through_its_descriptor(system: System, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"original")
    fd = system.open_source(str(tmp_path / "source"))
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(fd, b"x")
    finally:
        system.close(fd)


@pytest.mark.fault(69)
@pytest.mark.timeout(10)
def test_fifo_is_opened_without_waiting_for_its_other_end(system: System, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    fd = system.open_source(str(tmp_path / "fifo"))
    try:
        assert stat.S_ISFIFO(system.status_of_file(fd).st_mode)
    finally:
        system.close(fd)


def test_lock_is_held_once_and_goes_with_its_descriptor(system: System, folder: FolderHandle) -> None:
    flags = os.O_RDWR | os.O_CREAT
    first, second = (system.open_name(folder, "file", flags) for _ in range(2))
    try:
        assert system.lock(first) is True
        assert system.lock(second) is False
        system.close(first)
        assert system.lock(second) is True
    finally:
        system.close(second)


def test_no_locks_are_none(system: System, folder: FolderHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr(fcntl, "flock", _fail_with(errno.ENOLCK))
    fd = system.open_name(folder, "file", os.O_RDWR | os.O_CREAT)
    try:
        assert system.lock(fd) is None
    finally:
        system.close(fd)


def test_tokens_are_short_and_never_the_same(system: System) -> None:
    tokens = {system.random_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) == 8 and token.isalnum() for token in tokens)


# -- what only a better system can do --------------------------------------------------------------------


def test_plain_posix_says_what_it_cannot_do(folder: FolderHandle) -> None:
    system = System()
    assert system.is_cached(0, 10) is None
    assert system.xattrs(0) == ()
    with pytest.raises(OSError, match=str(errno.EOPNOTSUPP)):
        system.open_direct(folder, "file")
    with pytest.raises(OSError, match=str(errno.EOPNOTSUPP)):
        system.set_xattr(0, "user.x", b"")


def test_hints_do_no_harm(system: System, folder: FolderHandle, tmp_path: Path) -> None:
    fd = system.open_name(folder, "file", os.O_RDWR | os.O_CREAT)
    try:
        system.preallocate(fd, 100_000)
        assert system.status_of_file(fd).st_size == 0
        system.write(fd, memoryview(b"hello"))
        system.avoid_cache(fd)
        system.advise_sequential(fd)
        system.start_write_back(fd, 0, 0)
        system.finish_write_back(fd, 0, 5)
        system.drop_cache(fd)
    finally:
        system.close(fd)
    assert (tmp_path / "file").read_bytes() == b"hello"


# -- metadata, volumes, limits -------------------------------------------------------------------------------


def test_mode_times_and_owner_are_set(system: System, folder: FolderHandle, tmp_path: Path) -> None:
    fd = system.open_name(folder, "file", os.O_RDWR | os.O_CREAT)
    try:
        system.set_mode(fd, 0o640)
        system.set_owner(fd, os.getuid(), os.getgid())
        system.set_times(fd, 1_000_000_000_123_456_789, 1_100_000_000_987_654_321)
    finally:
        system.close(fd)
    status = (tmp_path / "file").stat()
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert abs(status.st_mtime_ns - 1_100_000_000_987_654_321) < 2_000_000_000
    assert abs(status.st_atime_ns - 1_000_000_000_123_456_789) < 2_000_000_000


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_default_mode_is_what_the_umask_leaves(system: System, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        assert system.default_mode() == mode
        assert os.umask(mask) == mask  # asking changed nothing
    finally:
        os.umask(before)


def test_space_of_a_volume(system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = system.usage(str(tmp_path))
    assert usage is not None
    assert 0 <= usage.free <= usage.total
    values = list(os.statvfs(tmp_path))
    values[2] = 0  # f_blocks: many network and virtual file systems do not say
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(values))
    assert system.usage(str(tmp_path)) is None


def test_mount_is_the_one_that_the_folder_lies_on(system: System, tmp_path: Path) -> None:
    mount = system.mount(str(tmp_path))
    assert mount.filesystem
    assert mount.filesystem == mount.filesystem.lower()
    assert os.path.ismount(mount.mount_point)
    assert os.path.realpath(tmp_path).startswith(mount.mount_point)


def test_root_device_is_that_of_the_system(system: System) -> None:
    assert system.root_device() == os.stat("/").st_dev


@pytest.mark.fault(18)
@pytest.mark.parametrize(
    ("soft", "hard", "needed", "granted", "set_to"),
    [
        (1024, 4096, 100, 100, None),
        (1024, 4096, 2000, 2000, (2000, 4096)),
        (1024, 4096, 9000, 4096, (4096, 4096)),
        (1024, resource.RLIM_INFINITY, 9000, 9000, (9000, resource.RLIM_INFINITY)),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 9000, 9000, None),
    ],
)
def test_descriptor_limit_is_raised_as_far_as_allowed(
    soft: int,
    hard: int,
    needed: int,
    granted: int,
    set_to: tuple[int, int] | None,
    system: System,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda what: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda what, limits: seen.append(limits))
    assert system.raise_descriptor_limit(needed) == granted
    assert seen == ([] if set_to is None else [set_to])


def test_machine_has_a_name(system: System) -> None:
    assert system.host_name()
