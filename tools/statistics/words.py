"""In how many of some captions each word stands, and each two or three words that are neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Counts = NDArray[np.int64]

_QUOTES: Final = "'\u2019"
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
_BIN_SHIFT: Final = 14
"""Bits of a hash that are left out, so that a processor's cache holds the bins, a quarter of a million."""


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


def count_words(captions: pa.Array, *, most: int | None = None) -> WordCounts:
    """Count the words of captions and their neighbours; a word that stands twice in a caption counts once.

    Words are runs of letters, marks, digits and apostrophes of any script, in small letters.

    Args:
        captions: The captions.
        most: How many pairs and triples ``top`` is asked for; those that cannot be among them are left out. None: all
            are counted. Single words always are.
    """
    texts, owners = _all_words(captions)
    encoded = texts.dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    number = np.empty(len(order), np.int32)
    number[order] = np.arange(len(order), dtype=np.int32)
    words = number[encoded.indices.to_numpy(zero_copy_only=False)] if len(order) else np.empty(0, np.int32)
    vocabulary = tuple(encoded.dictionary.take(pa.array(order)).to_pylist())
    with ThreadPoolExecutor(len(_SIZES)) as pool:
        grams = list(pool.map(lambda size: _counted(words, owners, size, most), _SIZES))
    return WordCounts(len(captions), vocabulary, *grams)


def _all_words(captions: pa.Array) -> tuple[Any, Counts]:
    """Return the words of all captions, those of one in a row, and the number of the caption of each."""
    found, owners = [], []
    for start in range(0, len(captions), _PORTION):
        portion = captions.slice(start, _PORTION)
        plain = pc.string_is_ascii(portion)
        for some, cut in ((plain, _plain_words), (pc.invert(plain), _words)):
            mine = np.flatnonzero(some.to_numpy(zero_copy_only=False))
            if len(mine):
                words, owner = cut(portion if len(mine) == len(portion) else portion.take(pa.array(mine)))
                found.append(words)
                owners.append(mine[owner] + start)
    return pa.concat_arrays([pa.array([], pa.large_string()), *found]), np.concatenate([np.empty(0, np.int64), *owners])


def _words(captions: pa.Array) -> tuple[Any, Counts]:
    """Return the words of some captions, and the number of the caption of each."""
    spaced = pc.replace_substring_regex(pc.utf8_lower(captions), _NO_WORD, " ")
    lists = pc.ascii_split_whitespace(pc.ascii_trim_whitespace(spaced))
    return _trimmed(pc.list_flatten(lists), pc.list_parent_indices(lists).to_numpy())


def _plain_words(captions: pa.Array) -> tuple[Any, Counts]:
    """Return what ``_words`` does, of captions of plain ASCII, from the bytes of all of them at once."""
    _, raw_offsets, raw_data = captions.buffers()
    offsets = np.frombuffer(raw_offsets, np.int64)[captions.offset : captions.offset + len(captions) + 1]
    if offsets[0] == offsets[-1]:
        return pa.array([], pa.large_string()), np.empty(0, np.int64)
    data = np.frombuffer(raw_data, np.uint8)[offsets[0] : offsets[-1]]
    data = np.frombuffer(data.tobytes().translate(_PLAIN + _PLAIN), np.uint8)
    lettered = data != _BLANK
    fresh = lettered.copy()
    fresh[1:] &= ~lettered[:-1]
    first = (offsets - offsets[0])[:-1]
    first = first[first < len(data)]
    fresh[first] = lettered[first]  # a caption's first letter begins a word, whatever ends the one before
    begins = np.flatnonzero(fresh)
    owners = np.searchsorted(offsets - offsets[0], begins, side="right") - 1
    letters = np.cumsum(lettered)
    ends = np.concatenate([letters[begins] - 1, letters[-1:]])
    words = pa.LargeStringArray.from_buffers(len(begins), pa.py_buffer(ends), pa.py_buffer(data[lettered]))
    return _trimmed(words, owners) if (data == _QUOTE).any() else (words, owners)


def _trimmed(words: Any, owners: Counts) -> tuple[Any, Counts]:  # noqa: ANN401 - pyarrow has no types
    """Return words without the apostrophes at their ends, those left out of which nothing is left."""
    trimmed = pc.utf8_trim(words, _QUOTES)
    some = pc.not_equal(trimmed, "")
    return trimmed.filter(some).cast(pa.large_string()), owners[some.to_numpy(zero_copy_only=False)]


def _counted(words: NDArray[np.int32], owners: Counts, size: int, most: int | None) -> Grams:
    """Count runs of some words that stand in one caption, once a caption."""
    inside = owners[: max(len(owners) - size + 1, 0)] == owners[size - 1 :]
    begins = np.flatnonzero(inside)
    if most is not None and size > 1:
        begins = _likely(_bins(words, size)[inside], begins, most, partial(_grams, words, owners, size))
    return _grams(words, owners, size, begins)


def _bins(words: NDArray[np.int32], size: int) -> NDArray[np.uint32]:
    """Return a bin for each run of words, by its hash."""
    numbers, runs = words.view(np.uint32), max(len(words) - size + 1, 0)
    hashes = np.zeros(runs, np.uint32)
    for step in range(size):
        hashes += numbers[step : step + runs] * _KEYS[step]
    return hashes >> np.uint32(_BIN_SHIFT)


def _likely(bins: NDArray[np.uint32], begins: Counts, most: int, count: Callable[[Counts], Grams]) -> Counts:
    """Return those runs that may be among the most frequent, with all others of the same words.

    The runs of the fullest bins are counted one by one: what the last of the ``most`` has is what a run must have, and
    no run has more than its bin.
    """
    held = np.bincount(bins, minlength=most)
    of_each = held[bins]
    counts = count(begins[of_each >= np.partition(held, -most)[-most]]).counts
    least = np.partition(counts, -most)[-most] if len(counts) >= most else 1
    return begins[of_each >= least]


def _grams(words: NDArray[np.int32], owners: Counts, size: int, begins: Counts) -> Grams:
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
