"""Runs as they lie on disk, with tiny networks and without having trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from model.plain import config_to_plain
from pipelines.text import TextTokenizer
from pipelines.text_training import train_tokenizer
from shards.store import open_store
from tests.support.tiny_networks import CONFIGS, EVERY_CONFIG, tiny_weights
from train.checkpoint import Checkpoints
from train.state import TrainState

STAGES = {
    "videomae_pretrain": "mvm",
    "mm_full": "vlc",
    "videomae_classifier": "sft",
    "uniformerv2": "sft",
    "coordination": "cma",
}
DATA = {"train": "s3://corpus/clips", "batch_size": 4, "frames": 4, "stride": 2, "size": 16}
DIGEST = "4" * 64


def save_run(
    out: object,
    kind: str,
    config: object = None,
    *,
    step: int = 3,
    weights: Mapping[str, Tensor] | None = None,
    average: Mapping[str, Tensor] | None = None,
    **settings: Any,
) -> dict[str, Tensor]:
    """Write a checkpoint of a run with the tiny network of a kind; return the network's weights."""
    config = config or EVERY_CONFIG[kind]
    weights = tiny_weights(kind, config) if weights is None else dict(weights)
    plain = {
        "stage": STAGES[kind],
        "model": {"kind": kind} | config_to_plain(config),
        "data": DATA | settings.pop("data", {}),
        **settings,
    }
    loader = {"digests": [DIGEST], "samples": 4 * step}
    tensors = {f"model/model.{name}": value for name, value in weights.items()}
    tensors |= {f"ema/model.{name}": value for name, value in (average or {}).items()}
    tensors["optim/model.x/step"] = torch.zeros(())
    with Checkpoints(open_store(str(out)), keep=9) as saves:
        saves.save(TrainState(plain, step, 4 * step, loader), tensors)
    return weights


def tiny_words(context: int = 8) -> TextTokenizer:
    """Return the smallest vocabulary that there is."""
    return train_tokenizer(["a red dog runs", "two dogs sit"] * 2, vocabulary=520, context=context)


def towers_with_words() -> Any:
    """Return the tiny towers with room for the ids of ``tiny_words``."""
    config = CONFIGS["mm_full"]
    vocabulary = tiny_words().vocabulary
    return replace(
        config,
        text=replace(config.text, vocabulary=vocabulary),
        captioner=replace(config.captioner, vocabulary=vocabulary),
    )
