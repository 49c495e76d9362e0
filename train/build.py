"""Putting a run together: its parts by the settings, its state from the newest checkpoint if there is one."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import nn

from shards.store import open_store
from train.checkpoint import Checkpoints, Found
from train.config import RunConfig
from train.feeds import Feeds
from train.initial import initialise
from train.loaders import open_feeds
from train.metrics import LogFolder, Pace, log_folder
from train.optim import Schedule, lr_schedule
from train.parallel import Ranks, StopSignal
from train.run_files import keep_run_files
from train.state import TrainState
from train.step import TrainStep
from train.throughput import peak_tflops

_SHOWN: Final = 0.05
"""Millions of frozen parameters that are worth a word."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Run:
    """The parts of a run, put together, and the state that it starts from."""

    config: RunConfig
    ranks: Ranks
    stop: StopSignal
    saves: Checkpoints
    folder: LogFolder
    feeds: Feeds
    step: TrainStep
    rates: Schedule
    pace: Pace
    state: TrainState


@contextmanager
def prepare(config: RunConfig, ranks: Ranks) -> Iterator[Run]:
    """Put a run together, new or from the newest checkpoint under ``config.out``; its parts close at the end.

    Datasets come before the network, for their vocabulary and classes must fit it.

    Raises:
        ValueError: the dataset, a checkpoint or a setting does not fit; the message names it.
        OSError: something cannot be read or written.
    """
    store = open_store(config.out)
    saved = Checkpoints(store, ranks, keep=config.train.keep, keep_every=config.train.keep_every)
    with StopSignal() as stop, log_folder(store) as folder, saved as saves:
        found = find_checkpoint(saves, resume=config.train.resume)
        state = first_state(config, ranks.device.type, found)
        with open_feeds(config, ranks, folder, state) as feeds:
            step = build_step(config, ranks, feeds, resumed=found is not None)
            if found is not None:
                read_into(step, saves, found)
            if ranks.first:
                store.put("config.json", json.dumps(config.as_dict(), indent=1).encode())
                keep_run_files(store, tokenizer=feeds.video.tokenizer, classes=feeds.video.classes)
            rates, pace = schedule(config, feeds), pace_of(config, ranks, feeds)
            _log.info("%s", describe(config, ranks, step, feeds))
            yield Run(config, ranks, stop, saves, folder, feeds, step, rates, pace, state)


def find_checkpoint(saves: Checkpoints, *, resume: bool) -> Found | None:
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


def first_state(config: RunConfig, device: str, found: Found | None) -> TrainState:
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


def build_step(config: RunConfig, ranks: Ranks, feeds: Feeds, *, resumed: bool) -> TrainStep:
    """Build network and optimiser, in a new run with the weights that the seed and ``config.init`` make.

    Raises:
        ValueError: the vocabulary, or what the weights shall come from, does not fit the network.
    """
    torch.manual_seed(config.train.seed)
    first = None if resumed else partial(begin_weights, config, feeds)
    return TrainStep(config, ranks, tokenizer=feeds.video.tokenizer, initialise=first)


def read_into(step: TrainStep, saves: Checkpoints, found: Found) -> None:
    """Read a checkpoint into a step; an average of the weights that it does not hold begins with its weights.

    Raises:
        ValueError: the checkpoint does not fit the network.
    """
    tensors = step.state_tensors()
    fresh = step.ema is not None and not found.has("ema")
    saves.load(found, {name: value for name, value in tensors.items() if not (fresh and name.startswith("ema/"))})
    if step.ema is not None and fresh:
        _log.warning("%s holds no average of the weights; a new one begins", found.source)
        step.ema.restart()
    step.after_load()


def begin_weights(config: RunConfig, feeds: Feeds, objective: nn.Module) -> None:
    """Give a new run's network the weights that ``config.init`` names, and say what became of them.

    Raises:
        ValueError: a place holds no weights, or none that fit.
        StoreError: a place cannot be read.
    """
    for line in initialise(objective, config.init, classes=feeds.video.classes):
        _log.info("%s", line)


def schedule(config: RunConfig, feeds: Feeds) -> Schedule:
    """Return the learning rates of the whole run: as many steps as told, or as its epochs take.

    Raises:
        ValueError: the warm-up is longer than the run, or rates contradict each other.
    """
    total = config.train.max_steps or feeds.steps_of(config.train.epochs)
    return lr_schedule(config.optim, config.data.batch_size, total, config.train.epochs)


def pace_of(config: RunConfig, ranks: Ranks, feeds: Feeds) -> Pace:
    """Return what the log counts steps, samples and work against."""
    return Pace(
        config.train.max_steps or feeds.steps_of(config.train.epochs),
        feeds.epoch_samples,
        config.train.log_every,
        peak_tflops=peak_tflops(config, ranks.device),
        skip_nonfinite=config.train.skip_nonfinite,
    )


def describe(config: RunConfig, ranks: Ranks, step: TrainStep, feeds: Feeds) -> str:
    """Return one line that says what runs on what."""
    weights = [(param.numel() / 1e6, param.requires_grad) for param in step.objective.parameters()]
    frozen = sum(count for count, learns in weights if not learns)
    data = config.data
    told = [
        f"{config.stage}: {sum(count for count, _ in weights):.1f} M parameters"
        + (f" ({frozen:.1f} M frozen)" if frozen >= _SHOWN else "")
        + f" on {ranks.device} x {ranks.world}, {config.train.precision}, attention by {step.attention}",
        f"{feeds.video.order.samples_per_epoch} clips an epoch from {data.train}, {data.batch_size} a step",
    ]
    if feeds.images is not None:
        told.append(f"{feeds.images.order.samples_per_epoch} images from {data.images}, {data.image_batch} a step")
    return "; ".join(told)
