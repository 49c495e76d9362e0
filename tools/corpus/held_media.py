"""A source that stays open while it is read at several places, and is opened anew only where it cannot be sought."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import Self

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from tools.corpus.media_file import Limits, Source, named_errors, open_media, video_stream


class HeldMedia:
    """The packets of a source's video, from its beginning or from a place that is sought; for one reader at a time.

    Args:
        source: what to open, on first use.
        limits: what it may hold at most.
    """

    def __init__(self, source: Source, limits: Limits) -> None:
        self.source, self._limits = source, limits
        self._stack = ExitStack()
        self._open: _Open | None = None
        self._is_fresh = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def stream(self) -> VideoStream:
        """The video stream of what is open now; opened if need be."""
        return self._opened().stream

    def from_start(self) -> Iterator[Packet[VideoStream]]:
        """Yield all packets from the first on.

        Raises:
            MediaError: the source cannot be opened or read.
        """
        if not self._is_fresh:
            self.close()
        opened = self._opened()
        self._is_fresh = False
        return _named(opened.container.demux(opened.stream))

    def from_key(self, pts: int, dts: int) -> Iterator[Packet[VideoStream]] | None:
        """Return the packets from the key packet of these ticks, or from an earlier one; None where seeking goes wrong.

        Some containers seek by the time of showing, others by that of decoding: the first arrives nearer in MP4, but
        may go too far elsewhere.

        Raises:
            MediaError: the source cannot be opened or read.
        """
        for ticks in dict.fromkeys((pts, dts)):
            opened = self._opened()
            self._is_fresh = False
            try:
                opened.container.seek(ticks, stream=opened.stream)
                packets = opened.container.demux(opened.stream)
                first = next(packets, None)
            except av.FFmpegError:
                continue
            if first is not None and first.dts is not None and first.dts <= dts:
                return _named(chain([first], packets))
        return None

    def close(self) -> None:
        """Close what is open; the next reading opens it anew."""
        self._stack.close()
        self._open, self._is_fresh = None, False

    def _opened(self) -> _Open:
        if self._open is None:
            container = self._stack.enter_context(open_media(self.source, self._limits))
            self._open, self._is_fresh = _Open(container, video_stream(container, self._limits)), True
        return self._open


@dataclass(frozen=True, slots=True)
class _Open:
    container: InputContainer
    stream: VideoStream


def _named(packets: Iterator[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
    """Yield packets; FFmpeg's errors leave as ours."""
    with named_errors():
        yield from packets
