"""Draws what a terminal shows while a card is offloaded: a real run, its bars as text in an SVG.

python -m docs.making.bars_picture [FILE]        # docs/bars.svg
"""

import os
import pty
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path

__all__ = ["bars_of_a_run", "picture"]

_FILE = Path(__file__).resolve().parents[2] / "docs" / "bars.svg"
_COMMAND = ["pfndispatchcopy", "A001", "raid", "shuttle"]
_COLUMNS = 92
_WIDTH, _HEIGHT, _MARGIN = 8.43, 19, 16
# One that no browser runs together.
_SPACE = "\N{NO-BREAK SPACE}"
_FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def bars_of_a_run(size: int, bytes_per_second: int) -> list[list[str]]:
    """Offload a card of *size* bytes at a terminal, and return all that was drawn, each time as lines."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "A001").mkdir()
        for number in range(3):
            (Path(folder) / "A001" / f"clip{number}.mov").write_bytes(os.urandom(size // 3))
        ours, theirs = pty.openpty()
        program = [sys.executable, "-m", "pfndispatchcopy", "--config", os.devnull, "--bwlimit", str(bytes_per_second)]
        with subprocess.Popen(
            ["sh", "-c", f'stty cols {_COLUMNS} rows 24; exec "$@"', "sh", *program, *_COMMAND[1:]],
            cwd=folder,
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8"},
        ) as process:
            os.close(theirs)
            drawn = b""
            try:
                while more := os.read(ours, 65536):
                    drawn += more
            except OSError:  # the end of a terminal, on Linux
                pass
            os.close(ours)
        if process.returncode != 0:
            raise RuntimeError(drawn.decode("utf-8", "replace"))
    frames = [frame.partition("\r\x1b")[0] for frame in drawn.decode("utf-8").split("\x1b[J")]
    return [frame.split("\r\n") for frame in frames if "%|" in frame]


def picture(frames: list[list[str]]) -> str:
    """Draw one of the frames, from the middle of the copying."""
    copying = [frame for frame in frames if frame[0].startswith("copying") and len(frame) == 3]
    lines = [f"$ {' '.join(_COMMAND)}", *copying[len(copying) * 2 // 3]]
    width, height = round(_COLUMNS * _WIDTH + 2 * _MARGIN), len(lines) * _HEIGHT + 2 * _MARGIN
    texts = [escape(line.rstrip()).replace(" ", _SPACE) for line in lines]
    rows = "\n".join(
        f'<text x="{_MARGIN}" y="{_MARGIN + _HEIGHT * (number + 1) - 5}"'
        f' textLength="{len(text) * _WIDTH:.0f}" lengthAdjust="spacingAndGlyphs">{text}</text>'
        for number, text in enumerate(texts)
    )
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">
<title>Bars of an offload to two disks</title>
<rect width="100%" height="100%" rx="8" fill="#1e2227"/>
<g font-family="{_FONT}" font-size="14" fill="#d7dae0">
{rows}
</g>
</svg>
"""


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else _FILE
    target.write_text(picture(bars_of_a_run(60_000_000, 20_000_000)), encoding="utf-8")
