"""The size and turn that encoded pictures get: square pixels, a bounded shorter side, upright."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

_MOST_ASPECT: Final = 8
"""Pixels more oblong than this are taken for a false header, and as square."""
_NEARLY_SQUARE: Final = Fraction(1, 50)
"""Pixels less oblong than this are taken as square: many headers say 640:639 and the like for rounding's sake."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """The size in pixels that frames are scaled to as they are stored, and how they are then turned.

    They are first mirrored left to right where ``mirrored`` says so, then turned clockwise by ``rotation`` degrees.
    """

    width: int
    height: int
    rotation: int
    mirrored: bool = False

    @property
    def shown(self) -> tuple[int, int]:
        """Return width and height after turning."""
        return (self.height, self.width) if self.rotation in {90, 270} else (self.width, self.height)

    @property
    def is_upright(self) -> bool:
        """Return whether pictures stay as they are stored."""
        return not self.rotation and not self.mirrored

    def turn(self, plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a plane [H, W] mirrored and turned."""
        return np.rot90(plane[:, ::-1] if self.mirrored else plane, -self.rotation // 90)


def fit(width: int, height: int, rotation: int, short_side: int | None, aspect: Fraction = Fraction(1)) -> Geometry:
    """Return the geometry for stored pictures: even sides, the shorter at most ``short_side``, never enlarged.

    Pixels that are ``aspect`` times as wide as high become square: the picture is widened, or made higher, so that no
    line or column is lost; this alone may make it larger than it is stored.
    """
    wide, high = (width * aspect, Fraction(height)) if aspect >= 1 else (Fraction(width), height / aspect)
    scale = Fraction(1)
    if short_side is not None:
        scale = min(scale, Fraction(short_side) / min(wide, high))
    return Geometry(_even(wide * scale), _even(high * scale), rotation)


def counted_aspect(stated: Fraction) -> Fraction:
    """Return the width of a pixel by its height as it counts for us: 1 where the header's is next to 1, or absurd."""
    is_absurd = not Fraction(1, _MOST_ASPECT) <= stated <= _MOST_ASPECT
    return Fraction(1) if is_absurd or abs(stated - 1) < _NEARLY_SQUARE else stated


def _even(length: Fraction) -> int:
    return max(2, 2 * round(length / 2))
