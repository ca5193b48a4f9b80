"""Histories of ASC media hash lists: what they expect, and when they are not trusted."""

from pathlib import Path

import pytest

from pfndispatchcopy import ExitCode, State
from pfndispatchcopy.hashlists.asc import DEFAULT_IGNORES
from pfndispatchcopy.hashlists.entries import Action, HistoryReference, SealedFile, SealedFolder
from tests.support.check_trial import AT, CheckTrial, c4_of, sealed, write_history, write_legacy_list
from tests.support.files import make_file


def card(trial: CheckTrial) -> list[SealedFile]:
    trial.add("a.mov", "deep/b.mov")
    return [sealed(trial.folder, "a.mov"), sealed(trial.folder, "deep/b.mov")]


@pytest.mark.parametrize("way", ["", "ascmhl", "ascmhl/ascmhl_chain.xml"])
def test_history_is_checked_from_its_folder_or_its_own(trial: CheckTrial, way: str) -> None:
    write_history(trial.folder, card(trial))
    result = trial.run(trial.folder / way)
    assert (result.exit_code, result.checked[0].verified) == (ExitCode.OK, 2)
    trial.add("new.mov")
    assert trial.run(trial.folder / way).exit_code == ExitCode.PARTIAL


def test_all_generations_count_and_the_earliest_digest_of_each_name(trial: CheckTrial) -> None:
    first = card(trial)
    trial.add("later.mov")
    write_history(
        trial.folder,
        first,
        [
            sealed(trial.folder, "a.mov", ["md5"], action=Action.VERIFIED),
            sealed(trial.folder, "deep/b.mov", data=b"changed", action=Action.FAILED),
            sealed(trial.folder, "later.mov", ["sha1"]),
        ],
    )
    result = trial.run()
    assert (result.exit_code, result.checked[0].verified) == (ExitCode.OK, 3), trial.errors
    # Bytes that are those of the failed entry are not the original ones.
    (trial.folder / "deep/b.mov").write_bytes(b"changed")
    assert trial.run().exit_code == ExitCode.MISMATCH


def test_second_format_that_is_wrong_is_a_mismatch_even_if_the_first_is_right(trial: CheckTrial) -> None:
    first = card(trial)
    write_history(trial.folder, first, [sealed(trial.folder, "a.mov", ["md5"], data=b"x" * 3000)])
    assert trial.run().exit_code == ExitCode.MISMATCH


def test_file_that_has_only_failed_is_a_mismatch_that_says_so(trial: CheckTrial) -> None:
    first = card(trial)
    trial.add("bad.mov")
    write_history(trial.folder, [*first, sealed(trial.folder, "bad.mov", action=Action.FAILED)])
    result = trial.run()
    assert (result.exit_code, result.checked[0].changed, result.checked[0].verified) == (ExitCode.MISMATCH, 1, 2)
    assert "no digest is good" in trial.errors[0]


def test_renamed_files_are_expected_under_their_new_names_even_when_they_swap(trial: CheckTrial) -> None:
    trial.add("a.mov", "b.mov", "c.mov")
    first = [sealed(trial.folder, name) for name in ("a.mov", "b.mov", "c.mov")]
    data = {name: (trial.folder / name).read_bytes() for name in ("a.mov", "b.mov", "c.mov")}
    (trial.folder / "a.mov").write_bytes(data["b.mov"])
    (trial.folder / "b.mov").write_bytes(data["a.mov"])
    (trial.folder / "sub").mkdir()
    (trial.folder / "c.mov").rename(trial.folder / "sub/d.mov")
    second = [
        sealed(trial.folder, "a.mov", action=Action.VERIFIED, previous="b.mov"),
        sealed(trial.folder, "b.mov", action=Action.VERIFIED, previous="a.mov"),
        sealed(trial.folder, "sub/d.mov", ["md5"], action=Action.VERIFIED, previous="c.mov"),
    ]
    paths = write_history(trial.folder, first, second)
    result = trial.run()
    assert (result.exit_code, result.checked[0].verified) == (ExitCode.OK, 3), trial.errors
    as_of_then = trial.run(paths[0])
    assert (as_of_then.checked[0].changed, as_of_then.checked[0].missing, as_of_then.checked[0].new) == (2, 1, 1)


