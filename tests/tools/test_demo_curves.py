"""The charts of losses: where curves run, what is written at the axes, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tools.demo_curves import COLOURS, HEIGHT, WIDTH, Chart, draw_charts

NAMES = 40
"""Rows of pixels from the top within which titles and names are written."""


def spots(sheet, colour, top=0):
    return np.argwhere((sheet[top:] == colour).all(axis=2))


def test_a_falling_curve_falls_from_the_left_to_the_right():
    sheet = draw_charts([Chart("mvm", {"loss": [4.0 - 0.03 * step for step in range(100)]})])
    found = spots(sheet, COLOURS[0], NAMES)
    first, last = (found[found[:, 1] == edge][:, 0].mean() for edge in (found[:, 1].min(), found[:, 1].max()))
    assert np.ptp(found[:, 1]) + 1 == WIDTH
    assert 0.6 * HEIGHT < last - first < 0.8 * HEIGHT


def test_the_scale_ends_at_a_round_number():
    low = draw_charts([Chart("a", {"loss": [3.9, 3.9]})])
    high = draw_charts([Chart("a", {"loss": [4.1, 4.1]})])
    lows, highs = (spots(sheet, COLOURS[0], NAMES)[:, 0].mean() for sheet in (low, high))
    assert highs - lows > 0.4 * HEIGHT, "4.1 is half of 8, and 3.9 nearly all of 4"


def test_few_high_values_at_the_start_are_cut_off():
    falling = [90.0, 60.0, *[0.9 - 0.008 * step for step in range(98)]]
    found = spots(draw_charts([Chart("a", {"loss": falling})]), COLOURS[0], NAMES)
    assert np.ptp(found[:, 0]) > 0.6 * HEIGHT


def test_each_curve_and_chart_has_its_place():
    two = Chart("vlc", {"contrastive": [1.0, 0.5], "captioning": [0.5, 0.25]})
    one, three = draw_charts([two]), draw_charts([two, two, two])
    assert all(len(spots(one, colour)) > WIDTH for colour in COLOURS[:2])
    assert three.shape[:2] == (2 * one.shape[0], 2 * one.shape[1])
    assert len(spots(three, COLOURS[0])) == 3 * len(spots(one, COLOURS[0]))


def test_noise_is_faint_and_its_mean_strong():
    noisy = [2.0 + (-1) ** step for step in range(400)]
    found = spots(draw_charts([Chart("a", {"loss": noisy})]), COLOURS[0], NAMES)
    assert np.ptp(found[:, 0]) < HEIGHT / 4


@pytest.mark.parametrize("curves", [{}, {"loss": [1.0]}, {"a": [1.0, 2.0], "b": [1.0, 2.0, 3.0]}])
def test_what_makes_no_line_is_refused(curves):
    with pytest.raises(ValueError, match="one length from 2 on"):
        Chart("x", curves)


def test_no_chart_is_refused():
    with pytest.raises(ValueError, match="no chart"):
        draw_charts([])


def test_a_loss_of_nought_is_drawn():
    assert draw_charts([Chart("a", {"loss": [0.0, 0.0]})]).shape[2] == 3
