"""What a run begins with: the weights that its settings name, or the step, weights and averages of a checkpoint."""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import Final

import torch
from torch import nn

from shards.store import Patience, Store, open_store
from train.checkpoint import Checkpoints, Found
from train.checkpoint_files import LATEST
from train.clip_sources import judged_source
from train.config import RunConfig
from train.evaluate.run_dataset import read_validation
from train.feeds import Feeds
from train.initial import initialise
from train.parallel import Ranks
from train.state import TrainState
from train.step import TrainStep

_PATIENCE: Final = Patience(attempts=12)
"""A run under way bears its bucket's absence for about a minute: it loses more than a command would by ending."""

_log = logging.getLogger(__name__)


def open_out(config: RunConfig) -> Store:
    """Open the place that the run writes to, with patience.

    Raises:
        StoreError: it cannot be read; this is told soon.
    """
    open_store(config.out).list(LATEST)
    return open_store(config.out, patience=_PATIENCE)


def require_validation(config: RunConfig) -> None:
    """Check that the dataset is there that the run shall be judged on.

    Raises:
        ValueError: it has no sample, or is no finished dataset.
        StoreError: it cannot be read.
    """
    if config.train.eval_every is not None:
        read_validation(judged_source(config.data))


def mention_repeats(config: RunConfig, feeds: Feeds) -> None:
    """Warn where a batch cannot but hold a clip more than once."""
    clips = feeds.video.order.samples_per_epoch
    if config.data.batch_size > clips:
        _log.warning(
            "data.batch_size=%d is more than the %d clips of an epoch: batches hold clips more than once%s",
            config.data.batch_size,
            clips,
            ", which are told apart from themselves" * (config.stage == "vlc"),
        )


def mention_lanes(config: RunConfig, ranks: Ranks) -> None:
    """Warn where nodes share lanes: each of them then fetches the shards of all, epoch after epoch."""
    nodes = ranks.world // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if "://" in config.data.told and config.data.lanes < nodes:
        _log.warning(
            "data.lanes=%d is less than the %d machines: each fetches many times its share of %s; give data.lanes=%d,"
            " from the start of a run, for its order depends on it",
            config.data.lanes,
            nodes,
            config.data.told,
            nodes,
        )


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
