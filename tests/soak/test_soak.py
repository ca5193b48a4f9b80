"""Some rounds of the soak every day, and that it would find what is wrong."""

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pfndispatchcopy.fileio.names import is_temporary
from tests.faults.scenarios import ViolationError, fast_folder
from tests.soak.card import Card, Kind
from tests.soak.faults import Where
from tests.soak.invariants import Invariants
from tests.soak.rounds import play
from tests.soak.running import Ended, run_in_library
from tests.soak.wish import CANARY, Needs, Wish, is_kept

_CHECKOUT = Path(__file__).parents[2]
_ROUNDS = 6


@pytest.mark.timeout(180)
def test_some_rounds_find_nothing_wrong() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--seed", "20261125", "--rounds", str(_ROUNDS), "--seconds", "100"],
        cwd=_CHECKOUT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith(", 0 violations")


def test_same_seed_draws_the_same() -> None:
    drawn = []
    for _ in range(2):
        with fast_folder() as folder:
            wish, card = Wish.random(random.Random("7/31"), folder, Needs(in_library=True))
            drawn.append(([each.replace(str(folder), "") for each in wish.arguments()], card.entries, wish.before))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    ("path", "exclude", "include", "expected"),
    [
        ("a.tmp", ["*.tmp"], [], False),
        ("skip/a.mov", ["skip*"], [], False),
        ("skip/keep.tmp", ["skip*", "*.tmp"], ["keep*"], True),
        ("keep/a.tmp", ["*.tmp"], ["keep*"], False),
        ("a.mov", [], ["keep*"], False),
        ("keep/a.mov", [], ["keep*"], True),
    ],
)
def test_patterns_are_understood_as_they_are_described(
    path: str, exclude: list[str], include: list[str], expected: bool
) -> None:
    assert is_kept(path, exclude, include, is_folder=False) is expected


# -- that it finds what is wrong -------------------------------------------------------------------------------------


class _Done:
    """A wish that came true."""

    def __init__(self, folder: Path) -> None:
        (folder / "outside").mkdir()
        (folder / "outside" / "canary").write_bytes(CANARY)
        card = Card(folder / "src" / "CARD", random.Random(5), outside=folder / "outside", has_dangling=False)
        on_card = {f"CARD/{path}": path for path, entry in card.entries.items() if entry.kind is Kind.FILE}
        on_card = {path: each for path, each in on_card.items() if not is_temporary(os.path.basename(path))}
        self.root = folder / "d0" / "raid"
        self.root.mkdir(parents=True)
        self.wish = Wish(
            options=["--sums", "md5"],
            sources=[str(card.folder)],
            roots=[self.root],
            labels=[str(self.root)],
            wanted={path: card.entries[each] for path, each in on_card.items()},
            tops=["CARD"],
            before=[{}],
            foreign=[set()],
            conflicts=[set()],
            on_card=on_card,
            sums=("md5",),
            places=["--symlinks", "skip", "--", str(card.folder), str(self.root)],
        )
        self.card = card
        self.files = [path for path, entry in self.wish.wanted.items() if entry.data]
        self.invariants = Invariants(self.wish, card, folder)
        self.ended = run_in_library(self.wish, card)

    def require_all(self) -> None:
        self.invariants.require_nothing_lost(self.ended)
        self.invariants.require_good_states(self.ended, [0])
        self.invariants.require_complete(0, self.ended)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


def _make_false(sums: Path) -> None:
    # The last line that begins with a digest, and with no sign that a name is escaped.
    lines = sums.read_bytes().split(b"\n")
    at = max(number for number, line in enumerate(lines) if line and not line.startswith(b"\\"))
    lines[at] = (b"1" if lines[at].startswith(b"0") else b"0") + lines[at][1:]
    sums.write_bytes(b"\n".join(lines))


def _touch(path: Path) -> None:
    path.chmod(0o600)
    os.utime(path, (1, 1))


def _remove_lists(done: _Done) -> None:
    for path in done.invariants.lists(0):
        (done.root / path).unlink()


def _call_it_failed(done: _Done) -> None:
    done.ended.states[0] = "failed"


_WRONGS: dict[str, tuple[Callable[[_Done], object], str]] = {
    "wrong bytes": (lambda done: _flip(done.root / done.files[0]), "wrong bytes"),
    "a file that is missing": (lambda done: (done.root / done.files[0]).unlink(), "missing"),
    "another time": (lambda done: _touch(done.root / done.files[0]), "time of"),
    "a strange name": (lambda done: (done.root / "what is this").touch(), "a strange name"),
    "a bad copy": (lambda done: (done.root / f"{done.files[0]}.corrupt").touch(), "a bad copy"),
    "a temporary file": (lambda done: (done.root / ".pfn.a.b.partial").touch(), "left on"),
    "a false list": (lambda done: _make_false(done.root / "CARD" / "CARD.md5"), "wrong md5"),
    "no list": (_remove_lists, "no .* list"),
    "a file beside": (lambda done: (done.root.parent / "beside").touch(), "beside"),
    "a card that was touched": (lambda done: _touch(done.card.folder / done.wish.on_card[done.files[0]]), "card"),
    "a file outside": (lambda done: _flip(done.invariants.folder / "outside" / "canary"), "outside"),
    "a state that is not so": (_call_it_failed, "is failed"),
}


@pytest.fixture
def done() -> Iterator[_Done]:
    with fast_folder() as folder:
        yield _Done(folder)


def test_what_is_right_passes(done: _Done) -> None:
    assert done.ended.exit_code == 0
    done.require_all()


@pytest.mark.parametrize("wrong", _WRONGS)
def test_what_is_wrong_is_found(done: _Done, wrong: str) -> None:
    make, text = _WRONGS[wrong]
    make(done)
    with pytest.raises(ViolationError, match=text):
        done.require_all()


@pytest.mark.parametrize("stderr", ["Traceback (most recent call last):", "red \x1b[31m", "two\rthree"])
def test_output_that_is_not_fit_for_people_is_found(done: _Done, stderr: str) -> None:
    with pytest.raises(ViolationError):
        done.invariants.require_nothing_lost(Ended(0, stderr=stderr))


def test_round_with_a_violation_is_kept_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.soak.rounds.draw_kinds", lambda chance, has_volumes: [Where.LIBRARY_CANCEL])
    monkeypatch.setattr(Card, "has_its_bytes", lambda card: False)
    folder = tmp_path / "round"
    folder.mkdir()
    report = play(1, 1, folder, has_volumes=False)
    assert report.violations == ["the card was changed"]
    assert (folder / "src").exists()
    assert len(report.told) >= 3


def test_round_without_one_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.soak.rounds.draw_kinds", lambda chance, has_volumes: [Where.LIBRARY_CANCEL])
    folder = tmp_path / "round"
    folder.mkdir()
    assert play(1, 1, folder, has_volumes=False).violations == []
    assert not folder.exists()
