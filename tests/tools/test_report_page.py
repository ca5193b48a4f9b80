"""What a browser makes of the page: headless Chromium, which people have in one form or another."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import CHROMIUM, Page, open_browser
from tests.support.report_trial import Told, demonstration, many_files

pytest.importorskip("jinja2", reason="pages need jinja2 (the extra `report`)")
pytestmark = [
    pytest.mark.tools,
    pytest.mark.timeout(180),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian package `chromium`)"),
]

_HOSTILE = (
    "</script><script>document.title = 'owned'</script>",
    "<img src=x onerror=\"document.title = 'owned'\">",
    "a\u202egnp.exe",
    "b\x1b[2J\n\u2028",
    "'\"&<b>{{7*7}}",
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One browser for all tests of this file."""
    with open_browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def shown(page: Page, tmp_path: Path) -> Iterator[Page]:
    """The demonstration, shown; a complaint of the browser fails the test."""
    told, exit_code, planned = demonstration()
    path = told.write(tmp_path / "report.html", exit_code, planned)
    page.complaints.clear()
    page.requests.clear()
    page.size(1180, 900)
    page.wear("light")
    page.open(path)
    yield page
    assert page.complaints == []
    assert page.requests == [path.as_uri()]


def _paths(page: Page) -> list[str]:
    return [text.split("\n")[0] for text in page.texts("#body th")]


def _range(first: int, last: int, count: int) -> str:
    return f"{first:,}\N{EN DASH}{last:,} of {count:,}"


def _find(page: Page, words: str) -> None:
    page.value(
        "(words => { const find = document.getElementById('find'); find.value = words;"
        f" find.dispatchEvent(new Event('input')); }})({words!r})"
    )


def _choose(page: Page, value: str) -> None:
    page.value(
        "(value => { const show = document.getElementById('show'); show.value = value;"
        f" show.dispatchEvent(new Event('change')); }})({value!r})"
    )


def test_verdict_is_seen_without_scrolling(shown: Page) -> None:
    assert shown.texts("h1") == ["Not everything is safe."]
    assert shown.value("document.querySelector('.erase').getBoundingClientRect().bottom < 450")
    assert shown.texts(".place small") == ["verified", "verified", "failed"]
    assert shown.value("document.querySelectorAll('svg.curve').length") == 3


def test_problems_come_first_until_a_column_is_asked_for(shown: Page) -> None:
    assert _paths(shown)[:2] == ["CLIPS/A001C018.mov", "CLIPS/A001C019.mov"]
    assert shown.value("[...document.querySelectorAll('#columns th')].map(e => e.ariaSort)") == ["none"] * 6
    shown.click("[data-key=path] button")
    assert _paths(shown) == sorted(_paths(shown))
    assert shown.value("document.querySelector('[data-key=path]').ariaSort") == "ascending"
    shown.click("[data-key=path] button")
    assert _paths(shown) == sorted(_paths(shown), reverse=True)
    assert shown.value("document.querySelector('[data-key=path]').ariaSort") == "descending"
    shown.click("[data-key=size] button")
    sizes = [int(text.replace(",", "")) for text in shown.texts("#body td.number")]
    assert sizes == sorted(sizes)
    shown.click("[data-key=state3] button")
    words = [text.split()[-1] for text in shown.texts("#body td:nth-child(5)")]
    assert words[0] == "copied"  # not copied
    assert words[-1] == "verified"


def test_files_are_found_by_name_by_digest_and_by_how_they_ended(shown: Page) -> None:
    _find(shown, "i0007")
    assert _paths(shown) == ["STILLS/I0007.DNG"]
    digest = shown.texts("#body .digest")[0].split()[-1]
    _find(shown, digest.upper())
    assert _paths(shown) == ["STILLS/I0007.DNG"]
    _find(shown, "no such file")
    assert _paths(shown) == []
    assert shown.texts("#nothing") == ["No file is like that."]
    _find(shown, "")
    _choose(shown, "problems")
    assert shown.texts("#where") == [_range(1, 67, 67)]
    _choose(shown, "failed")
    assert _paths(shown) == ["CLIPS/A001C018.mov"]
    assert "No space left on device" in shown.texts("#body .error")[0]
    _choose(shown, "all")
    assert shown.texts("#where") == [_range(1, 84, 84)]


def test_address_leads_to_what_it_names(page: Page, tmp_path: Path) -> None:
    path = many_files(950).write(tmp_path / "report.html")
    page.complaints.clear()
    page.open(path, "#sort=-size&page=2&q=films")
    assert page.texts("#where") == [_range(101, 200, 950)]
    assert _paths(page)[0] == "DCIM/000FILMS/IMG_000849.JPG"
    page.click("#on")
    assert page.texts("#where") == [_range(201, 300, 950)]
    page.value("location.hash = '#show=constructor&sort=toString&page=-5'")
    page.value("new Promise(done => setTimeout(done, 50))")
    assert page.texts("#where") == [_range(1, 100, 950)]
    assert page.complaints == []


