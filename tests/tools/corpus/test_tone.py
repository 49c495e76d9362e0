"""Tests of bringing HDR to BT.709: fixed points of the standards, an independent formula, grey stays grey."""

from __future__ import annotations

import av
import numpy as np
import pytest

from tools.corpus.tone import KNEE, PEAK_CD, WHITE_CD, hlg_scene, pq_light, roll_off, to_bt709, wide_colours

BT2020 = np.array([[0.6370, 0.1446, 0.1689], [0.2627, 0.6780, 0.0593], [0.0, 0.0281, 1.0610]])
BT709 = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
"""Red, green and blue to CIE XYZ, from the standards' chromaticities."""


def display_light(codes, colours):
    """Return the light of codes from 0 to 1, in units of the reference white, by the standards' formulas."""
    if colours == "PQ":
        power = codes ** (1 / 78.84375)
        return (
            10_000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125) / 203
        )
    if colours == "HLG":
        dark, bright = codes**2 / 3, (np.exp((codes - 0.55991073) / 0.17883277) + 0.28466892) / 12
        scene = np.where(codes <= 0.5, dark, bright)
        return 1000 * scene * (scene @ [0.2627, 0.6780, 0.0593])[..., None] ** 0.2 / 203
    return codes**2.4


def by_formula(codes, colours):
    light = display_light(codes, colours) @ (np.linalg.inv(BT709) @ BT2020).T
    light = np.maximum(light, 0)
    if colours != "BT.2020":
        top = light.max(-1, keepdims=True)
        light = light * np.vectorize(roll_off)(top) / np.maximum(top, 1e-9)
    return 255 * np.minimum(light, 1) ** (1 / 2.4)


@pytest.mark.parametrize("colours", ["PQ", "HLG", "BT.2020"])
def test_every_colour_is_what_the_formula_says(colours):
    codes = np.random.default_rng(4).uniform(0, 0.75 if colours == "PQ" else 1, (40, 40, 3))
    made = to_bt709(np.round(codes * 65535).astype(np.uint16), colours)
    gap = np.abs(made - by_formula(codes, colours))
    assert gap.mean() < 0.6
    assert np.quantile(gap, 0.999) < 2.5


def test_the_curves_pass_through_the_standards_fixed_points():
    assert pq_light(0.5807) == pytest.approx(203, rel=0.002)  # ITU-R BT.2408, table 1
    assert pq_light(1.0) == pytest.approx(10_000)
    assert pq_light(0.0) == 0
    assert hlg_scene(0.5) == pytest.approx(1 / 12)
    assert hlg_scene(1.0) == pytest.approx(1.0)
    assert PEAK_CD * hlg_scene(0.75) ** 1.2 == pytest.approx(203, rel=0.002)


def test_the_roll_off_is_smooth_and_ends_at_white():
    light = np.linspace(0, PEAK_CD / WHITE_CD, 2000)
    rolled = np.array([roll_off(float(one)) for one in light])
    assert rolled[light <= KNEE] == pytest.approx(light[light <= KNEE])
    assert (np.diff(rolled) > 0).all()
    assert np.abs(np.diff(rolled, 2)).max() < 1e-4
    assert rolled[-1] == pytest.approx(1.0)
    assert roll_off(50.0) == pytest.approx(1.0)


@pytest.mark.parametrize("colours", ["PQ", "HLG", "BT.2020"])
def test_grey_stays_grey_and_brighter_stays_brighter(colours):
    ramp = np.repeat(np.linspace(0, 65535, 500).astype(np.uint16)[None, :, None], 3, axis=-1)
    made = to_bt709(ramp, colours)[0].astype(int)
    assert np.ptp(made, axis=-1).max() <= 1
    assert (np.diff(made[:, 1]) >= 0).all()
    assert (made[0].max(), made[-1].min()) == (0, 255)


def test_only_wide_colours_are_wide():
    frame = av.VideoFrame(16, 16, "yuv420p10le")
    found = []
    for primaries, transfer in ((9, 16), (9, 18), (9, 14), (1, 1), (2, 2), (1, 16)):
        frame.color_primaries, frame.color_trc = primaries, transfer
        found.append(wide_colours(frame))
    assert found == ["PQ", "HLG", "BT.2020", None, None, "PQ"]
