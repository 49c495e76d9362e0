"""One optimiser step: the loss of a global batch, its gradient, the update."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from model.attention import attention_backend
from model.config import VideoMAEConfig
from model.objectives import MaskedVideoModelling, ObjectiveOutput
from pipelines.batch import VideoTextBatch
from train.config import RunConfig
from train.optim import build_adamw, parameter_groups, set_lr
from train.parallel import Ranks
from train.state import seed_step

# B samples of this rank's share of a batch; a scalar has no axis.

_DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step did, over all ranks, still on the device so that nothing waits for it.

    ``losses`` are means over everything that counts in the global batch, not a number where nothing does; ``grad_norm``
    is the gradient's length before clipping; ``drops`` counts samples that could not be used.
    """

    losses: dict[str, Float[Tensor, ""]]
    grad_norm: Float[Tensor, ""]
    drops: Int64[Tensor, ""]


class TrainStep:
    """Holds the objective and its optimiser, and takes one step at a time.

    The loss is the exact mean over the global batch: counts are added up over ranks and parts before the first backward
    pass, so that neither the number of ranks nor ``train.accumulate`` shifts it.
    """

    def __init__(self, config: RunConfig, ranks: Ranks) -> None:
        self.objective = build_objective(config).to(ranks.device)
        groups = parameter_groups(self.objective.named_parameters(), weight_decay=config.optim.weight_decay)
        self.optimizer = build_adamw(groups, config.optim)
        self._wrapped = ranks.wrap(self.objective)
        self._ranks = ranks
        self._accumulate = config.train.accumulate
        self._dtype = _DTYPES[config.train.precision]
        self._clip_norm = config.optim.clip_norm
        self._seed = config.train.seed
        self.attention = attention_kernels(config.model, ranks.device, self._dtype)

    def __call__(self, batch: VideoTextBatch, step: int, lr: float) -> StepResult:
        """Train on this rank's share of the batch of step number ``step``, with the learning rate ``lr``.

        Raises:
            MemoryError: the GPU's memory does not hold the step.
        """
        seed_step(self._seed, step, self._ranks.rank)
        try:
            return self._take(batch, lr)
        except torch.OutOfMemoryError as error:
            raise MemoryError(
                f"{self._ranks.device} ran out of memory in step {step}; go on from the last checkpoint with a larger"
                f" train.accumulate or with model.checkpoint_blocks=true",
            ) from error

    def _take(self, batch: VideoTextBatch, lr: float) -> StepResult:
        assert batch.mask is not None
        given = self.objective.count(batch.mask, batch.valid, batch.decoder_mask)
        counts = {name: self._sum(count) for name, count in given.items()}
        totals: dict[str, Tensor] = {}
        parts = batch.chunk(self._accumulate)
        for number, part in enumerate(parts, start=1):
            for name, total in self._backward(part, counts, last=number == len(parts)).items():
                totals[name] = totals.get(name, torch.zeros_like(total)) + total
        norm = self._clip()
        set_lr(self.optimizer, lr)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        losses = {name: self._sum(total) / counts[name] for name, total in totals.items()}
        return StepResult(losses, norm, self._sum((~batch.valid).sum()))

    def _backward(self, part: VideoTextBatch, counts: dict[str, Tensor], *, last: bool) -> dict[str, Tensor]:
        """Add the gradient of one part and return its loss sums; ranks exchange gradients after the last part."""
        quiet = self._wrapped.no_sync() if not last and self._ranks.world > 1 else nullcontext()  # type: ignore[operator] # torch types submodules only
        with quiet, self._ranks.exchanging():
            with torch.autocast(self._ranks.device.type, self._dtype, enabled=self._dtype != torch.float32):
                output = cast("ObjectiveOutput", self._wrapped(part.video, part.mask, part.valid, part.decoder_mask))
            # Ranks average their gradients; times the number of ranks it is the sum that the mean is made of.
            means = [total * self._ranks.world / counts[name].clamp(min=1) for name, total in output.losses.items()]
            torch.autograd.backward(torch.stack(means).sum())
        return {name: total.detach() for name, total in output.losses.items()}

    def _clip(self) -> Tensor:
        """Return the length of the whole gradient, and shorten it to ``optim.clip_norm`` where that is set."""
        params = [param for param in self.objective.parameters() if param.grad is not None]
        norm = nn.utils.get_total_norm([param.grad for param in params if param.grad is not None])
        if self._clip_norm is not None:
            nn.utils.clip_grads_with_norm_(params, self._clip_norm, norm)
        return norm

    def _sum(self, value: Tensor) -> Tensor:
        return self._ranks.add_up(value.detach().to(self._ranks.device).clone())


def attention_kernels(model: VideoMAEConfig, device: torch.device, dtype: torch.dtype) -> str:
    """Say what runs attention: one kernel, or those of encoder and decoder where their heads differ in width."""
    widths = model.width // model.heads, model.decoder_width // model.decoder_heads
    encoder, decoder = (attention_backend(device, dtype, width) for width in widths)
    if widths[0] == widths[1]:
        return encoder
    return f"{encoder} in the encoder ({widths[0]} channels a head) and {decoder} in the decoder ({widths[1]})"


def build_objective(config: RunConfig) -> MaskedVideoModelling:
    """Build the stage's objective, which is a module: its networks and losses."""
    return MaskedVideoModelling(config.model)
