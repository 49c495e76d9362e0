"""Which segments are alike: candidates by shared keys, a bounded number of them, then the measure itself."""

from __future__ import annotations

from itertools import combinations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tools.corpus.fingerprint_table import PERMUTATIONS, Fingerprints

Pairs = NDArray[np.int64]
"""Pairs of segments [pairs, 2]: a later one, and an earlier one that it is compared with; by rising numbers."""

NEIGHBOURS: Final = 8
"""With how many of the first, and of the last before it, a segment is compared among those that share a key."""

_CHUNK: Final = 1 << 18
_SURE: Final = 0.99
_PORTION: Final = 1 << 20
_HALF: Final = np.uint64(32)
_LOW: Final = np.uint64(0xFFFFFFFF)
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_EMPTY: Final = np.empty((0, 2), np.int64)


def pairs_by_key(keys: NDArray[Any], owners: NDArray[Any] | None = None) -> Pairs:
    """Return pairs of segments that share a key; among many that do, each meets the first 8 and the 8 before it.

    Which earlier segments one meets does not depend on later ones. Some millions of entries are gone through at a time,
    so that what is held besides keys and owners does not grow with them.

    Args:
        keys: Keys [entries], numbers from 0 of at most 32 bits.
        owners: The segment of each entry, None: the entries' own numbers.
    """
    found = [np.empty(0, np.uint64)]
    portions = 1 + len(keys) // _PORTION
    for portion in range(portions):
        mine = np.flatnonzero(keys % keys.dtype.type(portions) == portion) if portions > 1 else np.arange(len(keys))
        found.append(_codes_by_key(keys[mine], mine if owners is None else owners[mine]))
    return _pairs_of(_unique(np.concatenate(found)))


def _codes_by_key(keys: NDArray[Any], who: NDArray[Any]) -> NDArray[np.uint64]:
    """Return pairs that share a key, each as one number with the later segment in its upper half."""
    entries = _unique((keys.astype(np.uint64) << _HALF) | who.astype(np.uint64))
    who = entries & _LOW
    begins = np.ones(len(entries), bool)
    begins[1:] = (entries[1:] >> _HALF) != (entries[:-1] >> _HALF)
    start = np.maximum.accumulate(np.where(begins, np.arange(len(entries)), 0))
    place = np.arange(len(entries)) - start
    found = []
    later = np.flatnonzero(place > 0)
    for step in range(NEIGHBOURS):
        later = later[place[later] > step]
        found.append((who[later] << _HALF) | who[start[later] + step])
        found.append((who[later] << _HALF) | who[later - 1 - step])
    return _unique(np.concatenate(found))


def merged(pairs: list[Pairs]) -> Pairs:
    """Return all pairs once, by rising numbers."""
    every = np.concatenate(pairs).astype(np.uint64)
    return _pairs_of(_unique((every[:, 0] << _HALF) | every[:, 1]))


def _pairs_of(codes: NDArray[np.uint64]) -> Pairs:
    return np.stack([codes >> _HALF, codes & _LOW], axis=1).astype(np.int64)


