"""Putting a run together: its parts by the settings, its state from the newest checkpoint if there is one."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch

from pipelines.loader import Loader, build_loader
from pipelines.settings import LoaderConfig, MaskConfig
from shards.store import open_store
from train.checkpoint import Checkpoint, Checkpoints
from train.config import RunConfig
from train.metrics import LogFolder, Pace, cut_drops, drop_log, log_folder
from train.optim import Schedule, lr_schedule, restore_adamw
from train.parallel import Ranks, StopSignal
from train.state import TrainState
from train.step import TrainStep

RECIPE_EPOCHS: Final = 801
"""Epochs of a run whose ``train.max_steps`` is null: those of the B hybrid recipe (``train/conf``)."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Run:
    """The parts of a run, put together, and the state that it starts from."""

    config: RunConfig
    ranks: Ranks
    stop: StopSignal
    saves: Checkpoints
    folder: LogFolder
    loader: Loader
    step: TrainStep
    rates: Schedule
    pace: Pace
    state: TrainState


@contextmanager
def prepare(config: RunConfig, ranks: Ranks) -> Iterator[Run]:
    """Put a run together, new or from the newest checkpoint under ``config.out``; its parts close at the end.

    Raises:
        ValueError: the dataset, a checkpoint or a setting does not fit; the message names it.
        OSError: something cannot be read or written.
    """
    store = open_store(config.out)
    saves = Checkpoints(store, config.train.keep)
    with StopSignal() as stop, log_folder(store) as folder:
        step, state = begin(config, ranks, saves)
        cut_drops(folder, ranks, state.samples)
        with build_loader(loader_config(config, ranks, folder), state.loader) as loader:
            if ranks.first:
                store.put("config.json", json.dumps(config.as_dict(), indent=1).encode())
            rates = lr_schedule(config.optim, config.data.batch_size, total_steps(config, loader))
            _log.info("%s", describe(config, ranks, step, loader))
            pace = Pace(rates.total_steps, loader.order.samples_per_epoch, config.train.log_every)
            yield Run(config, ranks, stop, saves, folder, loader, step, rates, pace, state)


def begin(config: RunConfig, ranks: Ranks, saves: Checkpoints) -> tuple[TrainStep, TrainState]:
    """Build what the run starts with; the checkpoint's own copy of it is let go of.

    Raises:
        ValueError: a checkpoint does not fit, or a new run would write among those of another.
    """
    found = find_checkpoint(saves, resume=config.train.resume)
    state = first_state(config, ranks.device.type, found)
    return build_step(config, ranks, found), state


def describe(config: RunConfig, ranks: Ranks, step: TrainStep, loader: Loader) -> str:
    """Return one line that says what runs on what."""
    weights = sum(param.numel() for param in step.objective.parameters()) / 1e6
    return (
        f"{config.stage}: {weights:.1f} M parameters on {ranks.device} x {ranks.world}, {config.train.precision},"
        f" attention by {step.attention}; {loader.order.samples_per_epoch} clips an epoch from {config.data.train},"
        f" {config.data.batch_size} a step"
    )


def total_steps(config: RunConfig, loader: Loader) -> int:
    """Return the steps of the whole run: as told, or as many epochs as the recipe has."""
    return config.train.max_steps or RECIPE_EPOCHS * loader.batches_per_epoch


def find_checkpoint(saves: Checkpoints, *, resume: bool) -> Checkpoint | None:
    """Return the checkpoint that the run goes on from, or None for a new run.

    Raises:
        ValueError: ``out`` holds checkpoints and the run shall not go on from them.
    """
    steps = saves.steps()
    if steps and not resume:
        raise ValueError(
            f"{saves.store.url} holds checkpoints up to step {steps[-1]} and train.resume=false; choose another out, or"
            " train.resume=true to go on",
        )
    return saves.newest()


def first_state(config: RunConfig, device: str, found: Checkpoint | None) -> TrainState:
    """Return where the run starts, saying aloud what has changed since the checkpoint.

    Raises:
        ValueError: the checkpoint is of another run; each setting that differs is named.
    """
    plain = config.as_dict()
    if found is None:
        return TrainState(plain, device=device)
    _log.info("going on from %s", found.source)
    for change in found.state.changes(plain, device):
        _log.warning("%s: the run will not be the one that it would have been", change)
    return found.state.resumed_with(plain, device, source=found.source)


def build_step(config: RunConfig, ranks: Ranks, found: Checkpoint | None) -> TrainStep:
    """Build model and optimiser: as the seed makes them, or as the checkpoint has them."""
    torch.manual_seed(config.train.seed)
    step = TrainStep(config, ranks)
    if found is not None:
        step.objective.load_state_dict(found.model)
        restore_adamw(step.optimizer, found.optim)
    return step


def loader_config(config: RunConfig, ranks: Ranks, folder: LogFolder) -> LoaderConfig:
    """Return what the loader is told: the run's data settings, this rank's place, the cubes that the model masks."""
    data = config.data
    return LoaderConfig(
        source=data.train,
        batch_size=data.batch_size,
        seed=config.train.seed,
        lanes=data.lanes,
        window=data.window,
        frames=data.frames,
        stride=data.stride,
        size=data.size,
        mask=MaskConfig(
            ratio=data.mask_ratio,
            tubelet=config.model.tubelet,
            patch=config.model.patch_size,
            kind=data.mask_kind,  # type: ignore[arg-type] # DataConfig has checked it
            decoder_ratio=data.decoder_mask_ratio,
        ),
        decoder=data.decoder,  # type: ignore[arg-type] # DataConfig has checked it
        workers=data.workers,
        cache_dir=data.cache_dir,
        cache_bytes=data.cache_bytes,
        rank=ranks.rank,
        world=ranks.world,
        device=str(ranks.device),
        drop_log=str(folder.file(drop_log(ranks.rank))),
    )
