"""The contrastive and captioning model: one space for clips, images and texts, its temperature, what is left out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from model.clip_config import VideoTextConfig
from model.video_text import VideoTextModel
from tests.support.video_text import TINY, build, texts


def clips(count=2, frames=3, height=16, width=16):
    return torch.randn(count, 3, frames, height, width, generator=torch.Generator().manual_seed(2))


def test_towers_and_decoder_read_what_belongs_to_them():
    model, video, ids = build(VideoTextModel), clips(), texts(2)
    features = model(video, ids)
    seen, read = model.encode_video(video), model.encode_text(ids)
    torch.testing.assert_close(features.video, seen.embedded)
    torch.testing.assert_close(features.text, read.embedded)
    torch.testing.assert_close(features.video_tokens.view_as(seen.tokens), seen.tokens)
    torch.testing.assert_close(features.text_tokens, read.tokens)
    assert model.captioner(features.video_tokens, features.text_tokens[:, :-1]).shape == (2, 7, 30)


def test_without_a_decoder_the_same_is_found_and_tokens_are_left_out():
    with_decoder, bare = build(VideoTextModel), VideoTextModel(replace(TINY, captioner=None)).eval()
    weights = {name: value for name, value in with_decoder.state_dict().items() if not name.startswith("captioner.")}
    bare.load_state_dict(weights)
    expected, found = with_decoder(clips(), texts(2)), bare(clips(), texts(2))
    torch.testing.assert_close(found.video, expected.video)
    torch.testing.assert_close(found.text, expected.text)
    assert found.video_tokens is found.text_tokens is None


@pytest.mark.parametrize("captions", [True, False])
def test_hidden_tokens_change_the_text_alone(captions):
    model = build(VideoTextModel, TINY if captions else replace(TINY, captioner=None))
    hidden = torch.zeros(2, 8, dtype=torch.bool)
    plain, same = model(clips(), texts(2)), model(clips(), texts(2), hidden=hidden)
    torch.testing.assert_close(same.text, plain.text)
    hidden[0, 1] = True
    other = model(clips(), texts(2), hidden=hidden)
    torch.testing.assert_close(other.video, plain.video)
    torch.testing.assert_close(other.text[1], plain.text[1])
    assert (other.text[0] - plain.text[0]).abs().max() > 1e-3


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 16, 16), (5, 16, 16), (2, 24, 16)])
def test_images_and_clips_of_other_lengths_and_shapes(frames, height, width):
    model = build(VideoTextModel)
    features = model(clips(2, frames, height, width), texts(2))
    assert features.video.shape == features.text.shape == (2, 10)
    assert features.video_tokens.shape == (2, frames * (1 + height * width // 64), 24)


@pytest.mark.parametrize(("before", "after"), [(5.0, math.log(100)), (-0.5, 0.0), (3.0, 3.0)])
def test_the_factor_is_clamped_in_place_on_both_sides(before, after):
    model = build(VideoTextModel)
    place = model.logit_scale.data_ptr()
    with torch.no_grad():
        model.logit_scale.fill_(before)
    model(clips(), texts(2))
    assert model.logit_scale.item() == pytest.approx(after)
    assert model.logit_scale.data_ptr() == place
    assert model.logit_scale.requires_grad


def test_the_factor_starts_at_a_temperature_of_seven_hundredths():
    assert VideoTextModel(TINY).logit_scale.exp().item() == pytest.approx(1 / 0.07)


def test_gradients_reach_both_towers_and_the_decoder():
    model = build(VideoTextModel)
    features = model(clips(), texts(2))
    scores = model.captioner(features.video_tokens, features.text_tokens[:, :-1])
    (features.video.sum() + features.text.sum() + scores.square().mean()).backward()
    without = {name for name, each in model.named_parameters() if each.grad is None or not each.grad.any()}
    assert without == {"logit_scale", "text.text_mask_embedding"}


def test_recomputing_blocks_gives_the_same_gradients():
    plain = build(VideoTextModel)
    towers = {name: replace(getattr(TINY, name), checkpoint_blocks=True) for name in ("video", "text", "captioner")}
    again = VideoTextModel(VideoTextConfig(**towers)).eval()
    again.load_state_dict(plain.state_dict())
    for model in (plain, again):
        features = model(clips(), texts(2))
        scores = model.captioner(features.video_tokens, features.text_tokens)
        (features.video.sum() + features.text.sum() + scores.square().mean()).backward()
    for (name, ours), expected in zip(again.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, expected.grad, msg=name)


def test_lower_precision_stays_near():
    model = build(VideoTextModel)
    exact = model(clips(), texts(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(clips(), texts(2))
    torch.testing.assert_close(rough.video.float(), exact.video, atol=0.1, rtol=0.1)
    torch.testing.assert_close(rough.text.float(), exact.text, atol=0.1, rtol=0.1)


def test_other_numbers_of_clips_and_texts_are_refused():
    with pytest.raises(ValueError, match="2 clips and 3 texts"):
        build(VideoTextModel)(clips(2), texts(3))
