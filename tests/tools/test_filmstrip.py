"""The sheet of frames: places, labels, and a PNG that reads back the same."""

from __future__ import annotations

import av
import numpy as np
import pytest

from tools.filmstrip import GAP, INK, LINE_HEIGHT, PAPER, Panel, Strip, draw_sheet, write_png


def frames(count=3, height=8, width=10, value=0):
    return np.full((count, height, width, 3), value, np.uint8)


def test_frames_stand_in_order_and_enlarged():
    strip = np.stack([np.full((8, 10, 3), value, np.uint8) for value in (1, 2, 3)])
    sheet = draw_sheet([Panel("a", [Strip("b", strip)])], zoom=2)
    rows, columns = np.nonzero((sheet == 2).all(axis=2))
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (16, 20)
    assert columns.min() - np.nonzero((sheet == 1).all(axis=2))[1].max() == GAP + 1


def test_every_strip_of_every_panel_is_drawn():
    panels = [Panel("x", [Strip("s", frames(value=n)) for n in (10, 20)]), Panel("y", [Strip("s", frames(value=30))])]
    sheet = draw_sheet(panels, zoom=1)
    tops = [np.nonzero((sheet == value).all(axis=2))[0].min() for value in (10, 20, 30)]
    assert tops == sorted(tops)
    assert [(sheet == value).all(axis=2).sum() for value in (10, 20, 30)] == [240, 240, 240]


def test_labels_and_titles_are_written_in_ink():
    def inked(title, label):
        return int((draw_sheet([Panel(title, [Strip(label, frames())])]) == INK).all(axis=2).sum())

    assert inked("", "") == 0
    assert inked("il", "") > 0
    assert inked("il", "mw") > inked("il", "")
    assert inked("?", "") == 4 * 2 * 2


def test_a_title_takes_the_lines_that_it_has_and_the_first_is_in_its_ink():
    red = (200, 0, 0)
    one, two = (draw_sheet([Panel(title, [Strip("", frames())], red)]) for title in ("il", "il\nil"))
    assert two.shape[0] - one.shape[0] == LINE_HEIGHT
    drawn = [int((sheet == ink).all(axis=2).sum()) for sheet in (one, two) for ink in (red, INK)]
    assert drawn[0] > 0
    assert drawn == [drawn[0], 0, drawn[0], drawn[0]]


def test_a_long_title_is_cut_at_the_edge():
    sheet = draw_sheet([Panel("w" * 500, [Strip("b", frames())])])
    assert sheet.shape == draw_sheet([Panel("", [Strip("b", frames())])]).shape


def test_png_reads_back_the_same(tmp_path):
    sheet = draw_sheet(
        [
            Panel(
                "a red square",
                [Strip("original", np.random.default_rng(0).integers(0, 255, (4, 9, 7, 3), dtype=np.uint8))],
            )
        ],
        zoom=3,
    )
    write_png(tmp_path / "sheet.png", sheet)
    with av.open(str(tmp_path / "sheet.png")) as container:
        (frame,) = container.decode(video=0)
    assert np.array_equal(frame.to_ndarray(format="rgb24"), sheet)
    assert sheet[0, 0, 0] == PAPER


def test_strips_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        draw_sheet([Panel("a", [Strip("b", frames()), Strip("c", frames(count=4))])])
    with pytest.raises(ValueError, match="one shape"):
        draw_sheet([])


@pytest.mark.parametrize("wrong", [np.zeros((2, 4, 4, 3), np.float32), np.zeros((4, 4, 3), np.uint8)])
def test_wrong_frames_are_refused_by_label(wrong):
    with pytest.raises(ValueError, match="strip 'masked'"):
        Strip("masked", wrong)
