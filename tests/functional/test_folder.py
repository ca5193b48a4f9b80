"""Whole folders by the installed command: what it takes, what it shows, what it refuses, what it survives."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.command import PROGRAM, environment, events_of, run, start
from tests.support.files import make_file, partials
from tests.support.mounts import in_namespace, needs_loop, needs_namespace

MIB = 1 << 20


def make_card(folder: Path) -> None:
    """A little of everything that cards and their folders hold."""
    make_file(folder / "CLIPS/A001.mov", 9 * MIB, seed=1)
    make_file(folder / "CLIPS/A002.mov", 5 * MIB, seed=2)
    for number in range(40):
        make_file(folder / f"STILLS/I{number:03}.jpg", 20_000 + number, seed=number)
    (folder / "EMPTY").mkdir()
    (folder / "zero").touch()
    (folder / "café\nend").write_bytes(b"x")
    (folder / ".DS_Store").write_bytes(b"ds")
    (folder / "STILLS/._I001.jpg").write_bytes(b"apple double")
    (folder / "link").symlink_to("CLIPS/A001.mov")
    os.utime(folder / "STILLS", ns=(10**18, 10**18 + 123_456_789))
    (folder / "STILLS/I003.jpg").chmod(0o640)


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A card, in the folder that the command runs in."""
    make_card(tmp_path / "CARD")
    return tmp_path / "CARD"


def content(folder: Path) -> dict[str, bytes | str | None]:
    """Everything below a folder: bytes of files, targets of links, None for folders."""
    found: dict[str, bytes | str | None] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = path.read_bytes() if path.is_file() else None
    return found


# -- where it goes ------------------------------------------------------------------------------------------


def test_folder_goes_below_every_destination_with_all_that_is_in_it(tmp_path: Path, card: Path) -> None:
    done = run("CARD", "a", "b/deep/er", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "a/CARD") == content(card)
    assert content(tmp_path / "b/deep/er/CARD") == content(card)
    assert os.listdir(tmp_path / "a") == ["CARD"]
    for name in ("STILLS", "STILLS/I003.jpg", "CLIPS", ""):
        one, other = (card / name).stat(), (tmp_path / "a/CARD" / name).stat()
        assert (one.st_mode, one.st_mtime_ns) == (other.st_mode, other.st_mtime_ns)
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["a", "b/deep/er"]
    assert all(": verified, 47 files, " in line for line in lines)


def test_content_goes_straight_into_the_destination_after_a_separator(tmp_path: Path, card: Path) -> None:
    for _ in range(2):
        assert run("CARD/", "a", cwd=tmp_path).returncode == 0
        assert content(tmp_path / "a") == content(card)
    assert run("CARD", "b", cwd=tmp_path).returncode == 0
    assert run("CARD", "b", cwd=tmp_path).returncode == 0
    assert os.listdir(tmp_path / "b") == ["CARD"]


