"""The record of what is done: true to its last whole line, whenever it was cut off, and distrusted when it is read."""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pfndispatchcopy.fileio.names import is_temporary, is_temporary_of, journal_name
from pfndispatchcopy.fileio.system import FolderHandle
from pfndispatchcopy.hashing import short_key
from pfndispatchcopy.journal import Journal, Proof, Record, encode_records
from pfndispatchcopy.model import ReadBack, State
from tests.support.tree_trial import TreeSystem

_KEY = "CARD"
_PROOF = Proof(State.VERIFIED, ReadBack.EVICTED, ("xxh64be", "sha256"))
_OTHER_PROOF = Proof(State.IDENTICAL, ReadBack.DIRECT, ("xxh64be", "sha256"))
_RECORDS = [
    Record("CARD/clip.mov", 1_000_000, 1_600_000_000_123_456_789, ("0123456789abcdef", "ab" * 32)),
    Record("CARD/sub/ä \n\x1b[31m\udcff.txt", 0, -5, ("ef46db3751d8e999", "cd" * 32), "another 2.txt"),
]


@pytest.fixture
def system() -> TreeSystem:
    return TreeSystem()


@pytest.fixture
def folder(system: TreeSystem, tmp_path: Path) -> Iterator[FolderHandle]:
    handle = system.open_folder(str(tmp_path))
    yield handle
    for path in tmp_path.iterdir():  # what the tests leave of a record is theirs
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
    system.close_folder(handle)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / journal_name(_KEY)


def _begin(system: TreeSystem, folder: FolderHandle, *lines: list[Record], is_forced: bool = True) -> Journal:
    journal = Journal.begin(system, folder, _KEY, {}, is_forced=is_forced)
    for records in lines:
        journal.append(encode_records(_PROOF, records), len(records))
    return journal


def _read(system: TreeSystem, folder: FolderHandle) -> list[Record]:
    found, doubt = Journal.read(system, folder, _KEY)
    assert doubt is None
    assert all(proof in (_PROOF, _OTHER_PROOF) for proof, _ in found)
    return [record for _, record in found]


def _line(text: bytes) -> bytes:
    """A line whose checksum is right, whatever it says."""
    return short_key(text).encode() + b" " + text + b"\n"


# -- writing, and reading again ---------------------------------------------------------------------------------


def test_what_was_written_is_read_again(system: TreeSystem, folder: FolderHandle) -> None:
    _begin(system, folder, _RECORDS[:1], _RECORDS[1:]).close()
    found, doubt = Journal.read(system, folder, _KEY)
    assert doubt is None
    assert found == [(_PROOF, record) for record in _RECORDS]


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=st.lists(
        st.builds(
            Record,
            st.text(st.characters(exclude_categories=())),
            st.integers(0, 1 << 62),
            st.integers(-(1 << 62), 1 << 62),
            st.lists(st.text("0123456789abcdef"), max_size=3).map(tuple),
            st.text(st.characters(exclude_categories=()), max_size=5),
        ),
        max_size=4,
    )
)
def test_any_name_and_number_survives(records: list[Record], system: TreeSystem, folder: FolderHandle) -> None:
    _begin(system, folder, records).close()
    assert _read(system, folder) == records


def test_no_record_is_no_doubt(system: TreeSystem, folder: FolderHandle) -> None:
    assert Journal.read(system, folder, _KEY) == ([], None)


def test_record_of_another_offload_is_not_read(system: TreeSystem, folder: FolderHandle) -> None:
    _begin(system, folder, _RECORDS).close()
    assert Journal.read(system, folder, "OTHER") == ([], None)


def test_record_has_a_temporary_name_and_belongs_to_nobody_else(
    system: TreeSystem, folder: FolderHandle, path: Path
) -> None:
    _begin(system, folder).close()
    assert is_temporary(path.name)
    assert not is_temporary_of(path.name, _KEY)  # a sweep of the card's own temporary files does not take it
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_one_line_each_and_no_control_characters(system: TreeSystem, folder: FolderHandle, path: Path) -> None:
    _begin(system, folder, _RECORDS).close()
    data = path.read_bytes()
    assert data.count(b"\n") == 2
    assert re.fullmatch(rb"[\x20-\x7e\n]*", data)


