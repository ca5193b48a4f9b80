"""What kind of offload a request is: of one file, or of a card; decided once, and never by something that hangs."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy import CopyOptions, CopyResult, State, TreeResult
from pfndispatchcopy.engine import lanes
from pfndispatchcopy.engine.workplace import execute
from pfndispatchcopy.errors import OperationCancelledError, PfnDispatchCopyError, RefusedError, UsageError
from pfndispatchcopy.events import Event, FileEvent
from pfndispatchcopy.executors import SerialExecutor
from pfndispatchcopy.offload import prepare_offload
from pfndispatchcopy.session import Offload
from pfndispatchcopy.tree.session import TreeOffload
from tests.support.faulty_system import FaultySystem
from tests.support.files import make_file


class _Desk:
    """A file, a folder, a place to copy to, and somebody who prepares offloads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.system = FaultySystem()
        self.cancel = threading.Event()
        self.release = threading.Event()
        self.events: list[Event] = []
        self.data = make_file(root / "clip.mov", 1000)
        make_file(root / "card/a.mov", 10)
        make_file(root / "card/sub/b.mov", 20)

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def prepare(self, *sources: str, options: CopyOptions | None = None, **more: Any) -> Offload | TreeOffload:
        return prepare_offload(
            sources,
            [f"{self.root}/d/"],
            options or CopyOptions(),
            observer=self.events.append,
            cancel=self.cancel,
            system=self.system,
            **more,
        )


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Desk]:
    monkeypatch.setattr(lanes, "TICK_S", 0.03)
    desk = _Desk(tmp_path)
    yield desk
    desk.release.set()


def test_one_file_is_an_offload_of_a_file(desk: _Desk) -> None:
    offload = desk.prepare(desk.path("clip.mov"))
    assert isinstance(offload, Offload)
    result = offload.run()
    assert isinstance(result, CopyResult)
    assert (desk.root / "d/clip.mov").read_bytes() == desk.data


@pytest.mark.parametrize("name", ["card", "card/", "card/."])
def test_folder_is_an_offload_of_a_tree(name: str, desk: _Desk) -> None:
    offload = desk.prepare(desk.path(name))
    assert isinstance(offload, TreeOffload)
    result = offload.run()
    assert isinstance(result, TreeResult)
    top = desk.root / "d" / ("card" if name == "card" else "")
    assert sorted(str(path.relative_to(top)) for path in top.rglob("*.mov")) == ["a.mov", "sub/b.mov"]


def test_link_to_a_folder_is_a_folder(desk: _Desk) -> None:
    (desk.root / "link").symlink_to("card")
    assert isinstance(desk.prepare(desk.path("link")), TreeOffload)


def test_link_to_a_file_is_a_file(desk: _Desk) -> None:
    (desk.root / "link").symlink_to("clip.mov")
    assert isinstance(desk.prepare(desk.path("link")), Offload)


def test_several_sources_are_a_tree_even_where_all_are_files(desk: _Desk) -> None:
    make_file(desk.root / "other.mov", 5)
    offload = desk.prepare(desk.path("clip.mov"), desk.path("other.mov"))
    assert isinstance(offload, TreeOffload)
    result = offload.run()
    assert result.exit_code == 0
    assert sorted(path.name for path in (desk.root / "d").iterdir()) == ["clip.mov", "other.mov"]


def test_list_of_files_makes_a_tree_of_its_folder(desk: _Desk) -> None:
    offload = desk.prepare(desk.path("card"), files_from=(b"sub/b.mov\0", True))
    assert isinstance(offload, TreeOffload)
    assert offload.run().exit_code == 0
    assert [path.name for path in (desk.root / "d").rglob("*.mov")] == ["b.mov"]


def test_standard_input_is_an_offload_of_a_file_and_is_not_looked_at(desk: _Desk) -> None:
    assert isinstance(desk.prepare("-"), Offload)
    assert desk.system.calls == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO], ids=lambda n: errno.errorcode[n])
