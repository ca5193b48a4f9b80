"""Links that somebody plants, or swaps in for folders, while the command runs: nothing outside is written or read."""

import errno
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.fileio.names import journal_name, lock_name
from pfndispatchcopy.journal import Journal, Proof, Record
from pfndispatchcopy.model import ReadBack, State
from tests.support.command import run, start
from tests.support.files import make_file, partials
from tests.support.tree_trial import snapshot

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")

# Swaps folders for links to others, and back, until its standard input ends; then it says how often.
_SWAPPER = """
import os, random, select, sys
chance = random.Random(int(sys.argv[1]))
pairs = [sys.argv[at : at + 2] for at in range(2, len(sys.argv), 2)]
count = 0
while not select.select([0], [], [], chance.uniform(0, 0.003))[0]:
    path, outside = chance.choice(pairs)
    aside = f"{path}.aside{count}"
    try:
        os.rename(path, aside)
    except OSError:
        continue
    try:
        os.symlink(outside, path)
        select.select([], [], [], chance.uniform(0, 0.006))
        os.unlink(path)
        count += 1
    except OSError:
        pass
    try:
        os.rename(aside, path)
    except OSError:
        pass
print(count)
"""


@contextmanager
def _swapping(seed: int, pairs: Sequence[tuple[Path, Path]]) -> Iterator[list[int]]:
    """Swap these folders for links to the others in another process; the number of swaps is known afterwards."""
    arguments = [str(each) for pair in pairs for each in pair]
    swapper = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _SWAPPER, str(seed), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    swaps: list[int] = []
    try:
        yield swaps
    finally:
        out, _ = swapper.communicate(timeout=10)
        swaps.append(int(out))


