"""The arguments of the command: one table, from which the parser, the help and the configuration live."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from pfndispatchcopy import __version__
from pfndispatchcopy.cli.request import PROGRAM, Request
from pfndispatchcopy.cli.streams import say
from pfndispatchcopy.errors import PfnDispatchCopyError, UsageError
from pfndispatchcopy.hashing import canonical_name
from pfndispatchcopy.model import STANDARD_INPUT, Conflict, Mhl, Strategy, Symlinks, Verify, VerifySource
from pfndispatchcopy.notices import similar_to
from pfndispatchcopy.options import CopyOptions, parse_preserve, parse_seconds, parse_size
from pfndispatchcopy.printable import printable
from pfndispatchcopy.selection import check_pattern

__all__ = ["build_parser", "option_names", "parse"]

_DESCRIPTION = """\
Copy a file, a folder or a whole card to several destinations at once, reading it once, and prove that every
copy is good: each one is flushed, read back from the medium and compared before it gets its final name."""

_EPILOG = """\
A DESTINATION that is an existing folder, or ends in a separator, takes a file under its own name;
anything else is the file's full path. A folder CARD goes to DESTINATION/CARD; of CARD/ the content goes
straight into DESTINATION. SOURCE - is standard input.

--check takes hash lists, or folders with some, and no destination. It ends with 0: all is verified, 4: a file has
changed, 2: a list cannot be read or trusted, 3: files are missing, or in no list.

patterns: * ? [] within a name, **/ across folders; with a / they are for the path below the source, else for
the name. What --exclude leaves out, --include lets in again; with --include alone, nothing else is copied.

sizes: plain bytes, K M G (powers of 1000), KiB MiB GiB (powers of 1024)

exit codes:
  0         every destination is complete and, unless verification was switched off, verified
  1         failed: nothing is complete, or the program itself failed
  2         wrong arguments, or refused before anything was written
  3         partly: some destinations, or some files, are complete and others are not
  4         a verification found bytes that differ
  130, 143  interrupted by SIGINT (Ctrl-C), by SIGTERM

examples:
  pfndispatchcopy A001.mov /mnt/raid /mnt/shuttle
  pfndispatchcopy --exclude-system /media/CARD /mnt/raid/day1 /mnt/shuttle/day1
  pfndispatchcopy -t xxh64be,md5 A001.mov /mnt/raid/day1/ /mnt/shuttle/day1/
  pfndispatchcopy --check /mnt/raid/day1/CARD
  tar -c card | pfndispatchcopy - /mnt/a/card.tar /mnt/b/card.tar
"""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Finds the width of the terminal by itself: argparse loads the whole of shutil for that, at every start."""

    def __init__(self, prog: str) -> None:
        try:
            width = int(os.environ.get("COLUMNS", "")) or 80
        except ValueError:
            width = os.get_terminal_size().columns if os.isatty(1) else 80
        super().__init__(prog, width=max(40, width - 2))


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing a page and exiting."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print the help as everything is printed: whole in any encoding, and whoever reads it or does not."""
        del file
        failure = say(message)
        if failure is not None:
            raise UsageError(f"standard output could not be written: {failure.strerror}")


