"""Published names follow from ours and back, and the captioner's constants are checked and written."""

from __future__ import annotations

import pytest
import torch

from model.published_names import (
    check_constants,
    own_name,
    published_constants,
    reference_name,
    to_own_names,
    to_published_names,
)
from tests.support.tiny_networks import tiny_weights


@pytest.mark.parametrize(
    ("ours", "published"),
    [
        ("logit_scale", "clip.logit_scale"),
        ("video.visual.conv1.weight", "clip.visual.conv1.weight"),
        ("video.visual_ln_post.bias", "clip.visual_ln_post.bias"),
        ("video.visual_proj", "clip.visual_proj"),
        ("text.transformer.resblocks.0.ln_1.bias", "clip.transformer.resblocks.0.ln_1.bias"),
        ("text.text_mask_embedding", "clip.text_mask_embedding"),
        ("captioner.predictor.0.weight", "caption_decoder.predictor.0.weight"),
    ],
)
def test_names_of_the_whole_model(ours, published):
    assert reference_name("mm_full", ours) == published
    assert own_name("mm_full", published) == ours


@pytest.mark.parametrize(
    ("ours", "published"),
    [
        ("vqa_classifier.1.weight", "vqa_classifier.1.weight"),
        ("vqa_classifier.2.bias", "vqa_classifier.2.bias"),
        ("text.token_embedding.weight", "clip.token_embedding.weight"),
        ("video.visual.ln_pre.bias", "clip.visual.ln_pre.bias"),
        ("captioner.visual_queries", "caption_decoder.visual_queries"),
    ],
)
def test_names_of_question_answering(ours, published):
    assert reference_name("mm_vqa", ours) == published
    assert own_name("mm_vqa", published) == ours


def test_other_kinds_keep_their_names():
    assert reference_name("videomae_pretrain", "encoder.norm.bias") == "encoder.norm.bias"
    assert own_name("clip_text", "ln_final.bias") == "ln_final.bias"
    assert own_name("clip_text", "logit_scale") is None


@pytest.mark.parametrize(
    ("kind", "home"), [("caption_decoder", ""), ("mm_full", "caption_decoder."), ("mm_vqa", "caption_decoder.")]
)
def test_constants_go_out_and_come_in(kind, home):
    ours = tiny_weights(kind)
    published = to_published_names(kind, ours)
    added = published.keys() - {reference_name(kind, name) for name in ours}
    layers = [f"{home}multimodal_layers.{i}" for i in range(2)]
    assert added == {
        f"{home}visual_attn_pooler.norm.beta",
        f"{home}visual_attn_pooler.context_norm.beta",
        *(f"{layer}.{half}.fn.norm.beta" for layer in layers for half in range(2)),
        *(f"{layer}.0.fn.rotary_emb.inv_freq" for layer in layers),
    }
    frequencies = published[f"{home}multimodal_layers.1.0.fn.rotary_emb.inv_freq"]
    torch.testing.assert_close(frequencies, 10000.0 ** (-torch.arange(8) / 8))
    assert not any(published[name].any() for name in added if name.endswith("beta"))
    back = to_own_names(kind, published)
    assert back.keys() == ours.keys()
    assert all(torch.equal(back[name], value) for name, value in ours.items())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("visual_attn_pooler.norm.beta", torch.ones(64), "does not hold the constant"),
        ("multimodal_layers.0.0.fn.rotary_emb.inv_freq", torch.ones(8), "does not hold the constant"),
        ("multimodal_layers.0.0.fn.rotary_emb.inv_freq", torch.ones(4), r"has shape \(4,\), \(8,\) is taken"),
        ("multimodal_layers.9.0.fn.norm.beta", torch.zeros(64), "constant of no layer"),
    ],
)
def test_other_constants_are_refused(name, value, message):
    published = to_published_names("caption_decoder", tiny_weights("caption_decoder")) | {name: value}
    with pytest.raises(ValueError, match=message):
        check_constants("caption_decoder", published)


def test_networks_without_a_captioner_have_no_constants():
    towers = {name: value for name, value in tiny_weights("mm_full").items() if not name.startswith("captioner.")}
    assert published_constants("mm_full", towers) == {}
    assert published_constants("uniformerv2", tiny_weights("uniformerv2")) == {}
