"""Planning a tree: refusals before anything is written, warnings, the number of jobs, and the jobs themselves."""

import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pfndispatchcopy.engine import batch, chunks, destination, parallel, single
from pfndispatchcopy.engine.batch import LARGEST_SMALL_FILE, buffer_size
from pfndispatchcopy.engine.chunks import page_aligned_buffer
from pfndispatchcopy.engine.jobs import Job, JobSetup, TreeSource, TreeTarget
from pfndispatchcopy.errors import RefusedError, UsageError
from pfndispatchcopy.events import Event, PlanEvent
from pfndispatchcopy.fileio import native_system
from pfndispatchcopy.fileio.storage import Storage, StorageKind
from pfndispatchcopy.fileio.system import Mount
from pfndispatchcopy.model import Identity, Strategy, Verify, VerifySource
from pfndispatchcopy.options import CopyOptions
from pfndispatchcopy.tree.plan import (
    FoundDestination,
    FoundSource,
    Machine,
    TreePlan,
    make_jobs,
    make_tree_plan,
)
from pfndispatchcopy.tree.scan import LeftOut, SourceRoot, Tree, TreeFile, TreeFolder
from pfndispatchcopy.tree.session import TreeOffload
from tests.support.files import make_file

_MIB = 1 << 20
_GIB = 1 << 30
_CARD = SourceRoot("/mnt/card", "/mnt/card", "card")
_CONTENT = SourceRoot("/mnt/card/", "/mnt/card/", "")


def _tree(*sources: tuple[SourceRoot, Mapping[str, int | None]]) -> Tree:
    """A tree of files by path and size in bytes; None for a link, and a folder where the path ends in ``/``."""
    tree = Tree(tuple(root for root, _ in sources))
    for root, (_, paths) in enumerate(sources):
        tree.folders.append(TreeFolder(root, ""))
        for path, size in paths.items():
            folder, _, name = path.rpartition("/")
            names = folder.split("/") if folder else []
            for depth in range(1, len(names) + 1):
                above = TreeFolder(root, "/".join(names[:depth]))
                if above not in tree.folders:
                    tree.folders.append(above)
            if name:
                number = tree.folders.index(TreeFolder(root, folder))
                tree.files.append(TreeFile(number, name, size or 0, is_link=size is None))
                tree.bytes += size or 0
    return tree


def _card(paths: Mapping[str, int | None] | None = None) -> Tree:
    return _tree((_CARD, {"a.mov": 10 * _MIB} if paths is None else paths))


def _source(root: SourceRoot = _CARD, **changes: Any) -> FoundSource:
    found = FoundSource(
        root=root,
        identity=Identity(1, 100),
        ways_up=(Identity(1, 100), Identity(1, 50), Identity(1, 2)),
        storage=Storage(StorageKind.SOLID, "card0"),
    )
    return found._replace(**changes)


def _destination(number: int = 0, sources: int = 1, **changes: Any) -> FoundDestination:
    anchor = changes.pop("anchor", Identity(10 + number, 2))
    found = FoundDestination(
        number=number,
        label=f"/d{number}",
        path=f"/d{number}",
        anchor=anchor,
        missing=(),
        ways_up=(anchor, Identity(5, 2)),
        tops=(None,) * sources,
        mount=Mount("ext4", "/"),
        storage=Storage(StorageKind.SOLID, f"disk{number}"),
        free=1 << 40,
        longest_name=255,
        is_own_volume=True,
    )
    return found._replace(**changes)


_MACHINE = Machine(cores=4, available_memory=None, has_processes=False)


def _plan(
    *destinations: FoundDestination,
    tree: Tree | None = None,
    sources: Sequence[FoundSource] | None = None,
    needed: Mapping[int, int] | None = None,
    machine: Machine = _MACHINE,
    **options: Any,
) -> TreePlan:
    tree = tree or _card()
    return make_tree_plan(
        tree,
        sources or [_source(root) for root in tree.roots],
        destinations or [_destination(sources=len(tree.roots))],
        {} if needed is None else needed,
        CopyOptions(**options),
        machine,
    )


def _refusal(*destinations: FoundDestination, **named: Any) -> RefusedError:
    with pytest.raises(RefusedError, match="nothing was written") as caught:
        _plan(*destinations, **named)
    assert str(caught.value).isprintable()
    return caught.value


# -- what lies in what ------------------------------------------------------------------------------------


@pytest.mark.fault(63)
def test_destination_whose_copy_would_be_the_source_is_refused() -> None:
    error = _refusal(_destination(tops=(Identity(1, 100),)))
    assert (error.operation, error.path) == ("same-file", "/d0")


@pytest.mark.fault(65)
def test_content_into_its_own_folder_is_refused() -> None:
    content = [_source(_CONTENT)]
    same = _destination(anchor=Identity(1, 100), tops=(Identity(1, 100),))
    assert _refusal(same, tree=_tree((_CONTENT, {"a": 1})), sources=content).operation == "same-file"


