"""The layouts that grow out of CLIP: whose file it is, what is new, what is left, and each fault by its name."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from model.clip_layouts import AnsweringLayout, ClipLayout, MultimodalLayout, RetrievalLayout, UniFormerLayout
from model.kinds import build_network
from model.layouts import read_checkpoint, write_checkpoint
from tests.support.tiny_networks import CONFIGS, tiny_entries, tiny_weights

FRAMES = {"frames": 4}
TOWERS = {"video": {"frames": 4}}
WIDTH = {"video": {"frames": 4, "embed_width": 24}}
PROJECTIONS = ("video.visual_proj", "text.text_projection")


def clip_entries():
    return tiny_entries("clip", "mm_full")


def answering_entries():
    return tiny_entries("internvideo-vqa", "mm_vqa")


@pytest.mark.parametrize(
    ("layout", "names", "kind"),
    [
        (UniFormerLayout(), ["backbone.transformer.dec.0.ln_1.weight"], "uniformerv2"),
        (UniFormerLayout(), ["transformer.temporal_cls_token"], "uniformerv2"),
        (UniFormerLayout(), ["transformer.resblocks.0.ln_1.weight"], None),
        (MultimodalLayout(), ["clip.visual.ln_pre.bias"], "mm_full"),
        (MultimodalLayout(), ["clip.visual_proj", "caption_decoder.visual_queries"], None),
        (RetrievalLayout(), ["clip.visual.ln_pre.bias"], "mm_full"),
        (AnsweringLayout(), ["clip.visual.ln_pre.bias", "vqa_classifier.1.bias"], "mm_vqa"),
        (AnsweringLayout(), ["clip.visual.ln_pre.bias"], None),
        (AnsweringLayout(), ["transformer.blocks.0.norm1.bias", "vqa_classifier.1.bias"], None),
        (ClipLayout(), ["visual.ln_pre.bias"], "mm_full"),
        (ClipLayout(), ["visual_proj"], None),
    ],
)
def test_files_are_told_by_their_keys(layout, names, kind):
    assert layout.kind_of(names) == kind


@pytest.mark.parametrize(
    ("layout", "kind", "ours", "theirs"),
    [
        (UniFormerLayout(), "uniformerv2", "conv1.weight", "backbone.conv1.weight"),
        (MultimodalLayout(), "mm_full", "text.ln_final.bias", "clip.ln_final.bias"),
        (AnsweringLayout(), "mm_vqa", "text.ln_final.bias", "clip.ln_final.bias"),
        (AnsweringLayout(), "mm_vqa", "captioner.text_norm.bias", "caption_decoder.text_norm.bias"),
        (AnsweringLayout(), "mm_vqa", "vqa_classifier.5.bias", "vqa_classifier.5.bias"),
        (ClipLayout(), "mm_full", "video.visual_proj", "visual.proj"),
        (ClipLayout(), "mm_full", "video.visual_ln_post.bias", "visual.ln_post.bias"),
        (ClipLayout(), "mm_full", "text.ln_final.bias", "ln_final.bias"),
        (ClipLayout(), "uniformerv2", "ln_pre.bias", "visual.ln_pre.bias"),
    ],
)
def test_messages_spell_our_weights_as_the_file_does(layout, kind, ours, theirs):
    assert layout.spell(kind, ours) == theirs


def test_answering_there_and_back_is_the_same():
    ours, entries = tiny_weights("mm_vqa"), answering_entries()
    reading = read_checkpoint({"state_dict": entries, "epoch": 3}, given=WIDTH)
    assert (reading.layout, reading.kind, reading.wrapper) == ("internvideo-vqa", "mm_vqa", "state_dict")
    assert reading.config == CONFIGS["mm_vqa"]
    assert reading.left == {"epoch": "lies beside the weights"}
    assert set(reading.used) == set(entries)
    assert set(reading.fresh) == set(PROJECTIONS)
    assert reading.weights.keys() == ours.keys()
    assert all(torch.equal(reading.weights[name], ours[name]) for name in ours.keys() - set(PROJECTIONS))
    again = write_checkpoint("internvideo-vqa", "mm_vqa", reading.config, reading.weights)
    assert again.left == dict.fromkeys(reversed(PROJECTIONS), "question answering files have no projections")
    assert again.entries.keys() == entries.keys()
    assert all(torch.equal(again.entries[name], value) for name, value in entries.items())


def test_answering_files_have_the_published_keys():
    names = answering_entries().keys()
    classifier = {f"vqa_classifier.{part}.{weight}" for part in (1, 2, 5) for weight in ("weight", "bias")}
    assert {name for name in names if name.startswith("vqa_")} == classifier
    assert {"clip.text_mask_embedding", "clip.visual_ln_post.bias", "caption_decoder.visual_queries"} <= names
    assert "caption_decoder.multimodal_layers.1.0.fn.rotary_emb.inv_freq" in names
    assert not names & {"clip.visual_proj", "clip.text_projection", "clip.logit_scale"}
    assert not any(name.startswith("caption_decoder.predictor") for name in names)


def test_what_is_read_answers_as_what_was_written():
    network = build_network("mm_vqa", CONFIGS["mm_vqa"]).eval()
    config, weights = CONFIGS["mm_vqa"], network.state_dict()
    entries = write_checkpoint("internvideo-vqa", "mm_vqa", config, weights).entries
    reading = read_checkpoint(entries, given=TOWERS)
    other = build_network("mm_vqa", reading.config).eval()
    other.load_state_dict(dict(reading.weights))
    generator = torch.Generator().manual_seed(0)
    video, ids = torch.randn(2, 3, 4, 16, 16, generator=generator), torch.tensor([[3, 7, 39, 0], [3, 39, 0, 0]])
    with torch.no_grad():
        torch.testing.assert_close(other(video, ids), network(video, ids), rtol=0, atol=0)


def test_the_shared_width_of_an_answering_file_is_the_texts_unless_given():
    entries = answering_entries()
    reading = read_checkpoint(entries, given=TOWERS)
    assert (reading.config.video.embed_width, reading.config.text.embed_width) == (64, 64)
    assert (reading.assumed["video.embed_width"], reading.assumed["text.embed_width"]) == (64, 64)
    given = read_checkpoint(entries, given={**TOWERS, "text": {"embed_width": 20}})
    assert (given.config.video.embed_width, given.config.text.embed_width) == (20, 20)
    assert given.weights["video.visual_proj"].shape == (64, 20)
    with pytest.raises(ValueError, match=r"video.embed_width is 20 and text.embed_width 21"):
        read_checkpoint(entries, given={"video": {"embed_width": 20}, "text": {"embed_width": 21}})


def test_projections_that_an_answering_file_has_all_the_same_are_taken():
    added = {"clip.visual_proj": torch.ones(64, 24), "clip.text_projection": torch.ones(64, 24)}
    reading = read_checkpoint({**answering_entries(), **added}, given=TOWERS)
    assert reading.config == CONFIGS["mm_vqa"]
    assert reading.fresh == ()
    assert reading.weights["video.visual_proj"].eq(1).all()
    one = read_checkpoint({**answering_entries(), "clip.visual_proj": torch.ones(64, 24)}, given=TOWERS)
    assert (one.config, one.fresh) == (CONFIGS["mm_vqa"], ("text.text_projection",))


def test_what_no_answer_depends_on_is_named():
    entries = answering_entries() | {"clip.logit_scale": torch.ones(()), "clip_k.visual.ln_pre.bias": torch.ones(2)}
    del entries["clip.text_mask_embedding"]
    reading = read_checkpoint(entries, given=TOWERS)
    assert reading.left == {
        "clip.logit_scale": "no answer depends on it",
        "clip_k.visual.ln_pre.bias": "is no part of the two towers or of the caption decoder",
    }
    assert set(reading.fresh) == {*PROJECTIONS, "text.text_mask_embedding"}


def faulty(value, fault):
    if fault == "doubled":
        return torch.cat([value, value], -1)
    return value[..., None] if fault == "an axis more" else value.flatten()[0]


@pytest.mark.parametrize("fault", ["missing", "doubled", "an axis more", "a number"])
def test_no_fault_of_any_key_of_an_answering_file_goes_unnamed(fault):
    entries = answering_entries()
    names = [name for name in entries if name != "clip.text_mask_embedding"]
    for name in {*names[::9], *(each for each in names if each.startswith("vqa_"))}:
        changed = {**entries, name: faulty(entries[name], fault)}
        if fault == "missing":
            del changed[name]
        with pytest.raises(ValueError, match=re.escape(name)):
            read_checkpoint(changed, layout="internvideo-vqa", given=TOWERS)


@pytest.mark.parametrize(
    "name",
    ["caption_decoder.predictor.4.weight", "vqa_classifier.3.weight", "clip.surprise", "clip.visual.proj",
     "caption_decoder.multimodal_layers.0.1.fn.extra"],
)  # fmt: skip
def test_an_extra_key_of_an_answering_file_is_named(name):
    with pytest.raises(ValueError, match=rf"1 unknown \({re.escape(name)} \[3\]\)"):
        read_checkpoint({**answering_entries(), name: torch.zeros(3)}, given=TOWERS)


def test_constants_of_an_answering_file_are_checked():
    name = "caption_decoder.visual_attn_pooler.norm.beta"
    with pytest.raises(ValueError, match=f"{name} does not hold the constant"):
        read_checkpoint({**answering_entries(), name: torch.ones(64)}, given=TOWERS)


def test_answering_cannot_do_without_a_captioner():
    with pytest.raises(ValueError, match="captioner is given as None"):
        read_checkpoint(answering_entries(), given={"captioner": None})
    with pytest.raises(ValueError, match="captioner is None: question answering"):
        replace(CONFIGS["mm_vqa"], captioner=None)


def test_an_answering_file_is_no_file_of_the_towers_alone():
    with pytest.raises(ValueError, match=r"clip\.visual_proj is missing"):
        read_checkpoint(answering_entries(), layout="internvideo-mm")
    with pytest.raises(ValueError, match="holds mm_vqa, and this is a mm_full"):
        write_checkpoint("internvideo-vqa", "mm_full", CONFIGS["mm_full"], tiny_weights("mm_full"))


def test_clip_in_half_precision_is_made_float32():
    halved = {name: value.half() if value.is_floating_point() else value for name, value in clip_entries().items()}
    reading = read_checkpoint(halved, given=TOWERS)
    assert reading.dtypes == {"float16": len(halved) - 3}
    assert {value.dtype for value in reading.weights.values()} == {torch.float32}
    assert torch.equal(reading.weights["video.visual_proj"], halved["visual.proj"].float())


@pytest.mark.parametrize("name", ["visual.attnpool.q_proj.weight", "transformer.resblocks.7.more", "token_type"])
def test_an_extra_key_of_clip_is_named(name):
    with pytest.raises(ValueError, match=rf"(1 unknown \(|missing before: ){re.escape(name)} \[3\]"):
        read_checkpoint({**clip_entries(), name: torch.zeros(3)}, given=TOWERS)


def test_a_uniformer_with_and_without_its_prefix_at_once_is_refused():
    entries = tiny_entries("uniformerv2", "uniformerv2")
    with pytest.raises(ValueError, match=r"backbone\.conv1\.weight and conv1\.weight are the same weight twice"):
        read_checkpoint({**entries, "conv1.weight": entries["backbone.conv1.weight"]}, given=FRAMES)


def test_a_uniformer_without_its_balance_is_said_to_be_frozen():
    weights = tiny_weights("uniformerv2")
    del weights["transformer.balance"]
    reading = read_checkpoint(weights)
    assert reading.config.frozen
    assert reading.assumed["frozen"] is True


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
