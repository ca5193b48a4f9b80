"""The installed command, as people and scripts call it."""

import os
import re
import stat
from pathlib import Path

import pytest
import xxhash

from tests.support.command import events_of, peak_memory_bytes, run
from tests.support.files import make_file, partials


def test_summary_has_one_line_for_each_destination_with_its_digest(tmp_path: Path) -> None:
    data = make_file(tmp_path / "clip.mov", 2_000_000)
    done = run("clip.mov", "a/", "b/renamed.mov", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    digest = xxhash.xxh64_hexdigest(data)
    pattern = r": verified, 1 file, 2000000 bytes, [\d.]+ MB/s, xxh64be:"
    assert re.fullmatch(re.escape("a/clip.mov") + pattern + digest, first)
    assert re.fullmatch(re.escape("b/renamed.mov") + pattern + digest, second)
    assert (tmp_path / "a/clip.mov").read_bytes() == data == (tmp_path / "b/renamed.mov").read_bytes()


def test_existing_folder_takes_the_file_under_its_own_name(tmp_path: Path) -> None:
    make_file(tmp_path / "clip.mov", 1000)
    (tmp_path / "there").mkdir()
    assert run("clip.mov", "there", "new/deep/er/name", cwd=tmp_path).returncode == 0
    assert (tmp_path / "there/clip.mov").exists()
    assert (tmp_path / "new/deep/er/name").exists()


def test_run_again_finds_identical_files_and_rewrites_nothing(tmp_path: Path) -> None:
    make_file(tmp_path / "clip.mov", 1_000_000)
    run("clip.mov", "a/", cwd=tmp_path)
    before = (tmp_path / "a/clip.mov").stat()
    done = run("clip.mov", "a/", cwd=tmp_path)
    after = (tmp_path / "a/clip.mov").stat()
    assert done.returncode == 0
    assert ": identical," in done.stdout
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-v", "-t", "xxh64be", "-b", "8388608", "-f_size", "3000000", "-k", "-noflush_dest", "y/", "s", "x/", "y/"],
        ["s", "x/", "-k", "-noflush_dest", "y/", "y/", "-b", "8388608", "-f_size", "3000000", "-v", "-t", "xxh64be"],
        ["s", "-d", "x/", "--dest", "y/", "-noflush_dest", "y/", "--expect-size=3000000", "--verbose"],
    ],
)
def test_historic_spelling_gives_the_historic_lines(tmp_path: Path, arguments: list[str]) -> None:
    data = make_file(tmp_path / "s", 3_000_000)
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert lines[0] == "INFO: copying s..."
    assert lines[-1] == "INFO: done."
    assert f"INFO: hash XXH64BE:{xxhash.xxh64_hexdigest(data)}" in lines
    assert "INFO: copied 3000000 of 3000000 bytes (100%)" in lines
    assert any(re.fullmatch(r"INFO: copy speed 3000000 bytes in [\d.]+ sec \([\d.]+ MB/sec\)", line) for line in lines)
    assert "y/s: copied," in done.stdout
    assert "x/s: verified," in done.stdout


def test_verbose_progress_comes_about_twice_a_second(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 4_000_000)
    done = run("-v", "--bwlimit", "2M", "-b", "100000", "s", "x/", cwd=tmp_path)
    steps = re.findall(r"INFO: copied (\d+) of 4000000 bytes \((\d+)%\)", done.stderr)
    assert 3 <= len(steps) <= 6
    assert [int(number) for number, _ in steps] == sorted(int(number) for number, _ in steps)


