"""Numbers of lists: digits and nothing else."""

import pytest

from pfndispatchcopy.hashlists.entries import UntrustedListError
from pfndispatchcopy.hashlists.numbers import generation_of, size_of


def test_sizes() -> None:
    assert size_of("0") == 0
    assert size_of(" \n10737418240\t") == 10_737_418_240
    assert size_of("007") == 7


@pytest.mark.parametrize(
    "text", ["", " ", "-1", "+1", "1.0", "1e3", "1_0", "1 0", "0x10", "\u0661", "9" * 19, "9" * 5000]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UntrustedListError, match="not a size in bytes") as caught:
        size_of(text)
    assert len(str(caught.value)) < 200
    with pytest.raises(UntrustedListError, match="not the number of a generation"):
        generation_of(text)


def test_generations_begin_with_one() -> None:
    assert generation_of("1") == 1
    assert generation_of("0012") == 12
    with pytest.raises(UntrustedListError):
        generation_of("0")