def test_record_that_is_longer_than_one_read_is_whole(system: TreeSystem, folder: FolderHandle) -> None:
    records = [Record(f"CARD/{number:06}" + "x" * 200, number, number, ("0" * 16,)) for number in range(6000)]
    _begin(system, folder, records[:3000], records[3000:]).close()
    assert _read(system, folder) == records


def test_new_record_begins_with_what_is_still_true(system: TreeSystem, folder: FolderHandle) -> None:
    journal = Journal.begin(system, folder, _KEY, {_PROOF: _RECORDS[:1], _OTHER_PROOF: _RECORDS[1:]}, is_forced=True)
    assert journal.count == 2
    journal.close()
    found, _ = Journal.read(system, folder, _KEY)
    assert found == [(_PROOF, _RECORDS[0]), (_OTHER_PROOF, _RECORDS[1])]


def test_files_are_counted(system: TreeSystem, folder: FolderHandle) -> None:
    journal = _begin(system, folder, _RECORDS, _RECORDS[:1])
    assert journal.count == 3
    journal.close()


def test_finished_record_is_removed(system: TreeSystem, folder: FolderHandle, path: Path) -> None:
    journal = _begin(system, folder, _RECORDS)
    journal.remove()
    assert not path.exists()
    journal.remove()  # once more does no harm


def test_kept_record_stays(system: TreeSystem, folder: FolderHandle, path: Path) -> None:
    journal = _begin(system, folder, _RECORDS)
    journal.close()
    journal.close()
    assert path.exists()


# -- order ----------------------------------------------------------------------------------------------------


def _calls(system: TreeSystem) -> list[str]:
    interesting = ("write", "flush", "replace_name", "flush_folder", "close")
    return [call for call, _ in system.calls if call in interesting]


def test_record_is_durable_before_it_has_its_name(system: TreeSystem, folder: FolderHandle) -> None:
    journal = Journal.begin(system, folder, _KEY, {_PROOF: _RECORDS}, is_forced=True)
    assert _calls(system) == ["write", "flush", "write", "flush", "replace_name", "flush_folder"]
    journal.close()


def test_every_line_is_flushed_when_it_is_written(system: TreeSystem, folder: FolderHandle) -> None:
    journal = _begin(system, folder)
    system.calls.clear()
    for record in _RECORDS:
        journal.append(encode_records(_PROOF, [record]), 1)
    assert _calls(system) == ["write", "flush"] * 2
    journal.close()


def test_record_of_an_unforced_destination_is_not_flushed(system: TreeSystem, folder: FolderHandle) -> None:
    _begin(system, folder, _RECORDS, is_forced=False).close()
    assert not {"flush", "flush_folder"} & set(_calls(system))
    assert _read(system, folder) == _RECORDS


def test_temporary_file_is_made_exclusively(system: TreeSystem, folder: FolderHandle, path: Path) -> None:
    made: list[tuple[str, int]] = []

    def look(real: Callable[[], int], handle: FolderHandle, name: str, flags: int, *more: Any) -> int:
        made.append((name, flags))
        return real()

    system.rule("open_name", look)
    _begin(system, folder).close()
    ((name, flags),) = made
    assert name != path.name
    assert is_temporary(name)
    assert flags & (os.O_CREAT | os.O_EXCL) == os.O_CREAT | os.O_EXCL


def test_old_record_is_replaced_at_once(system: TreeSystem, folder: FolderHandle, path: Path) -> None:
    _begin(system, folder, _RECORDS).close()
    before = path.read_bytes()
    seen: list[bytes] = []

    def look(real: Callable[[], Any], *arguments: Any) -> Any:
        seen.append(path.read_bytes())
        return real()

    for call in ("write", "flush", "replace_name"):
        system.rule(call, look, times=None)
    Journal.begin(system, folder, _KEY, {_PROOF: _RECORDS[:1]}, is_forced=True).close()
    assert len(seen) == 5
    assert set(seen) == {before}
    assert _read(system, folder) == _RECORDS[:1]


