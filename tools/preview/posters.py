"""Make a small picture of a clip: frames spread over it, side by side, in a bounded number of bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageStat

from pipelines.decode import HostClip, decode_frames
from shards.reader import EncodedClip
from shards.record import Media

# T frames, H rows and W columns of pixels, 3 colours (RGB).

_QUALITIES: Final = (72, 55, 35)
_DULL: Final = 12.0
"""Deviation of the grey levels, 0 to 255, below which a frame shows too little to stand for its clip."""
_FARTHEST: Final = 600
"""Frames that are decoded, at most, for the sake of one that is shown."""
_DECODED_BYTES: Final = 256 << 20
"""Memory for whole frames of a clip."""
_SMALLEST: Final = 8
_LEAST_BYTES: Final = 1 << 10
_LONGEST: Final = 16_383
"""Pixels that a WebP picture may be wide, and high."""


@dataclass(frozen=True, slots=True)
class PosterLook:
    """How large a picture is: the box that each frame fits into, in pixels, how many frames, and bytes at most.

    Raises:
        ValueError: a number is too small to make a picture.
    """

    width: int = 240
    height: int = 180
    frames: int = 6
    most_bytes: int = 40_000

    def __post_init__(self) -> None:
        too_small = min(self.width, self.height) < _SMALLEST or self.frames < 1 or self.most_bytes < _LEAST_BYTES
        if too_small or max(self.width * self.frames, self.height) > _LONGEST:
            raise ValueError(
                f"{self.frames} frames of {self.width}x{self.height} pixels in {self.most_bytes} bytes make no picture;"
                f" give 1 frame, {_SMALLEST}x{_SMALLEST} pixels and {_LEAST_BYTES} bytes at least, and frames of"
                f" {_LONGEST} pixels side by side at most"
            )


@dataclass(frozen=True, slots=True)
class Poster:
    """A WebP picture of ``len(times)`` frames side by side from left to right, each ``width`` x ``height`` pixels.

    It may be stored smaller than that, where it may take few bytes only. ``times`` are the frames' seconds from the
    clip's first; ``cover`` is the number of the one that stands for the clip where one only is shown.
    """

    data: bytes
    width: int
    height: int
    times: tuple[float, ...]
    cover: int

    mime: ClassVar[str] = "image/webp"

    @property
    def frames(self) -> int:
        """How many frames stand side by side."""
        return len(self.times)

    @property
    def data_uri(self) -> str:
        """The picture as an address that a page can hold."""
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode()}"


def poster(clip: EncodedClip, look: PosterLook | None = None) -> Poster:
    """Return the picture of a clip; it has fewer frames than asked for where the clip has.

    Raises:
        BrokenClipError: its frames cannot be had.
    """
    look = look or PosterLook()
    ids = poster_frames(clip.record.media, look.frames)
    pictures, times = [], []
    for decoded in _decoded(clip, ids):
        pictures += [fitted(frame, (look.width, look.height)) for frame in decoded.frames]
        times += [float(time) for time in decoded.times]
    return Poster(pack(pictures, look.most_bytes), *pictures[0].size, times=tuple(times), cover=cover_of(pictures))


def poster_frames(media: Media, count: int) -> list[int]:
    """Return which frames to show: spread evenly, at key frames where these are near, for they cost least.

    A frame far behind its key frame gives way to that, so the work is bounded whatever the clip's length.
    """
    length = media.num_frames
    count = min(count, length)
    keys = np.array([key for key in media.keyframes if 0 <= key < length] or [0], dtype=np.int64)
    chosen: set[int] = set()
    for place in range(count):
        target = (2 * place + 1) * length // (2 * count)
        nearest = int(keys[np.abs(keys - target).argmin()])
        before = int(keys[max(0, int(np.searchsorted(keys, target, side="right")) - 1)])
        near = abs(nearest - target) * 2 * count < length and nearest not in chosen
        chosen.add(nearest if near else before if target - before > _FARTHEST else target)
    return sorted(chosen)


def fitted(frame: UInt8[np.ndarray, "H W 3"], box: tuple[int, int]) -> Image.Image:
    """Return a frame made small enough for a box of width and height; a small one stays as it is."""
    picture = Image.fromarray(frame)
    scale = min(1.0, box[0] / picture.width, box[1] / picture.height)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture if size == picture.size else picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def pack(pictures: Sequence[Image.Image], most_bytes: int) -> bytes:
    """Return pictures of one size side by side as a WebP of at most ``most_bytes``, worse or smaller where it must."""
    width, height = pictures[0].size
    strip = Image.new("RGB", (width * len(pictures), height))
    for number, picture in enumerate(pictures):
        strip.paste(picture, (number * width, 0))
    while True:
        for quality in _QUALITIES:
            file = io.BytesIO()
            strip.save(file, "WEBP", quality=quality, method=4)
            if file.tell() <= most_bytes:
                return file.getvalue()
        strip = strip.resize((max(1, strip.width // 2), max(1, strip.height // 2)), Image.Resampling.BOX)


def cover_of(pictures: Sequence[Image.Image]) -> int:
    """Return the number of the picture that shows most of a clip: the middle one, or one that is not so dull."""
    shades = [ImageStat.Stat(picture.convert("L")).stddev[0] for picture in pictures]
    middle = len(pictures) // 2
    clear = [number for number, shade in enumerate(shades) if shade >= _DULL]
    return min(clear, key=lambda number: abs(number - middle)) if clear else shades.index(max(shades))


def _decoded(clip: EncodedClip, ids: Sequence[int]) -> Iterator[HostClip]:
    """Decode frames, as many at a time as memory is meant for."""
    media = clip.record.media
    few = max(1, _DECODED_BYTES // max(1, 3 * media.width * media.height))
    for first in range(0, len(ids), few):
        yield decode_frames(clip.payload, ids[first : first + few], expected=media)
