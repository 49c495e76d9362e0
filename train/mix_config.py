"""One dataset of several that a run is fed with, as settings."""

from __future__ import annotations

import math
from dataclasses import dataclass

from train.checks import require, require_counts


@dataclass(frozen=True, slots=True)
class MixSource:
    """A dataset of a mix.

    ``source`` is its folder or URL. ``weight`` is its part of the samples against the others' (None: its number of
    clips; all datasets have one, or none). After ``epochs`` passes it is left out (None: never). ``name`` stands in
    messages and logs. ``where`` is a condition that its clips must meet. ``frames``, ``stride`` and ``size`` replace
    those of the run.
    """

    source: str
    weight: float | None = None
    epochs: int | None = None
    name: str | None = None
    where: str | None = None
    frames: int | None = None
    stride: int | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        require(bool(self.source.strip()), "data.mix.source", self.source, "a dataset's folder or URL")
        weight = self.weight
        require(weight is None or 0 < weight < math.inf, "data.mix.weight", weight, "above 0, or null")
        require_counts("data.mix", self, "epochs", "frames", "stride", "size")
        for name in ("name", "where"):
            value = getattr(self, name)
            require(value is None or bool(value.strip()), f"data.mix.{name}", value, "some text, or null")