def test_standard_input_goes_to_every_destination(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    done = run("-", "a/stream", "b/stream", "-v", cwd=tmp_path, stdin=data)
    assert done.returncode == 0
    assert (tmp_path / "a/stream").read_bytes() == data == (tmp_path / "b/stream").read_bytes()
    assert "INFO: copied 3000000 bytes\n" in done.stderr


def test_events_follow_the_schema_and_end_with_a_summary(tmp_path: Path) -> None:
    make_file(tmp_path / "clip.mov", 5_000_000)
    done = run("--json", "-t", "xxh64,md5", "-t", "c4", "--bwlimit", "10M", "clip.mov", "a/", "b/", cwd=tmp_path)
    events = events_of(done.stdout)
    kinds = [event["event"] for event in events]
    assert kinds[:2] == ["start", "plan"]
    assert kinds[-2:] == ["file", "summary"]
    assert set(kinds[2:-2]) == {"progress"}
    assert list(events[-2]["hashes"]) == ["xxh64be", "md5", "c4"]
    assert events[-1]["ok"] is True
    assert [each["state"] for each in events[-1]["destinations"]] == ["verified", "verified"]
    assert [each["path"] for each in events[-1]["destinations"]] == ["a/", "b/"]


def test_progress_comes_at_most_ten_times_a_second(tmp_path: Path) -> None:
    make_file(tmp_path / "clip.mov", 3_000_000)
    done = run("--json", "--bwlimit", "2M", "-b", "50000", "clip.mov", "a/", "b/", cwd=tmp_path)
    times = [event["time"] for event in events_of(done.stdout) if event["event"] == "progress"]
    seconds = [float(each[17:-1]) + 60 * int(each[14:16]) for each in times]
    assert len(seconds) > 5
    for first, eleventh in zip(seconds, seconds[10:], strict=False):
        assert (eleventh - first) % 3600 >= 1.0


def test_quiet_prints_nothing_at_all(tmp_path: Path) -> None:
    make_file(tmp_path / "clip.mov", 1000)
    done = run("-q", "clip.mov", "a/", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_dry_run_tells_the_plan_and_writes_nothing(tmp_path: Path) -> None:
    make_file(tmp_path / "clip.mov", 20_000_000)
    done = run("-n", "clip.mov", "a/", "b/", cwd=tmp_path)
    assert done.returncode == 0
    for word in ("plan: 1 file, 20000000 bytes", "free", "strategy: parallel (", "chunk size", "memory bound"):
        assert word in done.stdout
    assert sorted(os.listdir(tmp_path)) == ["clip.mov"]
    events = events_of(run("-n", "--json", "clip.mov", "a/", cwd=tmp_path).stdout)
    assert [event["event"] for event in events] == ["start", "plan", "summary"]
    assert (events[-1]["ok"], events[-1]["files"], events[-1]["bytes"]) == (True, 0, 0)


def test_mode_and_times_are_kept_and_special_bits_are_not(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 10)
    os.chmod(tmp_path / "s", 0o4751)
    os.utime(tmp_path / "s", ns=(10**18, 10**18 + 123_456_789))
    assert run("s", "a/", cwd=tmp_path).returncode == 0
    status = (tmp_path / "a/s").stat()
    assert stat.S_IMODE(status.st_mode) == 0o751
    assert status.st_mtime_ns == 10**18 + 123_456_789


@pytest.mark.fault(78)
def test_names_of_any_kind_are_copied_and_shown_escaped(tmp_path: Path) -> None:
    name = b"x\n\x1b[31m\xff\xe2\x80\xae" + b"n" * 240
    (tmp_path / os.fsdecode(name)).write_bytes(b"data")
    done = run(os.fsdecode(name), "a/", cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "a" / os.fsdecode(name)).read_bytes() == b"data"
    assert done.stdout.startswith("a/x\\n\\x1b[31m\\xff\\u202ennn")
    assert len(done.stdout.splitlines()) == 1
    events = events_of(run("--json", os.fsdecode(name), "a/", cwd=tmp_path).stdout)
    file = next(event for event in events if event["event"] == "file")
    assert "\N{REPLACEMENT CHARACTER}" in file["path"]
    assert "path_b64" in file


def test_on_finish_gets_the_summary_on_its_standard_input(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 10)
    done = run("--on-finish", "cat > summary.json; exit 3", "s", "a/", cwd=tmp_path)
    assert done.returncode == 0
    assert "warning: the --on-finish command ended with 3" in done.stderr
    (summary,) = events_of((tmp_path / "summary.json").read_text())
    assert summary["event"] == "summary"


def test_log_file_is_appended_to_with_a_time_on_each_line(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 10)
    for _ in range(2):
        assert run("--log-file", "run.log", "s", "a/", cwd=tmp_path).returncode == 0
    lines = (tmp_path / "run.log").read_text().splitlines()
    assert len(lines) == 8
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z pfndispatchcopy\[\d+\] INFO ", line) for line in lines)


def test_memory_stays_bounded_with_many_destinations(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 40_000_000)
    one = peak_memory_bytes("-q", tmp_path / "s", tmp_path / "x0/")
    twelve = peak_memory_bytes("-q", tmp_path / "s", *(f"{tmp_path}/d{number}/" for number in range(12)))
    assert twelve <= 90 * 2**20
    assert twelve - one <= 16 * 2**20


def test_nothing_temporary_is_left(tmp_path: Path) -> None:
    make_file(tmp_path / "s", 1_000_000)
    run("s", "a/", "b/", cwd=tmp_path)
    assert partials(tmp_path) == []
