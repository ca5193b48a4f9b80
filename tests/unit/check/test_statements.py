"""What lists say, packed."""

import pytest

from pfndispatchcopy.check.statements import Expectation, Statements, expectation, records, unpack
from pfndispatchcopy.hashlists.entries import Action, ListedDigest

XXH = ListedDigest("xxh64be", ("0123456789abcdef",))
MD5 = ListedDigest("md5", ("0" * 32,))


def said(size: int | None, *digests: ListedDigest, is_history: bool = False) -> Statements:
    statements = Statements()
    statements.add("a", size, digests, is_history=is_history)
    return statements


def facts_of(statements: Statements) -> str:
    ((name, facts),) = records(statements.pop(""))
    assert name == "a"
    return facts


@pytest.mark.parametrize(
    ("size", "digests", "expected"),
    [
        (5, (XXH,), Expectation((5,), (("xxh64be", XXH.accepted),), False)),
        (None, (XXH,), Expectation((), (("xxh64be", XXH.accepted),), False)),
        (0, (), Expectation((0,), (), False)),
        (None, (), Expectation((), (), False)),
        (5, (XXH, MD5), Expectation((5,), (("xxh64be", XXH.accepted), ("md5", MD5.accepted)), False)),
        (5, (XXH._replace(accepted=("aa", "bb")),), Expectation((5,), (("xxh64be", ("aa", "bb")),), False)),
        (5, (XXH._replace(action=Action.FAILED),), Expectation((), (), True)),
    ],
)
def test_what_is_packed_is_expected(size: int | None, digests: tuple[ListedDigest, ...], expected: Expectation) -> None:
    assert expectation(facts_of(said(size, *digests))) == expected


def test_lists_that_contradict_each_other_all_count() -> None:
    statements = said(5, XXH)
    statements.absorb(said(6, XXH._replace(accepted=("f" * 16,))))
    found = expectation(facts_of(statements))
    assert found.sizes == (5, 6)
    assert [accepted for _, accepted in found.digests] == [XXH.accepted, ("f" * 16,)]


def test_of_a_history_the_earliest_that_did_not_fail_counts() -> None:
    statements = said(7, XXH._replace(action=Action.FAILED), is_history=True)
    statements.absorb(said(5, XXH._replace(action=Action.ORIGINAL), is_history=True))
    statements.absorb(said(6, XXH._replace(accepted=("f" * 16,), action=Action.VERIFIED), MD5, is_history=True))
    found = expectation(facts_of(statements))
    assert found == Expectation((5,), (("xxh64be", XXH.accepted), ("md5", MD5.accepted)), False)


def test_names_of_any_bytes_come_back() -> None:
    statements = Statements()
    names = ["x\ny", "\udcff", "ü;", "a b|c", "-"]
    for name in names:
        statements.add(f"folder/{name}", 1, (XXH,), is_history=False)
    packed = statements.pop("folder")
    assert [name for name, _ in records(packed)] == [name for name, _ in unpack(packed)] == names
    assert not statements.folders


def test_moving_takes_what_was_known_along() -> None:
    statements = Statements()
    for name in ("a", "b", "x/c"):
        statements.add(name, len(name), (XXH,), is_history=True)
    statements.move({"a": "b", "b": "a", "x/c": "y/d", "unknown": "z"})
    assert dict(records(statements.pop(""))).keys() == {"a", "b"}
    assert statements.folders == ["y"]
    assert [name for name, _ in records(statements.pop("y"))] == ["d"]
