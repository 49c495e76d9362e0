"""Beam search against all captions that exist, its scores, its width, and what it computes."""

from __future__ import annotations

import pytest
import torch

from model.beams import _Beam, _best, _Candidate, _Search, beam_search
from model.captions import CaptionSteps, Generation
from model.generation import generate
from tests.support.tiny_captions import END, IDS, best_caption, log_probability, tiny_clips, tiny_model

WORDS = [2, 3]
"""The ids that are neither start, end nor padding, of a vocabulary of five."""


def settings(**changes):
    return Generation(**{"kind": "beam", "max_tokens": 4, "beams": 64, **IDS, **changes})


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0, -1.0])
@pytest.mark.parametrize("end_bias", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(3, 6))
def test_with_beams_enough_the_best_of_all_captions_is_found(seed, end_bias, penalty):
    model, clips = tiny_model(seed=seed, end_bias=end_bias), tiny_clips(seed=seed + 1)
    found = generate(model, clips, settings(length_penalty=penalty))
    for clip, ids, ended in zip(clips, found.ids, found.ended, strict=True):
        assert (ids, ended) == best_caption(model, clip, WORDS, 4, penalty)


@pytest.mark.parametrize("beams", [1, 2, 3, 64])
def test_scores_are_the_sums_of_log_probabilities(beams):
    model, clips = tiny_model(9, end_bias=1.5), tiny_clips(6)
    found = generate(model, clips, settings(beams=beams, max_tokens=6))
    for clip, ids, score, ended in zip(clips, found.ids, found.scores, found.ended, strict=True):
        assert score == pytest.approx(log_probability(model, clip, ids, ended=ended), abs=1e-4)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("end_bias", [0.0, 2.0])
def test_one_beam_is_greedy_and_many_are_no_worse(seed, end_bias, penalty):
    model, clips = tiny_model(9, seed=seed, end_bias=end_bias), tiny_clips(6)
    greedy = generate(model, clips, settings(kind="greedy", max_tokens=6))
    assert generate(model, clips, settings(beams=1, max_tokens=6, length_penalty=penalty)).ids == greedy.ids
    wide = generate(model, clips, settings(beams=3000, max_tokens=4, length_penalty=0.0))
    short = generate(model, clips, settings(kind="greedy", max_tokens=4))
    assert all(mine >= other - 1e-5 for mine, other in zip(wide.scores, short.scores, strict=True))


def test_more_beams_find_what_greed_misses():
    """Somewhere the likeliest first token does not begin the likeliest caption; else nothing here was searched."""
    better = 0
    for seed in range(6):
        model, clips = tiny_model(seed=seed), tiny_clips(6)
        wide = generate(model, clips, settings(length_penalty=0.0))
        greedy = generate(model, clips, settings(kind="greedy"))
        better += sum(mine > other + 1e-3 for mine, other in zip(wide.scores, greedy.scores, strict=True))
    assert better > 0


@pytest.mark.parametrize("beams", [2, 5])
def test_clips_are_searched_each_for_itself(beams):
    model, clips = tiny_model(9, end_bias=1.5), tiny_clips(5)
    together = generate(model, clips, settings(beams=beams, max_tokens=8))
    for number, clip in enumerate(clips):
        alone = generate(model, clip[None], settings(beams=beams, max_tokens=8))
        assert alone.ids == together.ids[number : number + 1]
        assert alone.scores[0] == pytest.approx(together.scores[number], abs=1e-4)


def plain_search(model, clip, beams, most, penalty):
    """The same search by whole forward passes over lists of captions, without bounds or caches."""
    running, finished = [([], 0.0)], []
    for _ in range(most):
        grown = [
            (ids, token, log_probability(model, clip, [*ids, *([] if token == END else [token])], ended=token == END))
            for ids, _ in running
            for token in (2, 3, END, 5, 6)
        ]
        grown.sort(key=lambda candidate: -candidate[2])
        finished += [(ids, score, True) for ids, token, score in grown[:beams] if token == END]
        running = [([*ids, token], score) for ids, token, score in grown if token != END][:beams]
        if len(finished) >= beams:
            running = []
            break
    finished += [(ids, score, False) for ids, score in running]
    return max(finished, key=lambda caption: caption[1] / (len(caption[0]) + caption[2]) ** penalty)[0]


