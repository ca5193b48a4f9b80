"""Completions, manual page and reference say what the table of arguments says, and the tools take them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from docs.making.manual import manual_files
from pfndispatchcopy.cli.completion import SHELLS, completion
from pfndispatchcopy.cli.manpage import manual_page
from pfndispatchcopy.cli.table import read_manual

FILES = dict(manual_files())
OPTIONS = [name for option in read_manual().options for name in option.names]


def _run(*command: str | Path) -> str:
    """Run a tool; returns what it said, which is nothing where all is well."""
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"there is no {command[0]} here")
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return f"{done.stderr}{done.returncode or ''}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_made_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == FILES[path], "run `make manual`"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_made_knows_every_option(path: Path) -> None:
    text = re.sub(r"\\f[BIR]", "", FILES[path]).replace("\\-", "-")
    if path.suffix == ".fish":
        kinds = ["l" if name.startswith("--") else "s" if len(name) == 2 else "o" for name in OPTIONS]
        options = [f"-{kind} {name.strip('-')}" for kind, name in zip(kinds, OPTIONS, strict=True)]
    else:
        options = OPTIONS
    missing = [each for each in options if not re.search(rf"(?<![-\w]){re.escape(each)}(?![-\w])", text)]
    assert missing == []


def test_manual_page_is_clean_for_mandoc() -> None:
    page = next(path for path in FILES if path.suffix == ".1")
    assert _run("mandoc", "-T", "lint", page) == ""


def test_manual_page_is_clean_for_groff() -> None:
    page = next(path for path in FILES if path.suffix == ".1")
    assert _run("groff", "-ww", "-man", "-z", "-Tascii", page) == ""


def test_manual_page_can_be_read_with_man() -> None:
    page = next(path for path in FILES if path.suffix == ".1")
    if shutil.which("man") is None:
        pytest.skip("there is no man here")
    environment = {"PATH": "/usr/bin:/bin", "MANWIDTH": "100", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["man", "-l", page], capture_output=True, text=True, timeout=30, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"-t, --hash NAME\n", done.stdout)
    assert re.search(r"^ +2 +wrong arguments, or refused", done.stdout, re.MULTILINE)
    assert "~/.config/pfndispatchcopy/config.toml" in done.stdout


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("bash", ("shellcheck", "-s", "bash")),
        ("bash", ("bash", "-n")),
        ("zsh", ("zsh", "-n")),
        ("fish", ("fish", "-n")),
    ],
)
def test_completion_is_clean_for_its_shell(tmp_path: Path, name: str, command: list[str]) -> None:
    (tmp_path / name).write_text(completion(name), encoding="utf-8")
    assert _run(*command, tmp_path / name) == ""


def test_page_and_completions_are_plain_text() -> None:
    for text in [manual_page(), *map(completion, SHELLS)]:
        assert text.endswith("\n")
        assert not re.search(r"[^\n -~…]", text)
