"""Tests of the size and turn of encoded pictures."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tools.corpus.geometry import Geometry, counted_aspect, fit


@pytest.mark.parametrize(
    ("size", "rotation", "side", "stored", "shown"),
    [
        ((1280, 720), 0, 256, (456, 256), (456, 256)),
        ((720, 1280), 0, 256, (256, 456), (256, 456)),
        ((1280, 720), 90, 256, (456, 256), (256, 456)),
        ((1280, 720), 180, 256, (456, 256), (456, 256)),
        ((176, 144), 0, 256, (176, 144), (176, 144)),
        ((341, 257), 0, None, (340, 256), (340, 256)),
        ((1, 1), 0, None, (2, 2), (2, 2)),
    ],
)
def test_sizes_are_even_and_never_enlarged(size, rotation, side, stored, shown):
    geometry = fit(*size, rotation, side)
    assert (geometry.width, geometry.height) == stored
    assert geometry.shown == shown


@pytest.mark.parametrize(
    ("size", "aspect", "side", "shown"),
    [
        ((720, 576), Fraction(16, 15), None, (768, 576)),
        ((720, 576), Fraction(64, 45), 256, (456, 256)),
        ((128, 96), Fraction(1, 2), None, (128, 192)),
        ((128, 96), Fraction(1, 2), 64, (64, 96)),
    ],
)
def test_oblong_pixels_become_square_without_losing_lines(size, aspect, side, shown):
    assert fit(*size, 0, side, aspect).shown == shown


def test_false_and_nearly_square_aspects_count_as_square():
    stated = [Fraction(640, 639), Fraction(191, 189), Fraction(900), Fraction(1, 900), Fraction(64, 51)]
    assert [counted_aspect(aspect) for aspect in stated] == [1, 1, 1, 1, Fraction(64, 51)]


def test_a_mirrored_picture_is_mirrored_before_it_is_turned():
    plane = np.array([[1, 2], [3, 4]], np.uint8)
    assert Geometry(2, 2, 0, mirrored=True).turn(plane).tolist() == [[2, 1], [4, 3]]
    assert Geometry(2, 2, 90, mirrored=True).turn(plane).tolist() == [[4, 2], [3, 1]]
    assert Geometry(2, 2, 90).turn(plane).tolist() == [[3, 1], [4, 2]]
