"""Reference configurations and weights: what loads, what is refused, and how the message says why."""

from __future__ import annotations

import pytest
import torch

from model.foreign import load_reference, reference_name, unwrap_weights
from model.published_names import to_published_names
from tests.support.tiny_networks import CONFIGS, tiny_weights

PRETRAIN = {
    "img_size": [16, 24],
    "patch_size": 8,
    "tubelet_size": 3,
    "num_frames": 6,
    "encoder_embed_dim": 24,
    "encoder_depth": 2,
    "encoder_num_heads": 3,
    "decoder_embed_dim": 12,
    "decoder_depth": 1,
    "decoder_num_heads": 2,
    "decoder_num_classes": 576,
    "mask": "t_consist",
    "lr": 0.1,
}
CLASSIFIER = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 5}


def block_shapes(width):
    """The published names and shapes of one block."""
    vectors = ["norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "attn.q_bias", "attn.v_bias"]
    return {
        **dict.fromkeys([*vectors, "attn.proj.bias", "mlp.fc2.bias"], (width,)),
        "attn.qkv.weight": (3 * width, width),
        "attn.proj.weight": (width, width),
        "mlp.fc1.weight": (4 * width, width),
        "mlp.fc1.bias": (4 * width,),
        "mlp.fc2.weight": (width, 4 * width),
    }


def blocks(prefix, width, depth):
    return {f"{prefix}{i}.{name}": shape for i in range(depth) for name, shape in block_shapes(width).items()}


def drawn(shapes):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def pretrain_weights():
    return drawn(
        {
            "mask_token": (1, 1, 12),
            "encoder.patch_embed.proj.weight": (24, 3, 3, 8, 8),
            "encoder.patch_embed.proj.bias": (24,),
            **blocks("encoder.blocks.", 24, 2),
            "encoder.norm.weight": (24,),
            "encoder.norm.bias": (24,),
            "encoder_to_decoder.weight": (12, 24),
            **blocks("decoder.blocks.", 12, 1),
            "decoder.norm.weight": (12,),
            "decoder.norm.bias": (12,),
            "decoder.head.weight": (576, 12),
            "decoder.head.bias": (576,),
        }
    )


def classifier_weights(norm):
    return drawn(
        {
            "patch_embed.proj.weight": (24, 3, 2, 8, 8),
            "patch_embed.proj.bias": (24,),
            **blocks("blocks.", 24, 2),
            f"{norm}.weight": (24,),
            f"{norm}.bias": (24,),
            "head.weight": (5, 24),
            "head.bias": (5,),
        }
    )


@pytest.mark.parametrize("wrapper", [None, "model", "module"])
def test_published_names_load_bare_or_wrapped(wrapper):
    weights = pretrain_weights()
    given = weights if wrapper is None else {wrapper: weights, "epoch": 3}
    network = load_reference("videomae_pretrain", PRETRAIN, given)
    assert not network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, weights[name])


@pytest.mark.parametrize(
    ("switch", "norm"),
    [
        ({}, "fc_norm"),
        ({"use_mean_pooling": True}, "fc_norm"),
        ({"use_mean_pooling": False}, "norm"),
        ({"use_cls": True}, "norm"),
    ],
)
def test_classifier_pools_as_its_switch_says(switch, norm):
    network = load_reference("videomae_classifier", {**CLASSIFIER, **switch, "num_frames": 4}, classifier_weights(norm))
    assert network(torch.randn(2, 3, 4, 16, 16)).shape == (2, 5)


