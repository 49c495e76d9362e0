"""Hashes of a clip's pictures that copies of it share: re-encoded, scaled, with bars around them, or trimmed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE: Final = 128
"""Cells of the longer side of the pictures that hashes are made of."""

_BAR: Final = 12
"""Brightness that no cell of a bar passes in any picture."""

_FLAT: Final = 3.0
"""Pictures whose brightness varies by less (standard deviation) say nothing: black, white, one colour, fog."""

_LEAST_SHARE: Final = 0.3
"""What has to be left of width and height when bars are cut off; else they are a part of the picture."""


def hash_pictures(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint64]:
    """Return a perceptual hash of 64 bits for each picture [H, W] of a clip that shows anything, in their order.

    Black bars that all pictures share are cut off before. The hash is that of imagehash.phash: the signs of the lowest
    frequencies of a picture of 32 x 32 cells, so it tells neither size nor shape of the picture.
    """
    from imagehash import phash  # noqa: PLC0415 - brings scipy's transforms, for which nobody else asks

    hashes: list[int] = []
    rows, columns = _inside(pictures)
    for picture in pictures:
        inner = picture[rows, columns]
        if inner.std() >= _FLAT:
            bits = phash(Image.fromarray(inner)).hash
            hashes.append(int.from_bytes(np.packbits(bits).tobytes(), "big"))
    return np.array(hashes, np.uint64)


def _inside(pictures: Sequence[NDArray[np.uint8]]) -> tuple[slice, slice]:
    """Return the rows and columns inside the bars, all of them where there are none or the size changes."""
    if len({picture.shape for picture in pictures}) != 1:
        return slice(None), slice(None)
    brightest = np.max(np.stack(list(pictures)), axis=0)
    return _between(brightest.max(axis=1)), _between(brightest.max(axis=0))


def _between(brightest: NDArray[np.uint8]) -> slice:
    lit = np.flatnonzero(brightest > _BAR)
    if not len(lit) or lit[-1] + 1 - lit[0] < _LEAST_SHARE * len(brightest):
        return slice(None)
    return slice(int(lit[0]), int(lit[-1]) + 1)
