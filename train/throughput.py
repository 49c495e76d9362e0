"""How much work a step is, and how much a device could do: what model-FLOPs utilisation is made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final

import torch
from jaxtyping import Bool
from torch import Tensor

from model.clip_config import AnsweringConfig, UniFormerClassifierConfig, VideoTextConfig
from model.config import ClassifierConfig, VideoMAEConfig
from model.coordination_config import CoordinationConfig
from model.flops import (
    Part,
    Work,
    coordinated_work,
    uniformer_work,
    video_text_work,
    videomae_classifier_work,
    videomae_pretrain_work,
)
from train.config import RunConfig
from train.stages import SupervisedSettings, VideoLanguageSettings

_FLOPS_OF_MAC: Final = 2

_PEAKS: Final[Mapping[str, Mapping[str, float]]] = {
    r"H100.*PCIe": {"bf16": 756.0, "fp32": 51.0},
    r"H100|H200|GH200": {"bf16": 989.0, "fp32": 67.0},
    r"A100": {"bf16": 312.0, "fp32": 19.5},
    r"L40S": {"bf16": 362.0, "fp32": 91.6},
    r"L4\b": {"bf16": 121.0, "fp32": 30.3},
    r"A10G": {"bf16": 70.0, "fp32": 35.0},
    r"A10\b": {"bf16": 125.0, "fp32": 31.2},
    r"RTX 4090": {"bf16": 165.2, "fp32": 82.6},
}
"""TFLOP/s of GPUs by a part of their names, dense (NVIDIA's data sheets; bf16 by tensor cores, fp32 without)."""


def peak_tflops(config: RunConfig, device: torch.device) -> float | None:
    """Return what a device could do in a second at the run's precision, in 10^12 FLOP; None where nobody has said.

    ``train.peak_tflops`` says so, or else the name of a known GPU.
    """
    if config.train.peak_tflops is not None:
        return config.train.peak_tflops
    if device.type != "cuda":
        return None
    return known_peak(torch.cuda.get_device_name(device), config.train.precision)


def known_peak(name: str, precision: str) -> float | None:
    """Return the peak of a GPU by its name, in 10^12 FLOP a second, or None for one that is not known."""
    return next((peaks[precision] for pattern, peaks in _PEAKS.items() if re.search(pattern, name)), None)


def training_flops(config: RunConfig, *, frames: int | None = None, words: int | None = None) -> int:
    """Return the FLOP of a training step for one sample, as model-FLOPs utilisation counts them.

    That is the forward pass three times (``Work.training_flops``), but once only for parts that are frozen with
    nothing before them that learns, and twice for frozen ones that pass a gradient on. What is done twice to save
    memory is not counted.

    Args:
        config: The run's settings.
        frames: Frames of the sample, in stage ``vlc``; None takes those of the model, 1 is an image.
        words: Tokens of its text; None takes the tower's context.
    """
    model = config.model
    if isinstance(model, VideoMAEConfig):
        return _masked_work(config, model).training_flops
    if isinstance(model, AnsweringConfig):
        return _answering_flops(model, words)
    if isinstance(model, VideoTextConfig):
        return _video_text_flops(config, model, frames, words)
    if isinstance(model, CoordinationConfig):
        return _coordinated_flops(model)
    return _classifier_flops(config, model)


def masked_flops(
    config: RunConfig, masks: Iterable[Bool[Tensor, "N"]] | None, spared: Iterable[Bool[Tensor, "N"]] | None
) -> int:
    """Return the FLOP of a training step of stage ``mvm`` for a clip of a batch, the mean over clips of any shape.

    Args:
        config: The run's settings.
        masks: For each clip, True where a cube is hidden; on the host.
        spared: For each clip, True where a hidden cube is not predicted either; None predicts all.
    """
    assert isinstance(config.model, VideoMAEConfig), "clips of several shapes are of the stage that trains it"
    assert masks is not None, "batches of this stage have masks"
    sizes = [(len(mask), int(mask.sum())) for mask in masks]
    left = [0] * len(sizes) if spared is None else [int(mask.sum()) for mask in spared]
    each = [_clip_flops(config.model, n, hidden, s) for (n, hidden), s in zip(sizes, left, strict=True)]
    return sum(each) // len(each)


@lru_cache(maxsize=4096)
def _clip_flops(model: VideoMAEConfig, tokens: int, hidden: int, spared: int) -> int:
    # Only how many cubes there are counts, not how they lie: these lie in a row.
    row = replace(model, frames=model.tubelet, image_size=(model.patch_size, tokens * model.patch_size))
    return videomae_pretrain_work(row, visible=tokens - hidden, predicted=hidden - spared).training_flops


def _masked_work(config: RunConfig, model: VideoMAEConfig) -> Work:
    data, grid = config.data, model.grid
    patches = grid.rows * grid.columns
    in_all, in_each = int(data.mask_ratio * grid.tokens), int(data.mask_ratio * patches) * grid.slots
    masked = in_each if data.mask_kind == "tube" else in_all
    predicted = masked - int(data.decoder_mask_ratio * masked)
    return videomae_pretrain_work(model, visible=grid.tokens - masked, predicted=predicted)


def _video_text_flops(config: RunConfig, model: VideoTextConfig, frames: int | None, words: int | None) -> int:
    settings = config.objective
    assert isinstance(settings, VideoLanguageSettings)
    work = video_text_work(
        replace(
            model,
            video=replace(model.video, frames=frames or model.video.frames),
            text=replace(model.text, context=words or model.text.context),
        )
    )
    once = _parts(work, "text.") if settings.freeze_text else Part(0, 0)
    return work.training_flops - 2 * _FLOPS_OF_MAC * once.done


def _answering_flops(model: AnsweringConfig, words: int | None) -> int:
    """Count the towers and the two maps of the classifier; the decoder predicts no words, and reads all positions."""
    read = words or model.text.context
    towers, decoder = (
        video_text_work(replace(model, text=replace(model.text, context=positions))).parts
        for positions in (read, read + 1)
    )
    width = model.video.width + 2 * model.text.width
    parts = {name: part for name, part in towers.items() if not name.startswith("captioner.")}
    parts |= {name: part for name, part in decoder.items() if name in {"captioner.pooler", "captioner.layers"}}
    return Work(parts | {"classifier": Part.whole(2 * width * (width + model.answers))}).training_flops


def _classifier_flops(config: RunConfig, model: ClassifierConfig | UniFormerClassifierConfig) -> int:
    if isinstance(model, ClassifierConfig):
        return videomae_classifier_work(model).training_flops
    settings = config.objective
    assert isinstance(settings, SupervisedSettings)
    work = uniformer_work(model)
    once = _parts(work, "patch", "backbone", "local") if settings.freeze_backbone else Part(0, 0)
    return work.training_flops - 2 * _FLOPS_OF_MAC * once.done


def _coordinated_flops(model: CoordinationConfig) -> int:
    """Count the encoders forward, the masked one's blocks behind the first module backward too, what is new in full."""
    work = coordinated_work(model)
    behind = model.masked.depth - 1 - model.stage_places[0]
    passed_on = _parts(work, "masked.encoder").done * behind // model.masked.depth
    new = _parts(work, "added.", "masked.head").done
    return _FLOPS_OF_MAC * (work.total.done + passed_on + 2 * new)


def _parts(work: Work, *prefixes: str) -> Part:
    return sum((part for name, part in work.parts.items() if name.startswith(prefixes)), Part(0, 0))
