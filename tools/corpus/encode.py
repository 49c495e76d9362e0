"""Encode frames into a small video whose bytes depend on the frames and the recipe alone."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal

import av
from av.codec.context import Flags
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from shards.ledger import Reason
from tools.corpus.audio import Sound
from tools.corpus.convert import Converter
from tools.corpus.geometry import Geometry
from tools.corpus.media_file import MediaError

RecipeName = Literal["copy", "train", "intra", "vp9", "mjpeg"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """An encoder with its options, the container it goes into, and the pixel format it is given.

    ``version`` counts up whenever another of these changes, so that no dataset is continued with other settings than
    those that it was begun with.
    """

    codec: str
    ext: str
    pix_fmt: str
    options: Mapping[str, str]
    full_range: bool = False
    version: int = 1


def _has_avx2() -> bool:
    """Return whether this machine's processor has AVX2, where the system tells."""
    flags = Path("/proc/cpuinfo")
    return flags.exists() and " avx2 " in flags.read_text(encoding="ascii", errors="replace")


# x264's AVX-512 code for mbtree reads memory that nobody wrote, so that the same frames give other bytes now and then;
# its AVX2 code gives the bytes that lesser code gives, always.
_ASSEMBLY: Final = ("asm=avx2",) if _has_avx2() else ()


def _x264(*parameters: str, **options: str) -> Mapping[str, str]:
    given = ":".join([*parameters, *_ASSEMBLY])
    return {"tune": "fastdecode", "g": "16", "bf": "3"} | options | ({"x264-params": given} if given else {})


_SKIPPED_EASILY: Final = ("b-adapt=0", "b-pyramid=none", "ref=1", "psy=0", "ipratio=1.1")
"""Four of five pictures are needed by no other, even where fewer would take less room, so that a decoder may leave
them out; bits go where they bring pictures nearer to the source, not where they look sharper, and to key frames hardly
more than to others. At the same PSNR and SSIM and the same size, 16 frames 4 apart take 24 % less decoding than with
x264's own choices, single frames 25 %."""

RECIPES: Final[Mapping[RecipeName, Recipe]] = {
    "copy": Recipe("libx264", "mp4", "yuv420p", _x264(preset="veryfast", crf="21")),
    "train": Recipe(
        "libx264", "mp4", "yuv420p", _x264(*_SKIPPED_EASILY, preset="medium", crf="21.8", bf="4"), version=2
    ),
    "intra": Recipe("libx264", "mp4", "yuv420p", _x264(preset="medium", crf="26", g="1", bf="0")),
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
class Form:
    """What a clip's file is made to: recipe, size and turn, seconds of a tick, width by height of a stored pixel."""

    recipe: Recipe
    geometry: Geometry
    base: Fraction
    aspect: Fraction = Fraction(1)


class Encoder:
    """One video file being made in memory, frame by frame, with the sound that belongs to it.

    One thread, fixed options and no time or version stamp of the moment make the bytes the same each time. The stream
    is made from the first frame, whose colours it takes over. Use ``finish`` or ``close``.
    """

    def __init__(self, form: Form, sound: Sound | None = None) -> None:
        self._form, self._sound = form, sound
        self._file = io.BytesIO()
        self._stream: VideoStream | None = None
        self._converter = Converter(form.geometry, form.recipe.pix_fmt, full_range=form.recipe.full_range)
        with self._named():
            self._container = av.open(self._file, "w", format=form.recipe.ext, options={"fflags": "+bitexact"})

    @property
    def notes(self) -> tuple[str, ...]:
        """Return in words what was changed in the pictures beside size and turn."""
        return self._converter.notes

    def write(self, frame: VideoFrame, tick: int, duration: int) -> None:
        """Encode one frame at ``tick``, to be shown for ``duration`` ticks.

        Raises:
            MediaError: the encoder fails, or the sound up to there cannot be had.
        """
        with self._named():
            made = self._converter.convert(frame)
            stream = self._stream or self._start(made, duration)
            made.pts, made.time_base, made.duration = tick, self._form.base, duration
            if self._sound is not None:
                self._sound.write_until(tick * self._form.base)
            self._container.mux(stream.encode(made))

    def finish(self) -> bytes:
        """Write what is still held back, and return the file.

        Raises:
            MediaError: the encoder fails, or the sound cannot be had.
        """
        with self._named():
            if self._stream is not None:
                self._container.mux(self._stream.encode())
            if self._sound is not None:
                self._sound.finish()
            self._container.close()
        return self._file.getvalue()

    def close(self) -> None:
        """Give up the file."""
        if self._sound is not None:
            self._sound.close()
        with suppress(av.FFmpegError):
            self._container.close()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Turn FFmpeg's errors into ours."""
        try:
            yield
        except av.FFmpegError as error:
            raise MediaError(Reason.ENCODE_ERROR, f"{self._form.recipe.codec} fails: {error.strerror}") from error

    def _start(self, made: VideoFrame, duration: int) -> VideoStream:
        recipe, base = self._form.recipe, self._form.base
        rate = (1 / (duration * base)).limit_denominator(1001)
        stream = self._container.add_stream(recipe.codec, rate=rate, options=dict(recipe.options))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = self._form.geometry.shown
        stream.pix_fmt = recipe.pix_fmt
        context = stream.codec_context
        context.flags |= Flags.bitexact | Flags.frame_duration
        context.thread_count = 1
        context.time_base = stream.time_base = base
        context.color_range = ColorRange.JPEG if recipe.full_range else ColorRange.MPEG
        context.colorspace, context.color_trc = made.colorspace, made.color_trc
        context.color_primaries = made.color_primaries
        if self._form.aspect != 1:
            context.sample_aspect_ratio = self._form.aspect
        if self._sound is not None:
            self._sound.begin(self._container)
        self._stream = stream
        return stream
