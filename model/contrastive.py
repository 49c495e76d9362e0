"""The symmetric contrastive loss over the global batch, in chunks, and what it needs of the other ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import normalize

from model.losses import MaskedLoss, RowLosses, require_valid

# Axes: B samples of this rank, G samples of all ranks (rank r has r*B to (r+1)*B - 1), E channels of the shared space,
# R anchors of a chunk.

CHUNK: Final = 256
"""Anchors whose logits are held at once."""


class Exchange(Protocol):
    """What a contrastive loss needs of the other ranks; every rank makes the same calls in the same order."""

    @property
    def rank(self) -> int:
        """This rank's number, from 0."""

    @property
    def world(self) -> int:
        """How many ranks there are."""

    def gather(self, x: Float[Tensor, "B E"]) -> Float[Tensor, "G E"]:
        """Return the rows of all ranks in their order; backward sums the gradient over ranks."""

    def replicate(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return what is the same on every rank; backward averages the gradient over ranks."""


@dataclass(frozen=True)
class OneRank:
    """The exchange of a run of one process."""

    rank: int = 0
    world: int = 1

    def gather(self, x: Float[Tensor, "B E"]) -> Float[Tensor, "B E"]:
        """Return the rows."""
        return x

    def replicate(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the value."""
        return x


def contrastive_loss(
    video: Float[Tensor, "B E"],
    text: Float[Tensor, "B E"],
    logit_scale: Float[Tensor, ""],
    *,
    valid: Bool[Tensor, "B"] | None = None,
    exchange: Exchange | None = None,
    chunk: int = CHUNK,
) -> MaskedLoss:
    """Sum, over this rank's valid pairs, how badly each finds its partner among the valid ones of all ranks.

    Logits are exp(logit_scale) times the cosine. A pair's loss is the mean of two cross-entropies: of its video among
    all texts and of its text among all videos (CLIP, arXiv 2103.00020, figure 3). Sums over ranks by counts over ranks
    are the loss of the global batch, and gradients of ``total * world / global count``, averaged over ranks, are its
    gradient. The loss of a part of a batch has fewer negatives: parts do not add up to the whole.

    At no time more than ``chunk`` x G logits exist; the backward pass computes them again.

    Args:
        video: The videos' features; their length does not matter.
        text: The texts' features; row i belongs to row i of ``video``.
        logit_scale: Natural logarithm of the factor.
        valid: False for pairs that are neither rows nor columns, on any rank; None counts all.
        exchange: The other ranks, with B pairs each; None for a run of one.
        chunk: Anchors whose logits are held at once.

    Raises:
        ValueError: Shapes that do not fit each other, or a chunk below 1.
    """
    _check(video, text, valid, chunk)
    others = exchange or OneRank()
    if valid is None:
        valid = torch.ones(video.shape[0], dtype=torch.bool, device=video.device)
    with torch.autocast(video.device.type, enabled=False):
        videos, texts = _unit(video, valid), _unit(text, valid)
        width, flags = video.shape[1], valid.to(videos.dtype)[:, None]
        # One exchange for all three, so that the backward pass has one as well.
        everyone = others.gather(torch.cat([videos, texts, flags], dim=1))
        all_videos, all_texts = everyone[:, :width], everyone[:, width:-1]
        pairs = _Pairs(
            labels=others.rank * len(video) + torch.arange(len(video), device=video.device),
            valid=valid,
            hidden=torch.where(everyone[:, -1] > 0, 0.0, -torch.inf).to(videos.dtype),
            chunk=chunk,
        )
        factor = others.replicate(logit_scale.to(videos.dtype)).exp()
        rows = _cross_entropy_sum(factor * videos, all_texts, pairs)
        columns = _cross_entropy_sum(factor * texts, all_videos, pairs)
        each = RowLosses((rows.each + columns.each) / 2, valid.long())
        return MaskedLoss((rows.total + columns.total) / 2, valid.sum(), each)


@dataclass(frozen=True)
class _Pairs:
    """Which key belongs to which anchor, who counts, and how many anchors are taken at once.

    ``hidden`` is added to logits: minus infinity for keys that do not count, 0 for the others.
    """

    labels: Int64[Tensor, "B"]
    valid: Bool[Tensor, "B"]
    hidden: Float[Tensor, "G"]
    chunk: int

    def parts(self) -> list[slice]:
        """Cut the anchors into chunks."""
        return [slice(begin, begin + self.chunk) for begin in range(0, len(self.labels), self.chunk)]


def similarity(
    video: Float[Tensor, "V E"], text: Float[Tensor, "C E"], logit_scale: Float[Tensor, ""]
) -> Float[Tensor, "V C"]:
    """Return exp(logit_scale) times the cosine of every video with every text."""
    everyone = torch.ones((), dtype=torch.bool, device=video.device)
    with torch.autocast(video.device.type, enabled=False):
        return logit_scale.exp() * (_unit(video, everyone) @ _unit(text, everyone).T)


def _check(video: Tensor, text: Tensor, valid: Tensor | None, chunk: int) -> None:
    if video.ndim != 2 or video.shape != text.shape:  # noqa: PLR2004 - B and E
        raise ValueError(
            f"videos have shape {tuple(video.shape)} and texts {tuple(text.shape)}: both must be the same [B, E]"
        )
    require_valid(valid, len(video))
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}: at least 1 anchor must be held at once")


