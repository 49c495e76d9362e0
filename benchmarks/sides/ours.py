"""Our networks with the public networks' weights, and the same steps with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from benchmarks.sides.networks import Task, draw_mask
from model.foreign import load_reference
from model.objectives import MaskedVideoModelling
from model.videomae import VideoMAEPretrain


def own_network(task: Task, weights: Mapping[str, Tensor]) -> nn.Module:
    """Build our network from the public one's fields and weights."""
    return load_reference(task.kind, task.fields, weights).train(task.kind == "videomae_pretrain")


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
