"""Tell from coded key frames whether a video's pictures change their size, as those of calls over the network do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from tools.corpus.bitstream import Checker, NalPacket, nal_units, vp8_size

_START_CODE: Final = re.compile(b"\0\0\1")
_VP9_SYNC: Final = 0x498342
_VP9_RGB: Final = 7
_H264_SPS: Final = 7
_HEVC_SPS: Final = 33


class SizeWatch:
    """Looks at the key packets of one stream; ``changes`` says whether any two of them disagree.

    VP8 and VP9 state the size in every key frame; of H.264 and HEVC the sequence parameter sets that come with key
    frames are compared as a whole, for what they state beside the size is as good a reason not to copy across it.
    """

    def __init__(self, codec: str, checker: Checker) -> None:
        self._codec, self._checker = codec, checker
        self._first: object = None
        self.changes = False

    def look(self, data: bytes) -> None:
        """Look at a key packet."""
        found = self._stated(data)
        if found is None:
            return
        if self._first is None:
            self._first = found
        self.changes = self.changes or found != self._first

    def _stated(self, data: bytes) -> object:
        if self._codec == "vp8":
            return vp8_size(data)
        if self._codec == "vp9":
            return vp9_size(data)
        if self._codec in {"h264", "hevc"}:
            return tuple(self._parameter_sets(data)) or None
        return None

    def _parameter_sets(self, data: bytes) -> Iterator[bytes]:
        checker = self._checker
        units = nal_units(data, checker.length_bytes) if isinstance(checker, NalPacket) else _START_CODE.split(data)[1:]
        for unit in filter(None, units):
            kind = unit[0] & 31 if self._codec == "h264" else unit[0] >> 1 & 63
            if kind == (_H264_SPS if self._codec == "h264" else _HEVC_SPS):
                yield unit.rstrip(b"\0")


def vp9_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height that a VP9 key frame states (VP9 bitstream specification, 7.2), or None for others."""
    bits = _Bits(data[:16])
    if len(data) < 16 or bits.take(2) != 2:  # noqa: PLR2004  # the frame marker; shorter frames are no key frames
        return None
    profile = bits.take(1) | bits.take(1) << 1
    if profile == 3:  # noqa: PLR2004  # of which one more bit is kept back
        bits.take(1)
    shows_earlier, is_inter = bits.take(1), bits.take(1)
    bits.take(2)
    if shows_earlier or is_inter or bits.take(24) != _VP9_SYNC:
        return None
    bits.take(1 if profile >= 2 else 0)  # noqa: PLR2004  # profiles with more than 8 bits say how many
    if bits.take(3) == _VP9_RGB:
        bits.take(profile & 1)
    else:
        bits.take(1 + 3 * (profile & 1))
    return bits.take(16) + 1, bits.take(16) + 1


class _Bits:
    """Reads bits from the highest of the first byte on."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """Return the next bits as a number."""
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)
