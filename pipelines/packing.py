"""Shapes of packed clips: as long and as wide as they are, in whole cubes, under a budget of tokens."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from pipelines.augment import Grid, Region, draw_below
from pipelines.part_settings import MaskConfig, require_positive

_LEAST_SIDE: Final = 2
"""Cubes of a picture's side at least: of four cubes a mask of a quarter hides one, and leaves some to see."""


@dataclass(frozen=True, slots=True)
class PackConfig:
    """How clips that keep their own length, size and aspect become cubes, none of them filled up.

    A cube is ``tubelet`` frames of ``patch`` x ``patch`` pixels. A clip has ``max_tokens`` cubes at most (None: as many
    as a square one of the loader's ``frames`` and ``size``): its pictures are scaled down until they fit, and never up,
    save that each side has two cubes at least.

    Raises:
        ValueError: a value is not positive; the message names it.
    """

    tubelet: int = 2
    patch: int = 16
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("tubelet", "patch"):
            require_positive(f"packing.{name}", getattr(self, name))
        require_positive("packing.max_tokens", 1 if self.max_tokens is None else self.max_tokens)

    def as_settings(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    def require_fit(self, mask: MaskConfig) -> None:
        """Refuse a mask of other cubes, or one that would hide nothing of the smallest clip.

        Raises:
            ValueError: it is such; the message names both settings.
        """
        for name in ("tubelet", "patch"):
            if getattr(mask, name) != getattr(self, name):
                raise ValueError(f"packing.{name} {getattr(self, name)} and mask.{name} {getattr(mask, name)} differ")
        if int(mask.ratio * _LEAST_SIDE**2) < 1:
            raise ValueError(
                f"mask.ratio {mask.ratio} hides nothing of the {_LEAST_SIDE**2} cubes of the smallest packed picture;"
                f" give {1 / _LEAST_SIDE**2} or more"
            )

    def budget(self, frames: int, size: int) -> int:
        """Return how many tokens a clip has at most, beside a loader of ``frames`` frames and ``size`` pixels.

        Raises:
            ValueError: ``frames`` are no whole cubes, or the budget does not hold the smallest clip of so many.
        """
        if frames % self.tubelet:
            raise ValueError(f"frames {frames} does not divide by packing.tubelet {self.tubelet}")
        slots = frames // self.tubelet
        tokens = slots * (size // self.patch) ** 2 if self.max_tokens is None else self.max_tokens
        if tokens < slots * _LEAST_SIDE**2:
            raise ValueError(
                f"packing allows {tokens} tokens a clip, and {frames} frames of the smallest pictures take"
                f" {slots * _LEAST_SIDE**2}; give packing.max_tokens={slots * _LEAST_SIDE**2} or more, or fewer frames"
            )
        return tokens


@dataclass(frozen=True, slots=True)
class ClipShape:
    """Frames of a packed clip, and height and width of its pictures in pixels: whole cubes all three."""

    frames: int
    height: int
    width: int

    def grid(self, pack: PackConfig) -> Grid:
        """Return the clip's cubes."""
        return Grid(self.frames // pack.tubelet, self.height // pack.patch, self.width // pack.patch)


def packed_shape(pack: PackConfig, width: int, height: int, frames: int, budget: int) -> ClipShape:
    """Return the shape that a video gets.

    The pictures become as large as the budget allows for so many frames, their aspect kept to within a cube: as many
    whole cubes as fit across and down (as in NaViT, arXiv 2307.06304, section 3).

    Args:
        pack: the cube.
        width: pixels of the upright picture.
        height: the same.
        frames: how many can be had without showing one twice; fewer than a cube's count as a cube's.
        budget: tokens of the clip at most.

    Raises:
        ValueError: the picture has no area.
    """
    if min(width, height) < 1:
        raise ValueError(f"a picture of {width}x{height} pixels has no area")
    slots = max(1, frames // pack.tubelet)
    room = budget // slots
    scale = min(1.0, math.sqrt(room * pack.patch**2 / (width * height)))
    short = max(_LEAST_SIDE, math.floor(min(width, height) * scale) // pack.patch)
    long = max(_LEAST_SIDE, min(math.floor(max(width, height) * scale) // pack.patch, room // short))
    down, across = (short, long) if width >= height else (long, short)
    return ClipShape(slots * pack.tubelet, down * pack.patch, across * pack.patch)


def packed_region(shape: ClipShape, width: int, height: int, rng: np.random.Generator | None = None) -> Region:
    """Return the largest part of a picture that has the shape's aspect, to a pixel.

    Args:
        shape: what the part becomes.
        width: pixels of the picture.
        height: the same.
        rng: draws where along the longer side it lies; None takes the middle.
    """
    wide = min(width, max(1, height * shape.width // shape.height))
    high = min(height, max(1, width * shape.height // shape.width))
    right, below = width - wide, height - high
    if rng is None:
        return Region(right // 2, below // 2, wide, high)
    return Region(draw_below(rng, right + 1), draw_below(rng, below + 1), wide, high)
