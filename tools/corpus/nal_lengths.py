"""Follow the lengths of NAL units through all H.264 packets of a file at once, and tell what FFmpeg's parser sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tools.corpus.bitstream import FORBIDDEN_BIT, HOLE, NAL_IDR, NAL_KIND, NAL_SEI, NalPacket, nal_units

_LENGTH_BYTES: Final = 4
_SLICE: Final = 1
_END, _END_OF_STREAM = 10, 11
_PLAIN_KINDS: Final = frozenset({_SLICE, NAL_IDR, NAL_SEI, 9, _END, _END_OF_STREAM, 12})
"""Slices, messages, delimiters, ends and filler: which change nothing of other units (ITU-T H.264, table 7-1)."""

_RECOVERY: Final = 6
_MESSAGE_END: Final = 0x80
_B_SLICES: Final = (1, 6)
_MOST_SLICE_TYPE: Final = 9
_WORD_BYTES: Final = 8
"""Of 15 bytes in a row, 8 are a word of the file; a hole has more."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """What the first slice of each packet is: of an IDR picture, or predicted from both sides."""

    is_idr: NDArray[np.bool_]
    is_b: NDArray[np.bool_]


def plain_pictures(
    file: bytes, offsets: NDArray[np.int64], sizes: NDArray[np.int64], checker: NalPacket
) -> Pictures | None:
    """Return what pictures the packets hold; None where any has a fault, or is not plain.

    ``NalPacket`` names the fault; here it is enough that there may be one. Plain packets have units of 4 length bytes,
    one picture's slices from its first on, no parameter sets, and no recovery point beside an IDR picture. Packets that
    share bytes are not plain.

    Args:
        file: holds the packets.
        offsets: where each begins, in bytes.
        sizes: how long each is, in bytes.
        checker: looks into one packet.
    """
    ends, count = offsets + sizes, len(offsets)
    if checker.length_bytes != _LENGTH_BYTES or _has_hole(file, offsets, ends, checker):
        return None
    data = np.frombuffer(file, np.uint8)
    seen = np.zeros((NAL_KIND + 1, count), np.bool_)
    first_slice = np.full(count, -1, np.int64)
    left, at = np.arange(count), offsets
    while len(left):
        if (at + _LENGTH_BYTES >= ends[left]).any():
            return None
        places = at[:, None] + np.arange(_LENGTH_BYTES + 2)
        head = data[np.minimum(places, len(data) - 1)].astype(np.int64)
        lengths = head[:, 0] << 24 | head[:, 1] << 16 | head[:, 2] << 8 | head[:, 3]
        at = at + _LENGTH_BYTES + lengths
        kinds = head[:, 4] & NAL_KIND
        if _are_too_short(lengths, kinds) or (at > ends[left]).any() or (head[:, 4] & FORBIDDEN_BIT).any():
            return None
        seen[kinds, left] = True
        is_first = ((kinds == _SLICE) | (kinds == NAL_IDR)) & (first_slice[left] < 0)
        first_slice[left[is_first]] = head[is_first, 5]
        inside = at < ends[left]
        left, at = left[inside], at[inside]
    is_idr = seen[NAL_IDR]
    is_plain = set(np.flatnonzero(seen.any(1)).tolist()) <= _PLAIN_KINDS and (is_idr ^ seen[_SLICE]).all()
    told = np.flatnonzero(seen[NAL_SEI] & ~is_idr)
    if not is_plain or any(_may_recover(file[offsets[one] : ends[one]]) for one in told.tolist()):
        return None
    types = _SLICE_TYPES[first_slice]
    return None if types.min() < 0 else Pictures(is_idr, _IS_B_SLICE[first_slice])


def _are_too_short(lengths: NDArray[np.int64], kinds: NDArray[np.int64]) -> bool:
    """Return whether a unit is empty, or has a header alone and is no mark of an end."""
    if lengths.min() > 1:
        return False
    return bool(((lengths < 1) | ((lengths == 1) & (kinds != _END) & (kinds != _END_OF_STREAM))).any())


def _slice_type(first: int) -> int:
    """Return the type of a picture's first slice by its first byte, which says that it is the first; -1 for others.

    It holds two Exp-Golomb numbers (ITU-T H.264, 7.3.3): the first macroblock, 0, and the type.
    """
    bits = f"{first:08b}"
    zeros = len(bits[1:]) - len(bits[1:].lstrip("0"))
    if bits[0] == "0" or 2 * zeros + 2 > len(bits):
        return -1
    found = int(bits[1 : 2 * zeros + 2], 2) - 1
    return found if found <= _MOST_SLICE_TYPE else -1


_SLICE_TYPES: Final = np.array([_slice_type(first) for first in range(256)], np.int64)
_IS_B_SLICE: Final = np.isin(_SLICE_TYPES, _B_SLICES)


def _may_recover(packet: bytes) -> bool:
    """Return whether messages of a packet may hold a recovery point: unless each unit has one other, short one."""
    for unit in nal_units(packet, _LENGTH_BYTES):
        if unit[0] & NAL_KIND == NAL_SEI and (
            unit[1] == _RECOVERY or len(unit) != 4 + unit[2] or unit[-1] != _MESSAGE_END or b"\0\0\3" in unit
        ):
            return True
    return False


def _has_hole(file: bytes, offsets: NDArray[np.int64], ends: NDArray[np.int64], checker: NalPacket) -> bool:
    """Return whether a packet with a run of zero bytes has a fault, or packets share bytes."""
    order = np.argsort(offsets)
    begins, stops = offsets[order], ends[order]
    if (begins[1:] < stops[:-1]).any():
        return True
    at, end = int(begins[0]), int(stops[-1])
    if not _has_zero_word(file, at, end):
        return False
    while (at := file.find(HOLE, at, end)) != -1:
        number = int(np.searchsorted(begins, at, "right")) - 1
        stop = int(stops[number])
        if at + len(HOLE) <= stop:
            if checker.fault(file[int(begins[number]) : stop]) is not None:
                return True
        elif number + 1 < len(begins):
            stop = int(begins[number + 1])
        else:
            return False
        at = stop
    return False


def _has_zero_word(file: bytes, at: int, end: int) -> bool:
    """Return whether a whole word between two places is zero, as one within each hole there is."""
    first, stop = -(-at // _WORD_BYTES), end // _WORD_BYTES
    if first >= stop:  # which may be behind the file's end
        return False
    return not np.frombuffer(file, np.uint64, stop - first, _WORD_BYTES * first).min()