@pytest.mark.fault(65)
@pytest.mark.parametrize("missing", [(), ("new",), ("new", "er")])
def test_destination_inside_the_source_is_refused(missing: tuple[str, ...]) -> None:
    inside = Identity(1, 300)
    error = _refusal(_destination(anchor=inside, missing=missing, ways_up=(inside, Identity(1, 100), Identity(1, 2))))
    assert error.operation == "inside"
    assert "/d0" in str(error)
    assert "/mnt/card" in str(error)


@pytest.mark.fault(63)
def test_destination_that_is_the_source_by_another_name_is_refused() -> None:
    assert _refusal(_destination(anchor=Identity(1, 100))).operation == "inside"


@pytest.mark.fault(65)
@pytest.mark.parametrize("missing", [(), ("new",)])
def test_destination_that_is_a_folder_of_the_source_by_a_way_of_its_own_is_refused(missing: tuple[str, ...]) -> None:
    """As through a bind mount: nothing that is above it shows where it is."""
    tree = _tree((_CARD, {"a": 1}))
    tree.identities.add(Identity(1, 300))
    error = _refusal(_destination(anchor=Identity(1, 300), missing=missing), tree=tree)
    assert (error.operation, error.path) == ("inside", "/d0")


@pytest.mark.fault(65)
def test_source_inside_the_copy_is_refused() -> None:
    error = _refusal(_destination(tops=(Identity(1, 50),)))
    assert error.operation == "inside"
    assert "source is inside the destination" in str(error)


@pytest.mark.fault(65)
def test_every_source_is_held_against_every_destination() -> None:
    other = SourceRoot("/mnt/other", "/mnt/other", "other")
    tree = _tree((_CARD, {"a": 1}), (other, {"b": 1}))
    sources = [_source(), _source(other, identity=Identity(1, 200), ways_up=(Identity(1, 200), Identity(1, 50)))]
    good = _destination(0, 2)
    assert _plan(good, _destination(1, 2), tree=tree, sources=sources)
    bad = _destination(1, 2, ways_up=(Identity(11, 2), Identity(1, 200)))
    assert _refusal(good, bad, tree=tree, sources=sources).path == "/d1"


def test_destination_beside_the_source_is_good() -> None:
    assert _plan(_destination(anchor=Identity(1, 50), ways_up=(Identity(1, 50), Identity(1, 2))))


def test_destination_in_the_folder_of_a_file_is_good() -> None:
    file = SourceRoot("/mnt/card/a", "/mnt/card", "", only="a")
    source = _source(file, identity=Identity(1, 101))
    below = Identity(1, 300)
    below_it = _destination(anchor=below, ways_up=(below, Identity(1, 100), Identity(1, 50)))
    assert _plan(below_it, tree=_tree((file, {"a": 1})), sources=[source])


@pytest.mark.fault(63)
def test_file_that_would_be_copied_onto_itself_is_refused() -> None:
    file = SourceRoot("/mnt/card/a", "/mnt/card", "", only="a")
    source = _source(file, identity=Identity(1, 101))
    its_own_folder = _destination(anchor=Identity(1, 100), tops=(Identity(1, 101),))
    assert _refusal(its_own_folder, tree=_tree((file, {"a": 1})), sources=[source]).operation == "same-file"


# -- two that are one -------------------------------------------------------------------------------------


@pytest.mark.fault(66)
@pytest.mark.parametrize("missing", [(), ("new",)])
def test_one_destination_twice_is_refused(missing: tuple[str, ...]) -> None:
    same: dict[str, Any] = {"anchor": Identity(10, 2), "missing": missing}
    error = _refusal(_destination(0, **same), _destination(1, **same))
    assert error.operation == "same-destination"
    assert "/d0" in str(error)
    assert "/d1" in str(error)


def test_missing_folders_tell_destinations_apart() -> None:
    same: dict[str, Any] = {"anchor": Identity(10, 2)}
    assert _plan(_destination(0, missing=("x",), **same), _destination(1, missing=("y",), **same))


@pytest.mark.fault(66)
@pytest.mark.parametrize("is_swapped", [False, True])
@pytest.mark.parametrize("missing", [(), ("new",)])
def test_destination_inside_the_copy_on_another_one_is_refused(missing: tuple[str, ...], is_swapped: bool) -> None:
    copy, below = Identity(10, 7), Identity(10, 9)
    outer = _destination(0, tops=(copy,))
    inner = _destination(1, anchor=below, missing=missing, ways_up=(below, copy, Identity(10, 2)))
    pair = [outer._replace(number=1), inner._replace(number=0)][::-1] if is_swapped else [outer, inner]
    error = _refusal(*pair)
    assert error.operation == "inside"
    assert "/d1 is inside the copy on /d0" in str(error)


