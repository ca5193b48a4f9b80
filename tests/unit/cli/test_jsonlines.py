"""JSON Lines: the fields of the contract, and paths of any bytes."""

import base64
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfndispatchcopy import CopyOptions, __version__
from pfndispatchcopy.cli.jsonlines import (
    encode,
    event_fields,
    path_fields,
    refusal_summary,
    start_fields,
    summary_fields,
)
from pfndispatchcopy.cli.request import Request
from pfndispatchcopy.events import (
    DestinationProgress,
    ErrorEvent,
    Event,
    FileEvent,
    PartialEvent,
    PlanEvent,
    ProgressEvent,
    WarningEvent,
)
from pfndispatchcopy.model import CopyResult, DestinationResult, Notice, Phase, ReadBack, State, Strategy

_ODD = "/a/caf\udce9.mov"
_ODD_BYTES = b"/a/caf\xe9.mov"


def _line(event: Event) -> dict[str, Any]:
    return _decode(encode(*event_fields(event)))


def _decode(line: bytes) -> dict[str, Any]:
    assert line.isascii()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    found: dict[str, Any] = json.loads(line)
    return found


def test_every_line_says_its_version_event_and_time() -> None:
    line = _decode(encode("start", {"x": "a\nb\u2028c\x00"}))
    assert (line["v"], line["event"], line["x"]) == (1, "start", "a\nb\u2028c\x00")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])


def test_path_that_is_utf8_is_itself() -> None:
    assert path_fields("/a/Größe 🎬\n.mov") == {"path": "/a/Größe 🎬\n.mov"}
    assert path_fields("", "destination") == {"destination": ""}


@pytest.mark.fault(78)
def test_path_that_is_no_utf8_has_its_exact_bytes_beside_it() -> None:
    fields = path_fields(_ODD)
    assert fields["path"] == "/a/caf\ufffd.mov"
    assert base64.b64decode(fields["path_b64"]) == _ODD_BYTES
    assert set(path_fields(_ODD, "destination")) == {"destination", "destination_b64"}


@pytest.mark.fault(78)
@given(st.binary(max_size=60))
def test_any_bytes_can_be_told(raw: bytes) -> None:
    fields = path_fields(raw.decode("utf-8", "surrogateescape"))
    again = _decode(encode("x", fields))
    if "path_b64" in again:
        assert base64.b64decode(again["path_b64"]) == raw
        assert "\ufffd" in again["path"]
    else:
        assert again["path"].encode() == raw


def test_plan_has_the_fields_of_the_contract() -> None:
    event = PlanEvent(1, None, Strategy.PARALLEL, 4096, 7, 1, 1 << 20, "asked for", ((_ODD, 5), ("/b", None)))
    line = _line(event)
    assert line["event"] == "plan"
    expected = {
        "files": 1,
        "bytes": None,
        "strategy": "parallel",
        "chunk_size": 4096,
        "queue_depth": 7,
        "jobs": 1,
        "memory_bound": 1 << 20,
        "reason": "asked for",
    }
    assert expected.items() <= line.items()
    assert [each["bytes"] for each in line["free_bytes"]] == [5, None]
    assert base64.b64decode(line["free_bytes"][0]["path_b64"]) == _ODD_BYTES


@pytest.mark.parametrize(("eta_s", "told"), [(None, None), (1.26, 1.3), (0.0, 0.0)])
def test_progress_has_the_fields_of_the_contract(eta_s: float | None, told: float | None) -> None:
    each = DestinationProgress(_ODD, 5, 3.14159, "copying")
    line = _line(ProgressEvent(Phase.VERIFY, 5, 10, 2.71828, eta_s, (each,)))
    assert line["event"] == "progress"
    assert (line["phase"], line["bytes_done"], line["bytes_total"]) == ("verify", 5, 10)
    assert line["rate"] == pytest.approx(2.7)
    assert line["eta_s"] == told
    (destination,) = line["destinations"]
    assert set(destination) == {"path", "path_b64", "bytes_done", "rate", "state"}
    assert (destination["bytes_done"], destination["state"]) == (5, "copying")


def _destination(state: State = State.VERIFIED, error: Notice | None = None) -> DestinationResult:
    return DestinationResult(_ODD, "/a/", state, ReadBack.DIRECT, 10, 2.0, error)


def test_file_has_the_fields_of_the_contract() -> None:
    notice = Notice("it broke", _ODD, "write", "EIO", "/a/")
    line = _line(FileEvent("caf\udce9.mov", 10, {"md5": "aa"}, (_destination(), _destination(State.FAILED, notice))))
    assert line["event"] == "file"
    assert line["path"] == "caf\ufffd.mov"
    assert (line["size"], line["hashes"]) == (10, {"md5": "aa"})
    good, bad = line["destinations"]
    assert (good["state"], good["read_back"], good["error"]) == ("verified", "direct", None)
    assert base64.b64decode(good["path_b64"]) == _ODD_BYTES
    assert (bad["state"], bad["error"]) == ("failed", "it broke")