@pytest.mark.parametrize(
    ("call", "nth"), [("open_name", 1), ("write", 1), ("write", 2), ("flush", 1), ("replace_name", 1)]
)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=lambda number: errno.errorcode[number])
def test_record_that_cannot_be_begun_leaves_the_old_one_and_nothing_else(
    number: int, call: str, nth: int, system: TreeSystem, folder: FolderHandle, path: Path
) -> None:
    _begin(system, folder, _RECORDS).close()
    rule = system.fail(call, number, nth=nth)
    with pytest.raises(OSError, match=re.escape(os.strerror(number))):
        Journal.begin(system, folder, _KEY, {_PROOF: _RECORDS[:1]}, is_forced=True)
    assert rule.fired == 1
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert _read(system, folder) == _RECORDS


@pytest.mark.fault(10)
def test_failed_flush_of_the_folder_is_told(system: TreeSystem, folder: FolderHandle) -> None:
    rule = system.fail("flush_folder", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        Journal.begin(system, folder, _KEY, {}, is_forced=True)
    assert rule.fired == 1


@pytest.mark.parametrize("call", ["write", "flush"])
def test_line_that_cannot_be_written_is_told_and_what_was_written_stays_true(
    call: str, system: TreeSystem, folder: FolderHandle
) -> None:
    journal = _begin(system, folder, _RECORDS[:1])
    rule = system.fail(call, errno.ENOSPC)
    with pytest.raises(OSError, match="No space"):
        journal.append(encode_records(_PROOF, _RECORDS[1:]), 1)
    assert rule.fired == 1
    assert journal.count == 1
    journal.close()
    assert _read(system, folder)[:1] == _RECORDS[:1]


@pytest.mark.fault(1)
def test_disk_that_fills_up_within_a_line_does_not_spoil_those_before(system: TreeSystem, folder: FolderHandle) -> None:
    journal = _begin(system, folder, _RECORDS[:1])

    def half(real: Callable[[], int], fd: int, data: memoryview) -> int:
        return os.write(fd, data[: len(data) // 2])

    short = system.rule("write", half)
    full = system.fail("write", errno.ENOSPC)
    with pytest.raises(OSError, match="No space"):
        journal.append(encode_records(_PROOF, _RECORDS[1:]), 1)
    assert (short.fired, full.fired) == (1, 1)
    journal.append(encode_records(_PROOF, _RECORDS[:1]), 1)  # as those do that are on their way already
    journal.close()
    assert _read(system, folder) == _RECORDS[:1]


@pytest.mark.fault(12)
def test_short_writes_are_finished(system: TreeSystem, folder: FolderHandle) -> None:
    rule = system.rule("write", lambda real, fd, data: os.write(fd, data[:7]), times=None)
    _begin(system, folder, _RECORDS).close()
    assert rule.fired > 30
    assert _read(system, folder) == _RECORDS


@pytest.mark.fault(13)
def test_write_that_takes_nothing_for_ever_is_a_failure(system: TreeSystem, folder: FolderHandle) -> None:
    journal = _begin(system, folder)
    asked = 0

    def nothing(real: Callable[[], int], fd: int, data: memoryview) -> int:
        nonlocal asked
        asked += 1
        if asked > 100:
            raise OSError(errno.ENOTRECOVERABLE, "the test ends this")
        return 0

    system.rule("write", nothing, times=None)
    try:
        with pytest.raises(OSError, match=r".") as caught:
            journal.append(encode_records(_PROOF, _RECORDS), 2)
    finally:
        journal.close()
    assert 1 < asked < 100
    assert caught.value.errno != errno.ENOTRECOVERABLE


# -- cut off, or changed --------------------------------------------------------------------------------------


@pytest.mark.fault(55)
def test_record_that_was_cut_off_anywhere_tells_of_its_whole_lines(
    system: TreeSystem, folder: FolderHandle, path: Path
) -> None:
    _begin(system, folder, _RECORDS[:1], _RECORDS[1:]).close()
    data = path.read_bytes()
    ends = [position + 1 for position, byte in enumerate(data) if byte == ord("\n")]
    assert len(ends) == 3
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        whole = sum(end <= length for end in ends)
        assert _read(system, folder) == _RECORDS[: max(0, whole - 1)], f"cut off after {length} bytes"


@pytest.mark.fault(55)
@pytest.mark.parametrize("change", [lambda byte: byte ^ 1, lambda byte: 0, lambda byte: ord("\n")])
def test_changed_byte_ends_the_record_at_its_line(
    change: Callable[[int], int], system: TreeSystem, folder: FolderHandle, path: Path
) -> None:
    _begin(system, folder, _RECORDS[:1], _RECORDS[1:]).close()
    data = path.read_bytes()
    ends = [position + 1 for position, byte in enumerate(data) if byte == ord("\n")]
    for position, byte in enumerate(data):
        changed = change(byte)
        if changed == byte:
            continue
        path.write_bytes(data[:position] + bytes([changed]) + data[position + 1 :])
        before = sum(end <= position for end in ends)
        assert _read(system, folder) == _RECORDS[: max(0, before - 1)], f"changed at byte {position}"


@pytest.mark.fault(55)
@pytest.mark.parametrize("what", ["lost", "zeros", "garbage", "doubled"])
def test_block_that_was_never_written_ends_the_record(
    what: str, system: TreeSystem, folder: FolderHandle, path: Path
) -> None:
    """As after a power cut in which a later block came to the medium, and an earlier one did not."""
    records = [Record(f"CARD/{number:03}", number, number, ("0" * 16,)) for number in range(30)]
    _begin(system, folder, *([record] for record in records)).close()
    data = path.read_bytes()
    middle = data[1000:1512]
    spoiled = {"lost": b"", "zeros": bytes(512), "garbage": os.urandom(512), "doubled": middle + middle}[what]
    path.write_bytes(data[:1000] + spoiled + data[1512:])
    found = _read(system, folder)
    assert 0 < len(found) < 30
    assert found == records[: len(found)]


def test_record_of_a_later_version_tells_nothing(system: TreeSystem, folder: FolderHandle, path: Path) -> None:
    path.write_bytes(_line(b'{"v":2}') + encode_records(_PROOF, _RECORDS))
    path.chmod(0o600)
    assert _read(system, folder) == []


_HOSTILE = {
    "no JSON": b"{",
    "a number": b"5",
    "a list": b'["files"]',
    "null": b"null",
    "no fields": b"{}",
    "no state": b'{"files":[]}',
    "unknown state": b'{"state":"wonderful","read_back":"direct","hashes":["xxh64be"],"files":[]}',
    "files are a number": b'{"state":"verified","read_back":"direct","hashes":["xxh64be"],"files":7}',
    "a file is a text": b'{"state":"verified","read_back":"direct","hashes":["xxh64be"],"files":["abcde"]}',
    "too few fields": b'{"state":"verified","read_back":"direct","hashes":["xxh64be"],"files":[["a",1,2,["x"]]]}',
    "size is a word": b'{"state":"verified","read_back":"direct","hashes":["xxh64be"],"files":[["a","b",2,["x"],""]]}',
    "size is null": b'{"state":"verified","read_back":"direct","hashes":["xxh64be"],"files":[["a",null,2,["x"],""]]}',
    "hashes are null": b'{"state":"verified","read_back":"direct","hashes":null,"files":[["a",1,2,["x"],""]]}',
    "huge number": b'{"v":' + b"9" * 5000 + b"}",
    "not ASCII": b'{"v":"\xff\xfe"}',
}


@pytest.mark.fault(87)
@pytest.mark.parametrize("what", _HOSTILE)
def test_hostile_line_ends_the_record_and_raises_nothing(
    what: str, system: TreeSystem, folder: FolderHandle, path: Path
) -> None:
    path.write_bytes(encode_records(_PROOF, _RECORDS[:1]) + _line(_HOSTILE[what]) + encode_records(_PROOF, _RECORDS))
    path.chmod(0o600)
    assert _read(system, folder) == _RECORDS[:1]


@pytest.mark.fault(87)
@pytest.mark.parametrize(
    "text",
    [
        b'{"state":"verified","read_back":"direct","hashes":["x"],"files":[["a",Infinity,2,["x"],""]]}',
        b'{"files":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=["infinite", "deep"],
)
def test_line_that_is_endless_ends_the_record_and_raises_nothing(
    text: bytes, system: TreeSystem, folder: FolderHandle, path: Path
) -> None:
    path.write_bytes(encode_records(_PROOF, _RECORDS[:1]) + _line(text))
    path.chmod(0o600)
    assert _read(system, folder) == _RECORDS[:1]


# -- distrust -------------------------------------------------------------------------------------------------


@pytest.mark.fault(87)
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777], ids=oct)
def test_record_that_others_could_write_to_is_not_believed(
    mode: int, system: TreeSystem, folder: FolderHandle, path: Path
) -> None:
    _begin(system, folder, _RECORDS).close()
    path.chmod(mode)
    found, doubt = Journal.read(system, folder, _KEY)
    assert found == []
    assert doubt is not None
    assert "others could write to it" in doubt


@pytest.mark.fault(87)
def test_record_of_another_user_is_not_believed(system: TreeSystem, folder: FolderHandle) -> None:
    _begin(system, folder, _RECORDS).close()

    def foreign(real: Callable[[], os.stat_result], fd: int) -> os.stat_result:
        fields = list(real())
        fields[stat.ST_UID] += 1
        return os.stat_result(fields)

    rule = system.rule("status_of_file", foreign)
    found, doubt = Journal.read(system, folder, _KEY)
    assert rule.fired == 1
    assert found == []
    assert doubt is not None
    assert "another user" in doubt


@pytest.mark.fault(79, 87)
def test_planted_link_is_not_followed_when_the_record_is_read(
    system: TreeSystem, folder: FolderHandle, path: Path, tmp_path: Path
) -> None:
    _begin(system, folder, _RECORDS).close()
    path.rename(tmp_path / "elsewhere")
    path.symlink_to("elsewhere")
    found, doubt = Journal.read(system, folder, _KEY)
    assert found == []
    assert doubt


@pytest.mark.fault(79, 87)
def test_planted_link_is_not_followed_when_the_record_is_written(
    system: TreeSystem, folder: FolderHandle, path: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").write_bytes(b"precious")
    path.symlink_to("elsewhere")
    _begin(system, folder, _RECORDS).close()
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"
    assert not path.is_symlink()
    assert _read(system, folder) == _RECORDS


@pytest.mark.fault(79, 87)
def test_planted_fifo_is_not_waited_for(system: TreeSystem, folder: FolderHandle, path: Path) -> None:
    os.mkfifo(path)
    found, doubt = Journal.read(system, folder, _KEY)
    assert (found, doubt) == ([], "it is no record of this program")
    _begin(system, folder, _RECORDS).close()
    assert _read(system, folder) == _RECORDS


@pytest.mark.fault(87)
def test_folder_of_that_name_is_no_record(system: TreeSystem, folder: FolderHandle, path: Path) -> None:
    path.mkdir()
    found, doubt = Journal.read(system, folder, _KEY)
    assert (found, doubt) == ([], "it is no record of this program")
    with pytest.raises(OSError, match="directory"):
        _begin(system, folder)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.fault(87)
def test_record_that_is_too_long_to_be_one_is_not_read(system: TreeSystem, folder: FolderHandle, path: Path) -> None:
    _begin(system, folder, _RECORDS).close()
    os.truncate(path, (2 << 30) + 1)  # a hole
    found, doubt = Journal.read(system, folder, _KEY)
    assert (found, doubt) == ([], "it is no record of this program")
    assert "read" not in [call for call, _ in system.calls]


@pytest.mark.fault(87)
def test_line_that_has_no_end_is_not_read_to_it(system: TreeSystem, folder: FolderHandle, path: Path) -> None:
    _begin(system, folder, _RECORDS).close()
    os.truncate(path, 1 << 30)  # a hole
    assert _read(system, folder) == _RECORDS
    assert [call for call, _ in system.calls].count("read") < 100


@pytest.mark.parametrize("call", ["open_name", "status_of_file", "read"])
def test_record_that_cannot_be_read_is_no_failure(call: str, system: TreeSystem, folder: FolderHandle) -> None:
    _begin(system, folder, _RECORDS).close()
    rule = system.fail(call, errno.EIO)
    found, doubt = Journal.read(system, folder, _KEY)
    assert rule.fired == 1
    assert (found, doubt) == ([], "Input/output error")


def test_closed_record_holds_nothing_open(system: TreeSystem, folder: FolderHandle, path: Path) -> None:
    journal = _begin(system, folder, _RECORDS)
    journal.close()
    opened = [name for call, name in system.calls if call == "open_name"]
    closed = [name for call, name in system.calls if call == "close"]
    assert opened == closed
    assert path.exists()