@pytest.mark.fault(66)
@pytest.mark.parametrize("is_swapped", [False, True])
@pytest.mark.parametrize("above", [(), ("new",)])
def test_destination_inside_a_copy_that_is_still_to_be_made_is_refused(
    above: tuple[str, ...], is_swapped: bool
) -> None:
    same: dict[str, Any] = {"anchor": Identity(10, 2)}
    outer = _destination(0, missing=above, **same)
    inner = _destination(1, missing=(*above, "card", "sub"), **same)
    pair = [outer._replace(number=1), inner._replace(number=0)][::-1] if is_swapped else [outer, inner]
    assert "/d1 is inside the copy on /d0" in str(_refusal(*pair))
    assert _plan(outer, inner._replace(missing=(*above, "cards")))


def test_destination_beside_the_copy_on_another_one_is_good() -> None:
    root = Identity(10, 2)
    beside = _destination(1, anchor=Identity(10, 8), ways_up=(Identity(10, 8), root))
    assert _plan(_destination(0), beside)
    assert _plan(_destination(0, tops=(Identity(10, 7),)), beside)


def test_content_that_goes_straight_into_a_destination_takes_all_of_it() -> None:
    tree = _tree((_CONTENT, {"a": 1}))
    root = Identity(10, 2)
    outer = _destination(0, tops=(root,))
    inner = _destination(1, anchor=Identity(10, 8), ways_up=(Identity(10, 8), root))
    assert _refusal(outer, inner, tree=tree).operation == "inside"
    new = [_destination(n, anchor=root, missing=("new", "er")[: n + 1]) for n in range(2)]
    assert _refusal(*new, tree=tree).operation == "inside"


@pytest.mark.parametrize("reachable", [(1,), (1, 2), (0, 2), (3, 7)])
def test_destination_that_cannot_be_reached_does_not_stop_the_others(reachable: tuple[int, ...]) -> None:
    plan = _plan(*(_destination(number) for number in reachable))
    assert plan.warnings == ()


# -- two sources of one name ------------------------------------------------------------------------------


@pytest.mark.fault(67)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SourceRoot("/x/card", "/x/card", "card"), SourceRoot("/y/card", "/y/card", "card")),
        (SourceRoot("/x/a", "/x", "", only="a"), SourceRoot("/y/a", "/y", "", only="a")),
        (SourceRoot("/x/a", "/x", "", only="a"), SourceRoot("/y/a", "/y/a", "a")),
        (SourceRoot("/x/", "/x/", ""), SourceRoot("/y/", "/y/", "")),
    ],
)
def test_two_sources_that_would_go_to_one_name_are_refused(one: SourceRoot, other: SourceRoot) -> None:
    tree = _tree((one, {one.only or "b": 1}), (other, {other.only or "c": 1}))
    error = _refusal(_destination(sources=2), tree=tree)
    assert error.operation == "same-destination"
    assert one.label in str(error)
    assert other.label in str(error)


def test_sources_of_different_names_are_good() -> None:
    files = [SourceRoot(f"/x/{name}", "/x", "", only=name) for name in ("a", "b")]
    tree = _tree((_CARD, {"a": 1}), *((root, {root.only or "": 1}) for root in files), (_CONTENT, {"c": 1}))
    assert _plan(_destination(sources=4), tree=tree).event.files == 4


@pytest.mark.fault(67)
@pytest.mark.parametrize(
    "other",
    [SourceRoot("/y/a", "/y", "", only="a"), SourceRoot("/y/sub", "/y/sub", "sub"), SourceRoot("/y/a", "/y/a", "a")],
)
def test_source_that_would_go_to_a_name_in_the_content_of_another_is_refused(other: SourceRoot) -> None:
    tree = _tree((_CONTENT, {"a": 1, "sub/b": 1}), (other, {other.only or "b": 2}))
    assert other.label in str(_refusal(_destination(sources=2), tree=tree))


@pytest.mark.fault(67)
@pytest.mark.parametrize("names", [("\u00e9", "e\u0301"), ("Card", "CARD")])
def test_sources_whose_names_are_one_on_some_file_systems_are_refused(names: tuple[str, str]) -> None:
    tree = _tree(*((SourceRoot(f"/{n}/{name}", f"/{n}/{name}", name), {"a": 1}) for n, name in enumerate(names)))
    assert _refusal(_destination(sources=2), tree=tree).operation == "same-destination"


# -- what does not fit ------------------------------------------------------------------------------------


@pytest.mark.fault(74)
def test_name_that_is_too_long_for_a_destination_is_refused() -> None:
    tree = _card({"sub/" + "n" * 144: 1, "short": 1})
    error = _refusal(_destination(0), _destination(1, longest_name=143), tree=tree)
    assert (error.errno, error.path) == ("ENAMETOOLONG", "/d1")
    assert "sub/" + "n" * 144 in str(error)
    assert "143" in str(error)
    assert _plan(_destination(longest_name=144), tree=tree)
    assert _plan(_destination(longest_name=None), tree=tree)


