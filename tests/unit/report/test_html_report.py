"""The page: whole, escaped, and sufficient to itself. What a browser makes of it is in tests/tools."""

import base64
import hashlib
import html.parser
import json
import os
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfndispatchcopy.printable import printable
from tests.support.report_trial import Told, demonstration, many_files

pytest.importorskip("jinja2", reason="pages need jinja2 (the extra `report`)")

from pfndispatchcopy.report.html_report import html_report

_HOSTILE = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "\"'><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "a\u202egnp.exe",
    "b\x1b[2J\x07\r\n\u2028\u2029\u200b\x85",
    "\udcff\udcfe",
    "&amp;&#x3c;b&#x3e;",
    "]]>",
    "javascript:alert(1)",
    "x" * 250,
)


def _page(told: Told, exit_code: int = 0, planned: int | None = None) -> str:
    with told.contents(exit_code, planned) as contents:
        return b"".join(html_report(contents)).decode("utf-8")


class _Parsed(html.parser.HTMLParser):
    """Elements with their attributes, and all text that is shown."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag not in ("meta", "input", "path", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            attributes, text = self.scripts.pop()
            self.scripts.append((attributes, text + data))
        elif self.open and self.open[-1] != "style":
            self.text.append(data)

    def data(self, name: str) -> Any:
        return json.loads(next(text for attributes, text in self.scripts if attributes.get("id") == name))


def test_verdict_comes_first_and_everything_is_on_the_page() -> None:
    told, exit_code, planned = demonstration()
    source = _page(told, exit_code, planned)
    page = _Parsed(source)
    text = re.sub(r"\s+", " ", " ".join(page.text))
    assert re.findall(r"<h[12][^>]*>(.*?)</h[12]>", source) == [
        "Not everything is safe.",
        "What is safe",
        "What is not",
        "Destinations",
        "Speed",
        "Errors",
        "Warnings",
        "Files",
        "Left out, as asked for",
        "How it was done",
    ]
    assert "Do not erase or format A001 yet." in text
    for words in (
        "/Volumes/RAID/day1",
        "No space left on device",
        "user.tag",
        ".Spotlight-V100",
        "--mhl asc",
        "29 min",
    ):
        assert words in text
    assert page.data("page")["columns"] == ["RAID", "Shuttle_A", "Shuttle_B"]
    assert len(page.data("rows")) == 84
    assert page.open == []


def test_page_needs_nothing_but_itself_and_its_policy_allows_nothing_else() -> None:
    told, exit_code, planned = demonstration()
    page = _page(told, exit_code, planned)
    assert page.startswith("<!doctype html>")
    parsed = _Parsed(page)
    for tag, attributes in parsed.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "audio", "video", "source")
        assert not {"src", "srcset", "style", "action", "formaction", "background"} & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]
        assert not (attributes.get("href") or "#").startswith(("http", "//", "javascript", "data"))
    assert not re.search(r"@import|url\(|https?://|//[a-z]", re.sub(r"^\s*//.*", "", page, flags=re.MULTILINE))
    policy = next(
        each["content"] for tag, each in parsed.elements if each.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    for text in (style, parsed.scripts[-1][1]):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert [attributes.get("type") for attributes, _ in parsed.scripts] == [
        "application/json",
        "application/json",
        None,
    ]


def _require_harmless(page: str, clean: str) -> None:
    """The same elements as without hostile names, and no character that a terminal or an eye would stumble over."""
    assert [tag for tag, _ in _Parsed(page).elements] == [tag for tag, _ in _Parsed(clean).elements]
    assert page.replace("\n", "") == printable(page.replace("\n", ""))


@pytest.mark.parametrize("name", _HOSTILE, ids=ascii)
def test_hostile_name_is_only_text_wherever_it_stands(name: str) -> None:
    def told(name: str) -> Told:
        made = Told(f"/a/{name}", f"/b/{name}", sources=[f"/media/{name}"])
        made.command = f"pfndispatchcopy '{name}'"
        made.file(name, 5, ["verified", "failed"], error=f"{name}: write failed")
        made.notice("error", f"{name}: write failed", path=name)
        made.notice("warning", f"{name}: hm", path=name)
        made.left_out(name)
        made.volumes[0]["mount_point"] = name
        return made

    page = _page(told(name), 3)
    _require_harmless(page, _page(told("clean"), 3))
    (row,) = _Parsed(page).data("rows")
    assert row[0] == printable(name)


@settings(max_examples=30, deadline=None)
@given(raw=st.binary(min_size=1, max_size=60).filter(lambda raw: b"/" not in raw and b"\0" not in raw))
def test_any_name_is_only_text(raw: bytes) -> None:
    pages = []
    for name in (os.fsdecode(raw), "clean"):
        told = Told("/a", "/b")
        told.file(name, 5, ["verified", "failed"], error=f"{name}: no")
        pages.append(_page(told, 3))
    _require_harmless(*pages)


def test_data_in_the_page_cannot_end_its_element() -> None:
    told = Told("/a")
    for name in _HOSTILE:
        told.file(name)
    page = _page(told)
    (data,) = re.findall(r'<script type="application/json" id="rows">(.*?)</script>', page, re.DOTALL)
    assert data.isascii()
    assert not set(data) & {"<", ">", "&"}
    assert len(json.loads(data)) == len(_HOSTILE)


def test_without_javascript_all_failures_are_there_and_the_first_of_the_others() -> None:
    told = many_files(2500)
    for number in range(2500, 5000):
        told.file(f"bad/{number}", 5, ["verified", "failed", "verified"], error="broken")
    page = _page(told, 3)
    (static,) = re.findall(r"<noscript>(.*?)</noscript>", page, re.DOTALL)
    assert static.count("✕ failed") == 2500
    assert static.count("<tr>") == 1 + 2500 + 2000
    assert static.index("bad/2500") < static.index("DCIM/000")


def test_many_messages_are_cut_and_counted() -> None:
    told = Told("/a")
    told.file("x")
    for number in range(1000):
        told.notice("warning", f"warning number {number}")
        told.left_out(f"thing {number}")
    page = _page(told)
    assert page.count("<li>warning number") == 200
    assert page.count("And 800 more") == 2


def test_states_have_words_and_tones() -> None:
    told = Told("/a", "/b")
    told.file("a", states=["verified", "copied"], read_back="none")
    told.file("b", states=["verified", "skipped"])
    told.file("c", states=["verified", "mismatch"])
    told.file("d", states=["verified", None])
    told.file("e", states=["verified", "verified"], read_back="memory")
    parsed = _Parsed(_page(told, 4))
    states = parsed.data("page")["states"]
    rows = {row[0]: [states[letter] for letter in row[3]] for row in parsed.data("rows")}
    assert rows["a"][1] == ["copied", "doubt"]
    assert rows["b"][1] == ["skipped", "doubt"]
    assert rows["c"][1] == ["mismatch", "bad"]
    assert rows["d"][1] == ["not copied", "bad"]
    assert rows["e"][1] == ["verified in memory", "doubt"]


def test_check_has_one_column_of_results() -> None:
    told = Told("/a", "/b", is_check=True, sources=["/a", "/b"])
    told.file("x")
    told.files[-1]["destinations"] = told.files[-1]["destinations"][:1]
    for place in told.places:
        place |= {"verified": 1, "changed": 0, "missing": 0, "new": 0}
    parsed = _Parsed(_page(told))
    assert parsed.data("page")["columns"] == ["Result"]
    assert [len(row[3]) for row in parsed.data("rows")] == [1]
    assert "check report" in " ".join(parsed.text)


def test_a_million_rows_pass_through_and_are_not_held() -> None:
    told = many_files(300)
    with told.contents() as contents:
        pieces = html_report(contents)
        longest = max(len(piece) for piece in pieces)
    assert longest < 40_000
