"""README and docs: every command is run, every option exists, every link leads somewhere."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pfndispatchcopy.cli.arguments import build_parser, parse
from tests.support.command import run
from tests.support.documents import DOCUMENTS, ROOT, blocks, commands, matches, run_page
from tests.support.files import make_file

PAGES = [page for page in DOCUMENTS if commands(page)]
# What is run by tests of its own, or changes this very clone: by the test that runs it.
RUN_ELSEWHERE = {
    "make demo": "tests/functional/test_examples.py",
    "make test": "this very suite",
    "make pyz": "tests/docs/test_pyz.py",
    "pipx install .": "tests/tools/test_installation.py",
}

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the documents are for POSIX shells")


@pytest.mark.timeout(110)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_do_what_the_page_says(page: Path, tmp_path: Path) -> None:
    ran = run_page(page, tmp_path)
    wrong = []
    for number, (command, code, printed) in enumerate(ran):
        following = ran[number + 1][0].text if number + 1 < len(ran) else ""
        if (code == 0 or following == "echo $?") and matches(command.output, printed):
            continue
        wrong += [f"$ {command.text}", f"exit code {code}", *printed, "but the page says:", *command.output]
    assert wrong == [], "\n".join(wrong)


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_other_commands_are_run_by_other_tests(page: Path) -> None:
    for line in "".join(blocks(page, "sh")).splitlines():
        command = line.partition("#")[0].strip()
        assert not command or command in RUN_ELSEWHERE, f"{page.name}: nobody runs {command}"


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_no_block_is_without_a_language(page: Path) -> None:
    assert blocks(page, "") == []


def test_pages_have_commands() -> None:
    assert {page.name for page in PAGES} >= {"README.md", "tutorial.md", "how-to.md"}


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_options_that_are_named_exist(page: Path) -> None:
    known = {name for action in build_parser()._actions for name in action.option_strings}
    # Of other programs that are named, and of our own scripts.
    known |= {"--uninstall", "--root", "--signal", "--version", "--executor"}
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    named = {
        word.partition("=")[0]
        for code in re.findall(r"`([^`\n]+)`", text)
        if "pytest" not in code and "python" not in code
        for word in re.findall(r"(?<!\S)--[a-z][\w-]*=?", code)
    }
    assert named - known == set()


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_make_targets_that_are_named_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", page.read_text(encoding="utf-8"))) <= targets


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_configurations_are_taken(page: Path, tmp_path: Path) -> None:
    for text in blocks(page, "toml"):
        (tmp_path / "config.toml").write_text(text, encoding="utf-8")
        for preset in [None, *tomllib.loads(text).get("preset", {})]:
            chosen = [] if preset is None else ["--preset", preset]
            parse(["--config", str(tmp_path / "config.toml"), *chosen, "a", "b"])


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_python_can_be_run(page: Path, tmp_path: Path) -> None:
    for text in blocks(page, "python"):
        ast.parse(text)
        make_file(tmp_path / "clip.mov", 300_000)
        moved = re.sub(r'"/(mnt|media)/', rf'"{tmp_path}/\1/', text)
        done = subprocess.run(
            [sys.executable, "-c", moved], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), text
        assert "verified" in done.stdout


def test_help_of_the_readme_is_the_help_of_the_program(tmp_path: Path) -> None:
    usage = run("--help", cwd=tmp_path).stdout
    for line in "".join(blocks(ROOT / "README.md", "text")).splitlines():
        assert line in usage