def test_several_sources_go_side_by_side(tmp_path: Path, card: Path) -> None:
    make_file(tmp_path / "notes.txt", 100)
    done = run("-d", "a", "CARD", "notes.txt", "-d", "b", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("a", "b"):
        assert sorted(os.listdir(tmp_path / name)) == ["CARD", "notes.txt"]
        assert content(tmp_path / name / "CARD") == content(card)
    refused = run("-d", "c", "CARD", "a/CARD", cwd=tmp_path)
    assert refused.returncode == 2
    assert "same name" in refused.stderr
    assert not (tmp_path / "c").exists()


def test_second_run_writes_nothing_and_says_identical(tmp_path: Path, card: Path) -> None:
    assert run("CARD", "a", cwd=tmp_path).returncode == 0
    before = {path: path.lstat().st_ino for path in (tmp_path / "a").rglob("*")}
    for more in ([], ["--quick-check"], ["--verify", "none"]):
        done = run(*more, "CARD", "a", cwd=tmp_path)
        assert done.returncode == 0
        assert done.stdout.startswith("a: identical, 47 files")
        assert {path: path.lstat().st_ino for path in (tmp_path / "a").rglob("*")} == before


# -- what is copied -----------------------------------------------------------------------------------------


def test_patterns_leave_out_and_let_in_again_and_what_is_left_out_is_told(tmp_path: Path, card: Path) -> None:
    done = run("-v", "--exclude", "*.jpg", "--include", "I00[12].jpg", "--exclude-system", "CARD", "a", cwd=tmp_path)
    assert done.returncode == 0
    stills = sorted(path.name for path in (tmp_path / "a/CARD/STILLS").iterdir())
    assert stills == ["I001.jpg", "I002.jpg"]
    assert not (tmp_path / "a/CARD/.DS_Store").exists()
    assert ", 40 left out" in done.stdout
    assert "INFO: left out: CARD/.DS_Store (excluded)" in done.stderr
    assert "._I001.jpg" in done.stderr


@pytest.mark.parametrize("way", ["file", "stdin", "nul"])
def test_only_what_a_list_names_is_copied(tmp_path: Path, card: Path, way: str) -> None:
    names = [b"STILLS/I001.jpg", b"CLIPS", b"./zero"]
    data = (b"\0" if way == "nul" else b"\n").join([*names, b""])
    (tmp_path / "list").write_bytes(data)
    arguments = ["-0"] if way == "nul" else []
    given = "-" if way == "stdin" else "list"
    done = run("--files-from", given, *arguments, "CARD", "a", cwd=tmp_path, stdin=data if way == "stdin" else None)
    assert done.returncode == 0, done.stderr
    assert set(content(tmp_path / "a/CARD")) == {
        "STILLS",
        "STILLS/I001.jpg",
        "CLIPS",
        "CLIPS/A001.mov",
        "CLIPS/A002.mov",
        "zero",
    }
    missing = run("--files-from", "-", "CARD", "b", cwd=tmp_path, stdin=b"zero\nnowhere\n")
    assert missing.returncode == 3
    assert "nowhere" in missing.stderr
    assert (tmp_path / "b/CARD/zero").exists()
    for bad in (b"../etc/passwd\n", b"/etc/passwd\n"):
        assert run("--files-from", "-", "CARD", "c", cwd=tmp_path, stdin=bad).returncode == 2


@pytest.mark.parametrize("way", ["copy", "follow", "skip"])
def test_symbolic_links_by_wish(tmp_path: Path, card: Path, way: str) -> None:
    done = run("--symlinks", way, "CARD", "a", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    link = tmp_path / "a/CARD/link"
    assert link.is_symlink() == (way == "copy")
    assert link.exists() == (way != "skip")
    if way == "follow":
        assert link.read_bytes() == (card / "CLIPS/A001.mov").read_bytes()
    assert ("link: a symbolic link: not copied" in done.stderr) == (way == "skip")


@pytest.mark.fault(69)
def test_special_files_are_left_out_with_a_warning_and_never_waited_for(tmp_path: Path, card: Path) -> None:
    os.mkfifo(card / "pipe")
    done = run("-q", "CARD", "a", cwd=tmp_path)
    assert done.returncode == 0
    assert "CARD/pipe: a FIFO: not copied" in done.stderr
    assert not (tmp_path / "a/CARD/pipe").exists()


@pytest.mark.fault(71)
def test_attributes_are_kept_and_rights_are_not(tmp_path: Path, card: Path) -> None:
    (card / "zero").chmod(0o4755)
    try:
        os.setxattr(card / "zero", "user.tag", b"red")
        os.setxattr(card / "CLIPS", "user.tag", b"blue")
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error}")
    assert run("CARD", "a", cwd=tmp_path).returncode == 0
    assert (tmp_path / "a/CARD/zero").stat().st_mode & 0o7777 == 0o755
    assert os.getxattr(tmp_path / "a/CARD/zero", "user.tag") == b"red"
    assert os.getxattr(tmp_path / "a/CARD/CLIPS", "user.tag") == b"blue"
    assert run("--preserve", "none", "CARD", "b", cwd=tmp_path).returncode == 0
    assert os.listxattr(tmp_path / "b/CARD/zero") == []


# -- the plan -----------------------------------------------------------------------------------------------


def test_dry_run_shows_the_plan_with_its_reasons_and_writes_nothing(tmp_path: Path, card: Path) -> None:
    (tmp_path / "c.toml").write_text('jobs = 3\n[preset.card]\nhash = ["md5"]\n')
    done = run("-n", "-v", "--config", "c.toml", "--preset", "card", "CARD", "a", "b", cwd=tmp_path)
    assert done.returncode == 0
    for words in ("plan: 47 files", "strategy: mixed", "3 jobs, as asked for", "memory bound:", "nothing was written"):
        assert words in done.stdout
    assert "jobs = 3 (c.toml)" in done.stdout
    assert "hash = md5 (c.toml, preset card)" in done.stdout
    assert not (tmp_path / "a").exists()


def test_unknown_key_of_the_configuration_is_named(tmp_path: Path, card: Path) -> None:
    (tmp_path / "c.toml").write_text("exclud = '*.tmp'\n")
    done = run("--config", "c.toml", "CARD", "a", cwd=tmp_path)
    assert done.returncode == 2
    assert "'exclud'" in done.stderr


def test_events_tell_of_every_file_and_keep_to_the_schema(tmp_path: Path, card: Path) -> None:
    done = run("--json", "-t", "xxh64be,md5", "CARD", "a", "b", cwd=tmp_path)
    assert done.returncode == 0
    events = events_of(done.stdout)
    kinds = [event["event"] for event in events]
    assert kinds[:2] == ["start", "plan"]
    assert kinds[-1] == "summary"
    files = {event["path"]: event for event in events if event["event"] == "file"}
    assert len(files) == events[1]["files"] == events[-1]["files"] == 47
    assert files["zero"]["hashes"] == {"xxh64be": "ef46db3751d8e999", "md5": "d41d8cd98f00b204e9800998ecf8427e"}
    assert files["CLIPS/A001.mov"]["destinations"][1]["path"] == "b/CARD/CLIPS/A001.mov"
    assert {each["state"] for event in files.values() for each in event["destinations"]} == {"verified"}
    assert [each["files_ok"] for each in events[-1]["destinations"]] == [47, 47]


def test_historic_lines_are_told_for_every_file(tmp_path: Path, card: Path) -> None:
    done = run("-v", "--files-from", "-", "CARD", "a", cwd=tmp_path, stdin=b"zero\n")
    lines = done.stderr.splitlines()
    for line in (
        "INFO: copying CARD...",
        "INFO: copying zero...",
        "INFO: copied 0 of 0 bytes (100%)",
        "INFO: hash XXH64BE:ef46db3751d8e999",
        "INFO: done.",
    ):
        assert line in lines


def test_quiet_run_says_nothing(tmp_path: Path, card: Path) -> None:
    done = run("-q", "--log-file", "log", "CARD", "a", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    log = (tmp_path / "log").read_text().splitlines()
    assert len([line for line in log if " file: " in line]) == 47
    assert any("café\\nend" in line for line in log)


# -- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.fault(65, 66)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["CARD", "CARD"], "inside the source"),
        (["CARD", "CARD/x/y"], "inside the source"),
        (["CARD", "."], "are the same"),
        (["CARD/CLIPS/", "CARD"], "inside"),
        (["CARD", "a", "./a"], "same destination"),
        (["CARD", "new/x", "new/../new/x"], "same destination"),
        (["CARD/", "a", "a/b"], "inside the copy"),
        (["CARD", "a", "a/CARD/b"], "inside the copy"),
        (["CARD", "file"], "Not a directory"),
        (["missing/", "a"], "No such file"),
        (["-f_size", "10", "CARD", "a"], "single file"),
        (["--exclude", "[", "--jobs", "0", "CARD", "a"], "--jobs"),
        (["--memory-limit", "4K", "CARD", "a"], "--memory-limit"),
        (["--require-mount", "CARD", "a"], "mounted volume"),
        (["--no-flush", "b", "CARD", "a"], "names no destination"),
        (["--files-from", "list", "-d", "a", "CARD", "other"], "exactly one folder"),
        (["--files-from", "list", "file", "a"], "is a file"),
    ],
)
def test_refused_before_anything_is_written(tmp_path: Path, card: Path, arguments: list[str], words: str) -> None:
    if "--require-mount" in arguments and tmp_path.stat().st_dev != os.stat("/").st_dev:
        pytest.skip("the temporary folder is on a volume of its own")
    (tmp_path / "file").touch()
    (tmp_path / "list").touch()
    before = sorted(tmp_path.rglob("*"))
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.fault(57)
def test_too_little_space_for_all_that_is_missing_is_refused_and_for_what_is_missing_is_enough(tmp_path: Path) -> None:
    needs_namespace()
    make_file(tmp_path / "CARD/one", 3_000_000)
    make_file(tmp_path / "CARD/two", 3_000_000, seed=2)
    done = in_namespace(
        f"mkdir v && mount -t tmpfs -o size=10m t v && '{PROGRAM}' CARD v/x v/y; echo $?; ls v;"
        f" '{PROGRAM}' -q CARD v/x; echo $?; '{PROGRAM}' -q CARD v/x; echo $?;"
        # A killed run has left a partial that takes the room: it is swept, and counted as free before that.
        f" rm v/x/CARD/two; head -c 5000000 /dev/zero > v/x/CARD/$(ls v/x/CARD >/dev/null; echo {_stale('two')});"
        f" '{PROGRAM}' -q CARD v/x; echo $?; ls -A v/x/CARD",
        tmp_path,
    )
    assert done.stdout.splitlines() == ["2", "0", "0", "0", "one", "two"], done.stderr
    assert "not enough space: 12.0 MB are needed" in done.stderr


