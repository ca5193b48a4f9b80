"""Which tests inject which rows of the catalogue of faults, as their markers say; read without running anything."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["TESTS", "FaultMark", "fault_marks"]

TESTS = Path(__file__).parents[1]
"""The folder that all tests are in."""
_KERNEL_FOLDER = "kernel/"
"""All tests below it have the marker ``kernel``."""


class FaultMark(NamedTuple):
    """A marker.

    Attributes:
        file: the file of the test, relative to the folder of all tests.
        test: the test or the class; empty where it is of the whole file, or of some parameters.
        rows: what is injected.
        others: names of the other markers that it has as well.
    """

    file: str
    test: str
    rows: tuple[int, ...]
    others: frozenset[str]


@cache
def fault_marks(folder: Path = TESTS) -> tuple[FaultMark, ...]:
    """All markers of all tests.

    Raises:
        ValueError: a marker names no row, or not by its number, so that nobody can tell which one it is.
    """
    found: list[FaultMark] = []
    for path in sorted(folder.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "mark.fault" in text:
            found += _Reading(path.relative_to(folder).as_posix(), ast.parse(text, str(path))).marks
    return tuple(found)


class _Reading:
    """The markers of one file."""

    def __init__(self, file: str, module: ast.Module) -> None:
        self.marks: list[FaultMark] = []
        self._file = file
        self._seen: set[int] = set()
        of_all = {"kernel"} if file.startswith(_KERNEL_FOLDER) else set()
        for node in module.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
                of_all.update(_names(node.value))
        self._tests_below(module, "", of_all)
        self._add(module, "", of_all)

    def _tests_below(self, parent: ast.AST, prefix: str, above: set[str]) -> None:
        for node in ast.iter_child_nodes(parent):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef):
                continue
            name, markers = f"{prefix}{node.name}", above.union(*map(_names, node.decorator_list))
            for decorator in node.decorator_list:
                self._add(decorator, name, markers)
            if isinstance(node, ast.ClassDef):
                self._tests_below(node, f"{name}::", markers)

    def _add(self, where: ast.AST, test: str, others: set[str]) -> None:
        """Note the faults in a part of the file, but for those that were noted already."""
        for node in ast.walk(where):
            if isinstance(node, ast.Call) and _marker(node.func) == "fault" and id(node) not in self._seen:
                self._seen.add(id(node))
                self.marks.append(FaultMark(self._file, test, self._rows(node), frozenset(others)))

    def _rows(self, call: ast.Call) -> tuple[int, ...]:
        rows = [each.value for each in call.args if isinstance(each, ast.Constant) and isinstance(each.value, int)]
        if not rows or len(rows) < len(call.args):
            raise ValueError(f"{self._file}:{call.lineno}: a fault is named by the numbers of its rows")
        return tuple(rows)


def _names(expression: ast.AST) -> Iterator[str]:
    """Names of all markers in an expression."""
    for node in ast.walk(expression):
        name = _marker(node)
        if name is not None:
            yield name


def _marker(node: ast.AST) -> str | None:
    """The name of a marker, of ``pytest.mark.name``; None of everything else."""
    if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "mark"):
        return None
    return node.attr if isinstance(node.value.value, ast.Name) and node.value.value.id == "pytest" else None
