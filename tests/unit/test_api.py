"""The functions for programs: their arguments, the keys of their results, and what they raise."""

import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pfndispatchcopy
from pfndispatchcopy import (
    CopyOptions,
    CopyResult,
    ExitCode,
    PfnDispatchCopyError,
    RefusedError,
    State,
    UsageError,
    copy_with_multiple_destinations,
    copy_with_multiple_destinations_parallel,
)
from pfndispatchcopy.events import Event, FileEvent, PlanEvent
from tests.support.files import make_file

_Copy = Callable[..., CopyResult]
_BOTH = pytest.mark.parametrize(
    "copy", [copy_with_multiple_destinations, copy_with_multiple_destinations_parallel], ids=lambda copy: copy.__name__
)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    make_file(tmp_path / "card/clip.mov", 300_000)
    return tmp_path / "card/clip.mov"


@_BOTH
def test_result_answers_to_the_keys_of_the_contract(copy: _Copy, clip: Path, tmp_path: Path) -> None:
    results = copy(clip, [tmp_path / "a.mov", tmp_path / "b/b.mov"], 64 * 1024)
    assert results["success"] is True
    assert results["speed_mb_sec"] > 0
    assert results["duration"] > 0
    assert len(results["hash"]) == 16
    first, second = results["destinations"]
    assert (first["path"], second["path"]) == (tmp_path / "a.mov", tmp_path / "b/b.mov")
    assert first["state"] == second["state"] == "verified"
    assert first["success"]
    assert (tmp_path / "b/b.mov").read_bytes() == clip.read_bytes()


def test_parallel_function_always_takes_the_parallel_path(clip: Path, tmp_path: Path) -> None:
    assert copy_with_multiple_destinations(clip, [tmp_path / "a.mov"])["strategy"] == "single"
    result = copy_with_multiple_destinations_parallel(clip, [tmp_path / "b.mov"], options=CopyOptions())
    assert result["strategy"] == "parallel"


@pytest.mark.parametrize("convert", [str, Path, os.fsencode], ids=["str", "path", "bytes"])
def test_paths_of_any_kind_are_taken(convert: Callable[[Path], Any], clip: Path, tmp_path: Path) -> None:
    result = copy_with_multiple_destinations(convert(clip), [convert(tmp_path / "a.mov")])
    assert result["success"]
    assert (tmp_path / "a.mov").read_bytes() == clip.read_bytes()


@pytest.mark.parametrize("convert", [str, Path, os.fsencode], ids=["str", "path", "bytes"])
def test_one_destination_need_not_be_a_list(convert: Callable[[Path], Any], clip: Path, tmp_path: Path) -> None:
    result = copy_with_multiple_destinations(str(clip), convert(tmp_path / "a.mov"))
    assert result["success"]
    assert len(result["destinations"]) == 1


def test_buffer_size_is_the_size_of_the_chunks(clip: Path, tmp_path: Path) -> None:
    seen: list[Event] = []
    copy_with_multiple_destinations(
        clip, [tmp_path / "a.mov"], 8192, options=CopyOptions(chunk_size=4096), observer=seen.append
    )
    plans = [event for event in seen if isinstance(event, PlanEvent)]
    assert [plan.chunk_size for plan in plans] == [8192]
    assert any(isinstance(event, FileEvent) for event in seen)


def test_options_are_left_as_they_were(clip: Path, tmp_path: Path) -> None:
    options = CopyOptions(hashes=("md5", "xxh3"))
    result = copy_with_multiple_destinations_parallel(clip, [tmp_path / "a.mov"], 8192, options=options)
    assert list(result["hashes"]) == ["md5", "xxh3"]
    assert options == CopyOptions(hashes=("md5", "xxh3"))