@pytest.mark.parametrize(("kind", "name"), [(WarningEvent, "warning"), (ErrorEvent, "error")])
def test_notice_has_the_fields_of_the_contract(kind: type[WarningEvent] | type[ErrorEvent], name: str) -> None:
    line = _line(kind(Notice("it broke", _ODD, "write", "EIO", "/caf\udce9/")))
    assert line["event"] == name
    assert (line["message"], line["operation"], line["errno"]) == ("it broke", "write", "EIO")
    assert (line["path"], line["destination"]) == ("/a/caf\ufffd.mov", "/caf\ufffd/")
    bare = _line(kind(Notice("hm", "/a", "space")))
    assert (bare["errno"], bare["destination"]) == (None, None)
    assert set(bare) == {"v", "event", "time", "message", "path", "operation", "errno", "destination"}


def test_partial_is_told_between_the_processes() -> None:
    line = _line(PartialEvent("/a/.pfn.x.partial", exists=True))
    assert (line["event"], line["path"], line["exists"]) == ("partial", "/a/.pfn.x.partial", True)


def test_start_tells_the_effective_options() -> None:
    request = Request((_ODD,), ("/b", _ODD), CopyOptions(hashes=("xxh64", "md5"), no_flush=frozenset({_ODD})))
    line = _decode(encode("start", start_fields(request)))
    assert line["version"] == __version__
    assert [each["path"] for each in line["sources"]] == ["/a/caf\ufffd.mov"]
    assert base64.b64decode(line["sources"][0]["path_b64"]) == _ODD_BYTES
    assert [each["path"] for each in line["destinations"]] == ["/b", "/a/caf\ufffd.mov"]
    assert line["options"]["hashes"] == ["xxh64be", "md5"]
    assert line["options"]["verify"] == "destination"
    assert line["options"]["no_flush"] == ["/a/caf\ufffd.mov"]
    assert set(line["options"]) == set(CopyOptions()._fields)


def test_start_names_standard_input_as_minus() -> None:
    assert start_fields(Request(("-",), ("/b",), CopyOptions()))["sources"] == [{"path": "-"}]


_SUMMARY = {"ok", "exit_code", "files", "bytes", "elapsed_s", "speed_mb_sec", "destinations"}
_SUMMARY_OF_ONE = {"path", "state", "files_ok", "files_failed", "bytes", "speed_mb_sec", "error"}


def _result(*destinations: DestinationResult) -> CopyResult:
    return CopyResult("clip.mov", 10_000_000, {"md5": "aa"}, destinations, 2.0, Strategy.SINGLE)


def test_summary_has_the_fields_of_the_contract() -> None:
    notice = Notice("it broke", "/b", "write", "EIO", "/b/")
    result = _result(_destination(), _destination(State.FAILED, notice))
    summary = _decode(encode("summary", summary_fields(result, 3, dry_run=False)))
    assert set(summary) >= _SUMMARY
    assert (summary["ok"], summary["exit_code"], summary["files"], summary["bytes"]) == (False, 3, 1, 10_000_000)
    assert (summary["elapsed_s"], summary["speed_mb_sec"]) == (2.0, 5.0)
    good, bad = summary["destinations"]
    assert set(good) == set(bad) == _SUMMARY_OF_ONE
    assert (good["path"], good["state"], good["files_ok"], good["files_failed"]) == ("/a/", "verified", 1, 0)
    assert (good["bytes"], good["error"]) == (10_000_000, None)
    assert (bad["files_ok"], bad["files_failed"], bad["bytes"], bad["error"]) == (0, 1, 0, "it broke")


def test_summary_is_ok_with_exit_code_nought_only() -> None:
    for exit_code in (0, 1, 4, 130):
        assert summary_fields(_result(_destination()), exit_code, dry_run=False)["ok"] == (exit_code == 0)


def test_summary_of_a_dry_run_wrote_nothing() -> None:
    summary = summary_fields(_result(_destination(State.SKIPPED)), 0, dry_run=True)
    assert (summary["files"], summary["bytes"], summary["speed_mb_sec"]) == (0, 0, 0.0)
    (each,) = summary["destinations"]
    assert (each["files_ok"], each["files_failed"], each["bytes"]) == (0, 0, 0)


def test_summary_of_a_refusal_has_the_same_fields() -> None:
    summary = _decode(encode("summary", refusal_summary(["/a", _ODD], 2, "no space")))
    assert set(summary) >= _SUMMARY
    assert (summary["ok"], summary["exit_code"], summary["bytes"]) == (False, 2, 0)
    assert set(summary["destinations"][0]) == _SUMMARY_OF_ONE
    assert [each["state"] for each in summary["destinations"]] == ["failed", "failed"]
    assert base64.b64decode(summary["destinations"][1]["path_b64"]) == _ODD_BYTES
