"""Two runs on one volume at once, also where each has come there by a mount of its own."""

import pytest

from tests.kernel.runs import Begin, copy
from tests.kernel.volumes import DISK_KINDS, Volumes
from tests.support.files import make_file, partials

MIB = 1 << 20


@pytest.mark.fault(56)
@pytest.mark.parametrize("what", ["file", "folder"])
@pytest.mark.parametrize("kind", DISK_KINDS)
def test_second_run_is_refused_and_names_the_first_which_is_unharmed(
    volumes: Volumes, begin: Begin, kind: str, what: str
) -> None:
    disk = volumes.disk("disk", kind, size=32 * MIB)
    volumes.bind(disk.path, "again")
    source = "CARD" if what == "folder" else "CARD/s"
    data = make_file(volumes.root / "CARD/s", 5 * MIB)
    first = begin(source, "disk/", cwd=volumes.root, rate="10M")
    first.stop_at_partial(disk.path, MIB)
    second = copy(source, "again/", "good/", cwd=volumes.root)
    assert second.exit_code == 2, second.text
    assert f"process {first.worker} on " in second.error["message"]
    assert not (volumes.root / "good").exists()
    report = first.end()
    assert report.exit_code == 0, report.text
    assert report.states == {"disk": "verified"}
    assert next(disk.path.rglob("s")).read_bytes() == data
    assert partials(disk.path) == []
