"""The guard against steps whose loss or gradient is no finite number: they change nothing, and not many may come."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from train.parallel import Ranks

_log = logging.getLogger(__name__)


class NotFiniteError(ValueError):
    """The loss or the gradient is no finite number any more."""


def not_finite(totals: Mapping[str, Float[Tensor, ""]], grad_norm: Float[Tensor, ""]) -> Bool[Tensor, ""]:
    """Say, on the device, whether a loss sum or the gradient's length is infinite or not a number.

    Sums are those over all ranks, and so is the gradient: every rank comes to the same answer.
    """
    return ~torch.stack([*(total.float() for total in totals.values()), grad_norm.float()]).isfinite().all()


class RunningStatistics:
    """What a forward pass changes in a network beside its gradients: the statistics of batch norms in training.

    Each rank sees its own share of a batch; what is kept is the mean over ranks, so that all have the same. They are
    the module's own buffers, found once; a step begins with ``keep`` and ends with ``settle``.

    Args:
        module: The objective.
        ranks: Whose statistics are averaged.
    """

    def __init__(self, module: nn.Module, ranks: Ranks) -> None:
        self._norms = [each for each in module.modules() if isinstance(each, nn.modules.batchnorm._NormBase)]  # noqa: SLF001 - the base class of all norms with running statistics has no public name
        self._ranks = ranks
        self._kept: list[Tensor] = []

    def keep(self) -> None:
        """Remember the statistics before a step."""
        self._kept = [buffer.clone() for buffer in self._learning()]

    @torch.no_grad()
    def settle(self, skipped: Bool[Tensor, ""]) -> None:
        """Average the statistics over ranks, or put back those before the step, bit for bit.

        Args:
            skipped: True, on the device, where the step shall have changed nothing.
        """
        buffers = self._learning()
        means = _mean_over_ranks(buffers, self._ranks)
        for buffer, before, mean in zip(buffers, self._kept, means, strict=True):
            buffer.copy_(torch.where(skipped, before, mean))
        self._kept = []

    def _learning(self) -> list[Tensor]:
        return [buffer for norm in self._norms if norm.training for buffer in norm.buffers(recurse=False)]


def _mean_over_ranks(buffers: list[Tensor], ranks: Ranks) -> Iterable[Tensor]:
    """Return the means of floating-point buffers, exchanged at once; counters are the same on all ranks."""
    if ranks.world == 1:
        return buffers
    floats = [buffer for buffer in buffers if buffer.is_floating_point()]
    if not floats:
        return buffers
    flat = ranks.add_up(torch.cat([buffer.flatten() for buffer in floats])) / ranks.world
    parts = iter(torch.split(flat, [buffer.numel() for buffer in floats]))
    return [next(parts).view_as(buffer) if buffer.is_floating_point() else buffer for buffer in buffers]


class SkipCount:
    """Counts skipped steps in a row, and ends the run when they are too many.

    Args:
        limit: How many in a row are let pass (``train.skip_nonfinite``).
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in_a_row = 0

    def add(self, step: int, *, skipped: bool, what: str) -> None:
        """Take what became of a step.

        Args:
            step: The number of steps with this one.
            skipped: Whether it was skipped.
            what: Loss and gradient, in words.

        Raises:
            NotFiniteError: one more than the limit in a row; weights and all that belongs to them are those before the
                first of them.
        """
        self._in_a_row = self._in_a_row + 1 if skipped else 0
        if self._in_a_row > self._limit:
            times = f", {self._in_a_row} steps in a row" if self._limit else ""
            raise NotFiniteError(
                f"{what} at step {step}{times}, where null is no finite number; the run ends and its last checkpoint"
                " stands: lower optim.lr, set optim.clip_norm, use train.precision=fp32, or let more steps pass with"
                " train.skip_nonfinite",
            )
        if skipped:
            _log.warning("%s at step %d, where null is no finite number: the step is skipped", what, step)
