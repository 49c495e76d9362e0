"""In how many of some captions each word stands, and each two or three words that are neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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
_PORTION: Final = 20_000
"""Captions that are cut into words at once."""


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


def count_words(captions: pa.Array) -> WordCounts:
    """Count the words of captions and their neighbours; a word that stands twice in a caption counts once.

    Words are runs of letters, marks, digits and apostrophes of any script, in small letters.
    """
    texts, owners = _all_words(captions)
    encoded = texts.dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    number = np.empty(len(order), np.int32)
    number[order] = np.arange(len(order), dtype=np.int32)
    words = number[encoded.indices.to_numpy(zero_copy_only=False)] if len(order) else np.empty(0, np.int32)
    vocabulary = tuple(encoded.dictionary.take(pa.array(order)).to_pylist())
    grams = list(_all_grams(words, owners))
    return WordCounts(len(captions), vocabulary, *grams)


def _all_words(captions: pa.Array) -> tuple[Any, Counts]:
    """Return the words of all captions in a row, and the number of the caption of each."""
    found, owners = [], []
    for start in range(0, len(captions), _PORTION):
        portion = captions.slice(start, _PORTION)
        spaced = pc.replace_substring_regex(pc.utf8_lower(portion), _NO_WORD, " ")
        lists = pc.ascii_split_whitespace(pc.ascii_trim_whitespace(spaced))
        words = pc.utf8_trim(pc.list_flatten(lists), _QUOTES)
        owner = pc.list_parent_indices(lists).to_numpy() + start
        some = pc.not_equal(words, "")
        found.append(words.filter(some).cast(pa.large_string()))
        owners.append(owner[some.to_numpy(zero_copy_only=False)])
    return pa.concat_arrays([pa.array([], pa.large_string()), *found]), np.concatenate([np.empty(0, np.int64), *owners])


def _all_grams(words: NDArray[np.int32], owners: Counts) -> Iterator[Grams]:
    """Count words, pairs and triples that stand in one caption, once a caption."""
    ids = words.astype(np.int64)
    begins = np.arange(len(words))
    for size in _SIZES:
        if size > 1:
            last = np.minimum(begins + size - 1, len(words) - 1)
            inside = np.flatnonzero((owners[begins] == owners[last]) & (begins + size <= len(words)))
            begins, ids = begins[inside], ids[inside]
            _, ids = np.unique((ids << 32) | words[begins + size - 1], return_inverse=True)
        yield _grams(ids, begins, words, owners, size)


def _grams(ids: Counts, begins: Counts, words: NDArray[np.int32], owners: Counts, size: int) -> Grams:
    """Count runs of words, given by a number for each run and by where it begins."""
    once = np.sort((ids << 32) | owners[begins])  # np.unique hashes, and takes a hundred times as long
    fresh = np.ones(len(once), bool)
    fresh[1:] = once[1:] != once[:-1]
    counts = np.bincount(once[fresh] >> 32)
    example = np.zeros(len(counts), np.int64)
    example[ids] = begins
    return Grams(np.stack([words[example + step] for step in range(size)], axis=1), counts)
