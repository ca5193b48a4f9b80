"""The command line: every option, the historic spelling, the configuration below it, and errors that say where."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy import CopyOptions, __version__
from pfndispatchcopy.cli.arguments import build_parser, option_names, parse
from pfndispatchcopy.cli.request import Request
from pfndispatchcopy.errors import UsageError
from pfndispatchcopy.model import Conflict, Mhl, Preserve, Strategy, Symlinks, Verify, VerifySource


def _parse(*arguments: str, **environment: str) -> Request:
    return parse(arguments, environment)


def _error(*arguments: str, **environment: str) -> str:
    with pytest.raises(UsageError) as caught:
        _parse(*arguments, **environment)
    return str(caught.value)


# -- paths ------------------------------------------------------------------------------------------------


def test_first_path_is_the_source_and_the_rest_are_destinations() -> None:
    request = _parse("src", "a", "b/", "c.mov")
    assert (request.source, request.destinations) == ("src", ("a", "b/", "c.mov"))
    assert request == Request(("src",), ("a", "b/", "c.mov"), CopyOptions())


@pytest.mark.parametrize(
    "arguments",
    [
        ("-d", "a", "-d", "b", "src"),
        ("src", "--dest", "a", "--dest", "b"),
        ("-d", "a", "src", "-d", "b"),
        ("--dest=a", "-db", "src"),
    ],
)
def test_destinations_by_option_leave_the_other_path_to_the_source(arguments: tuple[str, ...]) -> None:
    request = _parse(*arguments)
    assert (request.source, request.destinations) == ("src", ("a", "b"))


def test_minus_is_standard_input_and_never_a_destination() -> None:
    assert _parse("-", "a").source == "-"
    assert _parse("-d", "a", "-").source == "-"
    assert "standard output" in _error("src", "-")
    assert "standard output" in _error("-d", "-", "src")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "SOURCE"),
        (("src",), "DESTINATION"),
        (("-d", "a"), "SOURCE"),
        (("src", "a", "-0"), "--files-from"),
        (("--files-from", "/nonexistent/list", "src", "a"), "/nonexistent/list"),
    ],
)
def test_missing_or_too_many_paths_are_named(arguments: tuple[str, ...], words: str) -> None:
    assert words in _error(*arguments)


@pytest.mark.parametrize(
    ("arguments", "source", "destinations"),
    [
        (("--", "-a", "-b"), "-a", ("-b",)),
        (("--", "--verify", "-v"), "--verify", ("-v",)),
        (("src", "--", "-b", "--c"), "src", ("-b", "--c")),
        (("-v", "src", "--", "-b"), "src", ("-b",)),
        (("-d", "a", "--", "-src"), "-src", ("a",)),
        (("--dest=-a", "src"), "src", ("-a",)),
        (("--", "src", "a"), "src", ("a",)),
        (("src", "a", "--", "--"), "src", ("a", "--")),
        (("--", "-", "-b"), "-", ("-b",)),
    ],
    ids=lambda each: each if isinstance(each, str) else " ".join(each),
)
def test_paths_may_begin_with_a_dash_behind_two_dashes(
    arguments: tuple[str, ...], source: str, destinations: tuple[str, ...]
) -> None:
    request = _parse(*arguments)
    assert (request.source, request.destinations) == (source, destinations)
    assert not request.options.quick_check


def test_paths_of_any_bytes_are_taken_as_they_are() -> None:
    request = _parse("caf\udce9.mov", "a\nb", "é ")
    assert (request.source, request.destinations) == ("caf\udce9.mov", ("a\nb", "é "))


# -- options ------------------------------------------------------------------------------------------------

_COPYING: list[tuple[list[str], dict[str, Any]]] = [
    (["-t", "md5"], {"hashes": ("md5",)}),
    (["--hash", "md5,xxh3", "-t", "c4"], {"hashes": ("md5", "xxh3", "c4")}),
    (["-t", "xxh64"], {"hashes": ("xxh64be",)}),
    (["-b", "8388608"], {"chunk_size": 8388608}),
    (["--buffer-size", "1MiB"], {"chunk_size": 1 << 20}),
    (["--buffer-size=2M"], {"chunk_size": 2_000_000}),
    (["--queue-depth", "3"], {"queue_depth": 3}),
    (["--memory-limit", "1G"], {"memory_limit": 10**9}),
    (["-f_size", "123"], {"expect_size": 123}),
    (["--expect-size", "0"], {"expect_size": 0}),
    (["-noflush_dest", "a"], {"no_flush": frozenset({"a"})}),
    (["--no-flush", "a", "-noflush_dest", "b"], {"no_flush": frozenset({"a", "b"})}),
    (["--verify", "none"], {"verify": Verify.NONE}),
    (["--verify-source", "per-file"], {"verify_source": VerifySource.PER_FILE}),
    (["--verify-source", "after-all"], {"verify_source": VerifySource.AFTER_ALL}),
    (["--on-conflict", "rename"], {"on_conflict": Conflict.RENAME}),
    (["--quick-check"], {"quick_check": True}),
    (["--strategy", "parallel"], {"strategy": Strategy.PARALLEL}),
    (["--preserve", "mode,owner"], {"preserve": frozenset({Preserve.MODE, Preserve.OWNER})}),
    (["--preserve", "none"], {"preserve": frozenset()}),
    (["--lock-wait", "1.5"], {"lock_wait_s": 1.5}),
    (["--require-mount"], {"require_mount": True}),
    (["--stall-timeout", "0"], {"stall_timeout_s": 0.0}),
    (["--bwlimit", "10M"], {"bandwidth_limit": 10_000_000}),
    (["--exclude", "*.tmp", "--exclude", "cache/"], {"exclude": ("*.tmp", "cache/")}),
    (["--include", "*.mov"], {"include": ("*.mov",)}),
    (["--exclude-system"], {"exclude_system": True}),
    (["--symlinks", "follow"], {"symlinks": Symlinks.FOLLOW}),
    (["--no-resume"], {"resume": False}),
    (["-j", "3"], {"jobs": 3}),
    (["--jobs", "auto"], {"jobs": None}),
    (["--mhl", "asc"], {"mhl": Mhl.ASC}),
    (["--sums", "md5"], {"sums": ("md5",)}),
    (
        ["--sums", "md5,xxh64", "--sums", "sha256", "-t", "xxh3"],
        {"hashes": ("xxh3",), "sums": ("md5", "xxh64", "sha256")},
    ),
    (["-k"], {}),
]
_SHOWING: list[tuple[list[str], dict[str, Any]]] = [
    (["-n"], {"dry_run": True}),
    (["--dry-run"], {"dry_run": True}),
    (["--progress", "plain"], {"progress": "plain"}),
    (["--json"], {"json": True}),
    (["--executor", "serial"], {"executor": "serial"}),
    (["--log-file", "x.log"], {"log_file": "x.log"}),
    (["--syslog"], {"syslog": True}),
    (["--on-finish", "mail me"], {"on_finish": "mail me"}),
    (["-v"], {"verbose": True}),
    (["--verbose"], {"verbose": True}),
    (["-q"], {"quiet": True}),
    (["--quiet"], {"quiet": True}),
]


@pytest.mark.parametrize(("arguments", "fields"), _COPYING, ids=" ".join)
@pytest.mark.parametrize("place", [0, 1, 3], ids=["before", "between", "behind"])
def test_option_of_copying_is_taken_wherever_it_stands(
    arguments: list[str], fields: dict[str, Any], place: int
) -> None:
    words = ["src", "a", "b"]
    request = _parse(*words[:place], *arguments, *words[place:])
    assert request == Request(("src",), ("a", "b"), CopyOptions(**fields))


@pytest.mark.parametrize(("arguments", "fields"), _SHOWING, ids=" ".join)
def test_option_of_showing_is_taken(arguments: list[str], fields: dict[str, Any]) -> None:
    assert _parse("src", *arguments, "a") == Request(("src",), ("a",), CopyOptions(), **fields)


def test_what_is_checked_is_source_and_destination() -> None:
    request = _parse("--check", "a.mhl", "-j", "2", "--exclude", "x", "CARD")
    assert request == Request(("a.mhl", "CARD"), ("a.mhl", "CARD"), CopyOptions(jobs=2, exclude=("x",)), check=True)


@pytest.mark.parametrize(
    "arguments",
    [["-d", "x"], ["--on-conflict", "skip"], ["--verify", "none"], ["-t", "md5"], ["--files-from", "x"], ["-0"]],
)
def test_options_of_copying_make_no_sense_with_check(arguments: list[str]) -> None:
    with pytest.raises(UsageError, match=arguments[0] if arguments[0] != "-t" else "--hash"):
        _parse("--check", "CARD", *arguments)


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_check_needs_something_that_has_a_place(arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        _parse("--check", *arguments)


def test_no_option_is_left_untested() -> None:
    tested = {word.partition("=")[0] for arguments, _ in _COPYING + _SHOWING for word in arguments}
    tested |= {"--check", "-d", "--dest", "--config", "--preset", "--files-from", "-0", "--version", "-h", "--help"}
    tested |= {"--report"}  # in test_reports.py
    there = {option for action in build_parser()._actions for option in action.option_strings}
    assert there == {word for word in tested if word.startswith("-")}


def test_list_of_files_is_read_before_anything_is_started(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"a\0b\nc\0")
    assert _parse("--files-from", f"{tmp_path}/list", "src", "a").files_from == (b"a\0b\nc\0", False)
    assert _parse("--files-from", f"{tmp_path}/list", "-0", "src", "a").files_from == (b"a\0b\nc\0", True)
    assert _parse("src", "a").files_from is None


def test_plan_knows_where_each_value_came_from(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('hash = ["md5"]\njobs = 2\n[preset.card]\njobs = 3\nexclude-system = true\n')
    where = f"{tmp_path}/c.toml"
    request = _parse("-n", "-v", "--config", where, "--preset", "card", "-b", "1MiB", "src", "a")
    assert (
        ("buffer-size", "1048576", "command line"),
        ("config", where, "command line"),
        ("exclude-system", "true", f"{where}, preset card"),
        ("hash", "md5", where),
        ("jobs", "3", f"{where}, preset card"),
        ("preset", "card", "command line"),
    ) == request.origins
    assert _parse("--config", where, "src", "a").origins == ()


def test_historic_command_line_works_unchanged() -> None:
    request = _parse(
        "-v", "-t", "xxh64be", "-b", "8388608", "-f_size", "10", "-k", "-noflush_dest", "b", "src", "a", "b"
    )
    assert request.verbose
    assert (request.source, request.destinations) == ("src", ("a", "b"))
    assert request.options == CopyOptions(
        hashes=("xxh64be",), chunk_size=8388608, expect_size=10, no_flush=frozenset({"b"})
    )


def test_historic_and_new_spelling_mix_in_any_order() -> None:
    request = _parse("src", "-f_size", "10", "--json", "a", "-k", "-noflush_dest", "a", "--verify=none", "b", "-v")
    assert (request.source, request.destinations) == ("src", ("a", "b"))
    assert request.options == CopyOptions(expect_size=10, no_flush=frozenset({"a"}), verify=Verify.NONE)
    assert request.json
    assert request.verbose


def test_later_option_wins_over_the_earlier() -> None:
    assert _parse("-b", "1", "src", "a", "--buffer-size", "2").options.chunk_size == 2


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("-b", "8 apples"), "--buffer-size"),
        (("-b", "0"), "--buffer-size"),
        (("--queue-depth", "many"), "--queue-depth"),
        (("--queue-depth", "-1"), "--queue-depth"),
        (("--memory-limit", "x"), "--memory-limit"),
        (("-f_size", "x"), "--expect-size"),
        (("--verify", "maybe"), "--verify"),
        (("--verify-source", "maybe"), "--verify-source"),
        (("--on-conflict", "ask"), "--on-conflict"),
        (("--strategy", "fast"), "--strategy"),
        (("--preserve", "colour"), "--preserve"),
        (("--lock-wait", "-1"), "--lock-wait"),
        (("--stall-timeout", "soon"), "--stall-timeout"),
        (("--bwlimit", "0"), "--bwlimit"),
        (("--jobs", "0"), "--jobs"),
        (("--symlinks", "melt"), "--symlinks"),
        (("--exclude", "/"), "--exclude"),
        (("--strategy", "mixed"), "--strategy"),
        (("--progress", "lots"), "--progress"),
        (("-t", "crc7"), "--hash"),
        (("--nonsense",), "--nonsense"),
        (("--verif", "none"), "--verif"),
        (("--json=yes",), "--json"),
    ],
    ids=lambda each: each if isinstance(each, str) else " ".join(each),
)
def test_error_names_the_option(arguments: tuple[str, ...], name: str) -> None:
    assert name in _error("src", "a", *arguments)


@pytest.mark.parametrize("option", ["-d", "-t", "-b", "-f_size", "-noflush_dest", "--config", "--on-finish"])
def test_option_without_its_value_is_named(option: str) -> None:
    assert option in _error("src", "a", option)


def test_quiet_and_verbose_contradict_each_other() -> None:
    message = _error("-q", "-v", "src", "a")
    assert "--quiet" in message
    assert "--verbose" in message


def test_request_survives_the_way_to_the_worker() -> None:
    request = _parse("-t", "md5", "--no-flush", "caf\udce9", "src", "caf\udce9")
    assert pickle.loads(pickle.dumps(request)) == request


@pytest.mark.parametrize("width", ["40", "80", "200", "", "wide"])
def test_help_names_every_option_and_keeps_to_the_width(
    width: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    with pytest.raises(SystemExit) as caught:
        _parse("--help")
    assert not caught.value.code
    shown = capfd.readouterr().out
    for action in build_parser()._actions:
        assert all(option in shown for option in action.option_strings)


def test_version_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        _parse("src", "--version")
    assert not caught.value.code
    assert capfd.readouterr().out == f"pfndispatchcopy {__version__}\n"


# -- the configuration --------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(
        'hash = ["md5", "c4"]\n'
        'on_conflict = "rename"\n'
        "buffer-size = 4096\n"
        "queue-depth = 5\n"
        "quick-check = true\n"
        "[preset.card]\n"
        'hash = "sha1"\n'
        'on-conflict = "skip"\n'
        'verify-source = "per-file"\n'
        "[preset.careful]\n"
        "quick-check = false\n",
        encoding="utf-8",
    )
    return path


def test_layers_of_options_override_each_other(config: Path) -> None:
    top = _parse("--config", str(config), "src", "a").options
    assert (top.hashes, top.on_conflict, top.chunk_size) == (("md5", "c4"), Conflict.RENAME, 4096)
    preset = _parse("--config", str(config), "--preset", "card", "src", "a").options
    assert (preset.hashes, preset.on_conflict, preset.chunk_size) == (("sha1",), Conflict.SKIP, 4096)
    assert preset.verify_source is VerifySource.PER_FILE
    line = _parse("--config", str(config), "--preset", "card", "-t", "xxh3", "-b", "8K", "src", "a").options
    assert (line.hashes, line.on_conflict, line.chunk_size) == (("xxh3",), Conflict.SKIP, 8000)
    assert (line.queue_depth, line.quick_check) == (5, True)


def test_preset_can_switch_off_what_the_file_switches_on(config: Path) -> None:
    assert not _parse("--config", str(config), "--preset", "careful", "src", "a").options.quick_check


def test_configuration_comes_from_the_environment_and_from_the_users_folder(config: Path, tmp_path: Path) -> None:
    assert _parse("src", "a", PFNDISPATCHCOPY_CONFIG=str(config)).options.queue_depth == 5
    (tmp_path / "xdg/pfndispatchcopy").mkdir(parents=True)
    (tmp_path / "xdg/pfndispatchcopy/config.toml").write_text("queue-depth = 7\n", encoding="utf-8")
    assert _parse("src", "a", XDG_CONFIG_HOME=f"{tmp_path}/xdg").options.queue_depth == 7
    assert _parse("src", "a", HOME=str(tmp_path)).options.queue_depth is None
    assert _parse("src", "a", "--config", str(config), XDG_CONFIG_HOME=f"{tmp_path}/xdg").options.queue_depth == 5


def test_named_configuration_has_to_be_there(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.toml")
    assert missing in _error("--config", missing, "src", "a")
    assert missing in _error("src", "a", PFNDISPATCHCOPY_CONFIG=missing)
    assert "--preset card" in _error("--preset", "card", "src", "a")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("nonsense = 1", "'nonsense'"),
        ("config = 'x'", "'config'"),
        ("version = true", "'version'"),
        ("paths = ['x', 'y']", "'paths'"),
        ("verify = true", "'verify'"),
        ("json = 'yes'", "'json'"),
        ("verify = 'maybe'", "--verify"),
        ("queue-depth = 'many'", "--queue-depth"),
        ("buffer-size = '8 apples'", "--buffer-size"),
    ],
)
def test_error_in_the_configuration_names_file_and_key(text: str, key: str, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text, encoding="utf-8")
    message = _error("--config", str(path), "src", "a")
    assert message.startswith(str(path))
    assert key in message


def test_error_in_a_preset_says_which(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[preset.card]\nverify = 'maybe'\n", encoding="utf-8")
    assert f"{path}, preset card" in _error("--config", str(path), "--preset", "card", "src", "a")
    assert _parse("--config", str(path), "src", "a").options.verify is Verify.DESTINATION


def test_configuration_may_set_every_long_option_but_its_own() -> None:
    names = option_names(build_parser())
    assert {"hash", "buffer-size", "expect-size", "no-flush", "json", "dest", "log-file"} <= set(names)
    assert not {"help", "version", "config", "preset", "k", "v"} & set(names)
    assert names["hash"] is True
    assert names["json"] is False


def test_configuration_may_set_every_kind_of_option(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        "dest = ['a', '-b']\nno-flush = '-b'\njson = true\nlog-file = 'x.log'\nstall-timeout = 1.5\n",
        encoding="utf-8",
    )
    request = _parse("--config", str(path), "src")
    assert request.destinations == ("a", "-b")
    assert request.options == CopyOptions(no_flush=frozenset({"-b"}), stall_timeout_s=1.5)
    assert (request.json, request.log_file) == (True, "x.log")
