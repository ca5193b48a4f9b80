"""The documents as tests: what they tell people to type is typed, and has to answer as they say.

A block that begins with ```` ```console ```` holds commands, each after ``$ ``, and what they print, on either stream.
Numbers and digests may be others, and the order of lines as well; ``…`` at the end of a line stands for its rest, and
alone on a line for any lines. A command has to succeed, unless ``echo $?`` comes next. Those of one page run in one
shell. ``<!-- setup`` … ``-->`` runs before them, unseen. Folders such as ``/mnt`` are folders of the test, what is for
the system goes there as well, and its tools only seem to be there. That both copies are on one disk is a warning that
people with two disks do not see.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.scripts import make_stub

__all__ = ["DOCUMENTS", "ROOT", "Command", "blocks", "commands", "matches", "run_page"]

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SETUP = re.compile(r"^<!-- setup\n(.*?)^-->$", re.MULTILINE | re.DOTALL)
_ABSOLUTE = re.compile(r"(?<![\w./~-])/(mnt|media|srv|Volumes)(?=[/\s]|$)", re.MULTILINE)
# They would set up this very machine.
_TOOLS = ("crontab", "systemctl", "udevadm", "launchctl", "notify-send", "osascript")
_ONE_DISK = " are on one disk: if it fails, both copies are lost"
_MARK = "\x1e"


class Command(NamedTuple):
    """A command of a page, and the lines that it is said to print."""

    text: str
    output: list[str]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return [text for name, text in _FENCED.findall(page.read_text(encoding="utf-8")) if name == language]


def commands(page: Path) -> list[Command]:
    """What a page tells people to type."""
    found: list[Command] = []
    for block in blocks(page, "console"):
        lines = iter(block.splitlines())
        for line in lines:
            if line.startswith("$ "):
                text = line[2:]
                while text.endswith("\\"):
                    text = f"{text}\n{next(lines)}"
                found.append(Command(text, []))
            else:
                assert found, f"{page.name}: output before any command: {line}"
                found[-1].output.append(line)
    return found


def run_page(page: Path, folder: Path) -> list[tuple[Command, int, list[str]]]:
    """Run the commands of a page; returns for each its exit code and what it printed."""
    home = folder / "home"
    for name in ("bin", "home", "work", "root", "mnt", "media", "srv", "Volumes"):
        (folder / name).mkdir()
    for name in ("examples", "docs", "Makefile"):
        (folder / "work" / name).symlink_to(ROOT / name)
    for name in _TOOLS:
        make_stub(folder / "bin" / name, "exit 0")
    script = [_here(text, folder) for text in _SETUP.findall(page.read_text(encoding="utf-8"))]
    typed = commands(page)
    # Each sees the exit code of the one before, as it would in a shell.
    script += [
        f"printf '{_MARK}'; (exit $code); {{\n{_here(each.text, folder)}\n}}; code=$?; printf '{_MARK}%s' $code"
        for each in typed
    ]
    done = subprocess.run(
        ["bash", "-c", "\n".join(["code=0", *script])],
        cwd=folder / "work",
        env={
            "HOME": str(home),
            "PATH": f"{folder}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DESTDIR": str(folder / "root"),
            "LC_ALL": "C.UTF-8",
            "TMPDIR": str(folder),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=100,
        check=False,
    )
    pieces = done.stdout.replace(str(home), "~").replace(str(folder), "").split(_MARK)
    assert len(pieces) == 1 + 2 * len(typed), done.stdout
    return [
        (each, int(pieces[number + 1]), pieces[number].splitlines())
        for each, number in zip(typed, range(1, len(pieces), 2), strict=True)
    ]


def _here(text: str, folder: Path) -> str:
    return _ABSOLUTE.sub(rf"{folder}/\1", text)


def matches(expected: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether something was printed as a page says."""
    left = [_plain(line) for line in printed if not line.endswith(_ONE_DISK)]
    for line in expected:
        if line == "…":
            continue
        wanted = _plain(line)
        found = next(
            (each for each in left if (each.startswith(wanted[:-1]) if wanted.endswith("…") else each == wanted)), None
        )
        if found is None:
            return False
        left.remove(found)
    return not left or "…" in expected


def _plain(line: str) -> str:
    """A line without what is different every time."""
    line = re.sub(r"\b[0-9a-f]{16,}\b", "DIGEST", line)
    return re.sub(r"\d[\d.:]*", "0", line.rstrip())
