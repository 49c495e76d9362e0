"""Words and their neighbours are counted as plain Python would, caption by caption."""

from __future__ import annotations

import re
from collections import Counter

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.statistics.words import count_words

WORDS = st.sampled_from(
    ["a", "Dog", "dog", "dog's", "'quoted'", "12", "naïve", "狗 跑", "x-y", "!", "", "\t", "\u2019"]
)


def recount(captions, size):
    found = Counter()
    for caption in captions:
        words = [word.strip("'\u2019") for word in re.findall(r"[\w'\u2019]+", caption.lower().replace("_", " "))]
        words = [word for word in words if word]
        found.update({" ".join(words[at : at + size]) for at in range(len(words) - size + 1)})
    return found


@settings(deadline=None, max_examples=80)
@given(st.lists(st.lists(WORDS, max_size=8).map(" ".join), max_size=12))
def test_as_python_counts_them(captions):
    found = count_words(pa.array(captions, pa.large_string()))
    assert found.captions == len(captions)
    for size, grams in ((1, found.singles), (2, found.pairs), (3, found.triples)):
        assert dict(found.top(grams, 10_000)) == dict(recount(captions, size))


def test_the_most_frequent_come_first_and_alike_ones_by_the_alphabet():
    captions = pa.array(["b a", "c a", "a a", "d"], pa.large_string())
    found = count_words(captions)
    assert list(found.top(found.singles, 3)) == [("a", 3), ("b", 1), ("c", 1)]
    assert list(found.top(found.pairs, 9)) == [("a a", 1), ("b a", 1), ("c a", 1)]


def test_no_captions():
    found = count_words(pa.array([], pa.large_string()))
    assert (found.captions, found.vocabulary, list(found.top(found.triples, 5))) == (0, (), [])
