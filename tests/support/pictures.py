"""Still pictures in every form that a corpus may bring, as the bytes of a file."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from tests.support.numbered_videos import picture

WIDTH, HEIGHT, NUMBER = 160, 120, 77


@cache
def pixels() -> np.ndarray:
    """Return the RGB picture [H, W, 3] that all of them show: a number above grains on a gradient."""
    made = picture(NUMBER, WIDTH, HEIGHT)
    part = made[40:]
    grains = np.random.default_rng(0).integers(0, 30, part.shape)
    part[:] = grains + np.linspace(0, 200, WIDTH).astype(int)[None, :, None]
    return made


def saved(form: str, mode: str = "RGB", *, orientation: int = 0, **options: Any) -> bytes:
    """Return the picture in a format and a mode of Pillow's."""
    return written(Image.fromarray(pixels()).convert(mode), form, orientation=orientation, **options)


def written(image: Image.Image, form: str, *, orientation: int = 0, **options: Any) -> bytes:
    """Return any picture as a file, with an EXIF orientation where one is given."""
    if orientation:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        options["exif"] = exif.tobytes()
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def half_transparent(form: str) -> bytes:
    """Return the picture with its lower half transparent."""
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[HEIGHT // 2 :] = 0
    return written(Image.fromarray(np.dstack([pixels(), alpha])), form)


def deep_grey() -> bytes:
    """Return the picture as a grey PNG of 16 bits."""
    grey = np.asarray(Image.fromarray(pixels()).convert("L")).astype(np.uint16)
    return written(Image.fromarray(grey << 8 | 255 - grey), "PNG")


def animated(form: str) -> bytes:
    """Return the picture and the same upside down as one moving file."""
    image = Image.fromarray(pixels())
    return written(image, form, save_all=True, append_images=[image.rotate(180)], duration=100)
