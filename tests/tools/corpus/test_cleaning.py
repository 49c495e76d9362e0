"""Captions cleaned: what each step takes out, cleaning twice, hostile texts; originals, languages and faults."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.ledger import Reason
from tools.corpus.captions import CaptionSettings
from tools.corpus.cleaning import CLEAN_STEPS, clean_caption
from tools.corpus.ingest import InputRow
from tools.corpus.languages import language_of
from tools.corpus.tables import Fault


@pytest.mark.parametrize(
    ("text", "steps", "cleaned"),
    [
        ("A dog â€” running", ["ftfy"], "A dog — running"),
        ("fish &amp; chips &lt;3", ["html"], "fish & chips <3"),
        ("<p>A <b class='x'>dog</b><br/>runs</p><!-- ad --> fast", ["html"], "A dog runs fast"),
        ("3 < 4 and x > y, I <3 dogs", ["html"], "3 < 4 and x > y, I <3 dogs"),
        ("&lt;i&gt;dog&lt;/i&gt;", ["html"], "dog"),
        (f"&#{'0' * 5000}65; &#{'9' * 5000}; &#1114112;", ["html"], "A \ufffd \ufffd"),
        ("a <!-- comment with no end", ["html"], "a <!-- comment with no end"),
        ("more at https://a.b/c?d=e.", ["urls"], "more at ."),
        ("a cat (www.cats.example/x) sleeps", ["urls"], "a cat sleeps"),
        ("a cat () sleeps", ["urls"], "a cat () sleeps"),
        ("a http:&#47;&#47;a.example cat", ["html", "urls"], "a cat"),
        ("<b>a</b> https://x.example", ["ftfy"], "<b>a</b> https://x.example"),
        ("  two\n lines ", ["urls"], "two lines"),
        ("http://x.example", list(CLEAN_STEPS), ""),
    ],
)
def test_each_step_takes_out_its_own(text, steps, cleaned):
    assert clean_caption(text, steps) == cleaned


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(["<b>", "&lt;", "&amp;", "a", " ", "http://x.y", "(", ")", "<!--", "-->", "â€™"])).map(
        "".join
    )
)
def test_cleaning_twice_changes_no_more(text):
    once = clean_caption(text, CLEAN_STEPS)
    assert clean_caption(once, CLEAN_STEPS) == once


def test_hostile_texts_take_no_time():
    for text in ("<!--" * 200_000, "<a" * 200_000, "http://" + "!" * 200_000, "(" * 200_000):
        assert len(clean_caption(text, ["html", "urls"])) <= len(text)


def test_originals_are_kept_where_something_changed():
    clean = CaptionSettings.parse("html,urls")
    row = clean.apply(InputRow(0, "v.mp4", "a &amp; b", extra={"n": 1}))
    assert (row.caption, row.extra) == ("a & b", {"n": 1, "caption_original": "a &amp; b"})
    assert clean.apply(InputRow(0, "v.mp4", "a b")).extra == {"caption_original": None}
    several = InputRow(0, "v.mp4", "<b>", captions=("<b>", "two &amp; 2", "three"))
    row = clean.apply(several)
    assert (row.caption, row.captions) == ("two & 2", ("two & 2", "three"))
    assert row.extra["caption_original"] == '["<b>", "two &amp; 2", "three"]'
    row = clean.apply(InputRow(0, "v.mp4", "<b>", captions=("<b>", "two")))
    assert (row.caption, row.captions) == ("two", ())


def test_a_caption_of_which_nothing_is_left_fails_its_row():
    row = CaptionSettings.parse("urls", language=True).apply(InputRow(0, "v.mp4", "https://a.example"))
    assert row.problem == Fault(Reason.NO_CAPTION, "the clean-up (urls) leaves nothing of the caption")
    assert row.extra == {"caption_original": None, "language": None} | {"caption_original": "https://a.example"}
    broken = InputRow(0, "", "<b>", problem=Fault(Reason.NO_VIDEO, "none"))
    assert CaptionSettings.parse("html").apply(broken).caption == "<b>"


def test_languages_are_told_of_what_has_letters():
    told = CaptionSettings.parse(None, language=True)
    texts = {"Ein Hund läuft über die grüne Wiese": "de", "A dog runs across the green meadow": "en", "1, 2, 3!": None}
    assert {text: told.apply(InputRow(0, "v.mp4", text)).extra["language"] for text in texts} == texts
    assert language_of("犬が公園を走る") == "ja"


def test_settings_columns_and_what_is_refused():
    assert CaptionSettings.parse(None) is CaptionSettings.parse(" ,") is None
    settings_ = CaptionSettings.parse("urls, ftfy", language=True)
    assert settings_.settings == {"clean": ["ftfy", "urls"], "language": True}
    assert settings_.columns({"z": "int64"}) == {"caption_original": "string", "language": "string", "z": "int64"}
    with pytest.raises(ValueError, match="does not know 'emoji'; taken are ftfy, html, urls"):
        CaptionSettings.parse("ftfy,emoji")
    with pytest.raises(ValueError, match="has a column 'language', which --language would fill"):
        settings_.columns({"language": "string"})
