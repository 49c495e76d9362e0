"""Words and their neighbours are counted as plain Python would, caption by caption."""

from __future__ import annotations

import re
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.statistics import words
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


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "c", "d", "e", "é"]), max_size=9).map(" ".join), max_size=30),
    st.data(),
)
def test_what_cannot_be_among_the_most_frequent_may_be_left_out(captions, data):
    most = data.draw(st.integers(1, 12))
    texts = pa.array(captions, pa.large_string())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "_RUNS", data.draw(st.integers(1, 40)))
        all_of_them, some = count_words(texts), count_words(texts, most=most, rare=data.draw(st.booleans()))
    for name in ("singles", "pairs", "triples"):
        assert list(some.top(getattr(some, name), most)) == list(all_of_them.top(getattr(all_of_them, name), most))


def test_rare_pairs_are_left_out_and_captions_of_many_scripts_keep_theirs():
    captions = pa.array([*(f"word{n} other{n}" for n in range(500)), *["ein Hund läuft", "a dog's"] * 9, "'' 狗"])
    found = count_words(captions.cast(pa.large_string()), most=3)
    assert len(found.pairs.counts) < 100 < len(found.singles.counts)
    assert list(found.top(found.pairs, 3)) == [("a dog's", 9), ("ein hund", 9), ("hund läuft", 9)]
    assert dict(found.top(found.singles, 2000))["狗"] == 1
    few = count_words(captions.cast(pa.large_string()), most=3, rare=False)
    assert len(few.singles.counts) < 100
    assert list(few.top(few.singles, 3)) == list(found.top(found.singles, 3))


def test_a_word_is_one_whatever_stands_around_it():
    captions = ["dog, cat", "dog", "  'dog'... ", "", "dog\t\n", "''", "CAT'dog", "dog\u2019"] * 600
    found = count_words(pa.array(captions, pa.large_string()))
    assert found.vocabulary == ("cat", "cat'dog", "dog")
    assert list(found.top(found.singles, 9)) == [("dog", 3000), ("cat", 600), ("cat'dog", 600)]
    assert list(found.top(found.pairs, 9)) == [("dog cat", 600)]
