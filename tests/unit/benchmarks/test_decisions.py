"""Constants that a number decided name their experiment, and experiments name what they decide."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
EXPERIMENTS = sorted((ROOT / "benchmarks").glob("exp_*.py"))
MODULES = sorted((ROOT / "pfndispatchcopy").rglob("*.py"))
# How far above a constant its reason may begin.
_LINES_ABOVE = 6
_CONSTANT = re.compile(r"``(pfndispatchcopy(?:\.[a-z_]+)+)\.(_?[A-Z][A-Z_]+)``")


def _decides(experiment: Path) -> str:
    documentation = importlib.import_module(f"benchmarks.{experiment.stem}").__doc__ or ""
    return documentation.partition("\nDecides ")[2]


def _decided() -> list[tuple[str, str, str]]:
    return [
        (experiment.stem, module, name)
        for experiment in EXPERIMENTS
        for module, name in _CONSTANT.findall(_decides(experiment))
    ]


def test_there_are_experiments_and_constants() -> None:
    assert len(EXPERIMENTS) >= 15
    assert len(_decided()) >= 20


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiment_asks_a_question_and_says_how_and_what_for(experiment: Path) -> None:
    documentation = importlib.import_module(f"benchmarks.{experiment.stem}").__doc__ or ""

    assert documentation.partition("\n\n")[0].endswith("?")
    assert "\nMethod: " in documentation
    assert _decides(experiment)
    assert "print_table(" in experiment.read_text()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_experiments_that_the_package_names_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"benchmarks/(\w+\.\w+)", text))

    assert {name for name in named if not (ROOT / "benchmarks" / name).is_file()} == set()


@pytest.mark.parametrize(("experiment", "module", "name"), _decided())
def test_constant_stands_beside_the_name_of_its_experiment(experiment: str, module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)
    lines = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8").splitlines()
    places = [number for number, line in enumerate(lines) if re.match(rf"{name}\b.*=", line)]

    assert len(places) == 1
    assert f"benchmarks/{experiment}.py" in "\n".join(lines[max(0, places[0] - _LINES_ABOVE) : places[0] + 1])
