"""Configurations read off shapes: what is told, what is taken by custom, what has to be given."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.config import PRESETS, VideoMAEConfig
from model.inferred_configs import infer_config
from model.kinds import build_network
from tests.support.tiny_networks import CONFIGS, tiny_weights

GIVEN = {
    "videomae_pretrain": {"image_size": [16, 24], "frames": 4},
    "videomae_classifier": {"image_size": [16, 24], "frames": 4},
    "uniformerv2": {"frames": 4},
    "clip_text": {},
    "mm_video_encoder": {"frames": 4},
    "caption_decoder": {},
    "mm_full": {"video": {"frames": 4}},
    "mm_vqa": {"video": {"frames": 4}},
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_shapes_tell_all_but_what_is_given(kind):
    assert infer_config(kind, tiny_weights(kind), GIVEN[kind]).config == CONFIGS[kind]


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "vit_tiny"])
def test_published_sizes_need_nothing(name):
    with torch.device("meta"):
        weights = build_network("videomae_pretrain", PRESETS[name]).state_dict()
    inferred = infer_config("videomae_pretrain", weights, {})
    assert inferred.config == PRESETS[name]
    assert inferred.assumed.keys() == {"image_size", "frames", "heads", "norm_eps", "decoder_heads"}


@pytest.mark.parametrize(("width", "ratio", "heads"), [(1408, 48 / 11, 16), (1664, 64 / 13, 16)])
def test_wide_networks_have_their_published_heads_and_ratio(width, ratio, heads):
    config = VideoMAEConfig(width=width, depth=1, heads=16, mlp_ratio=ratio, decoder_depth=1)
    with torch.device("meta"):
        network = build_network("videomae_pretrain", config)
        weights = network.state_dict()
        inferred = infer_config("videomae_pretrain", weights, {}).config
        again = build_network("videomae_pretrain", inferred).state_dict()
    assert inferred.heads == heads
    assert inferred.mlp_ratio == pytest.approx(ratio)
    assert {name: value.shape for name, value in again.items()} == {n: value.shape for n, value in weights.items()}


def test_ratios_survive_rounding():
    """No hidden width is missed by one where the ratio is no round number."""
    for hidden in range(65, 300, 7):
        config = VideoMAEConfig(width=64, depth=1, heads=1, mlp_ratio=4.0, decoder_depth=1)
        with torch.device("meta"):
            weights = build_network("videomae_pretrain", config).state_dict()
            weights["encoder.blocks.0.mlp.fc1.weight"] = torch.empty(hidden, 64)
        assert int(64 * infer_config("videomae_pretrain", weights, {}).config.mlp_ratio) == hidden


def test_a_ratio_may_be_given_within_rounding():
    config = replace(CONFIGS["videomae_pretrain"], mlp_ratio=49 / 11)
    given = {**GIVEN["videomae_pretrain"], "mlp_ratio": 49 / 11 * (1 + 1e-15)}
    inferred = infer_config("videomae_pretrain", tiny_weights("videomae_pretrain", config), given)
    assert inferred.config.mlp_ratio == pytest.approx(49 / 11)


def test_what_follows_by_custom_may_be_given_otherwise():
    inferred = infer_config("clip_text", tiny_weights("clip_text"), {"heads": 4})
    assert inferred.config.heads == 4
    assert inferred.assumed == {}


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("clip_text", {"width": 9}, "width is given as 9 and the weights' shapes say 64"),
        ("clip_text", {"with": 9}, "there is no with; fields are vocabulary,"),
        ("clip_text", {"heads": 5}, "width is 64 and heads 5"),
        ("mm_full", {"text": 3}, "text is given as 3: give text.depth"),
        ("mm_full", {"captioner": {"width": 3}}, "width is given as 3"),
        ("mm_vqa", {"answers": 7}, "answers is given as 7 and the weights' shapes say 6"),
        ("mm_vqa", {"text": {"embed_width": 7}}, "embed_width is given as 7 and the weights' shapes say 24"),
        ("mm_vqa", {"captioner": {"vocabulary": 7}}, "vocabulary is given as 7 and the weights' shapes say 40"),
        ("videomae_pretrain", {"frames": 3}, "frames is 3 and tubelet 2"),
    ],
)
def test_what_cannot_be_is_refused(kind, given, message):
    with pytest.raises(ValueError, match=message):
        infer_config(kind, tiny_weights(kind), given)


def test_heads_without_a_custom_have_to_be_given():
    config = replace(CONFIGS["videomae_pretrain"], width=48, heads=3)
    weights = tiny_weights("videomae_pretrain", config)
    with pytest.raises(ValueError, match=r"no custom for a width of 48: give heads .*--set heads=NUMBER"):
        infer_config("videomae_pretrain", weights, {})
    given = {**GIVEN["videomae_pretrain"], "heads": 3}
    assert infer_config("videomae_pretrain", weights, given).config == config


def test_a_weight_that_tells_a_size_is_missed_by_name():
    weights = tiny_weights("mm_full")
    del weights["text.token_embedding.weight"]
    with pytest.raises(ValueError, match=r"token_embedding\.weight is missing"):
        infer_config("mm_full", weights, {})
