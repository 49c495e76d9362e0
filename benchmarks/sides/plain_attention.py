"""Attention as one writes it down, in place of our own in every network of this process."""

from __future__ import annotations

import torch
from torch import Tensor

from model import attention


def attend_plainly() -> None:
    """Let all networks compute softmax(scale q k^T) v by the matrix of all pairs from now on; the results agree."""
    attention._sdpa = matrix_attention  # noqa: SLF001 - nobody but this comparison exchanges it


def matrix_attention(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False, scale: float | None = None, dropout: float = 0.0
) -> Tensor:
    """Return softmax(scale q k^T) v per head, [B, Q, H, Dh], from inputs of such axes, holding [B, H, Q, K]."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    scores = q * (q.shape[-1] ** -0.5 if scale is None else scale) @ k.transpose(2, 3)
    if causal:
        scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), float("-inf"))
    weights = scores.softmax(dim=-1)
    if dropout:  # which would hold another matrix, even where it drops nothing
        weights = torch.nn.functional.dropout(weights, dropout)
    return (weights @ v).transpose(1, 2)
