"""Decode chosen frames of an encoded clip on the host: exactly those, as decoding from the start would give them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import av
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from pipelines.canvas import BrokenClipError, Canvas, Cutter
from pipelines.opening import Opened, field_order, opened
from pipelines.packets import PacketTable, Run
from shards.record import Media

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "BrokenClipError",
    "HostClip",
    "OpenClip",
    "RowClip",
    "counts_plainly",
    "decode_frames",
    "frame_times",
    "open_clip",
]

# N frames of a video, K windows of T frames that were asked for, H rows and W columns of the upright picture, R rows
# made of a clip, h rows and w columns of each of their pictures, 3 colours (red, green, blue).

MAX_PIXELS: Final = 8192 * 4352
"""Largest picture that is decoded unless another bound is given, in pixels."""
MAX_BYTES: Final = 2 << 30
"""Largest result that is decoded unless another bound is given, in bytes."""

_WHOLE_PICTURES: Final = frozenset({0, 1})
"""FFmpeg's field orders (AVFieldOrder) of streams that are not marked as interlaced: unknown and progressive."""


@dataclass(frozen=True, slots=True, eq=False)
class HostClip:
    """Decoded frames in RGB, upright, and their times in seconds from the first frame of the video."""

    frames: UInt8[np.ndarray, "K*T H W 3"]
    times: Float32[np.ndarray, "K*T"]


@dataclass(frozen=True, slots=True, eq=False)
class RowClip:
    """The parts of decoded frames that rows take, in RGB, upright, in their size; ``times`` as with whole frames."""

    rows: UInt8[np.ndarray, "R 3 T h w"]
    times: Float32[np.ndarray, "K*T"]


class OpenClip:
    """An encoded video that was opened and looked through; ``open_clip`` makes it.

    Frames are numbered in order of presentation, those that an edit list hides not counted.
    """

    def __init__(self, found: Opened, payload: bytes, max_pixels: int) -> None:
        self._table, self._context = found.table, found.context
        self._payload, self._max_pixels = payload, max_pixels

    @property
    def num_frames(self) -> int:
        """How many frames the clip has; at least one."""
        return self._table.num_frames

    @property
    def counts_plainly(self) -> bool:
        """Whether a decoder that numbers packets by their times numbers the frames as this does.

        It does not where an edit list hides frames, the container does not time them, or the stream is marked as
        interlaced: a packet of H.264 may then hold two pictures, one per field.
        """
        plain = self._table.seekable and self.num_frames == len(self._table.packets)
        return plain and field_order(self._payload, self._max_pixels) in _WHOLE_PICTURES

    def times(self) -> Float64[np.ndarray, "N"]:
        """Return when each frame is shown, in seconds from the first."""
        return self._table.times()

    def times_of(self, indices: Sequence[int]) -> Float32[np.ndarray, "K*T"]:
        """Return when some frames are shown, in seconds from the first.

        Raises:
            ValueError: the clip does not have such a frame.
        """
        self._check(indices)
        return self._table.times(indices).astype(np.float32)

    def frames(self, indices: Sequence[int], *, max_bytes: int = MAX_BYTES) -> HostClip:
        """Decode frames; see ``decode_frames``."""
        found = self.pictures(indices, None, max_bytes=max_bytes)
        assert isinstance(found, HostClip), "nothing was to be cut"
        return found

    def pictures(
        self, indices: Sequence[int], cutter: Cutter | None, *, max_bytes: int = MAX_BYTES
    ) -> HostClip | RowClip:
        """Decode frames, and keep what ``cutter`` says of them: the parts that rows take, or whole pictures.

        Args:
            indices: frame numbers, window after window.
            cutter: called with the width and height of the first picture.
            max_bytes: larger results are refused.

        Raises:
            BrokenClipError: a needed frame is damaged, missing or too large.
            ValueError: no frame is asked for, or one that the clip does not have.
        """
        self._check(indices)
        canvas = Canvas(indices, max_bytes, cutter)
        _draw(self._table, self._context, canvas, set(indices), self._max_pixels)
        drawn, times = canvas.finished(), self.times_of(indices)
        if drawn.rows is not None:
            return RowClip(drawn.rows, times)
        assert drawn.frames is not None, "either is drawn"
        return HostClip(drawn.frames, times)

    def _check(self, indices: Sequence[int]) -> None:
        if len(indices) == 0:
            raise ValueError("no frame was asked for; give at least one index")
        frames = self.num_frames
        outside = [index for index in indices if not 0 <= index < frames]
        if outside:
            raise ValueError(f"frame {outside[0]} was asked for; the clip has frames 0 to {frames - 1}")


@contextmanager
def open_clip(payload: bytes, *, expected: Media | None = None, max_pixels: int = MAX_PIXELS) -> Iterator[OpenClip]:
    """Open an encoded video and look through its packets; decodes nothing yet.

    Args:
        payload: bytes of the video file.
        expected: what the clip's record says of it; another frame count is refused.
        max_pixels: larger pictures are refused before memory is taken for them.

    Raises:
        BrokenClipError: the container is damaged, holds no frame, or not as many as expected.
    """
    with opened(payload, max_pixels) as found:
        frames = found.table.num_frames
        if expected is not None and expected.num_frames != frames:
            raise BrokenClipError(f"the clip has {frames} frames where its record says {expected.num_frames}")
        if frames == 0:
            raise BrokenClipError("the video stream holds no frames")
        yield OpenClip(found, payload, max_pixels)


