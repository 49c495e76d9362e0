"""Decode chosen frames of an encoded clip on the host: exactly those, as decoding from the start would give them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import av
import numpy as np
from av.container import InputContainer
from av.stream import Discard, Disposition
from av.video.reformatter import VideoReformatter
from jaxtyping import Float32, UInt8

from pipelines.packets import PacketTable, Run, read_packets
from shards.record import Media

# T frames that were asked for, H rows, W columns of the upright picture, 3 colours (red, green, blue).

MAX_PIXELS: Final = 8192 * 4352
"""Largest picture that is decoded unless another bound is given, in pixels."""
MAX_BYTES: Final = 2 << 30
"""Largest result that is decoded unless another bound is given, in bytes."""

_WHOLE_PICTURES: Final = frozenset({0, 1})
"""FFmpeg's field orders (AVFieldOrder) of streams that are not marked as interlaced: unknown and progressive."""

_QUARTER: Final = 90
_COLOURS: Final = 3
_FORMATS: Final = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,asf,flv,ogg,h264,hevc,m4v,obu,ivf,mjpeg,jpeg_pipe,png_pipe,webp_pipe"
)
"""Demuxers that read nothing but the payload itself; FFmpeg's playlists would open other files."""


class BrokenClipError(ValueError):
    """A clip whose frames cannot be had: says what is wrong, and with which frame."""


@dataclass(frozen=True, slots=True, eq=False)
class HostClip:
    """Decoded frames in RGB, upright, and their times in seconds from the first frame of the video."""

    frames: UInt8[np.ndarray, "T H W 3"]
    times: Float32[np.ndarray, "T"]


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
    request = _Request(tuple(int(index) for index in indices), expected, max_pixels, max_bytes)
    with _opened(payload, max_pixels) as (container, stream):
        table = _read(container, stream)
        request.check(table)
        canvas = _Canvas(request)
        _draw(table, stream.codec_context, canvas, request)
    times = [table.time(index) for index in request.indices]
    return HostClip(canvas.finished(), np.array(times, dtype=np.float32))


def frame_times(payload: bytes, indices: Sequence[int], *, expected: Media | None = None) -> Float32[np.ndarray, "T"]:
    """Return when frames are shown, in seconds from the first, as ``decode_frames`` would; decodes nothing.

    Raises:
        BrokenClipError: the container is damaged, or its frames are not as many as expected.
        ValueError: a frame is asked for that the clip does not have.
    """
    request = _Request(tuple(int(index) for index in indices), expected, MAX_PIXELS, MAX_BYTES)
    with _opened(payload, MAX_PIXELS) as (container, stream):
        table = _read(container, stream)
        request.check(table)
        return np.array([table.time(index) for index in request.indices], dtype=np.float32)


def counts_plainly(payload: bytes) -> bool:
    """Tell whether a decoder that numbers packets by their times numbers a clip's frames as ``decode_frames`` does.

    It does not where an edit list hides frames, the container does not time them, or the stream is marked as
    interlaced: a packet of H.264 may then hold two pictures, one per field.

    Raises:
        BrokenClipError: the container is damaged.
    """
    with _opened(payload, MAX_PIXELS) as (container, stream):
        table = _read(container, stream)
        whole_pictures = stream.codec_context.field_order in _WHOLE_PICTURES
        return whole_pictures and table.seekable and table.num_frames == len(table.packets)


@dataclass(frozen=True, slots=True)
class _Request:
    indices: tuple[int, ...]
    expected: Media | None
    max_pixels: int
    max_bytes: int

    def check(self, table: PacketTable) -> None:
        frames = table.num_frames
        if self.expected is not None and self.expected.num_frames != frames:
            raise BrokenClipError(f"the clip has {frames} frames where its record says {self.expected.num_frames}")
        if frames == 0:
            raise BrokenClipError("the video stream holds no frames")
        outside = [index for index in self.indices if not 0 <= index < frames]
        if outside:
            raise ValueError(f"frame {outside[0]} was asked for; the clip has frames 0 to {frames - 1}")


