"""Volumes on which every write hangs, and cannot be interrupted."""

import time
from pathlib import Path

import pytest

from tests.kernel.runs import Begin, copy
from tests.kernel.volumes import Volumes
from tests.support.files import make_file, partials

MIB = 1 << 20
_STALL_S = 2
# What may come on top: looking, removing what hangs, letting go.
_MARGIN_S = 4


@pytest.mark.fault(27)
@pytest.mark.parametrize("strategy", ["single", "parallel"])
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_volume_that_hangs_costs_the_stall_time_and_the_others_are_verified(
    volumes: Volumes, begin: Begin, kind: str, strategy: str
) -> None:
    disk = volumes.disk("disk", kind)
    data = make_file(volumes.root / "s", 3 * MIB)
    running = begin("--strategy", strategy, "--stall-timeout", str(_STALL_S), "s", "disk/", "good/", cwd=volumes.root)
    running.stop_at_partial(disk.path, MIB)
    disk.freeze()
    frozen_at = time.monotonic()
    report = running.end()
    # The copy itself goes on for less than a second.
    assert _STALL_S - 1 < time.monotonic() - frozen_at < 1 + _STALL_S + _MARGIN_S
    assert report.exit_code == 3, report.text
    assert report.states == {"disk": "failed", "good": "verified"}
    assert f"it hangs: nothing finished for {_STALL_S} s" in report.error["message"]
    assert (volumes.root / "good/s").read_bytes() == data
    disk.thaw()
    report = copy("--lock-wait", "5", "s", "disk/", "good/", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    assert report.states == {"disk": "verified", "good": "identical"}
    assert disk.names == ["s"]


@pytest.mark.fault(27)
def test_card_is_completed_elsewhere_while_a_volume_hangs(volumes: Volumes, begin: Begin) -> None:
    disk = volumes.disk("disk", size=64 * MIB)
    names = [*(f"still{number:02}" for number in range(40)), "clip1", "clip2"]
    files = {}
    for number, name in enumerate(names):
        size = 5 * MIB if name.startswith("clip") else 50_000
        files[name] = make_file(volumes.root / "CARD" / name, size, number)
    running = begin("--stall-timeout", str(_STALL_S), "CARD", "disk", "good", cwd=volumes.root, rate="8M")
    running.stop_at_partial(disk.path, 50_000)
    disk.freeze()
    report = running.end(within_s=20)
    assert report.exit_code == 3, report.text
    assert report.states == {"disk": "failed", "good": "verified"}
    assert "it hangs: nothing finished for" in report.errors[0]["message"]
    assert _content(volumes.root / "good/CARD") == files
    disk.thaw()
    report = copy("--lock-wait", "5", "CARD", "disk", "good", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    assert _content(disk.path / "CARD") == files
    assert partials(volumes.root) == []


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.fault(27)
@pytest.mark.parametrize("what", ["file", "folder"])
def test_volume_that_hangs_from_the_start_is_given_up(volumes: Volumes, what: str) -> None:
    source = "CARD" if what == "folder" else "CARD/s"
    data = make_file(volumes.root / "CARD/s", 100_000)
    disk = volumes.disk("disk")
    disk.freeze()
    began_at = time.monotonic()
    report = copy("--stall-timeout", "1", source, "disk/", "good/", cwd=volumes.root)
    assert time.monotonic() - began_at < 1 + _MARGIN_S
    assert report.exit_code == 3, report.text
    assert report.states == {"disk": "failed", "good": "verified"}
    assert "it hangs: nothing finished for 1 s" in report.error["message"]
    assert next(volumes.root.glob("good/**/s")).read_bytes() == data
    disk.thaw()
    report = copy("--lock-wait", "5", source, "disk/", "good/", cwd=volumes.root)
    assert report.exit_code == 0, report.text
    assert partials(volumes.root) == []
