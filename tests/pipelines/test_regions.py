"""Regions: inside the picture, of the size and shape that was said, and where the published code puts them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.augment import Region, centre_crop, sample_rng
from pipelines.regions import along_long_side, random_resized_crop, short_side_crop, squashed_crop

sides = st.integers(1, 3000)


@given(sides, sides, st.integers(0, 99))
def test_every_region_lies_in_the_picture(width: int, height: int, sample: int):
    rng = sample_rng(0, 0, sample)
    regions = [
        random_resized_crop(width, height, (0.08, 1.0), (0.75, 1.3333), rng),
        squashed_crop(width, height, 224, rng),
        short_side_crop(width, height, 224, rng),
        short_side_crop(width, height, 224, None),
        *(along_long_side(centre_crop(width, height), width, height, place, 3) for place in range(3)),
    ]
    for region in regions:
        assert region.x >= 0
        assert region.y >= 0
        assert region.width > 0
        assert region.height > 0
        assert region.x + region.width <= width + 1e-6
        assert region.y + region.height <= height + 1e-6


def test_areas_and_shapes_are_spread_as_said():
    drawn = [random_resized_crop(4000, 4000, (0.1, 0.5), (0.5, 2.0), sample_rng(0, 0, n)) for n in range(2000)]
    areas = np.array([one.width * one.height for one in drawn]) / 4000**2
    shapes = np.log2([one.width / one.height for one in drawn])
    assert np.allclose(np.quantile(areas, [0, 0.25, 0.5, 0.75, 1]), [0.1, 0.2, 0.3, 0.4, 0.5], atol=0.03)
    assert np.allclose(np.quantile(shapes, [0, 0.25, 0.5, 0.75, 1]), [-1, -0.5, 0, 0.5, 1], atol=0.1)
    places = np.array([one.x / (4000 - one.width) for one in drawn])
    assert np.allclose(np.quantile(places, [0, 0.5, 1]), [0, 0.5, 1], atol=0.05)


@pytest.mark.parametrize(("picture", "shape"), [((1000, 10), 1.3333), ((10, 1000), 0.75)])
def test_a_picture_that_no_shape_fits_gives_its_middle(picture: tuple[int, int], shape: float):
    region = random_resized_crop(*picture, (0.5, 1.0), (0.75, 1.3333), sample_rng(0, 0, 0))
    assert math.isclose(region.width / region.height, shape, rel_tol=0.1)
    assert abs(region.x + region.width / 2 - picture[0] / 2) <= 1
    assert abs(region.y + region.height / 2 - picture[1] / 2) <= 1


def test_a_whole_picture_may_be_drawn():
    assert random_resized_crop(40, 40, (1.0, 1.0), (1.0, 1.0), sample_rng(0, 0, 0)) == Region(0, 0, 40, 40)


def test_a_squashed_picture_is_cut_on_the_grid_of_its_256_pixels():
    drawn = {squashed_crop(512, 1024, 224, sample_rng(0, 0, n)) for n in range(3000)}
    assert {one.x for one in drawn} == {2.0 * n for n in range(33)}
    assert {one.y for one in drawn} == {4.0 * n for n in range(33)}
    assert squashed_crop(512, 1024, 224, None) == Region(32, 64, 448, 896)


def test_a_shrunk_picture_is_cut_at_224_of_256():
    assert short_side_crop(512, 256, 224, None) == Region(144, 16, 224, 224)
    assert short_side_crop(256, 512, 224, None) == Region(16, 144, 224, 224)
    drawn = {short_side_crop(512, 256, 224, sample_rng(0, 0, n)) for n in range(3000)}
    assert min(one.x for one in drawn) == 0
    assert max(one.x for one in drawn) == 288
    assert {one.y for one in drawn} == set(range(33))


@pytest.mark.parametrize(
    ("picture", "wanted"),
    [((300, 100), [(0, 0), (100, 0), (200, 0)]), ((100, 301), [(0, 0), (0, 100), (0, 201)]), ((9, 9), [(0, 0)] * 3)],
)
def test_three_places_along_the_longer_side(picture: tuple[int, int], wanted: list[tuple[int, int]]):
    found = [along_long_side(centre_crop(*picture), *picture, place, 3) for place in range(3)]
    assert [(one.x, one.y) for one in found] == wanted
    assert along_long_side(centre_crop(*picture), *picture, 0, 1) == centre_crop(*picture)
