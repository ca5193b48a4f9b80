"""exFAT, as cameras and shuttle disks have it: blind for case, particular about names, without links or permissions."""

import os
from pathlib import Path

import pytest

from tests.kernel.runs import check, copy
from tests.kernel.volumes import Volume, Volumes
from tests.support.files import make_file, partials


@pytest.fixture
def disk(volumes: Volumes) -> Volume:
    """The disk ``disk``, on which names differ in more than their case."""
    disk = volumes.exfat("disk")
    (disk.path / "proof").touch()
    assert (disk.path / "PROOF").exists(), "this file system is not blind for case"
    (disk.path / "proof").unlink()
    return disk


@pytest.mark.parametrize("what", ["file", "folder"])
def test_copy_is_durable_and_verified_and_found_again(volumes: Volumes, disk: Volume, what: str) -> None:
    source = "CARD" if what == "folder" else "CARD/clip.mov"
    files = {name: make_file(volumes.root / "CARD" / name, size) for name, size in (("clip.mov", 5 << 20), ("s", 999))}
    report = copy(source, "disk/", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    assert report.states == {"disk": "verified"}
    assert report.read_back["disk"] <= {"evicted", "direct"}
    assert next(disk.path.rglob("clip.mov")).read_bytes() == files["clip.mov"]
    for option in ("--quick-check", "--no-resume"):
        report = copy(option, source, "disk/", cwd=volumes.root)
        assert report.exit_code == 0, report.text
        assert report.states == {"disk": "identical"}
    assert partials(disk.path) == []


@pytest.mark.fault(67)
@pytest.mark.parametrize(("one", "other"), [("clip.mov", "CLIP.MOV"), ("a/x", "A/y"), ("Äpfel", "äPFEL")])
def test_names_that_are_one_there_are_refused_before_anything_is_written(
    volumes: Volumes, disk: Volume, one: str, other: str
) -> None:
    make_file(volumes.root / "CARD" / one, 10)
    make_file(volumes.root / "CARD" / other, 11)
    report = copy("CARD", "disk", "good", cwd=volumes.root)
    assert report.exit_code == 2, report.text
    assert "are one name there; nothing was written" in report.error["message"]
    assert disk.names == []
    assert not (volumes.root / "good").exists()


@pytest.mark.fault(64)
@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("disk/CARD/s", "disk/CARD/S"), "source and destination are the same file"),
        (("disk/CARD/s", "disk/card/"), "source and destination are the same file"),
        (("disk/CARD", "disk/card"), "the destination is the source"),
        (("disk/CARD/", "disk/card"), "the destination is the source"),
        (("s", "disk/new/", "disk/NEW/"), "are the same destination"),
        (("s", "disk/x", "disk/X"), "are the same destination"),
        (("disk/CARD", "disk/new", "disk/NEW"), "are the same destination"),
    ],
)
def test_one_place_under_two_names_that_differ_in_case_is_refused(
    volumes: Volumes, disk: Volume, arguments: tuple[str, ...], what: str
) -> None:
    make_file(volumes.root / "s", 10)
    data = make_file(disk.path / "CARD/s", 1000)
    report = copy(*arguments, "good/", cwd=volumes.root)
    assert report.exit_code == 2, (report.states, report.text)
    assert what in report.error["message"]
    assert disk.names == ["CARD", "CARD/s"]
    assert (disk.path / "CARD/s").read_bytes() == data


@pytest.mark.fault(68)
def test_name_in_another_case_is_the_file_that_is_there(volumes: Volumes, disk: Volume) -> None:
    data = make_file(volumes.root / "CLIP.MOV", 10_000)
    old = make_file(disk.path / "clip.mov", 10_000, seed=2)
    report = copy("CLIP.MOV", "disk/", cwd=volumes.root)
    assert report.exit_code == 1, report.text
    assert report.error["operation"] == "conflict"
    assert (disk.path / "clip.mov").read_bytes() == old
    report = copy("--on-conflict", "rename", "CLIP.MOV", "disk/", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    assert (disk.path / "clip.mov").read_bytes() == old
    assert (disk.path / "CLIP 2.MOV").read_bytes() == data


@pytest.mark.fault(77)
def test_files_whose_names_it_does_not_take_fail_and_are_named_and_the_others_go_on(
    volumes: Volumes, disk: Volume
) -> None:
    bad = [b"a:b", b"what?", b'"said"', b"a|b", b"st*r", b"bytes \xff\xfe"]
    good = [b"plain", b"with blank", "Ümläut".encode(), b"semi;colon", b"a" * 200]
    card = os.fsencode(volumes.root / "CARD")
    os.mkdir(card)
    for number, name in enumerate([*bad, *good]):
        make_file(Path(os.fsdecode(os.path.join(card, name))), 1000 + number, number)
    report = copy("CARD", "disk", "good", cwd=volumes.root)
    assert report.exit_code == 3, report.text
    assert report.states == {"disk": "failed", "good": "verified"}
    assert sorted(os.listdir(os.fsencode(disk.path / "CARD"))) == sorted([*good, *_records(disk.path / "CARD")])
    assert {error["errno"] for error in report.errors} <= {"ENOENT", "EILSEQ", "EINVAL"}
    told = {_exact(error) for error in report.errors}
    assert told == {os.path.join(b"disk/CARD", name) for name in bad}
    for name in good:
        one, other = (os.path.join(os.fsencode(folder), name) for folder in (card, disk.path / "CARD"))
        assert Path(os.fsdecode(one)).read_bytes() == Path(os.fsdecode(other)).read_bytes()


def _records(folder: Path) -> list[bytes]:
    return [os.fsencode(path.name) for path in partials(folder)]


def _exact(error: dict[str, str]) -> bytes:
    import base64

    return base64.b64decode(error["path_b64"]) if "path_b64" in error else error["path"].encode()


@pytest.mark.fault(70, 71)
def test_links_and_permissions_it_does_not_know_are_told(volumes: Volumes, disk: Volume) -> None:
    make_file(volumes.root / "CARD/s", 1000)
    (volumes.root / "CARD/s").chmod(0o4750)
    (volumes.root / "CARD/link").symlink_to("s")
    report = copy("CARD", "disk", "good", cwd=volumes.root)
    assert report.exit_code == 3, report.text
    assert report.states == {"disk": "failed", "good": "verified"}
    assert (report.error["operation"], report.error["path"]) == ("make the link", "disk/CARD/link")
    assert (disk.path / "CARD/s").read_bytes() == (volumes.root / "CARD/s").read_bytes()
    report = copy("--symlinks", "skip", "CARD", "disk", cwd=volumes.root)
    assert report.exit_code == 0, report.text


def test_lists_are_written_and_hold(volumes: Volumes, disk: Volume) -> None:
    make_file(volumes.root / "CARD/sub/clip.mov", 5000)
    report = copy("--mhl", "asc", "--sums", "md5", "CARD", "disk", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    report = check("disk/CARD", cwd=volumes.root)
    assert report.exit_code == 0, report.text
