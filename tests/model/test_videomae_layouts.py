"""VideoMAE's layouts: whose file it is, both spellings of every part, and classifiers made from pretraining."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.layouts import read_checkpoint, write_checkpoint
from model.videomae_layouts import HuggingFaceVideoMAELayout, VideoMAELayout
from tests.support.tiny_networks import CONFIGS, tiny_entries, tiny_weights

CUBES = {"image_size": [16, 24], "frames": 4}
OWN, HUB = VideoMAELayout(), HuggingFaceVideoMAELayout()
PRETRAIN, CLASSIFIER = "videomae_pretrain", "videomae_classifier"
ATTENTION = "videomae.encoder.layer.1.attention.attention."


@pytest.mark.parametrize(
    ("layout", "names", "kind"),
    [
        (OWN, ["encoder.patch_embed.proj.weight", "mask_token"], PRETRAIN),
        (OWN, ["encoder.blocks.0.norm1.bias", "decoder.norm.bias"], PRETRAIN),
        (OWN, ["encoder.blocks.0.norm1.bias"], CLASSIFIER),
        (OWN, ["backbone.blocks.0.norm1.bias"], CLASSIFIER),
        (OWN, ["patch_embed.proj.bias", "head.bias"], CLASSIFIER),
        (OWN, ["mask_token", "norm.bias"], None),
        (HUB, ["videomae.layernorm.bias", "decoder.head.bias"], PRETRAIN),
        (HUB, ["videomae.layernorm.bias", "classifier.bias"], CLASSIFIER),
        (HUB, ["encoder.patch_embed.proj.weight", "mask_token"], None),
    ],
)
def test_files_are_told_by_their_keys(layout, names, kind):
    assert layout.kind_of(names) == kind


@pytest.mark.parametrize(
    ("kind", "ours", "theirs"),
    [
        (PRETRAIN, "encoder.blocks.1.mlp.fc2.bias", "videomae.encoder.layer.1.output.dense.bias"),
        (PRETRAIN, "decoder.blocks.0.attn.proj.weight", "decoder.decoder_layers.0.attention.output.dense.weight"),
        (PRETRAIN, "encoder.blocks.1.attn.q_bias", f"{ATTENTION}q_bias"),
        (PRETRAIN, "encoder.blocks.1.attn.qkv.weight", f"{ATTENTION}query.weight"),
        (PRETRAIN, "decoder.norm.bias", "decoder.norm.bias"),
        (CLASSIFIER, "blocks.1.norm2.bias", "videomae.encoder.layer.1.layernorm_after.bias"),
        (CLASSIFIER, "norm.bias", "videomae.layernorm.bias"),
        (CLASSIFIER, "head.weight", "classifier.weight"),
        (CLASSIFIER, "fc_norm.weight", "fc_norm.weight"),
    ],
)
def test_messages_spell_our_weights_as_the_hub_does(kind, ours, theirs):
    assert HUB.spell(kind, ours) == theirs


@pytest.mark.parametrize("kind", [PRETRAIN, CLASSIFIER])
def test_attention_is_split_and_fused_in_order(kind):
    home = "encoder." if kind == PRETRAIN else ""
    fused = tiny_weights(kind)[f"{home}blocks.1.attn.qkv.weight"]
    entries = tiny_entries("videomae-hf", kind)
    parts = [entries[f"{ATTENTION}{part}.weight"] for part in ("query", "key", "value")]
    assert all(torch.equal(part, fused[64 * i : 64 * (i + 1)]) for i, part in enumerate(parts))
    swapped = {**entries, f"{ATTENTION}query.weight": parts[1], f"{ATTENTION}key.weight": parts[0]}
    read = HUB.read(kind, swapped, {})[f"{home}blocks.1.attn.qkv.weight"]
    assert torch.equal(read, torch.cat([parts[1], parts[0], parts[2]]))


@pytest.mark.parametrize("shape", [(64, 63), (32, 32), (64,), ()])
def test_parts_of_attention_that_do_not_fit_are_named(shape):
    entries = tiny_entries("videomae-hf", CLASSIFIER) | {f"{ATTENTION}key.weight": torch.zeros(shape)}
    with pytest.raises(ValueError, match=f"{ATTENTION}key.weight is .*three squares of one size are taken"):
        read_checkpoint(entries, given=CUBES)


@pytest.mark.parametrize("prefix", ["encoder.", "backbone.", ""])
def test_a_classifier_is_read_below_any_home(prefix):
    ours = tiny_weights(CLASSIFIER)
    reading = read_checkpoint({prefix + name: value for name, value in ours.items()}, given=CUBES)
    assert (reading.kind, reading.left, reading.fresh) == (CLASSIFIER, {}, ())
    assert set(reading.used) == {prefix + name for name in ours}
    assert all(torch.equal(reading.weights[name], value) for name, value in ours.items())


def test_the_same_weight_below_two_homes_is_refused():
    ours = tiny_weights(CLASSIFIER)
    with pytest.raises(ValueError, match=r"norm\.weight and encoder\.fc_norm\.weight are the same weight twice"):
        read_checkpoint({**ours, "encoder.fc_norm.weight": ours["fc_norm.weight"]}, given=CUBES)


def test_a_classifiers_own_head_may_not_be_absent():
    entries = tiny_weights(CLASSIFIER)
    del entries["fc_norm.bias"]
    with pytest.raises(ValueError, match=r"1 missing \(fc_norm\.bias \[64\]\)"):
        read_checkpoint(entries, given=CUBES)


def test_a_missing_bias_is_named_as_the_hub_does():
    entries = tiny_entries("videomae-hf", PRETRAIN)
    del entries[f"{ATTENTION}v_bias"]
    with pytest.raises(ValueError, match=rf"1 missing \({ATTENTION}v_bias \[64\]\)"):
        read_checkpoint(entries, given=CUBES)


def test_pretraining_makes_no_classifier_of_damaged_blocks():
    entries = tiny_weights(PRETRAIN)
    del entries["encoder.blocks.1.norm2.weight"]
    with pytest.raises(ValueError, match=r"blocks\.1\.norm2\.weight"):
        read_checkpoint(entries, kind=CLASSIFIER, given={**CUBES, "classes": 3})


@pytest.mark.parametrize("prefix", ["encoder.", "backbone."])
@pytest.mark.parametrize("mean_pooling", [True, False])
def test_pretraining_makes_a_classifier(prefix, mean_pooling):
    ours = tiny_weights("videomae_pretrain")
    entries = {name.replace("encoder.", prefix) if name.startswith("encoder.") else name: v for name, v in ours.items()}
    given = {**CUBES, "classes": 7, "mean_pooling": mean_pooling}
    reading = read_checkpoint({"model": entries}, kind="videomae_classifier", given=given)
    norm = {f"{prefix}norm.weight", f"{prefix}norm.bias"}
    gone = {name for name in entries if name.startswith(("decoder.", "mask_token", "encoder_to_decoder."))}
    assert set(reading.left) == (gone | norm if mean_pooling else gone)
    assert set(reading.fresh) == {"head.weight", "head.bias"} | (
        {"fc_norm.weight", "fc_norm.bias"} & set(reading.fresh)
    )
    assert ("fc_norm.weight" in reading.fresh) is mean_pooling
    for name, value in reading.weights.items():
        if name not in reading.fresh:
            assert torch.equal(value, ours[f"encoder.{name}"])
    assert reading.config.classes == 7


def test_hugging_faces_pretraining_makes_a_classifier():
    ours = tiny_weights("videomae_pretrain")
    entries = write_checkpoint("videomae-hf", "videomae_pretrain", CONFIGS["videomae_pretrain"], ours).entries
    reading = read_checkpoint(entries, kind="videomae_classifier", given={**CUBES, "classes": 3})
    assert torch.equal(reading.weights["blocks.1.attn.qkv.weight"], ours["encoder.blocks.1.attn.qkv.weight"])
    assert "videomae.layernorm.weight" in reading.left
    assert reading.fresh == ("fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias")


def test_hugging_faces_names():
    weights = tiny_weights("videomae_pretrain")
    names = set(write_checkpoint("videomae-hf", "videomae_pretrain", CONFIGS["videomae_pretrain"], weights).entries)
    block = ["attention.attention.q_bias", "attention.attention.v_bias", "attention.attention.query.weight",
             "attention.attention.key.weight", "attention.attention.value.weight", "attention.output.dense.weight",
             "attention.output.dense.bias", "intermediate.dense.weight", "intermediate.dense.bias",
             "output.dense.weight", "output.dense.bias", "layernorm_before.weight", "layernorm_before.bias",
             "layernorm_after.weight", "layernorm_after.bias"]  # fmt: skip
    assert names == {
        "mask_token",
        "encoder_to_decoder.weight",
        "videomae.embeddings.patch_embeddings.projection.weight",
        "videomae.embeddings.patch_embeddings.projection.bias",
        "videomae.layernorm.weight",
        "videomae.layernorm.bias",
        "decoder.norm.weight",
        "decoder.norm.bias",
        "decoder.head.weight",
        "decoder.head.bias",
        *(f"videomae.encoder.layer.{i}.{name}" for i in range(2) for name in block),
        *(f"decoder.decoder_layers.{i}.{name}" for i in range(4) for name in block),
    }


def test_hugging_faces_later_bias_names_are_read_too():
    kind = "videomae_classifier"
    entries = write_checkpoint("videomae-hf", kind, CONFIGS[kind], tiny_weights(kind)).entries
    later = {
        name.replace(".q_bias", ".query.bias").replace(".v_bias", ".value.bias"): value
        for name, value in entries.items()
    }
    assert later.keys() != entries.keys()
    reading = read_checkpoint(later)
    assert torch.equal(reading.weights["blocks.0.attn.q_bias"], tiny_weights(kind)["blocks.0.attn.q_bias"])
    assert set(reading.used) == set(later)
    with pytest.raises(ValueError, match="are the same weight twice"):
        read_checkpoint({**entries, **later})


@pytest.mark.parametrize("gone", ["query", "key", "value"])
def test_a_part_of_attention_that_is_missing_is_named(gone):
    kind = "videomae_classifier"
    entries = dict(write_checkpoint("videomae-hf", kind, CONFIGS[kind], tiny_weights(kind)).entries)
    name = f"videomae.encoder.layer.1.attention.attention.{gone}.weight"
    del entries[name]
    with pytest.raises(ValueError, match=f"{name} is missing"):
        read_checkpoint(entries)


def test_layer_scale_cannot_be_said_in_hugging_faces_names():
    config = replace(CONFIGS["videomae_pretrain"], layer_scale=0.1)
    with pytest.raises(ValueError, match="no layer scale"):
        write_checkpoint("videomae-hf", "videomae_pretrain", config, tiny_weights("videomae_pretrain", config))


LEARNABLE = replace(CONFIGS[CLASSIFIER], learnable_positions=True)


def test_learnable_positions_go_both_ways():
    ours = tiny_weights(CLASSIFIER, LEARNABLE)
    entries = write_checkpoint("videomae", CLASSIFIER, LEARNABLE, ours).entries
    assert entries["pos_embed"].shape == (1, 12, 64)
    reading = read_checkpoint({"module": entries}, given=CUBES)
    assert (reading.config, reading.left, reading.fresh) == (LEARNABLE, {}, ())
    assert all(torch.equal(reading.weights[name], value) for name, value in ours.items())


def test_learnable_positions_that_do_not_fit_are_named():
    ours = tiny_weights(CLASSIFIER, LEARNABLE)
    with pytest.raises(ValueError, match=r"pos_embed"):
        read_checkpoint(ours, given={**CUBES, "frames": 8})
    with pytest.raises(ValueError, match="learnable_positions is given as False and the weights' shapes say True"):
        read_checkpoint(ours, given={**CUBES, "learnable_positions": False})
    del ours["pos_embed"]
    with pytest.raises(ValueError, match="learnable_positions is given as True and the weights' shapes say False"):
        read_checkpoint(ours, given={**CUBES, "learnable_positions": True})


def test_pretraining_makes_a_classifier_with_new_learnable_positions():
    given = {**CUBES, "classes": 7, "learnable_positions": True}
    reading = read_checkpoint(tiny_weights(PRETRAIN), kind=CLASSIFIER, given=given)
    assert reading.config.learnable_positions
    assert "pos_embed" in reading.fresh
    assert reading.weights["pos_embed"].std().item() == pytest.approx(0.02, rel=0.2)


def test_learnable_positions_cannot_be_said_in_hugging_faces_names():
    with pytest.raises(ValueError, match="no learnable positions"):
        write_checkpoint("videomae-hf", CLASSIFIER, LEARNABLE, tiny_weights(CLASSIFIER, LEARNABLE))


@pytest.mark.parametrize("layout", ["videomae", "videomae-hf"])
def test_a_decoder_without_blocks_goes_both_ways(layout):
    config = replace(CONFIGS[PRETRAIN], decoder_depth=0)
    reading = read_checkpoint(tiny_entries(layout, PRETRAIN, config), given=CUBES)
    assert reading.config == config
    assert all(torch.equal(reading.weights[name], value) for name, value in tiny_weights(PRETRAIN, config).items())
