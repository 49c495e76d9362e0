"""Candidates and measures of likeness: complete where they promise it, bounded, and blind to later rows."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fingerprints import prints_of
from tools.corpus import likeness
from tools.corpus.likeness import (
    NEIGHBOURS,
    alike_captions,
    caption_share,
    merged,
    overlap,
    overlapping,
    pairs_by_key,
    picture_candidates,
    picture_share,
)
from tools.corpus.segment_prints import caption_words


def as_set(pairs):
    return {(int(later), int(earlier)) for later, earlier in pairs}


@settings(max_examples=25, deadline=None)
@given(keys=st.lists(st.integers(0, 6), max_size=2 * NEIGHBOURS), portion=st.sampled_from([3, 1 << 20]))
def test_all_that_share_a_key_meet_where_they_are_few(keys, portion):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(likeness, "_PORTION", portion)
        found = pairs_by_key(np.array(keys, np.int64))
    assert as_set(found) == {(j, i) for i, j in combinations(range(len(keys)), 2) if keys[i] == keys[j]}
    assert found.tolist() == sorted(found.tolist())


def test_among_many_each_meets_the_first_and_the_last_before_it():
    found = as_set(pairs_by_key(np.zeros(100, np.int64)))
    assert {earlier for later, earlier in found if later == 99} == {*range(8), *range(91, 99)}
    assert len(found) < 100 * 2 * NEIGHBOURS


def test_a_segment_that_has_a_key_twice_does_not_meet_itself():
    found = pairs_by_key(np.array([5, 5, 5, 7]), np.array([0, 0, 2, 2], np.int32))
    assert as_set(found) == {(2, 0)}


SPANS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(1, 40)), min_size=2, max_size=14)


@settings(max_examples=25, deadline=None)
@given(spans=SPANS, share=st.sampled_from([0.5, 0.7, 0.9, 1.0]))
def test_overlapping_segments_of_one_video_are_all_found(spans, share):
    prints = prints_of([{"source": source, "first": first, "stop": first + count} for source, first, count in spans])
    every = np.array([(j, i) for i, j in combinations(range(len(spans)), 2)])
    same = prints.source[every[:, 0]] == prints.source[every[:, 1]]
    assert as_set(overlapping(prints, share)) == as_set(every[same & (overlap(prints, every) >= share)])


def test_the_share_of_common_frames():
    prints = prints_of([{"first": 0, "stop": 10}, {"first": 5, "stop": 15}, {"first": 20, "stop": 30}])
    assert overlap(prints, np.array([[1, 0], [2, 0], [0, 0]])).tolist() == [pytest.approx(1 / 3), 0.0, 1.0]


def flipped(hashes, bits):
    """Return hashes of which the lowest bits of the upper half are turned."""
    return [one ^ (((1 << bits) - 1) << 32) for one in hashes]


def alike_pictures(prints, share, bits):
    return [pair for pair in picture_candidates(prints) if picture_share(prints, pair, bits) >= share]


HASHES = [int(one) for one in np.random.default_rng(1).integers(0, 1 << 63, 40)]


def test_pictures_are_alike_by_share_and_bits():
    prints = prints_of(
        [
            {"source": 0, "pictures": HASHES[:10]},
            {"source": 1, "pictures": flipped(HASHES[:10], 8)},
            {"source": 2, "pictures": flipped(HASHES[:10], 12)},
            {"source": 3, "pictures": HASHES[:5] + HASHES[20:25]},
            {"source": 4, "pictures": HASHES[30:]},
            {"source": 5, "pictures": []},
            {"source": 0, "pictures": HASHES[:10]},  # the same video, so its frames are what counts
        ]
    )
    assert picture_share(prints, np.array([1, 0]), 8) == 1.0
    assert picture_share(prints, np.array([1, 0]), 7) == 0.0
    assert picture_share(prints, np.array([3, 0]), 0) == 0.5
    assert picture_share(prints, np.array([5, 0]), 20) == 0.0
    assert as_set(alike_pictures(prints, 0.6, 10)) == {(1, 0), (2, 1), (6, 1)}
    assert as_set(alike_pictures(prints, 0.5, 0)) == {(3, 0), (6, 3)}


def test_a_clip_of_more_than_twice_the_length_is_not_like():
    same = {"pictures": HASHES[:10]}
    prints = prints_of([{"source": 0, "seconds": 10.0} | same, {"source": 1, "seconds": 20.0} | same])
    assert as_set(alike_pictures(prints, 0.6, 10)) == {(1, 0)}
    prints = prints_of([{"source": 0, "seconds": 10.0} | same, {"source": 1, "seconds": 20.1} | same])
    assert as_set(alike_pictures(prints, 0.6, 10)) == set()


CAPTIONS = [
    "a brown dog runs over a green meadow in the morning sun while birds fly above the tall trees",
    "A brown dog runs over a green meadow, in the morning sun, while birds fly above the tall trees!",
    "a brown dog runs over a green meadow in the evening sun while birds fly above the tall trees",
    "two women cook soup in a small kitchen",
    "?!",
    "...",
]


def test_captions_are_alike_by_their_words():
    prints = prints_of([{"words": words} for words in caption_words([[text] for text in CAPTIONS])])
    assert not prints.words[4:].any()
    shares = caption_share(prints, np.array([[1, 0], [2, 0], [3, 0], [5, 4]]))
    assert shares[0] == 1.0
    assert 0.6 < shares[1] < 0.95  # 29 of 35 words and pairs
    assert shares[2] < 0.2
    assert shares[3] == 0.0
    assert as_set(alike_captions(prints, 0.95)) == {(1, 0)}
    assert as_set(alike_captions(prints, 0.6)) == {(1, 0), (2, 0), (2, 1)}


def test_the_estimate_is_near_the_share_of_words():
    random = np.random.default_rng(3)
    words = [f"word{number}" for number in range(400)]
    texts = [" ".join(random.permutation(words[start : start + 200])) for start in (0, 50)]
    made = caption_words([[text] for text in texts] + [[" ".join(words)]])
    prints = prints_of([{"words": one} for one in made])
    shingles = [{*text.split(), *zip(text.split(), text.split()[1:], strict=False)} for text in texts]
    true = len(shingles[0] & shingles[1]) / len(shingles[0] | shingles[1])
    assert abs(caption_share(prints, np.array([[1, 0]]))[0] - true) < 0.12


def test_pairs_are_merged_once_and_in_order():
    assert merged([np.array([[3, 1], [2, 0]]), np.array([[3, 0], [3, 1]])]).tolist() == [[2, 0], [3, 0], [3, 1]]
