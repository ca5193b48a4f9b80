"""This program as a whole process: how it is called."""

import compileall
import importlib
import os
import sys
from collections.abc import Mapping

import pfndispatchcopy

__all__ = ["ENVIRONMENT", "compile_package", "program", "program_with"]

# The user's own configuration would change what is measured.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("PFNDISPATCHCOPY")},
    "XDG_CONFIG_HOME": os.devnull,
}
_REPLACED = """
import importlib, sys
for path, value in {constants!r}.items():
    module, _, name = path.rpartition(".")
    vars(importlib.import_module(module))[name] = value
from pfndispatchcopy.cli.main import console
sys.exit(console())
"""


def program() -> tuple[str, ...]:
    """The beginning of the command line: the installed script, or else the module."""
    script = os.path.join(os.path.dirname(sys.executable), "pfndispatchcopy")
    return (script,) if os.access(script, os.X_OK) else (sys.executable, "-m", "pfndispatchcopy")


def program_with(constants: Mapping[str, int]) -> tuple[str, ...]:
    """The same with other values of constants, by their full names. Its start takes a little longer.

    Raises:
        AttributeError: there is no such constant.
    """
    for path in constants:
        module, _, name = path.rpartition(".")
        getattr(importlib.import_module(module), name)
    return (sys.executable, "-c", _REPLACED.format(constants=dict(constants)))


def compile_package() -> None:
    """Compile the package to bytecode as an installation does, so that its start is that of users."""
    compileall.compile_dir(os.path.dirname(pfndispatchcopy.__file__), quiet=1)
