"""Invent sample clips with pictures, for pages that show some, without a video."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Final

import numpy as np
from PIL import Image

from tests.support.datasets import fake_record
from tools.preview.posters import Poster
from tools.preview.sampling import Located
from tools.preview.tiles import Tile

HOSTILE: Final = "</p><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
RIGHT_TO_LEFT: Final = "\u202eمشهد جوي لمدينة عند الغروب"  # noqa: RUF001 - letters of another script
EMOJI: Final = "🎬👩‍👩‍👧‍👦 🏴󠁧󠁢󠁳󠁣󠁴󠁿 a family at the sea 🌊"
LONG: Final = "word " * 1999 + "last."


def invented_poster(row: int, *, width: int = 64, height: int = 36, frames: int = 4, data: bytes = b"") -> Poster:
    """Return a strip of frames, each of one colour; ``data`` replaces the picture."""
    strip = np.zeros((height, width * frames, 3), np.uint8)
    for frame in range(frames):
        strip[:, frame * width : (frame + 1) * width] = (40 * frame + 60, (37 * row) % 256, 160)
    file = io.BytesIO()
    Image.fromarray(strip).save(file, "WEBP", quality=40)
    return Poster(data or file.getvalue(), width, height, tuple(float(each) for each in range(frames)), frames // 2)


def invented_tile(row: int, caption: str = "waves on a beach", poster: Poster | None = None, fault: str = "") -> Tile:
    """Return a clip of a sheet: with a picture, or with why it has none."""
    record = replace(fake_record(row), caption=caption)
    return Tile(Located(0, "00000", row), record, None if fault else poster or invented_poster(row), fault or None)


def hostile_tiles(count: int = 16) -> list[Tile]:
    """Return clips with captions that a page may stumble over, one without a picture, then ordinary ones."""
    tiles = [invented_tile(row, caption) for row, caption in enumerate((HOSTILE, RIGHT_TO_LEFT, EMOJI, LONG, ""))]
    tiles.append(invented_tile(5, fault="frames <b>7</b> and on are damaged"))
    tiles.append(invented_tile(6, poster=invented_poster(6, width=36, height=64)))
    return tiles + [invented_tile(row) for row in range(7, count)]
