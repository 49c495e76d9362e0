"""Look into coded packets without decoding them: are they whole, do they show a picture, how large is it."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

_RECORD_VERSION: Final = 1
_AVCC_LENGTH_AT: Final = 4
_HVCC_LENGTH_AT: Final = 21
FORBIDDEN_BIT: Final = 0x80
HOLE: Final = bytes(16)
_VP8_KEY_HEADER: Final = 10
_VP8_START: Final = b"\x9d\x01\x2a"
_START_CODE: Final = re.compile(b"\0\0\1")
NAL_KIND: Final = 0x1F
NAL_IDR: Final = 5
NAL_SEI: Final = 6
_SEI_RECOVERY: Final = 6
_PARAMETER_SETS: Final = frozenset({7, 8, 13, 15})
_FIRST_BIT: Final = 0x80


class Checker(Protocol):
    """Says what is wrong with a packet, or None; and whether it shows a picture."""

    def fault(self, data: bytes) -> str | None:
        """Return what is wrong with the packet, in words, or None."""

    def shows(self, data: bytes) -> bool:
        """Return whether decoding the packet gives a picture to show."""


@dataclass(frozen=True, slots=True)
class AnyPacket:
    """Takes every packet as it is: for codecs that we cannot look into."""

    def fault(self, data: bytes) -> str | None:  # noqa: ARG002  # the protocol's signature
        """Return None."""
        return None

    def shows(self, data: bytes) -> bool:
        """Return whether there is any data."""
        return bool(data)


@dataclass(frozen=True, slots=True)
class NalPacket:
    """H.264 or HEVC as MP4 and Matroska store it: NAL units behind their length (ISO/IEC 14496-15, 5.3 and 8.3).

    The lengths must fill the packet exactly, the forbidden bit be zero, and no unit may hold a run of
    zero bytes, which the coding makes impossible (ITU-T H.264, 7.4.1) and which a failed download leaves behind.
    """

    length_bytes: int
    headers: bytearray = field(default_factory=lambda: bytearray(256), compare=False)
    """For each value of a unit's first byte, whether a unit that was looked at began with it."""

    def fault(self, data: bytes) -> str | None:
        """Return what is wrong with the packet, in words, or None."""
        at, size, length_bytes, headers = 0, len(data), self.length_bytes, self.headers
        may_have_hole = HOLE in data
        while at < size:
            start = at + length_bytes
            length = int.from_bytes(data[at:start], "big")
            if length == 0 or start + length > size:
                return f"a NAL unit says {length} bytes, {max(0, size - start)} are left in the packet"
            headers[data[start]] = 1
            if data[start] & FORBIDDEN_BIT:
                return "a NAL unit has its forbidden bit set"
            if may_have_hole and _has_hole(data, start, start + length):
                return "a NAL unit has a hole of zero bytes"
            at = start + length
        return None

    def shows(self, data: bytes) -> bool:
        """Return whether there is any data; one packet is one picture."""
        return bool(data)


@dataclass(frozen=True, slots=True)
class Vp8Packet:
    """VP8 frames (RFC 6386, 9.1): a first partition that fits, a start code in key frames, and a flag to be shown."""

    def fault(self, data: bytes) -> str | None:
        """Return what is wrong with the packet, in words, or None."""
        key, header = _vp8_is_key(data), _VP8_KEY_HEADER if _vp8_is_key(data) else 3
        if len(data) < header:
            return f"a VP8 frame has {len(data)} bytes, its header {header}"
        first = int.from_bytes(data[:3], "little") >> 5
        if first > len(data) - header:
            return f"a VP8 frame says its first part has {first} bytes, {len(data) - header} are there"
        if key and data[3:6] != _VP8_START:
            return "a VP8 key frame has no start code"
        return None

    def shows(self, data: bytes) -> bool:
        """Return whether the frame is for showing, not only for reference."""
        return bool(data) and bool(data[0] >> 4 & 1)


