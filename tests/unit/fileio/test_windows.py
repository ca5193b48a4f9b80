"""Windows by its methods: they work on paths, and so do they here, but for what only Windows refuses."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfndispatchcopy.fileio.system import FolderHandle
from pfndispatchcopy.fileio.windows import WindowsSystem
from pfndispatchcopy.model import Identity


@pytest.fixture
def system() -> WindowsSystem:
    return WindowsSystem()


@pytest.fixture
def folder(system: WindowsSystem, tmp_path: Path) -> Iterator[FolderHandle]:
    handle = system.open_folder(str(tmp_path))
    yield handle
    system.close_folder(handle)


def test_folder_is_held_by_its_path(system: WindowsSystem, folder: FolderHandle, tmp_path: Path) -> None:
    assert folder.path == str(tmp_path)
    assert folder.fd == -1
    assert folder.identity == Identity(tmp_path.stat().st_dev, tmp_path.stat().st_ino)
    assert system.flush_folder(folder) is True


def test_file_is_not_opened_as_a_folder(system: WindowsSystem, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        system.open_folder(str(tmp_path / "file"))


def test_names_live_in_the_folder(system: WindowsSystem, folder: FolderHandle, tmp_path: Path) -> None:
    fd = system.open_name(folder, "old", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    assert system.write(fd, memoryview(b"line\n")) == 5
    system.close(fd)
    with pytest.raises(FileExistsError):
        system.open_name(folder, "old", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    assert system.list_names(folder) == ["old"]
    assert system.status_of_name(folder, "old").st_size == 5
    system.rename_to_free_name(folder, "old", "new")
    (tmp_path / "other").write_bytes(b"2")
    system.replace_name(folder, "new", "other")
    assert system.list_names(folder) == ["other"]
    assert (tmp_path / "other").read_bytes() == b"line\n"
    system.remove_name(folder, "other")
    assert system.list_names(folder) == []


def test_status_of_a_name_does_not_follow_a_link(system: WindowsSystem, folder: FolderHandle, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert system.status_of_name(folder, "link")


@pytest.mark.skipif(os.name != "nt", reason="only Windows renames nothing over something")
def test_rename_never_replaces_what_exists(system: WindowsSystem, folder: FolderHandle, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"1")
    (tmp_path / "new").write_bytes(b"2")
    with pytest.raises(FileExistsError):
        system.rename_to_free_name(folder, "old", "new")


def test_source_is_read_byte_for_byte(system: WindowsSystem, tmp_path: Path) -> None:
    data = b"a\r\n\x1ab" * 100
    (tmp_path / "source").write_bytes(data)
    fd = system.open_source(str(tmp_path / "source"))
    buffer = bytearray(400)
    try:
        assert system.read(fd, memoryview(buffer)) == 400
        assert bytes(buffer) == data[:400]
        assert system.read(fd, memoryview(buffer)) == 100
        assert bytes(buffer[:100]) == data[400:]
        assert system.read(fd, memoryview(buffer)) == 0
    finally:
        system.close(fd)


def test_what_windows_lacks_is_left_out(system: WindowsSystem, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    before = (tmp_path / "file").stat()
    fd = system.open_source(str(tmp_path / "file"))
    try:
        assert system.lock(fd) is None
        system.set_mode(fd, 0)
        system.set_owner(fd, 0, 0)
    finally:
        system.close(fd)
    after = (tmp_path / "file").stat()
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)
    assert system.default_mode() == 0o666
    assert system.raise_descriptor_limit(10_000) == 10_000


def test_space_of_a_volume(system: WindowsSystem, tmp_path: Path) -> None:
    usage = system.usage(str(tmp_path))
    assert usage is not None
    assert 0 <= usage.free <= usage.total


def test_mount_is_the_drive(system: WindowsSystem, tmp_path: Path) -> None:
    drive = os.path.splitdrive(tmp_path)[0]
    assert system.mount(str(tmp_path)) == ("", drive)


def test_root_device_is_that_of_the_system_drive(
    system: WindowsSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYSTEMDRIVE", str(tmp_path / "C"))
    (tmp_path / "C\\").mkdir()
    assert system.root_device() == tmp_path.stat().st_dev


def test_machine_has_a_name(system: WindowsSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPUTERNAME", "DIT-CART")
    assert system.host_name() == "DIT-CART"
    monkeypatch.delenv("COMPUTERNAME")
    assert system.host_name()
