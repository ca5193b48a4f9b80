"""Temporary names: recognisable, short whatever the final name, and nobody else's."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfndispatchcopy.fileio.names import is_temporary_of, lock_name, temporary_name
from pfndispatchcopy.fileio.system import System

_NAMES = st.binary(min_size=1, max_size=255).map(os.fsdecode)


@given(_NAMES)
def test_temporary_names_have_the_promised_form_and_length(final_name: str) -> None:
    system = System()
    for name in (temporary_name(system, final_name), lock_name(final_name)):
        assert name.startswith(".pfn.")
        assert name.endswith(".partial")
        assert name.isascii()
        assert len(name) <= 32
        assert is_temporary_of(name, final_name)


@given(_NAMES, _NAMES)
def test_temporary_name_belongs_to_one_file_only(one: str, other: str) -> None:
    assert is_temporary_of(temporary_name(System(), one), other) == (one == other)
    assert (lock_name(one) == lock_name(other)) == (one == other)


def test_temporary_name_is_new_every_time_and_the_lock_always_the_same() -> None:
    assert len({temporary_name(System(), "clip.mov") for _ in range(50)}) == 50
    assert len({lock_name("clip.mov") for _ in range(50)}) == 1


@pytest.mark.parametrize("name", ["clip.mov", ".pfn.partial", ".pfn.notes.txt", "x.pfn.0123456789.aaaa.partial", ""])
def test_names_of_others_are_not_taken_for_temporary(name: str) -> None:
    assert not is_temporary_of(name, "clip.mov")


@pytest.mark.fault(74)
def test_longest_name_can_have_a_temporary_one(tmp_path: Path) -> None:
    (tmp_path / temporary_name(System(), "x" * 255)).touch()
    for path in tmp_path.iterdir():
        path.unlink()
