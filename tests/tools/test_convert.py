"""The convert command: from any layout to any other, with a word about every key, or one clear line."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from torch import nn
from typer.testing import CliRunner

from model.layouts import LAYOUTS, write_checkpoint
from model.plain import config_to_plain
from model.saved import describe, load_model
from pipelines.weights import read_weights, write_weights
from tests.support.tiny_networks import CONFIGS, tiny_entries, tiny_network, tiny_weights
from tools import __main__ as door
from tools.convert import ConvertRequest, convert, report_lines

SETTINGS = {
    "videomae_pretrain": ("image_size=16x24", "frames=4"),
    "videomae_classifier": ("image_size=16x24", "frames=4"),
    "uniformerv2": ("frames=4",),
    "mm_full": ("video.frames=4",),
}
RELEASED = [
    ("videomae", "videomae_pretrain", "pretrain.pth"),
    ("videomae:bare", "videomae_pretrain", "pretrain.bin"),
    ("videomae:module", "videomae_classifier", "classifier.pth"),
    ("videomae-hf", "videomae_classifier", "model.safetensors"),
    ("videomae-hf", "videomae_pretrain", "pytorch_model.bin"),
    ("uniformerv2", "uniformerv2", "k400.pyth"),
    ("uniformerv2:model_state", "uniformerv2", "k710.pyth"),
    ("internvideo-mm", "mm_full", "mm.ckpt"),
]


def call(*args):
    return CliRunner().invoke(door.app, ["convert", *(str(arg) for arg in args)])


def own_file(folder, kind):
    path = folder / f"{kind}.safetensors"
    network = tiny_network(kind)
    write_weights(path, network.state_dict(), describe(network).to_metadata())
    return path


@pytest.mark.parametrize(("to", "kind", "name"), RELEASED)
def test_there_and_back(tmp_path, to, kind, name):
    ours, theirs, back = own_file(tmp_path, kind), tmp_path / "out" / name, tmp_path / "back.safetensors"
    convert(ConvertRequest(str(ours), str(theirs), to=to))
    report = convert(ConvertRequest(str(theirs), str(back), settings=SETTINGS[kind]))
    assert (report.layout, report.kind, report.left, report.fresh) == (to.partition(":")[0], kind, {}, ())
    assert back.read_bytes() == ours.read_bytes()
    network = load_model(read_weights(back))
    assert network.config == CONFIGS[kind]
    assert report.parameters == sum(each.numel() for each in network.parameters())


@pytest.mark.parametrize(
    ("to", "kind", "wrapper", "first"),
    [
        ("videomae", "videomae_pretrain", "model", "mask_token"),
        ("videomae:module", "videomae_pretrain", "module", "mask_token"),
        ("videomae:bare", "videomae_pretrain", None, "mask_token"),
        ("videomae-hf", "videomae_pretrain", None, "mask_token"),
        ("uniformerv2", "uniformerv2", None, "backbone.class_embedding"),
        ("uniformerv2:model_state", "uniformerv2", "model_state", "backbone.class_embedding"),
        ("internvideo-mm", "mm_full", "state_dict", "clip.logit_scale"),
        ("internvideo-retrieval", "mm_full", None, "clip.logit_scale"),
        ("internvideo-vqa", "mm_vqa", "state_dict", "vqa_classifier.5.weight"),
        ("internvideo-vqa:bare", "mm_vqa", None, "vqa_classifier.5.weight"),
    ],
)
def test_torch_files_have_the_wrapper_of_their_layout(tmp_path, to, kind, wrapper, first):
    convert(ConvertRequest(str(own_file(tmp_path, kind)), str(tmp_path / "x.bin"), to=to))
    found = torch.load(tmp_path / "x.bin", weights_only=True)
    assert first in (found if wrapper is None else found[wrapper])


def test_split_matrices_take_no_more_room_than_they_have(tmp_path):
    convert(ConvertRequest(str(own_file(tmp_path, "videomae_classifier")), str(tmp_path / "x.bin"), to="videomae-hf"))
    for value in torch.load(tmp_path / "x.bin", weights_only=True).values():
        assert value.untyped_storage().nbytes() == value.nbytes


def test_released_safetensors_are_bare_and_say_that_they_are_of_torch(tmp_path):
    convert(ConvertRequest(str(own_file(tmp_path, "mm_full")), str(tmp_path / "x.safetensors"), to="internvideo-mm"))
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert "clip.visual_proj" in file.keys()  # noqa: SIM118 - it is no mapping


def test_a_question_answering_file_goes_there_and_back(tmp_path):
    ours, theirs, back = own_file(tmp_path, "mm_vqa"), tmp_path / "vqa.ckpt", tmp_path / "back.safetensors"
    written = convert(ConvertRequest(str(ours), str(theirs), to="internvideo-vqa"))
    assert set(written.unwritten) == {"video.visual_proj", "text.text_projection"}
    result = call(theirs, back, "--set", "video.frames=4", "--set", "video.embed_width=24")
    assert result.exit_code == 0, result.output
    assert "layout internvideo-vqa under state_dict, a mm_vqa of " in result.output
    assert "text.embed_width=24" in result.output.partition("no weight tells, taken: ")[2]
    assert "fresh: 2 weights: video.visual_proj, text.text_projection" in result.output
    first, again = load_model(read_weights(ours)), load_model(read_weights(back))
    assert again.config == CONFIGS["mm_vqa"]
    video, ids = torch.ones(1, 3, 4, 16, 16), torch.tensor([[5, 39, 0]])
    with torch.no_grad():
        assert torch.equal(again(video, ids), first(video, ids))
    convert(ConvertRequest(str(back), str(tmp_path / "again.ckpt"), to="internvideo-vqa"))
    one, two = (torch.load(tmp_path / name, weights_only=True)["state_dict"] for name in ("vqa.ckpt", "again.ckpt"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], value) for name, value in two.items())


def test_a_question_answering_file_with_a_fault_is_one_clear_line(tmp_path):
    weights = tiny_entries("internvideo-vqa", "mm_vqa")
    data = {"state_dict": weights | {"clip.surprise": torch.zeros(2)}, "hyper_parameters": argparse.Namespace(lr=1)}
    torch.save(data, tmp_path / "vqa.ckpt")
    (tmp_path / "short.ckpt").write_bytes((tmp_path / "vqa.ckpt").read_bytes()[:-900])
    for name, options, message in (
        ("vqa.ckpt", (), "give --trust"),
        ("vqa.ckpt", ("--trust",), "1 unknown (clip.surprise [2])"),
        ("short.ckpt", ("--trust",), "is cut off or damaged"),
    ):
        result = call(tmp_path / name, tmp_path / "x.safetensors", *options)
        assert (result.exit_code, result.output.count("\n")) == (2, 1)
        assert message in result.output
        assert not (tmp_path / "x.safetensors").exists()


def test_one_published_layout_becomes_another(tmp_path):
    entries = write_checkpoint(
        "videomae-hf", "videomae_pretrain", CONFIGS["videomae_pretrain"], tiny_weights("videomae_pretrain")
    ).entries
    torch.save(dict(entries), tmp_path / "hf.bin")
    convert(ConvertRequest(str(tmp_path / "hf.bin"), str(tmp_path / "x.pth"), to="videomae"))
    found = torch.load(tmp_path / "x.pth", weights_only=True)["model"]
    assert found.keys() == tiny_weights("videomae_pretrain").keys()


def test_a_training_file_is_told_about_key_by_key(tmp_path):
    weights = {name: value.half() for name, value in tiny_weights("videomae_pretrain").items()}
    path = tmp_path / "checkpoint-799.pth"
    torch.save({"model": weights, "optimizer": {}, "epoch": 799, "args": argparse.Namespace(lr=1)}, path)
    refused = call(path, tmp_path / "x.safetensors")
    assert refused.exit_code == 2
    assert "argparse.Namespace" in refused.output
    assert "--trust" in refused.output
    assert refused.output.count("\n") == 1
    result = call(path, tmp_path / "x.safetensors", "--trust", "--set", "image_size=16x24")
    assert result.exit_code == 0, result.output
    assert "layout videomae under model, a videomae_pretrain of " in result.output
    assert (
        "no weight tells, taken: frames=16 heads=1 norm_eps=1e-06 decoder_heads=1 (--set gives others)" in result.output
    )
    assert f"used: {len(weights)} keys ({len(weights)} float16; made float32)" in result.output
    assert "left over, lies beside the weights: optimizer, epoch, args" in result.output
    assert result.output.endswith(f"x.safetensors: layout vidloom, {len(weights)} keys\n")


def test_json_holds_the_whole_report(tmp_path):
    path = tmp_path / "mm.ckpt"
    entries = write_checkpoint("internvideo-mm", "mm_full", CONFIGS["mm_full"], tiny_weights("mm_full")).entries
    torch.save({"state_dict": {**entries, "queue_ptr": torch.zeros(1)}, "epoch": 2}, path)
    result = call(path, tmp_path / "x.safetensors", "--set", "video.frames=4", "--json")
    report = json.loads(result.output)
    assert set(report["used"]) == set(entries)
    assert report["left"] == {
        "epoch": "lies beside the weights",
        "queue_ptr": "is no part of the two towers or of the caption decoder",
    }
    assert (report["kind"], report["config"]["video"]["frames"], report["to"]) == ("mm_full", 4, "vidloom")
    assert report["assumed"].keys() >= {"video.image_size", "video.heads", "text.heads", "padding_id"}


def test_pretraining_becomes_a_classifier_the_same_each_time(tmp_path):
    path = own_file(tmp_path, "videomae_pretrain")
    outs = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for out in outs:
        torch.manual_seed(len(out.name))
        result = call(path, out, "--kind", "videomae_classifier", "--set", "classes=9")
        assert "fresh: 4 weights: fc_norm.weight, fc_norm.bias, head.weight, head.bias" in result.output
        assert "the classification network has no use for it: " in result.output
        assert "decoder.blocks.{0-3}.attn.proj.bias" in result.output
    assert outs[0].read_bytes() == outs[1].read_bytes()
    network = load_model(read_weights(outs[0]))
    assert network.config == replace(CONFIGS["videomae_classifier"], classes=9)
    assert network(torch.zeros(1, 3, 4, 16, 24)).shape == (1, 9)


def test_fields_of_our_own_files_can_change(tmp_path):
    path = own_file(tmp_path, "videomae_classifier")
    convert(ConvertRequest(str(path), str(tmp_path / "x.safetensors"), settings=("frames=8",)))
    assert load_model(read_weights(tmp_path / "x.safetensors")).config.frames == 8
    with pytest.raises(ValueError, match=r"head\.weight is \[5, 64\] and should be \[6, 64\]"):
        convert(ConvertRequest(str(path), str(tmp_path / "x.safetensors"), settings=("classes=6",)))


def test_what_a_layout_cannot_hold_is_named(tmp_path):
    report = convert(ConvertRequest(str(own_file(tmp_path, "mm_full")), str(tmp_path / "clip.pt"), to="clip"))
    lines = "\n".join(report_lines(report))
    assert "not written, CLIP has no such part: captioner." in lines
    assert "video.visual.transformer.dpe.{0-1}.weight" in lines


def test_an_archive_of_clip_is_read_with_trust(tmp_path):
    root = nn.Module()
    for name, value in write_checkpoint("clip", "mm_full", CONFIGS["mm_full"], tiny_weights("mm_full")).entries.items():
        *path, last = name.split(".")
        owner = root
        for part in path:
            if not hasattr(owner, part):
                owner.add_module(part, nn.Module())
            owner = getattr(owner, part)
        owner.register_buffer(last, value)
    torch.jit.script(root).save(tmp_path / "clip.pt")
    assert call(tmp_path / "clip.pt", tmp_path / "x.safetensors").exit_code == 2
    result = call(tmp_path / "clip.pt", tmp_path / "x.safetensors", "--trust")
    assert result.exit_code == 0, result.output
    assert "input_resolution, context_length, vocab_size" in result.output


@pytest.mark.parametrize("named", [{}, {"kind": "videomae_pretrain"}])
def test_a_runs_checkpoint_takes_its_sizes_from_the_run(tmp_path, named):
    folder = tmp_path / "step-00000010"
    weights = {f"model.{name}": value for name, value in tiny_weights("videomae_pretrain").items()}
    write_weights(folder / "model.safetensors", weights)
    model = {**named, **config_to_plain(CONFIGS["videomae_pretrain"]), "drop_path": 0.1}
    (folder / "state.json").write_text(json.dumps({"config": {"model": model}}))
    report = convert(ConvertRequest(str(folder / "model.safetensors"), str(tmp_path / "x.pth"), to="videomae"))
    assert report.layout == "run"
    assert (report.config["frames"], report.config["drop_path"]) == (4, 0.1)
    assert torch.load(tmp_path / "x.pth", weights_only=True)["model"].keys() == tiny_weights("videomae_pretrain").keys()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["x.pth"], "our own files are safetensors"),
        (["x"], "x has the suffix none; taken are .safetensors, .pth"),
        (["x.safetensors", "--to", "videomay"], "there is no layout 'videomay'; known are videomae,"),
        (["x.safetensors", "--to", "videomae:model"], "leave :model out"),
        (["x.pth", "--to", "videomae:state_dict"], "files have their weights bare or model or module"),
        (["x.pth", "--to", "run"], "the layout run is read, and not written"),
        (["x.pth", "--to", "uniformerv2"], "holds uniformerv2, and this is a videomae_pretrain"),
        (["x.safetensors", "--layout", "clip"], "is a file of ours, and not of the layout clip"),
        (["x.safetensors", "--set", "frames"], "'frames' is no setting"),
        (["x.safetensors", "--set", "frames=5"], "frames is 5 and tubelet 2"),
        (["x.safetensors", "--kind", "clip_text"], "a videomae file makes"),
    ],
)
def test_a_wrong_request_is_one_clear_line(tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    path = own_file(tmp_path, "videomae_pretrain")
    result = call(path, *args)
    assert result.exit_code == 2
    assert result.output.startswith("vidloom: error: ")
    assert message in result.output
    assert result.output.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("layout", [*LAYOUTS, "vidloom"])
def test_a_file_of_another_layout_is_one_clear_line(tmp_path, layout):
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "x.pth")
    result = call(tmp_path / "x.pth", tmp_path / "y.safetensors", "--layout", layout)
    assert result.exit_code == 2
    assert "x.pth" in result.output
    assert result.output.count("\n") == 1


@pytest.mark.parametrize("data", [b"", b"text", b"PK\x03\x04", b"\x80\x02", (99).to_bytes(8, "little") + b"{"])
def test_what_is_no_checkpoint_is_one_clear_line(tmp_path, data):
    (tmp_path / "x.pth").write_bytes(data)
    result = call(tmp_path / "x.pth", tmp_path / "y.safetensors")
    assert result.exit_code == 2
    assert result.output.startswith("vidloom: error: ")
    assert result.output.count("\n") == 1
    assert not (tmp_path / "y.safetensors").exists()


def test_an_absent_file_is_wrong_usage(tmp_path):
    assert call(tmp_path / "none.pth", tmp_path / "y.safetensors").exit_code == 2


def test_a_damaged_file_of_ours_is_refused(tmp_path):
    network = tiny_network("clip_text")
    weights = {name: value for name, value in network.state_dict().items() if name != "ln_final.bias"}
    write_weights(tmp_path / "x.safetensors", weights, describe(network).to_metadata())
    with pytest.raises(ValueError, match=r"x\.safetensors .*1 missing \(ln_final\.bias \[64\]\)"):
        convert(ConvertRequest(str(tmp_path / "x.safetensors"), str(tmp_path / "y.safetensors")))


def test_a_key_that_would_break_the_line_is_spelt_out(tmp_path):
    torch.save({"fc\n\x1b[2J": torch.zeros(3)}, tmp_path / "x.pth")
    result = call(tmp_path / "x.pth", tmp_path / "y.safetensors")
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert r"known here: fc\n\x1b[2J; taken are videomae (patch_embed.proj.*" in result.output


def test_a_damaged_state_beside_a_runs_weights_is_named(tmp_path):
    write_weights(tmp_path / "model.safetensors", {"model.encoder.x": torch.zeros(1)})
    (tmp_path / "state.json").write_text("{no")
    result = call(tmp_path / "model.safetensors", tmp_path / "y.safetensors")
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert "state.json, which tells the sizes of" in result.output
    (tmp_path / "state.json").write_text("[]")
    assert (
        "patch_embed.proj.weight is missing" in call(tmp_path / "model.safetensors", tmp_path / "y.safetensors").output
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--set", "depth=100000000"], "depth is 100000000, and "),
        (["--kind", "nope"], "cannot build a 'nope': supported are videomae_pretrain,"),
        (["--layout", "nope"], "there is no layout 'nope'; known are videomae,"),
    ],
)
def test_a_wrong_word_is_told_of_before_any_work(tmp_path, args, message):
    result = call(own_file(tmp_path, "videomae_pretrain"), tmp_path / "y.safetensors", *args)
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert message in result.output


def test_a_folder_names_its_checkpoints(tmp_path):
    own_file(tmp_path, "clip_text")
    result = call(tmp_path, tmp_path / "y.safetensors")
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert result.output.endswith(f"{tmp_path} is a folder, and a file is taken: one of clip_text.safetensors\n")