def _type(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Let argparse name the option in front of the package's own message."""

    def convert(text: str) -> Any:
        try:
            return parse(text)
        except PfnDispatchCopyError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _count(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise UsageError(f"{text!r} is not a whole number of at least 1")
    return number


def _jobs(text: str) -> int | None:
    return None if text == "auto" else _count(text)


def _size_above_zero(text: str) -> int:
    size = parse_size(text)
    if size < 1:
        raise UsageError(f"{text!r}: at least one byte is needed")
    return size


def _hash_names(text: str) -> tuple[str, ...]:
    return tuple(canonical_name(name) for name in text.split(","))


def _engine(text: str) -> str:
    from pfndispatchcopy.engines import parse_engine  # noqa: PLC0415 - 30 ms, and rarely asked for

    parse_engine(text)
    return text


def _report_path(text: str) -> str:
    if os.path.splitext(text)[1].lower() not in (".html", ".json", ".csv"):
        raise UsageError(f"{printable(text)!r}: a report ends in .html, .json or .csv")
    return text


def build_parser() -> argparse.ArgumentParser:
    """Build the parser; nothing is filled in, so that a layer of options holds only what was given."""
    parser = _Parser(
        prog=PROGRAM,
        usage=(
            f"{PROGRAM} [OPTIONS] SOURCE DESTINATION [DESTINATION ...]\n"
            f"       {PROGRAM} [OPTIONS] -d DESTINATION [-d DESTINATION ...] SOURCE [SOURCE ...]\n"
            f"       {PROGRAM} --check [OPTIONS] LIST_OR_FOLDER [...]"
        ),
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=_Formatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("paths", nargs="*", metavar="SOURCE DESTINATION", help=argparse.SUPPRESS)
    _add_copying(parser.add_argument_group("copying"))
    _add_safety(parser.add_argument_group("safety"))
    _add_hand_over(parser.add_argument_group("handing over"))
    _add_showing(parser.add_argument_group("showing"))
    return parser


def _add_copying(group: Any) -> None:
    add = group.add_argument
    add(
        "-d",
        "--dest",
        action="append",
        metavar="PATH",
        help="a destination; every other path is then a source",
    )
    add(
        "-t",
        "--hash",
        action="append",
        type=_type(_hash_names),
        metavar="NAME",
        help="digest to take in the same pass, repeatable or with commas: xxh64be (= xxh64), xxh3, xxh128,"
        " md5, sha1, sha256, c4 (default: xxh64be)",
    )
    add(
        "-b",
        "--buffer-size",
        type=_type(_size_above_zero),
        metavar="SIZE",
        help="chunk size (default: fits the file)",
    )
    add(
        "--queue-depth",
        type=_type(_count),
        metavar="N",
        help="chunks that one destination may lag behind the reader (default: automatic)",
    )
    add(
        "--memory-limit",
        type=_type(_size_above_zero),
        metavar="SIZE",
        help="upper bound of all buffers together (default: automatic)",
    )
    paths = [str(each) for each in Strategy if each is not Strategy.MIXED]
    add("--strategy", choices=paths, help="force the copy path (default: auto)")
    add("-j", "--jobs", type=_type(_jobs), metavar="N|auto", help="files in flight at once (default: auto)")
    add(
        "--executor",
        type=_type(_engine),
        metavar="ENGINE",
        help="where a folder's jobs run: serial, threads, processes, dask[:ADDRESS], mpi (default: threads, and"
        " processes where they pay; see docs/scale.md)",
    )
    add(
        "--bwlimit",
        type=_type(_size_above_zero),
        metavar="RATE",
        help="read at most RATE bytes a second (each process)",
    )
    add(
        "--preserve",
        type=_type(parse_preserve),
        metavar="LIST",
        help="metadata to keep: mode,times,xattr,owner, or all, or none (default: mode,times,xattr)",
    )
    add(
        "--exclude",
        action="append",
        type=_type(check_pattern),
        metavar="GLOB",
        help="leave out of a folder what matches (repeatable)",
    )
    add(
        "--include",
        action="append",
        type=_type(check_pattern),
        metavar="GLOB",
        help="copy what matches all the same (repeatable)",
    )
    add(
        "--exclude-system",
        action="store_true",
        help="leave out what systems strew on volumes: .DS_Store, ._*, .Spotlight-V100, Thumbs.db …",
    )
    add(
        "--files-from",
        metavar="FILE",
        help="copy only the paths listed there, relative to a folder SOURCE; - = standard input",
    )
    add("-0", dest="nul", action="store_true", help="NULs, not line ends, separate the paths of --files-from")
    add(
        "--symlinks",
        choices=[str(each) for each in Symlinks],
        help="symbolic links in a folder (default: copy, as links)",
    )
    add("-k", dest="historic_k", action="store_true", help="accepted for old scripts; does nothing")


def _add_safety(group: Any) -> None:
    add = group.add_argument
    add(
        "--check",
        action="store_true",
        help="verify on the medium the files that hash lists name, and copy nothing: media hash lists, their"
        " histories, sum files, or folders that hold some",
    )
    add(
        "-f_size",
        "--expect-size",
        type=_type(parse_size),
        metavar="BYTES",
        help="refuse a source of another size",
    )
    add(
        "-noflush_dest",
        "--no-flush",
        action="append",
        metavar="PATH",
        help="do not force this destination to stable storage (as spelled here; repeatable)",
    )
    add(
        "--verify",
        choices=[str(each) for each in Verify],
        help="read every copy back from the medium and compare (default: destination)",
    )
    add(
        "--verify-source",
        choices=[str(each) for each in VerifySource],
        help="read the source a second time and compare (default: none)",
    )
    add(
        "--on-conflict",
        choices=[str(each) for each in Conflict],
        help="an existing file whose content differs (default: error)",
    )
    add(
        "--no-resume",
        action="store_true",
        help="ignore the record that an interrupted run left in a destination",
    )
    add("--quick-check", action="store_true", help='judge "identical" by size and time, not by content')
    add(
        "--lock-wait",
        type=_type(parse_seconds),
        metavar="SECONDS",
        help="wait for another run on the same file",
    )
    add("--require-mount", action="store_true", help="refuse a destination that is on no volume of its own")
    add(
        "--stall-timeout",
        type=_type(parse_seconds),
        metavar="SECONDS",
        help="give up on what finishes no operation for so long; 0 = never (default: 300)",
    )


def _add_hand_over(group: Any) -> None:
    add = group.add_argument
    add(
        "--mhl",
        choices=[str(each) for each in Mhl],
        help="write a media hash list of what was verified into every destination: asc (2.0, with history and"
        " directory hashes) or legacy (1.1) (default: none)",
    )
    add(
        "--sums",
        action="append",
        type=_type(_hash_names),
        metavar="NAME",
        help="write a sum file that md5sum -c, sha256sum -c or xxhsum -c accepts into every destination"
        " (repeatable): md5, sha1, sha256, xxh64be, xxh3, xxh128",
    )


def _add_showing(group: Any) -> None:
    add = group.add_argument
    add("-n", "--dry-run", action="store_true", help="print the plan and why, and write nothing")
    add("--progress", choices=["auto", "bar", "plain", "none"], help="on standard error (default: auto)")
    add("--json", action="store_true", help="JSON Lines events on standard output, and nothing else there")
    add("--log-file", metavar="FILE", help="append a timestamped log, one line an event")
    add("--syslog", action="store_true", help="the same to the system's log")
    add(
        "--report",
        action="append",
        type=_type(_report_path),
        metavar="FILE",
        help="write a report at the end: FILE.html to look at, FILE.csv or FILE.json (repeatable)",
    )
    add("--on-finish", metavar="COMMAND", help="run it at the end, the summary event on its standard input")
    add(
        "--config",
        metavar="FILE",
        help="TOML options (default: $PFNDISPATCHCOPY_CONFIG, then the user's file)",
    )
    add("--preset", metavar="NAME", help="options of [preset.NAME] in the configuration")
    add("-v", "--verbose", action="store_true", help="tell each step on standard error")
    add("-q", "--quiet", action="store_true", help="nothing at all unless there is a warning or an error")
    add("--version", action="version", version=f"{PROGRAM} {__version__}", help="print the version")
    add("-h", "--help", action="help", help="print this")


_NOT_IN_FILES = frozenset({"help", "version", "config", "preset", "check"})


def option_names(parser: argparse.ArgumentParser) -> dict[str, bool]:
    """The long options that a configuration may set, without their dashes: name → takes a value."""
    return {
        option[2:]: action.nargs != 0
        for action in parser._actions  # noqa: SLF001 - argparse tells its table in no other way
        for option in action.option_strings
        if option.startswith("--") and option[2:] not in _NOT_IN_FILES
    }


def parse(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Request:
    """Turn a command line, with the configuration below it, into a request.

    Raises:
        UsageError: it cannot be used.
        SystemExit: ``--help`` or ``--version`` were asked for and printed.
    """
    parser = build_parser()
    given = _parse_layer(parser, arguments)
    layers = _configured(parser, given, environment)
    if given.get("check"):
        _require_for_checking(given)
        layers = [(where, {name: layer[name] for name in layer.keys() & _FOR_CHECKING}) for where, layer in layers]
    if len(given.get("paths", [])) > 1 and "dest" not in given:
        for _, layer in layers:
            layer.pop("dest", None)  # destinations on the command line take the place of those in the file
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for where, layer in [*layers, ("command line", given)]:
        values.update(layer)
        origins.update(dict.fromkeys(layer, where))
        for name in [name for name, value in values.items() if value is None and name != "jobs"]:
            del values[name], origins[name]
    if not (values.get("dry_run") and values.get("verbose")):
        return _request(values, tuple(arguments))
    shown = [(name.replace("_", "-"), _shown(values[name]), where) for name, where in sorted(origins.items())]
    shown = [each for each in shown if each[0] not in ("paths", "dry-run", "verbose")]
    return _request(values, tuple(arguments), tuple(shown))


def _shown(value: Any) -> str:
    """A value as it could be written in the configuration."""
    if isinstance(value, list):
        return ", ".join(_shown(each) for each in value)
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, tuple | frozenset) else str(value)


def _parse_layer(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> dict[str, Any]:
    words, after = list(arguments), []
    if "--" in words:  # argparse takes options and paths in any order, but forgets this mark on the way
        at = words.index("--")
        words, after = words[:at], words[at + 1 :]
    namespace, unknown = parser.parse_known_intermixed_args(words)
    if unknown:
        name, _, _ = unknown[0].partition("=")
        known = [option for action in parser._actions for option in action.option_strings]  # noqa: SLF001
        raise UsageError(f"there is no option {name}{similar_to(name, known)} (see --help)")
    layer = dict(vars(namespace))
    if after:
        layer["paths"] = [*layer.get("paths", []), *after]
    return layer


def _configured(
    parser: argparse.ArgumentParser, given: Mapping[str, Any], environment: Mapping[str, str]
) -> list[tuple[str, dict[str, Any]]]:
    """The options of the configuration file: its top level, and above that the preset; each with where it stands.

    A flag that is switched off is None.
    """
    from pfndispatchcopy.config import as_arguments, find_file, read_file  # noqa: PLC0415 - mostly not needed

    path = find_file(given.get("config"), environment)
    preset = given.get("preset")
    if path is None:
        if preset is not None:
            raise UsageError(
                f"--preset {preset}: there is no configuration file: name one with --config, or make"
                " ~/.config/pfndispatchcopy/config.toml"
            )
        return []
    layers: list[tuple[str, dict[str, Any]]] = []
    for where, table in read_file(path, preset):
        try:
            arguments, switched_off = as_arguments(table, option_names(parser))
            layer = _parse_layer(parser, arguments)
            layer.update(dict.fromkeys((name.replace("-", "_") for name in switched_off), None))
            layer.pop("paths", None)
            layers.append((where, layer))
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
    return layers


# What --check understands; everything else is about copies, and to pass over it would be to promise it.
_FOR_CHECKING = frozenset(
    {
        *("check", "paths", "jobs", "bwlimit", "memory_limit", "exclude", "include", "exclude_system"),
        *("stall_timeout", "dry_run", "progress", "json", "log_file", "syslog", "on_finish"),
        *("report", "config", "preset", "verbose", "quiet", "historic_k"),
    }
)


def _require_for_checking(given: Mapping[str, Any]) -> None:
    """Refuse what makes no sense with ``--check``.

    Raises:
        UsageError: an option is about copies, or there is nothing to be checked.
    """
    for name in given:
        if name not in _FOR_CHECKING:
            option = {"nul": "-0", "dest": "-d"}.get(name, f"--{name.replace('_', '-')}")
            raise UsageError(f"{option} makes no sense with --check, which copies nothing")
    if not given.get("paths"):
        raise UsageError("--check needs a hash list, or a folder with hash lists in it (see --help)")
    if STANDARD_INPUT in given["paths"]:
        raise UsageError("--check reads no list from standard input: its place says where the files are")


def _paths(values: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return sources and destinations; what is checked is both.

    Raises:
        UsageError: some are missing.
    """
    paths: list[str] = list(values.get("paths", []))
    if values.get("check"):
        return paths, paths
    destinations: list[str] = list(values.get("dest", []))
    if destinations:
        if not paths:
            raise UsageError("there are only destinations (-d): at least one SOURCE is needed (see --help)")
    else:
        if len(paths) < 2:
            alone = f"{paths[0]} is the only path: " if paths else ""
            raise UsageError(f"{alone}a SOURCE and at least one DESTINATION are needed (see --help)")
        paths, destinations = paths[:1], paths[1:]
    if STANDARD_INPUT in destinations:
        raise UsageError("standard output cannot be a destination")
    return paths, destinations


def _request(
    values: Mapping[str, Any], arguments: tuple[str, ...], origins: tuple[tuple[str, str, str], ...] = ()
) -> Request:
    paths, destinations = _paths(values)
    if values.get("quiet") and values.get("verbose"):
        raise UsageError("--quiet and --verbose contradict each other")
    return Request(
        sources=tuple(paths),
        destinations=tuple(destinations),
        options=CopyOptions(**_copy_options(values)),
        dry_run=values.get("dry_run", False),
        json=values.get("json", False),
        verbose=values.get("verbose", False),
        quiet=values.get("quiet", False),
        progress=values.get("progress", "auto"),
        log_file=values.get("log_file"),
        syslog=values.get("syslog", False),
        on_finish=values.get("on_finish"),
        files_from=_files_from(values),
        origins=origins,
        check=values.get("check", False),
        executor=values.get("executor"),
        reports=tuple(dict.fromkeys(values.get("report", []))),
        arguments=arguments if "report" in values else (),
    )


def _files_from(values: Mapping[str, Any]) -> tuple[bytes, bool] | None:
    """Read the list of files.

    Raises:
        UsageError: it cannot be read, or there is none to be read.
    """
    path = values.get("files_from")
    if path is None:
        if values.get("nul"):
            raise UsageError("-0 goes with --files-from")
        return None
    try:
        if path == STANDARD_INPUT:
            if sys.stdin is None:
                raise UsageError("--files-from -: standard input is closed")
            return sys.stdin.buffer.read(), values.get("nul", False)
        with open(path, "rb") as file:
            return file.read(), values.get("nul", False)
    except OSError as error:
        raise UsageError(f"--files-from {path}: cannot be read: {error.strerror}") from None


# argparse's name → field of CopyOptions, for those that are taken over as they are.
_FIELDS = {
    "buffer_size": "chunk_size",
    "queue_depth": "queue_depth",
    "memory_limit": "memory_limit",
    "expect_size": "expect_size",
    "verify": "verify",
    "verify_source": "verify_source",
    "on_conflict": "on_conflict",
    "quick_check": "quick_check",
    "strategy": "strategy",
    "preserve": "preserve",
    "lock_wait": "lock_wait_s",
    "require_mount": "require_mount",
    "stall_timeout": "stall_timeout_s",
    "bwlimit": "bandwidth_limit",
    "exclude_system": "exclude_system",
    "symlinks": "symlinks",
    "jobs": "jobs",
    "mhl": "mhl",
}


def _copy_options(values: Mapping[str, Any]) -> dict[str, Any]:
    options = {field: values[name] for name, field in _FIELDS.items() if name in values}
    if "hash" in values:
        options["hashes"] = tuple(name for names in values["hash"] for name in names)
    if "sums" in values:
        options["sums"] = tuple(name for names in values["sums"] for name in names)
    if "no_flush" in values:
        options["no_flush"] = frozenset(values["no_flush"])
    for name in ("exclude", "include"):
        if name in values:
            options[name] = tuple(values[name])
    if values.get("no_resume"):
        options["resume"] = False
    return options
