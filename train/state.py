"""TrainState: how far a run is, in steps and in the data, as one thing with a version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch

FORMAT: Final = 2
"""Version of a checkpoint: of its ``state.json`` and of the files beside it."""

_READ: Final = (1, FORMAT)
"""Versions that are read: the first has whole tensors only and no list of them."""

_MUST_FIT: Final = (
    "stage",
    "model",
    "objective.normalize_target",
    "objective.freeze_text",
    "objective.freeze_backbone",
    "data.batch_size",
    "data.frames",
    "data.stride",
    "data.size",
    "data.lanes",
    "data.window",
    "data.mask_ratio",
    "data.mask_kind",
    "data.decoder_mask_ratio",
    "data.image_batch_size",
    "data.image_ratio",
    "data.image_crop",
    "data.image_crop_scale",
    "data.sampling",
    "data.crop",
    "data.crop_scale",
    "data.crop_ratio",
    "data.flip",
    "data.colours",
    "data.randaugment",
    "data.erasing",
    "data.repeats",
    "data.clips",
    "data.rate",
    "data.variable_rate",
    "data.resample",
    "data.image_resample",
    "data.label",
    "train.seed",
)
"""Settings that decide what the model is and what it is fed: with others it would be another run.

Datasets, vocabularies and lists of classes may lie elsewhere; that they are the same stands in the loaders' states.
"""

_FIRST: Final = ("stage ", "model.kind ")
"""Settings that others follow from, named before those."""

_SHOWN: Final = 8
"""How many settings a message names."""

_ADDED: Final[Mapping[str, Any]] = {
    "model.kind": "videomae_pretrain",
    "model.dropout": 0.0,
    "model.attention_dropout": 0.0,
    "model.resize_positions": True,
    "model.captioner.init_std": 0.02,
    "data.mask_kind": "tube",
    "objective.normalize_target": True,
    "data.decoder_mask_ratio": 0.0,
    "data.image_ratio": 1.0,
    "data.image_crop": "random_resized",
    "data.image_crop_scale": [0.9, 1.0],
    "data.sampling": "dense",
    "data.crop": "multiscale",
    "data.crop_scale": [0.08, 1.0],
    "data.crop_ratio": [0.75, 1.3333],
    "data.flip": 0.0,
    "data.colours": "imagenet",
    "data.erasing": 0.0,
    "data.repeats": 1,
    "data.clips": 1,
    "data.rate": 2.0,
    "data.variable_rate": "time",
    "data.resample": "bilinear",
    "optim.schedule": "cosine",
    "optim.warmup_start": 0.0,
    "optim.warmup_epochs": 40.0,
    "optim.decay_rule": "videomae",
    "train.epochs": 801,
    "train.strategy": "ddp",
    "train.compile": False,
    "train.skip_nonfinite": 0,
}
"""Settings that checkpoints of this format may lack, with what the runs that wrote those did."""

_MEMORY_ONLY: Final = ("checkpoint_blocks",)
"""Settings among those, of any part of the model, that change only how much memory a step takes."""

_SHAPES_RESULT: Final = (
    "objective",
    "optim",
    "train.max_steps",
    "train.epochs",
    "train.precision",
    "train.strategy",
    "train.compile",
    "train.ema",
    "train.skip_nonfinite",
    "data.decoder",
)
"""Settings that may change on purpose, but never unnoticed."""


@dataclass(frozen=True, slots=True)
class TrainState:
    """Where a run stands after ``step`` optimiser steps and ``samples`` samples (of all ranks, broken ones too).

    ``loader`` is the loader's own state, ``config`` the run's settings, ``device`` the type of the device that the run
    was on: clips are decoded and augmented there, so the last bits of a pixel hang on it. Random numbers are in it as
    well: those of a step follow from ``train.seed``, ``step`` and the rank (``seed_step``), whatever happened before.
    """

    config: Mapping[str, Any]
    step: int = 0
    samples: int = 0
    loader: Mapping[str, Any] | None = None
    device: str = "cpu"

    def advance(self, samples: int, loader: Mapping[str, Any]) -> TrainState:
        """Return the state one step on, after ``samples`` more samples that left the loader at ``loader``."""
        return replace(self, step=self.step + 1, samples=self.samples + samples, loader=loader)

    def to_json(self) -> dict[str, Any]:
        """Return the state as plain values, as JSON holds them."""
        return {
            "format": FORMAT,
            "step": self.step,
            "samples": self.samples,
            "loader": self.loader,
            "device": self.device,
            "config": self.config,
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], *, source: str) -> TrainState:
        """Read what ``to_json`` wrote.

        Raises:
            ValueError: another format, or fields that are absent; the message names ``source``.
        """
        if plain.get("format") not in _READ:
            raise ValueError(f"{source} has format {plain.get('format')!r}; this version reads formats 1 to {FORMAT}")
        try:
            return cls(*(plain[name] for name in ("config", "step", "samples", "loader", "device")))
        except KeyError as error:
            raise ValueError(f"{source} lacks the field {error}; it is no whole checkpoint") from None

    def resumed_with(self, config: Mapping[str, Any], device: str, *, source: str) -> TrainState:
        """Return the state for a run that goes on with the settings ``config`` on a device of the type ``device``.

        Raises:
            ValueError: settings that must stay differ; the message names each with both values.
        """
        wrong = sorted(
            differences(self.config, config, _MUST_FIT),
            key=lambda text: [not text.startswith(first) for first in _FIRST],
        )
        if wrong:
            told = wrong[:_SHOWN] + [f"and {len(wrong) - _SHOWN} more settings"] * (len(wrong) > _SHOWN)
            raise ValueError(
                f"{source} does not fit this run: {'; '.join(told)}. Give the old values, or another out, or"
                " train.resume=false with an empty out",
            )
        return replace(self, config=config, device=device)

    def changes(self, config: Mapping[str, Any], device: str) -> list[str]:
        """Return, in words, what changes the result and differs in ``config``, or by ``device``."""
        moved = f"the device was {self.device}, is {device}, and with it the decoder, which rounds pixels otherwise"
        return differences(self.config, config, _SHAPES_RESULT) + [moved] * (device != self.device)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    """Return ``name was X, is Y`` for every setting under ``names`` (dotted) with two values that matter.

    A setting that came after the first checkpoints and that one side lacks has the value that was the only one before.
    """
    flat_old, flat_new = {**_ADDED, **_flatten(old)}, {**_ADDED, **_flatten(new)}
    return [
        f"{key} was {flat_old.get(key)}, is {flat_new.get(key)}"
        for key in sorted(flat_old.keys() | flat_new.keys())
        if key.rpartition(".")[2] not in _MEMORY_ONLY
        if flat_old.get(key) != flat_new.get(key) and any(key == name or key.startswith(f"{name}.") for name in names)
    ]


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch's generators for one step of one rank, so that random numbers need no saved state and never repeat."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0]))


def _flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= _flatten(_by_number(value), f"{prefix}{key}.") if _holds_more(value) else {f"{prefix}{key}": value}
    return flat


def _holds_more(value: object) -> bool:
    """Tell whether a value has settings in it: those of a part, or of several parts of a kind."""
    return isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(each, Mapping) for each in value))


def _by_number(value: Any) -> Mapping[str, Any]:  # noqa: ANN401 - a mapping, or a list of mappings
    return value if isinstance(value, Mapping) else {str(number): each for number, each in enumerate(value)}