@_BOTH
@pytest.mark.parametrize(
    ("destinations", "options"),
    [
        ([], {}),
        ([""], {}),
        (["{tmp}/a.mov"], {"no_flush": frozenset({"/elsewhere"})}),
        (["{tmp}/a.mov"], {"memory_limit": 1}),
    ],
)
def test_unusable_arguments_raise_a_usage_error(
    copy: _Copy, destinations: list[str], options: dict[str, Any], clip: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        copy(clip, [each.format(tmp=tmp_path) for each in destinations], options=CopyOptions(**options))
    assert caught.value.exit_code is ExitCode.REFUSED
    assert not (tmp_path / "a.mov").exists()


@_BOTH
def test_refused_plan_raises_with_its_exit_code(copy: _Copy, clip: Path, tmp_path: Path) -> None:
    for source, destination in (
        (tmp_path / "missing.mov", tmp_path / "a.mov"),
        (clip, clip),
        (tmp_path, tmp_path / "a.mov"),
        (clip, clip / "below"),
    ):
        with pytest.raises(RefusedError) as caught:
            copy(source, [destination])
        assert caught.value.exit_code == 2
    assert sorted(tmp_path.rglob("*")) == [clip.parent, clip]


@pytest.mark.parametrize("broken", ["nul\0byte", "surrogate\ud800"], ids=["nul", "surrogate"])
@pytest.mark.parametrize("side", ["source", "destination"])
def test_path_that_no_system_takes_raises_an_exception_of_the_package(
    broken: str, side: str, clip: Path, tmp_path: Path
) -> None:
    source, destination = (
        (f"{tmp_path}/{broken}", f"{tmp_path}/a") if side == "source" else (clip, f"{tmp_path}/{broken}")
    )
    with pytest.raises(PfnDispatchCopyError) as caught:
        copy_with_multiple_destinations(source, [destination])
    assert caught.value.exit_code == 2
    assert "internal error" not in str(caught.value)


def test_wrong_buffer_size_raises_a_usage_error(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        copy_with_multiple_destinations(clip, [tmp_path / "a.mov"], 0)


def test_failure_of_one_destination_is_data(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/clip.mov").write_bytes(b"another take")
    result = copy_with_multiple_destinations(clip, [tmp_path / "a/clip.mov", tmp_path / "b"])
    assert not result["success"]
    assert result["exit_code"] == 3
    good, bad = result["destinations"]
    assert good["state"] is State.VERIFIED
    assert bad["state"] is State.FAILED
    assert "different content" in bad["error"].message
    assert (tmp_path / "b/clip.mov").read_bytes() == b"another take"


def test_event_that_is_set_stops_the_copy(clip: Path, tmp_path: Path) -> None:
    cancel = threading.Event()

    def stop_when_planned(event: Event) -> None:
        if isinstance(event, PlanEvent):
            cancel.set()

    result = copy_with_multiple_destinations(clip, [tmp_path / "a.mov"], observer=stop_when_planned, cancel=cancel)
    assert [each.state for each in result.destinations] == [State.CANCELLED]
    assert not result.success
    assert not (tmp_path / "a.mov").exists()


@_BOTH
def test_library_is_silent(
    copy: _Copy,
    clip: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/clip.mov").mkdir()
    with caplog.at_level(logging.DEBUG):
        result = copy(clip, [tmp_path / "a/", tmp_path / "b"])
    assert not result.success
    assert capfd.readouterr() == ("", "")


def test_results_survive_the_way_to_another_process(clip: Path, tmp_path: Path) -> None:
    result = copy_with_multiple_destinations(clip, [tmp_path / "a.mov"])
    again = pickle.loads(pickle.dumps(result))
    assert again == result
    assert again["destinations"][0]["path"] == tmp_path / "a.mov"


# -- public names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", pfndispatchcopy.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    code = f"from pfndispatchcopy import {name}; assert {name} is not None"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True)


def test_names_of_the_contract_are_public() -> None:
    assert {
        "copy_with_multiple_destinations",
        "copy_with_multiple_destinations_parallel",
        "CopyOptions",
        "ChunkData",
        "ParallelWriter",
        "ProgressTracker",
        "HashCalculator",
    } <= set(pfndispatchcopy.__all__)
    assert sorted(pfndispatchcopy.__all__) == dir(pfndispatchcopy)


def test_star_import_brings_every_public_name() -> None:
    scope: dict[str, object] = {}
    exec("from pfndispatchcopy import *", scope)
    assert set(pfndispatchcopy.__all__) <= set(scope)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = pfndispatchcopy.nonsense


def test_import_loads_nothing_that_costs_time() -> None:
    code = (
        "import sys, pfndispatchcopy\n"
        "heavy = {'xxhash', 'psutil', 'tqdm', 'hashlib', 'argparse', 'threading', 'pfndispatchcopy.session'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "pfndispatchcopy.CopyOptions\n"
        "print('pfndispatchcopy.options' in sys.modules, 'pfndispatchcopy.session' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False, env=_paths())
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["[]", "True False"]


def _paths() -> dict[str, str]:
    """Where the package and its dependencies lie, for an interpreter that starts without its site folders."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_package_is_typed() -> None:
    assert (Path(pfndispatchcopy.__file__).parent / "py.typed").is_file()
