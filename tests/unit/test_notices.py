"""What went wrong, in words that name the path, the operation, the reason and what to do."""

import errno
import os
import sys

import pytest

from pfndispatchcopy.errors import ConflictError
from pfndispatchcopy.notices import (
    amount,
    errno_name,
    failure_notice,
    reason_of,
    refusal_text,
    similar_to,
    source_advice,
)


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (7_300_000, "7.3 MB"),
        (10**9, "1.0 GB"),
        (25 * 10**11, "2.5 TB"),
    ],
)
def test_amounts_are_powers_of_ten(count: int, words: str) -> None:
    assert amount(count) == words


def test_errno_has_its_name_or_none() -> None:
    assert errno_name(OSError(errno.ENOSPC, "full")) == "ENOSPC"
    assert errno_name(OSError("no number")) is None
    assert errno_name(OSError(99999, "strange")) is None
    assert errno_name(ValueError("x")) is None
    assert errno_name(None) is None


def test_reason_is_the_systems_own_text_and_name() -> None:
    assert reason_of(OSError(errno.EIO, "Input/output error")) == "Input/output error (EIO)"
    assert reason_of(OSError(errno.EIO, "")) == f"{os.strerror(errno.EIO)} (EIO)"
    assert reason_of(OSError(99999, "strange")) == "strange"
    assert "memory" in reason_of(MemoryError())
    assert reason_of(ConflictError("a folder has this name")) == "a folder has this name"
    assert reason_of(KeyError("x")) == "internal error: KeyError: 'x'"


def test_full_disk_says_where_and_how_much_more_is_needed() -> None:
    notice = failure_notice(
        OSError(errno.ENOSPC, "No space left on device"),
        path="/b/clip.mov",
        operation="write",
        destination="/b/",
        offset=1_000_000,
        size=3_500_000,
        aftermath="Nothing of it was left behind.",
    )
    assert notice.message.startswith("/b/clip.mov: write failed at byte 1000000: No space left on device (ENOSPC).")
    assert "2.5 MB more are needed." in notice.message
    assert "Nothing of it was left behind." in notice.message
    assert "run the same command again" in notice.message
    assert (notice.path, notice.operation, notice.errno, notice.destination) == (
        "/b/clip.mov",
        "write",
        "ENOSPC",
        "/b/",
    )


@pytest.mark.parametrize(
    "number",
    [errno.EIO, errno.EROFS, errno.EDQUOT, errno.ENODEV, errno.EACCES, errno.EFBIG, errno.ENAMETOOLONG, errno.EMFILE],
)
def test_every_usual_reason_has_advice_of_its_own(number: int) -> None:
    usual = failure_notice(OSError(number, "reason"), path="/b", operation="write").message
    unusual = failure_notice(OSError(errno.EDOM, "reason"), path="/b", operation="write").message
    assert len(usual.split(". ")) >= 2
    assert usual.split(". ", 1)[1] != unusual.split(". ", 1)[1]


def test_what_is_needed_is_not_guessed_for_a_stream() -> None:
    notice = failure_notice(OSError(errno.ENOSPC, "full"), path="/b", operation="write", offset=4, size=None)
    assert "more are needed" not in notice.message


@pytest.mark.fault(86)
def test_message_is_one_safe_line_and_the_path_stays_exact() -> None:
    notice = failure_notice(
        OSError(errno.EIO, "bad\x1b[2Jnews"), path="/b/a\n\x1b]0;x\x07", operation="write", aftermath="Left: /b/\x1b."
    )
    assert notice.message.isprintable()
    assert notice.path == "/b/a\n\x1b]0;x\x07"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_source_is_to_be_read_and_a_destination_to_be_written(number: int) -> None:
    of_source = failure_notice(OSError(number, "no"), path="/a", operation="open").message
    of_destination = failure_notice(OSError(number, "no"), path="/b", operation="create", destination="/b").message
    assert "heck who may read it." in of_source
    assert "heck who may write there." in of_destination


@pytest.mark.parametrize(
    ("path", "is_guarded"),
    [
        ("/Volumes/A001/clip.mov", True),
        ("~/Desktop/A001", True),
        ("~/Documents", True),
        ("/Volumes", True),
        ("/Volumes/../etc", False),
        ("~/Movies/x", False),
    ],
)
def test_macos_may_keep_a_volume_from_an_app(monkeypatch: pytest.MonkeyPatch, path: str, is_guarded: bool) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("HOME", "/Users/me")
    path = os.path.expanduser(path)
    refused = OSError(errno.EPERM, "Operation not permitted")
    notice = failure_notice(refused, path=path, operation="create", destination=path)
    for text in (notice.message, source_advice("EPERM", path)):
        assert ("Privacy & Security, Full Disk Access" in text) == is_guarded
    assert "Full Disk Access" not in failure_notice(OSError(errno.EACCES, "x"), path=path, operation="open").message


def test_only_macos_does_that() -> None:
    if sys.platform != "darwin":
        assert "Full Disk Access" not in source_advice("EPERM", "/Volumes/A001")


@pytest.mark.parametrize(
    ("word", "words"),
    [("--verfy", "; did you mean --verify?"), ("--frobnicate", ""), ("cilp.mov", "; did you mean clip.mov?"), ("", "")],
)
def test_what_is_nearly_right_is_asked_about(word: str, words: str) -> None:
    assert similar_to(word, ["--verify", "--quiet", "clip.mov", "clip\n.mov"]) == words


def test_name_that_is_asked_about_is_safe() -> None:
    assert similar_to("clip.mov", ["clip\x1b.mov"]) == "; did you mean clip\\x1b.mov?"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("no such option", "no such option; nothing was written"),
        ("did you mean b?", "did you mean b? Nothing was written"),
        ("Check who may read it.", "Check who may read it. Nothing was written"),
        ("inside the source .", "inside the source .; nothing was written"),
        ("Nothing was written there. Go on.", "Nothing was written there. Go on."),
    ],
)
def test_refusal_says_once_that_nothing_was_written(message: str, text: str) -> None:
    assert refusal_text(message, "nothing was written") == text
