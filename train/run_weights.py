"""The network of a run, as one of its checkpoints has it: the weights, or their moving average."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

from model.kinds import find_kind
from model.plain import config_from_plain
from model.saved import Description
from shards.store import open_store
from train.checkpoint import Checkpoints
from train.state import TrainState

_WEIGHTS: Final = "model/"
_AVERAGE: Final = "ema/"
_NETWORK: Final = "model."
"""How the names of a stage's network begin in its objective."""

_FIRST_KIND: Final = "videomae_pretrain"
"""The network of checkpoints that name no kind."""


@dataclass(frozen=True, slots=True)
class RunWeights:
    """A network as a run has it.

    Attributes:
        source: The checkpoint's place.
        state: How far the run was, with its settings.
        description: What the network is.
        weights: Its weights, on the host.
        averaged: Whether they are the moving average.
        joined: What was averaged into them afterwards, and how much of it; None where nothing was.
    """

    source: str
    state: TrainState
    description: Description
    weights: Mapping[str, Tensor]
    averaged: bool
    joined: str | None = None


def newest_step(run: str) -> int | None:
    """Return the step of the newest checkpoint under a run's ``out``, or None where there is none."""
    steps = Checkpoints(open_store(run)).steps()
    return steps[-1] if steps else None


def read_run_weights(run: str, step: int | None = None, *, average: bool | None = None) -> RunWeights:
    """Read the network of a run.

    Args:
        run: The run's ``out``.
        step: The checkpoint's step; None takes the newest that is whole.
        average: Take the moving average of the weights, or not; None takes it where there is one.

    Raises:
        ValueError: There is no such checkpoint, it is damaged, or it has no average.
        StoreError: It cannot be read.
    """
    saves = Checkpoints(open_store(run))
    steps = saves.steps()
    if not steps or (step is not None and step not in steps):
        wanted = "no checkpoint" if step is None else f"no checkpoint of step {step}"
        there = f"; there are those of steps {', '.join(map(str, steps))}" if steps else ""
        raise ValueError(f"{saves.store.url} holds {wanted}{there}")
    found = saves.read(step)
    weights = _below(found.tensors, _WEIGHTS + _NETWORK)
    averages = _below(found.tensors, _AVERAGE + _NETWORK)
    if average and not averages:
        raise ValueError(f"{found.source} has no moving average of the weights: the run kept none (train.ema)")
    averaged = bool(averages) and average is not False
    if averaged:
        weights |= {name: value.to(weights[name].dtype) for name, value in averages.items()}
    return RunWeights(found.source, found.state, describe_model(found.state.config["model"]), weights, averaged)


def describe_model(plain: Mapping[str, Any]) -> Description:
    """Return what the ``model`` settings of a run describe.

    Raises:
        ValueError: The settings are of no network that this version knows.
    """
    kind = plain.get("kind", _FIRST_KIND)
    fields = {name: value for name, value in plain.items() if name != "kind"}
    return Description(kind, config_from_plain(find_kind(kind).config, fields, where="model."))


def _below(tensors: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
