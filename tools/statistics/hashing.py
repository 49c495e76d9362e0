"""64-bit hashes of many texts or numbers at once, the same on every machine, in whatever pieces they come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

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
_LANE_BITS: Final = np.uint64(64)
_BLOCK: Final = 1 << 15
_SMALL: Final = (1 << 16) - 1
_MASKS: Final = np.array([(1 << 8 * size) - 1 for size in range(_LANE + 1)], np.uint64)
"""By how many bytes of a lane belong to the text."""


def mixed(numbers: Hashes) -> Hashes:
    """Return a hash of each number; unlike numbers have unlike ones (the last steps of a MurmurHash)."""
    found = (numbers ^ (numbers >> _SHIFT)) * _FINAL
    found = (found ^ (found >> _SHIFT)) * _FINAL
    return np.asarray(found ^ (found >> _SHIFT))


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
    found = mixed(length.view(np.uint64) + _MULTIPLIER)
    if length.any():
        start = np.cumsum(length) - length
        _mix_lanes(found, _words(parts), start, length if most is None else np.minimum(length, most))
    return mixed(found)


def _hash_dictionary(texts: Any, most: int | None) -> Hashes:  # noqa: ANN401 - pyarrow has no types
    """Return the hashes of a dictionary's values at each place."""
    values = np.concatenate([hash_texts(texts.dictionary, most=most), hash_texts(pa.array([""]))])
    indices = texts.indices.fill_null(len(values) - 1) if texts.null_count else texts.indices
    return np.asarray(values[indices.to_numpy()])


def _hash_even(rows: NDArray[np.uint8], most: int | None) -> Hashes:
    """Return the hashes of texts that are equally long [rows, bytes]: there is nothing to be sorted or shifted."""
    length = rows.shape[1]
    found = mixed(np.full(len(rows), length, np.uint64) + _MULTIPLIER)
    counted = length if most is None else min(length, most)
    for at in range(0, counted, _LANE):
        begin = min(at, length - _LANE)  # the last lane is read from further left, and shifted
        words = rows[:, begin : begin + _LANE].view("<u8")[:, 0] >> np.uint64(_LANE * (at - begin))
        if counted - at < _LANE:
            words &= _MASKS[counted - at]
        words = (words ^ found) * _MULTIPLIER
        found = words ^ (words >> _SHIFT)
    return mixed(found)


def _words(parts: Sequence[Flat]) -> Hashes:
    """Return the bytes of all parts as numbers of eight bytes, with zeros behind their end."""
    sizes = [len(part.data) for part in parts]
    words = np.empty(sum(sizes) // _LANE + 2, np.uint64)
    words[-2:] = 0
    data = words.view(np.uint8)
    np.concatenate([part.data for part in parts], out=data[: sum(sizes)])
    return words.astype("<u8", copy=False)


def _mix_lanes(found: Hashes, data: Hashes, start: NDArray[np.int64], length: NDArray[np.int64]) -> None:
    """Mix each row's bytes into its hash, eight at a time; some thousand rows at once, which a processor's cache holds.

    The rows of a block are gone through by rising length, so that those which still have bytes are always the last.
    """
    small = length.astype(np.uint16) if int(length.max(initial=0)) <= _SMALL else length  # is sorted in less time
    for block in range(0, len(found), _BLOCK):
        few = slice(block, block + _BLOCK)
        order = np.argsort(small[few], kind="stable")
        found[few][order] = _mixed_rows(found[few][order], data, start[few][order], length[few][order])


def _mixed_rows(mixing: Hashes, data: Hashes, start: NDArray[np.int64], length: NDArray[np.int64]) -> Hashes:
    """Return hashes with their rows' bytes mixed in; a row's lanes lie across two numbers of the data each."""
    place = start >> _LANE_SHIFT
    right = (start % _LANE).astype(np.uint64) * np.uint64(_LANE)
    left = _LANE_BITS - right
    low = data.take(place)
    for at in range(0, int(length[-1]), _LANE):
        begin, full = np.searchsorted(length, (at + 1, at + _LANE))
        place += 1
        high = data.take(place[begin:])
        words = low[begin:] >> right[begin:]
        words |= high << left[begin:]
        low[begin:] = high
        words[: full - begin] &= _MASKS[length[begin:full] - at]
        words ^= mixing[begin:]
        words *= _MULTIPLIER
        np.right_shift(words, _SHIFT, out=mixing[begin:])
        mixing[begin:] ^= words
    return mixing
