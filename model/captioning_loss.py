"""The loss of captioning: cross-entropy of each next token, without ever holding the scores of all positions."""

from __future__ import annotations

from typing import Final, Protocol

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from model.losses import MaskedLoss, RowLosses
from model.masking import send

# Axes: B texts, L positions that predict a token, W width, P positions whose target counts, S scores, one per token id.

CHUNK: Final = 1024
"""Positions whose scores are held at once: 200 MB of float32 for CLIP's 49,408 token ids."""


class Predictor(Protocol):
    """What the loss needs of a caption decoder."""

    def predict(self, features: Float[Tensor, "... W"]) -> Float[Tensor, "... S"]:
        """Return the scores of the next token at each position."""


def counted_targets(
    targets: Int[Tensor, "B L"], *, padding_id: int, valid: Bool[Tensor, "B"] | None = None
) -> Bool[Tensor, "B L"]:
    """Say which targets count: those of valid texts, up to the last that is no padding, and not negative.

    CLIP pads with id 0, which is also a token ("!"): inside a caption it counts, only the run of it at the end is
    padding.

    Raises:
        ValueError: Shapes that do not fit each other.
    """
    if targets.ndim != len("BL") or (valid is not None and valid.shape != targets.shape[:1]):
        given = None if valid is None else tuple(valid.shape)
        raise ValueError(f"targets have shape {tuple(targets.shape)} and valid {given}: [B, L] and [B] are taken")
    text = targets != padding_id
    inside = text.flip(1).cumsum(dim=1).flip(1) > 0
    counted = inside & (targets >= 0)
    return counted if valid is None else counted & valid.to(targets.device)[:, None]


def caption_loss(
    decoder: Predictor,
    features: Float[Tensor, "B L W"],
    targets: Int64[Tensor, "B L"],
    *,
    padding_id: int,
    valid: Bool[Tensor, "B"] | None = None,
    chunk: int = CHUNK,
) -> MaskedLoss:
    """Sum the cross-entropies of the tokens that follow, in float32 (InternVideo, arXiv 2212.03191).

    Scores are made for positions that count and no others, a chunk at a time; the backward pass makes them again. The
    mean of the result is the plain token mean without smoothing. Where nothing counts, total and gradients are zero.

    Args:
        decoder: The caption decoder.
        features: What its ``decode`` returned.
        targets: The id that follows each position; ``counted_targets`` says which of them count. They may stay on the
            CPU, and ``valid`` too, which saves a wait for the accelerator.
        padding_id: Id that fills the rest of a text.
        valid: False for texts that count for nothing; None counts all.
        chunk: Positions whose scores are held at once.

    Raises:
        ValueError: Shapes that do not fit each other, or a chunk below 1.
    """
    if features.shape[:2] != targets.shape or chunk < 1:
        raise ValueError(
            f"features have shape {tuple(features.shape)}, targets {tuple(targets.shape)}, and the chunk is {chunk}: "
            "[B, L, W], [B, L] and at least 1 are taken"
        )
    counted = counted_targets(targets, padding_id=padding_id, valid=valid)
    places = counted.flatten().nonzero()[:, 0]
    wanted = send(targets.flatten()[places], features.device)
    chosen = features.flatten(0, 1)[send(places, features.device)]
    # One chunk runs even if nothing counts: every parameter then has a gradient, which is zero.
    parts = [slice(begin, begin + chunk) for begin in range(0, max(len(places), 1), chunk)]
    each = [
        checkpoint(_chunk_losses, decoder, chosen[part], wanted[part], use_reentrant=False, preserve_rng_state=False)
        for part in parts
    ]
    count = send(counted.sum(dim=1), features.device)
    of_texts = torch.zeros(len(targets), device=features.device)
    texts = send(places // targets.shape[1], features.device)
    of_texts.index_add_(0, texts, torch.cat([losses.detach() for losses in each]))
    return MaskedLoss(torch.stack([losses.sum() for losses in each]).sum(), count.sum(), RowLosses(of_texts, count))


def _chunk_losses(decoder: Predictor, chosen: Float[Tensor, "P W"], wanted: Int64[Tensor, "P"]) -> Float[Tensor, "P"]:
    return cross_entropy(decoder.predict(chosen).float(), wanted, reduction="none")
