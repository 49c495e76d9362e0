"""Open an encoded video for decoding: a plain MP4 by its own index, everything else by FFmpeg's demuxers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import av
from av.container import InputContainer
from av.stream import Discard, Disposition

from pipelines.canvas import BrokenClipError
from pipelines.packets import PacketTable, indexed_packets, read_packets
from shards.mp4_index import Mp4Index, OtherIndexError, read_index

_MP4: Final = b"ftyp"
_MATROSKA: Final = b"\x1aE\xdf\xa3"
_FORMATS: Final = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,asf,flv,ogg,h264,hevc,m4v,obu,ivf,mjpeg,jpeg_pipe,png_pipe,webp_pipe"
)
"""Demuxers that read nothing but the payload itself; FFmpeg's playlists would open other files."""
_MOST_HELD_BACK: Final = 16
"""Pictures that H.264 holds back at most (ITU-T H.264, A.3.1); FFmpeg's decoder ends the process where told more."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The packets of a clip's video stream and a decoder for them, which nothing was sent to yet."""

    table: PacketTable
    context: av.VideoCodecContext


@contextmanager
def opened(payload: bytes, max_pixels: int) -> Iterator[Opened]:
    """Open a video and find its packets; decodes nothing.

    Raises:
        BrokenClipError: the container is damaged or holds no video.
    """
    index = _plain_index(payload) if payload[4:8] == _MP4 else None
    table = None if index is None else indexed_packets(payload, index)
    if index is not None and table is not None and table.held_back <= _MOST_HELD_BACK:
        yield Opened(table, _decoder(index, table))
        return
    with demuxed(payload, max_pixels) as (container, stream):
        yield Opened(_read(container, stream), stream.codec_context)


def field_order(payload: bytes, max_pixels: int) -> int:
    """Return FFmpeg's AVFieldOrder of a clip's video stream, as its first packets tell.

    Raises:
        BrokenClipError: the container is damaged or holds no video.
    """
    with demuxed(payload, max_pixels) as (_, stream):
        return int(stream.codec_context.field_order)


@contextmanager
def demuxed(payload: bytes, max_pixels: int) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    """Open a video with FFmpeg; all streams but its first of moving pictures are left out.

    Raises:
        BrokenClipError: the container is damaged or holds no video.
    """
    options = {"format_whitelist": _FORMATS, "max_pixels": str(max_pixels)}
    if payload[4:8] == _MP4 or payload[:4] == _MATROSKA:
        options["skip_frame"] = "all"  # their headers say all that opening would decode pictures for
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


def _plain_index(payload: bytes) -> Mp4Index | None:
    """Return the index of an MP4 whose samples are all shown, upright, one by one; None where it is another file."""
    try:
        index = read_index(payload)
    except OtherIndexError:
        return None
    shown = index.upright and index.pts.min() >= 0 and index.pts.max() + 1 <= index.shown_until
    return index if shown and index.sizes.min() > 0 and len(set(index.pts.tolist())) == len(index.pts) else None


def _decoder(index: Mp4Index, table: PacketTable) -> av.VideoCodecContext:
    """Return a decoder that was told what FFmpeg's demuxer tells its own."""
    context = av.CodecContext.create("h264", "r")
    assert isinstance(context, av.VideoCodecContext), "a decoder of video"
    context.extradata = index.config
    context.reorder_depth = table.held_back
    context.width, context.height = index.width, index.height
    if index.colours is not None:
        context.color_primaries, context.color_trc = index.colours.primaries, index.colours.transfer
        context.colorspace = index.colours.matrix
        context.color_range = 1 + index.colours.full_range
    return context