@pytest.mark.fault(74)
def test_length_of_a_name_is_counted_in_bytes() -> None:
    tree = _card({"\u00e9" * 72: 1})
    assert _refusal(_destination(longest_name=143), tree=tree).errno == "ENAMETOOLONG"
    assert _plan(_destination(longest_name=144), tree=tree)
    assert _refusal(_destination(longest_name=143), tree=_card({"\U0001f3a5" * 36: 1})).errno == "ENAMETOOLONG"
    assert _plan(_destination(longest_name=144), tree=_card({"\udcff" * 144: 1}))


@pytest.mark.fault(74)
def test_folder_whose_name_is_too_long_for_a_destination_is_refused() -> None:
    name = "n" * 144
    for tree in (_card({f"{name}/a": 1}), _card({f"x/{name}/": 0}), _tree((SourceRoot(name, name, name), {"a": 1}))):
        assert _refusal(_destination(longest_name=143), tree=tree).errno == "ENAMETOOLONG"
        assert _plan(_destination(longest_name=144), tree=tree)
    assert _plan(_destination(longest_name=143), tree=_card({"/".join(["n" * 100] * 9): 1}))


@pytest.mark.fault(5)
@pytest.mark.parametrize("filesystem", ["vfat", "msdos", "msdosfs", "fat32"])
def test_file_of_four_gib_is_refused_on_fat(filesystem: str) -> None:
    on_fat = _destination(0, mount=Mount(filesystem, "/d0"))
    error = _refusal(on_fat, _destination(1), tree=_card({"small": 1, "sub/large.mov": 4 * _GIB}))
    assert (error.errno, error.path) == ("EFBIG", "/d0")
    assert "sub/large.mov" in str(error)
    assert _plan(on_fat, tree=_card({"a": 4 * _GIB - 1}))
    assert _plan(_destination(mount=Mount("exfat", "/d0")), tree=_card({"a": 4 * _GIB}))


def test_full_volume_is_refused_before_anything_is_written() -> None:
    error = _refusal(_destination(free=10 * _MIB - 1))
    assert (error.errno, error.operation, error.path) == ("ENOSPC", "space", "/d0")
    assert _plan(_destination(free=10 * _MIB))
    assert _plan(_destination(free=None))


def test_space_is_judged_by_what_is_still_missing() -> None:
    assert _plan(_destination(free=0), needed={0: 0})
    assert _plan(_destination(free=99), needed={0: 99})
    assert _refusal(_destination(free=98), needed={0: 99}).errno == "ENOSPC"
    assert _refusal(_destination(free=0), needed={1: 0}).errno == "ENOSPC"


def test_destinations_on_one_volume_add_up() -> None:
    pair = [_destination(number, anchor=Identity(7, number), free=15 * _MIB) for number in range(2)]
    error = _refusal(*pair)
    assert error.errno == "ENOSPC"
    assert "/d0" in str(error)
    assert "/d1" in str(error)
    assert "21.0 MB are needed, 15.7 MB are free" in str(error)
    assert _plan(*pair, needed={0: 10 * _MIB, 1: 5 * _MIB})
    assert _plan(*(each._replace(anchor=Identity(70 + each.number, 2)) for each in pair))


@pytest.mark.fault(23)
def test_volume_of_its_own_can_be_required() -> None:
    pair = _destination(0), _destination(1, is_own_volume=False)
    error = _refusal(*pair, require_mount=True)
    assert (error.operation, error.path) == ("require-mount", "/d1")
    assert _plan(*pair)
    assert _plan(_destination(0), require_mount=True)


@pytest.mark.fault(78)
def test_refusal_shows_hostile_names_safely() -> None:
    label = "/x\x1b[2J\n"
    root = SourceRoot(label, label, "x\x1b")
    hostile: dict[str, Any] = {"label": label, "path": label, "tops": (Identity(1, 50),)}
    assert "[2J" in str(_refusal(_destination(**hostile), tree=_tree((root, {"a": 1}))))
    tree = _tree((root, {"\n" * 256: 1}))
    assert _refusal(_destination(label=label), tree=tree).errno == "ENAMETOOLONG"


# -- warnings ---------------------------------------------------------------------------------------------


def test_source_with_nothing_in_it_may_be_a_card_that_is_not_mounted() -> None:
    assert _warnings(tree=_card({})) == ["/mnt/card: there is nothing to copy: is the card mounted?"]
    assert _warnings(tree=_card({"empty folder/": None})) == []
    left_out = _card({})
    left_out.left_out.append(LeftOut("/mnt/card/x", "excluded by x", is_wished=True))
    assert _warnings(tree=left_out) == ["/mnt/card: there is nothing to copy: all of it is left out"]


def _warnings(*destinations: FoundDestination, tree: Tree | None = None) -> list[str]:
    warnings = _plan(*destinations, tree=tree).warnings
    assert all(each.message.isprintable() for each in warnings)
    return [each.message for each in warnings]


def test_nothing_odd_is_no_warning() -> None:
    tree = _card()
    tree.left_out.append(LeftOut("/mnt/card/a.tmp", "excluded", is_wished=True))
    assert _warnings(_destination(0), _destination(1), tree=tree) == []


