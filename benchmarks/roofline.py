"""The limit, in C: ``roofline.c`` as a program that was compiled for this machine.

Run it as ``python -m benchmarks.roofline`` or ``make roofline``, to compile it and to see where it is.
"""

import os
import shutil
import subprocess
import tempfile

__all__ = ["compiled_roofline"]

_SOURCE = os.path.join(os.path.dirname(__file__), "roofline.c")
_BUILD = os.path.join(os.path.dirname(os.path.dirname(_SOURCE)), "build")
_FLAGS = ("-std=gnu11", "-O3", "-march=native", "-Wall", "-Wextra", "-pthread")


def compiled_roofline(folder: str = _BUILD) -> str | None:
    """Compile it, unless that was done already; returns its path, or None where there is no compiler.

    Raises:
        subprocess.CalledProcessError: it does not compile.
    """
    path = os.path.join(folder, "roofline")
    if os.path.exists(path) and os.path.getmtime(path) > os.path.getmtime(_SOURCE):
        return path
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as new:
        made = os.path.join(new, "roofline")
        subprocess.run([compiler, *_FLAGS, "-o", made, _SOURCE], check=True)
        os.replace(made, path)  # two who compile it at once do not run half of it
    return path


def main() -> int:
    path = compiled_roofline()
    if path is None:
        raise SystemExit("there is no C compiler (cc)")
    print(f"{path} [--flush] [--read-back] SOURCE COPY [COPY ...]")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
