"""The page shows what is on the sheet, whatever stands in captions, and asks for nothing."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from tests.support.browser import screenshot, visited
from tools.preview.page import LONG, render_page
from tools.preview.posters import Poster, pack
from tools.preview.sheet import Card, Fact, Sheet, Strip, clean

HOSTILE = '<script>document.title="taken"</script><img src=x onerror=alert(1)> & "quotes" \'too\''
ARABIC = "كلب يقفز فوق السياج"
LONG_CAPTION = "🦊🎬 words of a caption without an end " * 300
NO_BLANKS = "0123456789" * 60


def _poster(frames=3, size=(64, 48), cover=1):
    colours = ["#d02020", "#20b040", "#2040d0", "#b0b020"]
    pictures = [Image.new("RGB", size, colours[number % 4]) for number in range(frames)]
    return Poster(pack(pictures, 40_000), *size, times=tuple(float(n) for n in range(frames)), cover=cover)


def _sheet(*, wide=False):
    strips = (
        (Strip(_poster(), "as stored"), Strip(_poster(4, (32, 64), 2), "as loaded")) if wide else (Strip(_poster()),)
    )
    cards = (
        Card("000000001_00000", strips, (HOSTILE,), ("1.20 s",), (Fact("source", "</style><b>"),)),
        Card("مفتاح", (Strip(_poster(1, (64, 20), 0)),), (ARABIC, "second caption")),
        Card("key 3", (Strip(_poster(2, (20, 64), 0)),), (LONG_CAPTION,)),
        Card("key 4", (), (NO_BLANKS,), fault="frame 3 <of> 9 cannot be decoded"),
    )
    return Sheet(f"3 of 9 clips of {HOSTILE}", (HOSTILE,), cards, wide=wide)


class _Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("wide", [False, True])
def test_what_stands_in_captions_is_text(wide):
    page = render_page(_sheet(wide=wide))
    elements = _Elements()
    elements.feed(page)
    assert {"script", "b", "iframe", "form"} & {tag for tag, _ in elements.found} <= {"b"}
    assert not any(name.startswith("on") or name == "style" for _, attrs in elements.found for name in attrs)
    links = [attrs.get("src") or attrs.get("href") for tag, attrs in elements.found if tag in {"img", "link", "a"}]
    assert all(link.startswith("data:") for link in links)
    assert page.count("&lt;script&gt;") >= 3
    assert LONG_CAPTION in page
    assert f"{LONG_CAPTION[:LONG]}…" in page


def test_pictures_have_no_switch_for_frames():
    still = Sheet("title", (), (Card("key", (Strip(_poster(1, cover=0)),)),))
    assert "frames-all" in render_page(_sheet())
    assert 'id="frames-all"' not in render_page(still)
    assert 'id="theme-dark"' in render_page(still)


def test_the_policy_lets_in_the_pages_own_style_alone():
    page = render_page(_sheet())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy


def test_control_characters_can_be_seen():
    assert clean("a\x00b\x1b[31m\x7f\x9b\tc\nd") == "a\u2400b\u241b[31m\u2421\ufffd\tc\nd"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_browser_shows_it_without_complaint_or_request(browser, tmp_path, width, scheme):
    path = tmp_path / "sheet.html"
    path.write_text(render_page(_sheet()), encoding="utf-8")
    with visited(browser, path, width=width, color_scheme=scheme) as visit:
        page = visit.page
        assert page.title().startswith("3 of 9 clips of <script>")
        assert page.locator("article").count() == 4
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("article p.caption").first.inner_text() == HOSTILE
        # at rest a strip shows its cover, the green frame
        box = page.locator(".strip").first.bounding_box()
        assert _colour(page, box) == pytest.approx((0x20, 0xB0, 0x40), abs=12)
        _assert_frames_play_where_motion_is_wanted(page)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.locator("#theme-dark" if scheme == "light" else "#theme-light").check()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != ground
        page.locator("#frames-all").check()
        wide = page.locator(".strip").first.bounding_box()
        assert wide["width"] / wide["height"] == pytest.approx(3 * 64 / 48, rel=0.02)
        assert _colour(page, wide | {"width": wide["width"] / 3}) == pytest.approx((0xD0, 0x20, 0x20), abs=12)
        page.locator("details.whole summary").first.click()
        assert page.locator("details.whole p").first.inner_text().strip() == LONG_CAPTION.strip()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert (visit.complaints, visit.requests) == ([], [])


def test_a_wide_sheet_shows_all_frames_and_its_facts(browser, tmp_path):
    path = tmp_path / "sheet.html"
    path.write_text(render_page(_sheet(wide=True)), encoding="utf-8")
    with visited(browser, path, width=390) as visit:
        box = visit.page.locator(".strip").nth(1).bounding_box()
        assert box["width"] / box["height"] == pytest.approx(4 * 32 / 64, rel=0.02)
        assert visit.page.locator("dd").first.inner_text() == "</style><b>"
        assert visit.page.locator("dd").first.is_visible()
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert (visit.complaints, visit.requests) == ([], [])


def _assert_frames_play_where_motion_is_wanted(page):
    name = "getComputedStyle(document.querySelector('.strip img')).animationName"
    for motion, played in (("no-preference", "play"), ("reduce", "none")):
        page.emulate_media(reduced_motion=motion)
        page.mouse.move(0, 0)
        assert page.evaluate(name) == "none"
        page.locator(".stage").first.hover()
        assert page.evaluate(name) == played


def _colour(page, box):
    """Return the colour in the middle of a box of the page."""
    shot = Image.open(io.BytesIO(screenshot(page, clip={**box, "width": max(2, box["width"])}))).convert("RGB")
    return shot.getpixel((shot.width // 2, shot.height // 2))
