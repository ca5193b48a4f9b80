"""What people get wrong most often, and every word that they are told: what, where, in what state, what next."""

import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.command import PROGRAM, run, start
from tests.support.files import make_file, partials
from tests.support.mounts import in_namespace, needs_namespace


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A card and a file, a disk with other things of those names on it, and an empty folder."""
    make_file(tmp_path / "card/a.mov", 1000)
    make_file(tmp_path / "card/sub/b.mov", 100)
    make_file(tmp_path / "clip.mov", 1000)
    make_file(tmp_path / "disk/clip.mov", 500, seed=2)
    make_file(tmp_path / "disk/card/a.mov", 500, seed=2)
    (tmp_path / "unmounted").mkdir()
    (tmp_path / "raid").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(text: str) -> str:
    """What a run said on standard error, without the name of the program."""
    return re.sub(r"^pfndispatchcopy: ", "", text, flags=re.MULTILINE).rstrip("\n")


class Mistake(NamedTuple):
    """A command line, all that is said about it, and the exit code."""

    line: str
    message: str
    code: int


def read_mistakes(text: str) -> dict[str, Mistake]:
    """Read a list of them, each as people would see it; where a message is wrapped, one space was."""
    found = {}
    for block in text.strip().split("\n\n"):
        name, line, *message, code = block.splitlines()
        said = " ".join(each.strip() for each in message)
        found[name] = Mistake(line.removeprefix("$ pfndispatchcopy"), said, int(code.removeprefix("  -> ")))
    return found


MISTAKES = read_mistakes("""
a name with a slip
$ pfndispatchcopy cilp.mov raid
  error: cilp.mov: cannot open the source: No such file or directory; did you mean clip.mov? Nothing was
  written
  -> 2

a card that is not there
$ pfndispatchcopy /media/nowhere/B007 raid
  error: /media/nowhere/B007: cannot open the source: No such file or directory. Check the name, and whether
  the card is mounted; nothing was written
  -> 2

a card that is not mounted
$ pfndispatchcopy unmounted raid
  warning: unmounted: there is nothing to copy: is the card mounted?
  -> 0

a file with a slash behind it
$ pfndispatchcopy clip.mov/ raid
  error: clip.mov/: cannot open the source: Not a directory. It is a file, or a file stands where a folder is
  meant; nothing was written
  -> 2

no destination
$ pfndispatchcopy card
  error: card is the only path: a SOURCE and at least one DESTINATION are needed (see --help); nothing was
  written
  -> 2

nothing at all
$ pfndispatchcopy
  error: a SOURCE and at least one DESTINATION are needed (see --help); nothing was written
  -> 2

only destinations
$ pfndispatchcopy -d raid
  error: there are only destinations (-d): at least one SOURCE is needed (see --help); nothing was written
  -> 2

a file onto itself
$ pfndispatchcopy clip.mov .
  error: ./clip.mov: source and destination are the same file; nothing was written
  -> 2

a card into itself
$ pfndispatchcopy card card/copy
  error: card/copy: the destination is inside the source card; nothing was written
  -> 2

the copy given as the source
$ pfndispatchcopy disk/card disk
  error: disk: the source disk/card and its copy there are the same; nothing was written
  -> 2

one disk twice
$ pfndispatchcopy card raid ./raid/
  error: raid and ./raid/ are the same destination; nothing was written
  -> 2

a file where a folder is needed
$ pfndispatchcopy card clip.mov
  error: clip.mov: stat failed: Not a directory (ENOTDIR). Nothing was written there. A file stands where a
  folder is needed: choose another destination.
  -> 2

a name that is taken
$ pfndispatchcopy clip.mov disk
  error: disk/clip.mov: another file with different content is there already; it was left as it is. Nothing of
  the copy was left behind. --on-conflict skip, overwrite or rename says what else to do
  -> 1

a name that is taken on the card
$ pfndispatchcopy card disk
  error: disk/card/a.mov: another file with different content is there already; it was left as it is. Nothing
  of the copy was left behind. --on-conflict skip, overwrite or rename says what else to do
  -> 3

an option with a slip
$ pfndispatchcopy --verifi none card raid
  error: there is no option --verifi; did you mean --verify? (see --help); nothing was written
  -> 2

an option that there is not
$ pfndispatchcopy --frobnicate card raid
  error: there is no option --frobnicate (see --help); nothing was written
  -> 2

a value that there is not
$ pfndispatchcopy --on-conflict replace card raid
  error: argument --on-conflict: invalid choice: 'replace' (choose from 'error', 'skip', 'overwrite',
  'rename'); nothing was written
  -> 2

a size that is none
$ pfndispatchcopy -b 8X card raid
  error: argument -b/--buffer-size: '8X' is not a size; write bytes, or a number with K, M, G, KiB, MiB or
  GiB; nothing was written
  -> 2

