"""Everybody gets the whole work, and nobody more than it."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import peers
from benchmarks.peers import OURS, ROOFLINE, Contender, Job, Work, contenders

_TOOLS = ("cp", "tee", "dd", "rsync", "rclone", "dcfldd", "dc3dd", "ocopy", "sync", "xxhsum")


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All tools are there, and do nothing."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in _TOOLS:
        (folder / name).write_text("")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(peers, "compiled_roofline", lambda: "roofline")
    monkeypatch.setattr(peers, "_FURTHER_TOOLS", str(folder))
    return folder


def _job(tmp_path: Path, work: Work, *, folder: bool = False, count: int = 2, memory: bool = False) -> Job:
    source = tmp_path / "source"
    source.mkdir(exist_ok=True)
    (source / "clip").write_bytes(b"abc")
    destinations = [f"/d{number}" for number in range(count)]
    what = source if folder else source / "clip"
    return Job(work, str(what), destinations, memory, past_cache=False, sums=str(tmp_path / "sums"))


def _by_name(job: Job) -> dict[str, Contender]:
    found, absent = contenders(job)
    assert absent == {}
    return {each.name: each for each in found}


def _argv(contender: Contender) -> list[Sequence[str]]:
    return [command.argv for step in contender.steps for command in step]


def test_everybody_takes_part(tmp_path: Path) -> None:
    assert list(_by_name(_job(tmp_path, Work.COPY))) == [
        OURS, ROOFLINE, "cp, one after another", "cp, at once", "tee", "dd, one after another",
        "rsync, one after another", "rclone, one after another", "dcfldd", "dc3dd", "ocopy",
    ]  # fmt: skip
    assert list(_by_name(_job(tmp_path, Work.COPY, folder=True))) == [
        OURS, "cp, one after another", "cp, at once", "rsync, one after another", "rclone, one after another", "ocopy",
    ]  # fmt: skip


def test_who_is_missing_is_named(tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (installed / "rclone").unlink()
    (installed / "ocopy").unlink()
    monkeypatch.setattr(peers, "compiled_roofline", lambda: None)

    found, absent = contenders(_job(tmp_path, Work.COPY))

    assert absent == {
        ROOFLINE: "there is no C compiler",
        "rclone, one after another": "rclone is not installed",
        "ocopy": "ocopy is not installed",
    }
    assert not {each.name for each in found} & set(absent)


def test_nobody_flushes_what_the_others_do_not(tmp_path: Path) -> None:
    ours = _argv(_by_name(_job(tmp_path, Work.COPY))[OURS])[0]
    in_memory = _argv(_by_name(_job(tmp_path, Work.COPY, memory=True))[OURS])[0]

    assert ours[-7:-3] == ("--no-flush", "/d0", "--no-flush", "/d1")
    assert "--no-flush" not in in_memory
    assert in_memory[in_memory.index("--verify") :][:2] == ("--verify", "none")
    assert "--verify" not in _argv(_by_name(_job(tmp_path, Work.VERIFIED))[OURS])[0]


@pytest.mark.parametrize("folder", [False, True])
def test_durable_ends_with_a_flush_of_everything(folder: bool, tmp_path: Path) -> None:
    for name, contender in _by_name(_job(tmp_path, Work.DURABLE, folder=folder)).items():
        if name in (OURS, ROOFLINE):
            continue
        flushed = [argv for argv in _argv(contender) if argv[0] == "sync"]
        assert flushed == ([("sync",)] if folder else [("sync", copy) for copy in contender.copies])


def test_verified_compares_every_copy_once(tmp_path: Path) -> None:
    job = _job(tmp_path, Work.VERIFIED)
    for name, contender in _by_name(job).items():
        compared = [command for step in contender.steps for command in step if command.argv[0] == "xxhsum"]
        if name in (OURS, ROOFLINE, "ocopy", "rclone, one after another"):
            assert compared == []  # they do it themselves
        else:
            assert [command.folder for command in compared] == ["/d0", "/d1"]
    assert Path(job.sums).read_text() == "44bc2cf5ad770999  clip\n"
    everybody = _by_name(job)
    assert not any("--ignore-checksum" in argv for argv in _argv(everybody["rclone, one after another"]))
    assert "--dont-verify" not in _argv(everybody["ocopy"])[0]
    assert _argv(everybody[ROOFLINE])[0][1:3] == ("--flush", "--read-back")


def test_those_who_compare_by_themselves_do_not_where_it_is_not_asked_for(tmp_path: Path) -> None:
    everybody = _by_name(_job(tmp_path, Work.COPY))

    assert all("--ignore-checksum" in argv for argv in _argv(everybody["rclone, one after another"]))
    assert "--dont-verify" in _argv(everybody["ocopy"])[0]


def test_ocopy_gets_the_folder_that_the_file_is_alone_in(tmp_path: Path) -> None:
    contender = _by_name(_job(tmp_path, Work.COPY))["ocopy"]

    assert _argv(contender)[0][-3:] == (str(tmp_path / "source"), "/d0", "/d1")
    assert contender.copies == ["/d0/source/clip", "/d1/source/clip"]


def test_order_of_the_copies_is_that_of_the_name(tmp_path: Path) -> None:
    everybody = _by_name(_job(tmp_path, Work.DURABLE))

    assert [len(step) for step in everybody["cp, one after another"].steps] == [1, 1, 1, 1]
    assert [len(step) for step in everybody["cp, at once"].steps] == [2, 2]


def test_nobody_else_can_do_what_a_missing_tool_is_needed_for(tmp_path: Path, installed: Path) -> None:
    (installed / "sync").unlink()

    found, absent = contenders(_job(tmp_path, Work.DURABLE))

    assert [each.name for each in found] == [OURS, ROOFLINE]
    assert set(absent.values()) == {"sync is not installed"}
    assert os.environ["PATH"] == str(installed)
