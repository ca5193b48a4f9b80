"""JSON: one object, as its published schema has it."""

import base64
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pfndispatchcopy.report.json_report import json_report
from tests.support.report_trial import Told, demonstration

_SCHEMA = json.loads((Path(__file__).parents[3] / "docs/report.schema.json").read_text())


def _report(told: Told, exit_code: int = 0, planned: int | None = None) -> dict[str, Any]:
    with told.contents(exit_code, planned) as contents:
        data = b"".join(json_report(contents))
    assert data.isascii()
    assert data.endswith(b"}\n")
    found: dict[str, Any] = json.loads(data)
    jsonschema.Draft202012Validator(_SCHEMA).validate(found)
    return found


def test_demonstration_is_told_whole() -> None:
    told, exit_code, planned = demonstration()
    found = _report(told, exit_code, planned)
    assert (found["program"], found["report"], found["kind"]) == ("pfndispatchcopy", 1, "copy")
    assert found["verdict"]["may_erase_source"] is False
    assert found["summary"]["exit_code"] == 3
    assert (len(found["files"]), found["plan"]["files"]) == (84, 84)
    assert [each["state"] for each in found["destinations"]] == ["verified", "verified", "failed"]
    assert [each["files"] for each in found["destinations"][0]["proof"]] == [84]
    assert found["destinations"][1]["volume"]["filesystem"] == "exfat"
    assert (len(found["warnings"]), len(found["errors"]), len(found["left_out"])) == (1, 1, 3)
    assert {each["destination"] for each in found["files"][-1]["destinations"]} == {0, 1}
    copied = found["throughput"]["copied"]
    assert len(copied) == 3
    assert sum(copied[0]) * found["throughput"]["step_s"] == pytest.approx(found["summary"]["bytes"], rel=0.01)


def test_report_of_nothing_is_an_object_too() -> None:
    found = _report(Told("/a"))
    assert (found["files"], found["warnings"], found["throughput"]) == ([], [], None)


def test_paths_of_any_bytes_are_exact() -> None:
    told = Told("/caf\udce9", sources=["/x\udcff"])
    told.file("a\udcfe\n\u2028</script>")
    told.left_out("b\udcfd")
    found = _report(told)
    assert base64.b64decode(found["destinations"][0]["path_b64"]) == b"/caf\xe9"
    assert base64.b64decode(found["sources"][0]["path_b64"]) == b"/x\xff"
    (file,) = found["files"]
    assert base64.b64decode(file["path_b64"]) == b"a\xfe\n\xe2\x80\xa8</script>"
    assert base64.b64decode(file["destinations"][0]["path_b64"]).startswith(b"/caf\xe9/")
    assert base64.b64decode(found["left_out"][0]["path_b64"]) == b"b\xfd"


def test_check_is_told_with_what_it_found() -> None:
    told = Told("/a", is_check=True, sources=["/a"])
    told.file("x", xxh32="00ff00ff")
    told.places[0] |= {"verified": 1, "changed": 0, "missing": 2, "new": 3, "state": "failed", "files_failed": 2}
    found = _report(told, 3)
    assert found["kind"] == "check"
    assert found["verdict"]["may_erase_source"] is None
    assert (found["destinations"][0]["missing"], found["destinations"][0]["volume"]) == (2, None)


def test_refused_run_has_no_plan() -> None:
    told = Told("/a")
    told.places[0] |= {"state": "failed", "error": "no space"}
    events = [event for _, event in told.all_events(2) if event["event"] not in ("plan", "volumes")]
    told.all_events = lambda *_: iter([(0.0, event) for event in events])  # type: ignore[method-assign]
    found = _report(told, 2)
    assert (found["plan"], found["files"]) == (None, [])
    assert found["verdict"]["headline"] == "Nothing was copied."
