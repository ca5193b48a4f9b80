"""Lists beside the copies, as somebody has them who runs the command, and as the usual tools take them."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.command import events_of, run, start
from tests.support.files import make_file, partials
from tests.support.histories import chain_of, damage, generations, listable_files, require_true, require_whole, seal


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A card, in the folder that the command runs in."""
    card = tmp_path / "CARD"
    make_file(card / "CLIPS/A001.mov", 5_000_000, seed=1)
    for number in range(10):
        make_file(card / f"STILLS/I{number}.jpg", 2_000 + number, seed=number)
    (card / "EMPTY").mkdir()
    (card / "zero").touch()
    (card / "odd 'name' \"&<>\\ é").write_bytes(b"odd")
    return card


def _checked(folder: Path, tool: str, name: str) -> str:
    """What a tool says of a sum file."""
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool} here")
    strict = ["--strict"] if tool != "xxhsum" else []
    done = subprocess.run(
        [tool, "-c", *strict, name], cwd=folder, capture_output=True, timeout=30, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == b""
    return done.stdout.decode("utf-8", "surrogateescape")


# -- what others make of it -----------------------------------------------------------------------------------


def test_sum_files_and_lists_of_every_destination_are_good(tmp_path: Path, card: Path) -> None:
    (card / "line\nbreak \udcff").write_bytes(b"odder")
    done = run("--mhl", "asc", "--sums", "md5,sha256", "--sums", "xxh64be", "CARD", "a", "b", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cannot hold this name" in done.stderr
    for name in ("a", "b"):
        copy = tmp_path / name / "CARD"
        assert len(_checked(copy, "md5sum", "CARD.md5").splitlines()) == len(listable_files(card))
        _checked(copy, "sha256sum", "CARD.sha256")
        require_whole(copy, 1)
        (listed,) = generations(copy)
        assert sorted(listed.files) == sorted(path for path in listable_files(card) if "\n" not in path)
        assert {each.name for each in listed.files["zero"].digests} == {"xxh64be", "md5"}
        assert sorted(listed.folders) == ["CLIPS", "EMPTY", "STILLS"]
    assert not partials(tmp_path)


@pytest.mark.parametrize("name", ["xxh64be", "xxh3", "xxh128"])
def test_sum_file_is_taken_by_xxhsum(name: str, tmp_path: Path, card: Path) -> None:
    if shutil.which("xxhsum") is None:
        pytest.skip("no xxhsum here")
    assert run("--sums", name, "CARD", "a", cwd=tmp_path).returncode == 0
    (path,) = (tmp_path / "a/CARD").glob("CARD.xxh*")
    _checked(tmp_path / "a/CARD", "xxhsum", path.name)


def test_damage_is_found_by_the_sum_file(tmp_path: Path, card: Path) -> None:
    assert run("--sums", "md5", "CARD", "a", cwd=tmp_path).returncode == 0
    damage(tmp_path / "a/CARD/STILLS/I3.jpg")
    done = subprocess.run(
        ["md5sum", "-c", "--quiet", "CARD.md5"],
        cwd=tmp_path / "a/CARD",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "STILLS/I3.jpg: FAILED" in done.stdout


def test_single_file_has_its_lists_beside_it(tmp_path: Path, card: Path) -> None:
    arguments = ("--mhl", "legacy", "--sums", "md5", "CARD/CLIPS/A001.mov")
    (tmp_path / "b").mkdir()
    done = run(*arguments, "a/clip.mov", "b/", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert _checked(tmp_path / "a", "md5sum", "clip.mov.md5") == "clip.mov: OK\n"
    assert _checked(tmp_path / "b", "md5sum", "A001.mov.md5") == "A001.mov: OK\n"
    assert len(list((tmp_path / "a").glob("clip.mov_*.mhl"))) == 1
    assert len(os.listdir(tmp_path / "a")) == 3


def test_stream_has_sum_files(tmp_path: Path) -> None:
    done = run("--sums", "sha256", "-", "a/clip.mov", cwd=tmp_path, stdin=b"from a pipe")
    assert done.returncode == 0, done.stderr
    assert _checked(tmp_path / "a", "sha256sum", "clip.mov.sha256") == "clip.mov: OK\n"


# -- again, and with a history --------------------------------------------------------------------------------


def test_second_run_says_identical_and_adds_a_generation(tmp_path: Path, card: Path) -> None:
    for count in (1, 2):
        done = run("--mhl", "asc", "--sums", "md5", "CARD", "a", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        require_whole(tmp_path / "a/CARD", count)
    assert done.stdout.startswith("a: identical")
    assert [path.name for path in (tmp_path / "a/CARD").glob("*.md5")] == ["CARD.md5"]


def test_card_that_was_damaged_since_it_was_sealed_is_told_of(tmp_path: Path, card: Path) -> None:
    seal(card)
    damage(card / "STILLS/I3.jpg")
    done = run("--mhl", "asc", "CARD", "a", cwd=tmp_path)
    assert done.returncode == 4
    assert "a/CARD/STILLS/I3.jpg" in done.stderr
    assert (tmp_path / "a/CARD/STILLS/I3.jpg").read_bytes() == (card / "STILLS/I3.jpg").read_bytes()
    require_whole(tmp_path / "a/CARD", 2)
    require_true(tmp_path / "a/CARD")


# -- refusals -------------------------------------------------------------------------------------------------


def test_history_that_cannot_be_trusted_is_refused_before_anything_is_written(tmp_path: Path, card: Path) -> None:
    name = seal(card)
    with (card / "ascmhl" / name).open("ab") as list_file:
        list_file.write(b"\n")
    done = run("--mhl", "asc", "CARD", "a", cwd=tmp_path)
    assert done.returncode == 2
    assert name in done.stderr
    assert os.listdir(tmp_path) == ["CARD"]
    assert run("CARD", "a", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--mhl", "new", "CARD", "a"), "new"),
        (("--sums", "c4", "CARD", "a"), "c4"),
        (("--mhl", "asc", "--verify", "none", "CARD", "a"), "--verify none"),
        (("--mhl", "asc", "-t", "sha256", "CARD", "a"), "sha256"),
        (("--sums", "md5", "--quick-check", "CARD", "a"), "--quick-check"),
        (("--mhl", "asc", "CARD/zero", "a/"), "--mhl legacy"),
        (("--mhl", "legacy", "-", "a/clip"), "standard input"),
        (("--mhl", "asc", "-d", "a", "CARD", "CARD/zero"), "--mhl asc"),
    ],
)
def test_wish_that_cannot_be_met_is_a_usage_error_and_nothing_is_written(
    arguments: tuple[str, ...], said: str, tmp_path: Path, card: Path
) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""
    assert os.listdir(tmp_path) == ["CARD"]


# -- what it tells --------------------------------------------------------------------------------------------


def test_events_name_the_options_and_the_outcome(tmp_path: Path, card: Path) -> None:
    done = run("--json", "--mhl", "asc", "--sums", "md5,sha1", "CARD", "a", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    events = events_of(done.stdout)
    (began,) = [event for event in events if event["event"] == "start"]
    assert (began["options"]["mhl"], began["options"]["sums"]) == ("asc", ["md5", "sha1"])
    assert events[-1]["event"] == "summary"
    assert events[-1]["exit_code"] == 0
    copied = [event for event in events if event["event"] == "file"]
    assert sorted(event["path"] for event in copied) == sorted(listable_files(card))


def test_dry_run_hands_nothing_over(tmp_path: Path, card: Path) -> None:
    assert run("-n", "--mhl", "asc", "--sums", "md5", "CARD", "a", cwd=tmp_path).returncode == 0
    assert os.listdir(tmp_path) == ["CARD"]


# -- what stops it --------------------------------------------------------------------------------------------


@pytest.mark.fault(51)
@pytest.mark.parametrize("has_history", [False, True])
def test_killed_run_is_completed_with_its_lists_by_the_next_one(has_history: bool, tmp_path: Path, card: Path) -> None:
    if has_history:
        seal(card)
    arguments = ("-q", "--mhl", "asc", "--sums", "md5", "CARD", "a")
    process = start(*arguments, "--bwlimit", "8M", cwd=tmp_path, start_new_session=True)
    until = time.monotonic() + 20
    wanted = "a/CARD/ascmhl/0001_*.mhl" if has_history else "a/CARD/zero"
    while not list(tmp_path.glob(wanted)) and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    copy = tmp_path / "a/CARD"
    require_whole(copy, len(chain_of(copy)))
    require_true(copy, "xxh64be", "md5", without=["CARD.md5"])
    _checked(copy, "md5sum", "CARD.md5")
    assert not partials(tmp_path)