def _exact(x: Tensor) -> torch.dtype:
    """The type to compute in: float32, or float64 where that comes in."""
    return torch.promote_types(x.dtype, torch.float32)


def _unit(x: Float[Tensor, "B E"], valid: Bool[Tensor, "..."]) -> Float[Tensor, "B E"]:
    """Bring rows to length 1; what is not valid gets no gradient, whatever it holds."""
    return normalize(torch.where(valid[..., None], x.to(_exact(x)), 1.0), dim=1)


@dataclass(frozen=True)
class _CrossEntropies:
    """Those of valid anchors: their sum, and each without gradient, 0 where an anchor is not valid."""

    total: Float[Tensor, ""]
    each: Float[Tensor, "B"]


def _cross_entropy_sum(anchors: Float[Tensor, "B E"], keys: Float[Tensor, "G E"], pairs: _Pairs) -> _CrossEntropies:
    return _CrossEntropies(*_CrossEntropySum.apply(anchors, keys, pairs))  # type: ignore[no-untyped-call]  # so in torch


class _CrossEntropySum(torch.autograd.Function):
    """The sum of valid anchors' cross-entropies among valid keys; of the logits it keeps one number per anchor."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch has no type for it
        anchors: Float[Tensor, "B E"],
        keys: Float[Tensor, "G E"],
        pairs: _Pairs,
    ) -> tuple[Tensor, Tensor]:
        """Sum log-sum-exp minus the label's logit, chunk by chunk; return the sum and what was added up."""
        norms, losses = [], []
        for part in pairs.parts():
            logits = torch.addmm(pairs.hidden, anchors[part], keys.T)
            top, own = logits.amax(dim=1), logits.gather(1, pairs.labels[part, None])[:, 0]
            norm = logits.sub_(top[:, None]).exp_().sum(dim=1).log_() + top
            norms.append(norm)
            losses.append(norm - own)
        ctx.save_for_backward(anchors, keys, torch.cat(norms))
        ctx.pairs = pairs
        each = torch.where(pairs.valid, torch.cat(losses), 0.0)
        ctx.mark_non_differentiable(each)
        return each.sum(), each

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _each: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401 - as above
        """Compute each chunk's logits again and turn them into softmax minus one-hot in place."""
        anchors, keys, norms = ctx.saved_tensors
        pairs: _Pairs = ctx.pairs
        to_anchors, to_keys = [], torch.zeros_like(keys)
        minus_one = keys.new_full((len(anchors), 1), -1.0)
        for part in pairs.parts():
            slopes = torch.addmm(pairs.hidden, anchors[part], keys.T).sub_(norms[part, None]).exp_()
            slopes.scatter_add_(1, pairs.labels[part, None], minus_one[part])
            slopes.mul_(grad).masked_fill_(~pairs.valid[part, None], 0.0)
            to_anchors.append(slopes @ keys)
            to_keys.addmm_(slopes.T, anchors[part])
        return torch.cat(to_anchors), to_keys, None
