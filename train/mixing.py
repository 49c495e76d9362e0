"""Mixup and CutMix: clips of a batch blended with their neighbours, whatever the ranks and parts of the batch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from model.classification import Mix
from pipelines.batch import VideoTextBatch
from pipelines.packed_batch import AnyBatch

# B samples of this rank's share of a batch.

_STREAM: Final = 0x6D6978
"""Sets the draws of mixing apart from all others of a run's seed."""


class MixSettings(Protocol):
    """What a stage says of mixing: Beta's parameter for mixup and for CutMix (0: not done), and how often."""

    @property
    def mixup(self) -> float:
        """Parameter of the Beta distribution that mixup's weight is drawn from."""

    @property
    def cutmix(self) -> float:
        """Parameter of the Beta distribution that CutMix's weight is drawn from."""

    @property
    def mix_probability(self) -> float:
        """Share of the steps that mix."""

    @property
    def switch_probability(self) -> float:
        """Share of those that take CutMix, where both are on."""


@dataclass(frozen=True, slots=True)
class Box:
    """The part of all frames that CutMix takes from the other clip, in pixels; ends are not in it."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def area(self) -> int:
        """Pixels inside."""
        return (self.bottom - self.top) * (self.right - self.left)


@dataclass(frozen=True, slots=True)
class Draw:
    """What a step does to all pairs: how much of each clip stays, and the box for CutMix."""

    weight: float
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class MixedBatch:
    """A batch after mixing; ``mix`` is None in a step that mixes nothing."""

    batch: AnyBatch
    mix: Mix | None


def mixes(settings: MixSettings) -> bool:
    """Say whether any step mixes."""
    return (settings.mixup > 0 or settings.cutmix > 0) and settings.mix_probability > 0


def require_whole_pairs(batch_size: int, world: int) -> None:
    """Refuse shares of ranks that cut a pair of clips.

    Raises:
        ValueError: a rank's share of ``batch_size`` clips begins or ends inside a pair.
    """
    if any(batch_size * rank // world % 2 for rank in range(world + 1)):
        raise ValueError(
            f"data.batch_size={batch_size} over {world} rank(s) cuts a pair of neighbouring clips, which mixup and"
            f" CutMix mix; give a multiple of {2 * world}, or objective.mixup=0 and objective.cutmix=0",
        )


def mix_batch(batch: VideoTextBatch, settings: MixSettings, *, seed: int, step: int, repeats: int = 1) -> MixedBatch:
    """Mix this rank's share of the batch of a step, by draws that depend on ``seed`` and ``step`` only.

    Clips 2j and 2j + 1 of the global batch are mixed with each other, all with one weight, as the batch mode of the
    public code does with clips j and B - 1 - j (``mixup.py`` of VideoMAE's fine-tuning; mixup, arXiv 1710.09412;
    CutMix, arXiv 1905.04899). A clip whose partner is not valid stays as it is.

    Args:
        batch: The share; it begins at an even clip and holds whole pairs, see ``require_whole_pairs``.
        settings: What to do how often.
        seed: The run's.
        step: The step's number.
        repeats: Rows that each clip has one after the other; the same ones of two clips are mixed.

    Raises:
        ValueError: the batch has no labels, or cuts a pair.
    """
    drawn = draw_mix(settings, (batch.video.shape[-2], batch.video.shape[-1]), seed=seed, step=step)
    if drawn.weight == 1:
        return MixedBatch(batch, None)
    if batch.label is None:
        raise ValueError("a batch without labels cannot be mixed: set data.label, or objective.mixup=0 and cutmix=0")
    other = partners(len(batch), repeats).to(batch.video.device)
    both = batch.valid & batch.valid[other]
    label = torch.where(both, batch.label[other], batch.label)
    weight = torch.where(both, drawn.weight, 1.0)
    # What is not valid may hold anything, also what is no number.
    partner = batch.video[other].masked_fill(~both.view(-1, 1, 1, 1, 1), 0)
    video = _blend(batch.video, partner, weight) if drawn.box is None else _paste(batch.video, partner, both, drawn.box)
    return MixedBatch(replace(batch, video=video), Mix(label, weight))


def draw_mix(settings: MixSettings, size: tuple[int, int], *, seed: int, step: int) -> Draw:
    """Draw what the step does to frames of ``size`` (height, width); a weight of 1 is nothing.

    A box has the drawn area and its centre anywhere, is cut at the frame's edges, and the weight is what is left.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, step], spawn_key=(_STREAM,)))
    # All numbers are drawn each time, so that no setting shifts what the others see.
    chance, switch, row, column = rng.random(4)
    if not mixes(settings) or chance >= settings.mix_probability:
        return Draw(1.0)
    cuts = settings.cutmix > 0 and (settings.mixup == 0 or switch < settings.switch_probability)
    alpha = settings.cutmix if cuts else settings.mixup
    weight = float(rng.beta(alpha, alpha))
    if not cuts:
        return Draw(weight)
    height, width = size
    box = _box(size, math.sqrt(1 - weight), (int(row * height), int(column * width)))
    return Draw(1 - box.area / (height * width), box)


def partners(rows: int, repeats: int) -> Int64[Tensor, "B"]:
    """Return each row's partner: the same repeat of the neighbouring clip.

    Raises:
        ValueError: the rows are no whole pairs of clips.
    """
    if rows % (2 * repeats):
        raise ValueError(f"{rows} rows with {repeats} for each clip are no whole pairs of clips, which mixing needs")
    return torch.arange(rows).view(-1, 2, repeats).flip(1).flatten()


def _box(size: tuple[int, int], edge: float, centre: tuple[int, int]) -> Box:
    ends = []
    for length, middle in zip(size, centre, strict=True):
        half = int(length * edge) // 2
        ends += [max(middle - half, 0), min(middle + half, length)]
    return Box(*ends)


def _blend(video: Tensor, partner: Tensor, weight: Tensor) -> Tensor:
    return torch.lerp(partner, video, weight.to(video.dtype).view(-1, 1, 1, 1, 1))


def _paste(video: Tensor, partner: Tensor, both: Tensor, box: Box) -> Tensor:
    pasted = video.clone()
    inside = (..., slice(box.top, box.bottom), slice(box.left, box.right))
    pasted[inside] = torch.where(both.view(-1, 1, 1, 1, 1), partner[inside], video[inside])
    return pasted
