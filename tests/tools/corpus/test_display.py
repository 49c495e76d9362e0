"""Tests of display matrices: every quarter turn, mirrored or not, with scales and offsets that do not matter."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from tests.support.numbered_videos import Coding, encode_numbered
from tests.support.odd_videos import with_display_matrix
from tools.corpus.display import Turn, turn_of
from tools.corpus.geometry import Geometry

MP4 = encode_numbered(Coding(options={"g": "10"}), 2)


def turn_by(*matrix):
    with av.open(io.BytesIO(with_display_matrix(MP4, *matrix))) as container:
        return turn_of(next(container.decode(video=0)))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_matrices_move_corners_as_the_turn_does(rotation, mirrored):
    """A point (x, y) goes to (a x + c y, b x + d y): follow each corner of a square about the origin."""
    corners = {(-1, -1): 1, (1, -1): 2, (-1, 1): 3, (1, 1): 4}
    turned = Geometry(2, 2, rotation, mirrored=mirrored).turn(np.array([[1, 2], [3, 4]], np.uint8))
    after = {int(turned[row, column]): (2 * column - 1, 2 * row - 1) for row in (0, 1) for column in (0, 1)}
    (x1, y1), (x2, y2) = after[corners[1, -1]], after[corners[1, 1]]
    a, b, c, d = (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2
    assert {mark: (a * x + c * y, b * x + d * y) for (x, y), mark in corners.items()} == after
    assert turn_by(a, b, c, d) == Turn(rotation, mirrored)


def test_scale_and_slant_do_not_matter_and_nonsense_counts_as_none():
    assert turn_by(0.01, 0.99, -0.99, 0.01) == Turn(90, mirrored=False)
    assert turn_by(0, 3, -2, 0) == Turn(90, mirrored=False)
    assert turn_by(0, 0, 0, 0) == Turn(0, mirrored=False)
    assert turn_by(1, 0, 0, 0) == Turn(0, mirrored=False)
    with av.open(io.BytesIO(encode_numbered(Coding("libvpx-vp9", "webm"), 2))) as container:
        assert turn_of(next(container.decode(video=0))) == Turn(0, mirrored=False)
