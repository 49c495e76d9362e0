"""Weights as the first weights of another network: every key is accounted for, and CLIP stays CLIP at first."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from model.class_rows import ClassLists
from model.config import Grid
from model.kinds import build_network
from model.layouts import read_checkpoint, write_checkpoint
from model.positions import resize_table
from model.saved import Description
from model.transfer import transfer
from model.uniformer import UniFormerClassifier, VideoEncoder
from model.video_text import VideoTextModel
from tests.support.tiny_networks import CONFIGS, COORDINATION, tiny_network, tiny_weights
from tests.support.video_text import build

PAIRS = [
    *((kind, kind) for kind in CONFIGS),
    ("videomae_pretrain", "videomae_classifier"),
    ("mm_full", "mm_vqa"),
    ("mm_full", "mm_video_encoder"),
    ("mm_video_encoder", "mm_full"),
    ("clip_text", "mm_full"),
]
AS_VIDEO = replace(CONFIGS["uniformerv2"], depth=2, global_blocks=(0, 1))
"""A classifier of the size of the tiny video encoder."""


def take(source, target, *, config=None, changes=None, classes=None, weights=None):
    """Transfer the tiny network of a kind to a freshly built one; return both."""
    config = config or CONFIGS[source]
    network = build_network(target, changes or CONFIGS[target])
    weights = tiny_weights(source, config) if weights is None else weights
    return network, transfer(weights, Description(source, config), network, classes=classes)


def load(network: nn.Module, found) -> nn.Module:
    problem = network.load_state_dict(found.weights, strict=False)
    assert not problem.unexpected_keys
    # torch does not call counters missing
    assert set(problem.missing_keys) == {name for name in found.fresh if not name.endswith("num_batches_tracked")}
    return network.eval()


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_key_of_both_is_accounted_for(source, target):
    weights = tiny_weights(source)
    network, found = take(source, target, weights=weights)
    assert found.weights
    assert sorted([*found.used, *found.left_out]) == sorted(weights)
    assert sorted([*found.weights, *found.fresh]) == sorted(network.state_dict())
    assert len(found.used) == len(found.weights)
    load(network, found)


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_network_of_the_same_kind_takes_all(kind):
    weights = tiny_weights(kind)
    network, found = take(kind, kind, weights=weights)
    assert (found.left_out, found.fresh, found.changed) == ({}, {}, {})
    for name, value in load(network, found).state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_a_classifier_takes_the_encoder_of_pretraining():
    weights = tiny_weights("videomae_pretrain")
    _, found = take("videomae_pretrain", "videomae_classifier", weights=weights)
    assert set(found.fresh) == {"fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"}
    assert {name for name in found.left_out if name.startswith("encoder.")} == {
        "encoder.norm.weight",
        "encoder.norm.bias",
    }
    assert torch.equal(found.weights["blocks.1.mlp.fc1.weight"], weights["encoder.blocks.1.mlp.fc1.weight"])
    first = replace(CONFIGS["videomae_classifier"], mean_pooling=False)
    _, found = take("videomae_pretrain", "videomae_classifier", changes=first, weights=weights)
    assert torch.equal(found.weights["norm.weight"], weights["encoder.norm.weight"])


def test_a_classifier_takes_the_video_encoder_of_the_towers():
    weights = tiny_weights("mm_full")
    network, found = take("mm_full", "uniformerv2", changes=AS_VIDEO, weights=weights)
    towers = tiny_network("mm_full")
    clips = torch.randn(2, 3, 4, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(load(network, found).encode([clips]).fused, towers.encode_video(clips).fused)
    assert {name.split(".")[0] for name in found.left_out} == {"video", "text", "captioner", "logit_scale"}
    assert all(name.startswith("transformer.proj.") for name in found.fresh)


def test_the_towers_take_a_classifier_s_encoder():
    network, found = take("uniformerv2", "mm_full", config=AS_VIDEO)
    assert set(found.left_out) == {f"transformer.proj.{part}" for part in ("0.weight", "0.bias", "2.weight", "2.bias")}
    assert {name.split(".")[0] for name in found.fresh} == {"video", "text", "captioner", "logit_scale"}
    load(network, found)


def test_coordination_s_parts_take_classifiers():
    network = build_network("coordination", COORDINATION)
    found = transfer(
        tiny_weights("uniformerv2"), Description("uniformerv2", CONFIGS["uniformerv2"]), network.multimodal[0]
    )
    assert (found.left_out, found.fresh) == ({}, {})


def clip_sources() -> tuple[dict[str, Tensor], Description]:
    config = replace(CONFIGS["mm_full"], captioner=None)
    drawn = build(VideoTextModel, config).state_dict()
    reading = read_checkpoint(write_checkpoint("clip", "mm_full", config, drawn).entries)
    weights = {name: value for name, value in reading.weights.items() if name not in reading.fresh}
    return weights, Description(reading.kind, reading.config)


def clip_feature(weights: dict[str, Tensor], picture: Tensor) -> Tensor:
    """CLIP's class token of a picture before its last norm, by a plain network of one frame without global parts."""
    encoder = VideoEncoder(replace(CONFIGS["mm_video_encoder"], frames=1))
    own = {name.removeprefix("video."): value for name, value in weights.items() if name.startswith("video.")}
    encoder.load_state_dict(own, strict=False)
    return encoder.eval().visual(picture[:, :, None]).tokens[:, 0, 0]