a digest that there is not
$ pfndispatchcopy -t crc32 card raid
  error: argument -t/--hash: unknown hash name 'crc32'; known are: xxh64be (= xxh64), xxh3, xxh128, md5, sha1,
  sha256, c4; nothing was written
  -> 2

options that contradict each other
$ pfndispatchcopy -q -v card raid
  error: --quiet and --verbose contradict each other; nothing was written
  -> 2

a preset without a configuration
$ pfndispatchcopy --preset card card raid
  error: --preset card: there is no configuration file: name one with --config, or make
  ~/.config/pfndispatchcopy/config.toml; nothing was written
  -> 2

a key with a slip
$ pfndispatchcopy --config slip.toml card raid
  error: slip.toml: unknown key 'exlude'; did you mean exclude? Nothing was written
  -> 2

a file of another size
$ pfndispatchcopy -f_size 5 clip.mov raid
  error: clip.mov: the source has 1000 bytes, 5 were expected; nothing was written
  -> 2

a log without a folder
$ pfndispatchcopy --log-file nowhere/run.log card raid
  error: nowhere/run.log: the log cannot be opened: No such file or directory; nothing was written
  -> 2

a log on the card
$ pfndispatchcopy --log-file card/run.log card raid
  error: card/run.log: the log would lie in card, which is being read: choose another place, or leave it out
  with --exclude; nothing was written
  -> 2

a list of files that is missing
$ pfndispatchcopy --files-from list.txt card raid
  error: --files-from list.txt: cannot be read: No such file or directory; nothing was written
  -> 2

a history of a single file
$ pfndispatchcopy --mhl asc clip.mov raid
  error: --mhl asc describes folders; for a single file there is --mhl legacy; nothing was written
  -> 2

a hash list that is missing
$ pfndispatchcopy --check raid/card.md5
  error: raid/card.md5: the list cannot be looked at: No such file or directory (ENOENT); check the name, and
  whether its disk is mounted
  -> 2

a folder without hash lists
$ pfndispatchcopy --check card
  error: card: there is no hash list in it: neither an ascmhl folder, nor a .mhl file, nor one that ends in
  .md5, .sha1, .sha256, .xxh64, .xxh3, .xxh128
  -> 2

nothing to be checked
$ pfndispatchcopy --check
  error: --check needs a hash list, or a folder with hash lists in it (see --help); nothing was checked
  -> 2

an option of copies when checking
$ pfndispatchcopy --check --on-conflict skip card
  error: --on-conflict makes no sense with --check, which copies nothing; nothing was checked
  -> 2
""")


@pytest.mark.skipif(sys.platform != "linux", reason="the system's reasons are Linux's")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_explained(folder: Path, mistake: str) -> None:
    line, message, code = MISTAKES[mistake]
    (folder / "slip.toml").write_text('exlude = ["*.tmp"]\n')
    before = sorted(folder.rglob("*"))
    done = run(*shlex.split(line), cwd=folder)
    # Newer versions of argparse name choices without quotes.
    assert (told(done.stderr).replace("'", ""), done.returncode) == (message.replace("'", ""), code)
    if code == 2:
        assert sorted(folder.rglob("*")) == before
    for path in folder.rglob(".pfn.*"):  # where a name is taken, the run can be gone on with
        path.unlink()


# -- what the system refuses ------------------------------------------------------------------------------


def _without_privileges() -> list[str]:
    """A command that takes from root what lets it read and write everything."""
    wrapper = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    probe = ["sh", "-c", "! cat secret 2>/dev/null"]
    Path("secret").write_text("x")
    Path("secret").chmod(0)
    for each in ([], wrapper):
        try:
            if subprocess.run([*each, *probe], capture_output=True, check=False).returncode == 0:
                return each
        except OSError:
            continue
    pytest.skip("no way here to do without the privileges of root (setpriv)")


FORBIDDEN = read_mistakes("""
a folder that is closed, for a file
$ pfndispatchcopy clip.mov closed
  error: closed/clip.mov: create failed: Permission denied (EACCES). Nothing was written there. Check who may
  write there.
  -> 2

a folder that is closed, for a card
$ pfndispatchcopy card closed
  error: closed: create failed: Permission denied (EACCES). Nothing was written there. Check who may write
  there.
  -> 2

a source that is closed
$ pfndispatchcopy secret raid
  error: secret: cannot open the source: Permission denied. Check who may read it; nothing was written
  -> 2

a card with a file that is closed
$ pfndispatchcopy mixed raid
  error: mixed/a.mov: open failed: Permission denied (EACCES). No destination got this file. Check who may
  read it.
  -> 3
