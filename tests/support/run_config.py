"""Run settings of a network so small that a step takes milliseconds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hydra import compose, initialize_config_module

from model.config import VideoMAEConfig
from train.config import AdamWConfig, DataConfig, InitConfig, RunConfig, TrainConfig
from train.schema import register, to_run_config
from train.stages import MaskedSettings

MODEL = VideoMAEConfig(
    image_size=(32, 32),
    frames=4,
    width=24,
    depth=2,
    heads=2,
    decoder_width=12,
    decoder_depth=1,
    decoder_heads=2,
)


def tiny_config(out: object, **settings: Any) -> RunConfig:
    """Return settings for ``out``, changed by ``section__key=value``."""
    config = RunConfig(
        stage="mvm",
        model=MODEL,
        objective=MaskedSettings(),
        data=DataConfig(train="nowhere", batch_size=4, frames=4, stride=1, size=32, mask_ratio=0.5),
        init=InitConfig(),
        optim=AdamWConfig(lr=1e-3, warmup_steps=2),
        train=TrainConfig(max_steps=8, log_every=2, checkpoint_every=3, keep=2, device="cpu"),
        out=str(out),
    )
    return with_settings(config, **settings)


def with_settings(config: RunConfig, **settings: Any) -> RunConfig:
    """Return settings changed by ``section__key=value`` or ``section=value``, one after the other."""
    for name, value in settings.items():
        section, _, key = name.partition("__")
        changed = replace(getattr(config, section), **{key: value}) if key else value
        config = replace(config, **{section: changed})
    return config


def made(*overrides: str) -> RunConfig:
    """Return the settings of a command line."""
    register()
    with initialize_config_module("train.conf", version_base="1.3"):
        return to_run_config(compose("config", overrides=list(overrides)))
