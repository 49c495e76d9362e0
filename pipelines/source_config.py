"""Settings of one dataset of a loader: where it lies, how much of it is taken, and what its samples look like."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from pipelines.part_settings import require_positive
from pipelines.split import SplitConfig
from pipelines.subset import SubsetConfig

_TAKEN: Final = ("weight", "epochs", "frames", "stride", "size")


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """One dataset of several, and how much of it is taken.

    ``source`` is its folder or URL. ``weight`` is its part of the samples against the others' (None: its number of
    clips). After ``epochs`` passes it is left out (None: never). ``name`` stands in messages and logs (None: the last
    part of its place). ``where`` is a condition that its clips must meet, ``split`` a part of it. ``frames``,
    ``stride`` and ``size`` replace the loader's.

    Raises:
        ValueError: a value is out of range; the message names the field.
    """

    source: str
    weight: float | None = None
    epochs: int | None = None
    name: str | None = None
    where: str | None = None
    split: SplitConfig | None = None
    frames: int | None = None
    stride: int | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        for name in ("source", "name", "where"):
            if (text := getattr(self, name)) is not None and not text.strip():
                raise ValueError(f"the {name} of a dataset of the mix is empty; give one, or leave it out")
        if self.weight is not None and not 0 < self.weight < math.inf:
            raise ValueError(f"weight of {self.source} is {self.weight}; it must be above 0, and finite")
        for name in ("epochs", "frames", "stride", "size"):
            value = getattr(self, name)
            if value is not None and type(value) is not int:
                raise ValueError(f"{name} of {self.source} is {value!r}; it must be a whole number, or None")
            require_positive(f"{name} of {self.source}", 1 if value is None else value)
        self.subset  # noqa: B018 - a condition that cannot be read is refused

    @property
    def subset(self) -> SubsetConfig:
        """Which of the dataset's clips are taken."""
        return SubsetConfig(self.where, self.split)

    def as_settings(self) -> dict[str, Any]:
        """Return, as JSON values, what decides which samples are taken and how they look; not where they lie."""
        taken = {name: getattr(self, name) for name in _TAKEN} | self.subset.as_settings()
        taken["weight"] = None if self.weight is None else float(self.weight)  # 2 and 2.0 are one weight
        return {name: value for name, value in taken.items() if value is not None}
