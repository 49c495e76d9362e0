"""How many words texts have, as ``str.split`` finds them, from the bytes of a whole column at once."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tools.statistics.flat import Flat, chunks_of, flat

Flags = NDArray[np.bool_]
Packed = NDArray[np.uint64]

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
_PORTION: Final = 1 << 18
"""Bytes that are looked at together, as many as a processor's cache holds; whole numbers of bits."""

_ONE: Final = np.uint64(1)
_LAST: Final = np.uint64(63)
_LEADS: Final = np.unique(_TRIPLES >> 16).astype(np.uint8)


def count_words(texts: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """Return how many words each text has [rows]: runs of characters that are no blank of any script; 0 for null."""
    return np.concatenate([np.empty(0, np.int64), *(_words_of_each(flat(chunk)) for chunk in chunks_of(texts))])


def _words_of_each(texts: Flat) -> NDArray[np.int64]:
    """Return how many words each text has [rows], from one bit for each byte, 64 of them at a time."""
    data, offsets = texts
    if not len(data):
        return np.zeros(len(offsets) - 1, np.int64)
    lettered = _lettered(data)
    follows = lettered << _ONE
    follows[1:] |= lettered[:-1] >> _LAST
    words = np.diff(_count_before(lettered & ~follows, offsets.astype(np.int64, copy=False)))
    first = np.flatnonzero((offsets[:-1] > 0) & (np.diff(offsets) > 0))
    at = offsets[first].astype(np.int64, copy=False)
    words[first] += _bits(lettered, at) & _bits(
        lettered, at - 1
    )  # its own, though the text before ends without a blank
    return words


def _lettered(data: NDArray[np.uint8]) -> Packed:
    """Return which bytes are of no blank, as bits of numbers, with at least one zero behind them."""
    bits = _blank_bits(data)
    packed = np.zeros(len(data) // _BITS + 1, "<u8")
    np.invert(bits, out=packed.view(np.uint8)[: len(bits)])
    packed[-1] &= (_ONE << np.uint64(len(data) % _BITS)) - _ONE
    return packed


def _blank_bits(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return which bytes are of blanks, eight to a number."""
    bits = np.empty(-(-len(data) // 8), np.uint8)
    for start in range(0, len(data), _PORTION):
        some = data[start : start + _PORTION]
        if int(some.max()) >= _ASCII:
            return np.packbits(_blanks(data), bitorder="little")
        few = np.packbits(_narrow(some), bitorder="little")
        bits[start // 8 : start // 8 + len(few)] = few
    return bits


def _bits(packed: Packed, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bit at each place."""
    shifted = packed[places >> _WORD_SHIFT] >> (places & (_BITS - 1)).astype(np.uint64)
    return np.asarray((shifted & _ONE).astype(np.int64))


def _count_before(packed: Packed, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many bits are set before each place."""
    before = np.zeros(len(packed), np.int64)
    np.cumsum(np.bitwise_count(packed[:-1]), out=before[1:])
    word, bit = places >> _WORD_SHIFT, (places & (_BITS - 1)).astype(np.uint64)
    return np.asarray(before[word] + np.bitwise_count(packed[word] & ((_ONE << bit) - _ONE)))


def _blanks(data: NDArray[np.uint8]) -> Flags:
    """Return which bytes of UTF-8 are of blanks."""
    found = _narrow(data)
    _add_wide(found, data)
    return found


def _narrow(data: NDArray[np.uint8]) -> Flags:
    """Return which bytes are blanks by themselves."""
    found = data == _SPACE
    if int(data.min()) < _SPACE:
        found |= _NARROW[data]
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
