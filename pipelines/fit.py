"""Cut a part out of a decoded picture and resize it, on the host, as each frame comes: full pictures are not kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import UInt8

from pipelines.augment import Region
from pipelines.sampling import Resample

# H rows and W columns of a picture, h rows and w columns of what is made of it, 3 colours.

_ROUNDING: Final = 1e-6
"""Pixels by which a place may be off a whole one, as far as computing it goes."""
_NUDGE: Final = 1 + 1e-9
"""Keeps a whole number of pixels from being rounded down by one."""
_TAPS: Final = 2
"""Pixels on each side of a place that a filter reads, where nothing shrinks."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a fit: what is cut, by how much it grows, and which of the pixels made of it are kept."""

    start: int
    stop: int
    scale: float
    skip: int
    kept: int

    @property
    def cut(self) -> slice:
        """Pixels that are resized."""
        return slice(self.start, self.stop)

    @property
    def result(self) -> slice:
        """Pixels of those made that are the result."""
        return slice(self.skip, self.skip + self.kept)


@dataclass(frozen=True, slots=True)
class Fit:
    """How a region becomes a picture of another size: across and down."""

    across: Axis
    down: Axis
    resample: Resample = "bilinear"


def plan_fit(
    region: Region,
    picture: tuple[int, int],
    out: tuple[int, int],
    *,
    resized_first: bool = False,
    resample: Resample = "bilinear",
) -> Fit | None:
    """Return how ``fit_picture`` makes a region to a picture of ``out``, or None where it cannot do so exactly.

    Args:
        region: what becomes the result, in pixels of the picture.
        picture: width and height of the picture.
        out: width and height of the result.
        resized_first: the region is cut out of the resized picture, so that pixels beside it count at its edges; that
            takes edges that fall on pixels of the resized picture, as those of ``regions.squashed_crop`` and
            ``short_side_crop`` do. Else the region is cut and resized alone, which takes whole pixels.
        resample: the filter; where it shrinks, it is as wide as the step between pixels (antialiased).
    """
    axis = _of_resized if resized_first else _of_cut
    across = axis(region.x, region.width, out[0], picture[0])
    down = axis(region.y, region.height, out[1], picture[1])
    return None if across is None or down is None else Fit(across, down, resample)


def fit_picture(picture: UInt8[np.ndarray, "H W 3"], fit: Fit) -> UInt8[np.ndarray, "3 h w"]:
    """Return the part of a picture that a fit names, in its size.

    The resize is torch's for bytes (fixed point, right to about one level of 255), in the calling thread alone.
    """
    cut = np.ascontiguousarray(picture[fit.down.cut, fit.across.cut])
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(cut)
        .unsqueeze(0)
        .permute(0, 3, 1, 2),  # strides that torch knows as colours last: twice as fast
        scale_factor=(fit.down.scale, fit.across.scale),
        mode=fit.resample,
        antialias=True,
    )
    found: UInt8[np.ndarray, "3 h w"] = resized[0, :, fit.down.result, fit.across.result].numpy()
    return found


def _of_cut(start: float, length: float, out: int, room: int) -> Axis | None:
    first, end = round(start), round(start + length)
    if first != start or end != start + length or not 0 <= first < end <= room:
        return None
    return Axis(first, end, out / length * _NUDGE, 0, out)


def _of_resized(start: float, length: float, out: int, room: int) -> Axis | None:
    scale = out / length
    skip = round(start * scale)
    if abs(skip - start * scale) > _ROUNDING:
        return None
    stop = min(room, math.ceil(start + length + _TAPS * max(1.0, 1 / scale)))
    fits = int(stop * scale * _NUDGE) >= skip + out
    return Axis(0, stop, scale * _NUDGE, skip, out) if fits else None