def test_what_the_copies_will_not_have_is_a_warning() -> None:
    tree = _card()
    tree.hard_links, tree.sparse = 3, 2
    tree.left_out.append(LeftOut("/mnt/card/fi\nfo", "a FIFO", is_wished=False))
    warnings = _warnings(tree=tree)
    assert len(warnings) == 3
    assert [message for message in warnings if "3 files are hard links" in message]
    assert [message for message in warnings if "2 files have holes" in message]
    assert [message for message in warnings if "a FIFO: not copied" in message]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            {"anchor": Identity(7, 1), "storage": Storage(StorageKind.SOLID, "")},
            {"anchor": Identity(7, 2), "storage": Storage(StorageKind.SOLID, "")},
        ),
        ({"storage": Storage(StorageKind.SOLID, "sda")}, {"storage": Storage(StorageKind.SOLID, "sda")}),
        ({"storage": Storage(StorageKind.SOLID, "sda+sdb")}, {"storage": Storage(StorageKind.ROTATIONAL, "sdb+sdc")}),
        (
            {"anchor": Identity(7, 1), "storage": Storage(StorageKind.NETWORK, "")},
            {"anchor": Identity(7, 2), "storage": Storage(StorageKind.NETWORK, "")},
        ),
    ],
)
def test_two_destinations_on_one_disk_are_a_warning(one: dict[str, Any], other: dict[str, Any]) -> None:
    plan = _plan(_destination(0, **one), _destination(1, **other))
    (warning,) = plan.warnings
    assert "/d0 and /d1 are on one disk" in warning.message
    assert warning.destination == "/d1"


def test_three_destinations_on_one_disk_are_a_warning_for_each_one_more() -> None:
    on_disk = [_destination(number, storage=Storage(StorageKind.SOLID, "sda")) for number in range(3)]
    assert [warning.destination for warning in _plan(*on_disk).warnings] == ["/d1", "/d2"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Storage(StorageKind.SOLID, "sda"), Storage(StorageKind.SOLID, "sdb")),
        (Storage(StorageKind.SOLID, "sda"), Storage(StorageKind.SOLID, "sdaa")),
        (Storage(StorageKind.UNKNOWN, ""), Storage(StorageKind.UNKNOWN, "")),
        (Storage(StorageKind.MEMORY, ""), Storage(StorageKind.SOLID, "sda")),
    ],
)
def test_destinations_on_different_disks_are_no_warning(one: Storage, other: Storage) -> None:
    assert _warnings(_destination(0, storage=one), _destination(1, storage=other)) == []


def test_memory_is_no_disk_that_fails() -> None:
    memory = Storage(StorageKind.MEMORY, "")
    assert _warnings(*(_destination(n, anchor=Identity(7, n), storage=memory) for n in range(2))) == []


# -- the copy path ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ({}, Strategy.BATCH),
        ({"a": 0, "b": LARGEST_SMALL_FILE}, Strategy.BATCH),
        ({"link": None}, Strategy.BATCH),
        ({"a": LARGEST_SMALL_FILE + 1}, Strategy.SINGLE),
        ({"a": _GIB, "b": 2 * _GIB}, Strategy.PARALLEL),
        ({"a": LARGEST_SMALL_FILE + 1, "b": _GIB}, Strategy.MIXED),
        ({"a": 1, "b": _GIB}, Strategy.MIXED),
    ],
)
def test_path_is_chosen_by_the_sizes_of_the_files(paths: dict[str, int | None], expected: Strategy) -> None:
    assert _plan(_destination(0), _destination(1), tree=_card(paths)).event.strategy is expected


@pytest.mark.parametrize("strategy", [Strategy.SINGLE, Strategy.PARALLEL])
def test_path_can_be_forced(strategy: Strategy) -> None:
    plan = _plan(tree=_card({"a": 1, "b": _GIB}), strategy=strategy)
    assert plan.event.strategy is strategy
    assert "as asked for" in plan.event.reason


def test_forced_batch_is_for_what_fits_into_one() -> None:
    assert _plan(tree=_card({"a": 1}), strategy=Strategy.BATCH).event.strategy is Strategy.BATCH
    assert _plan(tree=_card({"a": 1, "b": _GIB}), strategy=Strategy.BATCH).event.strategy is Strategy.MIXED


# -- jobs and memory --------------------------------------------------------------------------------------


def test_number_of_jobs_can_be_asked_for() -> None:
    slow = Storage(StorageKind.ROTATIONAL, "sda")
    plan = _plan(_destination(storage=slow), jobs=6)
    assert plan.jobs.at_once == plan.jobs.readers == plan.event.jobs == 6
    assert plan.jobs.reason in plan.event.reason


def test_number_of_jobs_is_that_of_the_processors() -> None:
    assert [_plan(machine=_MACHINE._replace(cores=cores)).event.jobs for cores in (1, 2, 4)] == [1, 2, 4]