def refreshes_gradually(data: bytes, checker: Checker) -> bool:
    """Return whether an H.264 packet begins an intra refresh that ends in a later picture, so that it is no key frame.

    Containers mark such packets as key frames, yet a decoder that begins there gives no picture before the refresh
    ends: they have no IDR unit, and a recovery point message with a frame count above 0 (ITU-T H.264, D.1.8).
    """
    gradual = False
    for unit in (
        nal_units(data, checker.length_bytes) if isinstance(checker, NalPacket) else _START_CODE.split(data)[1:]
    ):
        kind = unit[0] & NAL_KIND if unit else 0
        if kind == NAL_IDR:
            return False
        gradual = gradual or (kind == NAL_SEI and _recovers_late(unit[1:].replace(b"\0\0\3", b"\0\0")))
    return gradual


def nal_units(data: bytes, length_bytes: int) -> Iterator[bytes]:
    """Yield the NAL units of a packet that stores their lengths."""
    at = 0
    while at < len(data):
        start = at + length_bytes
        at = start + int.from_bytes(data[at:start], "big")
        yield data[start:at]


def own_config(codec: str, extradata: bytes | None, checker: Checker) -> bytes | None:
    """Return the configuration record that all pictures of a stream refer to, once all of its packets were looked at.

    None: the stream is no H.264 with such a record, or has parameter sets among its packets as well.
    """
    if codec != "h264" or not isinstance(checker, NalPacket):
        return None
    kinds = {header & NAL_KIND for header, seen in enumerate(checker.headers) if seen}
    return None if kinds & _PARAMETER_SETS else extradata


def sei_kinds(messages: bytes) -> Iterator[int]:
    """Yield the kinds of the messages of a SEI unit, whose header is left away."""
    return (kind for kind, _ in _sei_messages(messages))


def _sei_messages(messages: bytes) -> Iterator[tuple[int, int]]:
    """Yield kind and place of the messages of a SEI unit (ITU-T H.264, 7.3.2.3.1)."""
    at = 0
    while at < len(messages) - 2:
        kind, at = _sei_number(messages, at)
        size, at = _sei_number(messages, at)
        yield kind, at
        at += size


def _recovers_late(messages: bytes) -> bool:
    """Return whether messages of a SEI unit hold a recovery point that is not at once."""
    for kind, at in _sei_messages(messages):
        if kind == _SEI_RECOVERY and at < len(messages):
            return not messages[at] & _FIRST_BIT  # the frame count is an Exp-Golomb number: a leading 1 is 0
    return False


def _sei_number(data: bytes, at: int) -> tuple[int, int]:
    """Return a SEI type or size, coded as a sum of bytes up to the first that is not 255, and the place behind it."""
    rest = data[at:].lstrip(b"\xff")
    last = len(data) - len(rest)
    return 0xFF * (last - at) + (rest[0] if rest else 0), last + 1


def vp8_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height that a VP8 key frame says, or None for other frames."""
    if not _vp8_is_key(data) or len(data) < _VP8_KEY_HEADER or data[3:6] != _VP8_START:
        return None
    width, height = struct.unpack_from("<HH", data, 6)
    return width & 0x3FFF, height & 0x3FFF


def checker_for(codec: str, extradata: bytes | None) -> Checker:
    """Return what looks into packets of a codec (FFmpeg's name); ``extradata`` is the stream's configuration record."""
    if codec == "vp8":
        return Vp8Packet()
    record = extradata or b""
    if codec == "h264" and len(record) > _AVCC_LENGTH_AT and record[0] == _RECORD_VERSION:
        return NalPacket((record[_AVCC_LENGTH_AT] & 3) + 1)
    if codec == "hevc" and len(record) > _HVCC_LENGTH_AT and record[0] == _RECORD_VERSION:
        return NalPacket((record[_HVCC_LENGTH_AT] & 3) + 1)
    return AnyPacket()


def _vp8_is_key(data: bytes) -> bool:
    return bool(data) and not data[0] & 1


def _has_hole(data: bytes, start: int, stop: int) -> bool:
    """Return whether a run of zero bytes with something after it stands inside; zeros at the very end are padding."""
    at = data.find(HOLE, start, stop)
    return at != -1 and bool(data[at:stop].strip(b"\0"))
