"""Names that may be anything but NUL and the separator: whole on every destination, and safe in every output."""

import base64
import contextlib
import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.command import PROGRAM, environment, events_of
from tests.support.files import make_file

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse many of these names")

NAMES = (
    *(b"new\nline", b"cr\rx", b"crlf\r\nx", b"tab\tx", b"esc\x1b[31mred\x1b]0;title\x07", b"bell\x07", b"del\x7f"),
    *(b"c1\xc2\x9b31m", b"nel\xc2\x85x", b"ls\xe2\x80\xa8x", b"ps\xe2\x80\xa9x", b"rlo\xe2\x80\xaegpj.exe"),
    *(b"isolate\xe2\x81\xa6x", b"zero\xe2\x80\x8bwidth", b"joiner\xe2\x80\x8dx", b"bom\xef\xbb\xbfx"),
    *(b"tag\xf3\xa0\x81\x81", b"bad\xff\xfe", b"cut\xc3", b"surrogate\xed\xa0\x80", b"\xef\xbf\xbe", b"-rf", b"--help"),
    *(b"...", b". .", b"   ", b" lead", b"trail ", b"trail.", b"back\\slash", b"back\\n\nboth", b"'\"'", b"%s{x}$y"),
    *(b"<&>", b"x" * 255, "映".encode() * 85, b"\xff" * 255, b"e\xcc\x81", b"\xc3\xa9", b"*?[a]", b"\x01\x02"),
)
# What people see of a folder with an escape sequence in its name.
FOLDER = b"d\x1b]2;x\x07\xff\n"
SHOWN_FOLDER = "d\\x1b]2;x\\x07\\xff\\n"
HOSTILE = "h\x1b[31m\n\r\t\x9b\u202e\u200b\udcff{x}%s"
SHOWN_HOSTILE = "h\\x1b[31m\\n\\r\\t\\x9b\\u202e\\u200b\\xff{x}%s"


def _require_safe(text: str) -> None:
    """Nothing that a terminal obeys, or that hides in a line, is in what was printed; line ends are."""
    unsafe = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    found = [(hex(ord(each)), text[:80]) for each in text if each != "\n" and unicodedata.category(each) in unsafe]
    assert found == []