class _Race:
    """A card, a folder for the copies, and a folder outside with the same names and other content.

    Attributes:
        root: the folder that all of it is in.
        files: bytes of each file of the card, by its name, of which there is only one.
    """

    def __init__(self, root: Path, small: int) -> None:
        self.root = root
        self.files: dict[str, bytes] = {}
        names = [f"d{number % 3}/f{number:03}" for number in range(small)] + ["d1/large.mov", "d1/deep/x", "top"]
        for seed, name in enumerate(names):
            size = 5_000_000 if name.endswith(".mov") else 3_000
            self.files[Path(name).name] = make_file(root / "in/card" / name, size, seed)
            for copy in (f"out/card/{name}", f"out/{Path(name).name}", f"out/{name}"):
                (root / copy).parent.mkdir(parents=True, exist_ok=True)
                (root / copy).write_bytes(b"precious" * (size // 8))  # of the same size
        self.outside = snapshot(root / "out")
        self.card = snapshot(root / "in")

    def run(
        self, seed: int, pairs: Sequence[tuple[str, str]], *arguments: str, after: Callable[[], bool] = lambda: True
    ) -> int:
        """Run the command while these folders are swapped, from a moment on; returns the number of swaps."""
        process = start(*arguments, cwd=self.root)
        while process.poll() is None and not after():
            time.sleep(0.002)
        with _swapping(seed, [(self.root / path, self.root / outside) for path, outside in pairs]) as swaps:
            out, err = process.communicate(timeout=40)
        assert process.returncode in (0, 1, 2, 3), (seed, out, err)
        assert "internal error" not in err, (seed, err)
        assert snapshot(self.root / "out") == self.outside, (seed, err)
        # Only the record of an unfinished offload may stay.
        assert [path for path in partials(self.root) if "journal" not in path.name] == [], (seed, err)
        self.require_true(seed)
        return swaps[0]

    def require_true(self, seed: int) -> None:
        """Whatever has a final name on a destination is what the card has by that name."""
        for path in (self.root / "to").rglob("*"):
            if path.is_symlink() or not path.is_file() or path.name not in self.files:
                continue
            assert path.read_bytes() == self.files[path.name], (seed, path)

    def finish(self, *arguments: str) -> None:
        """Run once more, in peace: everything is complete, and nothing is left."""
        done = run("-q", *arguments, cwd=self.root)
        assert done.returncode == 0, done.stderr
        copies = {path.relative_to(self.root / "to/a/card") for path in (self.root / "to/a/card").rglob("*")}
        assert {path.relative_to(self.root / "in/card") for path in (self.root / "in/card").rglob("*")} <= copies
        self.require_true(0)
        assert snapshot(self.root / "out") == self.outside
        assert partials(self.root) == []

    def reset(self) -> None:
        """Take away what the last race has left."""
        assert subprocess.run(["rm", "-rf", str(self.root / "to")], check=False).returncode == 0


def _for_seconds(seconds: float, seed: int, race: Callable[[int], int]) -> int:
    """Race again and again; returns the number of swaps of all races together."""
    until, swaps = time.monotonic() + seconds, 0
    chance = random.Random(seed)
    while time.monotonic() < until:
        swaps += race(chance.randrange(1 << 30))
    return swaps


def _swap_destination(tmp_path: Path, seconds: float, seed: int) -> None:
    race = _Race(tmp_path, small=40)
    pairs = [(f"to/a/card{each}", f"out/card{each}") for each in ("", "/d1", "/d2", "/d1/deep", "/ascmhl")]
    arguments = ("-q", "--mhl", "asc", "--sums", "md5", "--on-conflict", "overwrite", "in/card", "to/a")

    def one(seed: int) -> int:
        race.reset()
        return race.run(seed, pairs, *arguments)

    assert _for_seconds(seconds, seed, one) > 10
    for path in (tmp_path / "to/a").rglob("*.aside*"):
        assert subprocess.run(["rm", "-rf", str(path)], check=False).returncode == 0
    race.finish("--on-conflict", "overwrite", "in/card", "to/a")


@pytest.mark.fault(80)
@pytest.mark.timeout(90)
def test_folder_of_a_copy_that_is_swapped_for_a_link_leads_nowhere(tmp_path: Path) -> None:
    _swap_destination(tmp_path, 1.2, seed=1)


@pytest.mark.slow
@pytest.mark.fault(80)
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", range(3))
def test_folder_of_a_copy_that_is_swapped_for_a_link_leads_nowhere_for_longer(tmp_path: Path, seed: int) -> None:
    _swap_destination(tmp_path, 20.0, seed)


def _swap_source(tmp_path: Path, seconds: float, seed: int) -> None:
    race = _Race(tmp_path, small=40)
    pairs = [(f"in/card{each}", f"out/card{each}") for each in ("/d1", "/d2", "/d1/deep")]

    def one(seed: int) -> int:
        race.reset()
        return race.run(seed, pairs, "-q", "--verify-source", "after-all", "in/card", "to/a")

    assert _for_seconds(seconds, seed, one) > 10
    assert {name: each[3] for name, each in snapshot(tmp_path / "in").items() if "aside" not in name} == {
        name: each[3] for name, each in race.card.items()
    }
    race.reset()


@pytest.mark.fault(80)
@pytest.mark.timeout(90)
def test_folder_of_the_source_that_is_swapped_for_a_link_gives_nothing_from_outside(tmp_path: Path) -> None:
    _swap_source(tmp_path, 1.0, seed=2)


@pytest.mark.slow
@pytest.mark.fault(80)
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", range(3))
def test_folder_of_the_source_that_is_swapped_for_a_link_gives_nothing_from_outside_for_longer(
    tmp_path: Path, seed: int
) -> None:
    _swap_source(tmp_path, 20.0, seed)


def _swap_parents(tmp_path: Path, seconds: float, seed: int, *arguments: str, small: int) -> None:
    """The folders above source and destination lead elsewhere from the moment on that both are open."""
    race = _Race(tmp_path, small)

    def one(seed: int) -> int:
        race.reset()
        (tmp_path / "to/a").mkdir(parents=True)
        place = tmp_path / "to/a"
        pairs = [("to", "out"), ("in", "out")]
        return race.run(seed, pairs, "-q", *arguments, after=lambda: any(partials(place)))

    assert _for_seconds(seconds, seed, one) > 3
    assert snapshot(tmp_path / "in") == race.card
    race.reset()


@pytest.mark.fault(80)
@pytest.mark.timeout(90)
def test_parents_that_are_swapped_for_links_lead_no_process_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "out/a").mkdir(parents=True)
    _swap_parents(tmp_path, 1.0, 3, "-j", "2", "in/card", "to/a", small=600)


@pytest.mark.fault(80)
@pytest.mark.timeout(90)
def test_parent_of_a_single_file_that_is_swapped_for_a_link_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "out/a").mkdir(parents=True)
    arguments = ("--bwlimit", "40M", "--sums", "md5", "in/card/d1/large.mov", "to/a/")
    _swap_parents(tmp_path, 0.8, 4, *arguments, small=3)


@pytest.mark.slow
@pytest.mark.fault(80)
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", range(3))
def test_parents_that_are_swapped_for_links_lead_no_process_elsewhere_for_longer(tmp_path: Path, seed: int) -> None:
    (tmp_path / "out/a").mkdir(parents=True)
    _swap_parents(tmp_path, 20.0, seed, "-j", "2", "in/card", "to/a", small=600)


# -- planted before the run ---------------------------------------------------------------------------------------


