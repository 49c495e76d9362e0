"""64-bit hashes of many texts or numbers at once, the same on every machine, in whatever pieces they come."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tools.statistics.flat import Flat, chunks_of, flat

Hashes = NDArray[np.uint64]

_LANE: Final = 8
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)
_FINAL: Final = np.uint64(0xD6E8FEB86659FD93)
_SHIFT: Final = np.uint64(32)
_LANE_SHIFT: Final = 3
_WINDOW: Final = 1 << 21
"""Bytes of texts that are sorted by their length at once."""

_BLOCK: Final = 1 << 13
_BLOCK_LANES: Final = 1 << 17
"""Rows, and eights of their bytes, whose hashes are worked out at once."""

_SMALL: Final = (1 << 16) - 1
_MASKS: Final = np.array([(1 << 8 * size) - 1 for size in range(_LANE + 1)], np.uint64)
"""By how many bytes of a lane belong to the text."""


def mixed(numbers: Hashes) -> Hashes:
    """Return a hash of each number; unlike numbers have unlike ones (the last steps of a MurmurHash)."""
    found = numbers >> _SHIFT
    found ^= numbers
    found *= _FINAL
    upper = found >> _SHIFT
    found ^= upper
    found *= _FINAL
    found ^= np.right_shift(found, _SHIFT, out=upper)
    return found


def hash_texts(texts: pa.Array | pa.ChunkedArray, *, most: int | None = None) -> Hashes:
    """Return a hash of each text [rows]; of null that of the empty text.

    Two texts that differ have the same hash by chance in one of about 2**64 cases; who makes texts for it can.

    Args:
        texts: Strings, or a dictionary of strings, each of which is then hashed once.
        most: Bytes of a text that count, where its beginning tells it apart, as that of a SHA-256 does.
    """
    chunks = chunks_of(texts)
    if pa.types.is_dictionary(texts.type):
        return np.concatenate([np.empty(0, np.uint64), *(_hash_dictionary(chunk, most) for chunk in chunks)])
    parts = [flat(chunk) for chunk in chunks]
    length = np.concatenate([np.empty(0, np.int64), *(np.diff(part.offsets) for part in parts)])
    if len(length) and length[0] >= _LANE and (length == length[0]).all():
        return np.concatenate([_hash_even(part.data.reshape(-1, length[0]), most) for part in parts])
    few = [_hash_uneven(some, most) for part in parts for some in _windows(part)]
    return np.concatenate([np.empty(0, np.uint64), *few])


def _hash_dictionary(texts: Any, most: int | None) -> Hashes:  # noqa: ANN401 - pyarrow has no types
    """Return the hashes of a dictionary's values at each place."""
    values = np.concatenate([hash_texts(texts.dictionary, most=most), hash_texts(pa.array([""]))])
    indices = texts.indices.fill_null(len(values) - 1) if texts.null_count else texts.indices
    return np.asarray(values[indices.to_numpy()])


def _hash_even(rows: NDArray[np.uint8], most: int | None) -> Hashes:
    """Return the hashes of texts that are equally long [rows, bytes]: there is nothing to be sorted or shifted."""
    length = rows.shape[1]
    found = _first_mix(np.array([length]))
    counted = length if most is None else min(length, most)
    for at in range(0, counted, _LANE):
        begin = min(at, length - _LANE)  # the last lane is read from further left, and shifted
        words = rows[:, begin : begin + _LANE].view("<u8")[:, 0] >> np.uint64(_LANE * (at - begin))
        if counted - at < _LANE:
            words &= _MASKS[counted - at]
        words = (words ^ found) * _MULTIPLIER
        found = words ^ (words >> _SHIFT)
    return mixed(found)


def _windows(texts: Flat) -> Iterator[Flat]:
    """Yield some texts at a time: as many as a processor's cache holds, or one that is larger."""
    data, offsets = texts
    stops = np.searchsorted(offsets[1:], np.arange(_WINDOW, len(data), _WINDOW), side="right")
    for start, stop in pairwise(np.unique([0, *stops.tolist(), len(offsets) - 1]).tolist()):
        first, last = int(offsets[start]), int(offsets[stop])
        yield Flat(data[first:last], offsets[start : stop + 1] - offsets[start])


def _hash_uneven(texts: Flat, most: int | None) -> Hashes:
    """Return the hashes of texts: rows of about one length at once, as many as a processor's cache holds."""
    length = np.diff(texts.offsets).astype(np.int64, copy=False)
    counted = length if most is None else np.minimum(length, most)
    data = np.zeros(len(texts.data) + int(counted.max(initial=0)) + _LANE, np.uint8)  # a lane may reach beyond a text
    data[: len(texts.data)] = texts.data
    lanes = (counted + (_LANE - 1)) >> _LANE_SHIFT
    small = int(lanes.max(initial=0)) <= _SMALL
    order = np.argsort(lanes.astype(np.uint16) if small else lanes, kind="stable")  # of 16 bits in little time
    lanes, found, at = lanes[order], np.empty(len(order), np.uint64), 0
    while at < len(order):
        stop = min(at + _BLOCK, len(order))
        while stop > at + 1 and (stop - at) * int(lanes[stop - 1]) > _BLOCK_LANES:
            stop = (at + stop) // 2
        few = order[at:stop]
        mixing = _first_mix(length[few])
        if lanes[stop - 1]:
            _mix(mixing, _lanes(data, texts.offsets[few], counted[few], lanes[at:stop]))
        found[few] = mixed(mixing)
        at = stop
    return found


def _first_mix(length: NDArray[np.int64]) -> Hashes:
    """Return what the bytes of texts are mixed into, by how many there are."""
    return mixed(length.astype(np.uint64) + _MULTIPLIER)


class _Lanes(NamedTuple):
    """The bytes of some texts, eight to a number [rows, lanes]; from which row on texts reach each lane."""

    words: Hashes
    first: list[int]


def _lanes(
    data: NDArray[np.uint8], start: NDArray[np.int64], length: NDArray[np.int64], counts: NDArray[np.int64]
) -> _Lanes:
    """Return the lanes of texts, given where they begin, by rising numbers of lanes; zeros stand behind their ends."""
    most = int(counts[-1])
    width = _LANE * most
    texts = np.ndarray((len(data) - width + 1,), f"V{width}", buffer=data, strides=(1,))  # one begins at every byte
    words = texts[start].view("<u8").reshape(len(start), most)
    first = np.searchsorted(counts, np.arange(1, most + 2)).tolist()
    for lane, (begin, stop) in enumerate(pairwise(first)):
        if begin < stop:
            words[begin:stop, lane] &= _MASKS[length[begin:stop] - _LANE * lane]
    return _Lanes(words, first[:-1])


def _mix(mixing: Hashes, lanes: _Lanes) -> None:
    """Mix the lanes of rows into their hashes."""
    for lane, begin in enumerate(lanes.first):
        rest = mixing[begin:]
        words = lanes.words[begin:, lane] ^ rest
        words *= _MULTIPLIER
        np.right_shift(words, _SHIFT, out=rest)
        rest ^= words
