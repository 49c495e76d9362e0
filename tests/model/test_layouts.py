"""Every published layout both ways, and every key used or named."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from model.layouts import LAYOUTS, find_layout, read_checkpoint, write_checkpoint
from tests.support.tiny_networks import CONFIGS, tiny_weights

CUBES = {"image_size": [16, 24], "frames": 4}
FRAMES = {"frames": 4}
TOWERS = {"video": {"frames": 4}}
WITH_LOCAL = replace(CONFIGS["uniformerv2"], local="double", temporal_downsample=True, global_blocks=(0, 2))
WITHOUT_CAPTIONER = replace(CONFIGS["mm_full"], captioner=None)

ROUND_TRIPS = {
    "videomae-pretrain": ("videomae", "videomae_pretrain", None, CUBES),
    "videomae-pretrain-layer-scale": (
        "videomae",
        "videomae_pretrain",
        replace(CONFIGS["videomae_pretrain"], layer_scale=0.1, qkv_bias=False),
        CUBES,
    ),
    "videomae-classifier": ("videomae", "videomae_classifier", None, CUBES),
    "videomae-classifier-first-token": (
        "videomae",
        "videomae_classifier",
        replace(CONFIGS["videomae_classifier"], mean_pooling=False),
        CUBES,
    ),
    "hf-pretrain": ("videomae-hf", "videomae_pretrain", None, CUBES),
    "hf-pretrain-no-bias": (
        "videomae-hf",
        "videomae_pretrain",
        replace(CONFIGS["videomae_pretrain"], qkv_bias=False),
        CUBES,
    ),
    "hf-classifier": ("videomae-hf", "videomae_classifier", None, CUBES),
    "hf-classifier-first-token": (
        "videomae-hf",
        "videomae_classifier",
        replace(CONFIGS["videomae_classifier"], mean_pooling=False),
        CUBES,
    ),
    "uniformerv2": ("uniformerv2", "uniformerv2", None, FRAMES),
    "uniformerv2-local": ("uniformerv2", "uniformerv2", WITH_LOCAL, {**FRAMES, "global_blocks": [0, 2]}),
    "uniformerv2-single": ("uniformerv2", "uniformerv2", replace(CONFIGS["uniformerv2"], local="single"), FRAMES),
    "uniformerv2-frozen": ("uniformerv2", "uniformerv2", replace(CONFIGS["uniformerv2"], frozen=True), FRAMES),
    "multimodal": ("internvideo-mm", "mm_full", None, TOWERS),
    "multimodal-no-captions": ("internvideo-mm", "mm_full", WITHOUT_CAPTIONER, TOWERS),
    "retrieval": ("internvideo-retrieval", "mm_full", WITHOUT_CAPTIONER, TOWERS),
}
"""Layouts that hold all of a network: ours, there and back, is the same."""


def settled(config):
    """A configuration without what matters in training only: files do not tell it."""
    return replace(config, layer_scale=0.1 if config.layer_scale else 0.0) if hasattr(config, "layer_scale") else config


@pytest.mark.parametrize(("layout", "kind", "config", "given"), ROUND_TRIPS.values(), ids=ROUND_TRIPS)
def test_ours_there_and_back_is_the_same(layout, kind, config, given):
    config = config or CONFIGS[kind]
    ours = tiny_weights(kind, config)
    written = write_checkpoint(layout, kind, config, ours)
    assert not written.left
    reading = read_checkpoint(written.entries, layout=layout, given=given)
    assert reading.kind == kind
    assert settled(reading.config) == settled(config)
    assert reading.weights.keys() == ours.keys()
    assert all(torch.equal(reading.weights[name], value) for name, value in ours.items())
    assert (set(reading.used), reading.left, reading.fresh) == (set(written.entries), {}, ())
    again = write_checkpoint(layout, kind, reading.config, reading.weights).entries
    assert again.keys() == written.entries.keys()
    assert all(torch.equal(again[name], value) for name, value in written.entries.items())


@pytest.mark.parametrize(("layout", "kind", "config", "given"), ROUND_TRIPS.values(), ids=ROUND_TRIPS)
def test_a_layout_is_known_by_its_keys(layout, kind, config, given):
    entries = write_checkpoint(layout, kind, config or CONFIGS[kind], tiny_weights(kind, config)).entries
    found = read_checkpoint(entries, given=given)
    assert found.kind == kind
    assert find_layout(found.layout).name in {layout, "internvideo-mm"}


@pytest.mark.parametrize(("layout", "kind", "config", "given"), ROUND_TRIPS.values(), ids=ROUND_TRIPS)
@pytest.mark.parametrize("fault", ["missing", "extra", "misshapen"])
def test_each_faulty_key_is_an_error_that_names_it(layout, kind, config, given, fault):
    entries = dict(write_checkpoint(layout, kind, config or CONFIGS[kind], tiny_weights(kind, config)).entries)
    name = next(name for name in reversed(entries) if name.endswith(".1.mlp.c_fc.weight") or "blocks.1.mlp.fc1" in name
                or "layer.1.intermediate.dense" in name)  # fmt: skip
    if fault == "missing":
        del entries[name]
    elif fault == "extra":
        added = name.replace("weight", "wait").replace("bias", "buyers")
        entries[added] = torch.zeros(3)
        name = rf"1 unknown \({added} \[3\]\)"
    else:
        shape = list(entries[name].shape)
        entries[name] = entries[name][..., :-1]
        name = rf"{name} is {[*shape[:-1], shape[-1] - 1]} and should be {shape}".replace("[", r"\[")
    with pytest.raises(ValueError, match=name):
        read_checkpoint(entries, layout=layout, given=given)


FAULTS = {
    "missing": lambda value: None,
    "an axis more": lambda value: value[..., None],
    "empty": lambda value: value.new_zeros(0),
    "doubled": lambda value: torch.cat([value, value], -1) if value.ndim else value[None],
    "a number": lambda value: value.flatten()[0] if value.ndim else value[None],
}


@pytest.mark.parametrize(("layout", "kind", "config", "given"), ROUND_TRIPS.values(), ids=ROUND_TRIPS)
@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_of_any_key_goes_unnamed(layout, kind, config, given, fault):
    entries = write_checkpoint(layout, kind, config or CONFIGS[kind], tiny_weights(kind, config)).entries
    told_by_absence = {"backbone.transformer.balance"}  # frozen networks have none
    for name in [*entries][:: 11 if len(entries) > 90 else 5]:
        faulty = {**entries, name: FAULTS[fault](entries[name])}
        if fault == "missing":
            del faulty[name]
        if name not in told_by_absence:
            with pytest.raises(ValueError, match=re.escape(name)):
                read_checkpoint(faulty, layout=layout, given=given)


def test_a_uniformer_without_its_balance_is_said_to_be_frozen():
    weights = tiny_weights("uniformerv2")
    del weights["transformer.balance"]
    reading = read_checkpoint(weights)
    assert reading.config.frozen
    assert reading.assumed["frozen"] is True


@pytest.mark.parametrize(
    ("layout", "kind", "wrapper"),
    [
        ("videomae", "videomae_pretrain", "model"),
        ("videomae", "videomae_pretrain", "module"),
        ("videomae", "videomae_classifier", "module"),
        ("uniformerv2", "uniformerv2", "model_state"),
        ("internvideo-mm", "mm_full", "state_dict"),
    ],
)
def test_weights_are_found_under_their_wrapper(layout, kind, wrapper):
    entries = write_checkpoint(layout, kind, CONFIGS[kind], tiny_weights(kind)).entries
    reading = read_checkpoint({"epoch": 3, wrapper: {**entries, "note": "x"}, "args": object()})
    assert (reading.layout, reading.kind, reading.wrapper) == (layout, kind, wrapper)
    beside = "lies beside the weights"
    assert reading.left == {"epoch": beside, "args": beside, "note": "is no tensor"}


def test_half_precision_becomes_float32_and_is_counted():
    kind = "uniformerv2"
    entries = write_checkpoint(kind, kind, WITH_LOCAL, tiny_weights(kind, WITH_LOCAL)).entries
    halved = {name: value.half() if value.is_floating_point() else value for name, value in entries.items()}
    reading = read_checkpoint(halved)
    assert reading.dtypes == {"float16": len(entries) - 6, "int64": 6}
    assert {value.dtype for value in reading.weights.values()} == {torch.float32, torch.int64}


def test_parameters_come_without_their_gradients():
    entries = {name: torch.nn.Parameter(value) for name, value in tiny_weights("videomae_pretrain").items()}
    assert not any(value.requires_grad for value in read_checkpoint(entries).weights.values())


def test_what_no_weight_tells_is_named():
    reading = read_checkpoint(tiny_weights("videomae_pretrain"))
    assert reading.assumed == {"image_size": [224, 224], "frames": 16, "heads": 1, "norm_eps": 1e-6, "decoder_heads": 1}


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


def test_uniformer_names_are_taken_without_their_prefix():
    kind = "uniformerv2"
    reading = read_checkpoint(tiny_weights(kind), given=FRAMES)
    assert (reading.layout, reading.kind) == (kind, kind)


def test_other_parts_of_a_lightning_module_are_named():
    entries = write_checkpoint("internvideo-mm", "mm_full", CONFIGS["mm_full"], tiny_weights("mm_full")).entries
    others = {"clip_k.logit_scale": torch.zeros(()), "queue_ptr": torch.zeros(1), "rank_output.1.bias": torch.zeros(2)}
    reading = read_checkpoint({"state_dict": {**entries, **others}, "pytorch-lightning_version": "1.7"})
    assert reading.left.keys() == {*others, "pytorch-lightning_version"}
    assert set(reading.used) == set(entries)


def test_a_retrieval_file_leaves_the_captioner_out_by_name():
    ours = tiny_weights("mm_full")
    written = write_checkpoint("internvideo-retrieval", "mm_full", CONFIGS["mm_full"], ours)
    assert set(written.left) == {name for name in ours if name.startswith("captioner.")}
    assert all(name.startswith("clip.") for name in written.entries)


def clip_entries():
    return write_checkpoint("clip", "mm_full", CONFIGS["mm_full"], tiny_weights("mm_full")).entries


def test_clip_there_and_back_is_the_same():
    entries = clip_entries()
    assert entries["visual.conv1.weight"].shape == (64, 3, 8, 8)
    assert {"visual.proj", "visual.ln_post.weight", "logit_scale", "text_projection"} <= set(entries)
    reading = read_checkpoint(entries, given=TOWERS)
    assert (reading.layout, reading.kind) == ("clip", "mm_full")
    assert set(reading.left) == {"input_resolution", "context_length", "vocab_size"}
    again = write_checkpoint("clip", "mm_full", reading.config, reading.weights)
    assert set(again.left) == set(reading.fresh)
    assert again.entries.keys() == entries.keys()
    assert all(torch.equal(again.entries[name], value) for name, value in entries.items())
    assert {name: int(entries[name]) for name in reading.left} == {
        "input_resolution": 16,
        "context_length": 8,
        "vocab_size": 40,
    }


def test_clip_gives_each_part_of_ours_that_it_has():
    ours, reading = tiny_weights("mm_full"), read_checkpoint(clip_entries(), given=TOWERS)
    assert not set(reading.fresh) & {"video.visual_proj", "video.visual_ln_post.bias", "text.text_projection"}
    for name, value in reading.weights.items():
        assert name in reading.fresh or torch.equal(value, ours[name])
    parts = ("temporal_cls_token", "balance", ".dpe.", ".dec.", "text_mask_embedding")
    assert reading.fresh
    assert all(any(part in name for part in parts) for name in reading.fresh)


def test_clip_files_without_stored_sizes_are_taken():
    entries = {name: value for name, value in clip_entries().items() if value.ndim or name == "logit_scale"}
    assert read_checkpoint(entries, given=TOWERS).left == {}


def test_clip_can_get_a_new_captioner():
    given = {**TOWERS, "captioner": {"depth": 3, "queries": 7, "heads": 2}}
    reading = read_checkpoint(clip_entries(), given=given)
    assert (reading.config.captioner.depth, reading.config.captioner.visual_width) == (3, 64)
    assert "captioner.multimodal_layers.2.1.fn.to_out.weight" in reading.fresh


def test_clip_makes_a_uniformer_with_an_inflated_kernel():
    given = {"frames": 4, "classes": 6, "temporal_downsample": True, "local": "double", "global_blocks": [1]}
    entries = clip_entries()
    reading = read_checkpoint(entries, kind="uniformerv2", given=given)
    kernel = reading.weights["conv1.weight"]
    assert kernel.shape == (64, 3, 3, 8, 8)
    assert torch.equal(kernel[:, :, 1], entries["visual.conv1.weight"])
    assert not kernel[:, :, [0, 2]].any()
    assert {"text_projection", "visual.proj", "transformer.resblocks.0.ln_1.bias"} <= set(reading.left)
    assert set(reading.used) | set(reading.left) == set(entries)
    assert "transformer.proj.2.weight" in reading.fresh


def test_wrong_clip_kernels_are_refused():
    entries = {**clip_entries(), "visual.conv1.weight": torch.zeros(64, 3, 1, 8, 8)}
    with pytest.raises(ValueError, match=r"visual.conv1.weight is \[64, 3, 1, 8, 8\]: \[D, 3, p, p\] is taken"):
        read_checkpoint(entries)


def test_a_runs_checkpoint_is_read():
    ours = tiny_weights("mm_full")
    reading = read_checkpoint({f"model.{name}": value for name, value in ours.items()} | {"mean": torch.zeros(3)})
    assert (reading.layout, reading.kind) == ("run", "mm_full")
    assert reading.left == {"mean": "is of the stage, not of its network"}
    assert all(torch.equal(reading.weights[name], value) for name, value in ours.items())


@pytest.mark.parametrize(
    ("layout", "kind", "message"),
    [
        ("uniformerv2", "videomae_pretrain", "holds uniformerv2, and this is a videomae_pretrain; .* videomae,"),
        ("videomae", "clip_text", "layouts for it: none"),
        ("videomay", "clip_text", "no layout 'videomay'; known are videomae,"),
        ("clip", "uniformerv2", "holds mm_full, and this is a uniformerv2"),
    ],
)  # fmt: skip
def test_a_layout_that_cannot_hold_a_network_is_refused(layout, kind, message):
    with pytest.raises(ValueError, match=message):
        write_checkpoint(layout, kind, CONFIGS[kind], tiny_weights(kind))


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "clip"])
def test_keys_of_another_layout_are_refused(layout):
    with pytest.raises(ValueError, match=f"not of the layout {layout}: "):
        read_checkpoint(clip_entries(), layout=layout)


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ({}, "holds no tensors; it holds nothing"),
        ({"model": {}, "epoch": 3}, "holds no tensors; it holds model, epoch"),
        ({"fc.weight": torch.zeros(2)}, r"not of any layout known here \(videomae, .*: fc.weight"),
        ({"conv": {"patch_embed.proj.weight": torch.zeros(2)}}, "holds no tensors"),
    ],
)
def test_what_is_no_checkpoint_is_refused(checkpoint, message):
    with pytest.raises(ValueError, match=message):
        read_checkpoint(checkpoint)


def test_a_kind_that_a_file_does_not_make_is_refused():
    with pytest.raises(ValueError, match="a clip file makes mm_full or uniformerv2, and not a clip_text"):
        read_checkpoint(clip_entries(), kind="clip_text")