@torch.no_grad()
def test_a_video_encoder_from_clip_is_clip_at_first():
    weights, source = clip_sources()
    config = replace(CONFIGS["mm_full"], video=replace(CONFIGS["mm_full"].video, local="double"))
    network = VideoTextModel(config)
    found = transfer(weights, source, network)
    clips = torch.randn(2, 3, 4, 16, 16)
    mean = torch.stack([clip_feature(weights, frame) for frame in clips.unbind(2)]).mean(dim=0)
    wanted = load(network, found).video.visual_ln_post(mean) @ network.video.visual_proj
    torch.testing.assert_close(network.video(clips).embedded, wanted, rtol=1e-3, atol=1e-3)
    ids = torch.tensor([[1, 7, 39, 0]])
    drawn = build(VideoTextModel, replace(CONFIGS["mm_full"], captioner=None))
    torch.testing.assert_close(network.text.embed(ids), drawn.text.embed(ids))


@torch.no_grad()
def test_a_kernel_of_three_frames_answers_to_still_pictures_as_clip_does():
    weights, source = clip_sources()
    config = replace(AS_VIDEO, temporal_downsample=True)
    network = UniFormerClassifier(config)
    found = transfer(weights, source, network)
    picture = torch.randn(2, 3, 16, 16)
    fused = load(network, found).encode([picture[:, :, None].repeat(1, 1, 4, 1, 1)]).fused
    torch.testing.assert_close(2 * fused, clip_feature(weights, picture))
    assert found.changed == {"conv1.weight": "put in the middle of 3 frames"}


def test_positions_of_frames_are_resized_as_the_network_would():
    weights = tiny_weights("uniformerv2")
    config = replace(CONFIGS["uniformerv2"], image_size=(24, 32))
    _, found = take("uniformerv2", "uniformerv2", changes=config, weights=weights)
    table = weights["positional_embedding"]
    wanted = torch.cat([table[:1], resize_table(table[1:], Grid(1, 2, 2), Grid(1, 3, 4))])
    assert torch.equal(found.weights["positional_embedding"], wanted)
    assert found.changed == {"positional_embedding": "resized from 2x2 to 3x4 patches"}
    # As many patches in another shape are other patches.
    config, turned = (replace(CONFIGS["uniformerv2"], image_size=size) for size in ((16, 32), (32, 16)))
    _, found = take("uniformerv2", "uniformerv2", config=config, changes=turned)
    assert "positional_embedding" in found.changed


def test_learnable_positions_of_cubes_are_resized_in_time_and_space():
    config = replace(CONFIGS["videomae_classifier"], learnable_positions=True)
    weights = tiny_weights("videomae_classifier", config)
    larger = replace(config, frames=8, image_size=(24, 24))
    _, found = take("videomae_classifier", "videomae_classifier", config=config, changes=larger, weights=weights)
    wanted = resize_table(weights["pos_embed"][0], Grid(2, 2, 3), Grid(4, 3, 3))
    assert torch.equal(found.weights["pos_embed"], wanted[None])
    assert found.changed == {"pos_embed": "resized from 2x2x3 to 4x3x3 cubes"}
    assert not [note for note in found.notes if "positions" in note]
    _, found = take("videomae_pretrain", "videomae_classifier", changes=config)
    assert "pos_embed" in found.fresh