def _stale(name: str) -> str:
    from pfndispatchcopy.fileio.names import temporary_stem

    return f"{temporary_stem(name)}0badcafe.partial"


# -- faults -------------------------------------------------------------------------------------------------


@pytest.mark.fault(68)
def test_conflict_is_named_and_costs_nothing_else(tmp_path: Path, card: Path) -> None:
    make_file(tmp_path / "a/CARD/STILLS/I005.jpg", 20_005, seed=99)
    make_file(tmp_path / "a/CARD/STILLS/I006.jpg", 7)
    done = run("CARD", "a", "b", cwd=tmp_path)
    assert done.returncode == 3
    assert "a/CARD/STILLS/I005.jpg" in done.stderr
    assert "a/CARD/STILLS/I006.jpg" in done.stderr
    assert done.stdout.splitlines()[0].startswith("a: failed, 45 files, 2 failed")
    assert done.stdout.splitlines()[1].startswith("b: verified, 47 files")
    assert (tmp_path / "a/CARD/STILLS/I006.jpg").stat().st_size == 7
    renamed = run("--on-conflict", "rename", "CARD", "a", cwd=tmp_path)
    assert renamed.returncode == 0
    assert (tmp_path / "a/CARD/STILLS/I006 2.jpg").read_bytes() == (card / "STILLS/I006.jpg").read_bytes()
    again = run("--on-conflict", "rename", "CARD", "a", cwd=tmp_path)
    assert again.returncode == 0
    assert not (tmp_path / "a/CARD/STILLS/I006 3.jpg").exists()


