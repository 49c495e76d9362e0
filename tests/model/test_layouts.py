"""Every published layout both ways, and every key used or named."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from model.layouts import LAYOUTS, find_layout, read_checkpoint, write_checkpoint
from tests.support.tiny_networks import CONFIGS, tiny_entries, tiny_weights

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
        read_checkpoint(tiny_entries("clip", "mm_full"), layout=layout)


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        (
            {},
            "this holds no tensors; it holds nothing; weights lie bare or under model, module, ",
        ),
        ({"model": {}, "epoch": 3}, "model holds no tensors; it holds nothing"),
        ({"model": {"step": 3, "ema": {}}}, r"model holds no tensors; it holds step \(int\), ema \(dict\)"),
        (
            {"fc.weight": torch.zeros(2)},
            r"any layout known here: fc\.weight; taken are videomae \(patch.*, run \(model\.",
        ),
        ({"conv": {"patch_embed.proj.weight": torch.zeros(2)}}, "holds no tensors"),
    ],
)
def test_what_is_no_checkpoint_is_refused(checkpoint, message):
    with pytest.raises(ValueError, match=message):
        read_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("layout", "key", "message"),
    [
        ("clip", "visual.x", r"in the layout clip, .*: visual\.conv1\.weight is missing"),
        (
            "internvideo-mm",
            "clip.visual.conv1.weight",
            r"in the layout internvideo-mm, .*: clip\.visual\.conv1\.weight \[2\]",
        ),
        ("videomae-hf", "videomae.x", r"videomae\.embeddings\.patch_embeddings\.projection\.weight is missing"),
        ("run", "model.video.x", r"model\.video\.visual\.conv1\.weight is missing"),
    ],
)
def test_one_key_of_a_layout_is_told_of_in_its_spelling(layout, key, message):
    with pytest.raises(ValueError, match=message):
        read_checkpoint({key: torch.zeros(2)})
    with pytest.raises(ValueError, match=message):
        read_checkpoint({key: torch.zeros(2)}, layout=layout)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value.to_sparse(), r"is float32 in the form sparse_coo: dense real tensors are taken"),
        (lambda value: value.to("meta"), "is a shape without values"),
        (lambda value: value.to(torch.complex64), "is complex64 in the form strided"),
        (lambda value: value.to(torch.int32), "is int32: floating-point numbers are taken"),
        (lambda value: value > 0, "is bool: floating-point numbers are taken"),
    ],
)
@pytest.mark.parametrize("name", ["decoder.norm.weight", "mask_token"])
def test_values_that_are_no_weights_are_named(name, change, message):
    entries = tiny_entries("videomae-hf", "videomae_pretrain")
    entries[name] = change(entries[name])
    with pytest.raises(ValueError, match=re.escape(name) + " " + message):
        read_checkpoint(entries)


@pytest.mark.parametrize("number", [7, 999_999_999])
def test_a_block_that_stands_alone_fills_no_memory(number):
    entries = tiny_entries("videomae-hf", "videomae_pretrain")
    name = next(each for each in entries if each.startswith("videomae.encoder.layer.1."))
    other = name.replace(".1.", f".{number}.")
    entries[other] = entries[name]
    with pytest.raises(
        ValueError, match=r"in the layout videomae-hf, .* is missing before: videomae\.encoder\.layer\."
    ):
        read_checkpoint(entries)


def test_a_kind_that_a_file_does_not_make_is_refused():
    with pytest.raises(ValueError, match="a clip file makes mm_full or uniformerv2, and not a clip_text"):
        read_checkpoint(tiny_entries("clip", "mm_full"), kind="clip_text")
