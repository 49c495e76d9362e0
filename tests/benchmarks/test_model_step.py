"""The comparison of steps: both sides answer, results are compared, and a missing checkout is said clearly."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from benchmarks import model_step
from benchmarks.sides.networks import TASKS, draw_mask, draw_video, draw_weights
from benchmarks.sides.ours import own_network, own_step
from benchmarks.sides.plain_attention import attend_plainly, matrix_attention
from benchmarks.sides.public import missing_files
from model import attention
from model.foreign_configs import pretrain_config, uniformer_config
from model.kinds import build_network

PUBLIC = os.environ.get("VIDLOOM_REFERENCE_DIR")
READERS = {"videomae_pretrain": pretrain_config, "uniformerv2": uniformer_config}

# A checkout whose network is ours, so that the whole command runs without the public code.
STAND_IN = """
from timm.models.layers import {needed}
from model.foreign_configs import {reader}
from model.kinds import build_network

def {name}(**fields):
    network = build_network("{kind}", {reader}(fields)).eval()
    plain = network.forward
    network.forward = lambda *given: {factor} * {result}
    return network
"""


def stand_in(folder, factor=1.0):
    base = folder / "InternVideo1/Pretrain"
    (base / "VideoMAE").mkdir(parents=True)
    (base / "UniFormerV2/slowfast/models").mkdir(parents=True)
    (base / "VideoMAE/modeling_finetune.py").write_text("import slowfast.utils.logging as logging\n")
    (base / "VideoMAE/modeling_pretrain.py").write_text(
        STAND_IN.format(
            needed="DropPath, trunc_normal_",
            reader="pretrain_config",
            name="PretrainVisionTransformer",
            kind="videomae_pretrain",
            factor=factor,
            result="plain(*given).prediction",
        )
    )
    (base / "UniFormerV2/slowfast/models/uniformerv2_model.py").write_text(
        STAND_IN.format(
            needed="to_2tuple",
            reader="uniformer_config",
            name="VisionTransformer",
            kind="uniformerv2",
            factor=factor,
            result="plain(*given)",
        )
    )
    return folder


def run(folder, *more):
    return model_step.main(["--reference", str(folder), "--size", "tiny", "--rounds", "1", "--threads", "1", *more])


def test_a_folder_that_is_no_checkout_is_a_fault(capsys):
    assert model_step.main(["--reference", "nowhere"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--reference FOLDER" in said


def test_without_a_checkout_plain_attention_is_the_peer(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("VIDLOOM_REFERENCE_DIR", raising=False)
    out = tmp_path / "figures.json"
    given = ["--size", "tiny", "--networks", "uniformerv2", "--rounds", "1", "--threads", "1", "--json", str(out)]
    assert model_step.main(given) == 0
    (found,) = json.loads(out.read_text())
    assert found["task"] == TASKS["uniformerv2", "tiny"].title
    assert found["ratio"].keys() == {"plain"}
    assert 0 < found["difference"]["plain"]["results"] < model_step.MOST_RESULTS  # another way to the same
    assert "no public code to compare with" in capsys.readouterr().out


def test_a_checkout_is_known_by_its_files(tmp_path):
    assert len(missing_files(tmp_path)) == 3
    assert not missing_files(stand_in(tmp_path))


def test_all_sides_run_and_agree(tmp_path, capsys):
    out = tmp_path / "figures.json"
    assert run(stand_in(tmp_path), "--json", str(out), "--networks", "videomae_pretrain") == 0
    (found,) = json.loads(out.read_text())
    assert found["task"] == TASKS["videomae_pretrain", "tiny"].title
    assert found["same"]
    assert all(len(found[side]) == 1 for side in ("public", "ours", "plain"))
    assert all(step["wall"] > 0 and step["memory"] > 0 for step in found["ours"])
    assert {"wall", "cpu", "memory"} == set(found["ratio"]["public"]) == set(found["ratio"]["plain"])
    assert 0 < found["difference"]["plain"]["gradients"] < model_step.MOST_GRADIENTS
    assert "public over ours" in capsys.readouterr().out


def test_other_results_are_refused(tmp_path, capsys):
    assert run(stand_in(tmp_path, factor=1.01), "--networks", "uniformerv2") == 1
    assert "do not compute the same" in capsys.readouterr().out


def test_a_side_that_dies_is_named(tmp_path, capfd):
    folder = stand_in(tmp_path)
    (folder / "InternVideo1/Pretrain/VideoMAE/modeling_pretrain.py").write_text("raise RuntimeError('broken')\n")
    with pytest.raises(SystemExit, match="'public' ended"):
        run(folder, "--networks", "videomae_pretrain")
    assert "broken" in capfd.readouterr().err


@pytest.mark.parametrize("causal", [False, True])
def test_plain_attention_is_attention(causal):
    q, k, v = torch.randn(3, 2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    expected = attention.attention(q, k, v, bias=attention.Causal() if causal else None, scale=0.3)
    torch.testing.assert_close(matrix_attention(q, k, v, causal=causal, scale=0.3), expected)


def test_plain_attention_takes_the_place_of_ours(monkeypatch):
    monkeypatch.setattr(attention, "_sdpa", attention._sdpa)  # given back afterwards
    attend_plainly()
    assert attention._sdpa is matrix_attention
    q = torch.randn(1, 3, 2, 4)
    torch.testing.assert_close(attention.attention(q, q, q), matrix_attention(q, q, q))


@pytest.mark.parametrize("kind", READERS)
def test_our_step_is_the_networks(kind):
    task = TASKS[kind, "tiny"]
    donor = build_network(kind, READERS[kind](task.fields))
    draw_weights(donor)
    assert min(value.abs().max() for value in donor.state_dict().values()) > 0
    network = own_network(task, donor.state_dict())
    result = own_step(task, network, draw_video(task))()
    assert torch.isfinite(result).all()
    assert network.training == (kind == "videomae_pretrain")
    assert all((p.grad is not None) == network.training for p in network.parameters())


def test_masks_are_tubes():
    mask = draw_mask(TASKS["videomae_pretrain", "full"])
    assert mask.shape == (2, 8 * 196)
    slots = mask.view(2, 8, 196)
    assert (slots == slots[:, :1]).all()
    assert mask.sum(dim=1).tolist() == [8 * 176] * 2
    assert (mask[0] != mask[1]).any()


@pytest.mark.skipif(PUBLIC is None, reason="VIDLOOM_REFERENCE_DIR names no checkout of OpenGVLab/InternVideo")
def test_public_code_agrees():
    assert run(Path(PUBLIC)) == 0
