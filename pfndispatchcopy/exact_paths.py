"""Paths of any bytes, and notices about them, as fields of JSON, which holds only text."""

import base64
from collections.abc import Mapping
from typing import Any

from pfndispatchcopy.model import Notice

__all__ = ["exact_path", "notice_fields", "path_fields"]


def path_fields(path: str, key: str = "path") -> dict[str, str]:
    """Return a path for JSON; one that is not valid UTF-8 has U+FFFD in it, and its bytes beside it."""
    raw = path.encode("utf-8", "surrogateescape")
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return {key: raw.decode("utf-8", "replace"), f"{key}_b64": base64.b64encode(raw).decode("ascii")}
    return {key: path}


def exact_path(fields: Mapping[str, Any], key: str = "path") -> str:
    """Return the path that :func:`path_fields` was given, byte for byte."""
    encoded = fields.get(f"{key}_b64")
    if encoded is None:
        return str(fields[key])
    return base64.b64decode(encoded).decode("utf-8", "surrogateescape")


def notice_fields(notice: Notice) -> dict[str, Any]:
    """The fields of a warning or an error."""
    where = path_fields(notice.destination, "destination") if notice.destination else {"destination": None}
    return {
        "message": notice.message,
        **path_fields(notice.path),
        "operation": notice.operation,
        "errno": notice.errno,
        **where,
    }
