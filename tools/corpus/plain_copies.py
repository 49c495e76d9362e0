"""Write the copies of one source's H.264 packets by a template, once it is seen to give what FFmpeg's muxer gives."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Final

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tools.corpus.mp4_template import Mp4Template, OtherFileError, Samples

BITEXACT: Final = {"fflags": "+bitexact"}
_FINEST_SCALE: Final = 20_000
"""Ticks a second of a track are at most these, or the denominator of the source's own time base."""

_LONG: Final = 1 << 30
"""Ticks that the template's only packet lasts at most."""

Begin = Callable[[OutputContainer], VideoStream]
Mux = Callable[[Sequence["Packet[Any]"]], bytes]


class PlainCopies:
    """Copies of runs of a source's packets, for as long as the source is held open.

    The first copy is made by FFmpeg's muxer and by the template. Where the two differ in any byte, and where packets
    are of a kind for which the template does not stand, FFmpeg's muxer makes the copies.

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
        self._pts, self._dts, self._is_key = pts, dts, is_key
        self._durations, self._sizes = np.array([(one.duration or 0, one.size) for one in packets], np.int64).T
        self._template: Mp4Template | None = None
        self._is_tried = not base or any(one.is_disposable for one in packets)  # which FFmpeg writes down

    def write(self, first: int, last: int, mux: Mux) -> bytes:
        """Return the file of the packets ``first`` to ``last``, the first of which is the first that is shown.

        Args:
            first: the number of the first packet.
            last: the number of the last.
            mux: makes the file with FFmpeg's muxer.
        """
        chosen = self._packets[first : last + 1]
        if self._template is not None:
            try:
                return self._template.write(self._samples(first, last))
            except OtherFileError:
                return mux(chosen)
        file = mux(chosen)
        if not self._is_tried:
            self._is_tried, self._template = True, self._tried(first, last, file)
        return file

    def _tried(self, first: int, last: int, file: bytes) -> Mp4Template | None:
        """Return the template if it makes this file of these packets."""
        try:
            template = Mp4Template.of(_example(self._begin, self._base))
            return template if template.write(self._samples(first, last)) == file else None
        except (OtherFileError, av.FFmpegError):
            return None

    def _samples(self, first: int, last: int) -> Samples:
        inside, origin = slice(first, last + 1), self._pts[first]
        return Samples(
            base=self._base,
            pts=self._pts[inside] - origin,
            dts=self._dts[inside] - origin,
            durations=self._durations[inside],
            sizes=self._sizes[inside],
            is_key=self._is_key[inside],
            data=self._packets[inside],
        )


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
