"""A source that stays open while it is read at several places, and is opened anew only where it cannot be sought."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Final, Self

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from tools.corpus.container import IsoFile, begins_as_boxes, holds_h264_alone, is_h264_alone, video_comes_first
from tools.corpus.media_file import Limits, MediaError, Source, named_errors, open_media, video_stream
from tools.corpus.plain_copies import PlainCopies

SEEKABLE: Final = frozenset({"mp4", "mov", "3gp", "mkv", "webm", "avi", "flv", "wmv", "ogv", "ts"})
"""Containers in which packets have the same times after a seek as in one reading; MPEG program streams are not."""


_LEARNED: Final = ("color_primaries", "color_trc", "colorspace", "color_range", "pix_fmt", "sample_aspect_ratio")
"""What a decoder learns of H.264 from its pictures and a container's header may not tell."""


class HeldMedia:
    """The packets of a source's video, from its beginning or from a place that is sought; for one reader at a time.

    Nothing of what a decoder saw before a seek is left in it.

    Args:
        source: what to open, on first use.
        limits: what it may hold at most.
        keep_bytes: up to how many bytes of packets are kept in memory, so that they need not be read again. Where any
            are, packets are wanted rather than pictures: H.264 in MP4 is opened without looking at pictures, and anew
            should it have to be decoded.
    """

    def __init__(self, source: Source, limits: Limits, keep_bytes: int = 0) -> None:
        self.source, self._limits = source, limits
        self.kept = KeptPackets(keep_bytes)
        self._stack = ExitStack()
        self._open: OpenMedia | None = None
        self._is_fresh = False
        self._first: FirstPacket | None = None
        self._is_for_packets = keep_bytes > 0
        self._file: IsoFile | None = None
        self._is_read = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._file = None
        self.kept.begin()  # what is kept holds this source again: it would stay until such circles are looked for

    @property
    def stream(self) -> VideoStream:
        """The video stream of what is open now; opened if need be."""
        return self._opened().stream

    def whole(self) -> OpenMedia:
        """Return what is open, at its beginning, for one reading of all streams.

        Raises:
            MediaError: the source cannot be opened.
        """
        if not self._is_fresh:
            self.close()
        opened = self._opened()
        self._is_fresh = self._is_for_packets = False
        self._file = None
        return opened

    @property
    def file(self) -> IsoFile | None:
        """The whole file where packets are wanted and it is H.264 in MP4, and small enough to be kept."""
        if self._is_for_packets and not self._is_read:
            self._file, self._is_read = _plain_file(self.source, self.kept.most), True
        return self._file

    def in_memory(self) -> OpenMedia | None:
        """Return the file opened out of memory for its packets alone; None where there is no such file.

        FFmpeg looked at as few of its packets as tell what headers do not. Whoever finds that this is not enough, or
        finds any fault, reads the ``whole`` in its place; who does not says so by ``keep``.
        """
        file = self.file
        if file is None or not self._is_for_packets:
            return None
        self.close()
        try:
            opened = self._enter(file.data, unseen=True, hasty=True) if video_comes_first(file) else None
            self._is_fresh = False
            if opened is None or opened.stream.codec_context.profile is None:  # no packet of the video was looked at
                self.close()
                opened = self._enter(file.data, unseen=True)  # which may be read on, too
        except MediaError:
            self.close()
            return None
        return replace(opened, file=file)

    def keep(self, packets: Sequence[Packet[Any]], file: bytes) -> None:
        """Keep all packets of what was opened out of memory, and the file that holds them."""
        self.kept.take(packets, file)
        self._is_for_packets = self._is_fresh = False

    def prepare_to_decode(self) -> None:
        """Open the source anew where it was opened without looking at its pictures, for that it stays."""
        self._is_for_packets = False
        if self._open is not None and self._open.unseen:
            self.close()

    def begin_copy(self, output: OutputContainer) -> VideoStream:
        """Add a stream to a file that packets of this source are copied to.

        Where the source was opened without looking at its pictures, the decoder of its first picture tells what FFmpeg
        would have learned then.
        """
        opened = self._opened()
        copy = output.add_stream_from_template(opened.stream, opaque=True)
        if opened.unseen:
            for name in _LEARNED:
                value = getattr(opened.stream.codec_context, name)
                if value is not None:
                    setattr(copy.codec_context, name, value)
        return copy

    def begins_with(self, first: FirstPacket, container: str | None) -> None:
        """Note the video's first packet, so that its beginning can be sought in containers where that is exact."""
        self._first = first if container in SEEKABLE else None

    def from_start(self) -> Iterator[Packet[VideoStream]]:
        """Yield all packets from the first on.

        Raises:
            MediaError: the source cannot be opened or read.
        """
        if not self._is_fresh and self._open is not None and self._first is not None:
            packets = self._sought(self._first.pts or 0)
            if packets is not None and packets.first == self._first:
                return packets.all
        opened = self.whole()
        return _named(opened.container.demux(opened.stream))

    def from_key(self, pts: int, dts: int) -> Iterator[Packet[VideoStream]] | None:
        """Return the packets from the key packet of these ticks, or from an earlier one; None where seeking goes wrong.

        Some containers seek by the time of showing, others by that of decoding: the first arrives nearer in MP4, but
        may go too far elsewhere.

        Raises:
            MediaError: the source cannot be opened or read.
        """
        for ticks in dict.fromkeys((pts, dts)):
            packets = self._sought(ticks)
            if packets is not None and packets.first.dts is not None and packets.first.dts <= dts:
                return packets.all
        return None

    def _sought(self, ticks: int) -> _Sought | None:
        """Return the packets from where a seek leads, or None where it fails."""
        opened = self._opened()
        self._is_fresh = False
        try:
            opened.container.seek(ticks, stream=opened.stream)
            packets = opened.container.demux(opened.stream)
            first = next(packets, None)
        except av.FFmpegError:
            return None
        if first is None:
            return None
        return _Sought(FirstPacket(first.pts, first.dts, first.size), _named(chain([first], packets)))

    def close(self) -> None:
        """Close what is open; the next reading opens it anew."""
        self._stack.close()
        self._open, self._is_fresh = None, False

    def _opened(self) -> OpenMedia:
        if self._open is None:
            unseen = self._is_for_packets and is_h264_alone(self.source)
            self._is_for_packets = False  # for the first reading, which decodes the first picture
            return self._enter(self.source, unseen=unseen)
        return self._open

    def _enter(self, source: Source, *, unseen: bool, hasty: bool = False) -> OpenMedia:
        container = self._stack.enter_context(open_media(source, self._limits, unseen=unseen, hasty=hasty))
        self._open, self._is_fresh = OpenMedia(container, video_stream(container, self._limits), unseen), True
        return self._open


