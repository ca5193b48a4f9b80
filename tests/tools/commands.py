"""The installed command with folders of a test, and what the published tools say of its copies."""

from pathlib import Path

from tests.support.command import run
from tests.tools.suite import MhlSuite
from tests.tools.trees import TREES, names_below

__all__ = ["copy_card", "make_card", "require_sealed"]


def make_card(folder: Path, kind: str) -> Path:
    """Make a folder ``CARD`` of some kind."""
    card = folder / "CARD"
    card.mkdir()
    TREES[kind](card)
    return card


def copy_card(folder: Path, *options: str) -> list[Path]:
    """Copy ``CARD`` to two destinations; returns the copies."""
    done = run(*options, "CARD", "dst1", "dst2", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return [folder / "dst1/CARD", folder / "dst2/CARD"]


def require_sealed(suite: MhlSuite, *roots: Path, generations: int = 1, has_grown: bool = False) -> None:
    """Every tool says that these folders are what their ASC lists say, that the lists are whole and as published.

    Args:
        suite: the tools.
        roots: the folders.
        generations: that each of them has.
        has_grown: whether a folder got more files from one generation to the next. The directory hashes of the
            earlier ones are out of date then, which ``verify -dh`` takes for a fault.
    """
    commands: list[tuple[str | Path, ...]] = []
    for root in roots:
        commands += [("verify", "-v", root), ("verify", "-v", "-dh", root), ("diff", root), ("info", "-v", root)]
        commands += suite.schema_commands(root)
    answers = dict(zip(commands, suite.ascmhl(*commands), strict=True))
    for root in roots:
        directories = answers.pop(("verify", "-v", "-dh", root))
        if not has_grown:
            assert directories.code == 0, directories.said
            # It ends with 0, too, where only the root's own hashes differ.
            assert "ERROR" not in directories.said
            assert "verification of root folder   OK" in directories.said
        verified = answers["verify", "-v", root].said
        for name in names_below(root):
            assert f" of file {name}: OK\n" in verified
        assert verified.count(": OK\n") == len(names_below(root))
        assert answers["info", "-v", root].said.count("  Generation ") == generations
    for command, answer in answers.items():
        assert answer.code == 0, f"{command}: {answer.said}"