@pytest.mark.parametrize("kind", [StorageKind.ROTATIONAL, StorageKind.NETWORK, StorageKind.UNKNOWN])
@pytest.mark.parametrize("is_source", [False, True])
def test_slow_storage_on_either_side_means_one_file_at_a_time(kind: StorageKind, is_source: bool) -> None:
    slow = Storage(kind, "")
    source, quick, other = _source(), _destination(0), _destination(1)
    if is_source:
        source = source._replace(storage=slow)
    else:
        other = other._replace(storage=slow)
    plan = _plan(quick, other, sources=[source])
    assert (plan.jobs.at_once, plan.jobs.readers) == (2, 1)
    assert str(kind) in plan.event.reason


def test_little_memory_means_fewer_jobs() -> None:
    large = _card({"a": _GIB})
    each = _plan(tree=large, machine=_MACHINE._replace(cores=1)).event.memory_bound
    for count in (1, 2, 3):
        machine = _MACHINE._replace(available_memory=int(each * (count + 0.5) / 0.8))
        plan = _plan(tree=large, machine=machine)
        assert plan.event.jobs == count
        assert "want of memory" in plan.event.reason
    assert _plan(tree=large, machine=_MACHINE._replace(available_memory=1 << 40)).event.jobs == 4


def test_less_memory_than_one_job_needs_is_refused() -> None:
    error = _refusal(machine=_MACHINE._replace(available_memory=4 * _MIB))
    assert (error.operation, error.errno) == ("memory", "ENOMEM")


