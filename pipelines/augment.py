"""Draw crops, flips and masks as pure functions of (seed, epoch, sample)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from jaxtyping import Bool

# N tokens of a clip, laid out time-major over a grid of (t, h, w) cubes: index = (time * h + row) * w + column.

_WORD: Final = 1 << 64
_SCALES: Final = (1.0, 0.875, 0.75, 0.66)
_SNAP: Final = 2
_CELL: Final = 4
"""Places of a running cell: 2 x 2 cubes of one time slot."""
_QUARTERS: Final = (
    *((0, 0), (4, 0), (0, 4), (4, 4), (2, 2)),
    *((0, 2), (4, 2), (2, 4), (2, 0)),
    *((1, 1), (3, 1), (1, 3), (3, 3)),
)
"""Crop positions in quarters of the free room: corners and centre, middles of the edges, centres of the quadrants."""


class Stream(IntEnum):
    """Independent streams of random numbers of one sample; new ones are added at the end."""

    FRAMES = 0
    CROP = 1
    FLIP = 2
    MASK = 3
    CAPTION = 4
    DECODER_MASK = 5
    OPERATIONS = 6
    ERASURE = 7


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a picture: left and top edge, width and height in pixels of the upright picture, whole or not."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Grid:
    """How many cubes a clip has in time, down and across."""

    t: int
    h: int
    w: int

    def __post_init__(self) -> None:
        if min(self.t, self.h, self.w) < 1:
            raise ValueError(f"a grid of {self.t}x{self.h}x{self.w} cubes is empty; each side must be at least 1")


def sample_rng(seed: int, epoch: int, sample_id: int, stream: int = 0, repeat: int = 0) -> np.random.Generator:
    """Return the generator of one sample in one epoch: the same wherever and whenever it is asked for.

    Philox is counter-based (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), so building one
    costs microseconds and no two of the five arguments share numbers. ``repeat`` tells rows made of one clip apart.

    Raises:
        ValueError: an argument does not fit 64 unsigned bits.
    """
    words = {"seed": seed, "epoch": epoch, "sample_id": sample_id, "stream": stream, "repeat": repeat}
    for name, value in words.items():
        if not 0 <= value < _WORD:
            raise ValueError(f"{name} {value} does not fit 64 bits; give 0 to 2**64 - 1")
    key = np.array([seed, epoch], dtype=np.uint64)
    counter = np.array([0, repeat, sample_id, stream], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def draw_below(rng: np.random.Generator, bound: int) -> int:
    """Return a uniform integer in ``[0, bound)``, made from raw bits so that no version of numpy changes it."""
    if bound < 1:
        raise ValueError(f"cannot draw below {bound}; the bound must be at least 1")
    return int(rng.bit_generator.random_raw()) * bound >> 64


def draw_share(rng: np.random.Generator) -> float:
    """Return a uniform number in ``[0, 1)``, made from raw bits so that no version of numpy changes it."""
    return (int(rng.bit_generator.random_raw()) >> 11) * 2.0**-53


def multiscale_crops(width: int, height: int, out: int) -> list[Region]:
    """Return every crop that ``multiscale_crop`` may draw: 10 sizes, each at 13 positions, in a fixed order.

    Width and height are ``1, .875, .75`` or ``.66`` of the shorter side, neighbours in that list at most, and become
    ``out`` where they differ from it by 2 pixels or less (InternVideo, ``GroupMultiScaleCrop``; TSN, arXiv 1608.00859).
    """
    _require_picture(width, height)
    short = min(width, height)
    sides = [_snapped(max(1, int(short * scale)), out) for scale in _SCALES]
    sizes = [
        (min(wide, width), min(high, height))
        for down, high in enumerate(sides)
        for across, wide in enumerate(sides)
        if abs(down - across) <= 1
    ]
    return [
        Region((width - wide) // 4 * right, (height - high) // 4 * below, wide, high)
        for wide, high in sizes
        for right, below in _QUARTERS
    ]


def multiscale_crop(width: int, height: int, out: int, rng: np.random.Generator) -> Region:
    """Return one crop of a ``width`` x ``height`` picture that will be resized to ``out`` pixels square."""
    crops = multiscale_crops(width, height, out)
    return crops[draw_below(rng, len(crops))]


def centre_crop(width: int, height: int) -> Region:
    """Return the largest square in the middle of the picture."""
    _require_picture(width, height)
    side = min(width, height)
    return Region((width - side) // 2, (height - side) // 2, side, side)


def flip(rng: np.random.Generator, probability: float) -> bool:
    """Return whether to mirror the clip left to right."""
    if not 0 <= probability <= 1:
        raise ValueError(f"flip probability {probability} is outside 0 to 1")
    return int(rng.bit_generator.random_raw()) < int(probability * _WORD)


def tube_mask(grid: Grid, ratio: float, rng: np.random.Generator) -> Bool[np.ndarray, "N"]:
    """Return a mask that is the same in every time slot; True is masked (VideoMAE, arXiv 2203.12602, section 3.3).

    ``floor(ratio * h * w)`` positions of each slot are masked.

    Raises:
        ValueError: the ratio is not in ``[0, 1)``.
    """
    return np.tile(_masked(grid.h * grid.w, ratio, rng), grid.t)


def random_mask(grid: Grid, ratio: float, rng: np.random.Generator) -> Bool[np.ndarray, "N"]:
    """Return a mask over all cubes alike; ``floor(ratio * t * h * w)`` are masked.

    Raises:
        ValueError: the ratio is not in ``[0, 1)``.
    """
    return _masked(grid.t * grid.h * grid.w, ratio, rng)


def running_cell_mask(grid: Grid, ratio: float, rng: np.random.Generator) -> Bool[np.ndarray, "N"]:
    """Return a mask of 2 x 2 cells in which the hidden places move on by one from slot to slot.

    ``int(4 * ratio)`` of a cell's 4 places are hidden, the same in all cells; where they start in the first slot is
    drawn (VideoMAE V2, arXiv 2303.16727, section 3.2). Where the grid's edges cut cells through, single cubes are
    hidden or shown at random, so that every sample hides the same number: that share of all cubes, rounded down.

    Raises:
        ValueError: no place of a cell, or every one, would be hidden.
    """
    hidden = int(_CELL * ratio)
    if not 0 < hidden < _CELL:
        raise ValueError(
            f"mask ratio {ratio} hides {hidden} of the {_CELL} places of a running cell; give 0.25 to below 1"
        )
    cells = running_cells(grid, hidden, draw_below(rng, _CELL))
    return _nearest(cells, np.ones_like(cells), cells.size * hidden // _CELL, rng)


def running_cells(grid: Grid, hidden: int, start: int) -> Bool[np.ndarray, "N"]:
    """Return the running cells with ``hidden`` of 4 places hidden that begin at place ``start``, 0 to 3."""
    slots, rows, columns = np.ogrid[: grid.t, : grid.h, : grid.w]
    places = 2 * (rows % 2) + columns % 2
    return np.ascontiguousarray((places + slots + start) % _CELL < hidden).reshape(-1)


def running_cell_decoder_mask(
    mask: Bool[np.ndarray, "N"], grid: Grid, ratio: float, rng: np.random.Generator
) -> Bool[np.ndarray, "N"]:
    """Return which masked cubes the decoder does without, in running cells; True is left out.

    ``floor(ratio * masked)`` of the masked cubes are left out: those in the hidden places of running cells
    (VideoMAE V2, arXiv 2303.16727, section 3.2), and where these are more or fewer, single ones are put back or added
    at random, so that every sample predicts the same number. Visible cubes are never in it.

    Raises:
        ValueError: the ratio is not in ``[0, 1)``.
    """
    cells = running_cells(grid, int(_CELL * ratio), draw_below(rng, _CELL))
    return _nearest(cells, mask, _share(ratio, int(mask.sum())), rng)


def random_decoder_mask(mask: Bool[np.ndarray, "N"], ratio: float, rng: np.random.Generator) -> Bool[np.ndarray, "N"]:
    """Return ``floor(ratio * masked)`` of the masked cubes, drawn freely, for the decoder to do without.

    Raises:
        ValueError: the ratio is not in ``[0, 1)``.
    """
    return _nearest(np.zeros_like(mask), mask, _share(ratio, int(mask.sum())), rng)


def _nearest(
    wanted: Bool[np.ndarray, "N"], among: Bool[np.ndarray, "N"], count: int, rng: np.random.Generator
) -> Bool[np.ndarray, "N"]:
    """Return exactly ``count`` of the places ``among``: the wanted ones first, else drawn ones."""
    places = np.flatnonzero(among)
    order = np.lexsort((rng.bit_generator.random_raw(places.size), ~wanted[places]))
    mask = np.zeros_like(among)
    mask[places[order[:count]]] = True
    return mask


def _share(ratio: float, count: int) -> int:
    if not 0 <= ratio < 1:
        raise ValueError(f"mask ratio {ratio} is not in [0, 1); at 1 nothing would be left to see")
    return int(ratio * count)


def _masked(count: int, ratio: float, rng: np.random.Generator) -> Bool[np.ndarray, "N"]:
    hidden = _share(ratio, count)
    order = np.argsort(rng.bit_generator.random_raw(count), kind="stable")
    mask = np.zeros(count, dtype=np.bool_)
    mask[order[:hidden]] = True
    return mask


def _snapped(side: int, out: int) -> int:
    return out if abs(side - out) <= _SNAP else side


def _require_picture(width: int, height: int) -> None:
    if min(width, height) < 1:
        raise ValueError(f"a picture of {width}x{height} pixels has no area")