def test_hostile_names_do_nothing_and_are_shown_harmless(page: Page, tmp_path: Path) -> None:
    told = Told(*(f"/mnt/{name}" for name in _HOSTILE[:2]), sources=[f"/media/{_HOSTILE[0]}"])
    for name in _HOSTILE:
        told.file(name, 5, ["verified", "failed"], error=f"{name}: write failed")
        told.notice("error", f"{name}: write failed")
        told.left_out(name)
    path = told.write(tmp_path / "report.html", 3)
    page.complaints.clear()
    page.requests.clear()
    page.open(path)
    assert page.value("document.title").startswith("Not everything is safe. /media/</script>")
    assert page.value("document.images.length") == 0
    assert page.value("document.scripts.length") == 3
    assert set(_paths(page)) == {*_HOSTILE[:2], "a\\u202egnp.exe", "b\\x1b[2J\\n\\u2028", _HOSTILE[4]}
    assert page.complaints == []
    assert page.requests == [path.as_uri()]


@pytest.mark.slow
def test_hundred_thousand_files_open_in_less_than_three_seconds(page: Page, tmp_path: Path) -> None:
    path = many_files(100_000).write(tmp_path / "report.html")
    page.complaints.clear()
    page.open(path)
    seconds = min(page.open(path) for _ in range(3))
    assert page.texts("#where") == [_range(1, 100, 100_000)]
    assert seconds < 3
    assert page.value("document.querySelectorAll('*').length") < 3000
    page.click("[data-key=digest] button")
    _find(page, "IMG_099999")
    assert _paths(page) == ["DCIM/099FILMS/IMG_099999.JPG"]
    assert page.complaints == []


def test_dark_and_light_have_enough_contrast(shown: Page) -> None:
    """The contrast of every text with what is behind it, as WCAG 2 counts it: 4.5, or 3 for large ones."""
    measure = """
    (() => {
      const parse = (text) => text.match(/[\\d.]+/g).map(Number);
      const light = (c) => c.slice(0, 3).map(v => v / 255)
        .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
      const behind = (e) => {
        for (; e; e = e.parentElement) {
          const c = parse(getComputedStyle(e).backgroundColor);
          if (c.length < 4 || c[3] === 1) return c;
        }
        return [255, 255, 255];
      };
      const bad = [];
      for (const e of document.querySelectorAll('body *')) {
        if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
        if (!e.offsetParent || e.closest('svg') || e.matches('script, style, option, :disabled')) continue;
        const style = getComputedStyle(e);
        const [one, two] = [light(parse(style.color)), light(behind(e))].sort((a, b) => b - a);
        const least = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
        if ((one + .05) / (two + .05) < least) bad.push([e.tagName, e.className, style.color, e.textContent.trim()]);
      }
      return bad;
    })()"""
    colours: set[str] = set()
    for scheme in ("light", "dark"):
        shown.wear(scheme)
        assert shown.value(measure) == []
        colours.add(shown.value("getComputedStyle(document.body).backgroundColor"))
    assert len(colours) == 2


def test_everything_can_be_reached_and_is_named(shown: Page) -> None:
    assert shown.value("[...document.querySelectorAll('button')].every(e => e.textContent.trim() || e.ariaLabel)")
    assert shown.value("[...document.querySelectorAll('input, select')].every(e => e.labels.length === 1)")
    assert shown.value("[...document.querySelectorAll('th')].every(e => e.scope)")
    assert shown.value("[...document.querySelectorAll('svg')].every(e => e.ariaHidden || (e.role && e.ariaLabel))")
    assert shown.value("document.documentElement.lang") == "en"
    assert shown.value("document.querySelectorAll('h1').length") == 1
    assert shown.value("document.querySelector('table caption').textContent")


@pytest.mark.parametrize("width", [390, 768, 1180])
def test_page_is_no_wider_than_the_window(shown: Page, width: int) -> None:
    shown.size(width, 800)
    assert shown.value("document.documentElement.scrollWidth") <= width


def test_paper_has_all_failures_and_repeats_the_heads_of_its_table(shown: Page, tmp_path: Path) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext here (Debian package `poppler-utils`)")
    shown.call("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    shown.paper(tmp_path / "report.pdf")
    text = subprocess.run(
        ["pdftotext", "-layout", tmp_path / "report.pdf", "-"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    pages = text.split("\f")
    assert "Do not erase or format A001 yet." in pages[0]
    assert text.count("not copied") == 66
    assert all(f"I{number:04}.DNG" in text for number in range(1, 61))
    listing = [page for page in pages if "I0001.DNG" in page or "I0040.DNG" in page or "A001C001.mov" in page]
    assert len(listing) >= 2
    assert all("Shuttle_B" in page and "Bytes" in page for page in listing)
    assert re.search(rf"1 */ *{len(pages) - 1}$", pages[0].rstrip())
    assert shown.value("document.querySelectorAll('#paper *').length") == 0


def test_without_javascript_the_page_is_as_good_to_read(page: Page, tmp_path: Path) -> None:
    told, exit_code, planned = demonstration()
    path = told.write(tmp_path / "report.html", exit_code, planned)
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.complaints.clear()
        page.open(path, has_scripts=False)
        assert len(page.texts("noscript tbody tr")) == 84
        assert page.value("document.querySelector('noscript').getBoundingClientRect().height") > 500
        assert page.value("document.getElementById('controls').offsetParent") is None
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)
