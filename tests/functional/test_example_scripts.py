"""The shell scripts among the examples: what they copy, what they say, and what they end with."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import PROGRAM
from tests.support.files import make_file, partials
from tests.support.mounts import in_namespace, needs_namespace
from tests.support.scripts import Script, content_of, ended, make_stub, other_volume, stop, wait_for

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
OFFLOAD = EXAMPLES / "offload_card.sh"
BACKUP = EXAMPLES / "nightly_backup.sh"
PERMISSION = "the card may be formatted"
# Three files of 5 MB, one after the other: the first is complete two seconds before the last.
SLOW = 'bwlimit = "5M"\njobs = 1\n'

pytestmark = pytest.mark.skipif(os.name == "nt", reason="scripts for a POSIX shell")


def inodes(*folders: Path) -> dict[Path, int]:
    return {
        path: path.stat().st_ino
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".pfn.")
    }


def make_large(folder: Path) -> dict[str, bytes]:
    for number in range(3):
        make_file(folder / f"clip{number}.mov", 5_000_000, seed=number)
    return content_of(folder)


# -- offload_card.sh --------------------------------------------------------------------------------------


@pytest.fixture
def offload(tmp_path: Path) -> Script:
    """The script, a card with system files on it, and two disks."""
    make_file(tmp_path / "A001" / "DCIM" / "clip é.mov", 300_000)
    make_file(tmp_path / "A001" / "notes.txt", 0)
    for disk in ("raid", "shuttle"):
        (tmp_path / disk).mkdir()
    return Script(
        OFFLOAD,
        tmp_path,
        PATH=os.defpath,
        PFNDISPATCHCOPY=PROGRAM,
        OFFLOAD_DAY="2026-11-25",
        OFFLOAD_LOG_DIR=str(tmp_path / "logs"),
    )


def test_offloaded_card_may_be_formatted_and_is_not_copied_twice(offload: Script, tmp_path: Path) -> None:
    card = content_of(tmp_path / "A001")
    make_file(tmp_path / "A001" / ".DS_Store", 100)
    copies = [tmp_path / disk / "2026-11-25" / "A001" for disk in ("raid", "shuttle")]

    first = offload.run("A001", "raid", "shuttle")
    assert first.returncode == 0, first.stderr
    assert first.stdout.count(": verified, 2 files, 300000 bytes") == 2
    assert PERMISSION in first.stdout
    assert [content_of(copy) for copy in copies] == [card, card]
    there = inodes(*copies)

    # A name that the shell has completed, and a reader that is to be tested: still the same copy.
    again = offload.run("A001/", "raid/", tmp_path / "shuttle", OFFLOAD_VERIFY_SOURCE="per-file")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count(": identical, 2 files, 300000 bytes") == 2
    assert PERMISSION in again.stdout
    assert inodes(*copies) == there
    log = (tmp_path / "logs" / "2026-11-25-A001.log").read_text()
    assert log.count("end: exit code 0") == 2
    assert log.count("left out: ") == 2


def test_offload_goes_into_the_folder_of_today(offload: Script, tmp_path: Path) -> None:
    days = [time.strftime("%Y-%m-%d")]
    done = offload.run("A001", "raid", OFFLOAD_DAY="")
    days.append(time.strftime("%Y-%m-%d"))
    assert done.returncode == 0, done.stderr
    assert [day.name for day in (tmp_path / "raid").iterdir()] in [[day] for day in days]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("A001",), "usage: "),
        (("nothing", "raid"), "there is no card nothing"),
        (("unmounted", "raid"), "is empty: is the card mounted?"),
        (("/", "raid"), "/ is no card"),
        (("A001", "raid", "missing"), "there is no folder missing: is the disk mounted?"),
    ],
)
def test_offload_that_cannot_be_meant_is_refused(
    offload: Script, tmp_path: Path, arguments: tuple[str, ...], reason: str
) -> None:
    (tmp_path / "unmounted").mkdir()
    done = offload.run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr
    assert "do not format the card" in done.stderr
    assert list((tmp_path / "raid").iterdir()) == []
    assert not (tmp_path / "missing").exists()


def test_offload_without_the_program_is_refused(offload: Script) -> None:
    done = offload.run("A001", "raid", PFNDISPATCHCOPY="./missing")
    assert done.returncode == 2
    assert "there is no program ./missing" in done.stderr


def test_offload_knows_nothing_of_the_users_configuration(offload: Script, tmp_path: Path) -> None:
    own = tmp_path / "home" / ".config" / "pfndispatchcopy" / "config.toml"
    own.parent.mkdir(parents=True)
    own.write_text('exclude = ["*.mov"]\nverify = "none"\n')
    done = offload.run("A001", "raid", HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert ": verified, 2 files, 300000 bytes" in done.stdout


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, PERMISSION),
        (1, "FAILED (exit code 1)"),
        (2, "Refused"),
        (3, "INCOMPLETE"),
        (4, "BYTES DIFFER"),
        (129, "Interrupted"),
        (130, "Interrupted"),
        (143, "Interrupted"),
        (137, "FAILED (exit code 137)"),
    ],
)
def test_offload_permits_formatting_after_exit_code_zero_only(
    offload: Script, tmp_path: Path, code: int, words: str
) -> None:
    done = offload.run("A001", "raid", PFNDISPATCHCOPY=make_stub(tmp_path / "stub", f"exit {code}"))
    assert done.returncode == code
    assert words in done.stdout + done.stderr
    assert (PERMISSION in done.stdout + done.stderr) == (code == 0)
    assert ("Do not format the card." in done.stderr) == (code != 0)


def test_offload_names_the_disk_that_is_incomplete(offload: Script, tmp_path: Path) -> None:
    needs_namespace()
    run = f"sh '{OFFLOAD}' A001 raid shuttle"
    done = in_namespace(
        f"export PFNDISPATCHCOPY='{PROGRAM}' PFNDISPATCHCOPY_CONFIG=/dev/null OFFLOAD_DAY=today OFFLOAD_LOG_DIR=logs\n"
        "mount -t tmpfs t shuttle && mount -o remount,bind,ro shuttle || exit 99\n"
        f"{run}; echo $?; mount -o remount,bind,rw shuttle; {run} 2>&1; echo $?;"
        " diff -r A001 shuttle/today/A001 && echo same",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    first, verdict, second = done.stdout.partition("\n3\n")
    assert verdict, done
    assert PERMISSION not in first
    assert "INCOMPLETE. Do not format the card. Not everything is on:\nshuttle/today: failed, " in done.stderr
    assert "\nraid/today: " not in done.stderr
    assert "raid/today: identical" in second
    assert "shuttle/today: verified" in second
    assert second.endswith("\n0\nsame\n")
    assert content_of(tmp_path / "raid" / "today" / "A001") == content_of(tmp_path / "A001")


def test_offload_to_a_disk_that_is_too_small_is_refused(offload: Script, tmp_path: Path) -> None:
    needs_namespace()
    done = in_namespace(
        f"export PFNDISPATCHCOPY='{PROGRAM}' PFNDISPATCHCOPY_CONFIG=/dev/null OFFLOAD_DAY=today OFFLOAD_LOG_DIR=logs\n"
        f"mount -t tmpfs -o size=100k t shuttle || exit 99; sh '{OFFLOAD}' A001 raid shuttle",
        tmp_path,
    )
    assert done.returncode == 2, done
    assert "not enough space" in done.stderr
    assert "Refused before anything was copied" in done.stderr
    assert not content_of(tmp_path / "raid")


def test_offload_leaves_what_another_card_of_that_name_has_brought(offload: Script, tmp_path: Path) -> None:
    other = make_file(tmp_path / "raid" / "2026-11-25" / "A001" / "DCIM" / "clip é.mov", 300_000, seed=2)
    done = offload.run("A001", "raid", "shuttle")
    assert done.returncode == 3
    assert "different content is there already" in done.stderr
    assert "Not everything is on:\nraid/2026-11-25: failed, 1 file, 1 failed, " in done.stderr
    assert (tmp_path / "raid" / "2026-11-25" / "A001" / "DCIM" / "clip é.mov").read_bytes() == other
    assert content_of(tmp_path / "shuttle" / "2026-11-25" / "A001") == content_of(tmp_path / "A001")
    elsewhere = offload.run("A001", "raid", "shuttle", OFFLOAD_DAY="2026-11-25-b")
    assert elsewhere.returncode == 0, elsewhere.stderr
    (tmp_path / "raid" / "2026-11-25" / "A001" / "DCIM" / "clip é.mov").unlink()
    assert offload.run("A001", "raid", "shuttle").returncode == 0


def test_interrupted_offload_is_completed_by_the_next_one(offload: Script, tmp_path: Path) -> None:
    card = make_large(tmp_path / "A002")
    (tmp_path / "slow.toml").write_text(SLOW)
    copies = [tmp_path / disk / "2026-11-25" / "A002" for disk in ("raid", "shuttle")]

    process = offload.start("A002", "raid", "shuttle", PFNDISPATCHCOPY_CONFIG="slow.toml")
    wait_for(lambda: all(inodes(copy) for copy in copies), process)
    done = stop(process, signal.SIGINT)
    assert done.returncode == 130, done
    assert "Interrupted. Do not format the card. Run it again with OFFLOAD_DAY=2026-11-25" in done.stderr
    assert PERMISSION not in done.stdout
    there = inodes(*copies)
    assert 2 <= len(there) < 2 * len(card)

    again = offload.run("A002", "raid", "shuttle")
    assert again.returncode == 0, again.stderr
    assert PERMISSION in again.stdout
    assert [content_of(copy) for copy in copies] == [card, card]
    assert there.items() <= inodes(*copies).items()


def test_second_offload_of_the_same_card_is_refused_while_the_first_runs(offload: Script, tmp_path: Path) -> None:
    make_large(tmp_path / "A002")
    (tmp_path / "slow.toml").write_text(SLOW)
    first = offload.start("A002", "raid", PFNDISPATCHCOPY_CONFIG="slow.toml")
    wait_for(lambda: partials(tmp_path / "raid"), first)
    second = offload.run("A002", "raid", "shuttle")
    assert second.returncode == 2
    assert "another run is writing A002: process " in second.stderr
    assert "Refused before anything was copied" in second.stderr
    assert ended(first).returncode == 0
    assert content_of(tmp_path / "raid" / "2026-11-25" / "A002") == content_of(tmp_path / "A002")


# -- nightly_backup.sh ------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that ``--require-mount`` accepts."""
    with other_volume(tmp_path) as folder:
        yield folder


