"""The configuration file: TOML, the names of the long options as its keys, presets as tables.

    hash = ["xxh64be", "md5"]
    on-conflict = "rename"

    [preset.card]
    verify-source = "per-file"

The command line overrides a preset, which overrides the top level.
"""

import errno
import os
import stat
from collections.abc import Mapping
from typing import Any

from pfndispatchcopy.errors import UsageError
from pfndispatchcopy.notices import similar_to
from pfndispatchcopy.printable import printable

__all__ = ["as_arguments", "find_file", "read_file"]

# Bytes; nobody writes a longer one, and what is longer, as a device that has no end, is none.
_LONGEST = 1 << 20
_NO_WAITING = getattr(os, "O_NONBLOCK", 0)
# Numbers beyond these no option takes, and Python refuses to write some of them.
_MOST_BITS = 64


def find_file(asked: str | None, environment: Mapping[str, str]) -> str | None:
    """Return the path of the configuration: the one asked for, else ``$PFNDISPATCHCOPY_CONFIG``, else the user's.

    Only the user's own file may be missing.
    """
    named = asked or environment.get("PFNDISPATCHCOPY_CONFIG")
    if named:
        return named
    base = environment.get("XDG_CONFIG_HOME") or os.path.join(environment.get("HOME", ""), ".config")
    path = os.path.join(base, "pfndispatchcopy", "config.toml")
    return path if os.path.isabs(path) and os.path.exists(path) else None


def read_file(path: str, preset: str | None) -> list[tuple[str, dict[str, Any]]]:
    """Return the tables of a file, the lowest first, each with words that say where it stands.

    Raises:
        UsageError: the file cannot be read, is no TOML, or has no such preset.
    """
    import tomllib  # noqa: PLC0415 - 10 ms that a run without a configuration does not need

    shown = printable(path)
    try:
        top = tomllib.loads(_read(path).decode())
    except OSError as error:
        raise UsageError(f"{shown}: the configuration cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{shown}: the configuration is no TOML: {printable(error)}") from None
    presets = top.pop("preset", {})
    if not isinstance(presets, dict) or not all(isinstance(table, dict) for table in presets.values()):
        raise UsageError(f"{shown}: 'preset' has to hold tables: [preset.NAME]")
    layers = [(shown, top)]
    if preset is not None:
        if preset not in presets:
            known = ", ".join(sorted(presets)) or "none"
            raise UsageError(f"{shown}: there is no preset {preset!r}; there are: {known}")
        layers.append((f"{shown}, preset {preset}", presets[preset]))
    return layers


def _read(path: str) -> bytes:
    """Read a file whole; a pipe, too, but no FIFO that nobody writes to: that would wait for ever.

    Raises:
        OSError: it cannot be read, or has no end to speak of (``EFBIG``).
    """
    fd = os.open(path, os.O_RDONLY | _NO_WAITING)
    try:
        os.set_blocking(fd, True)
        data = bytearray()
        while more := os.read(fd, _LONGEST + 1 - len(data)):
            data += more
        if len(data) > _LONGEST:
            raise OSError(errno.EFBIG, f"it has more than {_LONGEST} bytes", path)
        if not data and stat.S_ISFIFO(os.fstat(fd).st_mode):
            raise OSError(errno.EPIPE, "nobody writes to this pipe", path)
        return bytes(data)
    finally:
        os.close(fd)


def as_arguments(table: Mapping[str, Any], known: Mapping[str, bool]) -> tuple[list[str], list[str]]:
    """Turn a table into command-line arguments.

    Args:
        table: keys are long options, with dashes or underscores.
        known: the options there are, and whether each takes a value.

    Returns:
        The arguments, and the names of the flags that are false: a layer below may have set them.

    Raises:
        UsageError: a key or the kind of a value is wrong; the message names the key.
    """
    arguments: list[str] = []
    switched_off: list[str] = []
    for key, value in table.items():
        name = key.replace("_", "-")
        if name not in known:
            raise UsageError(f"unknown key {key!r}{similar_to(name, known)}")
        if not known[name]:
            if not isinstance(value, bool):
                raise UsageError(f"{key!r} is true or false, not {_shown(value)}")
            if value:
                arguments.append(f"--{name}")
            else:
                switched_off.append(name)
            continue
        for each in value if isinstance(value, list) else [value]:
            is_scalar = isinstance(each, str | int | float) and not isinstance(each, bool)
            if not is_scalar or (isinstance(each, int) and each.bit_length() > _MOST_BITS):
                raise UsageError(f"{key!r} cannot be {_shown(each)}")
            arguments.append(f"--{name}={each}")
    return arguments, switched_off


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:  # more digits than Python writes
        return "so large a number"
