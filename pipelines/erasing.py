"""Random erasing: a rectangle of noise in all frames of a clip, drawn from counted words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32

from pipelines.augment import draw_below, draw_share

_AREA: Final = (0.02, 1 / 3)
_SHAPE: Final = (0.3, 1 / 0.3)
_TRIES: Final = 100

# T frames, H rows and W columns of the rectangle.


@dataclass(frozen=True, slots=True, eq=False)
class Erasure:
    """What stands in a rectangle's place: its left and top edge in pixels of the row, and normalised levels."""

    x: int
    y: int
    noise: Float32[np.ndarray, "3 T H W"]


def draw_erasure(probability: float, frames: int, size: int, rng: np.random.Generator) -> Erasure | None:
    """Return the rectangle of a clip, the same place in all frames and each pixel standard normal, or None.

    It has 2 % to a third of the area and a height over width of 0.3 to 1 / 0.3, even in its logarithm (Zhong et al.,
    arXiv 1708.04896, with noise by the pixel as VideoMAE's fine-tuning has it).

    Args:
        probability: of a rectangle.
        frames: of the clip (T).
        size: side of the pictures in pixels.
        rng: draws.
    """
    if draw_share(rng) >= probability:
        return None
    for _ in range(_TRIES):
        area = size * size * (_AREA[0] + (_AREA[1] - _AREA[0]) * draw_share(rng))
        low, high = map(math.log, _SHAPE)
        shape = math.exp(low + (high - low) * draw_share(rng))
        tall, wide = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < tall < size and 0 < wide < size:
            y, x = draw_below(rng, size - tall + 1), draw_below(rng, size - wide + 1)
            return Erasure(x, y, normal(rng, 3 * frames * tall * wide).reshape(3, frames, tall, wide))
    return None


def normal(rng: np.random.Generator, count: int) -> Float32[np.ndarray, "N"]:
    """Return standard normal numbers of raw words (Box and Muller, Ann. Math. Statist. 29, 1958)."""
    words = rng.bit_generator.random_raw(-(-count // 2))
    first = ((words >> np.uint64(32)).astype(np.float32) + 1) * np.float32(2.0**-32)
    angle = (words & np.uint64(0xFFFFFFFF)).astype(np.float32) * np.float32(2 * math.pi * 2.0**-32)
    radius = np.sqrt(-2 * np.log(np.minimum(first, np.float32(1))))
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