def _draw(table: PacketTable, context: av.VideoCodecContext, canvas: _Canvas, request: _Request) -> None:
    """Decode what is needed; where that fails, everything, for a container may lie about its key frames."""
    player = _Player(table, context, canvas, request.max_pixels)
    frames = sorted(set(request.indices))
    runs = table.runs(frames)
    try:
        for run in runs:
            player.play(run)
    except BrokenClipError:
        whole = table.whole(frames)
        if runs == [whole]:
            raise
        player.play(whole)


@contextmanager
def _opened(payload: bytes, max_pixels: int) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    options = {"format_whitelist": _FORMATS, "max_pixels": str(max_pixels)}
    try:
        container = av.open(io.BytesIO(payload), options=options, metadata_errors="replace")
    except av.FFmpegError as error:
        raise BrokenClipError(f"the payload ({len(payload)} bytes) is no video: {error.strerror}") from error
    assert isinstance(container, InputContainer), "opened for reading"
    with container:
        shown = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
        if not shown or shown[0].codec_context is None:
            raise BrokenClipError("the container holds no video stream that can be decoded")
        for other in container.streams:
            if other is not shown[0]:
                other.discard = Discard.all
        yield container, shown[0]


def _read(container: InputContainer, stream: av.VideoStream) -> PacketTable:
    try:
        return read_packets(container, stream)
    except av.FFmpegError as error:
        raise BrokenClipError(f"the container breaks off: {error.strerror}") from error


def _named(table: PacketTable, frame: int) -> str:
    return f"frame {frame} of {table.num_frames} (at {table.time(frame):.3f} s)"


class _Player:
    """Sends packets through one decoder and puts the wanted frames on the canvas."""

    def __init__(self, table: PacketTable, context: av.VideoCodecContext, canvas: _Canvas, max_pixels: int) -> None:
        self._table = table
        self._context = context
        self._canvas = canvas
        self._max_pixels = max_pixels
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
        self._context.skip_frame = "NONREF" if on else "DEFAULT"

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


class _Canvas:
    """The result while it fills: RGB, upright, each frame at every place that asked for it."""

    def __init__(self, request: _Request) -> None:
        self._max_bytes = request.max_bytes
        self._indices = request.indices
        self._places: dict[int, list[int]] = {}
        for place, index in enumerate(request.indices):
            self._places.setdefault(index, []).append(place)
        self._frames: UInt8[np.ndarray, "T H W 3"] | None = None
        self._reformatter = VideoReformatter()

    def put(self, number: int, frame: av.VideoFrame) -> None:
        """Convert a decoded frame to its places.

        Raises:
            BrokenClipError: it has another size than those before it, or the result would be too large.
        """
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1)
        plane = rgb.planes[0]
        strides = (plane.line_size, _COLOURS, 1)
        picture = np.ndarray((rgb.height, rgb.width, _COLOURS), np.uint8, memoryview(plane), strides=strides)
        upright = np.rot90(picture, round(frame.rotation / _QUARTER) % 4)
        frames = self._room(number, upright.shape)
        first, *others = self._places[number]
        frames[first] = upright
        for place in others:
            frames[place] = frames[first]

    def _room(self, number: int, shape: tuple[int, ...]) -> UInt8[np.ndarray, "T H W 3"]:
        if self._frames is None:
            wanted = (len(self._indices), *shape)
            if np.prod(wanted, dtype=np.int64) > self._max_bytes:
                size = f"{wanted[0]} frames of {shape[1]}x{shape[0]} pixels"
                raise BrokenClipError(f"{size} take more than the {self._max_bytes} bytes allowed")
            self._frames = np.empty(wanted, dtype=np.uint8)
        if self._frames.shape[1:] != shape:
            high, wide = self._frames.shape[1:3]
            raise BrokenClipError(f"frame {number} is {shape[1]}x{shape[0]} pixels, the others {wide}x{high}")
        return self._frames

    def finished(self) -> UInt8[np.ndarray, "T H W 3"]:
        """Return the frames, all of which were put."""
        assert self._frames is not None, "a request has at least one frame"
        return self._frames
