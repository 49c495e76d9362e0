"""How much a step is: the model's own count, less for what is frozen, and what GPUs can do."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from model.flops import uniformer_work, video_text_work, videomae_classifier_work, videomae_pretrain_work
from tests.support.stages import UNIFORMER, VIT, stage_batch, stage_config
from tests.support.video_text import TINY
from train.objectives import build_objective, counts_of, inputs_of
from train.parallel import Ranks
from train.throughput import known_peak, peak_tflops, training_flops

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("settings", "visible", "predicted"),
    [
        ({}, 4, 4),
        ({"data__mask_ratio": 0.75, "data__mask_kind": "random"}, 2, 6),
        ({"data__mask_kind": "running_cell", "data__decoder_mask_ratio": 0.5}, 4, 2),
    ],
)
def test_masked_modelling_counts_what_its_masks_leave(settings, visible, predicted):
    config = stage_config("mvm", **settings)
    assert (
        training_flops(config)
        == videomae_pretrain_work(config.model, visible=visible, predicted=predicted).training_flops
    )


def test_a_classifier_counts_three_forward_passes():
    assert training_flops(stage_config("sft")) == 6 * videomae_classifier_work(VIT).total.done
    assert training_flops(stage_config("sft", model=UNIFORMER)) == 6 * uniformer_work(UNIFORMER).total.done


def test_a_frozen_backbone_counts_once():
    frozen = training_flops(stage_config("sft", model=UNIFORMER, objective__freeze_backbone=True))
    parts = uniformer_work(UNIFORMER).parts
    assert frozen == 2 * (parts["patch"].done + parts["backbone"].done) + 6 * (
        parts["global"].done + parts["head"].done
    )


def test_images_short_texts_and_a_frozen_tower_are_less():
    config = stage_config("vlc")
    whole = video_text_work(TINY)
    assert training_flops(config) == whole.training_flops == training_flops(config, frames=3, words=8)
    assert training_flops(config, frames=1) < 0.6 * whole.training_flops
    assert training_flops(config, words=4) < whole.training_flops
    text = sum(part.done for name, part in whole.parts.items() if name.startswith("text."))
    assert training_flops(stage_config("vlc", objective__freeze_text=True)) == whole.training_flops - 4 * text


def test_frozen_encoders_are_counted_as_far_as_gradients_go():
    """Torch counts what runs, and all of it but the smallest maps is in the count."""
    config = stage_config("cma")
    objective = build_objective(config, Ranks(0, 1, CPU))
    batch = stage_batch(config)
    with FlopCounterMode(display=False) as counter:
        objective(**inputs_of("cma", batch)).weighted_mean(counts_of(objective, batch)).backward()
    assert training_flops(config) * len(batch) == pytest.approx(counter.get_total_flops(), rel=0.15)


@pytest.mark.parametrize(
    ("name", "bf16"),
    [
        ("NVIDIA H100 80GB HBM3", 989.0),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA H200", 989.0),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA L4", 121.0),
        ("NVIDIA L40S", 362.0),
        ("NVIDIA A10", 125.0),
        ("NVIDIA A10G", 70.0),
        ("Tesla K80", None),
    ],
)
def test_known_gpus_have_their_peak(name, bf16):
    assert known_peak(name, "bf16") == bf16


def test_the_peak_is_the_given_one_or_the_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "NVIDIA A100-SXM4-80GB")
    assert peak_tflops(stage_config("sft"), CPU) is None
    assert peak_tflops(stage_config("sft"), CUDA) == 19.5
    assert peak_tflops(stage_config("sft", train__precision="bf16"), CUDA) == 312.0
    assert peak_tflops(stage_config("sft", train__peak_tflops=7.0), CPU) == 7.0
