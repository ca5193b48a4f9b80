"""The table of arguments, read back for those who complete and describe it."""

import argparse

import pytest

import pfndispatchcopy.cli.table
from pfndispatchcopy.cli.arguments import build_parser
from pfndispatchcopy.cli.table import Option, read_manual
from pfndispatchcopy.errors import ExitCode, UsageError


def _option(name: str) -> Option:
    return next(each for each in read_manual().options if name in each.names)


def test_every_option_of_the_parser_is_there_in_its_order() -> None:
    there = [name for action in build_parser()._actions for name in action.option_strings]
    assert [name for option in read_manual().options for name in option.names] == there


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("--verify", "none|destination", ("none", "destination")),
        ("-j", "N|auto", ("auto",)),
        ("--sums", "NAME", ("md5", "sha1", "sha256", "xxh64be", "xxh3", "xxh128")),
        ("--bwlimit", "RATE", ()),
        ("-v", "", ()),
    ],
)
def test_values_are_known(name: str, value: str, words: tuple[str, ...]) -> None:
    assert (_option(name).value, _option(name).words) == (value, words)


def test_nature_of_options_is_known() -> None:
    assert _option("-d").is_path
    assert _option("--exclude").is_repeatable
    assert not _option("--exclude").is_path
    assert _option("-t").is_list
    assert _option("--version").is_ending
    assert not _option("--quiet").is_ending


def test_every_word_that_is_offered_is_taken() -> None:
    for option in read_manual().options:
        for word in option.words:
            try:
                build_parser().parse_args([option.long_name, word])
            except UsageError as error:
                assert "is not installed" in str(error)  # noqa: PT017 - most of them are no errors


def test_short_text_is_one_short_phrase() -> None:
    for option in read_manual().options:
        assert 0 < len(option.short_text) < 100
        assert "default" not in option.short_text


def test_exit_codes_are_those_that_there_are() -> None:
    lines = read_manual().section("exit codes").lines
    assert [line.split("  ")[0] for line in lines] == [*(str(int(code)) for code in ExitCode), "130, 143"]


def test_option_with_a_value_of_unknown_kind_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def build() -> argparse.ArgumentParser:
        parser = build_parser()
        parser.add_argument("--colour", metavar="HUE")
        return parser

    monkeypatch.setattr(pfndispatchcopy.cli.table, "build_parser", build)
    with pytest.raises(LookupError, match=r"--colour.*HUE"):
        read_manual()
