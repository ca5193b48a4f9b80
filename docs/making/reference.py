"""The reference as Markdown: options and exit codes from the table of arguments, events from their schema."""

from collections.abc import Iterator, Mapping, Sequence
from textwrap import fill
from typing import Any

from pfndispatchcopy.cli.arguments import build_parser, option_names
from pfndispatchcopy.cli.manpage import ENVIRONMENT, FILES
from pfndispatchcopy.cli.table import Option, read_manual
from pfndispatchcopy.model import ReadBack, State

__all__ = ["reference"]

_STATES = {
    State.VERIFIED: "complete, flushed, read back from the medium, and equal to what was read from the source",
    State.COPIED: "complete, and not compared, or compared in the cache alone, because that was asked for",
    State.IDENTICAL: "was there already with the same content, and was left as it is",
    State.SKIPPED: "something else was there, and was left as it is, because that was asked for",
    State.FAILED: "not there; the error says why",
    State.MISMATCH: "what was read back is not what was read from the source, or not what a list says",
    State.CANCELLED: "the run was stopped before it was done",
}
_READ_BACK = {
    ReadBack.DIRECT: "from the medium, around the cache",
    ReadBack.EVICTED: "from the medium, after it was checked that the cache holds nothing of it any more",
    ReadBack.MEMORY: "from memory, which is the medium",
    ReadBack.CACHED: "from the cache: equal, but no proof of what is on the medium",
    ReadBack.NONE: "not at all",
}


def reference(schema: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        schema: of the events.
    """
    return "\n".join(_lines(schema)) + "\n"


def _lines(schema: Mapping[str, Any]) -> Iterator[str]:
    manual = read_manual()
    yield "<!-- Made from the table of arguments and events.schema.json by `make manual`. -->"
    yield "# Reference"
    yield ""
    yield "```text"
    for line in manual.usage:
        yield f"{manual.program} {line}"
    yield "```"
    for paragraph in manual.description:
        yield ""
        yield _filled(_text(paragraph))
    yield from _options(manual.groups)
    for title in ("patterns", "sizes"):
        yield from _heading(title)
        yield from (_filled(_text(each)) for each in manual.section(title).paragraphs)
    yield from _heading("exit codes")
    codes = [line.partition("  ")[::2] for line in manual.section("exit codes").lines]
    yield from _table(("code", "meaning"), [(code, text.strip()) for code, text in codes])
    yield ""
    yield "A signal beats 4, and 4 beats the rest. `--check` of several lists: 4 beats 2, and 2 beats 3."
    yield from _heading("states")
    yield "The state of a destination, or of a file on it:"
    yield ""
    yield from _table(("state", "meaning"), [(f"`{each}`", _STATES[each]) for each in State])
    yield ""
    yield "How its bytes were compared, `read_back`:"
    yield ""
    yield from _table(("word", "meaning"), [(f"`{each}`", _READ_BACK[each]) for each in ReadBack])
    yield from _events(schema)
    yield from _heading("configuration")
    yield "TOML. Its keys are the long options without their dashes; options that may be repeated take lists, flags"
    yield "`true` or `false`. A table `[preset.NAME]` is used with `--preset NAME`. The command line overrides a"
    yield "preset, which overrides the top level. The keys:"
    yield ""
    yield _filled(", ".join(f"`{name}`" for name in sorted(option_names(build_parser()))) + ".")
    yield from _heading("environment")
    yield from _table(("variable", "meaning"), [(f"`{name}`", _text(text)) for name, text in ENVIRONMENT.items()])
    yield from _heading("files")
    yield from _table(("name", "what it is"), [(f"`{name}`", _text(text)) for name, text in FILES.items()])


def _options(groups: Mapping[str, Sequence[Option]]) -> Iterator[str]:
    for group, options in groups.items():
        yield from _heading(f"options: {group}")
        rows = []
        for option in options:
            names = ", ".join(f"`{name}`" for name in option.names)
            is_choice = option.value == "|".join(option.words)
            values = ", ".join(f"`{word}`" for word in option.words) if is_choice else option.value
            rows.append((names, values, _text(option.text)))
        yield from _table(("option", "value", "meaning"), rows)


def _events(schema: Mapping[str, Any]) -> Iterator[str]:
    yield from _heading("events")
    yield "`--json` prints one object a line, on standard output, and nothing else there. Each has `v` (1), `event` and"
    yield "`time` (UTC). A path that is no UTF-8 has U+FFFD in it, and its exact bytes in a field beside it, such as"
    yield "`path_b64`. [events.schema.json](events.schema.json) says all of this to programs."
    for rule in schema["allOf"]:
        condition = rule["if"]["properties"]["event"]
        names = condition.get("enum") or [condition["const"]]
        yield ""
        yield "### " + ", ".join(f"`{name}`" for name in names)
        yield ""
        yield from _fields(schema, _resolved(schema, rule["then"]))


def _fields(schema: Mapping[str, Any], thing: Mapping[str, Any]) -> Iterator[str]:
    required = set(thing.get("required", ()))
    rows = []
    for name, described in thing["properties"].items():
        if name.endswith("_b64"):
            continue
        whole = {**_resolved(schema, described), **described}
        text = _text(str(whole.get("description", "")))
        rows.append((f"`{name}`" + ("" if name in required else " (not always)"), _kind(schema, described), text))
    yield from _table(("field", "kind", "meaning"), rows)


def _resolved(schema: Mapping[str, Any], thing: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in thing:
        return thing
    found: Mapping[str, Any] = schema["$defs"][thing["$ref"].removeprefix("#/$defs/")]
    return found


def _kind(schema: Mapping[str, Any], thing: Mapping[str, Any]) -> str:
    """What a field holds, in words."""
    thing = _resolved(schema, thing)
    if "anyOf" in thing:
        return " or ".join(_kind(schema, each) for each in thing["anyOf"])
    if "enum" in thing:
        return ", ".join("null" if each is None else f"`{each}`" for each in thing["enum"])
    kinds = thing.get("type", "any")
    if isinstance(kinds, list):
        return " or ".join(kinds)
    if kinds == "array":
        return f"list of {_kind(schema, thing['items'])}"
    if kinds == "object" and "properties" in thing:
        names = [name for name in thing["properties"] if not name.endswith("_b64")]
        return "{" + ", ".join(f"`{name}`" for name in names) + "}"
    return str(kinds)


def _heading(title: str) -> Iterator[str]:
    yield from ("", f"## {title.capitalize()}", "")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _filled(text: str) -> str:
    return fill(text, 120, break_on_hyphens=False, break_long_words=False)


def _text(text: str) -> str:
    """Return text that Markdown takes as it is."""
    return "".join(f"\\{each}" if each in "*_<[]" else each for each in text)