def test_source_that_cannot_be_looked_at_is_refused_with_the_reason(number: int, desk: _Desk) -> None:
    rule = desk.system.fail("status", number, where="clip.mov")
    with pytest.raises(RefusedError, match="cannot be looked at") as caught:
        desk.prepare(desk.path("clip.mov"))
    assert rule.fired == 1
    assert (caught.value.exit_code, caught.value.errno) == (2, errno.errorcode[number])


def test_source_that_is_not_there_is_refused_when_it_is_run(desk: _Desk) -> None:
    offload = desk.prepare(desk.path("nowhere"))
    with pytest.raises(RefusedError, match="No such file") as caught:
        offload.run()
    assert (caught.value.exit_code, caught.value.errno) == (2, "ENOENT")
    assert not (desk.root / "d").exists()


@pytest.mark.parametrize(
    ("sources", "match"),
    [((), "at least one source"), (("-", "card"), "standard input"), (("-", "-"), "standard input")],
)
def test_sources_that_cannot_be_together_are_refused(sources: tuple[str, ...], match: str, desk: _Desk) -> None:
    with pytest.raises(UsageError, match=match):
        desk.prepare(*sources)
    assert desk.system.calls == []


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_path_that_no_system_takes_is_refused_before_anything_is_looked_at(path: str, desk: _Desk) -> None:
    with pytest.raises(PfnDispatchCopyError) as caught:
        desk.prepare(path)
    assert caught.value.exit_code == 2
    assert desk.system.calls == []


@pytest.mark.leaks
def test_source_that_hangs_when_it_is_looked_at_is_refused(desk: _Desk) -> None:
    rule = desk.system.hang("status", desk.release, where="clip.mov")
    with pytest.raises(RefusedError, match="it hangs") as caught:
        desk.prepare(desk.path("clip.mov"), options=CopyOptions(stall_timeout_s=0.2))
    assert rule.fired == 1
    assert (caught.value.exit_code, caught.value.path) == (2, desk.path("clip.mov"))
    assert "nothing was written" in str(caught.value)


@pytest.mark.leaks
def test_cancel_ends_the_wait_for_a_source_that_hangs(desk: _Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "CANCEL_GRACE_S", 0.2)
    rule = desk.system.hang("status", desk.release, where="clip.mov")
    cancel_soon = threading.Timer(0.1, desk.cancel.set)
    cancel_soon.start()
    with pytest.raises(OperationCancelledError):
        desk.prepare(desk.path("clip.mov"), options=CopyOptions(stall_timeout_s=0))
    cancel_soon.join()
    assert rule.fired == 1


def test_bug_while_the_source_is_looked_at_is_not_swallowed(desk: _Desk) -> None:
    def explode(real: Callable[[], Any], *arguments: Any) -> Any:
        raise ZeroDivisionError

    desk.system.rule("status", explode, where="clip.mov")
    with pytest.raises(ZeroDivisionError):
        desk.prepare(desk.path("clip.mov"))


def test_executor_and_the_wish_for_files_are_passed_on(desk: _Desk) -> None:
    submitted: list[object] = []

    class Recorder(SerialExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            submitted.append(args[0])
            return super().submit(fn, *args, **kwargs)

    offload = desk.prepare(desk.path("card"), executor=Recorder(), tells_files=False)
    result = offload.run()
    assert result.exit_code == 0
    assert submitted[1:] == [execute]  # after it was tried out
    assert not [event for event in desk.events if isinstance(event, FileEvent)]


def test_nothing_is_written_before_it_is_run(desk: _Desk) -> None:
    before = sorted(os.listdir(desk.root))
    for name in ("clip.mov", "card"):
        desk.prepare(desk.path(name))
    assert sorted(os.listdir(desk.root)) == before
    result = desk.prepare(desk.path("card")).run(dry_run=True)
    assert [each.state for each in result.destinations] == [State.SKIPPED]
    assert sorted(os.listdir(desk.root)) == before
