"""One thing under two names that do not show it: bind mounts, overlays, links."""

from pathlib import Path

import pytest

from tests.kernel.runs import Report, copy
from tests.kernel.volumes import Volumes
from tests.support.files import make_file, partials


@pytest.fixture
def card(volumes: Volumes) -> Path:
    """The folder ``a``, in which a card is."""
    make_file(volumes.root / "a/CARD/s", 1000)
    make_file(volumes.root / "a/CARD/sub/t", 2000, seed=2)
    return volumes.root / "a"


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _require_refused(report: Report, what: str) -> None:
    assert report.exit_code == 2, (report.states, report.text)
    assert what in report.error["message"]
    assert report.error["message"].endswith("nothing was written")


@pytest.mark.fault(63)
@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("a/CARD/s", "b/CARD/"),
        ("a/CARD/s", "b/CARD/s"),
        ("b/CARD/s", "a/CARD/"),
        ("a/CARD", "b"),
        ("b/CARD", "a"),
        ("a/CARD/", "b/CARD"),
    ],
)
def test_source_by_another_mount_is_no_destination(volumes: Volumes, card: Path, source: str, destination: str) -> None:
    volumes.bind(card, "b")
    before = _content(card)
    _require_refused(copy(source, destination, "good/", cwd=volumes.root), "the same")
    assert _content(card) == before
    assert not (volumes.root / "good").exists()


@pytest.mark.fault(64)
@pytest.mark.parametrize(
    ("source", "destination", "what"),
    [
        ("over/NEW/n", "over-upper/NEW/", "source and destination are the same file"),
        ("over-upper/NEW/n", "over/NEW/", "source and destination are the same file"),
        ("over/CARD/s", "a/CARD/", "source and destination are the same file"),
        ("over/NEW", "over-upper", "the source over/NEW and its copy there are the same"),
        ("over-upper/NEW", "over", "the source over-upper/NEW and its copy there are the same"),
        ("over/CARD", "a", "the source over/CARD and its copy there are the same"),
        ("over/NEW/", "over-upper/NEW", "the destination is the source"),
        ("over/NEW", "over-upper/NEW", "the destination is the source"),
    ],
)
def test_source_that_an_overlay_shows_elsewhere_is_no_destination(
    volumes: Volumes, card: Path, source: str, destination: str, what: str
) -> None:
    over = volumes.overlay(card, "over")
    make_file(over.path / "NEW/n", 1000)
    before = _content(over.path)
    one, other = (volumes.root / "over/NEW/n").stat(), (volumes.root / "over-upper/NEW/n").stat()
    assert (one.st_dev, one.st_ino) != (other.st_dev, other.st_ino), "numbers show it already"
    _require_refused(copy(source, destination, "good/", cwd=volumes.root), what)
    assert _content(over.path) == before
    assert not (volumes.root / "good").exists()
    assert partials(volumes.root) == []


@pytest.mark.fault(65)
@pytest.mark.parametrize("destination", ["inner", "inner/new/er", "a/CARD/sub", "a/CARD/sub/new", "way/sub"])
@pytest.mark.parametrize("source", ["a/CARD", "a/CARD/", "a"])
def test_destination_in_a_folder_of_the_source_is_refused(
    volumes: Volumes, card: Path, source: str, destination: str
) -> None:
    volumes.bind(card / "CARD/sub", "inner")
    (volumes.root / "way").symlink_to("a/CARD")
    before = _content(card)
    _require_refused(copy(source, "good", destination, cwd=volumes.root), "the destination is inside")
    assert _content(card) == before


@pytest.mark.fault(66)
@pytest.mark.parametrize("source", ["a/CARD/s", "a/CARD"])
@pytest.mark.parametrize(
    ("kind", "below"),
    # A folder that is made on both sides of an overlay at once, it calls stale.
    [("bind", ""), ("bind", "new/"), ("link", ""), ("link", "new/"), ("overlay", "")],
)
def test_one_destination_under_two_names_is_refused(
    volumes: Volumes, card: Path, kind: str, source: str, below: str
) -> None:
    one, other = volumes.folder("one"), "other"
    if kind == "bind":
        volumes.bind(one, other)
    elif kind == "link":
        (volumes.root / other).symlink_to(one)
    else:
        volumes.overlay(one, other)
        one = volumes.root / "other-upper"
    report = copy(source, f"{one.name}/{below}", f"{other}/{below}", "good/", cwd=volumes.root)
    _require_refused(report, "are the same destination")
    assert _content(one) == {}
    assert not (volumes.root / "good").exists()


@pytest.mark.fault(66)
@pytest.mark.parametrize("inner", ["other/CARD", "other/CARD/sub", "one/CARD/new"])
def test_destination_within_the_copy_on_another_one_is_refused(volumes: Volumes, card: Path, inner: str) -> None:
    one = volumes.folder("one")
    volumes.bind(one, "other")
    _require_refused(copy("a/CARD", "one", inner, cwd=volumes.root), f"{inner} is inside the copy on one")
    assert _content(one) == {}
