"""Arguments that the measurements have in common."""

import argparse

from pfndispatchcopy.errors import UsageError
from pfndispatchcopy.options import parse_size

__all__ = ["experiment_parser", "size"]


def size(text: str) -> int:
    """A size in bytes, as the command writes them: ``256MiB``."""
    try:
        return parse_size(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def experiment_parser(name: str, documentation: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """A parser with ``--rounds``; its description is the module's own."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=documentation,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=rounds, metavar="N", help="(default: %(default)s)")
    return parser
