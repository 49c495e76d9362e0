"""Fixed sinusoid position tables, and how to resize one to another grid."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from model.config import Grid

# Axes: N tokens (time slowest, then row, then column), D width.


def sinusoid_table(count: int, width: int) -> Float[Tensor, "N D"]:
    """Build VideoMAE's table: one sinusoid over the flattened token number, not separable in time and space.

    Channel j at position n has the angle n / 10000^(2 floor(j/2) / D); even channels take its sine, odd its cosine.
    Built in float64, returned in float32 (Vaswani et al. 2017, section 3.5; VideoMAE, arXiv 2203.12602).

    Args:
        count: Number of tokens N.
        width: Channels D of a token.
    """
    channels = torch.arange(width, dtype=torch.float64)
    rates = torch.pow(torch.tensor(10000.0, dtype=torch.float64), -2.0 * torch.floor(channels / 2) / width)
    angles = torch.arange(count, dtype=torch.float64)[:, None] * rates
    table = torch.empty_like(angles)
    table[:, 0::2] = torch.sin(angles[:, 0::2])
    table[:, 1::2] = torch.cos(angles[:, 1::2])
    return table.float()


def resize_table(table: Float[Tensor, "N D"], source: Grid, target: Grid) -> Float[Tensor, "M D"]:
    """Resize a position table to another grid: bicubic in space per slot, then linear in time.

    Neither step aligns corners. An axis that keeps its size is left alone.

    Args:
        table: One row per token of ``source``.
        source: The grid that the table is made for.
        target: The grid that is wanted.

    Raises:
        ValueError: The table's length is not the source grid's.
    """
    if table.shape[0] != source.tokens:
        raise ValueError(
            f"the table has {table.shape[0]} rows and {source} has {source.tokens} tokens: give its own grid"
        )
    width = table.shape[1]
    pictures = table.reshape(source.slots, source.rows, source.columns, width).permute(0, 3, 1, 2)
    if (source.rows, source.columns) != (target.rows, target.columns):
        pictures = interpolate(pictures, size=(target.rows, target.columns), mode="bicubic", align_corners=False)
    if source.slots != target.slots:
        lines = pictures.permute(2, 3, 1, 0).reshape(target.rows * target.columns, width, source.slots)
        lines = interpolate(lines, size=target.slots, mode="linear", align_corners=False)
        pictures = lines.reshape(target.rows, target.columns, width, target.slots).permute(3, 2, 0, 1)
    return pictures.permute(0, 2, 3, 1).reshape(target.tokens, width)
