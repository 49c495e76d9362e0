"""The packets of a video as columns: their times, sizes, and which of them are shown."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from av.packet import Packet
from av.stream import Stream
from numpy.typing import NDArray

from tools.corpus.held_media import FirstPacket

NO_TIME: Final = -(1 << 63)
"""Stands for a time that a packet lacks."""


@dataclass(frozen=True)
class Packets:
    """The video packets in decode order, one array entry each: times in ticks, size in bytes, and what they are.

    ``is_shown`` is false for packets that give no picture: those an edit list leaves out, and frames kept only for
    reference. A time that the file lacks is the least int64.
    """

    pts: NDArray[np.int64]
    dts: NDArray[np.int64]
    size: NDArray[np.int64]
    is_key: NDArray[np.bool_]
    is_shown: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def first(self) -> FirstPacket:
        """Return what tells the first packet from others."""
        pts, dts = (None if times[0] == NO_TIME else int(times[0]) for times in (self.pts, self.dts))
        return FirstPacket(pts, dts, int(self.size[0]))

    @cached_property
    def shown(self) -> NDArray[np.intp]:
        """Return the packets that give a picture, by number, in presentation order."""
        order = np.flatnonzero(self.is_shown)
        return order[np.argsort(self.pts[order], kind="stable")]

    @cached_property
    def pts_shown(self) -> NDArray[np.int64]:
        """Return when the packets of ``shown`` are shown, in ticks."""
        times: NDArray[np.int64] = self.pts[self.shown]
        return times

    @cached_property
    def sizes_told(self) -> bytes:
        """Return the sizes as MP4 files tell them, in 4 bytes each."""
        return self.size.astype(">u4").tobytes()

    @cached_property
    def before(self) -> list[int]:
        """Return how many bytes are before each packet, and in all."""
        return [0, *np.cumsum(self.size).tolist()]

    @cached_property
    def keys(self) -> list[int]:
        """Return the numbers of the key packets."""
        found: list[int] = np.flatnonzero(self.is_key).tolist()
        return found

    @cached_property
    def all_shown(self) -> bool:
        """Return whether each packet gives a picture."""
        return bool(self.is_shown.all())

    @cached_property
    def all_timed(self) -> bool:
        """Return whether each packet has a decode time."""
        return bool((self.dts != NO_TIME).all())


class PacketTable:
    """Columns of packets while they are being read."""

    def __init__(self) -> None:
        self.pts, self.dts, self.size = array("q"), array("q"), array("q")
        self.is_key, self.is_shown = bytearray(), bytearray()

    def add(self, packet: Packet[Stream], *, is_key: bool, is_shown: bool) -> None:
        """Append one packet."""
        pts, dts = packet.pts, packet.dts
        self.pts.append(NO_TIME if pts is None else pts)
        self.dts.append(NO_TIME if dts is None else dts)
        self.size.append(packet.size)
        self.is_key.append(is_key)
        self.is_shown.append(is_shown)

    def packets(self) -> Packets:
        """Return the columns as arrays."""
        return Packets(
            pts=np.array(self.pts, np.int64),
            dts=np.array(self.dts, np.int64),
            size=np.array(self.size, np.int64),
            is_key=np.array(self.is_key, np.bool_),
            is_shown=np.array(self.is_shown, np.bool_),
        )
