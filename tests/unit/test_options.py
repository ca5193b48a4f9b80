"""Options: what is refused, and the units that people write sizes and times in."""

import json
import math
import pickle
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfndispatchcopy.errors import UsageError
from pfndispatchcopy.model import Conflict, Preserve, Strategy, Symlinks, Verify, VerifySource
from pfndispatchcopy.options import DEFAULT_PRESERVE, CopyOptions, parse_preserve, parse_seconds, parse_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("8388608", 8388608),
        ("12b", 12),
        ("8K", 8_000),
        ("8kb", 8_000),
        ("8M", 8_000_000),
        ("8MB", 8_000_000),
        ("2G", 2_000_000_000),
        ("1T", 10**12),
        ("8KiB", 8 << 10),
        ("8MiB", 8 << 20),
        ("8 mib", 8 << 20),
        ("2GiB", 2 << 30),
        (" 1TiB ", 1 << 40),
        ("1.5M", 1_500_000),
        ("0.5KiB", 512),
    ],
)
def test_size_is_read_with_its_unit(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "x",
        "-1",
        "+1",
        "1e6",
        "0x10",
        "1_000",
        "M",
        "8 M B",
        "8Mi",
        "8PB",
        "1.5",
        "1.0001K",
        ".5K",
        "5.",
        "٣",
        "nan",
        "inf",
        "1\n2",
    ],
)
def test_what_is_no_size_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_size(text)
    assert repr(text) in str(caught.value)


@given(thousandths=st.integers(0, 10**9), unit=st.sampled_from(["K", "M", "G", "KiB", "MiB", "GiB"]))
def test_decimal_size_is_exact_or_refused(thousandths: int, unit: str) -> None:
    factor = (1024 if "i" in unit else 1000) ** ("KMG".index(unit[0]) + 1)
    exact = Fraction(thousandths, 1000) * factor
    text = f"{thousandths // 1000}.{thousandths % 1000:03d}{unit}"
    if exact.denominator == 1:
        assert parse_size(text) == exact
    else:
        with pytest.raises(UsageError):
            parse_size(text)


@pytest.mark.parametrize("text", ["9" * 5000, "9" * 400 + ".5K"], ids=["digits", "decimal"])
def test_absurdly_long_size_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_a_usage_error(text: str) -> None:
    try:
        size = parse_size(text)
    except UsageError:
        return
    assert isinstance(size, int)
    assert size >= 0


@pytest.mark.parametrize(("text", "expected"), [("0", 0.0), ("1.5", 1.5), ("300", 300.0), ("1e3", 1000.0)])
def test_seconds_are_read(text: str, expected: float) -> None:
    assert parse_seconds(text) == expected


