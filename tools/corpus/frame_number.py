"""Paint a frame's number into its pixels and read it back after lossy coding and resizing."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

DATA_BITS: Final = 12
CHECK_BITS: Final = 4
MAX_FRAMES: Final = 1 << DATA_BITS
"""Numbers run from 0 to one less than this."""

STRIP: Final = 6
"""The code fills the top sixth of the picture."""

_CELLS: Final = DATA_BITS + CHECK_BITS
_LEAST_CONTRAST: Final = 70.0
"""Grey levels (of 255) between a cell and its inverse below which a bit counts as unreadable."""


def _word(number: int) -> int:
    """Return the number followed by its four check bits."""
    check = (number ^ (number >> 4) ^ (number >> 8) ^ 0b1001) & 0b1111
    return number << CHECK_BITS | check


def paint_frame_number(frame: NDArray[np.uint8], number: int) -> None:
    """Paint ``number`` over the top sixth of an RGB frame [H, W, 3], in place.

    Two rows of 16 black or white cells: the first row holds 12 bits of the number and 4 check bits, the second row
    the inverse of each, so that reading compares neighbours and needs no absolute grey level.

    Raises:
        ValueError: the number does not fit, or the frame is too small for cells of two pixels.
    """
    height, width = frame.shape[:2]
    if not 0 <= number < MAX_FRAMES:
        raise ValueError(f"frame number {number} does not fit the painted code; it takes 0 to {MAX_FRAMES - 1}")
    if width < 2 * _CELLS or height < 2 * 2 * STRIP:
        raise ValueError(f"a frame of {width}x{height} is too small for the painted code; take 32x24 or more")
    word = _word(number)
    middle, bottom = height // (2 * STRIP), 2 * (height // (2 * STRIP))
    for cell in range(_CELLS):
        left, right = cell * width // _CELLS, (cell + 1) * width // _CELLS
        bit = word >> (_CELLS - 1 - cell) & 1
        frame[:middle, left:right] = 255 * bit
        frame[middle:bottom, left:right] = 255 * (1 - bit)


def read_frame_number(frame: NDArray[np.uint8]) -> int:
    """Return the number painted into an RGB frame [H, W, 3] of any size, or -1 where it cannot be read for sure.

    The frame may have been resized as a whole (not cropped) and coded with loss since it was painted.
    """
    height, width = frame.shape[:2]
    if width < _CELLS or height < 2 * STRIP:
        return -1
    row = height / (2 * STRIP)
    column = width / _CELLS
    word = 0
    for cell in range(_CELLS):
        left, right = _middle(cell * column, column)
        upper = frame[slice(*_middle(0.0, row)), left:right].mean()
        lower = frame[slice(*_middle(row, row)), left:right].mean()
        if abs(upper - lower) < _LEAST_CONTRAST:
            return -1
        word = word << 1 | int(upper > lower)
    number = word >> CHECK_BITS
    return number if _word(number) == word else -1


def _middle(start: float, length: float) -> tuple[int, int]:
    """Return the pixel range of the middle half of a cell, at least one pixel wide."""
    low = int(start + length / 4)
    return low, max(low + 1, round(start + 3 * length / 4))
