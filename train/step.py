"""One optimiser step: the loss of a global batch, its gradient, the update."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Final, cast

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn

from model.classification import Mix
from model.objectives import ObjectiveOutput, VideoLanguage
from pipelines.packed_batch import AnyBatch, PackedBatch
from pipelines.tokenizer import TextTokenizer
from train.config import RunConfig
from train.kernels import attention_kernels, compile_blocks
from train.mixing import MixedBatch, MixSettings, mix_batch, mixes, require_whole_pairs
from train.objectives import build_objective, counts_of, inputs_of
from train.parallel import Ranks
from train.state import seed_step
from train.throughput import masked_flops, training_flops
from train.update import Update

# B samples of this rank's share of a batch; a scalar has no axis.

_DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16}
_RELIEF: Final = {
    "mvm": "a larger train.accumulate or with model.checkpoint_blocks=true",
    "vlc": "more ranks or with model.video.checkpoint_blocks=true",
    "sft": "a larger train.accumulate or with model.checkpoint_blocks=true",
    "cma": "a larger train.accumulate or with model.masked.checkpoint_blocks=true",
}
"""What lets a step do with less memory and gives the same result."""
_WORDS: Final = 8
"""Texts are cut to a multiple of so many tokens, that few lengths occur."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step did, over all ranks, still on the device so that nothing waits for it.

    ``losses`` are means over everything that counts in the global batch, not a number where nothing does, and ``loss``
    is what was minimised, their weighted sum (None: their sum); ``grad_norm`` is the gradient's length before clipping;
    ``drops`` counts samples that could not be used, ``rows`` all samples (None: as many as the run counts); ``skipped``
    says that a number was not finite and that nothing has changed; ``gauges`` are other numbers worth a curve;
    ``flops`` is the work of a sample. ``by_dataset`` is, of several datasets, what this rank's samples of each add to
    each loss, in the order of ``losses``: the sum and the number of values in it, not yet added up over ranks.
    """

    losses: dict[str, Float[Tensor, ""]]
    grad_norm: Float[Tensor, ""]
    drops: Int64[Tensor, ""]
    loss: Float[Tensor, ""] | None = None
    rows: Int64[Tensor, ""] | None = None
    skipped: Bool[Tensor, ""] | None = None
    gauges: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)
    flops: int = 0
    by_dataset: Float64[Tensor, "N 2 D"] | None = None


@dataclass(frozen=True, slots=True)
class _PartSums:
    """What a part of a batch adds to the losses, and of several datasets what each adds (``StepResult.by_dataset``)."""

    losses: dict[str, Float[Tensor, ""]]
    by_dataset: Float64[Tensor, "N 2 D"] | None

    def plus(self, other: _PartSums) -> _PartSums:
        """Return what both add."""
        losses = {name: total + other.losses[name] for name, total in self.losses.items()}
        apart = self.by_dataset
        return _PartSums(losses, None if apart is None or other.by_dataset is None else apart + other.by_dataset)


class TrainStep:
    """Holds the objective and its optimiser, and takes one step at a time.

    The loss is the exact mean over the global batch: counts are added up over ranks and parts before the first backward
    pass, so that neither the number of ranks nor ``train.accumulate`` shifts it.

    Args:
        config: The run's settings.
        ranks: This process's place.
        tokenizer: What made the tokens of batches, in stage ``vlc``.
        initialise: Called with the fresh objective on the host, before anything is made of its weights.

    Raises:
        ValueError: settings that do not suit the stage, the ranks or the tokenizer; the message names them.
    """

    def __init__(
        self,
        config: RunConfig,
        ranks: Ranks,
        *,
        tokenizer: TextTokenizer | None = None,
        initialise: Callable[[nn.Module], object] | None = None,
    ) -> None:
        self._mixing = mixing_of(config, ranks.world)
        self._dtype = _DTYPES[config.train.precision]
        objective = build_objective(config, ranks, tokenizer)
        if initialise is not None:
            initialise(objective)
        self.objective = objective.to(ranks.device).train()
        if config.train.compile:
            compile_blocks(self.objective, ranks.device)
        self._wrapped = ranks.wrap(self.objective, config.train.strategy, self._dtype)
        self._update = Update(self.objective, config, ranks)
        self.optimizer, self.ema = self._update.optimizer, self._update.ema
        self.attention = attention_kernels(config.model, ranks.device, self._dtype)
        self._config = config
        self._ranks = ranks

    def __call__(self, batch: AnyBatch, step: int, lr: float) -> StepResult:
        """Train on this rank's share of the batch of step number ``step``, with the learning rate ``lr``.

        Raises:
            MemoryError: the GPU's memory does not hold the step.
            ValueError: the batch lacks what the stage needs.
        """
        seed_step(self._config.train.seed, step, self._ranks.rank)
        try:
            return self._take(self._mixed(batch.trimmed(_WORDS), step), lr)
        except torch.OutOfMemoryError as error:
            raise MemoryError(
                f"{self._ranks.device} ran out of memory in step {step}; go on from the last checkpoint with"
                f" {_RELIEF[self._config.stage]}",
            ) from error

    def state_tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint holds, the tensors themselves (cut ones where weights are cut over ranks).

        Names are ``model/<name>``, ``optim/<parameter>/<what>`` and, with an average of the weights, ``ema/<name>``;
        they are all there before the first step already. What is read into them is what the next step goes on from,
        after ``after_load``.
        """
        return self._update.state_tensors()

    def after_load(self) -> None:
        """Bring what follows from the weights in line with those that were read into ``state_tensors``."""
        self._bound()

    def _take(self, mixed: MixedBatch, lr: float) -> StepResult:
        batch = mixed.batch
        counts = self._sums(counts_of(self.objective, batch))
        parts = _parts(mixed, self._config.train.accumulate)
        self._update.begin()
        found = reduce(
            _PartSums.plus,
            (self._backward(part, counts, last=number == len(parts)) for number, part in enumerate(parts, start=1)),
        )
        sums = self._sums(found.losses)
        done = self._update.finish(sums, lr)
        self._bound()
        seen = self._sums({"drops": (~batch.valid).sum(), "rows": torch.ones_like(batch.valid).sum()})
        return StepResult(
            losses={name: total / counts[name] for name, total in sums.items()},
            loss=self._loss(sums, counts),
            grad_norm=done.grad_norm,
            skipped=done.skipped,
            gauges=self._gauges(),
            flops=self._flops(batch),
            by_dataset=found.by_dataset,
            **seen,
        )

    def _backward(self, part: MixedBatch, counts: dict[str, Tensor], *, last: bool) -> _PartSums:
        """Add the gradient of one part and return its sums; ranks exchange gradients after the last part."""
        inputs = inputs_of(self._config.stage, part.batch, part.mix)
        with nullcontext() if last else self._ranks.quiet(self._wrapped), self._ranks.exchanging():
            with torch.autocast(self._ranks.device.type, self._dtype, enabled=self._dtype != torch.float32):
                output = cast("ObjectiveOutput", self._wrapped(**inputs))
            # Ranks average their gradients; times the number of ranks it is the sum that the mean is made of.
            (output.weighted_mean(counts) * self._ranks.world).backward()  # type: ignore[no-untyped-call] # so in torch
        datasets, dataset = self._config.data.kinds, part.batch.dataset
        return _PartSums(
            losses={name: total.detach() for name, total in output.losses.items()},
            by_dataset=None if dataset is None or datasets == 1 else output.by_group(dataset, datasets),
        )

    def _loss(self, sums: Mapping[str, Tensor], counts: Mapping[str, Tensor]) -> Tensor:
        """Return the value that was minimised, or not a number where nothing counts."""
        weights: Mapping[str, float] = getattr(self.objective, "weights", {})
        loss = ObjectiveOutput(dict(sums), dict(counts), weights=weights).weighted_mean()
        return torch.where(torch.stack(list(counts.values())).sum() > 0, loss, torch.nan)

    def _mixed(self, batch: AnyBatch, step: int) -> MixedBatch:
        if self._mixing is None:
            return MixedBatch(batch, None)
        assert not isinstance(batch, PackedBatch), "stages that mix take clips of one shape"
        seed, repeats = self._config.train.seed, self._config.data.rows
        return mix_batch(batch, self._mixing, seed=seed, step=step, repeats=repeats)

    def _bound(self) -> None:
        """Keep the factor on similarities in its bounds, so that no forward pass has to change it."""
        if isinstance(self.objective, VideoLanguage):
            self.objective.model.clamp_scale()

    def _gauges(self) -> dict[str, Tensor]:
        if not isinstance(self.objective, VideoLanguage):
            return {}
        return {"logit_scale": self.objective.model.logit_scale.detach().clone()}

    def _flops(self, batch: AnyBatch) -> int:
        if isinstance(batch, PackedBatch) or self._config.data.is_unequal:
            return masked_flops(self._config, batch.mask, batch.decoder_mask)
        words = None if batch.tokens is None else batch.tokens.shape[1]
        return training_flops(self._config, frames=batch.video.shape[2], words=words)

    def _sums(self, values: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the sums of scalars over ranks, exchanged at once."""
        together = torch.stack([value.detach().to(self._ranks.device) for value in values.values()])
        return dict(zip(values, self._ranks.add_up(together).unbind(), strict=True))


def mixing_of(config: RunConfig, world: int) -> MixSettings | None:
    """Return how the stage mixes clips, or None where it does not.

    Raises:
        ValueError: the ranks' shares of a batch would cut pairs of clips.
    """
    settings: Any = config.objective
    if not config.rules.labels or not mixes(settings):
        return None
    require_whole_pairs(config.data.batch_size, world)
    return cast("MixSettings", settings)


def _parts(mixed: MixedBatch, count: int) -> list[MixedBatch]:
    """Cut a batch and its second labels into parts, in order."""
    return list(_cut(mixed, mixed.batch.chunk(count)))


def _cut(mixed: MixedBatch, parts: Sequence[AnyBatch]) -> Iterator[MixedBatch]:
    begin = 0
    for part in parts:
        rows = slice(begin, begin := begin + len(part))
        mix = mixed.mix
        yield MixedBatch(part, None if mix is None else Mix(mix.label[rows], mix.weight[rows]))
