"""``--report`` of the installed command: what is written, when, and what it never touches."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.check_trial import sealed, write_legacy_list
from tests.support.command import PROGRAM, environment, events_of, peak_memory_bytes, run, start
from tests.support.files import make_file, partials
from tests.support.histories import damage, seal
from tests.support.mounts import in_namespace, needs_loop, needs_namespace

MIB = 1 << 20
_SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "docs/report.schema.json").read_text(encoding="utf-8"))
)


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A card, in the folder that the command runs in."""
    folder = tmp_path / "CARD"
    make_file(folder / "CLIPS/A001.mov", 6_000_000, seed=1)
    for number in range(30):
        make_file(folder / f"STILLS/I{number:03}.jpg", 2_000 + number, seed=number)
    (folder / "zero").touch()
    return folder


def report_of(path: Path) -> dict[str, Any]:
    """A report of the kind JSON, held against the published schema."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="ascii"))
    _SCHEMA.validate(found)
    return found


def _lines(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


# -- what is written --------------------------------------------------------------------------------------


def test_all_kinds_tell_of_every_file(tmp_path: Path, card: Path) -> None:
    pytest.importorskip("jinja2")
    reports = [word for kind in ("html", "json", "csv") for word in ("--report", f"r.{kind}")]
    done = run(*reports, "-t", "xxh64be,md5", "--exclude-system", "CARD", "a", "b", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = report_of(tmp_path / "r.json")
    assert (found["kind"], found["summary"]["exit_code"], len(found["files"])) == ("copy", 0, 32)
    assert found["command"].startswith("pfndispatchcopy --report r.html --report r.json")
    assert found["plan"]["files"] == 32
    for file in found["files"]:
        assert set(file["hashes"]) == {"xxh64be", "md5"}
        assert [each["path"] for each in file["destinations"]] == [f"{name}/CARD/{file['path']}" for name in "ab"]
        assert {each["state"] for each in file["destinations"]} == {"verified"}
    assert sum(each["files"] for each in found["destinations"][0]["proof"]) == 32
    assert found["destinations"][0]["volume"]["device"] == os.stat(tmp_path).st_dev
    lines = _lines(tmp_path / "r.csv")
    assert len(lines) == 64
    assert {line["md5"] for line in lines} == {file["hashes"]["md5"] for file in found["files"]}
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.count("STILLS/I007.jpg") == 2  # for the script, and for those without one
    assert sorted(os.listdir(tmp_path)) == ["CARD", "a", "b", "r.csv", "r.html", "r.json"]


def test_copies_on_one_disk_are_no_reason_to_erase_the_card(tmp_path: Path, card: Path) -> None:
    assert run("--report", "r.json", "CARD", "a", "b", cwd=tmp_path).returncode == 0
    verdict = report_of(tmp_path / "r.json")["verdict"]
    assert verdict["may_erase_source"] is False
    assert verdict["level"] == "caution"


@pytest.mark.kernel
def test_copies_on_two_volumes_are_one_and_copies_in_memory_are_none(tmp_path: Path, card: Path) -> None:
    needs_namespace()
    if shutil.which("mkfs.ext4") is None or os.geteuid() != 0:
        pytest.skip("no file system can be made here (needs root, mkfs.ext4)")
    done = in_namespace(
        "for d in v w; do"
        " truncate -s 60M i$d && mkfs.ext4 -qF i$d && mkdir $d && mount -o loop i$d $d || exit 99; done;"
        f" mkdir m && mount -t tmpfs t m; '{PROGRAM}' --report r.json CARD v w; '{PROGRAM}' --report m.json CARD v m;"
        " umount v w",
        tmp_path,
    )
    if done.returncode == 99:
        pytest.skip(f"no loop devices here: {done.stderr}")
    verdict = report_of(tmp_path / "r.json")["verdict"]
    assert (verdict["level"], verdict["may_erase_source"]) == ("safe", True), verdict
    assert verdict["summary"].startswith("2 verified copies on 2 volumes of all 32 files")
    verdict = report_of(tmp_path / "m.json")["verdict"]
    assert verdict["may_erase_source"] is False
    assert any("lies in memory" in line for line in verdict["unsafe"])


def test_single_file_and_standard_input_have_reports(tmp_path: Path) -> None:
    make_file(tmp_path / "clip.mov", 100_000)
    assert run("--report", "a/r.json", "clip.mov", "a/", "b/", cwd=tmp_path).returncode == 0
    found = report_of(tmp_path / "a/r.json")
    (file,) = found["files"]
    assert (file["path"], [each["path"] for each in file["destinations"]]) == ("clip.mov", ["a/clip.mov", "b/clip.mov"])
    done = run("--report", "s.json", "-", "a/stream", "b/stream", cwd=tmp_path, stdin=b"x" * 1000)
    assert done.returncode == 0, done.stderr
    found = report_of(tmp_path / "s.json")
    assert found["sources"] == [{"path": "-"}]
    assert found["verdict"]["may_erase_source"] is None


def test_names_of_any_bytes_are_exact_and_harmless(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    names = [b"=1+1", b"a\nb\x1b[31m\xff", b"<script>", b"\xe2\x80\xaegnp.exe", b"@x", b"-rf"]
    (tmp_path / "CARD").mkdir()
    for name in names:
        (tmp_path / "CARD" / os.fsdecode(name)).write_bytes(name)
    done = run("--report", "r.csv", "--report", "r.json", "--report", "r.html", "CARD", "a", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "r.csv").read_text(encoding="utf-8")
    assert len(text.splitlines()) == 1 + len(names)
    assert "\x1b" not in text
    assert not any(line["path"][0] in "=+-@" for line in _lines(tmp_path / "r.csv"))
    files = report_of(tmp_path / "r.json")["files"]
    assert {file.get("path_b64") is not None for file in files} == {True, False}
    assert not set((tmp_path / "r.html").read_text(encoding="utf-8")) & {"\x1b", "\u202e", "\ufffd"}


def test_conflicts_left_out_and_odd_things_are_told(tmp_path: Path, card: Path) -> None:
    make_file(tmp_path / "a/CARD/zero", 5)
    os.mkfifo(card / "fifo")
    (card / "x.tmp").touch()
    done = run("--report", "r.json", "--exclude", "*.tmp", "CARD", "a", "b", cwd=tmp_path)
    assert done.returncode == 3
    found = report_of(tmp_path / "r.json")
    assert [each["state"] for each in found["destinations"]] == ["failed", "verified"]
    zero = next(file for file in found["files"] if file["path"] == "zero")
    assert [each["state"] for each in zero["destinations"]] == ["failed", "verified"]
    assert [each["path"] for each in found["left_out"]] == ["CARD/x.tmp"]
    assert any("fifo" in each["message"] for each in found["warnings"])
    assert len(found["verdict"]["cautions"]) == 2
    assert len(found["verdict"]["safe"]) == 1
    assert run("-q", "--on-conflict", "skip", "--exclude", "*.tmp", "CARD", "a", "b", cwd=tmp_path).returncode == 0


def test_check_has_a_report(tmp_path: Path, card: Path) -> None:
    write_legacy_list(card / "CARD.mhl", [sealed(card, f"STILLS/I{number:03}.jpg") for number in range(30)])
    (card / "STILLS/I007.jpg").write_bytes(b"changed")
    (card / "STILLS/I008.jpg").unlink()
    done = run("--check", "--report", "r.json", "--report", "r.csv", "CARD", cwd=tmp_path)
    assert done.returncode == 4
    found = report_of(tmp_path / "r.json")
    assert (found["kind"], found["verdict"]["headline"]) == ("check", "1 file has changed.")
    (place,) = found["destinations"]
    assert (place["verified"], place["changed"], place["missing"], place["new"]) == (28, 1, 1, 2)
    states = {Path(file["path"]).name: file["destinations"][0]["state"] for file in found["files"]}
    assert (states["I007.jpg"], states["I008.jpg"], states["I009.jpg"]) == ("mismatch", "failed", "verified")
    assert len(_lines(tmp_path / "r.csv")) == 30


def test_files_of_an_earlier_run_are_in_the_report_with_their_digests(tmp_path: Path, card: Path) -> None:
    make_file(card / "CLIPS/B001.mov", 30_000_000, seed=2)
    process = start("--jobs", "1", "--bwlimit", "8M", "--report", "r.json", "CARD", "a", "b", cwd=tmp_path)
    first = tmp_path / "b/CARD/CLIPS/A001.mov"
    until = time.monotonic() + 20
    while not first.exists() and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    stopped = report_of(tmp_path / "r.json")
    assert stopped["verdict"]["headline"] == "Stopped before the end."
    assert stopped["summary"]["exit_code"] == 130
    done = run("--report", "r.json", "CARD", "a", "b", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = report_of(tmp_path / "r.json")
    files = {file["path"]: file for file in found["files"]}
    assert len(files) == found["plan"]["files"] == 33
    for file in files.values():
        assert [each["destination"] for each in file["destinations"]] == [0, 1]
        assert len(file["hashes"]["xxh64be"]) == 16
    again = run("--json", "CARD", "c", cwd=tmp_path)
    told = {each["path"]: each["hashes"] for each in events_of(again.stdout) if each["event"] == "file"}
    assert told == {path: file["hashes"] for path, file in files.items()}


def test_copy_that_contradicts_the_history_of_the_card_is_not_called_good(tmp_path: Path, card: Path) -> None:
    seal(card)
    damage(card / "STILLS/I003.jpg")
    assert run("--mhl", "asc", "--report", "r.json", "CARD", "a", cwd=tmp_path).returncode == 4
    found = report_of(tmp_path / "r.json")
    states = {file["path"]: file["destinations"][0]["state"] for file in found["files"]}
    assert [path for path, state in states.items() if state != "verified"] == ["STILLS/I003.jpg"]
    assert states["STILLS/I003.jpg"] == "mismatch"
    assert all(file["hashes"] for file in found["files"])


def test_speed_over_time_is_told_for_copying_and_reading_back(tmp_path: Path) -> None:
    for number in range(8):
        make_file(tmp_path / f"CARD/c{number}.mov", 5 * MIB, seed=number)
    assert run("--report", "r.json", "--bwlimit", "10M", "CARD", "a", "b", cwd=tmp_path).returncode == 0
    speed = report_of(tmp_path / "r.json")["throughput"]
    for curve in (*speed["copied"], *speed["read_back"]):
        assert sum(curve) * speed["step_s"] == pytest.approx(40 * MIB, rel=0.2)


# -- when, and what not -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--report", "nowhere/r.json", "CARD", "a"], "there is no folder nowhere"),
        (["--report", "r.txt", "CARD", "a"], "a report ends in .html, .json or .csv"),
        (["--report", "CARD/r.json", "CARD", "a"], "a source is never written to"),
        (["--report", "a/CARD/r.json", "CARD", "a"], "there is no folder a/CARD"),
        (["--report", "a/r.json", "CARD/", "a"], "is inside the copy"),
        (["--report", "mine.json", "CARD", "a"], "no report of this kind"),
        (["--check", "--report", "CARD/r.json", "CARD"], "a file that no list knows"),
        (["-n", "--report", "nowhere/r.json", "CARD", "a"], "there is no folder nowhere"),
    ],
)
@pytest.mark.parametrize("is_json", [False, True])
def test_wrong_place_is_refused_before_anything_is_written(
    tmp_path: Path, card: Path, arguments: list[str], said: str, is_json: bool
) -> None:
    (tmp_path / "mine.json").write_text("[]")
    done = run(*(["--json"] if is_json else []), *arguments, "--log-file", "log", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert [event["event"] for event in events_of(done.stdout)] == (["error", "summary"] if is_json else [])
    assert sorted(os.listdir(tmp_path)) == ["CARD", "mine.json"]
    assert (tmp_path / "mine.json").read_text() == "[]"


def test_dry_run_writes_none(tmp_path: Path, card: Path) -> None:
    assert run("-n", "--report", "r.json", "CARD", "a", cwd=tmp_path).returncode == 0
    assert os.listdir(tmp_path) == ["CARD"]


def test_refused_run_has_a_report(tmp_path: Path, card: Path) -> None:
    done = run("--report", "r.json", "--require-mount", "CARD", "a", cwd=tmp_path)
    if done.returncode != 2:
        pytest.skip("this folder is on a mounted volume of its own")
    found = report_of(tmp_path / "r.json")
    assert (found["verdict"]["headline"], found["plan"], found["files"]) == ("Nothing was copied.", None, [])
    assert sorted(os.listdir(tmp_path)) == ["CARD", "r.json"]


def test_report_in_a_folder_that_a_refused_run_does_not_make_is_a_warning(tmp_path: Path, card: Path) -> None:
    done = run("--report", "a/r.json", "--expect-size", "5", "CARD", "a", cwd=tmp_path)
    assert done.returncode == 2
    assert "warning: the report a/r.json was not written: No such file or directory" in done.stderr
    assert os.listdir(tmp_path) == ["CARD"]


def test_report_beside_the_card_is_there_although_the_run_had_to_make_the_folder(tmp_path: Path, card: Path) -> None:
    assert run("--report", "new/day1/r.json", "CARD", "new/day1", cwd=tmp_path).returncode == 0
    assert sorted(os.listdir(tmp_path / "new/day1")) == ["CARD", "r.json"]
    assert run("--report", "new/day1/r.json", "CARD", "new/day1", cwd=tmp_path).returncode == 0
    found = report_of(tmp_path / "new/day1/r.json")
    assert found["destinations"][0]["state"] == "identical"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_has_a_report(tmp_path: Path, number: signal.Signals) -> None:
    make_file(tmp_path / "s", 20_000_000)
    process = start("--bwlimit", "2M", "-b", "100000", "--report", "r.json", "s", "a/", cwd=tmp_path)
    until = time.monotonic() + 10
    while not partials(tmp_path / "a") and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate(timeout=10)
    assert process.returncode == 128 + number
    found = report_of(tmp_path / "r.json")
    assert found["summary"]["exit_code"] == 128 + number
    assert found["verdict"]["headline"] == "Stopped before the end."


def test_run_whose_worker_was_killed_has_a_report(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 20_000_000)
    process = start("--bwlimit", "2M", "-b", "100000", "--report", "r.json", "s", "a/", cwd=tmp_path)
    until = time.monotonic() + 10
    while not partials(tmp_path / "a") and time.monotonic() < until:
        time.sleep(0.02)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
    if children.returncode != 0:
        process.kill()
        process.communicate()
        pytest.skip("no pgrep here")
    os.kill(int(children.stdout.split()[0]), signal.SIGKILL)  # the first one; the second one writes the report
    process.communicate(timeout=10)
    assert process.returncode == 1
    found = report_of(tmp_path / "r.json")
    assert "killed by signal 9" in found["errors"][0]["message"]
    assert found["verdict"]["headline"] == "Nothing is safe."
    assert run("-q", "s", "a/", cwd=tmp_path).returncode == 0


def test_report_is_there_before_the_command_that_may_send_it(tmp_path: Path, card: Path) -> None:
    done = run("--report", "r.csv", "--on-finish", "cp r.csv sent.csv", "CARD", "a", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "sent.csv").read_bytes() == (tmp_path / "r.csv").read_bytes()


def test_full_disk_under_the_report_is_a_warning_and_the_copy_is_good(tmp_path: Path, card: Path) -> None:
    needs_namespace()
    done = in_namespace(
        f"mkdir m && mount -t tmpfs -o size=8k t m && '{PROGRAM}' --report m/r.json CARD a; echo $?; ls -A m", tmp_path
    )
    assert "a: verified, 32 files" in done.stdout
    assert done.stdout.splitlines()[1:] == ["0"], "nothing is left where there was no room"
    assert "warning: the report m/r.json was not written: No space left on device (ENOSPC)" in done.stderr


@pytest.mark.kernel
def test_volume_that_hangs_under_the_report_does_not_hold_the_command(tmp_path: Path) -> None:
    needs_loop()
    make_file(tmp_path / "CARD/clip.mov", 6_000_000)
    done = in_namespace(
        "truncate -s 30M i && mkfs.ext4 -qF i && mkdir v && mount -o loop i v || exit 99;"
        " ( sleep 1; fsfreeze -f v ) &"
        f" timeout 40 '{PROGRAM}' --bwlimit 2M --stall-timeout 2 --report v/r.json --report r.csv CARD a; echo $?;"
        " fsfreeze -u v; sleep 1; ls -A v; umount v",
        tmp_path,
    )
    assert done.returncode != 99, done.stderr
    assert done.stdout.splitlines()[1:2] == ["0"], (done.stdout, done.stderr)
    assert "the report v/r.json was not written: nothing answers there" in done.stderr
    assert "a: verified, 1 file" in done.stdout


def test_no_room_for_notes_is_a_warning_and_the_copy_is_good(tmp_path: Path) -> None:
    needs_namespace()
    for number in range(400):
        make_file(tmp_path / f"CARD/{'n' * 100}{number}", 10)
    done = in_namespace(
        f"mkdir m && mount -t tmpfs -o size=16k t m && TMPDIR=$PWD/m '{PROGRAM}' --report r.json CARD a; echo $?",
        tmp_path,
    )
    assert done.stdout.endswith("\n0\n")
    assert done.stderr.count("notes") == 1, done.stderr
    assert not (tmp_path / "r.json").exists()
    assert sum(path.is_file() for path in (tmp_path / "a/CARD").iterdir()) == 400


def test_events_are_those_of_the_schema_also_with_a_report(tmp_path: Path, card: Path) -> None:
    done = run("--json", "--report", "r.json", "CARD", "a", "b", cwd=tmp_path)
    kinds = [event["event"] for event in events_of(done.stdout)]
    assert (kinds[0], kinds[1], kinds[-1]) == ("start", "plan", "summary")
    assert set(kinds) <= {"start", "plan", "progress", "file", "warning", "summary"}


def test_command_without_a_report_loads_nothing_of_it(tmp_path: Path, card: Path) -> None:
    code = (
        "import sys, os; from pfndispatchcopy.cli import main;"
        "code = main.main(sys.argv[1:]);"
        "loaded = [name for name in sys.modules if name.split('.')[0] in ('jinja2', 'tempfile', 'platform')"
        " or name.startswith(('pfndispatchcopy.report', 'pfndispatchcopy.cli.reports'))];"
        "print(loaded, file=sys.stderr); os._exit(code)"
    )
    for arguments in (["--version"], ["-q", "CARD", "a"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
            env=environment(),
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == "[]\n"


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_many_files_cost_little_memory(tmp_path: Path) -> None:
    for number in range(20_000):
        path = tmp_path / f"CARD/{number // 1000:02}/IMG_{number:06}.JPG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    reports = [word for kind in ("json", "csv") for word in ("--report", f"{tmp_path}/r.{kind}")]
    plain = peak_memory_bytes("-q", tmp_path / "CARD", tmp_path / "x")
    shutil.rmtree(tmp_path / "x")
    reported = peak_memory_bytes("-q", *reports, tmp_path / "CARD", tmp_path / "x")
    assert reported <= plain + 30 * MIB
    assert len(report_of(tmp_path / "r.json")["files"]) == 20_000