@pytest.fixture
def backup(tmp_path: Path) -> Script:
    """The script as cron runs it, and something to be backed up."""
    make_file(tmp_path / "films" / "1" / "café.mov", 300_000)
    make_file(tmp_path / "films" / "notes.txt", 1000)
    return Script(
        BACKUP,
        tmp_path,
        PATH="/usr/bin:/bin",
        PFNDISPATCHCOPY=PROGRAM,
        BACKUP_LOG=str(tmp_path / "backup.log"),
        BACKUP_PAUSE="0",
    )


def require_silence(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def require_one_line(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    for each in words:
        assert each in done.stderr


def test_good_backup_is_silent_and_is_not_copied_twice(backup: Script, tmp_path: Path, disk: Path) -> None:
    require_silence(backup.run(tmp_path / "films", disk))
    assert content_of(disk / "films") == content_of(tmp_path / "films")
    there = inodes(disk)
    require_silence(backup.run(tmp_path / "films", disk))
    assert inodes(disk) == there
    assert (tmp_path / "backup.log").read_text().count("end: exit code 0") == 2


def test_backup_keeps_the_older_copy_of_a_changed_file(backup: Script, tmp_path: Path, disk: Path) -> None:
    old = (tmp_path / "films" / "notes.txt").read_bytes()
    require_silence(backup.run(tmp_path / "films", disk))
    new = make_file(tmp_path / "films" / "notes.txt", 1500, seed=2)
    for _ in range(2):  # its own copy is recognised on the second night
        require_silence(backup.run(tmp_path / "films", disk))
        assert sorted(path.name for path in disk.rglob("notes*")) == ["notes 2.txt", "notes.txt"]
    assert (disk / "films" / "notes.txt").read_bytes() == old
    assert (disk / "films" / "notes 2.txt").read_bytes() == new


def test_backup_to_a_disk_that_is_not_mounted_is_refused(backup: Script, tmp_path: Path) -> None:
    unmounted = tmp_path / "unmounted"
    unmounted.mkdir()
    if unmounted.stat().st_dev != Path("/").stat().st_dev:
        pytest.skip("temporary files are on a volume of their own here")
    done = backup.run(tmp_path / "films", unmounted)
    require_one_line(
        done, 2, "refused (exit code 2)", "not on a mounted volume of its own", str(tmp_path / "backup.log")
    )
    assert list(unmounted.iterdir()) == []


def test_backup_with_a_disk_that_cannot_be_written_tries_twice_and_tells(backup: Script, tmp_path: Path) -> None:
    needs_namespace()
    done = in_namespace(
        "mkdir a b && mount -t tmpfs t a && mount -t tmpfs -o ro t b || exit 99\n"
        f"env -i PATH=/usr/bin:/bin PFNDISPATCHCOPY='{PROGRAM}' BACKUP_LOG=backup.log BACKUP_PAUSE=0"
        f" sh '{BACKUP}' films a b; code=$?; diff -r films a/films >&2; exit $code",
        tmp_path,
    )
    require_one_line(done, 3, "nightly backup of films: incomplete (exit code 3): b: ", "(EROFS)")
    assert (tmp_path / "backup.log").read_text().count("INFO start: ") == 2


def test_backup_that_succeeds_at_the_second_attempt_is_silent(backup: Script, tmp_path: Path, disk: Path) -> None:
    stub = make_stub(tmp_path / "stub", f"'{PROGRAM}' \"$@\" || exit\n[ -e tried ] || {{ : >tried; exit 3; }}")
    require_silence(backup.run(tmp_path / "films", disk, PFNDISPATCHCOPY=stub))
    assert (tmp_path / "tried").exists()
    assert content_of(disk / "films") == content_of(tmp_path / "films")


@pytest.mark.parametrize(
    ("code", "verdict", "attempts"),
    [(1, "failed", 1), (3, "incomplete", 2), (4, "BYTES DIFFER", 1), (127, "failed", 1)],
)
def test_backup_tells_in_one_line_what_went_wrong(
    backup: Script, tmp_path: Path, code: int, verdict: str, attempts: int
) -> None:
    words = "pfndispatchcopy: warning: dull\npfndispatchcopy: error: the cause\npfndispatchcopy: error: what follows\n"
    stub = make_stub(tmp_path / "stub", f"echo >>attempts; printf '{words}' >&2; exit {code}")
    done = backup.run("films", "disk", PFNDISPATCHCOPY=stub)
    require_one_line(done, code, f"nightly backup of films: {verdict}", f"(exit code {code}): the cause; log: ")
    assert (tmp_path / "attempts").read_text().count("\n") == attempts


def test_night_that_meets_the_night_before_is_refused(backup: Script, tmp_path: Path, disk: Path) -> None:
    large = make_large(tmp_path / "large")
    (tmp_path / "slow.toml").write_text(SLOW)
    first = backup.start(tmp_path / "large", disk, PFNDISPATCHCOPY_CONFIG="slow.toml")
    wait_for(lambda: partials(disk), first)
    second = backup.run(tmp_path / "large", disk)
    require_one_line(second, 2, "refused (exit code 2)", "another run is writing large: process ")
    require_silence(ended(first))
    assert content_of(disk / "large") == large


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_backup_is_completed_by_the_next_night(
    backup: Script, tmp_path: Path, disk: Path, number: signal.Signals, code: int
) -> None:
    large = make_large(tmp_path / "large")
    (tmp_path / "slow.toml").write_text(SLOW)
    process = backup.start(tmp_path / "large", disk, PFNDISPATCHCOPY_CONFIG="slow.toml")
    wait_for(lambda: inodes(disk), process)
    require_one_line(stop(process, number), code, f"interrupted, the next run completes it (exit code {code}): ")
    there = inodes(disk)
    assert 1 <= len(there) < len(large)
    require_silence(backup.run(tmp_path / "large", disk))
    assert content_of(disk / "large") == large
    assert there.items() <= inodes(disk).items()


def test_backup_finds_the_program_in_the_path_and_beside_its_folder(backup: Script, tmp_path: Path, disk: Path) -> None:
    del backup.environment["PFNDISPATCHCOPY"]
    in_path = f"{Path(PROGRAM).parent}:/usr/bin:/bin"
    require_silence(backup.run(tmp_path / "films", disk, PATH=in_path))

    if shutil.which("pfndispatchcopy", path=backup.environment["PATH"]):
        pytest.skip("the program is in cron's PATH here")
    clone = tmp_path / "clone"
    (clone / "examples").mkdir(parents=True)
    backup.path = Path(shutil.copy(BACKUP, clone / "examples"))
    require_one_line(backup.run(tmp_path / "films", disk), 2, "there is no program ", ".venv/bin/pfndispatchcopy")
    (clone / ".venv").mkdir()
    (clone / ".venv" / "bin").symlink_to(Path(PROGRAM).parent)
    require_silence(backup.run(tmp_path / "films", disk))


def test_backup_without_arguments_or_log_is_refused(backup: Script, tmp_path: Path, disk: Path) -> None:
    require_one_line(backup.run(tmp_path / "films"), 2, "usage: nightly_backup.sh SOURCE DESTINATION...")
    missing = str(tmp_path / "missing" / "backup.log")
    done = backup.run(tmp_path / "films", disk, BACKUP_LOG=missing)
    require_one_line(done, 2, "refused (exit code 2)", f"{missing}: the log cannot be opened")
    assert list(disk.iterdir()) == []