def decode_frames(
    payload: bytes,
    indices: Sequence[int],
    *,
    expected: Media | None = None,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
) -> HostClip:
    """Decode the frames ``indices`` of an encoded video, in the calling thread.

    Frames are numbered in order of presentation, those that an edit list hides not counted. They come back in the
    order asked for; one may be asked for twice. Only the groups of pictures that hold them are decoded, without the
    pictures that no other needs; the pixels are those of decoding everything from the start.

    Args:
        payload: bytes of the video file.
        indices: frame numbers, from 0.
        expected: what the clip's record says of it; another frame count is refused.
        max_pixels: larger pictures are refused before memory is taken for them.
        max_bytes: larger results are refused.

    Raises:
        BrokenClipError: the container or a needed frame is damaged, missing or too large, or not what is expected.
        ValueError: no frame is asked for, or one that the clip does not have.
    """
    if len(indices) == 0:
        raise ValueError("no frame was asked for; give at least one index")
    with open_clip(payload, expected=expected, max_pixels=max_pixels) as clip:
        return clip.frames([int(index) for index in indices], max_bytes=max_bytes)


def frame_times(payload: bytes, indices: Sequence[int], *, expected: Media | None = None) -> Float32[np.ndarray, "T"]:
    """Return when frames are shown, in seconds from the first, as ``decode_frames`` would; decodes nothing.

    Raises:
        BrokenClipError: the container is damaged, or its frames are not as many as expected.
        ValueError: a frame is asked for that the clip does not have.
    """
    with open_clip(payload, expected=expected) as clip:
        return clip.times_of([int(index) for index in indices])


def counts_plainly(payload: bytes) -> bool:
    """Tell what ``OpenClip.counts_plainly`` says of a clip.

    Raises:
        BrokenClipError: the container is damaged.
    """
    with open_clip(payload) as clip:
        return clip.counts_plainly


def _draw(table: PacketTable, context: av.VideoCodecContext, canvas: Canvas, wanted: set[int], max_pixels: int) -> None:
    """Decode what is needed; where that fails, everything, for a container may lie about its key frames."""
    player = _Player(table, context, canvas, max_pixels)
    frames = sorted(wanted)
    runs = table.runs(frames)
    try:
        for run in runs:
            player.play(run)
    except BrokenClipError:
        whole = table.whole(frames)
        if runs == [whole]:
            raise
        player.play(whole)


def _named(table: PacketTable, frame: int) -> str:
    return f"frame {frame} of {table.num_frames} (at {table.time(frame):.3f} s)"


class _Player:
    """Sends packets through one decoder and puts the wanted frames on the canvas."""

    def __init__(self, table: PacketTable, context: av.VideoCodecContext, canvas: Canvas, max_pixels: int) -> None:
        self._table = table
        self._context = context
        self._canvas = canvas
        self._max_pixels = max_pixels
        self._skips: bool | None = None
        context.thread_count = 1
        context.options = table.options() | {"max_pixels": str(max_pixels)}

    def play(self, run: Run) -> None:
        """Decode one run.

        Raises:
            BrokenClipError: a packet is damaged, or a wanted frame does not come out.
        """
        self._begin(run)
        missing = set(run.wanted)
        ticks = {int(self._table.pts[self._table.order[frame]]): frame for frame in run.wanted}
        for shown, frame in enumerate(self._frames(run)):
            if shown == 0:
                self._check_key(run, frame)
            number = ticks.get(_tick(frame), -1) if self._table.seekable else shown
            if number in missing:
                self._canvas.put(number, frame)
                missing.remove(number)
            if not missing:
                return
        raise BrokenClipError(f"{_named(self._table, min(missing))} does not come out of the decoder")

    def _check_key(self, run: Run, frame: av.VideoFrame) -> None:
        """Refuse a start that the container calls a key frame and the decoder does not."""
        checked = self._table.nal is None and not self._table.intra_only
        if run.first > 0 and checked and not frame.key_frame:
            place = int(self._table.rank[run.first])
            raise BrokenClipError(f"{_named(self._table, place)} is marked as a key frame and is none")

    def _begin(self, run: Run) -> None:
        self._skip(on=False)
        self._context.flush_buffers()
        if run.primer is not None:
            self._send(run.primer)
            self._context.flush_buffers()

    def _frames(self, run: Run) -> Iterator[av.VideoFrame]:
        for number in self._table.sent(run):
            if run.thrifty:
                self._skip(on=int(self._table.rank[number]) not in run.wanted)
            yield from self._send(number)
        yield from self._send(None)

    def _skip(self, *, on: bool) -> None:
        if self._skips is not on:
            self._context.skip_frame = "NONREF" if on else "DEFAULT"
            self._skips = on

    def _send(self, number: int | None) -> list[av.VideoFrame]:
        try:
            frames = self._context.decode(None if number is None else self._table.packets[number])
        except av.FFmpegError as error:
            raise BrokenClipError(self._damage(number, error)) from error
        for frame in frames:
            if frame.is_corrupt:
                place = int(np.searchsorted(self._table.pts[self._table.order], _tick(frame)))
                raise BrokenClipError(f"{_named(self._table, place)} is damaged: the decoder had to guess parts of it")
        return frames

    def _damage(self, number: int | None, error: av.FFmpegError) -> str:
        frame = -1 if number is None else int(self._table.rank[number])
        what = "a hidden frame" if frame < 0 else _named(self._table, frame)
        hint = f" (pictures above {self._max_pixels} pixels are refused)" if isinstance(error, _SIZE_ERRORS) else ""
        return f"{what} cannot be decoded: {error.strerror}{hint}"


_SIZE_ERRORS: Final = (av.error.ArgumentError, av.error.MemoryError)


def _tick(frame: av.VideoFrame) -> int:
    return -1 if frame.pts is None else frame.pts
