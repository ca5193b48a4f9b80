"""The configuration file: where it is looked for, its layers, and errors that name the key."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy.config import as_arguments, find_file, read_file
from pfndispatchcopy.errors import UsageError

_KNOWN = {"hash": True, "on-conflict": True, "queue-depth": True, "stall-timeout": True, "quick-check": False}


def _write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_file_asked_for_beats_the_environment_which_beats_the_users_own(tmp_path: Path) -> None:
    own = _write(tmp_path / "xdg/pfndispatchcopy/config.toml", "")
    environment = {"PFNDISPATCHCOPY_CONFIG": "/env.toml", "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert find_file("/asked.toml", environment) == "/asked.toml"
    assert find_file(None, environment) == "/env.toml"
    del environment["PFNDISPATCHCOPY_CONFIG"]
    assert find_file(None, environment) == own


def test_users_own_file_is_found_below_home_and_may_be_missing(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    assert find_file(None, environment) is None
    own = _write(tmp_path / ".config/pfndispatchcopy/config.toml", "")
    assert find_file(None, environment) == own


def test_without_a_home_no_file_of_the_working_folder_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / ".config/pfndispatchcopy/config.toml", "")
    _write(tmp_path / "xdg/pfndispatchcopy/config.toml", "")
    monkeypatch.chdir(tmp_path)
    assert find_file(None, {}) is None
    assert find_file(None, {"HOME": ""}) is None
    assert find_file(None, {"XDG_CONFIG_HOME": "xdg"}) is None


def test_layers_come_lowest_first_and_say_where_they_stand(tmp_path: Path) -> None:
    path = _write(tmp_path / "c.toml", 'hash = ["md5"]\n[preset.card]\non-conflict = "skip"\n[preset.other]\n')
    assert read_file(path, None) == [(path, {"hash": ["md5"]})]
    assert read_file(path, "card") == [
        (path, {"hash": ["md5"]}),
        (f"{path}, preset card", {"on-conflict": "skip"}),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hash = [", "no TOML"),
        ("hash = 'a'\nhash = 'b'", "no TOML"),
        ("preset = 3", "'preset' has to hold tables"),
        ("[preset]\ncard = 3", "'preset' has to hold tables"),
        ("[preset.other]", "there are: other"),
        ("", "there are: none"),
    ],
)
def test_file_that_cannot_be_used_is_a_usage_error_that_names_it(tmp_path: Path, text: str, words: str) -> None:
    path = _write(tmp_path / "c.toml", text)
    with pytest.raises(UsageError) as caught:
        read_file(path, "card")
    assert str(caught.value).startswith(path)
    assert words in str(caught.value)


def test_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            read_file(str(path), None)


def test_file_that_is_no_utf8_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b'hash = "\xff\xfe"')
    with pytest.raises(UsageError, match="no TOML"):
        read_file(str(tmp_path / "c.toml"), None)


@pytest.mark.parametrize(
    "text", ["x = " + "[" * 50_000, "a." * 5_000 + "b = 1", "jobs = " + "9" * 5_000], ids=["deep", "dotted", "digits"]
)
def test_file_that_the_parser_chokes_on_is_a_usage_error(tmp_path: Path, text: str) -> None:
    path = _write(tmp_path / "c.toml", text)
    try:
        read_file(path, None)
    except UsageError as error:
        assert "no TOML" in str(error)  # noqa: PT017 - newer versions of the parser take some of them


def test_file_without_an_end_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(UsageError, match="more than 1048576 bytes"):
        read_file(str(tmp_path / "c.toml"), None)
    (tmp_path / "c.toml").write_bytes(b"#" * ((1 << 20) - 1) + b"\n")
    assert read_file(str(tmp_path / "c.toml"), None)[0][1] == {}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
@pytest.mark.timeout(10)
def test_fifo_that_nobody_writes_to_is_a_usage_error_and_one_with_a_writer_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.toml")
    with pytest.raises(UsageError, match="nobody writes"):
        read_file(str(tmp_path / "c.toml"), None)
    keeper = os.open(tmp_path / "c.toml", os.O_RDWR)  # the reader, so that the writer need not wait for one
    os.write(keeper, b'hash = "md5"\n')
    timer = threading.Timer(0.2, os.close, [keeper])
    timer.start()
    assert read_file(str(tmp_path / "c.toml"), None)[0][1] == {"hash": "md5"}
    timer.join()


def test_keys_become_long_options() -> None:
    table: dict[str, Any] = {
        "hash": ["md5", "xxh3"],
        "on_conflict": "skip",
        "queue-depth": 3,
        "stall-timeout": 1.5,
        "quick-check": True,
    }
    arguments, switched_off = as_arguments(table, _KNOWN)
    assert switched_off == []
    assert arguments == [
        "--hash=md5",
        "--hash=xxh3",
        "--on-conflict=skip",
        "--queue-depth=3",
        "--stall-timeout=1.5",
        "--quick-check",
    ]
    assert as_arguments({}, _KNOWN) == ([], [])


def test_flag_that_is_false_is_told_apart_from_one_that_is_not_there() -> None:
    assert as_arguments({"quick-check": False}, _KNOWN) == ([], ["quick-check"])


def test_value_cannot_pass_for_another_option() -> None:
    assert as_arguments({"hash": "--quick-check"}, _KNOWN) == (["--hash=--quick-check"], [])


@pytest.mark.parametrize(
    "table",
    [
        {"nonsense": 1},
        {"hash": True},
        {"hash": {"a": 1}},
        {"hash": ["md5", ["xxh3"]]},
        {"hash": None},
        {"quick-check": "yes"},
        {"quick-check": 1},
        {"quick-check": [True]},
        {"--hash": "md5"},
        {"queue-depth": 16**5_000},
        {"hash": [[16**5_000]]},
        {"quick-check": 16**5_000},
    ],
)
def test_wrong_key_or_kind_is_refused_by_name(table: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        as_arguments(table, _KNOWN)
    assert repr(next(iter(table))) in str(caught.value)
