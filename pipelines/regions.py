"""Parts of a picture to cut out: by area and shape, of a squashed or shrunk picture, along its longer side."""

from __future__ import annotations

import math

import numpy as np

from pipelines.augment import Region, draw_below, draw_share

_TRIES = 10
_SHORT = 224 / 256
"""Side of the part over the picture's, where a picture is first resized to 256 and 224 are cut out."""


def random_resized_crop(
    width: int, height: int, scale: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator
) -> Region:
    """Return a part whose share of the area is uniform in ``scale``, and the logarithm of its shape in ``ratio``.

    Ten shapes are tried; where none fits, the largest part in the middle whose shape is within ``ratio`` is taken
    (Szegedy et al., "Going deeper with convolutions", arXiv 1409.4842, section 6; the tries are torchvision's).

    Args:
        width: of the picture, in pixels.
        height: of the picture.
        scale: smallest and largest share of the area.
        ratio: smallest and largest shape: width over height.
        rng: draws.
    """
    for _ in range(_TRIES):
        area = width * height * _between(rng, *scale)
        shape = math.exp(_between(rng, *map(math.log, ratio)))
        wide, high = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < wide <= width and 0 < high <= height:
            left, top = draw_below(rng, width - wide + 1), draw_below(rng, height - high + 1)
            return Region(left, top, wide, high)
    shape = min(max(width / height, ratio[0]), ratio[1])
    wide, high = min(width, round(height * shape)), min(height, round(width / shape))
    return Region((width - wide) // 2, (height - high) // 2, wide, high)


def squashed_crop(width: int, height: int, out: int, rng: np.random.Generator | None) -> Region:
    """Return the part of a picture that is an ``out`` square of it, resized whole to 256/224 of ``out`` square.

    The place is drawn among the pixels of the resized picture; None takes the middle (InternVideo's public multimodal
    code, whose decoder gives 256 x 256 pixels whatever the shape).
    """
    side = round(out / _SHORT)
    across, down = _places(side, side, out, rng)
    return Region(across * width / side, down * height / side, out * width / side, out * height / side)


def short_side_crop(width: int, height: int, out: int, rng: np.random.Generator | None) -> Region:
    """Return the part of a picture that is an ``out`` square of it, its shorter side resized to 256/224 of ``out``.

    The place is drawn among the pixels of the resized picture; None takes the middle.
    """
    short = min(width, height)
    side = round(out / _SHORT)
    across, down = _places(width * side // short, height * side // short, out, rng)
    step = short / side
    return Region(across * step, down * step, out * step, out * step)


def along_long_side(region: Region, width: int, height: int, place: int, places: int) -> Region:
    """Return a region moved along the picture's longer side to one of ``places`` evenly spread from end to end.

    With one place it stays where it is (VideoMAE and UniFormerV2 test three: start, middle and end).
    """
    if places == 1:
        return region
    if width >= height:
        return Region(_spread(width - region.width, place, places), region.y, region.width, region.height)
    return Region(region.x, _spread(height - region.height, place, places), region.width, region.height)


def _spread(room: float, place: int, places: int) -> float:
    return int(room * place / (places - 1))


def _places(width: int, height: int, out: int, rng: np.random.Generator | None) -> tuple[float, float]:
    """Return the left and top edge of an ``out`` square in a picture."""
    right, below = width - out, height - out
    return (right / 2, below / 2) if rng is None else (draw_below(rng, right + 1), draw_below(rng, below + 1))


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * draw_share(rng)
