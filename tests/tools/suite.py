"""The published MHL tools, in an environment of their own beside the project's."""

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.support.environments import foreign_variables, make_environment

__all__ = ["Answer", "MhlSuite", "install"]

# ascmhl brings a top-level package `tests`, so these tools cannot live in the project's own environment.
REQUIREMENTS = ("mhl-suite==1.3.1", "ascmhl==1.2")
FOLDER = Path(__file__).parents[2] / ".venv-mhl"
_PATIENCE_S = 50

# Many commands in one process: each alone takes 0.4 s to import what it needs, and asks the network for updates.
_ASCMHL = """
import json, sys
from click.testing import CliRunner
from ascmhl import commands
answers = []
for name, *arguments in json.load(sys.stdin):
    done = CliRunner().invoke(getattr(commands, name), arguments)
    said = done.output
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        said += f"{type(done.exception).__name__}: {done.exception}"
    answers.append((done.exit_code, said))
print(json.dumps(answers))
"""

_HASHER = """
import json, sys
from ascmhl.hasher import multiple_format_hash_file
print(json.dumps(multiple_format_hash_file(sys.argv[1], sys.argv[2:])))
"""


class Answer(NamedTuple):
    """What a command said: its exit code, and both of its streams."""

    code: int
    said: str


class MhlSuite:
    """Runs ``ascmhl``, ``ascmhl-debug``, ``simple-mhl`` and ``mhlver``.

    Args:
        folder: the environment that they are installed in.
    """

    def __init__(self, folder: Path) -> None:
        self._bin = folder / "bin"
        (self._package,) = folder.glob("lib/python3*/site-packages/mhl_suite")

    def run(self, tool: str, *arguments: str | Path) -> Answer:
        """Run one of the tools."""
        done = self._start([str(self._bin / tool), *map(str, arguments)])
        return Answer(done.returncode, done.stdout)

    def ascmhl(self, *commands: tuple[str | Path, ...]) -> list[Answer]:
        """Run commands of ``ascmhl`` and ``ascmhl-debug``, each a name and its arguments."""
        wanted = json.dumps([[str(part) for part in command] for command in commands])
        done = self._start([str(self._bin / "python"), "-c", _ASCMHL], wanted)
        assert done.returncode == 0, done.stdout
        return [Answer(*answer) for answer in json.loads(done.stdout)]

    def schema_commands(self, root: Path) -> list[tuple[str | Path, ...]]:
        """Commands that hold the lists of a folder, and their chain, against the published schemas."""
        schemas, folder = self._package / "xsd", root / "ascmhl"
        return [
            *(("xsd_schema_check", "-xsd", schemas / "ASCMHL.xsd", path) for path in sorted(folder.glob("*.mhl"))),
            ("xsd_schema_check", "-xsd", schemas / "ASCMHLDirectory__combined.xsd", folder / "ascmhl_chain.xml"),
        ]

    def digests(self, path: Path, *names: str) -> dict[str, str]:
        """Digests of a file by the hasher of ``ascmhl``."""
        done = self._start([str(self._bin / "python"), "-c", _HASHER, str(path), *names])
        assert done.returncode == 0, done.stdout
        found: dict[str, str] = json.loads(done.stdout)
        return found

    @staticmethod
    def _start(command: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=_PATIENCE_S,
            check=False,
            env={**foreign_variables(), "LC_ALL": "C.UTF-8", "PYTHONUTF8": "1", "TZ": "UTC"},
        )


def install(folder: Path = FOLDER) -> MhlSuite:
    """Make the environment, unless it is there already.

    Raises:
        NotInstallableError: it cannot be made, for want of a network for instance.
    """
    make_environment(folder, REQUIREMENTS)
    return MhlSuite(folder)