@pytest.mark.parametrize("text", ["", "x", "-1", "-0.001", "nan", "inf", "-inf", "5s"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_seconds(text)
    assert repr(text) in str(caught.value)


def test_what_to_preserve_is_a_list_or_all_or_none() -> None:
    assert parse_preserve("mode, TIMES") == {Preserve.MODE, Preserve.TIMES}
    assert parse_preserve("all") == set(Preserve)
    assert parse_preserve("none") == frozenset()
    for text in ("", "mode,", "colour", "all,mode", "none,mode"):
        with pytest.raises(UsageError):
            parse_preserve(text)


def test_defaults_are_those_of_the_contract() -> None:
    options = CopyOptions()
    assert options.hashes == ("xxh64be",)
    assert options.verify is Verify.DESTINATION
    assert options.verify_source is VerifySource.NONE
    assert options.on_conflict is Conflict.ERROR
    assert options.strategy is Strategy.AUTO
    assert options.preserve == DEFAULT_PRESERVE == {Preserve.MODE, Preserve.TIMES, Preserve.XATTR}
    assert options.stall_timeout_s == 300.0
    assert options.lock_wait_s == 0.0
    assert (options.chunk_size, options.queue_depth, options.memory_limit, options.expect_size) == (None,) * 4
    assert not options.quick_check
    assert not options.require_mount
    assert options.no_flush == frozenset()
    assert (options.exclude, options.include, options.exclude_system) == ((), (), False)
    assert options.symlinks is Symlinks.COPY
    assert options.resume
    assert options.jobs is None


def test_words_become_members_and_hash_names_canonical() -> None:
    words: dict[str, Any] = {
        "hashes": ["XXH64", "md5", "xxh64be"],
        "verify": "none",
        "on_conflict": "rename",
        "strategy": "single",
        "preserve": ["owner"],
        "symlinks": "follow",
        "exclude": ["*.tmp", "cache/"],
        "include": iter(["*.mov"]),
    }
    options = CopyOptions(**words)
    assert options.hashes == ("xxh64be", "md5")
    assert options.verify is Verify.NONE
    assert options.on_conflict is Conflict.RENAME
    assert options.strategy is Strategy.SINGLE
    assert options.preserve == {Preserve.OWNER}
    assert options.symlinks is Symlinks.FOLLOW
    assert (options.exclude, options.include) == (("*.tmp", "cache/"), ("*.mov",))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hashes", ()),
        ("hashes", "md5"),
        ("hashes", ("crc7",)),
        ("chunk_size", 0),
        ("chunk_size", -1),
        ("chunk_size", "8M"),
        ("chunk_size", True),
        ("chunk_size", 1.5),
        ("queue_depth", 0),
        ("queue_depth", 2.5),
        ("memory_limit", 0),
        ("bandwidth_limit", 0),
        ("expect_size", -1),
        ("expect_size", 1.5),
        ("lock_wait_s", -1),
        ("stall_timeout_s", -0.1),
        ("stall_timeout_s", math.nan),
        ("verify", "maybe"),
        ("verify_source", "always"),
        ("on_conflict", "ask"),
        ("strategy", "fast"),
        ("preserve", ["colour"]),
        ("jobs", 0),
        ("jobs", -1),
        ("jobs", 1.5),
        ("jobs", "auto"),
        ("jobs", True),
        ("symlinks", "ignore"),
        ("exclude", ["good", ""]),
        ("exclude", ["[z-a]"]),
        ("include", ["/"]),
    ],
)
def test_value_that_cannot_be_used_is_refused(name: str, value: object) -> None:
    with pytest.raises(UsageError):
        CopyOptions(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["chunk_size", "queue_depth", "on_conflict", "strategy", "stall_timeout_s", "jobs", "symlinks"]
)
def test_refusal_names_the_field(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        CopyOptions(**{name: "nonsense"})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["exclude", "include"])
def test_refusal_shows_the_pattern(name: str) -> None:
    with pytest.raises(UsageError, match=r"'\[z-a\]' is no pattern"):
        CopyOptions(**{name: ["*.mov", "[z-a]"]})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["exclude", "include"])
def test_one_text_is_no_sequence_of_patterns(name: str) -> None:
    with pytest.raises(UsageError):
        CopyOptions(**{name: "*.mov"})  # type: ignore[arg-type]


def test_zero_is_a_size_to_expect_and_a_time_that_never_ends() -> None:
    options = CopyOptions(expect_size=0, stall_timeout_s=0)
    assert options.expect_size == 0
    assert options.stall_timeout_s == 0


def test_replacing_changes_only_what_is_named_and_validates_again() -> None:
    options = CopyOptions(hashes=("md5",), chunk_size=4096)
    changed = options.replacing(chunk_size=8192)
    assert isinstance(changed, CopyOptions)
    assert (changed.chunk_size, changed.hashes) == (8192, ("md5",))
    assert options.chunk_size == 4096
    with pytest.raises(UsageError):
        options.replacing(chunk_size=0)


def test_options_survive_the_way_to_another_process() -> None:
    options = CopyOptions(
        hashes=("md5", "xxh3"), no_flush=frozenset({"/a"}), on_conflict=Conflict.SKIP, exclude=("[!a]*",), jobs=3
    )
    again = pickle.loads(pickle.dumps(options))
    assert again == options
    assert type(again) is CopyOptions
    assert again.on_conflict is Conflict.SKIP


def test_options_as_data_are_json_and_in_a_fixed_order() -> None:
    data = CopyOptions(no_flush=frozenset({"/b", "/a"}), preserve=frozenset(Preserve)).as_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["no_flush"] == ["/a", "/b"]
    assert data["preserve"] == ["mode", "owner", "times", "xattr"]
    assert data["hashes"] == ["xxh64be"]
    assert data["chunk_size"] is None
    assert (data["exclude"], data["symlinks"], data["resume"], data["jobs"]) == ([], "copy", True, None)
    assert CopyOptions(exclude=("b", "a"), jobs=2).as_dict()["exclude"] == ["b", "a"]
