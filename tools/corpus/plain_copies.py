"""Write the copies of one source's H.264 packets by a template, once it is seen to give what FFmpeg's muxer gives."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import Any, Final

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tools.corpus.copied_samples import Samples
from tools.corpus.mp4_template import Mp4Template, OtherFileError
from tools.corpus.sample_index import IndexedSamples

BITEXACT: Final = {"fflags": "+bitexact"}
_FINEST_SCALE: Final = 20_000
"""Ticks a second of a track are at most these, or the denominator of the source's own time base."""

_LONG: Final = 1 << 30
"""Ticks that the template's only packet lasts at most."""

Begin = Callable[[OutputContainer], VideoStream]
Mux = Callable[[], bytes]


class PlainCopies:
    """Copies of runs of a source's packets, for as long as the source is held open.

    The first copy is made by FFmpeg's muxer and by the template. Where the two differ in any byte, and where packets
    are of a kind for which the template does not stand, FFmpeg's muxer makes the copies. Packets out of an index that
    marks some as needed by no other are of two kinds, as FFmpeg may write the marks down: copies with marks, without.

    Args:
        begin: adds a stream to a file that packets of the source are copied to.
        base: seconds of a tick of the source's stream.
        packets: all packets of the stream.
        pts: when each is shown, in ticks.
        dts: when each is decoded, in ticks.
        is_key: whether each is a key frame.
    """

    def __init__(
        self,
        begin: Begin,
        base: Fraction | None,
        packets: Sequence[Packet[Any]],
        *,
        pts: NDArray[np.int64],
        dts: NDArray[np.int64],
        is_key: NDArray[np.bool_],
    ) -> None:
        self._begin, self._base, self._packets = begin, base or Fraction(0), packets
        self._templates: dict[bool, Mp4Template | None] = {}
        if isinstance(packets, IndexedSamples):
            durations, sizes, self._is_marked = packets.durations, packets.sizes, packets.is_marked
        else:
            durations, sizes = np.array([(one.duration or 0, one.size) for one in packets], np.int64).T
            self._is_marked = np.zeros(len(packets), np.bool_)
            if any(one.is_disposable for one in packets):  # which FFmpeg writes down
                self._templates = {False: None}
        self._samples = Samples(self._base, pts=pts, dts=dts, durations=durations, sizes=sizes, is_key=is_key)
        self._any_marked = bool(self._is_marked.any())
        if not base:
            self._templates = {False: None, True: None}

    def write(self, first: int, last: int, mux: Mux) -> bytes:
        """Return the file of the packets ``first`` to ``last``, the first of which is the first that is shown.

        Args:
            first: the number of the first packet.
            last: the number of the last.
            mux: makes the file with FFmpeg's muxer, of the packets that its demuxer gives.
        """
        kind = self._any_marked and bool(self._is_marked[first : last + 1].any())
        template = self._templates.get(kind)
        if template is not None:
            with suppress(OtherFileError):
                return template.write(self._samples, first, last, self._data(first, last))
        file = mux()
        if kind not in self._templates:
            self._templates[kind] = self._tried(first, last, file)
        return file

    def _tried(self, first: int, last: int, file: bytes) -> Mp4Template | None:
        """Return the template if it makes this file of these packets."""
        try:
            template = Mp4Template.of(_example(self._begin, self._base))
            return template if template.write(self._samples, first, last, self._data(first, last)) == file else None
        except (OtherFileError, av.FFmpegError):
            return None

    def _data(self, first: int, last: int) -> Iterable[Any]:
        """Return the bytes of packets, each by itself or those together that lie together."""
        if isinstance(self._packets, IndexedSamples):
            return self._packets.stretches(first, last)
        return self._packets[first : last + 1]


def _example(begin: Begin, base: Fraction) -> bytes:
    """Return a file of one packet that lasts for hours."""
    packet: Packet[Any] = Packet(b"\0")
    packet.time_base, packet.is_keyframe = base, True
    packet.pts = packet.dts = 0
    packet.duration = int(_LONG // max(_FINEST_SCALE, base.denominator) / base)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options=BITEXACT) as output:
        packet.stream = begin(output)
        output.mux(packet)
    return file.getvalue()