def test_named_manifest_is_the_state_as_of_then(trial: CheckTrial) -> None:
    first = card(trial)
    trial.add("later.mov")
    paths = write_history(trial.folder, first, [sealed(trial.folder, "later.mov")])
    paths[1].write_bytes(paths[1].read_bytes() + b"\n")  # edited, and of no matter for the first one
    result = trial.run(paths[0])
    assert (result.exit_code, result.checked[0].verified, result.checked[0].new) == (ExitCode.PARTIAL, 2, 1)
    assert trial.run(paths[1]).exit_code == ExitCode.REFUSED


def test_listed_folder_that_is_missing_is_missing(trial: CheckTrial) -> None:
    folders = [SealedFolder(name, None, (("xxh64be", "ef46db3751d8e999"),), (), AT) for name in ("deep", "empty")]
    write_history(trial.folder, [*card(trial), *folders])
    result = trial.run()
    assert (result.exit_code, result.checked[0].missing) == (ExitCode.PARTIAL, 1)
    assert f"{trial.folder}/empty: the folder is missing" in trial.errors
    (trial.folder / "empty").mkdir()
    assert trial.run().exit_code == ExitCode.OK


def test_what_the_latest_generation_ignores_is_neither_new_nor_missing(trial: CheckTrial) -> None:
    first = card(trial)
    trial.add("x.tmp", "deep/y.tmp", "CARD/z", ".DS_Store", "only/here")
    gone = sealed(trial.folder, "x.tmp")
    (trial.folder / "x.tmp").unlink()
    ignore = (*DEFAULT_IGNORES, "*.tmp", "/only/", "!keep.tmp", "# a comment", "/", "CARD")
    write_history(trial.folder, [*first, gone], first, ignore=ignore)
    result = trial.run()
    assert (result.exit_code, result.checked[0].verified) == (ExitCode.OK, 2), trial.errors
    trial.add("keep.tmp", "deep/only/x")
    result = trial.run()
    assert result.checked[0].new == 2


# -- nested ----------------------------------------------------------------------------------------------------


def nested(trial: CheckTrial) -> tuple[list[SealedFile], Path]:
    first = card(trial)
    below = trial.folder / "B001"
    make_file(below / "x/c.mov", 400)
    (manifest,) = write_history(below, [sealed(below, "x/c.mov")])
    return first, manifest


def reference(trial: CheckTrial, manifest: Path) -> HistoryReference:
    return HistoryReference(str(manifest.relative_to(trial.folder)), c4_of(manifest.read_bytes()))


@pytest.mark.parametrize("is_referred_to", [True, False])
def test_history_below_is_part_of_it(trial: CheckTrial, *, is_referred_to: bool) -> None:
    first, manifest = nested(trial)
    write_history(trial.folder, first, references=(reference(trial, manifest),) if is_referred_to else ())
    result = trial.run()
    assert (result.exit_code, result.checked[0].verified) == (ExitCode.OK, 3), trial.errors
    make_file(trial.folder / "B001/new", 1)
    (trial.folder / "B001/x/c.mov").write_bytes(b"y" * 400)
    result = trial.run()
    assert (result.checked[0].changed, result.checked[0].new) == (1, 1)


def test_history_below_counts_as_of_the_manifest_that_refers_to_it(trial: CheckTrial) -> None:
    first, manifest = nested(trial)
    below = trial.folder / "B001"
    (path,) = write_history(trial.folder, first, references=(reference(trial, manifest),))
    make_file(below / "later", 5)
    write_history(below, [sealed(below, "x/c.mov")], [sealed(below, "later")])
    assert trial.run().exit_code == ExitCode.OK
    assert trial.run(path).checked[0].new == 1


@pytest.mark.parametrize("fault", ["edited", "missing", "history", "chain"])
def test_history_below_that_cannot_be_trusted(trial: CheckTrial, fault: str) -> None:
    first, manifest = nested(trial)
    write_history(trial.folder, first, references=(reference(trial, manifest),))
    if fault == "edited":
        manifest.write_bytes(manifest.read_bytes().replace(b"host", b"tsoh"))
    elif fault == "missing":
        manifest.unlink()
    elif fault == "chain":
        (manifest.parent / "ascmhl_chain.xml").unlink()
    else:
        for each in manifest.parent.iterdir():
            each.unlink()
        manifest.parent.rmdir()
    result = trial.run()
    assert result.exit_code == ExitCode.REFUSED
    (error,) = trial.errors
    assert "B001/ascmhl" in error


