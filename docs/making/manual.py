"""Writes what is made from the table of arguments: completions, the manual page, the reference.

python -m docs.making.manual            # what `make manual` does
"""

import json
from collections.abc import Iterator
from pathlib import Path

from docs.making.reference import reference
from pfndispatchcopy.cli.completion import completion
from pfndispatchcopy.cli.manpage import manual_page

__all__ = ["manual_files"]

_ROOT = Path(__file__).resolve().parents[2]


def manual_files() -> Iterator[tuple[Path, str]]:
    """Each file that is made, and its content. Below ``docs/share/`` they lie as they do where they are installed."""
    name = "pfndispatchcopy"
    share = _ROOT / "docs" / "share"
    yield share / "bash-completion" / "completions" / name, completion("bash")
    yield share / "zsh" / "site-functions" / f"_{name}", completion("zsh")
    yield share / "fish" / "vendor_completions.d" / f"{name}.fish", completion("fish")
    yield share / "man" / "man1" / f"{name}.1", manual_page()
    schema = json.loads((_ROOT / "docs" / "events.schema.json").read_text(encoding="utf-8"))
    yield _ROOT / "docs" / "reference.md", reference(schema)


def main() -> None:
    for path, text in manual_files():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
