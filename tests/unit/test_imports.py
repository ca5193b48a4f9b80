"""The rooms: imports point one way, and what belongs in one room is in no other."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import pfndispatchcopy

_ROOT = Path(pfndispatchcopy.__file__).parent
_PACKAGE = "pfndispatchcopy"

# The lowest first; a room imports from its own floor and from those below it.
_FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"errors"}),
    frozenset({"exact_paths", "model", "printable", "notices", "selection"}),
    frozenset({"hashing", "options", "events", "progress", "config", "fileio"}),
    frozenset({"dispatch", "engine", "engines", "executors", "hashlists", "journal", "nursery", "workers"}),
    frozenset({"handover", "plan", "preflight", "places", "session"}),
    frozenset({"check", "tree"}),
    frozenset({"offload", "api"}),
    frozenset({"report"}),
    frozenset({"cli"}),
)

# Who makes threads, locks, conditions and events. A new name here is a decision, not an accident.
_ROOMS_WITH_THREADING = {
    "api",
    "check.verify",
    "cli.awake",
    "cli.processes",
    "cli.streams",
    "cli.worker",
    "engine.chunks",
    "engine.destination",
    "engine.elsewhere",
    "engine.lanes",
    "engine.source",
    "engine.workplace",
    "engine.writers",
    "executors",
    "nursery",
    "progress",
    "session",
}


# Who knows of executors: the seam itself, and those that hand a caller's executor through to it.
_ROOMS_WITH_EXECUTORS = {"api", "dispatch", "engines", "executors", "offload", "tree.session"}


class _Import(NamedTuple):
    importer: str
    imported: str
    is_at_module_level: bool
    is_for_types_only: bool


def _modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(_ROOT.rglob("*.py")):
        parts = path.relative_to(_ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return found


_MODULES = _modules()


def _imports(name: str) -> Iterator[_Import]:
    def walk(node: ast.AST, *, top: bool, types: bool) -> Iterator[_Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield _Import(name, alias.name, top, types)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{name} imports relatively"
                assert child.module is not None
                for alias in child.names:
                    below = f"{child.module}.{alias.name}"
                    is_module = below.removeprefix(f"{_PACKAGE}.") in _MODULES
                    yield _Import(name, below if is_module else child.module, top, types)
            else:
                is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                is_guard = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
                yield from walk(child, top=top and not is_function, types=types or is_guard)

    yield from walk(_MODULES[name], top=True, types=False)


_ALL = [each for name in _MODULES for each in _imports(name)]
_WITHIN = [
    each._replace(imported=each.imported.removeprefix(_PACKAGE).removeprefix("."))
    for each in _ALL
    if each.imported.partition(".")[0] == _PACKAGE
]


def _room(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def _floor(module: str) -> int:
    return next(number for number, rooms in enumerate(_FLOORS) if _room(module) in rooms)


def _floor_or_none(module: str) -> int:
    return _floor(module) if module not in ("", "__main__") else -1


def _importers(library: str) -> set[str]:
    return {each.importer for each in _ALL if each.imported.partition(".")[0] == library}


def test_every_module_has_a_floor() -> None:
    rooms = {_room(name) for name in _MODULES} - {"", "__main__"}
    assert rooms == frozenset().union(*_FLOORS)
    assert len(_WITHIN) > 100


@pytest.mark.parametrize("name", sorted(set(_MODULES) - {"", "__main__"}))
def test_imports_point_one_way(name: str) -> None:
    up = [
        each.imported
        for each in _WITHIN
        if each.importer == name
        and each.imported  # the package itself holds nothing but its version
        and not each.is_for_types_only
        and _floor(each.imported) > _floor(name)
    ]
    assert up == []


def test_only_the_command_and_what_it_signs_know_the_version_of_the_package() -> None:
    assert {_room(each.importer) for each in _WITHIN if not each.imported} <= {"cli", "handover"}


def test_no_module_imports_itself_by_a_detour() -> None:
    graph: dict[str, set[str]] = {name: set() for name in _MODULES}
    for each in _WITHIN:
        if each.is_at_module_level and not each.is_for_types_only:
            graph[each.importer].add(each.imported)
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for imported in graph[name]:
                visit(imported, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())
    assert done == set(_MODULES)


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("tqdm", {"cli.bars"}),
        ("xxhash", {"hashing"}),
        ("hashlib", {"hashing"}),
        ("tomllib", {"config"}),
        ("xml", {"hashlists.xml_reader"}),
        ("argparse", {"cli.arguments"}),
        (
            "json",
            {
                "cli.front",
                "cli.jsonlines",
                "cli.reports",
                "journal",
                "report.contents",
                "report.html_report",
                "report.json_report",
                "report.notes",
            },
        ),
        ("jinja2", {"report.html_report"}),
        ("markupsafe", {"report.html_report"}),
        ("csv", {"report.csv_report"}),
        ("tempfile", {"cli.reports"}),
        ("subprocess", {"cli.awake", "cli.front"}),
        ("signal", {"cli.front", "cli.main", "cli.processes", "nursery"}),
        ("syslog", {"cli.record"}),
        ("resource", {"fileio.system"}),
        ("fcntl", {"fileio.darwin", "fileio.system"}),
    ],
)
def test_library_is_used_in_its_own_room_only(library: str, rooms: set[str]) -> None:
    assert _importers(library) == rooms


@pytest.mark.parametrize("library", ["psutil", "ctypes"])
def test_only_fileio_asks_the_system_directly(library: str) -> None:
    assert _importers(library)
    assert {_room(name) for name in _importers(library)} == {"fileio"}


def test_heavy_libraries_are_imported_when_they_are_used() -> None:
    heavy = {"psutil", "tqdm", "hashlib", "tomllib", "subprocess", "logging", "pathlib", "traceback"}
    early = [each for each in _ALL if each.imported in heavy and each.is_at_module_level and not each.is_for_types_only]
    assert early == []


def _calls(name: str) -> Iterator[str]:
    for node in ast.walk(_MODULES[name]):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


@pytest.mark.parametrize("name", sorted(_MODULES))
def test_only_the_command_prints(name: str) -> None:
    if _room(name) == "cli":
        return
    assert "print" not in set(_calls(name))
    source = ast.unparse(_MODULES[name])
    for stream in ("sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__"):
        assert stream not in source


def test_command_ends_the_process_and_nobody_else_does() -> None:
    ending = {name for name in _MODULES if set(_calls(name)) & {"sys.exit", "os._exit", "os.abort", "exit"}}
    assert {_room(name) for name in ending} == {"cli", "nursery"}  # and its processes themselves


def test_threads_and_locks_are_made_in_few_rooms() -> None:
    made = {"Thread", "Lock", "RLock", "Condition", "Event", "Semaphore", "BoundedSemaphore", "Barrier", "Timer"}
    found = {
        name for name in _MODULES if any(call.split(".")[-1] in made for call in _calls(name) if "threading." in call)
    }
    assert found == _ROOMS_WITH_THREADING
    for each in _ALL:  # so that the calls above are all that there are
        assert each.imported not in {"_thread", "multiprocessing", "asyncio"}, each
        assert each.imported != "concurrent.futures" or each.importer in _ROOMS_WITH_EXECUTORS, each
    for tree in _MODULES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                assert node.module != "threading"


# Calls that touch no file: they work on paths as text, on descriptors 0 to 2, or on the process.
_HARMLESS_OS_CALLS = {
    "os.dup",
    "os.fsdecode",
    "os.fsencode",
    "os.fspath",
    "os.getpid",
    "os.path.abspath",
    "os.path.basename",
    "os.path.dirname",
    "os.path.join",
    "os.path.normpath",
    "os.path.splitext",
    "os.set_blocking",
    "os.strerror",
}


# These two are about processes, and touch pipes alone.
_WITHOUT_FILES = {"executors", "nursery"}


@pytest.mark.parametrize("name", sorted({name for name in _MODULES if 3 <= _floor_or_none(name) <= 6} - _WITHOUT_FILES))
def test_engine_and_session_touch_files_only_through_the_system(name: str) -> None:
    calls = {call for call in _calls(name) if call.startswith(("os.", "shutil.")) or call == "open"}
    assert calls <= _HARMLESS_OS_CALLS