@pytest.mark.parametrize(("penalty", "end_bias"), [(0.0, 1.0), (1.0, 1.5), (1.0, 2.0), (-1.0, 1.0)])
@pytest.mark.parametrize("beams", [2, 3])
def test_narrow_search_is_the_plain_one(beams, penalty, end_bias):
    model, clips = tiny_model(7, end_bias=end_bias, seed=4), tiny_clips(4)
    found = generate(model, clips, settings(beams=beams, max_tokens=5, length_penalty=penalty))
    assert found.ids == [plain_search(model, clip, beams, 5, penalty) for clip in clips]


def search(score, *, penalty, best=-2.0, length=2):
    """Return a search of at most 4 tokens with one finished caption of 2 tokens and one that grows."""
    found = _Search(0, settings(beams=3, length_penalty=penalty), [_Beam([2] * length, score)])
    found.finish(_Beam([2], best, ended=True))
    return found


@pytest.mark.parametrize(
    ("score", "penalty", "over"),
    [
        (-1.9, 0.0, False),  # may stay above -2
        (-2.1, 0.0, True),
        (-3.9, 1.0, False),  # -3.9 over 4 tokens is above -2 over 2, though over 3 it is not
        (-4.1, 1.0, True),
        (-1.3, -1.0, False),  # -1.3 times 3 tokens is above -2 times 2, though times 4 it is not
        (-1.4, -1.0, True),
    ],
)
def test_a_search_is_over_when_no_length_can_make_a_growing_caption_the_best(score, penalty, over):
    assert search(score, penalty=penalty).is_over() == over


def test_a_caption_takes_the_place_of_one_that_ends():
    """Of four candidates two end: the two others fill both beams, and an end behind the second is passed over."""
    found = _Search(0, settings(beams=2))
    ranked = [(-1.0, END), (-2.0, 2), (-3.0, END), (-4.0, 3)]
    found.take([_Candidate(score, 0, token) for score, token in ranked])
    assert [beam.ids for beam in found.running] == [[2], [3]]
    assert (found.finished, found.best.ids, found.best.score) == (1, [], -1.0)


def test_candidates_are_enough_to_fill_all_beams_with_captions_that_go_on():
    gains = torch.tensor([[-9.0, -9.0, -2.0, -3.0, -1.0], [-9.0, -9.0, -4.0, -5.0, -1.5]])
    running = _Search(0, settings(beams=2), [_Beam([2], 0.0), _Beam([3], 0.0, row=1)])
    (found,) = _best(gains, [running], 2)
    assert [(c.score, c.row, c.token) for c in found] == [(-1.0, 0, END), (-1.5, 1, END), (-2.0, 0, 2), (-3.0, 0, 3)]


def test_longer_captions_win_with_a_larger_penalty():
    model, clips = tiny_model(9), tiny_clips(6)
    lengths = [
        sum(len(ids) for ids in generate(model, clips, settings(max_tokens=5, length_penalty=penalty)).ids)
        for penalty in (-2.0, 0.0, 3.0)
    ]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_clips_that_are_over_are_computed_no_further(monkeypatch):
    rows = []
    plain = CaptionSteps.advance

    def advance(steps, ids):
        rows.append(len(ids))
        return plain(steps, ids)

    monkeypatch.setattr(CaptionSteps, "advance", advance)
    model, clips = tiny_model(9, end_bias=1.5), tiny_clips(6)
    narrow = settings(beams=2, max_tokens=11)
    together = generate(model, clips, narrow)
    counted, rows[:] = list(rows), []
    for clip in clips:
        generate(model, clip[None], narrow)
    assert counted[0] == 6
    assert sum(counted) == sum(rows)
    assert len(set(counted[1:])) > 1, "all clips were over at once: this shows nothing"
    assert any(together.ended)


def test_a_vocabulary_without_words_gives_empty_captions():
    model = tiny_model()
    with torch.no_grad():
        steps = CaptionSteps(model, tiny_clips(), settings(start_id=2, padding_id=3))
        steps._never = torch.tensor([0, 1, 2, 3])
        found = beam_search(steps, settings(start_id=2, padding_id=3))
    assert found.ids == [[], [], []]
    assert all(found.ended)
