"""Putting a run together: its parts by the settings, its state from the newest checkpoint if there is one."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from train.beginning import (
    build_step,
    find_checkpoint,
    first_state,
    mention_lanes,
    mention_repeats,
    open_out,
    read_into,
    require_validation,
)
from train.checkpoint import Checkpoints
from train.config import RunConfig
from train.feeds import Feeds
from train.loaders import open_feeds
from train.metrics import LogFolder, Pace, log_folder
from train.optim import Schedule, lr_schedule
from train.parallel import Ranks, StopSignal
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
    store = open_out(config)
    saved = Checkpoints(store, ranks, keep=config.train.keep, keep_every=config.train.keep_every)
    with StopSignal() as stop, log_folder(store) as folder, saved as saves:
        require_validation(config)
        found = find_checkpoint(saves, resume=config.train.resume)
        state = first_state(config, ranks.device.type, found)
        with open_feeds(config, ranks, folder, state) as feeds:
            step = build_step(config, ranks, feeds, resumed=found is not None)
            if found is not None:
                read_into(step, saves, found)
            if ranks.first:
                store.put("config.json", json.dumps(config.as_dict(), indent=1).encode())
            rates, pace = schedule(config, feeds), pace_of(config, ranks, feeds)
            _log.info("%s", describe(config, ranks, step, feeds))
            mention_repeats(config, feeds)
            mention_lanes(config, ranks)
            yield Run(config, ranks, stop, saves, folder, feeds, step, rates, pace, state)


def schedule(config: RunConfig, feeds: Feeds) -> Schedule:
    """Return the learning rates of the whole run: as many steps as told, or as its epochs take.

    Raises:
        ValueError: the warm-up is longer than the run, rates contradict each other, or the data end before.
    """
    total = config.train.max_steps or feeds.steps_of(config.train.epochs)
    feeds.require_steps(total)
    return lr_schedule(config.optim, config.data.batch_size, total, config.train.epochs)


def pace_of(config: RunConfig, ranks: Ranks, feeds: Feeds) -> Pace:
    """Return what the log counts steps, samples and work against."""
    return Pace(
        config.train.max_steps or feeds.steps_of(config.train.epochs),
        feeds.epoch_samples,
        config.train.log_every,
        peak_tflops=peak_tflops(config, ranks.device),
        skip_nonfinite=config.train.skip_nonfinite,
        datasets=tuple(feeds.video.passes),
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
        f"{feeds.video.order.samples_per_epoch} clips an epoch from {data.told}, {data.batch_size} a step",
    ]
    if feeds.images is not None:
        told.append(f"{feeds.images.order.samples_per_epoch} images from {data.images}, {data.image_batch} a step")
    return "; ".join(told)
