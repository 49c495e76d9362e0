"""How sizes and clip counts of shards are spread, exactly, as columns of the chart beside those of clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from tools.statistics.model import Fences, Histogram, NumberFacts, ShardFacts

_BINS: Final = 40
_PERCENTS: Final = (1, 5, 25, 50, 75, 95, 99)
_FAR: Final = 3.0
"""Quartile distances beyond the quartiles at which outliers begin (Tukey)."""


def shard_numbers(shards: Sequence[ShardFacts]) -> dict[str, NumberFacts]:
    """Return the spread of the shards' sizes and clip counts; nothing where there is one shard or none."""
    if len(shards) < 2:  # noqa: PLR2004 - one shard has no spread
        return {}
    return {
        "shard size": _facts("bytes", [shard.bytes for shard in shards]),
        "clips per shard": _facts("", [shard.clips for shard in shards]),
    }


def _facts(unit: str, values: Sequence[int]) -> NumberFacts:
    array = np.asarray(values, np.float64)
    counts, edges = np.histogram(array, bins=min(_BINS, len(np.unique(array))))
    shares = [percent / 100 for percent in _PERCENTS]
    quantiles = np.quantile(array, shares, method="inverted_cdf")
    named = {f"p{percent}": float(value) for percent, value in zip(_PERCENTS, quantiles, strict=True)}
    reach = _FAR * (named["p75"] - named["p25"])
    low, high = named["p25"] - reach, named["p75"] + reach
    return NumberFacts(
        unit=unit,
        count=len(array),
        missing=0,
        sum=float(array.sum()),
        min=float(array.min()),
        max=float(array.max()),
        mean=float(array.mean()),
        std=float(array.std()),
        quantiles=named,
        error=0.0,
        histogram=Histogram(tuple(map(float, edges)), tuple(map(int, counts)), log=False),
        fences=Fences(low, high, int((array < low).sum()), int((array > high).sum())),
    )