def _unique(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return numbers once each, sorted; the array that is given is sorted, too."""
    numbers.sort()
    fresh = np.ones(len(numbers), bool)
    fresh[1:] = numbers[1:] != numbers[:-1]
    return np.asarray(numbers[fresh])


def overlapping(prints: Fingerprints, share: float) -> Pairs:
    """Return pairs of segments of one video of which at least ``share`` (from a half on) of all frames are in both.

    Such segments are at most twice as long as each other, and their middles lie within half a cell of one of two grids
    whose cells are the power of two above the longer one's length; so they share a key.
    """
    count = prints.stop - prints.first
    middle = prints.first + prints.stop
    level = np.ceil(np.log2(count)).astype(np.int64)
    keys = [
        _mixed(prints.source, level + more, (middle + (shift << (level + more))) >> (level + more + 1))
        for more in (0, 1)
        for shift in (0, 1)
    ]
    pairs = pairs_by_key(np.concatenate(keys), np.tile(np.arange(len(prints), dtype=np.int32), len(keys)))
    pairs = pairs[_same(prints.source, pairs)]
    return pairs[overlap(prints, pairs) >= share]


def overlap(prints: Fingerprints, pairs: Pairs) -> NDArray[np.float64]:
    """Return for pairs of segments of one video the share of all their frames that are in both."""
    one, other = pairs[:, 0], pairs[:, 1]
    within = np.minimum(prints.stop[one], prints.stop[other]) - np.maximum(prints.first[one], prints.first[other])
    across = np.maximum(prints.stop[one], prints.stop[other]) - np.minimum(prints.first[one], prints.first[other])
    return np.asarray(np.maximum(within, 0) / across)


def picture_candidates(prints: Fingerprints) -> Pairs:
    """Return pairs of segments of different videos whose pictures may be alike.

    They share two quarters of a hash, in the same places, in any of their pictures, and neither is more than twice as
    long as the other.
    """
    owners = np.repeat(np.arange(len(prints), dtype=np.int32), np.diff(prints.ends, prepend=0))
    quarters = prints.hashes.view(np.uint16).reshape(-1, 4)
    found = [_EMPTY]
    for one, other in combinations(range(4), 2):
        keys = quarters[:, one].astype(np.uint32)
        keys <<= np.uint32(16)
        keys |= quarters[:, other]
        pairs = pairs_by_key(keys, owners)
        found.append(pairs[~_same(prints.source, pairs) & comparable(prints, pairs)])
    return merged(found)


def comparable(prints: Fingerprints, pairs: Pairs) -> NDArray[np.bool_]:
    """Return where neither segment is more than twice as long as the other."""
    seconds = prints.seconds[pairs]
    return np.asarray(seconds.max(axis=1) <= 2 * seconds.min(axis=1))


def picture_share(prints: Fingerprints, pair: NDArray[np.int64], bits: int) -> float:
    """Return the share of both segments' pictures that have a like one in the other: at most ``bits`` bits apart."""
    one, other = prints.pictures(int(pair[0])), prints.pictures(int(pair[1]))
    if not len(one) or not len(other):
        return 0.0
    near = np.bitwise_count(one[:, None] ^ other[None, :]) <= bits
    return float(near.any(axis=1).sum() + near.any(axis=0).sum()) / (len(one) + len(other))


def alike_captions(prints: Fingerprints, share: float) -> Pairs:
    """Return pairs of segments whose captions share at least ``share`` of their words and pairs of words.

    The share is estimated from their MinHashes.
    """
    some = np.flatnonzero(prints.words.any(axis=1))
    size = _band_size(share)
    found = [_EMPTY]
    for start in range(0, PERMUTATIONS - size + 1, size):
        band = prints.words[some, start : start + size]
        pairs = pairs_by_key(_mixed(*(band[:, place] for place in range(size))), some)
        found.append(pairs[caption_share(prints, pairs) >= share])
    return merged(found)


def caption_share(prints: Fingerprints, pairs: Pairs) -> NDArray[np.float64]:
    """Return for each pair the share of equal values of the captions' MinHashes; 0 where one has none."""
    shares = np.zeros(len(pairs))
    for start in range(0, len(pairs), _CHUNK):
        one, other = prints.words[pairs[start : start + _CHUNK, 0]], prints.words[pairs[start : start + _CHUNK, 1]]
        shares[start : start + _CHUNK] = (one == other).mean(axis=1) * one.any(axis=1)
    return shares


def _same(numbers: NDArray[np.int32], pairs: Pairs) -> NDArray[np.bool_]:
    return np.asarray(numbers[pairs[:, 0]] == numbers[pairs[:, 1]])


def _mixed(*columns: NDArray[Any]) -> NDArray[np.uint32]:
    """Return one key a row; rows that differ have different ones, but for chance, which gives candidates too many."""
    keys = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        keys = (keys ^ column.astype(np.uint64)) * _MIX
        keys ^= keys >> np.uint64(29)
    return (keys >> _HALF).astype(np.uint32)


def _band_size(share: float) -> int:
    """Return the largest number of values a band at which a pair that is just alike enough is found almost surely."""
    sizes = [size for size in range(1, 17) if 1 - (1 - share**size) ** (PERMUTATIONS // size) >= _SURE]
    return max(sizes, default=1)
