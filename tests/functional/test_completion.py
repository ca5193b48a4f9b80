"""Completion as people meet it: what a real shell makes of what was typed."""

import os
import pty
import select
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pfndispatchcopy.cli.completion import completion

pytestmark = pytest.mark.skipif(os.name == "nt", reason="shells of POSIX systems")


def _shell(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"there is no {name} here")
    return path


# -- bash -------------------------------------------------------------------------------------------------


def _offered_by_bash(folder: Path, *words: str) -> list[str]:
    """What the function of the completion offers for the last of some words."""
    (folder / "completion").write_text(completion("bash"))
    script = (
        'source completion; COMP_WORDS=(pfndispatchcopy "$@"); COMP_CWORD=$#; _pfndispatchcopy;'
        ' printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        [_shell("bash"), "--norc", "-c", script, "bash", *words],
        cwd=folder, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["--verif"], ["--verify", "--verify-source"]),
        (["card", "/mnt/raid", "--quie"], ["--quiet"]),
        (["-nof"], ["-noflush_dest"]),
        (["--verify", ""], ["none", "destination"]),
        (["--verify", "d"], ["destination"]),
        (["--verify", "="], ["none", "destination"]),
        (["--verify", "=", "no"], ["none"]),
        (["--verify=no"], ["--verify=none"]),
        (["--on-conflict", "r"], ["rename"]),
        (["-t", "xxh1"], ["xxh128"]),
        (["-t", "md5,sha"], ["md5,sha1", "md5,sha256"]),
        (["--hash=md5,c"], ["--hash=md5,c4"]),
        (["-j", ""], ["auto"]),
        # Paths, which the shell completes itself, and words that nobody can foresee.
        ([""], []),
        (["ca"], []),
        (["--log-file", ""], []),
        (["--log-file", "--ver"], []),
        (["--bwlimit", ""], []),
        (["--", "--ver"], []),
    ],
)
def test_bash_is_offered_what_fits(tmp_path: Path, words: list[str], offered: list[str]) -> None:
    assert _offered_by_bash(tmp_path, *words) == offered


def test_bash_knows_whose_completion_it_is(tmp_path: Path) -> None:
    (tmp_path / "completion").write_text(completion("bash"))
    done = subprocess.run(
        [_shell("bash"), "--norc", "-c", "source completion; complete -p pfndispatchcopy"],
        cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert done.stdout == "complete -o bashdefault -o default -F _pfndispatchcopy pfndispatchcopy\n"


# -- at a terminal ----------------------------------------------------------------------------------------


def _typed(folder: Path, command: list[str], preparation: str, *lines: tuple[str, str]) -> None:
    """Type lines, each until something is seen that completion has brought; then forget the line."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execve(command[0], command, {"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(folder), "PS1": "> "})
    try:
        os.write(terminal, f"{preparation}\necho re''ady\n".encode())
        _read_until(terminal, "ready")
        for line, wanted in lines:
            os.write(terminal, line.encode())
            _read_until(terminal, wanted)
            os.write(terminal, b"\x15\n")
    finally:
        os.write(terminal, b"\x15exit\n")
        with suppress(OSError):
            while select.select([terminal], [], [], 5)[0] and os.read(terminal, 65536):
                pass
        os.close(terminal)
        os.waitpid(pid, 0)


def _read_until(terminal: int, wanted: str) -> None:
    seen, until = "", time.monotonic() + 15
    while wanted not in seen:
        assert time.monotonic() < until, f"{wanted!r} is not in {seen!r}"
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 65536).decode("utf-8", "replace").replace("\x07", "")


def test_bash_completes_at_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "completion").write_text(completion("bash"))
    (tmp_path / "card of today").mkdir()
    _typed(
        tmp_path,
        [_shell("bash"), "--norc", "--noprofile", "-i"],
        "source completion",
        ("pfndispatchcopy --on-c\t", "--on-conflict "),
        ("pfndispatchcopy --on-conflict=ren\t", "=rename "),
        ("pfndispatchcopy --log-file ca\t", "card\\ of\\ today/"),
        ("pfndispatchcopy -q ca\t", "card\\ of\\ today/"),
    )


def test_zsh_completes_at_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "_pfndispatchcopy").write_text(completion("zsh"))
    (tmp_path / "card of today").mkdir()
    _typed(
        tmp_path,
        [_shell("zsh"), "-f", "-i"],
        "fpath=($PWD/functions $fpath); autoload -Uz compinit; compinit -u -D",
        ("pfndispatchcopy --on-c\t", "--on-conflict="),
        ("pfndispatchcopy --on-conflict=ren\t", "=rename "),
        ("pfndispatchcopy -t md5,sha2\t", "md5,sha256"),
        ("pfndispatchcopy --log-file ca\t", "card\\ of\\ today/"),
        ("pfndispatchcopy -q ca\t", "card\\ of\\ today/"),
        ("pfndispatchcopy --verify-so\t", "--verify-source="),
    )


def test_fish_is_offered_what_fits(tmp_path: Path) -> None:
    (tmp_path / "pfndispatchcopy.fish").write_text(completion("fish"))
    (tmp_path / "card of today").mkdir()
    script = "source pfndispatchcopy.fish; for line in $argv; complete -C $line; echo; end"
    asked = {
        "pfndispatchcopy --on-c": "--on-conflict\tan existing file whose content differs",
        "pfndispatchcopy --on-conflict=ren": "--on-conflict=rename\tan existing file whose content differs",
        "pfndispatchcopy -t md5,sha2": "md5,sha256",
        "pfndispatchcopy -nof": "-noflush_dest\tdo not force this destination to stable storage",
        "pfndispatchcopy --log-file ca": "card of today/",
        "pfndispatchcopy -q ca": "card of today/",
    }
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [_shell("fish"), "--no-config", "-c", script, *asked],
        cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True, env=environment,
    )  # fmt: skip
    answers = done.stdout.split("\n\n")
    for (line, wanted), answer in zip(asked.items(), answers, strict=False):
        assert wanted in answer, (line, answer)
