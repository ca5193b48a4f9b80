"""The configuration file: where it is looked for, its layers, and errors that name the key."""

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
    ],
)
def test_wrong_key_or_kind_is_refused_by_name(table: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        as_arguments(table, _KNOWN)
    assert repr(next(iter(table))) in str(caught.value)