def test_memory_limit_means_fewer_jobs_or_smaller_ones() -> None:
    large = _card({"a": _GIB})
    free = _plan(tree=large).event.memory_bound
    for share in (2, 3, 5):
        plan = _plan(tree=large, memory_limit=free // share)
        assert plan.event.memory_bound <= free // share
    assert _plan(tree=large, memory_limit=free * 2).event.jobs == 4


_SIZES = st.lists(st.integers(0, 1 << 36), max_size=3)
_OPTIONS = {
    "chunk": st.none() | st.integers(1, 1 << 24),
    "depth": st.none() | st.integers(1, 32),
    "jobs": st.none() | st.integers(1, 32),
    "strategy": st.sampled_from([each for each in Strategy if each is not Strategy.MIXED]),
    "verify": st.sampled_from(list(Verify)),
    "verify_source": st.sampled_from(list(VerifySource)),
}


def _bounded(count: int, sizes: list[int], available: int | None = None, **options: Any) -> TreePlan | None:
    """A plan, or None where it was refused for want of memory."""
    named = {"chunk": "chunk_size", "depth": "queue_depth", "limit": "memory_limit"}
    try:
        return _plan(
            *(_destination(number, free=None) for number in range(count)),
            tree=_card({f"f{number}": size for number, size in enumerate(sizes)}),
            machine=Machine(8, available, has_processes=True),
            **{named.get(name, name): value for name, value in options.items()},
        )
    except UsageError as error:
        assert "--memory-limit" in str(error)  # noqa: PT017 - either it fits, or it is refused
    except RefusedError as error:
        assert error.operation == "memory"  # noqa: PT017
    return None


def _data_memory(plan: TreePlan, count: int) -> int:
    """All that the chunks of all jobs take at once, when every destination reads back as well."""
    return plan.jobs.at_once * (plan.sizes.chunk * plan.sizes.buffers + plan.sizes.read_back * count)


@settings(deadline=None, max_examples=50)
@given(count=st.integers(1, 40), sizes=_SIZES, available=st.none() | st.integers(1, 1 << 34), **_OPTIONS)
def test_stated_bound_is_for_all_jobs_together_and_within_the_memory_that_there_is(
    count: int, sizes: list[int], available: int | None, **options: Any
) -> None:
    plan = _bounded(count, sizes, available, **options)
    if plan is None:
        return
    assert plan.event.jobs == plan.jobs.at_once >= plan.jobs.readers >= 1
    assert plan.event.memory_bound >= _data_memory(plan, count)
    assert available is None or plan.event.memory_bound <= available * 0.8
    if any(size <= plan.largest_small for size in sizes):
        assert plan.event.memory_bound >= plan.jobs.at_once * buffer_size(plan.largest_small)


@settings(deadline=None, max_examples=50)
@given(count=st.integers(1, 40), sizes=_SIZES, limit=st.integers(1, 1 << 30), **_OPTIONS)
@example(
    count=1,
    sizes=[1],
    limit=_MIB,
    chunk=None,
    depth=None,
    jobs=None,
    strategy=Strategy.AUTO,
    verify=Verify.NONE,
    verify_source=VerifySource.NONE,
)
@example(
    count=1,
    sizes=[1, _GIB],
    limit=16 * _MIB,
    chunk=None,
    depth=None,
    jobs=8,
    strategy=Strategy.AUTO,
    verify=Verify.DESTINATION,
    verify_source=VerifySource.NONE,
)
def test_bound_of_all_jobs_together_is_within_the_limit_or_refused(
    count: int, sizes: list[int], limit: int, **options: Any
) -> None:
    plan = _bounded(count, sizes, limit=limit, **options)
    if plan is not None:
        assert _data_memory(plan, count) <= plan.event.memory_bound <= limit


def test_little_memory_makes_the_files_smaller_that_go_into_a_batch() -> None:
    tree = _card({"a": 300_000, "b": 3000})
    plan = _plan(tree=tree, memory_limit=200_000, jobs=2)
    assert 3000 < plan.largest_small < 100_000
    assert plan.event.strategy is Strategy.MIXED
    assert "1 large files one by one" in plan.event.reason
    assert _plan(tree=tree).largest_small == LARGEST_SMALL_FILE
    assert _plan(tree=tree, strategy=Strategy.SINGLE).largest_small == -1


def test_jobs_allocate_no_more_than_the_stated_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live: dict[int, int] = {}
    most = 0

    def count(size: int) -> memoryview:
        nonlocal most
        buffer = page_aligned_buffer(size)
        live[id(buffer)] = len(buffer)
        weakref.finalize(buffer, live.pop, id(buffer), None)
        most = max(most, sum(live.values()))
        return buffer

    for module in (batch, chunks, destination, parallel, single):
        monkeypatch.setattr(module, "page_aligned_buffer", count)
    make_file(tmp_path / "card/large.mov", 8 * _MIB)
    for number in range(4):
        make_file(tmp_path / f"card/sub/small{number}", 100_000)
    events: list[Event] = []
    result = TreeOffload(
        [str(tmp_path / "card")],
        [str(tmp_path / f"d{number}") for number in range(2)],
        CopyOptions(jobs=1, memory_limit=_MIB),
        observer=events.append,
        cancel=threading.Event(),
        system=native_system(),
    ).run()
    (plan,) = [event for event in events if isinstance(event, PlanEvent)]
    assert result.success
    assert plan.strategy is Strategy.MIXED
    assert 0 < most <= plan.memory_bound <= _MIB


@pytest.mark.parametrize(
    ("small", "changes", "options", "expected"),
    [
        (400, {}, {}, 4),
        (399, {}, {}, 0),
        (400, {"has_processes": False}, {}, 0),
        (400, {"cores": 1}, {}, 0),
        (400, {}, {"bandwidth_limit": 1000}, 0),
        (400, {}, {"jobs": 3}, 3),
        (400, {}, {"strategy": Strategy.SINGLE}, 0),
    ],
)
def test_processes_are_for_many_small_files(
    small: int, changes: dict[str, Any], options: dict[str, Any], expected: int
) -> None:
    machine = Machine(4, None, has_processes=True)._replace(**changes)
    plan = _plan(tree=_card({f"f{number}": 10 for number in range(small)}), machine=machine, **options)
    assert plan.batch_processes == expected
    assert ("processes" in plan.event.reason.split(";")[0]) == bool(expected)


def test_plan_tells_what_will_be_done() -> None:
    tree = _card({"a": 1, "link": None, "sub/b": 30, "empty/": 0})
    plan = _plan(_destination(0, free=1 << 30), _destination(1, free=None), tree=tree, hashes=("md5", "xxh3"))
    event = plan.event
    assert (event.files, event.bytes, event.is_tree) == (3, 31, True)
    assert event.free_bytes == (("/d0", 1 << 30), ("/d1", None))
    assert event.chunk_size == plan.sizes.chunk
    assert event.queue_depth >= 1
    assert "3 small files in batches in this process" in event.reason
    assert (plan.digests.asked, plan.digests.comparison) == (("md5", "xxh3"), "xxh3")
    large = _plan(tree=_card({"a": 1, "b": _GIB, "c": _GIB})).event
    assert "1 small files" in large.reason
    assert "2 large files one by one" in large.reason


# -- jobs -------------------------------------------------------------------------------------------------


def _jobs(
    tree: Tree, missing: Mapping[int, tuple[int, ...]] | None = None, count: int = 2, **options: Any
) -> list[Job]:
    plan = _plan(*(_destination(number, len(tree.roots), free=None) for number in range(count)), tree=tree, **options)
    setup = JobSetup(
        key="key",
        sources=tuple(TreeSource(root.label, root.path, root.prefix) for root in tree.roots),
        targets=tuple(
            TreeTarget(number, f"/d{number}", f"/d{number}", None, is_memory=False, is_forced=True)
            for number in range(count)
        ),
        options=CopyOptions(**options),
        digests=plan.digests,
        sizes=plan.sizes,
        largest_small=plan.largest_small,
    )
    jobs = list(make_jobs(tree, setup, missing))
    assert all(job.setup is setup for job in jobs)
    return jobs


def _numbers(job: Job) -> list[int]:
    return [file.number for file in job.files()]


def test_small_files_are_put_together_and_a_large_one_is_alone() -> None:
    tree = _card({"a": 1, "sub/b": LARGEST_SMALL_FILE, "sub/big": LARGEST_SMALL_FILE + 1, "c": 2, "bigger": _GIB})
    jobs = _jobs(tree)
    assert [(_numbers(job), job.strategy) for job in sorted(jobs, key=_numbers)] == [
        ([0, 1, 3], Strategy.BATCH),
        ([2], Strategy.SINGLE),
        ([4], Strategy.PARALLEL),
    ]
    assert all((job.root, job.targets) == (0, (0, 1)) for job in jobs)
    (batch,) = [job for job in jobs if job.strategy is Strategy.BATCH]
    assert [(file.path, file.size) for file in batch.files()] == [("a", 1), ("sub/b", LARGEST_SMALL_FILE), ("c", 2)]
    assert batch.size == LARGEST_SMALL_FILE + 3


def test_links_go_with_the_small_files_whatever_the_path() -> None:
    tree = _card({"link": None, "sub/link": None, "a": 5})
    for strategy in (Strategy.AUTO, Strategy.PARALLEL, Strategy.SINGLE):
        jobs = _jobs(tree, strategy=strategy)
        (with_links,) = [job for job in jobs if any(file.is_link for file in job.files())]
        assert with_links.strategy is Strategy.BATCH
        assert {file.path for file in with_links.files() if file.is_link} == {"link", "sub/link"}


@pytest.mark.parametrize("strategy", [Strategy.SINGLE, Strategy.PARALLEL])
def test_forced_path_takes_every_file_by_itself(strategy: Strategy) -> None:
    jobs = _jobs(_card({"a": 1, "b": _GIB}), strategy=strategy)
    assert [(_numbers(job), job.strategy) for job in jobs] == [([0], strategy), ([1], strategy)]


def test_batch_is_bounded_in_files() -> None:
    jobs = _jobs(_card({f"f{number}": 0 for number in range(1000)}))
    assert max(len(job.files()) for job in jobs) <= 256
    assert len(jobs) <= 10
    assert [number for job in jobs for number in _numbers(job)] == list(range(1000))


def test_batch_is_bounded_in_bytes() -> None:
    jobs = _jobs(_card({f"f{number}": LARGEST_SMALL_FILE for number in range(100)}))
    assert max(job.size for job in jobs) <= 64 * _MIB
    assert len(jobs) == 7
    assert [number for job in jobs for number in _numbers(job)] == list(range(100))


def test_batch_is_of_one_source() -> None:
    other = SourceRoot("/mnt/other", "/mnt/other", "other")
    jobs = _jobs(_tree((_CARD, {"a": 1, "sub/b": 1}), (other, {"c": 1})))
    assert [(job.root, [file.path for file in job.files()]) for job in jobs] == [(0, ["a", "sub/b"]), (1, ["c"])]


def test_file_goes_only_where_it_is_missing() -> None:
    tree = _card({"a": 1, "b": 1, "c": 1, "d": 1, "big": _GIB, "done": _GIB})
    jobs = _jobs(tree, {0: (1,), 1: (), 2: (0,), 4: (1,), 5: ()})
    found = {number: job.targets for job in jobs for number in _numbers(job)}
    assert found == {0: (1,), 2: (0,), 3: (0, 1), 4: (1,)}


def test_path_of_a_large_file_is_chosen_by_how_many_destinations_lack_it() -> None:
    size = 10 * _MIB  # pays for two, not for one
    tree = _card({"a": size, "b": size})
    assert [job.strategy for job in _jobs(tree, {1: (0,)})] == [Strategy.PARALLEL, Strategy.SINGLE]


def test_nothing_to_be_done_is_no_job() -> None:
    assert _jobs(_card({})) == []
    assert _jobs(_card({"a": 1, "b": _GIB}), {0: (), 1: ()}) == []


_KINDS = st.tuples(
    st.sampled_from([0, 1, LARGEST_SMALL_FILE, LARGEST_SMALL_FILE + 1, _GIB, None]),
    st.sampled_from([None, (), (0,), (1,), (0, 1)]),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(_KINDS, max_size=40), st.integers(1, 3))
def test_every_file_is_in_one_job_for_exactly_the_destinations_that_lack_it(
    kinds: list[tuple[int | None, tuple[int, ...] | None]], roots: int
) -> None:
    sources: list[tuple[SourceRoot, dict[str, int | None]]] = [
        (SourceRoot(f"/s{n}", f"/s{n}", f"s{n}"), {}) for n in range(roots)
    ]
    for number, (size, _) in enumerate(kinds):
        sources[number * roots // len(kinds)][1][f"f{number}"] = size
    tree = _tree(*sources)
    missing = {number: targets for number, (_, targets) in enumerate(kinds) if targets is not None}
    jobs = _jobs(tree, missing)
    wanted = {number: missing.get(number, (0, 1)) for number in range(len(kinds))}
    assert {number: job.targets for job in jobs for number in _numbers(job)} == {
        number: targets for number, targets in wanted.items() if targets
    }
    assert len({number for job in jobs for number in _numbers(job)}) == sum(len(job.files()) for job in jobs)
    for job in jobs:
        assert {tree.folders[tree.files[number].folder].root for number in _numbers(job)} == {job.root}
        assert job.strategy is Strategy.BATCH or len(job.files()) == 1
