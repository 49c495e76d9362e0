"""The running average of the weights that learn, kept in float32 beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class WeightAverage:
    """An exponential moving average: average += (1 - decay) * (weight - average) after each step that counts.

    Averaged are the parameters that learn and the floating-point buffers that are saved with a module, such as the
    running statistics of batch norms. What is frozen is what the module itself has. Names are those of the module's
    state dict. In a sharded run each rank averages its own shards.

    Args:
        module: The objective, on its device and sharded if it will be; its weights of now are the first average.
        decay: How much of the average stays at each step, at least 0 and below 1.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self._followed = learning_state(module)
        self.average = {name: value.detach().clone().float() for name, value in self._followed.items()}

    def restart(self) -> None:
        """Take the weights of now as the average, as at the start of a run or where a checkpoint has no average."""
        for name, value in self._followed.items():
            self.average[name].copy_(value.detach())

    @torch.no_grad()
    def update(self, skipped: Bool[Tensor, ""]) -> None:
        """Move the average towards the weights, or leave it as it is, bit for bit.

        Args:
            skipped: True where the step did not count; on the device, which nobody waits for.
        """
        for name, weight in self._followed.items():
            average = _local(self.average[name])
            moved = torch.lerp(average, _local(weight).detach().float(), 1 - self.decay)
            torch.where(skipped, average, moved, out=average)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average in place of the weights inside, for an evaluation; the weights come back bit for bit."""
        kept = {name: value.detach().clone() for name, value in self._followed.items()}
        _assign(self._followed, self.average)
        try:
            yield
        finally:
            _assign(self._followed, kept)


def learning_state(module: nn.Module) -> dict[str, Tensor]:
    """Return the entries of a module's state dict that a step changes and that can be averaged, themselves."""
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    state = module.state_dict(keep_vars=True)
    return {name: value for name, value in state.items() if name not in frozen and value.is_floating_point()}


@torch.no_grad()
def _assign(targets: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, target in targets.items():
        target.copy_(values[name])


def _local(value: Tensor) -> Tensor:
    """Return this rank's part of a tensor that is sharded; averaging is element by element."""
    return value.to_local() if isinstance(value, DTensor) else value