@pytest.mark.fault(37)
def test_file_that_cannot_be_read_is_named_and_the_rest_is_complete(tmp_path: Path, card: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (card / "STILLS/I007.jpg").chmod(0)
    done = run("CARD", "a", cwd=tmp_path)
    assert done.returncode == 3
    assert "CARD/STILLS/I007.jpg: open failed: Permission denied (EACCES)" in done.stderr
    assert len(list((tmp_path / "a/CARD/STILLS").iterdir())) == 40


@pytest.mark.fault(48, 50)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_stops_and_the_next_run_goes_on(tmp_path: Path, card: Path, number: int, code: int) -> None:
    process = start("--jobs", "1", "--bwlimit", "6M", "CARD", "a", "b", cwd=tmp_path)
    first = tmp_path / "b/CARD/CLIPS/A001.mov"
    until = time.monotonic() + 20
    while not first.exists() and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert "run the same command again to go on" in err
    # The record of what is done is all that is left beside complete files.
    assert {path.name.split(".")[-2] for path in partials(tmp_path)} == {"journal"}
    assert content(tmp_path / "b/CARD").items() <= content(card).items()
    inode = first.stat().st_ino
    done = run("--json", "CARD", "a", "b", cwd=tmp_path)
    assert done.returncode == 0
    assert content(tmp_path / "b/CARD") == content(card)
    assert first.stat().st_ino == inode
    assert partials(tmp_path) == []
    told = {event["path"]: event["destinations"] for event in events_of(done.stdout) if event["event"] == "file"}
    places = [each["path"] for each in told.get("CLIPS/A001.mov", [])]
    assert "b/CARD/CLIPS/A001.mov" not in places, "what the record holds is not copied, and not even looked at again"


@pytest.mark.fault(56)
def test_second_run_is_refused_and_told_who_is_there_and_may_wait(tmp_path: Path, card: Path) -> None:
    first = start("--bwlimit", "6M", "CARD", "a", cwd=tmp_path)
    until = time.monotonic() + 20
    while not partials(tmp_path / "a") and time.monotonic() < until:
        time.sleep(0.02)
    refused = run("CARD", "a", cwd=tmp_path)
    assert refused.returncode == 2
    assert "another run is writing CARD: process " in refused.stderr
    assert "since 20" in refused.stderr
    waiting = start("--lock-wait", "30", "CARD", "a", cwd=tmp_path)
    assert first.wait(30) == 0
    assert waiting.wait(30) == 0
    for process in (first, waiting):
        process.communicate()
    assert content(tmp_path / "a/CARD") == content(card)


@pytest.mark.fault(1)
def test_destination_that_fills_up_costs_itself_and_no_other(tmp_path: Path) -> None:
    needs_namespace()
    for number in range(60):
        make_file(tmp_path / f"CARD/f{number:02}", 100_000, seed=number)
    make_file(tmp_path / "CARD/z.mov", 9 * MIB)
    done = in_namespace(
        "mkdir v && mount -t tmpfs -o size=20m t v;"
        # Somebody else takes the room after the plan was made.
        f" '{PROGRAM}' --bwlimit 5M --json CARD v a >events & sleep 1;"
        " head -c 16000000 /dev/zero > v/other; wait $!; echo $?;"
        " find v -name '.pfn.*' | grep -v journal",
        tmp_path,
    )
    assert done.stdout == "3\n", done.stderr
    events = events_of((tmp_path / "events").read_text())
    assert any(event["event"] == "error" and event["errno"] == "ENOSPC" for event in events)
    states = {each["path"]: each["state"] for each in events[-1]["destinations"]}
    assert states == {"v": "failed", "a": "verified"}
    assert content(tmp_path / "a/CARD") == content(tmp_path / "CARD")


@pytest.mark.fault(27)
def test_frozen_destination_is_given_up_and_the_command_ends(tmp_path: Path) -> None:
    needs_loop()
    for number in range(120):
        make_file(tmp_path / f"CARD/f{number:03}", 200_000, seed=number)
    make_file(tmp_path / "CARD/z.mov", 9 * MIB)
    done = in_namespace(
        "truncate -s 200M i && mkfs.ext4 -qF i && mkdir v && mount -o loop i v || exit 99;"
        " ( sleep 1.5; fsfreeze -f v ) &"
        f" timeout 40 '{PROGRAM}' --bwlimit 10M --stall-timeout 2 CARD v a; echo $?; diff -r CARD a/CARD && echo same;"
        " fsfreeze -u v; sleep 1;"
        f" timeout 30 '{PROGRAM}' -q CARD v a; echo $?; diff -r CARD v/CARD && echo same; ls -A v; umount v",
        tmp_path,
    )
    assert done.returncode != 99, done.stderr
    lines = [line for line in done.stdout.splitlines() if ": " not in line]
    assert lines == ["3", "same", "0", "same", "CARD", "lost+found"], (done.stdout, done.stderr)
    assert "it hangs: nothing finished for 2 s" in done.stderr


@pytest.mark.fault(67)
def test_case_that_a_destination_ignores_is_refused_before_two_files_become_one(tmp_path: Path) -> None:
    needs_loop()
    if subprocess.run(
        ["sh", "-c", "command -v mkfs.exfat mount.exfat-fuse"], capture_output=True, check=False
    ).returncode:
        pytest.skip("no exFAT here")
    make_file(tmp_path / "CARD/clip.mov", 10)
    make_file(tmp_path / "CARD/CLIP.MOV", 11)
    done = in_namespace(
        "truncate -s 20M i && mkfs.exfat i >/dev/null && mkdir v && L=$(losetup -f --show i) && mount.exfat-fuse $L v"
        f" || exit 99; '{PROGRAM}' CARD v; echo $?; ls -A v; umount v; losetup -d $L",
        tmp_path,
    )
    if done.returncode == 99:
        pytest.skip(f"no exFAT here: {done.stderr}")
    assert done.stdout == "2\n"
    assert "are one name there" in done.stderr


def test_ten_thousand_refusals_of_one_kind_are_one_warning(tmp_path: Path) -> None:
    needs_namespace()
    for number in range(30):
        make_file(tmp_path / f"CARD/f{number:02}", 10, seed=number)
        try:
            os.setxattr(tmp_path / f"CARD/f{number:02}", "user.tag", b"red")
        except OSError as error:
            pytest.skip(f"no extended attributes here: {error}")
    done = in_namespace(f"mkdir v && mount -t ramfs t v && '{PROGRAM}' CARD v; echo $?", tmp_path)
    assert done.stdout.splitlines()[-1] == "0", done.stderr
    assert done.stderr.count("extended attribute user.tag could not be kept") == 2
    assert "the same on 29 more files" in done.stderr


def test_closed_standard_input_of_a_list_is_refused(tmp_path: Path, card: Path) -> None:
    done = subprocess.run(
        f"exec '{PROGRAM}' --files-from - CARD a <&-",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env=environment(),
    )
    assert done.returncode == 2
    assert done.stderr == "pfndispatchcopy: error: --files-from -: standard input is closed; nothing was written\n"


def test_module_and_command_are_the_same_program(tmp_path: Path, card: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pfndispatchcopy", "--json", "CARD", "a"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[-1])["ok"] is True
