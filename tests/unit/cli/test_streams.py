"""The standard streams: whole when they were closed, and never in the way of the copy."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from pfndispatchcopy.cli.streams import Outlet

_FULL = "/dev/full"


class _Pipe:
    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def read_all(self) -> bytes:
        self.close_writer()
        data = b""
        while more := os.read(self.reader, 1 << 16):
            data += more
        return data

    def close_writer(self) -> None:
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def close_reader(self) -> None:
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1


@pytest.fixture
def pipe() -> Iterator[_Pipe]:
    made = _Pipe()
    yield made
    made.close_writer()
    made.close_reader()


def test_text_arrives_in_order_and_close_waits_for_it(pipe: _Pipe) -> None:
    out = Outlet(pipe.writer, "utf-8")
    for number in range(100):
        assert out.write(f"{number} ü\n") == len(f"{number} ü\n")
    out.close()
    assert pipe.read_all().decode() == "".join(f"{number} ü\n" for number in range(100))
    assert out.failure is None
    assert not out.is_behind


@pytest.mark.fault(58)
@pytest.mark.timeout(20)
def test_reader_that_does_not_read_holds_nobody_up(pipe: _Pipe) -> None:
    out = Outlet(pipe.writer, "utf-8")
    line = "x" * 1000 + "\n"
    for _ in range(2000):  # far more than a pipe holds; a write that blocks would never come back
        out.write(line)
    assert out.is_behind
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(_drain(pipe.reader, 2000 * len(line))))
    reader.start()
    out.close()
    reader.join()
    assert received == [line.encode() * 2000]
    assert not out.is_behind


def _drain(fd: int, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := os.read(fd, 1 << 16)):
        data += more
    return data


@pytest.mark.timeout(20)
def test_stream_that_somebody_made_non_blocking_still_gets_everything(pipe: _Pipe) -> None:
    os.set_blocking(pipe.writer, False)
    out = Outlet(pipe.writer, "utf-8")
    text = "x" * 1_000_000
    out.write(text)
    assert _drain(pipe.reader, len(text)) == text.encode()
    out.close()
    assert out.failure is None


@pytest.mark.fault(58)
def test_reader_that_has_gone_ends_the_output_and_nothing_else(pipe: _Pipe) -> None:
    pipe.close_reader()
    out = Outlet(pipe.writer, "utf-8")
    for _ in range(100):
        out.write("nobody reads this\n")
    out.close()
    assert out.is_abandoned
    assert out.failure is not None
    assert out.failure.errno == errno.EPIPE


@pytest.mark.fault(58)
@pytest.mark.skipif(not os.path.exists(_FULL), reason=f"there is no {_FULL}")
def test_full_disk_behind_the_stream_is_kept_for_the_report() -> None:
    fd = os.open(_FULL, os.O_WRONLY)
    try:
        out = Outlet(fd, "utf-8")
        out.write("lost\n")
        out.write("lost as well\n")
        out.close()
    finally:
        os.close(fd)
    assert out.failure is not None
    assert out.failure.errno == errno.ENOSPC
    assert not out.is_abandoned


@pytest.mark.fault(62)
def test_outlet_without_a_thread_writes_by_itself(pipe: _Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    out = Outlet(pipe.writer, "utf-8")
    for number in range(3):
        out.write(f"{number}\n")
    assert out.close()
    assert pipe.read_all() == b"0\n1\n2\n"


@pytest.mark.timeout(20)
def test_outlet_waits_for_its_reader_as_long_as_is_asked(pipe: _Pipe) -> None:
    out = Outlet(pipe.writer, "utf-8")
    text = "x" * 200_000
    out.write(text)
    assert not out.close(0.05)
    assert not out.close(0.05)
    assert _drain(pipe.reader, len(text)) == text.encode()
    assert out.close(5)


def test_what_was_written_before_can_be_waited_for(pipe: _Pipe) -> None:
    out = Outlet(pipe.writer, "utf-8")
    out.settle(10)
    out.write("x" * 10_000)
    out.settle(10)
    assert os.read(pipe.reader, 1 << 16) == b"x" * 10_000
    out.write("y" * 1_000_000)
    out.settle(0.01)  # nobody reads: the patience ends
    reader = threading.Thread(target=out.close)
    reader.start()
    while reader.is_alive():
        os.read(pipe.reader, 1 << 16)
        reader.join(0.001)
    out.settle(10)


def test_outlet_that_was_never_used_has_no_thread_and_closes(pipe: _Pipe) -> None:
    before = threading.active_count()
    out = Outlet(pipe.writer, "utf-8")
    assert threading.active_count() == before
    out.close()
    assert pipe.read_all() == b""


@pytest.mark.fault(78)
@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", "ü 🎬 ".encode() + b"\\udce9"),
        ("ascii", b"\\xfc \\U0001f3ac \\udce9"),
        ("latin-1", b"\xfc \\U0001f3ac \\udce9"),
    ],
)
def test_what_an_encoding_cannot_express_is_escaped(encoding: str, expected: bytes, pipe: _Pipe) -> None:
    out = Outlet(pipe.writer, encoding)
    out.write("ü 🎬 \udce9")
    out.close()
    assert pipe.read_all() == expected


def test_outlet_answers_like_a_stream(pipe: _Pipe) -> None:
    out = Outlet(pipe.writer, "utf-8")
    assert out.fileno() == pipe.writer
    assert not out.isatty()
    out.flush()


_CHECK = """
import os, sys
for fd in {closed}:
    try:
        os.close(fd)
    except OSError:
        pass
from pfndispatchcopy.cli.streams import open_missing_streams
found = sorted(open_missing_streams())
assert found == {closed}, found
assert not open_missing_streams()
null = os.stat(os.devnull)
for fd in found:
    assert os.path.samestat(os.fstat(fd), null), fd
    assert os.get_inheritable(fd), fd
    if fd == 0:
        assert os.read(fd, 10) == b""
    else:
        os.write(fd, b"into the void")
first = os.open({own!r}, os.O_RDONLY)
assert first > 2, first
os._exit(77)
"""


@pytest.mark.fault(58)
@pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
@pytest.mark.parametrize("closed", [[], [0], [1], [2], [0, 1], [1, 2], [0, 2], [0, 1, 2]], ids=str)
def test_closed_streams_are_opened_before_any_file_can_take_their_place(closed: list[int]) -> None:
    code = _CHECK.format(closed=closed, own=__file__)
    done = subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 77, done.stderr