""")


@pytest.mark.parametrize("mistake", FORBIDDEN)
def test_missing_permission_is_explained(folder: Path, mistake: str) -> None:
    line, message, code = FORBIDDEN[mistake]
    wrapper = _without_privileges()
    (folder / "closed").mkdir(mode=0o555)
    make_file(folder / "mixed/a.mov", 10)
    make_file(folder / "mixed/b.mov", 10)
    (folder / "mixed/a.mov").chmod(0)
    done = run(*line.split(), cwd=folder, wrapper=wrapper)
    assert (told(done.stderr), done.returncode) == (message, code)
    (folder / "mixed/a.mov").chmod(0o600)
    assert run("mixed", "raid", cwd=folder).returncode == 0


def test_disk_that_is_full_or_read_only_or_not_mounted_is_explained(folder: Path) -> None:
    needs_namespace()
    make_file(folder / "big", 200_000)
    tell = f"HOME=/nonexistent '{PROGRAM}'"
    done = in_namespace(
        "mount -t tmpfs -o size=64k t raid || exit 77\n"
        f"{tell} big raid; {tell} --require-mount big unmounted; {tell} --require-mount card unmounted\n"
        "mkdir big-card && mv big big-card\n"
        f"{tell} big-card raid; mount -o remount,ro raid; {tell} clip.mov raid",
        folder,
    )
    if done.returncode == 77:
        pytest.skip(f"no mounts here: {done.stderr}")
    lines = told(done.stderr).splitlines()
    space = "not enough space: 200.0 kB are needed, 65.5 kB are free: free some, or leave a destination out"
    mount = "not on a mounted volume of its own (--require-mount): mount its disk first; nothing was written"
    read_only = "Nothing was written there. The volume is read-only: check its switch and how it is mounted."
    expected = [
        f"error: raid/big: {space}; nothing was written",
        f"error: unmounted/big: {mount}",
        f"error: unmounted: {mount}",
        f"error: raid: {space}; nothing was written",
        f"error: raid/clip.mov: create failed: Read-only file system (EROFS). {read_only}",
    ]
    if folder.stat().st_dev != Path("/").stat().st_dev:  # then each folder here is on a volume of its own
        del expected[1:3], lines[1 : len(lines) - 2]
    assert lines == expected


# -- what other runs do -----------------------------------------------------------------------------------


def _wait_for(is_there: Callable[[], object]) -> None:
    until = time.monotonic() + 20
    while not is_there() and time.monotonic() < until:
        time.sleep(0.01)
    assert is_there()


@pytest.mark.parametrize(("source", "shown"), [("clip.mov", "raid/clip.mov"), ("card", "raid")])
def test_disk_that_another_run_writes_to_is_explained(folder: Path, source: str, shown: str) -> None:
    first = start("--bwlimit", "400", "-b", "100", source, "raid", cwd=folder)
    _wait_for(lambda: [path for path in partials(folder) if "journal" not in path.name])
    done = run(source, "raid", cwd=folder)
    first.communicate(timeout=20)
    assert done.returncode == 2
    assert re.fullmatch(
        rf"error: {shown}: another run is writing {source}: process \d+ on \S+, since [\d: -]+; nothing was written"
        r" \(--lock-wait SECONDS waits for it\)",
        told(done.stderr),
    )


def test_interrupted_run_says_how_to_go_on(folder: Path) -> None:
    for number in range(2):
        make_file(folder / "card" / f"{number}.mov", 5_000_000)
    process = start("--bwlimit", "2M", "-j", "1", "card", "raid", cwd=folder)
    _wait_for(lambda: [path for path in partials(folder) if "journal" not in path.name])
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert re.match(r"raid: cancelled, \d files?, \d not copied, ", out)
    assert told(err).splitlines() == [
        "SIGINT: stopping at the next chunk; once more stops at once",
        "what is complete is remembered: run the same command again to go on",
    ]
    assert run("card", "raid", cwd=folder).returncode == 0


def test_files_that_are_not_what_the_list_says_are_explained(folder: Path) -> None:
    assert run("--sums", "md5", "card", "raid", cwd=folder).returncode == 0
    copy = folder / "raid/card"
    (copy / "a.mov").write_bytes(b"x" * 1000)
    (copy / "sub/b.mov").unlink()
    (copy / "new.txt").write_text("new")
    done = run("--check", "raid/card", cwd=folder)
    assert done.returncode == 4
    assert sorted(told(done.stderr).splitlines())[1:] == [
        "error: raid/card/new.txt: new: no list knows this file",
        "error: raid/card/sub/b.mov: missing",
    ]
    assert re.fullmatch(
        r"error: raid/card/a.mov: changed: it is md5:[0-9a-f]{32}, and the list says md5:[0-9a-f]{32}",
        min(told(done.stderr).splitlines()),
    )
