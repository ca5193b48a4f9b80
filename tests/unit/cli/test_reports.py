"""The third process of the command: it is asked before anything is copied, and never holds the command."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy import CopyOptions
from pfndispatchcopy.cli import reports as room
from pfndispatchcopy.cli.arguments import parse
from pfndispatchcopy.cli.jsonlines import AMENDED, SAMPLE, VOLUMES, event_fields, exact_path, report_fields
from pfndispatchcopy.cli.processes import WorkerProcess
from pfndispatchcopy.cli.reports import Reports
from pfndispatchcopy.cli.request import Request
from pfndispatchcopy.errors import UsageError
from pfndispatchcopy.events import (
    AmendedEvent,
    DestinationProgress,
    FileEvent,
    PlanEvent,
    ProgressEvent,
    Volume,
    WarningEvent,
)
from pfndispatchcopy.model import DestinationResult, Notice, Phase, State, Strategy
from tests.support.report_trial import Told


def _request(*reports: str, **more: Any) -> Request:
    options = CopyOptions(stall_timeout_s=more.pop("patience_s", 20))
    return Request(("/media/A001",), ("/mnt/raid/day1",), options, reports=reports, **more)


@contextmanager
def _reports(request: Request) -> Iterator[Reports]:
    """The process, with pipes that stand for those of the worker."""
    pipes = os.pipe()
    made: list[Reports] = []
    try:
        made.append(Reports(request, WorkerProcess(*pipes, 0)))
        yield made[0]
    finally:
        for fd in pipes:
            os.close(fd)
        for each in made:
            each.close()
            _wait(each)


def _wait(reports: Reports) -> None:
    until = time.monotonic() + 10
    while not reports._process.has_ended():
        assert time.monotonic() < until
        time.sleep(0.01)


def _note(reports: Reports) -> None:
    told = Told("/mnt/raid/day1")
    told.file("clip.mov")
    for now, event in told.all_events():
        reports.event(event, now)


def test_reports_of_all_kinds_are_written_at_the_end(tmp_path: Path) -> None:
    names = [str(tmp_path / f"r{suffix}") for suffix in (".json", ".csv")]
    with _reports(_request(*names)) as reports:
        assert os.listdir(tmp_path) == []
        _note(reports)
        assert reports.write() == []
    assert sorted(os.listdir(tmp_path)) == ["r.csv", "r.json"]
    assert json.loads((tmp_path / "r.json").read_text())["files"][0]["path"] == "clip.mov"


def test_wrong_place_is_refused_at_once(tmp_path: Path) -> None:
    good, bad = str(tmp_path / "r.json"), str(tmp_path / "nowhere/r.json")
    with pytest.raises(UsageError, match="there is no folder"), _reports(_request(good, bad)):
        pass
    assert os.listdir(tmp_path) == []


def test_dry_run_looks_and_writes_nothing(tmp_path: Path) -> None:
    with _reports(_request(str(tmp_path / "r.json"), dry_run=True)):
        pass
    assert os.listdir(tmp_path) == []


def test_report_that_cannot_be_written_is_a_warning_and_the_others_are_written(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    names = [str(tmp_path / "gone/r.json"), str(tmp_path / "r.csv")]
    with _reports(_request(*names)) as reports:
        _note(reports)
        (tmp_path / "gone").rmdir()
        (warning,) = reports.write()
    assert warning == f"the report {names[0]} was not written: No such file or directory (ENOENT)"
    assert os.listdir(tmp_path) == ["r.csv"]


def test_place_that_hangs_before_the_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "find_place", lambda *arguments: time.sleep(60))
    began = time.monotonic()
    request = _request(str(tmp_path / "r.json"), patience_s=0.3)
    with pytest.raises(UsageError, match="nothing answers there"), _reports(request):
        pass
    assert time.monotonic() - began < 10


def test_place_that_hangs_at_the_end_does_not_hold_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "write_report", lambda *arguments: time.sleep(60))
    names = [str(tmp_path / "r.json"), str(tmp_path / "r.csv")]
    with _reports(_request(*names, patience_s=0.3)) as reports:
        _note(reports)
        began = time.monotonic()
        warnings = reports.write()
    assert time.monotonic() - began < 10
    assert warnings == [f"the report {name} was not written: nothing answers there" for name in names]


def test_whoever_is_still_at_it_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(system: object, place: object, contents: object, beat: Any) -> None:
        for _ in range(12):
            time.sleep(0.1)
            beat()

    monkeypatch.setattr(room, "write_report", slowly)
    with _reports(_request(str(tmp_path / "r.json"), patience_s=0.5)) as reports:
        _note(reports)
        assert reports.write() == []


def test_process_that_was_killed_is_a_warning(tmp_path: Path) -> None:
    with _reports(_request(str(tmp_path / "r.json"))) as reports:
        _note(reports)
        reports._process.kill()
        (warning,) = reports.write()
    assert "was not written" in warning


def test_bug_in_a_report_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(room, "write_report", broken)
    with _reports(_request(str(tmp_path / "r.json"))) as reports:
        _note(reports)
        (warning,) = reports.write()
    assert "internal error: KeyError" in warning


def test_end_of_the_front_is_the_end_of_the_process(tmp_path: Path) -> None:
    with _reports(_request(str(tmp_path / "r.json"))) as reports:
        kept = os.dup(reports._process.event_fd)
        os.dup2(kept, reports._process.control_fd)  # which closes the pipe that the front would write to
        os.close(kept)
        _wait(reports)


def test_command_in_the_report_does_not_tell_what_runs_at_the_end() -> None:
    for words in (["--on-finish", "mail -p secret"], ["--on-finish=mail -p secret"]):
        request = parse(["--report", "r.json", *words, "a b", "c"], {})
        command = room._command(request)
        assert "secret" not in command
        assert command.startswith("pfndispatchcopy --report r.json ")
        assert command.endswith(" 'a b' c")


@pytest.mark.parametrize("name", ["report", "report.txt", "report.html.gz", "-"])
def test_unknown_kind_of_report_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match=r"a report ends in \.html, \.json or \.csv"):
        parse([f"--report={name}", "src", "a"], {})


def test_reports_are_taken_from_the_command_line_and_the_configuration(tmp_path: Path) -> None:
    request = parse(["--report", "a.html", "--report", "b.JSON", "--report", "a.html", "src", "x"], {})
    assert request.reports == ("a.html", "b.JSON")
    config = tmp_path / "c.toml"
    config.write_text('report = ["x.csv"]\n')
    assert parse(["--config", str(config), "src", "x"], {}).reports == ("x.csv",)
    assert parse(["--check", "--report", "r.json", "list.md5"], {}).reports == ("r.json",)


# -- what goes from the process that copies to the front, for reports alone ------------------------------------


def _plan(*volumes: Volume) -> PlanEvent:
    return PlanEvent(1, 5, Strategy.SINGLE, 4096, 1, 1, 8192, "asked for", volumes=volumes)


def test_volumes_are_told_for_reports_and_not_in_the_plan() -> None:
    event = _plan(Volume("/caf\udce9", 7, "ext4", "/mnt/\udcff"))
    assert "volumes" not in event_fields(event)[1]
    kind, fields = report_fields(event) or ("", {})
    assert kind == VOLUMES
    (volume,) = json.loads(json.dumps(fields))["volumes"]
    assert (exact_path(volume), volume["device"], volume["filesystem"]) == ("/caf\udce9", 7, "ext4")
    assert exact_path(volume, "mount_point") == "/mnt/\udcff"


@pytest.mark.parametrize(
    ("phase", "copied", "verified"), [(Phase.COPY, [9, 4], [3, 0]), (Phase.VERIFY, [None, None], [9, 4])]
)
def test_what_is_copied_and_what_is_read_back_are_told_apart(
    phase: Phase, copied: list[int | None], verified: list[int]
) -> None:
    places = (DestinationProgress("/a", 9, 1.0, "copying", 3), DestinationProgress("/b", 4, 1.0, "failed", 0))
    kind, fields = report_fields(ProgressEvent(phase, 4, 10, 1.0, None, places)) or ("", {})
    assert kind == SAMPLE
    assert (fields["copied"], fields["verified"], fields["states"]) == (copied, verified, ["copying", "failed"])


def test_other_events_have_nothing_beside_them() -> None:
    assert report_fields(WarningEvent(Notice("hm", "/a", "plan"))) is None


def test_what_is_amended_has_the_fields_of_a_file_under_a_name_of_its_own() -> None:
    values = ("clip.mov", 5, {"md5": "aa"}, (DestinationResult("/a/clip.mov", "/a", State.MISMATCH),))
    (kind, fields), (file, same) = event_fields(AmendedEvent(*values)), event_fields(FileEvent(*values))
    assert (kind, file) == (AMENDED, "file")
    assert fields == same
