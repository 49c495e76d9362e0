"""A still picture as a clip of one frame: its own bytes where they will do, else a JPEG or PNG made of its pixels."""

from __future__ import annotations

import io
from typing import Final

from PIL import Image

from tools.corpus.cut_settings import DEFAULT_SHORT_SIDE, CutSettings
from tools.corpus.geometry import fit
from tools.corpus.image import SECONDS, Picture, look_at, read_rgb
from tools.corpus.media_file import Source, source_bytes
from tools.corpus.piece import Piece

_KEPT_QUALITY: Final = 95
_TRAINING_QUALITY: Final = 90


def cut_picture(source: Source, found: Picture, settings: CutSettings) -> Piece:
    """Return the clip of a picture, of which ``found`` is what is known.

    Bytes are kept where they can be and where, but for preset copy, the shorter side is within bounds. Else preset copy
    makes a JPEG (quality 95, 4:4:4) of what was coded with loss and a PNG of what was not, in full size; the other
    presets make a JPEG (quality 90, 4:2:0) in the size that their videos have.

    Raises:
        MediaError: the picture cannot be decoded.
    """
    side = None if settings.preset == "copy" else settings.short_side or DEFAULT_SHORT_SIDE
    is_large = side is not None and min(found.media.width, found.media.height) > side
    if found.ext is not None and found.odd is None and not is_large:
        return Piece(source_bytes(source), found.ext, found.media, 0.0, float(SECONDS), "verbatim", None)
    why = [f"preset {settings.preset}"] if is_large else []
    image = Image.fromarray(read_rgb(source, settings.limits))
    if is_large:
        image = image.resize(fit(*image.size, 0, side).shown, Image.Resampling.BICUBIC)
    ext, payload = "png", io.BytesIO()
    if found.is_lossy or side is not None:
        ext = "jpg"
        quality, subsampling = (_KEPT_QUALITY, "4:4:4") if side is None else (_TRAINING_QUALITY, "4:2:0")
        image.save(payload, "JPEG", quality=quality, subsampling=subsampling)
    else:
        image.save(payload, "PNG")
    made = look_at(payload.getvalue(), settings.limits)
    reason = "; ".join([*why, *([found.odd] if found.odd else [])])
    return Piece(payload.getvalue(), ext, made.media, 0.0, float(SECONDS), "encoded", reason)
