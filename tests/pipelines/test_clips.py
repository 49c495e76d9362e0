"""Frame choice against the published sampling and its own invariants."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.augment import sample_rng
from pipelines.clips import (
    centred_frames,
    dense_frames,
    dense_starts,
    dense_views,
    segment_frames,
    sparse_views,
)
from tests.support.parity_cases import parity_case


def test_dense_frames_equal_the_published_walk():
    cases = parity_case("sampling_videomae_pretrain")["expected"]
    for case in cases:
        numbers = case["num_frames"], case["clip_len"], case["stride"]
        assert dense_starts(*numbers) == case["n_possible_starts"]
        assert dense_frames(*numbers, case["offset_one_based"] - 1).tolist() == case["frame_ids"]
    assert len(cases) >= 10


def test_evaluation_views_equal_the_published_ones():
    seen = set()
    for case in parity_case("sampling_videomae_eval")["expected"]:
        frames, clip, stride, views = (case[k] for k in ("num_frames", "clip_len", "stride", "test_num_segment"))
        seen.add(case["kind"])
        if case["kind"] == "test_dense":
            assert dense_views(frames, clip, stride, views).tolist() == case["views"]
        elif case["kind"] == "test_sparse":
            assert sparse_views(frames, case["num_segment"], views).tolist() == case["views"]
        else:
            assert centred_frames(frames, clip, stride).tolist() == case["fetched_frames"]
    assert seen == {"test_dense", "test_sparse", "validation"}


def test_a_generator_draws_every_start_about_as_often():
    starts = Counter(int(dense_frames(70, 16, 4, sample_rng(1, 0, sample))[0]) for sample in range(2100))
    assert sorted(starts) == list(range(7))
    assert max(starts.values()) < 1.3 * 300
    assert min(starts.values()) > 0.7 * 300


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 400), st.integers(1, 40), st.integers(1, 9), st.integers(1, 6), st.integers(0, 2**40))
def test_every_choice_stays_inside_the_video_and_in_order(frames, clip, stride, views, sample):
    def rng():
        return sample_rng(3, 1, sample)

    choices = [
        dense_frames(frames, clip, stride, rng()),
        centred_frames(frames, clip, stride),
        segment_frames(frames, clip, rng()),
        segment_frames(frames, clip, None),
        *dense_views(frames, clip, stride, views),
        *sparse_views(frames, clip, views),
    ]
    for ids in choices:
        assert ids.dtype == np.int64
        assert ids.shape == (clip,)
        assert ids.min() >= 0
        assert ids.max() < frames
        assert (np.diff(ids) >= 0).all()


def test_segments_take_one_frame_each():
    assert segment_frames(32, 8, None).tolist() == [1, 5, 9, 13, 17, 21, 25, 29]
    drawn = {tuple(segment_frames(32, 8, sample_rng(0, 0, sample)) // 4) for sample in range(50)}
    assert drawn == {tuple(range(8))}
    assert {int(segment_frames(32, 8, sample_rng(0, 0, sample))[0]) for sample in range(100)} == {0, 1, 2, 3}


def test_one_dense_view_is_the_middle_one():
    assert dense_views(100, 4, 5, 1).tolist() == [[40, 45, 50, 55]]


@pytest.mark.parametrize("numbers", [(0, 16, 4), (10, 0, 4), (10, 16, 0)])
def test_numbers_that_make_no_clip_are_named(numbers):
    with pytest.raises(ValueError, match="must be at least 1"):
        dense_frames(*numbers, 0)


def test_a_start_outside_the_video_is_named():
    with pytest.raises(ValueError, match="start 10 is outside a video of 10 frames"):
        dense_frames(10, 4, 1, 10)
