"""In how many of some captions each word stands, and each two or three words that are neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Counts = NDArray[np.int64]

_QUOTES: Final = "'\u2019"
_AROUND: Final = f" {_QUOTES}"
_NO_WORD: Final = rf"[^\p{{L}}\p{{M}}\p{{N}}{_QUOTES}]+"
"""What parts words: all but letters, marks, digits and apostrophes."""

_SIZES: Final = (1, 2, 3)
_PORTION: Final = 2000
"""Captions that are cut into words at once, as many as a processor's cache holds."""

_BLANK: Final = 0x20
_QUOTE: Final = 0x27
_PLAIN: Final = bytes(
    ord(chr(byte).lower()) if chr(byte).isalnum() or byte == _QUOTE else _BLANK for byte in range(128)
)
"""Each byte of plain ASCII as it counts: letters small, a blank for all that parts words."""

_KEYS: Final = np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D], np.uint32)
_BIN_SHIFT: Final = 15
"""Bits of a hash that are left out, so that a processor's cache holds the bins, an eighth of a million."""

_RUNS: Final = 1 << 18
"""Runs of words that are put into bins at once; of more, memory would have to be cleared for each step."""


@dataclass(frozen=True, eq=False)
class Grams:
    """Neighbouring words and in how many captions they stand: numbers of words [n, size], and counts [n]."""

    words: NDArray[np.int32]
    counts: Counts


@dataclass(frozen=True, eq=False)
class WordCounts:
    """What some captions say: their words, sorted, and of single words, pairs and triples in how many they stand."""

    captions: int
    vocabulary: tuple[str, ...]
    singles: Grams
    pairs: Grams
    triples: Grams

    def top(self, grams: Grams, most: int) -> Iterator[tuple[str, int]]:
        """Yield the texts that stand in the most captions with their counts; of equal ones, by the alphabet."""
        if not len(grams.counts):
            return
        least = np.partition(grams.counts, max(len(grams.counts) - most, 0))[max(len(grams.counts) - most, 0)]
        some = np.flatnonzero(grams.counts >= least)
        order = np.lexsort((*grams.words[some].T[::-1], -grams.counts[some]))[:most]
        for index in some[order]:
            yield " ".join(self.vocabulary[word] for word in grams.words[index]), int(grams.counts[index])


def count_words(captions: pa.Array, *, most: int | None = None, rare: bool = True) -> WordCounts:
    """Count the words of captions and their neighbours; a word that stands twice in a caption counts once.

    Words are runs of letters, marks, digits and apostrophes of any script, in small letters.

    Args:
        captions: The captions.
        most: How many of each ``top`` is asked for; pairs and triples that cannot be among them are left out, but for a
            few. None: all are counted.
        rare: Whether all single words are counted even so.
    """
    vocabulary, words, owners = _all_words(captions)
    with ThreadPoolExecutor(len(_SIZES)) as pool:
        grams = list(pool.map(lambda size: _counted(words, owners, size, None if rare and size == 1 else most), _SIZES))
    return WordCounts(len(captions), tuple(vocabulary.to_pylist()), *grams)


class _Words(NamedTuple):
    """The words of some captions: the different ones, sorted, the number of each [n], and whose it is [n]."""

    vocabulary: pa.Array
    numbers: NDArray[np.int32]
    owners: NDArray[np.int32]


class _Pieces(NamedTuple):
    """What some captions are cut into: words, with blanks or apostrophes around them, and how many each caption has."""

    texts: pa.Array
    counts: Counts


def _all_words(captions: pa.Array) -> _Words:
    """Return the words of all captions, those of one in a row."""
    texts, owners = [pa.array([], pa.large_string())], [np.empty(0, np.int32)]
    for start in range(0, len(captions), _PORTION):
        portion = captions.slice(start, _PORTION)
        plain = pc.string_is_ascii(portion)
        for some, cut in ((plain, _plain_pieces), (pc.invert(plain), _pieces)):
            mine = np.flatnonzero(some.to_numpy(zero_copy_only=False))
            if len(mine):
                found = cut(portion if len(mine) == len(portion) else portion.take(pa.array(mine)))
                texts.append(found.texts)
                owners.append(np.repeat((mine + start).astype(np.int32), found.counts))
    return _numbered(pa.chunked_array(texts).dictionary_encode(), np.concatenate(owners))


def _numbered(pieces: pa.ChunkedArray, owners: NDArray[np.int32]) -> _Words:
    """Return words by their numbers; what is around them is taken from each different piece once."""
    different = pieces.chunk(0).dictionary if pieces.num_chunks else pa.array([], pa.large_string())  # of all chunks
    words = pc.utf8_trim(different, _AROUND).dictionary_encode()
    order = pc.sort_indices(words.dictionary).to_numpy()
    number = np.empty(len(order), np.int32)
    number[order] = np.arange(len(order), dtype=np.int32)
    of_piece = number[words.indices.to_numpy()]
    vocabulary = words.dictionary.take(pa.array(order))
    found = np.concatenate([owners[:0], *(of_piece[chunk.indices.to_numpy()] for chunk in pieces.chunks)])
    if not len(vocabulary) or vocabulary[0].as_py():
        return _Words(vocabulary, found, owners)
    some = found > 0  # nothing is left of some pieces: that comes first in the alphabet
    return _Words(vocabulary[1:], found[some] - 1, owners[some])


