"""The public code's constructor fields become ours; what contradicts itself is refused by name."""

from __future__ import annotations

import pytest

from model.foreign_configs import (
    captioner_config,
    classifier_config,
    pretrain_config,
    text_config,
    uniformer_config,
    video_encoder_config,
    video_text_config,
)

UNIFORMER = {
    "input_resolution": 32,
    "patch_size": 8,
    "width": 32,
    "layers": 3,
    "heads": 2,
    "t_size": 8,
    "return_list": [0, 2],
    "num_classes": 7,
}
WHOLE = {
    "input_resolution": [32, 24],
    "patch_size": 8,
    "vision_width": 48,
    "vision_layers": 2,
    "vision_heads": 4,
    "return_list": [1],
    "t_size": 3,
    "embed_dim": 24,
    "context_length": 16,
    "vocab_size": 64,
    "transformer_width": 32,
    "transformer_heads": 4,
    "transformer_layers": 2,
    "cap_layers": 5,
    "cap_heads": 2,
    "cap_queries": 6,
}


def test_dropout_of_the_cube_networks_is_read():
    rates = {"drop_rate": 0.1, "attn_drop_rate": 0.2, "drop_path_rate": 0.3}
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4, "num_classes": 5}
    config = classifier_config({**sizes, **rates, "head_drop_rate": 0.4})
    assert (config.dropout, config.attention_dropout, config.drop_path, config.head_dropout) == (0.1, 0.2, 0.3, 0.4)
    assert classifier_config({**sizes, "fc_drop_rate": 0.5}).head_dropout == 0.5
    plain = classifier_config(sizes)
    assert (plain.dropout, plain.attention_dropout, plain.head_dropout) == (0.0, 0.0, 0.0)


def test_learnable_positions_are_the_classifiers_only():
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4, "num_classes": 5}
    assert classifier_config({**sizes, "use_learnable_pos_emb": True}).learnable_positions
    assert not classifier_config(sizes).learnable_positions
    with pytest.raises(ValueError, match=r"use_learnable_pos_emb is True: .* a row too many"):
        pretrain_config({"use_learnable_pos_emb": True})


def test_another_scale_of_scores_is_refused():
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4, "num_classes": 5}
    assert classifier_config({**sizes, "qk_scale": None}) == classifier_config(sizes)
    with pytest.raises(ValueError, match=r"qk_scale is 0\.5: .* give None"):
        classifier_config({**sizes, "qk_scale": 0.5})


def test_the_public_defaults_of_uniformer():
    config = uniformer_config(UNIFORMER)
    assert (config.local, config.temporal_downsample, config.local_reduction) == ("double", True, 1.5)
    assert (config.global_blocks, config.global_heads, config.frozen) == ((0, 2), None, False)
    assert (config.global_dropout, config.head_dropout) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("fields", "local"),
    [({"no_lmhra": True}, "none"), ({"double_lmhra": False}, "single"), ({"double_lmhra": True}, "double")],
)
def test_switches_of_local_mixing(fields, local):
    assert uniformer_config({**UNIFORMER, **fields}).local == local


def test_other_fields_of_uniformer():
    fields = {"n_head": 4, "mlp_factor": 2.0, "mlp_dropout": [0.5, 0.5], "cls_dropout": 0.3, "frozen": True,
              "backbone_drop_path_rate": 0.2, "drop_path_rate": 0.4, "n_dim": 32, "n_layers": 2}  # fmt: skip
    config = uniformer_config({**UNIFORMER, **fields})
    assert (config.global_heads, config.global_mlp_ratio, config.global_dropout) == (4, 2.0, 0.5)
    assert (config.head_dropout, config.drop_path, config.global_drop_path, config.frozen) == (0.3, 0.2, 0.4, True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_dim": 16}, "n_dim is 16 and 32 is taken"),
        ({"n_layers": 4}, r"n_layers is 4 and 2 is taken: .* \[0, 2\]"),
        ({"mlp_dropout": [0.5, 0.1]}, "one rate for all global blocks"),
        ({"t_size": 5}, "frames is 5 and temporal_downsample is on"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        uniformer_config({**UNIFORMER, **fields})


def test_the_towers_of_the_whole_model():
    config = video_text_config(WHOLE, captions=True)
    assert config.video == video_encoder_config(WHOLE)
    assert config.text == text_config(WHOLE)
    assert config.captioner == captioner_config(WHOLE)
    assert (config.video.image_size, config.text.context, config.captioner.depth) == ((32, 24), 16, 5)
    assert video_text_config(WHOLE, captions=False).captioner is None


@pytest.mark.parametrize("name", ["embed_dim", "vocab_size", "cap_queries", "vision_heads"])
def test_a_missing_field_is_named(name):
    fields = {key: value for key, value in WHOLE.items() if key != name}
    with pytest.raises(ValueError, match=f"no '{name}'"):
        video_text_config(fields, captions=True)
