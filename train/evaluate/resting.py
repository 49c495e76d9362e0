"""A network in training made to rest for a while, and batches for ranks that have no sample left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.batch import VideoTextBatch


@contextmanager
def at_rest(module: nn.Module) -> Iterator[None]:
    """Have a module and its parts in eval mode; afterwards each is in the mode that it was in."""
    modes: Mapping[nn.Module, bool] = {each: each.training for each in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for each, mode in modes.items():
            each.training = mode


def filled(batch: VideoTextBatch) -> VideoTextBatch:
    """Return a batch of one row that counts for nothing, like one that has none."""
    rows: dict[str, Any] = {
        field.name: value.new_zeros(1, *value.shape[1:])
        for field in fields(batch)
        if isinstance(value := getattr(batch, field.name), Tensor)
    }
    if "mask" in rows:
        rows["mask"][:, ::2] = True
    return replace(batch, **rows, keys=[""], captions=[""], sources=[""])
