"""A sheet as a picture: clips where they belong, text that fits, and a remark on signs that no font has."""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageFont

from tools.preview import fonts, picture
from tools.preview.fonts import Face, best_face, open_faces
from tools.preview.picture import draw_picture
from tools.preview.posters import Poster, pack
from tools.preview.sheet import Card, Fact, Sheet, Strip

UNASSIGNED = "\U000e0fff"
"""A character that no font draws."""


@pytest.fixture(autouse=True)
def no_fonts_of_this_machine(monkeypatch):
    monkeypatch.setattr(fonts, "_COMMON", ())


def _poster(colour, frames=2, size=(80, 60)):
    return Poster(pack([Image.new("RGB", size, colour)] * frames, 9_000), *size, times=(0.0,) * frames, cover=0)


def _draw(*cards, wide=False, **more):
    drawn = draw_picture(Sheet("title", ("line",), cards, wide=wide), **more)
    return drawn, Image.open(io.BytesIO(drawn.data)).convert("RGB")


def test_covers_stand_in_columns():
    colours = ["#c01010", "#10c010", "#1010c0", "#c0c010", "#10c0c0"]
    drawn, shown = _draw(
        *(Card(f"key {n}", (Strip(_poster(colour)),), ("caption",)) for n, colour in enumerate(colours))
    )
    assert drawn.lacking == 0
    assert shown.width == 2 * 20 + 4 * 260 + 3 * 14
    seen = {colour: box for colour in colours if (box := _where(shown, colour))}
    assert set(seen) == set(colours)
    assert seen["#c01010"][0] < seen["#10c010"][0] < seen["#1010c0"][0] < seen["#c0c010"][0]
    assert abs(seen["#10c0c0"][0] - seen["#c01010"][0]) <= 1, "the fifth begins the second row"
    assert seen["#10c0c0"][1] > seen["#c01010"][1]


def test_wide_cards_show_whole_strips_and_facts():
    card = Card(
        "key", (Strip(_poster("#c01010", 4)), Strip(_poster("#10c010", 4), "loaded")), (), (), (Fact("crop", "8"),)
    )
    _, shown = _draw(card, wide=True)
    left, _, right, _ = _where(shown, "#10c010")
    assert right - left == pytest.approx(4 * 80, abs=4)
    _, plain = _draw(Card("key", card.strips), wide=True)
    assert shown.height > plain.height, "facts take lines"


def test_long_texts_are_wrapped_and_cut():
    heights = [
        _draw(Card("key", (Strip(_poster("#c01010")),), (text,)))[1].height
        for text in ("a", "word " * 4000, "x" * 9000)
    ]
    assert heights[0] < heights[1] == heights[2] < heights[0] + 8 * 19
    _, faulty = _draw(Card("key", fault="no frames " * 500))
    assert faulty.height < 400


def test_what_no_font_has_is_counted_and_a_given_font_goes_first(tmp_path):
    drawn, _ = _draw(Card("key", (), (f"odd {UNASSIGNED}",)), Card("key", (), ("plain",)))
    assert drawn.lacking == 1
    face = Face(ImageFont.load_default(14))
    assert [face.lacks(text) for text in ("plain text", "ä b", f"{UNASSIGNED}{UNASSIGNED}")] == [0, 1, 2]
    poor, rich = Face(ImageFont.load_default(14)), Face(ImageFont.load_default(15))
    assert best_face([poor, rich], "abc") is poor
    broken = tmp_path / "no.ttf"
    broken.write_bytes(b"no font")
    with pytest.raises(ValueError, match=r"no\.ttf is no font that can be read"):
        open_faces([str(broken)], 14)


def test_a_picture_too_large_is_refused(monkeypatch):
    card = Card("key", (Strip(_poster("#c01010")),), ("caption",))
    with pytest.raises(ValueError, match=r"2000 clips make a picture of 1122x\d+ pixels at least.*fewer with --n"):
        draw_picture(Sheet("title", (), (card,) * 2000))
    monkeypatch.setattr(picture, "MOST_PIXELS", 280_000)
    with pytest.raises(ValueError, match=r"1 clips make a picture of 1122x\d+ pixels, 280000 are allowed"):
        draw_picture(Sheet("title", (), (card,)))


def _where(picture, colour):
    """Return the box of pixels near a colour."""
    wanted = Image.new("RGB", (1, 1), colour).getpixel((0, 0))
    bands = zip(picture.split(), wanted, strict=True)
    masks = [band.point(lambda value, want=want: 255 if abs(value - want) < 24 else 0) for band, want in bands]
    both = Image.composite(masks[0], Image.new("L", picture.size), masks[1])
    return Image.composite(both, Image.new("L", picture.size), masks[2]).getbbox()
