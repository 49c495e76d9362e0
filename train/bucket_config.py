"""One kind of clips that batches keep apart from others, as settings."""

from __future__ import annotations

from dataclasses import dataclass

from train.checks import require, require_counts


@dataclass(frozen=True, slots=True)
class Bucket:
    """Clips that make batches of their own.

    ``where`` is the condition that they meet (None: all that no bucket before took). ``frames``, ``stride`` and
    ``size`` replace those of the run; ``name`` stands in messages and logs.
    """

    where: str | None = None
    frames: int | None = None
    stride: int | None = None
    size: int | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        require_counts("data.buckets", self, "frames", "stride", "size")
        for name in ("name", "where"):
            value = getattr(self, name)
            require(value is None or bool(value.strip()), f"data.buckets.{name}", value, "some text, or null")