def _run(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, encoding: str = "utf-8"
) -> subprocess.CompletedProcess[str]:
    """Run the command; what it prints has to be text of that encoding, and safe."""
    done = subprocess.run(
        [PROGRAM, *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=50,
        check=False,
        env=environment(env),
    )
    out, err = done.stdout.decode(encoding), done.stderr.decode(encoding)
    _require_safe(out)
    _require_safe(err)
    assert "Traceback" not in err
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A card with every name, above and below a folder that has one as well."""
    root = os.fsencode(tmp_path / "card")
    os.makedirs(root + b"/" + FOLDER)
    for number, name in enumerate(NAMES):
        for folder in (root, root + b"/" + FOLDER):
            with open(folder + b"/" + name, "wb") as file:
                file.write(name * (1 + number % 3))
    return tmp_path / "card"


def _files(folder: Path) -> dict[bytes, bytes]:
    """Content of all files below a folder, by their paths."""
    found = {}
    for above, _, names in os.walk(os.fsencode(folder)):
        for name in names:
            path = os.path.join(above, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, os.fsencode(folder))] = file.read()
    return found


def _exact(fields: Mapping[str, str]) -> bytes:
    """The path of an event, byte for byte."""
    if "path_b64" not in fields:
        return fields["path"].encode()
    raw = base64.b64decode(fields["path_b64"])
    assert raw.decode("utf-8", "replace") == fields["path"]
    assert b"\xef\xbf\xbd" not in raw
    return raw


@pytest.mark.fault(78, 86)
def test_every_name_arrives_and_every_output_has_it_in_one_safe_line(tmp_path: Path, card: Path) -> None:
    strict = {"PYTHONIOENCODING": "utf-8:strict"}
    arguments = ("-v", "--log-file", "log", "--mhl", "asc", "--sums", "md5,xxh3", "card", "a")
    done = _run(*arguments, cwd=tmp_path, env=strict)
    assert done.returncode == 0, done.stderr
    copied = {path: data for path, data in _files(tmp_path / "a/card").items() if b"ascmhl" not in path}
    assert copied.keys() - {b"card.md5", b"card.xxh3"} == _files(card).keys()
    assert {path: copied[path] for path in _files(card)} == _files(card)
    # The historic lines, one of each kind for each file.
    lines = done.stderr.splitlines()
    assert len([line for line in lines if line.startswith("INFO: copying ")]) == 2 * len(NAMES) + 1
    assert f"INFO: copying {SHOWN_FOLDER}/esc\\x1b[31mred\\x1b]0;title\\x07..." in lines
    assert "INFO: copying rlo\\u202egpj.exe..." in lines
    # The log, one line a record.
    log = (tmp_path / "log").read_text(encoding="utf-8")
    _require_safe(log)
    records = [
        re.match(r"[0-9T:.Z-]{24} pfndispatchcopy\[\d+\] (INFO|WARNING|ERROR) ", line) for line in log.split("\n")
    ]
    assert records.pop() is None  # behind the last line end
    assert all(records)
    assert log.count(" INFO file: ") == 2 * len(NAMES)
    if shutil.which("md5sum") is not None:
        checked = subprocess.run(
            ["md5sum", "-c", "card.md5"], cwd=tmp_path / "a/card", capture_output=True, check=False
        )
        assert checked.returncode == 0, checked.stderr
        assert checked.stdout.count(b": OK") == 2 * len(NAMES)
    for more in ([], ["-v"]):
        done = _run(*more, "--check", "a/card", cwd=tmp_path, env=strict)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"a/card: verified, {2 * len(NAMES)} files, ")


@pytest.mark.fault(78, 86)
def test_events_have_every_path_byte_for_byte(tmp_path: Path, card: Path) -> None:
    done = _run("--json", "--mhl", "legacy", "card", "b", cwd=tmp_path)
    assert done.returncode == 0
    wanted = set(_files(card))
    assert {_exact(each) for each in events_of(done.stdout) if each["event"] == "file"} == wanted
    names = [name for name in wanted if not _fits_xml(name)]
    assert done.stderr.count("cannot hold this name") == len(names)
    # What the list cannot hold is new to it, and what was changed is named: in lines for people, and in events.
    (tmp_path / "b/card").joinpath(os.fsdecode(b"rlo\xe2\x80\xaegpj.exe")).write_bytes(b"changed")
    done = _run("--json", "--check", "b/card", cwd=tmp_path)
    assert done.returncode == 4
    assert "pfndispatchcopy: error: b/card/new\\nline: new: no list knows this file" in done.stderr.splitlines()
    assert "b/card/rlo\\u202egpj.exe: changed" in done.stderr
    new = {_exact(each) for each in events_of(done.stdout) if each["event"] == "error" and "new:" in each["message"]}
    assert new == {b"b/card/" + name for name in names}
    for event in events_of(done.stdout):
        _require_safe(event.get("message", ""))


def _fits_xml(path: bytes) -> bool:
    """Whether a media hash list can hold a path."""
    try:
        text = path.decode()
    except UnicodeDecodeError:
        return False
    return re.search("[\x00-\x1f\ufffe\uffff]|^[A-Za-z]:", text) is None


@pytest.mark.fault(78)
@pytest.mark.parametrize(
    ("settings", "encoding"),
    [
        ({"LANG": "C"}, "utf-8"),
        ({"LC_ALL": "POSIX"}, "utf-8"),
        ({"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "ascii"),
        ({"PYTHONIOENCODING": "latin-1:strict", "PYTHONUTF8": "1"}, "latin-1"),
    ],
    ids=["LANG=C", "LC_ALL=POSIX", "without UTF-8", "latin-1"],
)
def test_locale_changes_neither_names_nor_lists(tmp_path: Path, settings: Mapping[str, str], encoding: str) -> None:
    names = ["é.mov", "映.mov", "\u202e.mov", "bad\udcff.mov", "line\n.mov"]
    for seed, name in enumerate(names):
        make_file(tmp_path / "card" / name, 100, seed)
    done = _run(
        "-v", "--json", "--mhl", "asc", "--sums", "md5", "card", "a", cwd=tmp_path, env=settings, encoding=encoding
    )
    assert done.returncode == 0, done.stderr
    files = {_exact(each) for each in events_of(done.stdout) if each["event"] == "file"}
    assert files == {os.fsencode(name) for name in names}
    (listed,) = (tmp_path / "a/card/ascmhl").glob("0001*.mhl")
    assert ">é.mov<" in listed.read_text(encoding="utf-8")
    done = _run("-v", "--check", "a/card", cwd=tmp_path, env=settings, encoding=encoding)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("a/card: verified, 5 files, ")
    done = _run("--help", cwd=tmp_path, env=settings, encoding=encoding)
    assert done.returncode == 0
    assert "--on-conflict" in done.stdout


@pytest.mark.fault(78, 86)
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([HOSTILE, "a/"], 2, f"{SHOWN_HOSTILE}: cannot open the source"),
        (["s", f"s/{HOSTILE}/x"], 2, f"s/{SHOWN_HOSTILE}/x: "),
        (["s", HOSTILE], 0, f"{SHOWN_HOSTILE}: verified, 1 file, "),
        (["-n", "s", f"{HOSTILE}/"], 0, f"  to {SHOWN_HOSTILE}/: "),
        (["-t", HOSTILE, "s", "a/"], 2, "unknown hash name 'h\\x1b[31m\\n"),
        (["--config", HOSTILE, "s", "a/"], 2, f"{SHOWN_HOSTILE}: the configuration cannot be read"),
        (["--config", "c.toml", "--preset", HOSTILE, "s", "a/"], 2, "there is no preset 'h\\x1b[31m\\n"),
        (["--config", "key.toml", "s", "a/"], 2, "unknown key 'h\\x1b[31m\\n\\u202e'"),
        (
            ["-n", "-v", "--config", "c.toml", "--preset", "p\x1b", "s", "a/"],
            0,
            "exclude = x\\x1b[31m\\n\\u202e (c.toml",
        ),
        (["-n", "-v", "--exclude", HOSTILE, "s", "a/"], 0, f"exclude = {SHOWN_HOSTILE} (command line)"),
        (["--log-file", f"none/{HOSTILE}", "s", "a/"], 2, f"none/{SHOWN_HOSTILE}: the log cannot be opened"),
        (["--check", HOSTILE], 2, f"{SHOWN_HOSTILE}: the list cannot be looked at"),
    ],
    ids=lambda each: each[0][:8].encode("ascii", "replace").decode() if isinstance(each, list) else "",
)
def test_arguments_and_configuration_are_said_in_safe_lines(
    tmp_path: Path, arguments: Sequence[str], code: int, words: str
) -> None:
    make_file(tmp_path / "s", 1000)
    (tmp_path / "card").mkdir()
    (tmp_path / "c.toml").write_text('exclude = ["x\\u001b[31m\\n\\u202e"]\n[preset."p\\u001b"]\nhash = "md5"\n')
    (tmp_path / "key.toml").write_text('"h\\u001b[31m\\n\\u202e" = 1\n')
    done = _run(*arguments, cwd=tmp_path, env={"PYTHONIOENCODING": "utf-8:strict"})
    assert done.returncode == code, done.stderr
    assert words in done.stdout + done.stderr
    assert code == 0 or len(done.stderr.splitlines()) == 1


@pytest.mark.fault(59, 78)
def test_bars_on_a_terminal_move_the_cursor_and_names_do_not(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 2_000_000)
    make_file(tmp_path / "taken/s", 7)
    # Bytes that terminals obey: clear, home, title, and back at the beginning of the line.
    name = "\x1b[2J\x1b[H\x1b]0;owned\x07\rx\u202e"
    out, code = _in_terminal(tmp_path, "--bwlimit", "4M", "-b", "50000", "s", f"{name}/", "taken/")
    assert code == 3
    own = re.sub(r"\r(\x1b\[\d+A)?\x1b\[J", "", out)
    drawn = [line for line in own.replace("\r\n", "\n").split("\n") if "|" in line]
    assert len(drawn) > 3
    _require_safe("\n".join(own.replace("\r\n", "\n").split("\n")))
    assert any("owned\\x07\\rx\\u202e" in line for line in drawn)
    assert "\\x1b[2J\\x1b[H\\x1b]0;owned\\x07\\rx\\u202e/s: verified" in own


def _in_terminal(folder: Path, *arguments: str) -> tuple[str, int]:
    """What the command prints on a terminal of its own, and its exit code."""
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execve(PROGRAM, [PROGRAM, *arguments], {**environment(), "TERM": "xterm"})
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    data = b""
    with contextlib.suppress(OSError):  # the end of a terminal is EIO
        while more := os.read(fd, 1 << 16):
            data += more
    os.close(fd)
    return data.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# -- long ones ------------------------------------------------------------------------------------------------------


@pytest.mark.fault(75)
@pytest.mark.timeout(120)
def test_tree_that_is_deeper_than_a_path_may_be_is_copied_listed_and_checked(tmp_path: Path) -> None:
    top = os.open(tmp_path, os.O_RDONLY)
    for number in range(300):
        name = "card" if not number else f"level-{number:03}-{'x' * 12}"
        os.mkdir(name, dir_fd=top)
        below = os.open(name, os.O_RDONLY, dir_fd=top)
        os.close(top)
        top = below
        if number % 50 == 49:
            _put(top, f"f{number}", 1_000 + number)
    _put(top, "large", 5_000_000)
    os.close(top)
    done = _run("-q", "--mhl", "asc", "--sums", "xxh3", "card", "a", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = _run("--check", "a/card", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("a/card: verified, 7 files, 5007044 bytes")
    # What is that deep is missed when it is gone, by its whole path.
    for folder in os.fwalk(tmp_path / "a/card"):
        if "large" in folder[2]:
            os.unlink("large", dir_fd=folder[3])
    done = _run("--check", "a/card", cwd=tmp_path)
    assert done.returncode == 3
    assert len(done.stderr) > os.pathconf(tmp_path, "PC_PATH_MAX")
    assert done.stderr.endswith("/large: missing\n")
    subprocess.run(["rm", "-rf", "card", "a"], cwd=tmp_path, check=True)  # pytest's own sweeping takes paths


def _put(folder: int, name: str, size: int) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=folder)
    os.write(fd, bytes(size))
    os.close(fd)


@pytest.mark.fault(74)
def test_names_that_are_as_long_as_they_may_be_leave_room_for_everything(tmp_path: Path) -> None:
    names = ["x" * 251 + ".mov", "映" * 85, "y" * 255]
    for seed, name in enumerate(names):
        make_file(tmp_path / "long" / name, 5_000_000 if not seed else 100, seed)
    (tmp_path / "long").rename(tmp_path / ("c" * 255))
    arguments = ("-q", "--mhl", "asc", "--sums", "md5", "--on-conflict", "overwrite", "c" * 255, "a")
    for _ in range(2):
        done = _run(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    copy = tmp_path / "a" / ("c" * 255)
    assert sorted(path.name for path in copy.iterdir() if path.suffix != ".md5") == sorted([*names, "ascmhl"])
    make_file(copy / names[0], 5_000_000, seed=7)
    # Another file has the name: the number of the copy beside it takes the place of some letters.
    done = _run("-q", "--on-conflict", "rename", "c" * 255, "a", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (copy / f"{'x' * 249} 2.mov").read_bytes() == (tmp_path / ("c" * 255) / names[0]).read_bytes()
    assert (copy / names[0]).read_bytes() == make_file(tmp_path / "same", 5_000_000, seed=7)
    for name in names:
        done = _run("-q", "--mhl", "legacy", "--sums", "xxh3", f"{'c' * 255}/{name}", "b/", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert _run("--check", "b", cwd=tmp_path).returncode == 0
