"""The page in a browser: it draws, answers clicks, fits a phone, and asks nobody for anything."""

from __future__ import annotations

import pytest

from tests.support.browser import visited
from tests.support.invented_report import report, shard_facts
from tests.support.invented_tiles import hostile_tiles
from tools.report.page import write_report

SHARDS = 10_000


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    target = tmp_path_factory.mktemp("report") / "report.html"
    write_report(report(shards=SHARDS), str(target), samples=hostile_tiles())
    return target


@pytest.fixture(scope="module")
def desk(browser, path):
    with visited(browser, path, width=1280) as visit:
        yield visit


@pytest.fixture(scope="module")
def phone(browser, path):
    with visited(browser, path, width=390, color_scheme="dark", has_touch=True, is_mobile=True) as visit:
        yield visit


@pytest.fixture(autouse=True)
def quiet(request):
    yield
    for name in {"desk", "phone"} & set(request.fixturenames):
        visit = request.getfixturevalue(name)
        assert visit.complaints == []
        assert visit.requests == []


def text(page, selector):
    return page.locator(selector).text_content()


def show(page, column):
    page.locator(f".thumb[data-column={column}]").click()


def legend(page):
    return page.evaluate("[...document.querySelectorAll('#chart .legendtext')].map((each) => each.textContent)")


def first_cells(page, table, column):
    return page.locator(f"[data-table={table}] tbody tr > :nth-child({column})").all_inner_texts()


def background(page):
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def bars(page):
    return page.locator("#chart .bars path").count()


def test_captions_do_no_harm(desk):
    page = desk.page
    assert page.title() == "webvid-2026 · corpus report"
    captions = page.locator(".caption")
    assert captions.nth(0).inner_text().startswith("</p><script>document.title=")
    assert page.locator("#samples script, .caption img").count() == 0
    assert page.evaluate("getComputedStyle(document.querySelectorAll('.caption')[1]).direction") == "rtl"
    assert "👩‍👩‍👧‍👦" in captions.nth(2).inner_text()
    assert captions.nth(3).bounding_box()["height"] < 120
    assert "(10,000 characters)" in captions.nth(3).text_content()
    pictures = page.locator(".strip img")
    assert pictures.count() == len(hostile_tiles()) - 1
    assert page.evaluate("Promise.all([...document.images].map((each) => each.decode())).then(() => 'seen')") == "seen"


def test_a_long_caption_opens_and_all_clips_show(desk):
    page = desk.page
    more = page.locator(".more").last
    more.click()
    assert more.get_attribute("aria-expanded") == "true"
    assert page.locator(".caption.open").bounding_box()["height"] > 200
    more.click()
    assert page.locator(".sample:visible").count() == 12
    page.locator("#unfold").click()
    assert page.locator(".sample:visible").count() == len(hostile_tiles())
    page.locator("#play-all").click()
    assert page.locator(".strip.playing").count() == len(hostile_tiles()) - 1
    page.locator("#play-all").click()
    assert page.locator(".strip.playing").count() == 0


def test_the_chart_shows_the_column_that_is_chosen(desk):
    page = desk.page
    show(page, "duration")
    assert bars(page) > 20
    assert page.locator(".thumb[aria-pressed=true]").inner_text().startswith("duration")
    show(page, "width")
    assert page.locator("#chart-column option:checked").inner_text() == "width"
    assert text(page, "#chart .xtitle") == "width"
    assert text(page, "#chart-quantiles div:nth-child(9) dd") == "1,920"
    page.locator("#chart-column").select_option(label="shard size")
    assert text(page, "#chart .ytitle") == "shards"
    page.locator("#chart-column").select_option(label="duration")


def test_axes_switch_between_linear_and_logarithmic(desk):
    page = desk.page
    show(page, "duration")
    ticks = "[...document.querySelectorAll('#chart .xtick text')].map((each) => each.textContent)"
    assert {"1", "2", "5", "10"} <= set(page.evaluate(ticks))
    page.locator("[data-choose='x:linear']").click()
    assert page.locator("[data-choose='x:linear']").get_attribute("aria-pressed") == "true"
    assert "2" not in page.evaluate(ticks)
    page.locator("[data-choose='y:log']").click()
    assert page.evaluate("document.getElementById('chart').layout.yaxis.type") == "log"
    page.locator("[data-choose='y:linear']").click()
    page.locator("[data-choose='view:sum']").click()
    assert "up to it" in text(page, "#chart .ytitle")
    assert page.locator("[data-choose='y:log']").is_disabled()
    page.locator("[data-choose='view:bins']").click()
    show(page, "fps")
    assert page.locator("[data-choose='x:log']").is_disabled()


def test_pointing_at_a_bar_says_what_it_holds(desk):
    page = desk.page
    show(page, "duration")
    tallest = "document.getElementById('chart').data[0].y.reduce((best, y, i, all) => y > all[best] ? i : best, 0)"
    box = page.locator("#chart .bars .point path").nth(page.evaluate(tallest)).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#chart .hoverlayer .hovertext")
    assert " clips, " in text(page, "#chart .hoverlayer")


