"""Tests of the drawn scenes: captions tell scenes apart and are true of the pixels."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from tools.corpus.frame_number import read_frame_number
from tools.corpus.scenes import COLOURS, GROUNDS, MOTIONS, Scene, draw_frame, draw_scenes

EVERY = 3 * 6 * 7 - 6


def mask(scene: Scene, share: float) -> np.ndarray:
    frame = draw_frame(scene, share, 128, 96, 5).astype(int)[20:]
    to_colour = np.abs(frame - COLOURS[scene.colour]).sum(-1)
    to_ground = np.abs(frame - GROUNDS[scene.ground]).sum(-1)
    return to_colour < to_ground


def test_scenes_show_everything_once_before_they_repeat():
    scenes = list(islice(draw_scenes(np.random.default_rng(3)), EVERY))
    assert len({(scene.shape, scene.colour, scene.motion) for scene in scenes}) == EVERY
    assert len({scene.caption for scene in scenes}) == EVERY
    assert not any(scene.shape == "circle" and scene.motion == "turns" for scene in scenes)


def test_the_same_generator_draws_the_same_scenes():
    first, second = (list(islice(draw_scenes(np.random.default_rng(7)), 200)) for _ in range(2))
    assert first == second
    assert first != list(islice(draw_scenes(np.random.default_rng(8)), 200))


def test_captions_are_english():
    assert Scene("square", "orange", "black", "turns").caption == "an orange square turns on a black ground"
    assert Scene("circle", "red", "white", "grows").caption == "a red circle grows on a white ground"


@pytest.mark.parametrize("motion", MOTIONS)
def test_the_shape_does_what_the_caption_says(motion):
    scene = Scene("square", "blue", "white", motion)
    before, after = mask(scene, 0.1), mask(scene, 0.4)
    (y0, x0), (y1, x1) = (np.argwhere(part).mean(0) for part in (before, after))
    growth = after.sum() / before.sum()
    moved = {"left": x0 - x1, "right": x1 - x0, "up": y0 - y1, "down": y1 - y0}
    if motion.startswith("moves"):
        assert moved[motion.split()[1]] > 10
        assert 0.9 < growth < 1.1
    elif motion == "turns":
        assert abs(growth - 1) < 0.1
        assert (before ^ after).sum() > 50
    else:
        assert (growth > 1.5) if motion == "grows" else (growth < 0.7)


def test_every_frame_carries_its_number():
    frame = draw_frame(Scene("triangle", "green", "pink", "turns"), 0.5, 128, 96, 321)
    assert frame.shape == (96, 128, 3)
    assert read_frame_number(frame) == 321