def test_texts_are_cut_to_a_shorter_context_and_not_stretched():
    config = CONFIGS["clip_text"]
    weights = tiny_weights("clip_text")
    _, found = take("clip_text", "clip_text", changes=replace(config, context=5), weights=weights)
    assert torch.equal(found.weights["positional_embedding"], weights["positional_embedding"][:5])
    with pytest.raises(ValueError, match=r"positional_embedding is \[8, 64\] and should be \[9, 64\]"):
        take("clip_text", "clip_text", changes=replace(config, context=9), weights=weights)


def test_other_sizes_and_heads_are_refused_by_name():
    config = CONFIGS["videomae_pretrain"]
    with pytest.raises(ValueError, match=r"encoder.patch_embed.proj.weight is \[64, .* and should be \[32, "):
        take("videomae_pretrain", "videomae_pretrain", changes=replace(config, width=32))
    with pytest.raises(ValueError, match="video heads=1 and the model has 2, which no shape shows"):
        take("videomae_pretrain", "videomae_classifier", changes=replace(CONFIGS["videomae_classifier"], heads=2))
    with pytest.raises(ValueError, match="global_heads=1 and the model has 4"):
        take("uniformerv2", "uniformerv2", changes=replace(CONFIGS["uniformerv2"], global_heads=4))


def test_what_cannot_start_from_a_kind_says_what_can():
    with pytest.raises(ValueError, match=r"does not start from a mm_full: videomae_classifier, videomae_pretrain are"):
        take("mm_full", "videomae_classifier")
    with pytest.raises(ValueError, match="nothing of this videomae_pretrain fits"):
        take("videomae_pretrain", "videomae_classifier", weights={"mask_token": torch.zeros(1, 1, 64)})


def test_rows_of_classes_in_both_lists_are_kept():
    weights = tiny_weights("uniformerv2")
    lists = ClassLists(("run", "jump", "sit", "eat", "fall"), ("eat", "sleep", "run"))
    config = replace(CONFIGS["uniformerv2"], classes=3)
    network, found = take("uniformerv2", "uniformerv2", changes=config, classes=lists, weights=weights)
    old, new = weights["transformer.proj.2.weight"], found.weights["transformer.proj.2.weight"]
    assert torch.equal(new[[0, 2]], old[[3, 0]])
    assert torch.equal(new[1], network.state_dict()["transformer.proj.2.weight"][1])
    assert found.changed["transformer.proj.2.bias"] == "2 of 3 classes keep their rows, the others start fresh"


@pytest.mark.parametrize(
    ("classes", "lists", "reason"),
    [
        (3, None, "its 5 classes are not the 3 here"),
        (3, ClassLists(tuple("abcde"), None), "its 5 classes are not the 3 here"),
        (5, ClassLists(tuple("abcde"), tuple("vwxyz")), "share no name"),
    ],
)
def test_a_head_of_other_classes_starts_fresh(classes, lists, reason):
    config = replace(CONFIGS["videomae_classifier"], classes=classes)
    _, found = take("videomae_classifier", "videomae_classifier", changes=config, classes=lists)
    assert set(found.fresh) == {"head.weight", "head.bias"}
    assert reason in found.fresh["head.weight"]
    assert found.left_out == found.fresh


def test_a_head_of_as_many_classes_is_taken_and_said_to_be():
    _, found = take("videomae_classifier", "videomae_classifier")
    assert "head.weight" in found.weights
    assert found.notes == ("the 5 classes are taken to be the same, in the same order: no two lists say",)
    same = ClassLists(tuple("abcde"), tuple("abcde"))
    assert take("videomae_classifier", "videomae_classifier", classes=same)[1].notes == ()
    with pytest.raises(ValueError, match="the model has 5 classes and its list names 2"):
        take("videomae_classifier", "videomae_classifier", classes=ClassLists(tuple("abcde"), ("a", "b")))


def test_positions_and_blocks_that_no_shape_shows_are_said():
    config = CONFIGS["videomae_classifier"]
    longer = replace(config, frames=8)
    _, found = take("videomae_pretrain", "videomae_classifier", changes=longer)
    assert "were those of 2x2x3 cubes and are made anew for 4x2x3" in found.notes[0]
    resized = replace(longer, base_grid=Grid(2, 2, 3))
    assert take("videomae_pretrain", "videomae_classifier", changes=resized)[1].notes == ()
    moved = replace(CONFIGS["uniformerv2"], global_blocks=(0, 2))
    assert "(1, 2), and now (0, 2)" in take("uniformerv2", "uniformerv2", changes=moved)[1].notes[-1]
