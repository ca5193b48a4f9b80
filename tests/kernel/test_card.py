"""Cards that fail while they are read: a place that cannot be read, and a card that is pulled out."""

import os
from pathlib import Path

import pytest

from tests.kernel.runs import Begin, copy
from tests.kernel.volumes import Volume, Volumes
from tests.support.files import make_file, partials

MIB = 1 << 20


@pytest.fixture
def worn(volumes: Volumes) -> tuple[Volume, dict[str, bytes]]:
    """A card that cannot be read from the middle of its last file on, and what is on it."""
    card = volumes.disk("card", "ext4", size=32 * MIB, format_options=("-b", "4096"))
    files = {}
    for number, name in enumerate(["a", "b", "z"]):
        files[name] = make_file(card.path / f"CARD/{name}", 5 * MIB, number)
        _flush(card.path / f"CARD/{name}")  # so that they lie one behind the other
    volumes.unmount(card)
    assert card.image is not None
    at = {name: card.find(data[:4096]) for name, data in files.items()}
    assert max(at.values()) == at["z"], "the files do not lie as this test needs them"
    volumes.mount(card, options="ro")
    os.truncate(card.image, at["z"] + 3 * MIB)
    with pytest.raises(OSError, match="Input/output"):
        (card.path / "CARD/z").read_bytes()
    return card, files


def _flush(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


@pytest.mark.fault(30)
@pytest.mark.parametrize("strategy", ["single", "parallel"])
def test_file_that_cannot_be_read_to_its_end_gets_no_name_anywhere(
    volumes: Volumes, worn: tuple[Volume, dict[str, bytes]], strategy: str
) -> None:
    report = copy("--strategy", strategy, "card/CARD/z", "one/", "two/", cwd=volumes.root)
    assert report.exit_code == 1, report.text
    assert report.states == {"one": "failed", "two": "failed"}
    assert report.error["errno"] == "EIO"
    assert "card/CARD/z: read failed at byte " in report.error["message"]
    assert not (volumes.root / "one").exists()
    assert not (volumes.root / "two").exists()


@pytest.mark.fault(30)
def test_other_files_of_a_worn_card_are_copied_and_the_next_run_copies_the_missing_one_alone(
    volumes: Volumes, worn: tuple[Volume, dict[str, bytes]]
) -> None:
    card, files = worn
    assert card.image is not None
    report = copy("card/CARD", "one", "two", cwd=volumes.root)
    assert report.exit_code == 3, report.text
    assert report.states == {"one": "failed", "two": "failed"}
    assert {error["path"] for error in report.errors} == {"card/CARD/z"}
    good = {name: files[name] for name in ("a", "b")}
    before = {}
    for place in ("one", "two"):
        assert _content(volumes.root / place / "CARD") == good
        before[place] = {name: (volumes.root / place / "CARD" / name).stat().st_ino for name in good}
    volumes.unmount(card)
    os.truncate(card.image, 32 * MIB)
    volumes.mount(card)
    (card.path / "CARD/z").write_bytes(files["z"])  # another reader can read it
    report = copy("card/CARD", "one", "two", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    for place in ("one", "two"):
        assert _content(volumes.root / place / "CARD") == files
        assert {name: (volumes.root / place / "CARD" / name).stat().st_ino for name in good} == before[place]
    assert partials(volumes.root) == []


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".pfn.")}


@pytest.mark.fault(31)
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_card_that_is_pulled_out_leaves_what_is_done_and_the_next_run_goes_on(
    volumes: Volumes, begin: Begin, kind: str
) -> None:
    """The system says EIO as of a worn card, on which later files may be readable: so each of them is tried."""
    card = volumes.disk("card", kind, size=64 * MIB)
    files = {f"clip{number}": make_file(card.path / f"CARD/clip{number}", 5 * MIB, number) for number in range(4)}
    files |= {
        f"still{number:02}": make_file(card.path / f"CARD/still{number:02}", 9000, number) for number in range(50)
    }
    volumes.mount_again(card)
    running = begin("card/CARD", "one", "two", cwd=volumes.root, rate="10M")
    running.stop_after(2, volumes.root / "two/CARD")
    card.cut_power()
    with pytest.raises(OSError, match="Input/output"):
        (card.path / "CARD/clip3").read_bytes()
    report = running.end()
    assert report.exit_code == 3, report.text
    assert report.states == {"one": "failed", "two": "failed"}
    kept = {}
    for place in ("one", "two"):
        found = _content(volumes.root / place / "CARD")
        assert found == {name: files[name] for name in found}
        assert 1 <= len(found) < len(files)
        kept[place] = {name: (volumes.root / place / "CARD" / name).stat().st_ino for name in found}
    volumes.mount_again(card)
    report = copy("card/CARD", "one", "two", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    for place in ("one", "two"):
        assert _content(volumes.root / place / "CARD") == files
        again = {name: (volumes.root / place / "CARD" / name).stat().st_ino for name in kept[place]}
        assert again == kept[place], "what was complete was written again"
    assert partials(volumes.root) == []


@pytest.mark.fault(31)
@pytest.mark.parametrize("strategy", ["single", "parallel"])
def test_card_that_is_pulled_out_in_the_middle_of_a_file_gives_it_no_name(
    volumes: Volumes, begin: Begin, strategy: str
) -> None:
    card = volumes.disk("card")
    data = make_file(card.path / "s", 3 * MIB)
    volumes.mount_again(card)
    running = begin("--strategy", strategy, "card/s", "one/", "two/", cwd=volumes.root)
    running.stop_at_partial(volumes.root / "two", MIB)
    card.cut_power()
    report = running.end()
    assert report.exit_code == 1, report.text
    assert report.error["errno"] == "EIO"
    assert not (volumes.root / "one").exists()
    volumes.mount_again(card)
    report = copy("card/s", "one/", "two/", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    assert (volumes.root / "one/s").read_bytes() == data