def test_a_chart_can_be_kept_as_a_picture(desk):
    page = desk.page
    show(page, "duration")
    page.locator("#chart").hover()
    with page.expect_download() as kept:
        page.locator("#chart .modebar-btn").first.click()
    assert kept.value.suggested_filename == "vidloom-duration.png"


def test_groups_and_sides_are_overlaid(desk):
    page = desk.page
    page.locator("#chart-split").select_option("groups")
    assert legend(page) == [
        "sports",
        "cooking",
        "music",
        "nature",
        "all others",
    ]
    page.locator("#comparison button[data-column=caption_words]").click()
    assert legend(page) == ["s3://corpora/webvid-2025", "s3://corpora/webvid-2026"]
    assert text(page, "#chart .xtitle") == "caption words"
    assert text(page, "#chart .ytitle").startswith("% of clips per ")
    assert not page.locator("#chart-quantiles").is_visible()
    page.locator("#chart-split").select_option("whole")


def test_shards_are_sorted_filtered_and_paged(desk):
    page = desk.page
    table = page.locator("[data-table=shards]")
    assert text(page, "[data-table=shards] [data-part=status]") == "1 – 25 of 10,000"  # noqa: RUF001 - a dash
    table.locator("th button", has_text="size").click()
    assert table.locator("th[aria-sort=descending]").inner_text().startswith("size")
    largest = max(range(SHARDS), key=lambda number: shard_facts(number).bytes)
    assert first_cells(page, "shards", 1)[0] == f"{largest:05d}"
    table.locator("th button", has_text="size").click()
    smallest = min(range(SHARDS), key=lambda number: shard_facts(number).bytes)
    assert first_cells(page, "shards", 1)[0] == f"{smallest:05d}"
    table.locator("th button", has_text="shard").first.click()
    table.locator("[data-part=on]").click()
    assert first_cells(page, "shards", 1)[0] == "00025"
    table.locator("[data-part=only]").check()
    assert first_cells(page, "shards", 1)[:2] == ["00000", "00007"]
    table.locator("[data-part=words]").fill("0098")
    found = [f"{number:05d}" for number in range(0, SHARDS, 7) if "0098" in f"{number:05d}"]
    assert first_cells(page, "shards", 1) == found
    table.locator("[data-part=words]").fill("nothing like it")
    assert text(page, "[data-table=shards] [data-part=status]") == "no row is like this"
    assert table.locator("[data-part=on]").is_disabled()


def test_outliers_are_filtered_by_their_column(desk):
    page = desk.page
    page.locator("[data-table=outliers] [data-part=words]").fill("caption")
    assert set(first_cells(page, "outliers", 1)) == {"caption words"}
    assert text(page, "[data-table=outliers] [data-part=status]") == "1 – 10 of 12 (of 36)"  # noqa: RUF001 - a dash


def test_colours_follow_the_system_until_one_is_chosen(desk):
    page = desk.page
    show(page, "duration")
    light = background(page)
    page.emulate_media(color_scheme="dark")
    dark = background(page)
    assert dark != light
    page.locator("[data-choose-theme=light]").click()
    assert background(page) == light
    page.locator("[data-choose-theme=dark]").click()
    assert background(page) == dark
    assert page.evaluate("document.querySelector('#chart .bars path').style.fill") == "rgb(76, 195, 180)"
    page.locator("[data-choose-theme=auto]").click()
    page.emulate_media(color_scheme="light")
    assert background(page) == light


def test_a_phone_needs_no_scrolling_sideways(phone):
    page = phone.page
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert background(page) == "rgb(14, 19, 18)"
    outside = """[...document.querySelectorAll('main *')].filter((each) =>
        !each.closest('.scroll, #chart, .strip, .label') && each.getBoundingClientRect().right > 391
        ).map((each) => each.outerHTML.slice(0, 80))"""
    assert page.evaluate(outside) == []
    page.locator(".thumb[data-column=bitrate]").tap()
    assert text(page, "#chart .xtitle").startswith("bitrate")
    page.locator(".strip").first.tap()
    assert page.locator(".strip.playing").count() == 1


def test_paper_has_no_buttons(desk, tmp_path):
    page = desk.page
    page.emulate_media(media="print")
    try:
        assert not page.locator(".chart-card").is_visible()
        assert not page.locator("#play-all").is_visible()
        assert page.locator(".thumb svg").first.is_visible()
        assert page.locator(".sample:visible").count() == len(hostile_tiles())
        assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    finally:
        page.emulate_media(media="screen")


def test_without_scripts_all_but_the_chart_is_there(browser, path):
    with visited(browser, path, java_script_enabled=False) as visit:
        page = visit.page
        assert page.locator(".script-only:visible").count() == 0
        assert page.locator("[data-table=shards] tbody tr").count() == 20
        assert page.locator(".sample:visible").count() == len(hostile_tiles())
        assert page.locator(".thumb svg").first.is_visible()