def _card(tmp_path: Path) -> None:
    for number in range(5):
        make_file(tmp_path / f"card/f{number}", 1_000 + number, seed=number)
    make_file(tmp_path / "out/precious", 1_001, seed=99)
    (tmp_path / "to/card").mkdir(parents=True)


def _clean_up(tmp_path: Path) -> None:
    for path in partials(tmp_path):
        path.unlink()


@pytest.mark.fault(68, 79, 81)
@pytest.mark.parametrize("rule", ["error", "skip", "overwrite", "rename"])
def test_link_at_a_final_name_is_never_written_through(tmp_path: Path, rule: str) -> None:
    _card(tmp_path)
    (tmp_path / "to/card/f0").symlink_to(tmp_path / "out/precious")
    (tmp_path / "to/card/f1").hardlink_to(tmp_path / "out/precious")
    (tmp_path / "to/card/f2").symlink_to(tmp_path / "out/new")
    before = snapshot(tmp_path / "out")
    done = run("--on-conflict", rule, "card", "to", cwd=tmp_path)
    assert done.returncode == {"error": 3}.get(rule, 0), done.stderr
    assert snapshot(tmp_path / "out") == before
    names = {"rename": ["f0 2", "f1 2", "f2 2"], "overwrite": ["f0", "f1", "f2"]}.get(rule, [])
    for name in (*names, "f3", "f4"):
        copy = tmp_path / "to/card" / name
        assert not copy.is_symlink()
        assert copy.read_bytes() == (tmp_path / "card" / name[:2]).read_bytes()
    if rule != "overwrite":
        assert (tmp_path / "to/card/f0").is_symlink()
    _clean_up(tmp_path)


@pytest.mark.fault(68, 79, 81)
def test_link_at_the_final_name_of_a_single_file_is_never_written_through(tmp_path: Path) -> None:
    _card(tmp_path)
    before = snapshot(tmp_path / "out")
    for number, link in enumerate(("symlink_to", "hardlink_to", "symlink_to")):
        place = tmp_path / f"to/f{number}"
        getattr(place, link)(tmp_path / ("out/precious" if number < 2 else "out/new"))
        assert run("-q", f"card/f{number}", "to/", cwd=tmp_path).returncode == 1
        assert run("-q", "--on-conflict", "overwrite", f"card/f{number}", "to/", cwd=tmp_path).returncode == 0
        assert not place.is_symlink()
        assert place.read_bytes() == (tmp_path / f"card/f{number}").read_bytes()
    assert snapshot(tmp_path / "out") == before


