"""What a gradient does: clipping, guard, AdamW, running statistics, the average of the weights, and their state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor, nn

from model.clip_config import UniFormerClassifierConfig
from model.config import ClassifierConfig
from train.config import RunConfig
from train.ema import WeightAverage
from train.guard import RunningStatistics, not_finite
from train.optim import build_adamw, flatten_adamw, groups_of, set_lr, start_adamw
from train.parallel import Ranks


@dataclass(frozen=True, slots=True)
class Updated:
    """The gradient's length before clipping, and whether the step was skipped; both on the device."""

    grad_norm: Float[Tensor, ""]
    skipped: Bool[Tensor, ""]


class Update:
    """Holds the optimiser of a module and all that follows its weights.

    A step whose loss or gradient is no finite number changes nothing: weights, moments, the count of steps in them,
    running statistics and the average stay bit for bit, and the host does not wait to know.

    Args:
        module: The objective, on its device and wrapped; what asks for no gradient is left alone.
        config: The run's settings.
        ranks: All ranks call the same methods.

    Raises:
        ValueError: ``optim`` asks for rates that the network's parameters do not suit.
    """

    def __init__(self, module: nn.Module, config: RunConfig, ranks: Ranks) -> None:
        groups = groups_of(module, config.optim, layers(config))
        self.optimizer = build_adamw(groups, config.optim)
        start_adamw(self.optimizer)
        self.ema = None if config.train.ema is None else WeightAverage(module, config.train.ema)
        self._params = [param for group in groups for param in group.params]
        self._statistics = RunningStatistics(module, ranks)
        self._clip_norm = config.optim.clip_norm
        self._module = module
        self._ranks = ranks

    def begin(self) -> None:
        """Remember what the forward passes of the step will change."""
        self._statistics.keep()

    def finish(self, totals: Mapping[str, Float[Tensor, ""]], lr: float) -> Updated:
        """Take the step along the gradient that has been exchanged, and clear it.

        Args:
            totals: The sums of the losses over all ranks.
            lr: The learning rate.
        """
        norm = self._ranks.clip(self._params, self._clip_norm)
        skipped = not_finite(totals, norm)
        set_lr(self.optimizer, lr)
        # Fused optimisers leave all as it is where this is not 0 (made for torch.amp's GradScaler).
        self.optimizer.found_inf = skipped.float()  # type: ignore[attr-defined] # torch reads it by name
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._statistics.settle(skipped)
        if self.ema is not None:
            self.ema.update(skipped)
        return Updated(norm, skipped)

    def state_tensors(self) -> dict[str, Tensor]:
        """Return all that a checkpoint holds, under ``model/``, ``optim/`` and ``ema/``: the tensors themselves."""
        average = {} if self.ema is None else self.ema.average
        groups = {"model": self._module.state_dict(), "optim": flatten_adamw(self.optimizer), "ema": average}
        return {f"{group}/{name}": value for group, tensors in groups.items() for name, value in tensors.items()}


def layers(config: RunConfig) -> int | None:
    """Return the number of blocks that learn at rates of their own, or None where all learn alike.

    Raises:
        ValueError: ``optim.layer_decay`` in a stage whose networks have no one stack of blocks.
    """
    if config.optim.layer_decay is None:
        return None
    if not isinstance(config.model, ClassifierConfig | UniFormerClassifierConfig):
        raise ValueError(  # noqa: TRY004 - a user's fault
            f"optim.layer_decay={config.optim.layer_decay} is for the classifiers of stage=sft; give null in"
            f" stage={config.stage} with model.kind={config.model_kind}",
        )
    return config.model.depth
