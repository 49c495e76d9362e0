"""Look into H.264 and HEVC packets: where decoding may start, and what the decoder must be told before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_CONFIGURATION_RECORD: Final = 1
"""First byte of extradata that announces length-prefixed units (ISO/IEC 14496-15); Annex B begins with zeros."""
_H264_IDR, _H264_SEI, _H264_SPS, _H264_PPS = 5, 6, 7, 8
_HEVC_IRAP: Final = range(16, 22)
_HEVC_PARAMETERS: Final = range(32, 35)
_RECOVERY_POINT: Final = 6
_AT_ONCE_AND_EXACT: Final = 0b11
"""First bits of a recovery point: its count of 0 frames is coded as one 1, the exact match flag follows."""
_START_CODE: Final = b"\0\0\1"
_X264: Final = re.compile(rb"x264 - core (\d+)")
_SEARCHED: Final = 4096


@dataclass(frozen=True, slots=True)
class Access:
    """What a packet offers to a decoder that begins with it.

    ``clean``: every picture from it on, in order of presentation, comes out as if decoded from the start.
    ``parameters``: it carries parameter sets of its own.
    """

    clean: bool
    parameters: bool


@dataclass(frozen=True, slots=True)
class NalFormat:
    """How a stream's packets hold their units: the codec, and the bytes of a unit's length (0: Annex B start codes)."""

    codec: str
    length_bytes: int
    temporal_layers: int

    @classmethod
    def of(cls, codec: str, extradata: bytes | None) -> NalFormat:
        """Read the format from a stream's extradata (ISO/IEC 14496-15, sections 5.3.3.1 and 8.3.3.1).

        ``temporal_layers`` is 0 where the extradata does not say; in H.264 they do not matter and count as one.
        """
        size_at = 4 if codec == "h264" else 21
        if not extradata or len(extradata) <= size_at or extradata[0] != _CONFIGURATION_RECORD:
            return cls(codec, 0, 0 if codec == "hevc" else 1)
        layers = (extradata[size_at] >> 3) & 7 if codec == "hevc" else 1
        return cls(codec, (extradata[size_at] & 3) + 1, layers)

    def units(self, data: bytes) -> Iterator[bytes]:
        """Yield the units of a packet; stops at the first that does not fit."""
        if self.length_bytes == 0:
            yield from _annex_b(data)
            return
        at = 0
        while at + self.length_bytes < len(data):
            begin = at + self.length_bytes
            at = begin + int.from_bytes(data[at:begin])
            if at == begin or at > len(data):
                return
            yield data[begin:at]

    def access(self, data: bytes) -> Access:
        """Say what a packet offers to a decoder that begins with it."""
        clean, parameters = False, False
        for unit in self.units(data):
            kind = _kind(self.codec, unit)
            if self.codec == "hevc":
                clean |= kind in _HEVC_IRAP
                parameters |= kind in _HEVC_PARAMETERS
            else:
                clean |= kind == _H264_IDR or (kind == _H264_SEI and _recovers_at_once(unit))
                parameters |= kind in {_H264_SPS, _H264_PPS}
        return Access(clean, parameters)


def x264_build(first_packet: bytes) -> int | None:
    """Return the x264 version that a stream's first packet names, or None.

    FFmpeg's H.264 decoder works around errors of old versions by it, and only the first key frame may carry it.
    """
    found = _X264.search(first_packet, 0, _SEARCHED)
    if found is None:
        return None
    return 67 if found[1].startswith(b"0000") else int(found[1])


def _kind(codec: str, unit: bytes) -> int:
    return unit[0] & 31 if codec == "h264" else (unit[0] >> 1) & 63


def _annex_b(data: bytes) -> Iterator[bytes]:
    begin = data.find(_START_CODE)
    while begin >= 0:
        end = data.find(_START_CODE, begin + 3)
        unit = data[begin + 3 : end if end >= 0 else len(data)]
        if unit:
            yield unit
        begin = end


def _recovers_at_once(unit: bytes) -> bool:
    """Tell whether an SEI unit holds a recovery point of count 0 with an exact match (H.264, section D.2.8)."""
    body = unit[1:].replace(b"\0\0\3", b"\0\0")
    at = 0
    while at + 2 < len(body):
        kind, at = _sei_number(body, at)
        size, at = _sei_number(body, at)
        if kind == _RECOVERY_POINT and at < len(body):
            return body[at] >> 6 == _AT_ONCE_AND_EXACT
        at += size
    return False


def _sei_number(body: bytes, at: int) -> tuple[int, int]:
    value = 0
    while at < len(body) and body[at] == 0xFF:  # noqa: PLR2004 - more bytes of the number follow
        value, at = value + 255, at + 1
    return (value + body[at], at + 1) if at < len(body) else (value, at)
