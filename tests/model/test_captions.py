"""Settings of writing, empty results, and single steps against the whole forward pass."""

from __future__ import annotations

import math

import pytest
import torch

from model.captions import Captions, CaptionSteps, Generation
from tests.support.tiny_captions import IDS, PADDING, START, tiny_clips, tiny_model


def steps(model=None, clips=None, **settings):
    return CaptionSteps(
        model or tiny_model(9), tiny_clips() if clips is None else clips, Generation(max_tokens=8, **IDS, **settings)
    )


@torch.no_grad()
def test_each_step_gives_what_the_whole_text_gives():
    model, clips = tiny_model(9), tiny_clips()
    growing, ids = steps(model, clips), torch.tensor([[START, 2, 3, 2, 7], [START, 3, 3, 8, 5], [START, 5, 2, 6, 8]])
    scores = model.captioner(clips, model.text(ids).tokens).log_softmax(dim=-1)
    for place in range(5):
        found = growing.advance(ids[:, place])
        allowed = [token for token in range(9) if token not in (START, PADDING)]
        torch.testing.assert_close(found[:, allowed], scores[:, place, allowed], atol=1e-5, rtol=1e-5)
        assert bool((found[:, [START, PADDING]] == -math.inf).all())


@torch.no_grad()
def test_reordered_texts_go_on_with_their_own_past_and_clip():
    model, clips = tiny_model(9), tiny_clips()
    growing = steps(model, clips)
    growing.advance(torch.full((3,), START))
    growing.reorder([0, 0, 2, 2], [0, 2])
    growing.advance(torch.tensor([2, 3, 2, 3]))
    growing.reorder([1, 0, 3, 3])
    found = growing.advance(torch.tensor([5, 6, 7, 8]))
    whole = torch.tensor([[START, 3, 5], [START, 2, 6], [START, 3, 7], [START, 3, 8]])
    expected = model.captioner(clips[[0, 0, 2, 2]], model.text(whole).tokens)[:, -1].log_softmax(dim=-1)
    torch.testing.assert_close(found[:, 2:], expected[:, 2:], atol=1e-5, rtol=1e-5)


def test_lower_precision_gives_log_probabilities_in_float32():
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        growing = steps()
        growing.advance(torch.full((3,), START))
        found = growing.advance(torch.full((3,), 2))
    assert found.dtype == torch.float32
    assert bool((found[:, 2:].exp().sum(dim=-1) <= 1.0).all())


@torch.no_grad()
def test_ids_that_the_tokeniser_lacks_are_never_written():
    found = steps(vocabulary=7).advance(torch.full((3,), START))
    assert bool((found[:, 7:] == -math.inf).all())
    assert bool(found[:, 2:7].isfinite().all())
    with pytest.raises(ValueError, match="vocabulary is 10: the caption decoder scores 9 ids"):
        steps(vocabulary=10)


def test_empty_captions_have_no_score():
    assert Captions.empty(2) == Captions([[], []], [-math.inf] * 2, [False, False])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "best"}, "kind is 'best': one of greedy, beam, nucleus"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"beams": 0}, "beams is 0"),
        ({"top_p": 0.0}, r"top_p is 0.0"),
        ({"top_p": 1.1}, r"top_p is 1.1"),
        ({"temperature": 0.0}, r"temperature is 0.0"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"length_penalty": math.nan}, "length_penalty is nan"),
        ({"end_id": 49406}, "the end must be another id"),
        ({"end_id": 0}, "the end must be another id"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Generation(**changes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "start_id is 49406: the vocabulary has the ids 0 to 8"),
        ({**IDS, "end_id": 9}, "end_id is 9"),
        ({**IDS, "padding_id": -1}, "padding_id is -1"),
        ({**IDS, "max_tokens": 12}, "max_tokens is 12 and the text tower's context 12.* at most 11"),
    ],
)
def test_settings_that_do_not_fit_the_model_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CaptionSteps(tiny_model(9), tiny_clips(), Generation(**settings))


def test_a_model_without_decoder_and_clips_of_another_width_are_refused():
    bare = tiny_model()
    bare.captioner = None
    with pytest.raises(ValueError, match="no caption decoder"):
        steps(bare)
    with pytest.raises(ValueError, match=r"tokens have shape \(3, 7, 9\)"):
        steps(clips=torch.zeros(3, 7, 9))
