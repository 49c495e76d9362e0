"""Encode frames into a small video whose bytes depend on the frames and the recipe alone."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

import av
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from shards.ledger import Reason
from tools.corpus.media_file import MediaError
from tools.corpus.timeline import Span, Timeline

RecipeName = Literal["copy", "train", "intra", "vp9", "mjpeg"]

_SCALING: Final = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
_RGB: Final = 0
"""FFmpeg's number of the colour matrix that says: these are no luma and chroma."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """An encoder with its options, the container it goes into, and the pixel format it is given."""

    codec: str
    ext: str
    pix_fmt: str
    options: Mapping[str, str]
    full_range: bool = False


def _has_avx2() -> bool:
    """Return whether this machine's processor has AVX2, where the system tells."""
    flags = Path("/proc/cpuinfo")
    return flags.exists() and " avx2 " in flags.read_text(encoding="ascii", errors="replace")


# x264's AVX-512 code for mbtree reads memory that nobody wrote, so that the same frames give other bytes now and then;
# its AVX2 code gives the bytes that lesser code gives, always.
_X264: Final = {"tune": "fastdecode", "g": "16", "bf": "3"} | ({"x264-params": "asm=avx2"} if _has_avx2() else {})

RECIPES: Final[Mapping[RecipeName, Recipe]] = {
    "copy": Recipe("libx264", "mp4", "yuv420p", _X264 | {"preset": "veryfast", "crf": "21"}),
    "train": Recipe("libx264", "mp4", "yuv420p", _X264 | {"preset": "medium", "crf": "23"}),
    "intra": Recipe("libx264", "mp4", "yuv420p", _X264 | {"preset": "medium", "crf": "26", "g": "1", "bf": "0"}),
    "vp9": Recipe(
        "libvpx-vp9",
        "webm",
        "yuv420p",
        {"crf": "32", "b": "0", "g": "16", "deadline": "good", "cpu-used": "4", "row-mt": "0", "auto-alt-ref": "0"},
    ),
    "mjpeg": Recipe("mjpeg", "mp4", "yuvj420p", {"qmin": "10", "qmax": "10"}, full_range=True),
}
"""What the presets mean, "copy" being for what cannot be copied. x264's fastdecode is no CABAC, no deblocking and no
weighted prediction."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """The size in pixels that frames are scaled to as they are stored, and the degrees they are then turned by."""

    width: int
    height: int
    rotation: int

    @property
    def shown(self) -> tuple[int, int]:
        """Return width and height after turning."""
        return (self.height, self.width) if self.rotation in {90, 270} else (self.width, self.height)


def fit(width: int, height: int, rotation: int, short_side: int | None) -> Geometry:
    """Return the geometry for stored pictures: even sides, the shorter at most ``short_side``, never enlarged."""
    scale = Fraction(1)
    if short_side is not None:
        scale = min(scale, Fraction(short_side, min(width, height)))
    return Geometry(_even(width * scale), _even(height * scale), rotation)


def encode_frames(
    frames: Iterable[VideoFrame],
    timeline: Timeline,
    span: Span,
    geometry: Geometry,
    recipe: Recipe,
) -> bytes:
    """Encode the frames of a span of a timeline, at their own times counted from the span's first, and return the file.

    There is no audio. One thread, fixed options and no time or version stamp of the moment make the bytes the same
    each time.

    Raises:
        MediaError: the encoder fails, or the frames cannot be had.
    """
    file = io.BytesIO()
    try:
        with av.open(file, "w", format=recipe.ext, options={"fflags": "+bitexact"}) as container:
            writer = _Writer(container, timeline.base, geometry, recipe)
            for frame, tick, duration in zip(frames, *_times(timeline, span), strict=True):
                writer.write(frame, tick, duration)
            writer.finish()
    except av.FFmpegError as error:
        raise MediaError(Reason.ENCODE_ERROR, f"{recipe.codec} fails: {error.strerror}") from error
    return file.getvalue()


class _Writer:
    """One output file being filled; the stream is made from the first frame, whose colours it takes over."""

    def __init__(self, container: OutputContainer, base: Fraction, geometry: Geometry, recipe: Recipe) -> None:
        self._container, self._base, self._geometry, self._recipe = container, base, geometry, recipe
        self._stream: VideoStream | None = None

    def write(self, frame: VideoFrame, tick: int, duration: int) -> None:
        """Encode one frame at ``tick``, to be shown for ``duration`` ticks."""
        stream = self._stream or self._start(frame, duration)
        made = _prepare(frame, self._geometry, self._recipe)
        made.pts, made.time_base, made.duration = tick, self._base, duration
        self._container.mux(stream.encode(made))

    def finish(self) -> None:
        """Write what the encoder still holds."""
        if self._stream is not None:
            self._container.mux(self._stream.encode())

    def _start(self, frame: VideoFrame, duration: int) -> VideoStream:
        recipe = self._recipe
        rate = (1 / (duration * self._base)).limit_denominator(1001)
        stream = self._container.add_stream(recipe.codec, rate=rate, options=dict(recipe.options))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = self._geometry.shown
        stream.pix_fmt = recipe.pix_fmt
        context = stream.codec_context
        context.flags |= Flags.bitexact | Flags.frame_duration
        context.thread_count = 1
        context.time_base = stream.time_base = self._base
        context.color_range = ColorRange.JPEG if recipe.full_range else ColorRange.MPEG
        if frame.colorspace != _RGB:
            context.colorspace, context.color_trc = frame.colorspace, frame.color_trc
            context.color_primaries = frame.color_primaries
        self._stream = stream
        return stream


def _prepare(frame: VideoFrame, geometry: Geometry, recipe: Recipe) -> VideoFrame:
    """Return the frame scaled, converted and turned, with nothing of the source's but the pixels and their colours."""
    full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj") or frame.format.is_rgb
    matrix = None if frame.colorspace != _RGB else Colorspace.ITU709
    scaled = frame.reformat(
        width=geometry.width,
        height=geometry.height,
        format=recipe.pix_fmt,
        interpolation=_SCALING,
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG if recipe.full_range else ColorRange.MPEG,
        dst_colorspace=matrix,
        threads=1,
    )
    planes = np.asarray(scaled.to_ndarray(), np.uint8)
    made = VideoFrame.from_ndarray(_turn(planes, geometry), format=recipe.pix_fmt)
    made.colorspace, made.color_range = scaled.colorspace, scaled.color_range
    made.color_primaries, made.color_trc = scaled.color_primaries, scaled.color_trc
    return made


def _turn(planes: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """Turn the planes of a 4:2:0 picture, laid out as [3H/2, W], clockwise by the geometry's rotation."""
    if not geometry.rotation:
        return planes
    quarter = geometry.width * geometry.height // 4
    flat = planes.reshape(-1)
    luma = flat[: 4 * quarter].reshape(geometry.height, geometry.width)
    chroma = flat[4 * quarter :].reshape(2, geometry.height // 2, geometry.width // 2)
    turned = [np.rot90(plane, -geometry.rotation // 90) for plane in (luma, *chroma)]
    return np.concatenate([plane.reshape(-1) for plane in turned]).reshape(-1, geometry.shown[0])


def _times(timeline: Timeline, span: Span) -> tuple[Iterator[int], Iterator[int]]:
    """Return the span's frame times from 0 on and their durations, both in ticks."""
    bounds = [*timeline.ticks[span.first : span.stop + 1].tolist()]
    if span.stop == len(timeline):
        bounds.append(timeline.stop)
    ticks = (bound - bounds[0] for bound in bounds[:-1])
    return ticks, (after - before for before, after in pairwise(bounds))


def _even(length: Fraction) -> int:
    return max(2, 2 * round(length / 2))