def _pieces(captions: pa.Array) -> _Pieces:
    """Return what some captions are cut into."""
    spaced = pc.replace_substring_regex(pc.utf8_lower(captions), _NO_WORD, " ")
    lists = pc.ascii_split_whitespace(pc.ascii_trim_whitespace(spaced))
    return _Pieces(pc.list_flatten(lists), pc.list_value_length(lists).to_numpy())


def _plain_pieces(captions: pa.Array) -> _Pieces:
    """Return what captions of plain ASCII are cut into, by the bytes of all of them at once; nothing is copied."""
    _, raw_offsets, raw_data = captions.buffers()
    offsets = np.frombuffer(raw_offsets, np.int64)[captions.offset : captions.offset + len(captions) + 1]
    if offsets[0] == offsets[-1]:
        return _Pieces(pa.array([], pa.large_string()), np.zeros(len(captions), np.int64))
    data = raw_data[offsets[0] : offsets[-1]].to_pybytes().translate(_PLAIN + _PLAIN)
    offsets = offsets - offsets[0]
    lettered = np.frombuffer(data, np.uint8) != _BLANK
    fresh = lettered.copy()
    fresh[1:] &= ~lettered[:-1]
    first = offsets[:-1][offsets[:-1] < len(data)]
    fresh[first] = lettered[first]  # a caption's first letter begins a word, whatever ends the one before
    begins = np.append(np.flatnonzero(fresh), len(data))
    texts = pa.LargeStringArray.from_buffers(len(begins) - 1, pa.py_buffer(begins), pa.py_buffer(data))
    return _Pieces(texts, np.diff(np.searchsorted(begins[:-1], offsets)))


def _counted(words: NDArray[np.int32], owners: NDArray[np.int32], size: int, most: int | None) -> Grams:
    """Count runs of some words that stand in one caption, once a caption."""
    runs = max(len(owners) - size + 1, 0)
    if most is None:
        return _grams(words, owners, size, np.flatnonzero(owners[:runs] == owners[size - 1 :]))
    bins = [_bins(words[at:], owners[at:], size, min(runs - at, _RUNS)) for at in range(0, runs, _RUNS)]
    return _most(bins, most, partial(_grams, words, owners, size))


def _bins(words: NDArray[np.int32], owners: NDArray[np.int32], size: int, runs: int) -> NDArray[np.uint32]:
    """Return a bin for each of the first runs, by its hash; 0 for those of two captions."""
    numbers = words.view(np.uint32)
    if size == 1:
        return np.asarray(numbers[:runs] + np.uint32(1))  # a bin for each word
    hashes = numbers[:runs] * _KEYS[0]
    for step in range(1, size):
        hashes += numbers[step : step + runs] * _KEYS[step]
    hashes >>= np.uint32(_BIN_SHIFT)
    hashes += np.uint32(1)
    hashes *= owners[:runs] == owners[size - 1 : size - 1 + runs]
    return np.asarray(hashes)


def _most(bins: Sequence[NDArray[np.uint32]], most: int, count: Callable[[Counts], Grams]) -> Grams:
    """Return the counts of those runs that may be among the most frequent, and of some others.

    The runs of the fullest bins are counted one by one: what the last of the ``most`` has is what a run must have, and
    no run has more than its bin.

    Args:
        bins: The bin of each run, some at a time; 0 for what is none.
        most: How many are wanted.
        count: Counts the runs that begin at some places.
    """
    held = np.zeros(max([2 * most, *(int(some.max()) for some in bins)]) + 1, np.int64)
    for some in bins:
        held += np.bincount(some, minlength=len(held))
    held[0] = 0
    enough = _full(held, most)
    found = count(_in_bins(bins, held >= enough))
    least = int(np.partition(found.counts, -most)[-most]) if len(found.counts) >= most else 1
    return found if least >= enough else count(_in_bins(bins, held >= least))


def _in_bins(bins: Sequence[NDArray[np.uint32]], wanted: NDArray[np.bool_]) -> Counts:
    """Return which runs are in bins that are wanted."""
    found = [np.flatnonzero(wanted[some]) + number * _RUNS for number, some in enumerate(bins)]
    return np.concatenate([np.empty(0, np.int64), *found])


def _full(held: Counts, most: int) -> int:
    """Return what the fullest bins hold: twice as many as are wanted, so that one look at them may do, but not more."""
    some, few = np.partition(held, (-2 * most, -most))[[-2 * most, -most]].tolist()
    return int(max(some if np.count_nonzero(held >= some) <= 4 * most else few, 1))


def _grams(words: NDArray[np.int32], owners: NDArray[np.int32], size: int, begins: Counts) -> Grams:
    """Count runs of words, given by where they begin."""
    ids = words[begins].astype(np.int64)
    for step in range(1, size):
        _, ids = np.unique((ids << 32) | words[begins + step], return_inverse=True)
    once = np.sort((ids << 32) | owners[begins])  # np.unique hashes, and takes a hundred times as long
    fresh = np.ones(len(once), bool)
    fresh[1:] = once[1:] != once[:-1]
    counts = np.bincount(once[fresh] >> 32)
    example = np.zeros(len(counts), np.int64)
    example[ids] = begins
    return Grams(np.stack([words[example + step] for step in range(size)], axis=1), counts)
