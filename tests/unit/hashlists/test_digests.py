"""Digests of lists, each as its algorithm prints it."""

import pytest

from pfndispatchcopy.hashing import LISTED_ALGORITHMS, digest_bytes
from pfndispatchcopy.hashlists.digests import digest_text, reconciled
from pfndispatchcopy.hashlists.entries import Action, ListedDigest, UntrustedListError


def _of_nothing(name: str) -> str:
    return LISTED_ALGORITHMS[name].new().hexdigest()  # type: ignore[attr-defined, no-any-return, unused-ignore]


@pytest.mark.parametrize("name", LISTED_ALGORITHMS)
def test_digest_is_taken_as_it_is(name: str) -> None:
    assert digest_text(name, f" \n{_of_nothing(name)}\t") == _of_nothing(name)


@pytest.mark.parametrize("name", LISTED_ALGORITHMS)
def test_bytes_of_a_digest_are_those_that_were_printed(name: str) -> None:
    assert digest_bytes(name, _of_nothing(name)) == LISTED_ALGORITHMS[name].new().digest()


@pytest.mark.fault(84)
@pytest.mark.parametrize("name", LISTED_ALGORITHMS)
@pytest.mark.parametrize(
    "damage", [lambda text: text[:-1], lambda text: text + "0", lambda text: "", lambda text: text * 2]
)
def test_digest_of_another_length_is_refused(name: str, damage) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UntrustedListError, match=f"digest by {name} has"):
        digest_text(name, damage(_of_nothing(name)))
    with pytest.raises(ValueError, match="not as long"):
        digest_bytes(name, damage(_of_nothing(name)))


@pytest.mark.fault(84)
@pytest.mark.parametrize("name", LISTED_ALGORITHMS)
@pytest.mark.parametrize("character", [" ", "g", "O", "-", "_", "\0", "é", "\u0661", "\n", "\ud800"])
def test_digest_with_other_characters_is_refused(name: str, character: str) -> None:
    if name == "c4" and character == "g":
        pytest.skip("a digit of C4")
    text = _of_nothing(name)
    damaged = text[:3] + character + text[4:]
    with pytest.raises(UntrustedListError) as caught:
        digest_text(name, damaged)
    assert str(caught.value).isprintable()
    with pytest.raises(ValueError):  # noqa: PT011 - several messages
        digest_bytes(name, damaged)


def test_hexadecimal_digits_may_be_capitals_and_those_of_c4_may_not() -> None:
    assert digest_text("md5", _of_nothing("md5").upper()) == _of_nothing("md5")
    with pytest.raises(UntrustedListError):
        digest_text("c4", _of_nothing("c4").upper())


@pytest.mark.parametrize("text", ["c5" + "1" * 88, "c4" + "z" * 88])
def test_what_is_no_sha_512_is_no_c4(text: str) -> None:
    with pytest.raises(UntrustedListError, match="not a C4 ID"):
        digest_text("c4", text)


def test_largest_and_smallest_c4() -> None:
    assert digest_bytes("c4", "c4" + "1" * 88) == bytes(64)
    largest = "c467rpwLCuS5DGA8KGZXKsVQ7dnPb9goRLoKfgGbLfQg9WoLUgNY77E2jT11fem3coV9nAkguBACzrU1iyZM4B8roQ"
    assert digest_bytes("c4", digest_text("c4", largest)) == b"\xff" * 64


def test_repeated_digest_is_one_and_a_contradiction_is_refused() -> None:
    one, two = ListedDigest("md5", ("0" * 32,)), ListedDigest("md5", ("1" * 32,))
    assert reconciled([one, one]) == (one,)
    with pytest.raises(UntrustedListError, match="two digests by md5 contradict"):
        reconciled([one, two])
    with pytest.raises(UntrustedListError, match="contradict"):
        reconciled([one._replace(action=Action.ORIGINAL), one._replace(action=Action.FAILED)])


def test_digest_with_two_spellings_is_settled_by_another_one() -> None:
    both, last = ListedDigest("xxh64be", ("0" * 16, "f" * 16)), ListedDigest("xxh64be", ("f" * 16,))
    assert reconciled([both, last]) == reconciled([last, both]) == (last,)