class KeptPackets:
    """The video's packets in decode order from the first on, or none where they have more bytes than ``most``.

    Who changes times or stream of one puts them back. ``copies`` writes runs of them, once there is anything to write.
    """

    def __init__(self, most: int) -> None:
        self.most = self._left = most
        self.begin()

    def begin(self) -> None:
        """Let go of an earlier reading's packets."""
        self._listed: list[Packet[Any]] = []
        self.packets: Sequence[Packet[Any]] = self._listed
        self.file: bytes | None = None
        self.copies: PlainCopies | None = None
        self._left = self.most

    def take(self, packets: Sequence[Packet[Any]], file: bytes) -> None:
        """Keep all packets at once, which have no more than ``most`` bytes together, and the file that holds them."""
        self.packets, self.file = packets, file

    def add(self, packet: Packet[Any]) -> None:
        """Keep the next packet, or let go of all once they are too many; no more are then kept."""
        self._left -= packet.size
        if self._left >= 0:
            self._listed.append(packet)
        else:
            self._listed.clear()


@dataclass(frozen=True, slots=True)
class OpenMedia:
    """An opened source and its video stream; ``unseen`` says that no picture was looked at.

    ``file`` is there where it was opened out of memory for its packets alone.
    """

    container: InputContainer
    stream: VideoStream
    unseen: bool = False
    file: IsoFile | None = None


@dataclass(frozen=True, slots=True)
class FirstPacket:
    """What tells a packet: its times in ticks, None where it has none, and its size in bytes."""

    pts: int | None
    dts: int | None
    size: int


@dataclass(frozen=True, slots=True)
class _Sought:
    first: FirstPacket
    all: Iterator[Packet[VideoStream]]


def _plain_file(source: Source, most: int) -> IsoFile | None:
    """Return all of a file of H.264 in MP4; None for others, too large ones, and where it cannot be read."""
    if isinstance(source, bytes):
        data = source if begins_as_boxes(source) else b""
    else:
        data = _read_boxes(source, most) if isinstance(source, Path | str) else b""
    file = IsoFile(data)
    return file if 0 < len(data) <= most and holds_h264_alone(file) else None


def _read_boxes(path: Path | str, most: int) -> bytes:
    """Return all bytes of a file made of ISO boxes, nothing for others, larger ones, and where it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # a tenth of the time of a path's
            if os.fstat(file.fileno()).st_size > most or not begins_as_boxes(file.read(8)):
                return b""
            file.seek(0)
            return file.read()
    except OSError:  # which is met and named again
        return b""


def _named(packets: Iterator[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
    """Yield packets; FFmpeg's errors leave as ours."""
    with named_errors():
        yield from packets
