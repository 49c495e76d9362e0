"""Run settings and batches of every stage, with networks so small that a step takes milliseconds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from model.clip_config import AnsweringConfig, UniFormerClassifierConfig
from model.config import ClassifierConfig
from model.coordination_config import CoordinationConfig
from pipelines.batch import VideoTextBatch
from tests.support.run_config import tiny_config, with_settings
from tests.support.video_text import TINY, texts
from train.config import RunConfig
from train.parallel import Ranks
from train.stages import CoordinationSettings, SupervisedSettings, VideoLanguageSettings
from train.step import TrainStep

VIT = ClassifierConfig(
    image_size=(16, 16), frames=4, patch_size=8, width=16, depth=2, heads=2, classes=5, head_scale=1.0
)
UNIFORMER = UniFormerClassifierConfig(
    image_size=(16, 16),
    frames=4,
    patch_size=8,
    width=16,
    depth=2,
    heads=2,
    global_blocks=(0, 1),
    global_dropout=0.0,
    head_dropout=0.0,
    classes=5,
)
ANSWERING = AnsweringConfig(
    video=replace(TINY.video, frames=4), text=TINY.text, captioner=TINY.captioner, answers=5, answer_dropout=0.0
)
COORDINATION = CoordinationConfig(VIT, (UNIFORMER,), head_width=8, dropout=0.0)
CLIPS = {"frames": 4, "size": 16, "label": "class"}


class Words:
    """What a run asks of its tokenizer, for the ids of ``tests.support.video_text``."""

    vocabulary, context, padding_id = 30, 8, 0


def stage_config(stage: str, out: object = "x", **settings: Any) -> RunConfig:
    """Return settings for a stage, changed by ``section__key=value``."""
    config = tiny_config(out, data__batch_size=8)
    if stage == "vlc":
        data = replace(config.data, frames=3, size=16)
        config = replace(config, stage=stage, model=TINY, objective=VideoLanguageSettings(), data=data)
    elif stage != "mvm":
        model, objective = (VIT, SupervisedSettings()) if stage == "sft" else (COORDINATION, CoordinationSettings())
        config = replace(config, stage=stage, model=model, objective=objective, data=replace(config.data, **CLIPS))
    return with_settings(config, **settings)


def stage_batch(config: RunConfig, rows: slice = slice(None), *, number: int = 0, broken: tuple[int, ...] = ()) -> Any:
    """Return some rows of the global batch ``number`` of a stage, which is pure in its number."""
    clips = config.data.batch_size * config.data.repeats
    generator = torch.Generator().manual_seed(number)
    size, frames = config.data.size, config.data.frames
    video = torch.randn(clips, 3, frames, size, size, generator=generator)
    valid = torch.tensor([at not in broken for at in range(clips)])
    video[~valid] = 0
    parts: dict[str, Any] = {}
    if config.stage == "mvm":
        half = torch.arange(4) < 2
        parts["mask"] = torch.stack([half[torch.randperm(4, generator=generator)].repeat(2) for _ in range(clips)])
    if hasattr(config.model, "text"):
        parts["tokens"] = texts(clips)
    if config.rules.labels:
        parts["label"] = torch.randint(5, (clips,), generator=generator)
    names = [f"{number}-{at}" for at in range(clips)]
    return VideoTextBatch(
        video=video,
        valid=valid,
        frame_times=torch.zeros(clips, frames),
        keys=names,
        captions=names,
        sources=names,
        **parts,
    ).select(rows)


def randomise(objective: nn.Module) -> None:
    """Give every parameter a value that matters, also those that start at zero."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in objective.named_parameters():
            if parameter.ndim:
                drawn = torch.randn(parameter.shape, generator=generator) * 0.15
                parameter.copy_(drawn + name.endswith(("norm.weight", "gamma")))


def build_step(config: RunConfig, ranks: Ranks) -> TrainStep:
    """Build what takes steps of a stage, with the same weights wherever it is."""
    return TrainStep(config, ranks, tokenizer=Words() if hasattr(config.model, "text") else None, initialise=randomise)  # type: ignore[arg-type]  # what a run asks of a tokenizer