def test_switches_remove_weights():
    weights = {name: value for name, value in pretrain_weights().items() if not name.endswith(("q_bias", "v_bias"))}
    network = load_reference("videomae_pretrain", {**PRETRAIN, "qkv_bias": False, "init_values": None}, weights)
    assert network.config.layer_scale == 0
    with pytest.raises(ValueError, match=r"6 missing \(encoder.blocks.0.attn.q_bias"):
        load_reference("videomae_pretrain", PRETRAIN, weights)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder_num_classes": 500}, "decoder_num_classes is 500 and a cube has 576"),
        ({"patch_size": [8, 4]}, "8x4"),
        ({"img_size": [16, 24, 32]}, "no size"),
        ({"init_values": 0.1}, r"6 missing \(encoder.blocks.0.gamma_1"),
        ({"encoder_depth": 1}, r"13 unknown \(encoder.blocks.1"),
        ({"decoder_embed_dim": 14}, r"mask_token is \[1, 1, 12\] and should be \[1, 1, 14\]"),
        ({"num_frames": 7}, "frames is 7 and tubelet 3"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        load_reference("videomae_pretrain", {**PRETRAIN, **changes}, pretrain_weights())


def test_missing_fields_and_unknown_kinds_are_refused():
    incomplete = {name: value for name, value in PRETRAIN.items() if name != "encoder_depth"}
    with pytest.raises(ValueError, match="no 'encoder_depth'"):
        load_reference("videomae_pretrain", incomplete, pretrain_weights())
    with pytest.raises(ValueError, match=r"'uniformerv9'.*videomae_pretrain, videomae_classifier"):
        load_reference("uniformerv9", {}, {})


def test_a_file_without_weights_is_refused():
    with pytest.raises(ValueError, match="no tensors: epoch"):
        unwrap_weights({"epoch": 3})


VIDEO = {"input_resolution": 16, "patch_size": 8, "vision_width": 64, "vision_layers": 2, "vision_heads": 1,
         "return_list": [0, 1], "t_size": 4, "embed_dim": 24}  # fmt: skip
TEXT = {"vocab_size": 40, "context_length": 8, "transformer_width": 64, "transformer_layers": 2, "transformer_heads": 1,
        "embed_dim": 24}  # fmt: skip
CAPTIONER = {"vocab_size": 40, "transformer_width": 64, "vision_width": 64, "cap_heads": 4, "cap_layers": 2,
             "cap_queries": 5}  # fmt: skip
UNIFORMER = {"input_resolution": 16, "patch_size": 8, "width": 64, "layers": 3, "heads": 1, "t_size": 4,
             "temporal_downsample": False, "no_lmhra": True, "return_list": [1, 2], "num_classes": 5}  # fmt: skip
TOWERS = {
    "uniformerv2": UNIFORMER,
    "clip_text": TEXT,
    "mm_video_encoder": VIDEO,
    "caption_decoder": CAPTIONER,
    "mm_full": {**VIDEO, **TEXT, **CAPTIONER},
}


@pytest.mark.parametrize("kind", TOWERS)
def test_every_tower_loads_by_its_published_names(kind):
    ours = tiny_weights(kind)
    published = to_published_names(kind, ours)
    if kind == "clip_text":
        published["logit_scale"] = torch.zeros(())
    network = load_reference(kind, TOWERS[kind], published)
    state = network.state_dict()
    assert all(torch.equal(state[name], published[reference_name(kind, name)]) for name in ours)
    assert type(network.config) is type(CONFIGS[kind])
    assert not network.training


@pytest.mark.parametrize("kind", TOWERS)
@pytest.mark.parametrize("fault", ["missing", "unknown", "another shape"])
def test_every_tower_names_a_faulty_weight(kind, fault):
    published = to_published_names(kind, tiny_weights(kind))
    name = reference_name(kind, next(iter(tiny_weights(kind))))
    if fault == "missing":
        del published[name]
    elif fault == "unknown":
        name += "s"
        published[name] = torch.zeros(1)
    else:
        published[name] = torch.zeros(1, 2, 3, 4)
    with pytest.raises(ValueError, match=rf"1 (of )?{fault} \({name}"):
        load_reference(kind, TOWERS[kind], published)


def test_a_file_without_captions_makes_a_model_without_a_captioner():
    published = to_published_names("mm_full", tiny_weights("mm_full"))
    towers = {name: value for name, value in published.items() if name.startswith("clip.")}
    assert load_reference("mm_full", TOWERS["mm_full"], towers).captioner is None
