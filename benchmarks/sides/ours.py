"""Our networks, with the public networks' weights where there are some, and the same steps with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from torch import Tensor, nn

from benchmarks.sides.networks import Task, draw_mask, draw_weights
from model.foreign import load_reference
from model.foreign_configs import pretrain_config, uniformer_config
from model.kinds import build_network
from model.objectives import MaskedVideoModelling
from model.videomae import VideoMAEPretrain

_READERS: Final = {"videomae_pretrain": pretrain_config, "uniformerv2": uniformer_config}


def own_network(task: Task, weights: Mapping[str, Tensor] | None) -> nn.Module:
    """Build our network from the public one's fields and weights; None draws weights of our own."""
    if weights is None:
        network = build_network(task.kind, _READERS[task.kind](task.fields))
        draw_weights(network)
    else:
        network = load_reference(task.kind, task.fields, weights)
    return network.train(task.kind == "videomae_pretrain")


def own_step(task: Task, network: nn.Module, video: Tensor) -> Callable[[], Tensor]:
    """Return what is measured: one training step up to the gradients, or one forward pass."""
    if task.kind == "uniformerv2":
        return lambda: network(video)
    assert isinstance(network, VideoMAEPretrain)
    objective, mask = MaskedVideoModelling(network.config), draw_mask(task)
    objective.model = network

    def step() -> Tensor:
        found = objective(video, mask)
        loss: Tensor = found.losses["reconstruction"] / found.counts["reconstruction"]
        loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        return loss.detach()

    return step
