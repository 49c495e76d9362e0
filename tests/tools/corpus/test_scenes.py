"""Tests of the drawn scenes: captions tell scenes apart and are true of the pixels."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from tools.corpus.frame_number import read_frame_number
from tools.corpus.scenes import (
    COLOURS,
    DARK_GROUNDS,
    GROUNDS,
    MOTIONS,
    Scene,
    draw_frame,
    draw_look,
    draw_scenes,
    every_scene,
    split_scenes,
)

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
    assert Scene("circle", "red", "olive", "grows").caption == "a red circle grows on an olive ground"


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


def test_no_combination_is_in_both_parts_and_none_is_lost():
    split = split_scenes(np.random.default_rng(0), 64)
    assert len(split.held_out) == 64
    assert not set(split.train) & set(split.held_out)
    assert set(split.train) | set(split.held_out) == set(every_scene())
    assert len(every_scene()) == len({scene.caption for scene in every_scene()}) == 20 * 4 * 3


def test_all_that_a_held_out_scene_is_made_of_can_be_learnt():
    for seed in range(3):
        split = split_scenes(np.random.default_rng(seed), 64)
        for name in ("action", "colour", "ground"):
            assert {getattr(scene, name) for scene in split.train} == {getattr(scene, name) for scene in every_scene()}


def test_the_split_is_drawn():
    first, same, other = (split_scenes(np.random.default_rng(seed), 10) for seed in (1, 1, 2))
    assert first == same
    assert set(first.held_out) != set(other.held_out)


@pytest.mark.parametrize("count", [0, 240])
def test_a_split_without_one_part_is_refused(count):
    with pytest.raises(ValueError, match="take 1 to 239 of the 240"):
        split_scenes(np.random.default_rng(0), count)


@pytest.mark.parametrize("ground", DARK_GROUNDS)
def test_every_colour_is_brighter_than_a_dark_ground(ground):
    for colour in COLOURS:
        frame = draw_frame(Scene("circle", colour, ground, "grows"), 0.5, 128, 96, 0).astype(int).sum(axis=2)[20:]
        assert frame[38, 64] > 1.5 * frame[70, 2]


def test_an_action_is_a_shape_and_what_it_does():
    assert Scene("circle", "red", "navy", "moves up").action == "circle moves up"


def test_a_frame_without_a_number_is_all_picture():
    scene = Scene("triangle", "green", "pink", "turns")
    plain, numbered = (draw_frame(scene, 0.5, 128, 96, number) for number in (None, 3))
    assert (plain[0] == GROUNDS["pink"]).all()
    assert not (numbered[0] == GROUNDS["pink"]).all()


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_drawn_look_leaves_the_shape_in_the_picture(motion):
    rng = np.random.default_rng(1)
    for _ in range(5):
        scene = Scene("square", "blue", "white", motion, draw_look(rng))
        for share in (0.0, 0.5, 1.0):
            y, x = np.argwhere(mask(scene, share)).mean(0)
            assert 0 < mask(scene, share).mean() < 0.5
            assert 8 < y < 68
            assert 10 < x < 118
