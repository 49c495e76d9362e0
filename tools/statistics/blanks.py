"""How many words texts have, as ``str.split`` finds them, from the bytes of a whole column at once."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Flags = NDArray[np.bool_]

_SPACE: Final = 0x20
_ASCII: Final = 0x80
_NARROW: Final = np.array([byte < _ASCII and chr(byte).isspace() for byte in range(256)])
_PAIR_LEAD: Final = 0xC2
_PAIR_ENDS: Final = (0x85, 0xA0)
_TRIPLES: Final = np.array(
    [int.from_bytes(chr(code).encode(), "big") for code in range(0x800, 0x10000) if chr(code).isspace()], np.int64
)
_BITS: Final = 64
_WORD_SHIFT: Final = 6
_ONE: Final = np.uint64(1)
_LEADS: Final = np.unique(_TRIPLES >> 16).astype(np.uint8)


def count_words(texts: pa.Array) -> NDArray[np.int64]:
    """Return how many words each text has [rows]: runs of characters that are no blank of any script; 0 for null."""
    sliced = texts.cast(pa.large_string())
    _, raw_offsets, raw_data = sliced.buffers()
    offsets = np.frombuffer(raw_offsets, np.int64)[sliced.offset : sliced.offset + len(sliced) + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    if first == last:
        return np.zeros(len(texts), np.int64)
    data = np.frombuffer(raw_data, np.uint8)[first:last]
    begins = ~_blanks(data)
    at_row_start = offsets[:-1][np.diff(offsets) > 0] - first
    kept = begins[at_row_start]
    begins[1:] &= ~begins[:-1].copy()
    begins[at_row_start] = kept
    return np.diff(_count_before(begins, offsets - first))


def _count_before(flags: Flags, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many flags are set before each place, counted 64 at a time."""
    packed = np.zeros(len(flags) // _BITS + 1, np.uint64)
    bits = np.packbits(flags, bitorder="little")
    packed.view(np.uint8)[: len(bits)] = bits
    before = np.zeros(len(packed), np.int64)
    np.cumsum(np.bitwise_count(packed[:-1]), out=before[1:])
    word, bit = places >> _WORD_SHIFT, (places & (_BITS - 1)).astype(np.uint64)
    return np.asarray(before[word] + np.bitwise_count(packed[word] & ((_ONE << bit) - _ONE)))


def _blanks(data: NDArray[np.uint8]) -> Flags:
    """Return which bytes of UTF-8 are of blanks."""
    found = data == _SPACE
    if (data < _SPACE).any():
        found |= _NARROW[data]
    if (data >= _ASCII).any():
        _add_wide(found, data)
    return np.asarray(found)


def _add_wide(found: Flags, data: NDArray[np.uint8]) -> None:
    pairs = (data[:-1] == _PAIR_LEAD) & np.isin(data[1:], _PAIR_ENDS)
    found[:-1] |= pairs
    found[1:] |= pairs
    at = np.flatnonzero(np.isin(data[:-2], _LEADS))
    codes = (data[at].astype(np.int64) << 16) | (data[at + 1].astype(np.int64) << 8) | data[at + 2]
    at = at[np.isin(codes, _TRIPLES)]
    for step in range(3):
        found[at + step] = True