@pytest.mark.fault(79)
def test_links_at_the_names_of_lists_are_never_written_through(tmp_path: Path) -> None:
    _card(tmp_path)
    before = snapshot(tmp_path / "out")
    (tmp_path / "to/card/card.md5").symlink_to(tmp_path / "out/precious")
    (tmp_path / "to/card/card.xxh3").symlink_to(tmp_path / "out/new")
    assert run("-q", "--sums", "md5,xxh3", "card", "to", cwd=tmp_path).returncode == 0
    assert (tmp_path / "to/card/card.md5").is_symlink()
    assert len((tmp_path / "to/card/card 2.md5").read_text().splitlines()) == 5
    assert len((tmp_path / "to/card/card 2.xxh3").read_text().splitlines()) == 5
    (tmp_path / "to/card/ascmhl").symlink_to(tmp_path / "out")
    done = run("-q", "--mhl", "asc", "card", "to", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "write the lists failed" in done.stderr
    (tmp_path / "to/card/ascmhl").unlink()
    (tmp_path / "to/card/ascmhl").mkdir()
    (tmp_path / "to/card/ascmhl/ascmhl_chain.xml").symlink_to(tmp_path / "out/new")
    done = run("-q", "--mhl", "asc", "card", "to", cwd=tmp_path)
    assert done.returncode == 2
    assert "Too many levels of symbolic links (ELOOP)" in done.stderr
    assert snapshot(tmp_path / "out") == before
    _clean_up(tmp_path)


@pytest.mark.fault(79, 87)
def test_links_at_the_names_of_records_and_temporary_files_are_never_followed(tmp_path: Path) -> None:
    _card(tmp_path)
    before = snapshot(tmp_path / "out")
    names = [journal_name("card"), lock_name("f0").replace("lock", "0badcafe"), lock_name(".").replace("lock", "0bad")]
    for name in names:
        (tmp_path / "to" / name).symlink_to(tmp_path / "out/precious")
    (tmp_path / "to/card" / names[1]).hardlink_to(tmp_path / "out/precious")
    done = run("-q", "card", "to", cwd=tmp_path)
    assert done.returncode == 0
    assert "the record of an earlier run is not used: Too many levels of symbolic links" in done.stderr
    _clean_up(tmp_path / "to")
    assert snapshot(tmp_path / "out") == {**before, "precious": snapshot(tmp_path / "out")["precious"]}
    assert (tmp_path / "out/precious").read_bytes() == before["precious"][3]
    assert snapshot(tmp_path / "to/card") == snapshot(tmp_path / "card")


@pytest.mark.fault(79, 87)
@pytest.mark.parametrize(
    ("source", "kind"),
    [("card", "link"), ("card", "fifo"), ("card/f0", "link"), ("card/f0", "folder"), ("card/f0", "device")],
)
def test_what_is_planted_at_the_name_of_the_lock_refuses_the_run_and_is_left_alone(
    tmp_path: Path, source: str, kind: str
) -> None:
    _card(tmp_path)
    place = tmp_path / "to" / lock_name(Path(source).name)
    if kind == "link":
        place.symlink_to(tmp_path / "out/new")
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        _make_null(place)
    done = run("-q", source, "to/", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["precious"]
    assert [path for path in (tmp_path / "to").rglob("*") if path not in (place, tmp_path / "to/card")] == []
    place.rmdir() if kind == "folder" else place.unlink()


def _make_null(path: Path) -> None:
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS):
            raise
        pytest.skip(f"no device can be made here: {error}")


# -- records of somebody else ---------------------------------------------------------------------------------------


def _write_record(folder: Path, records: Sequence[Record]) -> Path:
    """A record as the package writes it, whatever it says."""
    system = native_system()
    handle = system.open_folder(str(folder))
    proof = Proof(State.VERIFIED, ReadBack.EVICTED, ("xxh64be",))
    Journal.begin(system, handle, "card", {proof: records}, is_forced=False).close()
    system.close_folder(handle)
    return folder / journal_name("card")


def _plant_record(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / kind
    folder.mkdir()
    path = folder / journal_name("card")
    source = (tmp_path / "card/f0").stat()
    true = Record("card/f0", source.st_size, source.st_mtime_ns, ("0" * 16,))
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        _make_null(path)
    elif kind == "garbage":
        path.write_bytes(random.Random(1).randbytes(100_000))
    elif kind == "endless":
        _write_record(folder, [])
        os.truncate(path, 1 << 30)
    elif kind == "outside":
        # Paths that lead out, and names that do: of files that are there, of that size and time.
        make_file(tmp_path / "out/f0", source.st_size, seed=8)
        os.utime(tmp_path / "out/f0", ns=(source.st_mtime_ns, source.st_mtime_ns))
        ways = ["../out/f0", "card/../../out/f0", str(tmp_path / "out/f0"), "card/f0\0", "card//f0", ""]
        names = ["../../out/f0", "..", ".", "/", str(tmp_path / "out/f0")]
        _write_record(
            folder, [*(true._replace(path=way) for way in ways), *(true._replace(name=name) for name in names)]
        )
    else:
        _write_record(folder, [true, true._replace(path="card/f1", size=source.st_size + 1)])
        make_file(folder / "card/f0", source.st_size, seed=8)  # of the size, and of another time
        if kind == "foreign":
            os.utime(folder / "card/f0", ns=(source.st_mtime_ns, source.st_mtime_ns))
            os.chown(path, 12_345, 12_345)
        elif kind == "writable":
            os.utime(folder / "card/f0", ns=(source.st_mtime_ns, source.st_mtime_ns))
            path.chmod(0o666)


@pytest.mark.fault(87)
@pytest.mark.timeout(60)
def test_record_that_was_not_written_by_this_user_or_that_lies_is_not_believed(tmp_path: Path) -> None:
    _card(tmp_path)
    (tmp_path / "out/precious").unlink()
    kinds = ["fifo", "folder", "garbage", "endless", "outside", "lying", "writable"]
    if os.geteuid() == 0:
        kinds += ["foreign", "device"]
    for kind in kinds:
        _plant_record(tmp_path, kind)
    before = snapshot(tmp_path / "out")
    done = run("-q", "--on-conflict", "overwrite", "card", *kinds, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for kind in kinds:
        assert snapshot(tmp_path / kind / "card") == snapshot(tmp_path / "card"), kind
    assert snapshot(tmp_path / "out") == before
    doubts = {kind: f"{kind}: the record of an earlier run is not used: " for kind in kinds}
    assert [kind for kind in kinds if doubts[kind] in done.stderr] == [
        kind for kind in kinds if kind in ("fifo", "writable", "foreign", "device")
    ]
    assert "folder: no record for a later run can be kept: Is a directory" in done.stderr
    assert partials(tmp_path) == [tmp_path / "folder" / journal_name("card")]
    partials(tmp_path)[0].rmdir()