def test_history_below_that_nobody_refers_to_and_cannot_be_trusted(trial: CheckTrial) -> None:
    first, manifest = nested(trial)
    write_history(trial.folder, first)
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    result = trial.run()
    assert (result.exit_code, result.checked[0].verified, result.checked[0].new) == (ExitCode.REFUSED, 2, 0)
    assert "B001/ascmhl" in trial.errors[0]


# -- trust -----------------------------------------------------------------------------------------------------


def _edit(trial: CheckTrial, paths: list[Path]) -> None:
    paths[0].write_bytes(paths[0].read_bytes().replace(b"host", b"tsoh"))


def _break(trial: CheckTrial, paths: list[Path]) -> None:
    paths[0].write_bytes(paths[0].read_bytes()[:-20])


def _remove_manifest(trial: CheckTrial, paths: list[Path]) -> None:
    paths[0].unlink()


def _remove_chain(trial: CheckTrial, paths: list[Path]) -> None:
    (trial.folder / "ascmhl/ascmhl_chain.xml").unlink()


def _leave_gap(trial: CheckTrial, paths: list[Path]) -> None:
    chain = trial.folder / "ascmhl/ascmhl_chain.xml"
    chain.write_text(chain.read_text().replace('sequencenr="2"', 'sequencenr="3"'))


def _add_unchained(trial: CheckTrial, paths: list[Path]) -> None:
    (trial.folder / "ascmhl/0003_CARD_2026-11-22_021139Z.mhl").write_bytes(paths[0].read_bytes())


def _link_manifest(trial: CheckTrial, paths: list[Path]) -> None:
    paths[0].rename(trial.folder / "ascmhl/elsewhere")
    paths[0].symlink_to("elsewhere")


def _link_history(trial: CheckTrial, paths: list[Path]) -> None:
    (trial.folder / "ascmhl").rename(trial.folder.parent / "elsewhere")
    (trial.folder / "ascmhl").symlink_to(trial.folder.parent / "elsewhere")


def _empty_chain(trial: CheckTrial, paths: list[Path]) -> None:
    for path in paths:
        path.unlink()
    chain = trial.folder / "ascmhl/ascmhl_chain.xml"
    chain.write_text('<ascmhldirectory xmlns="urn:ASC:MHL:DIRECTORY:v2.0"></ascmhldirectory>')


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_edit, ["0001_CARD", "edited"]),
        (_break, ["0001_CARD", "edited"]),
        (_remove_manifest, ["0001_CARD", "missing"]),
        (_remove_chain, ["ascmhl_chain.xml", "missing"]),
        (_leave_gap, ["generation 2 is missing"]),
        (_add_unchained, ["0003_CARD", "not in the chain"]),
        (_link_manifest, ["0001_CARD", "symbolic link"]),
        (_link_history, ["ascmhl"]),
        (_empty_chain, ["no generation"]),
    ],
)
def test_history_is_trusted_as_a_whole_or_not_at_all(trial: CheckTrial, spoil: object, words: list[str]) -> None:
    first = card(trial)
    paths = write_history(trial.folder, first, first)
    spoil(trial, paths)  # type: ignore[operator]
    result = trial.run()
    assert (result.exit_code, result.checked[0].state) == (ExitCode.REFUSED, State.FAILED)
    (error,) = trial.errors
    assert all(word in error for word in words), error
    assert not [path for path in trial.opened() if path.endswith(".mov")]


def test_untrusted_history_does_not_keep_a_list_beside_it_from_being_checked(trial: CheckTrial) -> None:
    first = card(trial)
    paths = write_history(trial.folder, first)
    paths[0].unlink()
    write_legacy_list(trial.folder / "CARD.mhl", first)
    result = trial.run()
    assert (result.exit_code, result.checked[0].verified) == (ExitCode.REFUSED, 2)


def test_manifest_outside_of_a_history_is_checked_with_a_warning(trial: CheckTrial) -> None:
    (path,) = write_history(trial.folder, card(trial))
    moved = path.rename(trial.folder / "packing.mhl")
    (trial.folder / "ascmhl/ascmhl_chain.xml").unlink()
    (trial.folder / "ascmhl").rmdir()
    result = trial.run(moved)
    assert (result.exit_code, result.checked[0].verified) == (ExitCode.OK, 2)
    assert "no chain" in trial.warnings[0]
