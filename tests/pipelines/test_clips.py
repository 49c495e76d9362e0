"""Frame choice against the published sampling and its own invariants."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.augment import sample_rng
from pipelines.clips import (
    bin_frames,
    centred_frames,
    dense_frames,
    dense_starts,
    dense_views,
    even_frames,
    segment_frames,
    segment_views,
    span_frames,
    sparse_views,
    stretch,
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
        *segment_views(frames, clip, views),
        stretch(bin_frames(frames, clip, rng()), clip),
        stretch(bin_frames(frames, clip, None), clip),
        *dense_views(frames, clip, stride, views),
        *sparse_views(frames, clip, views),
    ]
    for ids in choices:
        assert ids.dtype == np.int64
        assert ids.shape == (clip,)
        assert ids.min() >= 0
        assert ids.max() < frames
        assert (np.diff(ids) >= 0).all()


def drawn(choose, draws: int) -> np.ndarray:
    return np.stack([choose(sample_rng(0, 0, sample)) for sample in range(draws)])


def test_segments_share_their_ends():
    draws = drawn(lambda rng: segment_frames(33, 8, rng), 200)
    assert draws.min(axis=0).tolist() == [0, 4, 8, 12, 16, 20, 24, 28]
    assert draws.max(axis=0).tolist() == [4, 8, 12, 16, 20, 24, 28, 32]


def test_borders_of_segments_are_rounded_to_even():
    assert segment_views(100, 8, 3)[0].tolist() == [3, 15, 28, 40, 53, 65, 77, 90]
    draws = drawn(lambda rng: segment_frames(5, 8, rng), 200)
    assert draws.min(axis=0).tolist() == [0, 0, 1, 2, 2, 2, 3, 4]
    assert draws.max(axis=0).tolist() == [0, 1, 2, 2, 2, 3, 4, 4]


def test_every_frame_of_a_segment_is_drawn_about_as_often():
    counts = Counter(drawn(lambda rng: segment_frames(9, 2, rng), 1000)[:, 1].tolist())
    assert sorted(counts) == [4, 5, 6, 7, 8]
    assert 150 < min(counts.values()) <= max(counts.values()) < 250


def test_views_of_segments_move_through_them():
    assert segment_views(100, 4, 1).tolist() == [[12, 37, 62, 86]]
    first, second, third = segment_views(401, 4, 3).tolist()
    assert first == [25, 125, 225, 325]
    assert second == [50, 150, 250, 350]
    assert third == [75, 175, 275, 375]


def test_bins_share_no_frame_and_a_draw_leaves_out_their_last():
    assert bin_frames(32, 8, None).tolist() == [1, 5, 9, 13, 17, 21, 25, 29]
    draws = drawn(lambda rng: bin_frames(32, 8, rng), 200)
    assert draws.min(axis=0).tolist() == [0, 4, 8, 12, 16, 20, 24, 28]
    assert draws.max(axis=0).tolist() == [2, 6, 10, 14, 18, 22, 26, 30]


@pytest.mark.parametrize("frames", [1, 5, 8])
def test_a_short_video_gives_every_frame_once_and_is_stretched(frames):
    for rng in (None, sample_rng(0, 0, 3)):
        ids = bin_frames(frames, 8, rng)
        assert ids.tolist() == list(range(frames))
        repeats = Counter(stretch(ids, 8).tolist())
        assert sum(repeats.values()) == 8
        assert max(repeats.values()) - min(repeats.values()) <= 1


def test_one_frame_is_every_frame_of_a_clip():
    rng = sample_rng(0, 0, 0)
    assert segment_frames(1, 4, rng).tolist() == [0, 0, 0, 0]
    assert segment_views(1, 4, 2).tolist() == [[0, 0, 0, 0]] * 2
    assert stretch(bin_frames(1, 4, rng), 4).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("count", [0, 5])
def test_frames_that_cannot_be_stretched_are_counted(count):
    with pytest.raises(ValueError, match=f"{count} frames cannot be stretched to 4"):
        stretch(np.arange(count), 4)


def test_one_dense_view_is_the_middle_one():
    assert dense_views(100, 4, 5, 1).tolist() == [[40, 45, 50, 55]]


@pytest.mark.parametrize("numbers", [(0, 16, 4), (10, 0, 4), (10, 16, 0)])
def test_numbers_that_make_no_clip_are_named(numbers):
    with pytest.raises(ValueError, match="must be at least 1"):
        dense_frames(*numbers, 0)


def test_segments_and_bins_of_nothing_are_named():
    rng = sample_rng(0, 0, 0)
    for choose in (lambda *n: segment_frames(*n, rng), lambda *n: segment_views(*n, 1), lambda *n: bin_frames(*n, rng)):
        for numbers in ((0, 4), (4, 0)):
            with pytest.raises(ValueError, match="must be at least 1"):
                choose(*numbers)
    with pytest.raises(ValueError, match="views 0"):
        segment_views(4, 4, 0)


def test_a_start_outside_the_video_is_named():
    with pytest.raises(ValueError, match="start 10 is outside a video of 10 frames"):
        dense_frames(10, 4, 1, 10)


@pytest.mark.parametrize("num_frames", [1, 3, 17, 64, 65, 66, 300])
def test_spans_are_the_middle_one_moved(num_frames: int):
    middle = centred_frames(num_frames, 16, 4)
    drawn = [span_frames(num_frames, 16, 4, sample_rng(0, 0, n)) for n in range(1500)]
    starts = {int(ids[0]) for ids in drawn}
    assert starts == set(range(max(1, num_frames - 64))), "the last start leaves one frame out, as the published does"
    for ids in drawn[:50]:
        assert (ids - ids[0]).tolist() == (middle - middle[0]).tolist()
        assert ids[-1] < num_frames


def test_even_frames_have_both_ends():
    assert even_frames(10, 4).tolist() == [0, 3, 6, 9]
    assert even_frames(2, 4).tolist() == [0, 0, 0, 1]
    assert even_frames(9, 1).tolist() == [0]
