"""What all ranks found, brought together on every rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from train.parallel import Ranks

T = TypeVar("T")

# Axes: n rows of a rank, N rows of all.

_NO_ROWS: Final = (0, (), torch.float32)


def gather_values(ranks: Ranks, values: Sequence[T]) -> list[T]:
    """Return the values of all ranks, in the order of ranks, on each of them.

    Raises:
        PeerFailedError: Another rank is gone.
    """
    if ranks.world == 1:
        return list(values)
    parts: list[Any] = [None] * ranks.world
    with ranks.exchanging():
        dist.all_gather_object(parts, list(values))
    return [value for part in parts for value in part]


def gather_rows(ranks: Ranks, rows: Tensor | None) -> Tensor | None:
    """Return the rows of all ranks on the host, in the order of ranks, on each of them.

    Args:
        ranks: The ranks.
        rows: This rank's rows; None where it has none and does not know their shape.

    Raises:
        PeerFailedError: Another rank is gone.
    """
    own = None if rows is None else rows.detach().cpu().contiguous()
    if ranks.world == 1:
        return own
    shapes = gather_values(ranks, [_NO_ROWS if own is None else (len(own), tuple(own.shape[1:]), own.dtype)])
    known = [shape for shape in shapes if shape[0]]
    if not known:
        return own
    assert len({shape[1:] for shape in known}) == 1, "rows of one kind have one shape on all ranks"
    longest = max(shape[0] for shape in known)
    padded = torch.zeros(longest, *known[0][1], dtype=known[0][2])
    if own is not None:
        padded[: len(own)] = own
    parts = [torch.empty_like(padded) for _ in shapes]
    with ranks.exchanging():
        dist.all_gather(parts, padded)
    return torch.cat([part[: shape[0]] for part, shape in zip(parts, shapes, strict=True)])
