"""``--check`` by the installed command: what it prints, what it ends with, what it never touches."""

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.check_trial import sealed, write_history, write_legacy_list, write_sums
from tests.support.command import events_of, peak_memory_bytes, run, start
from tests.support.files import make_file

MIB = 1 << 20


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A card with a list of all that is on it."""
    folder = tmp_path / "CARD"
    make_file(folder / "CLIPS/A001.mov", 9 * MIB, seed=1)
    for number in range(40):
        make_file(folder / f"STILLS/I{number:03}.jpg", 20_000 + number, seed=number)
    names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
    write_legacy_list(folder / "CARD.mhl", [sealed(folder, name) for name in names])
    return folder


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("way", ["", "CARD.mhl"])
def test_good_card_is_one_line(card: Path, way: str) -> None:
    done = run("--check", card / way)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{card / way}: verified, 41 files, {9 * MIB + 40 * 20_000 + 780} bytes, ")
    quiet = run("--check", "-q", card / way)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_changed_missing_and_new_files_are_named(card: Path) -> None:
    flip(card / "STILLS/I007.jpg")
    (card / "CLIPS/A001.mov").unlink()
    make_file(card / "new\nline", 5)
    done = run("--check", "-q", "CARD", cwd=card.parent)
    assert (done.returncode, done.stdout) == (4, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert any("CARD/STILLS/I007.jpg: changed: it is xxh64be:" in line for line in lines)
    assert "pfndispatchcopy: error: CARD/CLIPS/A001.mov: missing" in lines
    assert "pfndispatchcopy: error: CARD/new\\nline: new: no list knows this file" in lines
    done = run("--check", "CARD", cwd=card.parent)
    assert done.stdout == "CARD: mismatch, 39 verified, 1 changed, 1 missing, 1 new\n"


def test_events_are_those_of_the_schema(card: Path) -> None:
    flip(card / "STILLS/I007.jpg")
    (card / "STILLS/I008.jpg").unlink()
    done = run("--check", "--json", card)
    assert done.returncode == 4
    events = events_of(done.stdout)
    kinds = [event["event"] for event in events]
    assert (kinds[0], kinds[-1]) == ("start", "summary")
    assert kinds.index("plan") < kinds.index("file")
    files = {event["path"]: event for event in events if event["event"] == "file"}
    assert len(files) == 41
    good = files["CLIPS/A001.mov"]["destinations"][0]
    assert (good["path"], good["state"], good["error"]) == (str(card / "CLIPS/A001.mov"), "verified", None)
    assert good["read_back"] in ("evicted", "direct", "memory")
    assert files["STILLS/I007.jpg"]["destinations"][0]["state"] == "mismatch"
    assert files["STILLS/I008.jpg"]["destinations"][0]["state"] == "failed"
    assert {event["phase"] for event in events if event["event"] == "progress"} <= {"verify"}
    errors = [event for event in events if event["event"] == "error"]
    assert {event["errno"] for event in errors} == {None, "ENOENT"}
    summary = events[-1]
    assert (summary["files"], summary["exit_code"]) == (41, 4)
    (each,) = summary["destinations"]
    assert (each["verified"], each["changed"], each["missing"], each["new"]) == (39, 1, 1, 0)
    assert (each["state"], each["files_ok"], each["files_failed"]) == ("mismatch", 39, 2)


def test_plan_is_printed_and_no_file_is_read(card: Path) -> None:
    (card / "STILLS/I007.jpg").chmod(0)
    done = run("--check", "-n", card)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("plan: 41 files, ")
    assert "no file was read" in done.stdout
    events = events_of(run("--check", "-n", "--json", card).stdout)
    assert [event["event"] for event in events] == ["start", "plan", "summary"]


def test_many_small_files_are_checked_in_processes(tmp_path: Path) -> None:
    folder = tmp_path / "MANY"
    for number in range(900):
        make_file(folder / f"{number % 7}/{number}", 100 + number, seed=number)
    write_sums(folder / "MANY.xxh128", [f"{number % 7}/{number}" for number in range(900)], "xxh128")
    flip(folder / "3/500")
    done = run("--check", "-j", "3", folder)
    assert done.returncode == 4
    assert done.stdout == f"{folder}: mismatch, 899 verified, 1 changed, 0 missing, 0 new\n"
    assert "3/500: changed" in done.stderr
    single = run("--check", "-j", "1", folder)
    assert (single.stdout, single.returncode) == (done.stdout, 4)


def test_several_arguments_get_a_line_each_and_the_worst_code(card: Path, tmp_path: Path) -> None:
    other = tmp_path / "OTHER"
    make_file(other / "x.mov", 100)
    write_history(other, [sealed(other, "x.mov", ["c4", "md5"])])
    empty = tmp_path / "EMPTY"
    empty.mkdir()
    done = run("--check", card, other, empty, tmp_path / "nowhere.mhl")
    assert done.returncode == 2
    states = [line.rpartition(f"{tmp_path}/")[2].split(",")[0] for line in done.stdout.splitlines()]
    assert states == ["CARD: verified", "OTHER: verified", "EMPTY: failed", "nowhere.mhl: failed"]
    assert "there is no hash list in it" in done.stderr
    assert "nowhere.mhl" in done.stderr


HOSTILE = {
    "parent": b"0" * 32 + b"  ../secret\n",
    "absolute": b"0" * 32 + b"  /etc/passwd\n",
    "drive": b"0" * 32 + b"  C:/secret\n",
    "length": b"0" * 31 + b"  a\n",
    "doctype": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/motd">]><hashlist version="1.1">&e;',
    "laughs": b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><hashlist version="1.1">&b;</hashlist>',
    "truncated": b'<?xml version="1.0"?>\n<hashlist version="1.1"><creatorinfo><name>x</name>',
    "empty": b"",
    "noise": bytes(range(256)),
}


@pytest.mark.fault(82, 83, 84)
@pytest.mark.parametrize("fault", HOSTILE)
def test_hostile_list_is_refused_in_one_line_and_nothing_outside_is_opened(tmp_path: Path, fault: str) -> None:
    strace = shutil.which("strace")
    folder = tmp_path / "CARD"
    make_file(tmp_path / "secret", 10)
    make_file(folder / "a", 10)
    path = folder / "CARD.md5"
    path.write_bytes(HOSTILE[fault])
    log = tmp_path / "log"
    wrapper = [strace, "-f", "-o", str(log), "-e", "trace=open,openat,openat2"] if strace else []
    done = run("--check", path, wrapper=wrapper)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert str(path) in done.stderr
    if strace:
        opened = log.read_text(errors="replace")
        assert "CARD.md5" in opened
        assert "secret" not in opened
        assert '"a"' not in opened


@pytest.mark.fault(82)
def test_links_are_not_followed_by_the_command(card: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    shutil.move(card / "STILLS", tmp_path / "outside")
    (card / "STILLS").symlink_to(tmp_path / "outside")
    (card / "CLIPS/A001.mov").unlink()
    (card / "CLIPS/A001.mov").symlink_to(tmp_path / "fifo")
    done = run("--check", card)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 2
    assert all("symbolic link" in line for line in done.stderr.splitlines())


@pytest.mark.fault(48, 50)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_with_its_code(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "CARD"
    make_file(folder / "a.mov", 64 * MIB)
    write_sums(folder / "a.mov.md5", ["a.mov"], "md5")
    process = start("--check", "--bwlimit", "2M", "--json", folder)
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "progress":
            break
    began = time.monotonic()
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert time.monotonic() - began < 10
    assert json.loads(out.splitlines()[-1])["destinations"][0]["state"] == "cancelled"


@pytest.mark.fault(37)
def test_file_without_permission_does_not_stop_the_others(card: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (card / "STILLS/I007.jpg").chmod(0)
    done = run("--check", card)
    assert done.returncode == 3
    assert "I007.jpg" in done.stderr
    assert "40 verified" in done.stdout


def test_log_and_verbose_name_every_file(card: Path, tmp_path: Path) -> None:
    done = run("--check", "-v", "--log-file", tmp_path / "log", card)
    assert done.returncode == 0
    assert "INFO: " + str(card / "STILLS/I007.jpg") + ": verified (" in done.stderr
    assert "STILLS/I007.jpg, 20007 bytes" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("arguments", [["--check"], ["--check", "-d", "x", "y"], ["--check", "--verify", "none", "x"]])
def test_wrong_arguments_are_a_usage_error(arguments: list[str], tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "--check" in done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.fault(84)
@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.parametrize("per_folder", [1000, 1_000_000])
def test_list_of_a_million_files_takes_less_than_300_mib(tmp_path: Path, per_folder: int) -> None:
    path = tmp_path / "CARD.xxh64"
    with path.open("w") as file:
        for number in range(1_000_000):
            file.write(f"{number:016x}  D{number // per_folder:04}/A{number:08}.jpg\n")
    (tmp_path / "D0000").mkdir()
    probe = subprocess.run(["true"], check=True)
    assert probe.returncode == 0
    peak = peak_memory_bytes("--check", "-n", path)
    assert peak < 300 * MIB


def _workers_of(pid: int) -> list[int]:
    """The processes that a nursery has raised: the front's child's child's children."""
    found = [pid]
    for _ in range(3):
        found = [
            int(child)
            for each in found
            for path in Path(f"/proc/{each}/task").glob("*/children")
            for child in _text(path).split()
        ]
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended
        return ""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no processes to be seen in /proc")
def test_process_that_is_killed_costs_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "CARD"
    names = [f"I{number:04}.jpg" for number in range(2500)]
    for number, name in enumerate(names):
        make_file(folder / name, 8_000, seed=number % 10)
    write_sums(folder / "CARD.xxh64", names)
    killed = 0
    with (tmp_path / "events").open("w+") as events:
        process = start("--check", "-j", "2", "--json", folder, stdout=events)
        while process.poll() is None and not killed:
            for worker in _workers_of(process.pid)[:1]:
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
                    killed += 1
        _, err = process.communicate(timeout=20)
        events.seek(0)
        found = [json.loads(line) for line in events]
    assert killed == 1
    assert (process.returncode, err) == (0, "")
    assert sum(event["event"] == "file" for event in found) == 2500
    assert found[-1]["destinations"][0]["files_ok"] == 2500
