"""Buckets: clips of a dataset that batches keep apart, so that each kind has frames and a size of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipelines.part_settings import require_positive
from pipelines.source_config import SourceConfig
from pipelines.subset import SubsetConfig


@dataclass(frozen=True, slots=True)
class BucketConfig:
    """One kind of clips, and what its batches look like.

    ``where`` is a condition in the filter language; None takes what no bucket before it took. ``frames``, ``stride``
    and ``size`` replace the loader's; ``name`` stands in logs (None: the bucket's number).

    Raises:
        ValueError: a value is out of range, or the condition cannot be read; the message names it.
    """

    where: str | None = None
    frames: int | None = None
    stride: int | None = None
    size: int | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        for name in ("frames", "stride", "size"):
            value = getattr(self, name)
            require_positive(f"{name} of bucket {self.where!r}", 1 if value is None else value)
        SubsetConfig(self.where)


def in_buckets(source: SourceConfig, buckets: Sequence[BucketConfig]) -> tuple[SourceConfig, ...]:
    """Return a dataset as one source for each bucket, which together take each clip once at most.

    A clip belongs to the first bucket whose condition holds; how often a bucket's turn comes follows from its clips.

    Raises:
        ValueError: the dataset has a weight or counted epochs, which buckets cannot share.
    """
    if not buckets:
        return (source,)
    if source.weight is not None or source.epochs is not None:
        raise ValueError(
            f"{source.source} has a weight or epochs of its own and buckets; buckets take turns by their numbers of"
            " clips: leave these out"
        )
    return tuple(_bucket(source, number, buckets) for number in range(len(buckets)))


def _bucket(source: SourceConfig, number: int, buckets: Sequence[BucketConfig]) -> SourceConfig:
    bucket = buckets[number]
    taken = [f"not coalesce(({one.where}), false)" if one.where else "false" for one in buckets[:number]]
    wanted = [f"({condition})" for condition in (source.where, bucket.where) if condition]
    named = source.name or source.source.rstrip("/").rpartition("/")[2]
    return replace(
        source,
        name=f"{named}/{bucket.name or number}",
        where=" and ".join(wanted + taken) or None,
        frames=bucket.frames or source.frames,
        stride=bucket.stride or source.stride,
        size=bucket.size or source.size,
    )
