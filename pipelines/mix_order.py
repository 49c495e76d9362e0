"""The order of a loader of several datasets, or of passes that are counted: each dataset's own, mixed by weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, zip_longest
from typing import Final, Literal

from pipelines.mix import Mixture, Turn
from pipelines.plan import OrderConfig, SampleOrder, Slot, rank_slice


@dataclass(frozen=True, slots=True)
class SourcePart:
    """What the order knows of a dataset: the samples of each shard, its weight (None: its samples) and its passes."""

    counts: Sequence[int]
    weight: float | None = None
    epochs: int | None = None


def training_order(
    parts: Sequence[SourcePart], config: OrderConfig, by: Literal["sample", "batch"] = "sample"
) -> SampleOrder | MixOrder:
    """Return the order of one dataset without end, or of a mix.

    Raises:
        ValueError: a dataset holds no sample, or too little for a batch of its own.
    """
    if len(parts) == 1 and parts[0].epochs is None:
        return SampleOrder(parts[0].counts, config)
    return MixOrder(parts, config, by)


class MixOrder:
    """The order of several datasets, each in a ``SampleOrder`` of its own and with epochs of its own.

    A ``Mixture`` says whose turn it is. By "sample", position q of the order is the turn of some dataset, and takes
    the next position of its order. By "batch", batch k is the turn of some dataset, and takes the next batch of its
    order. Either way any batch is worked out without those before it.

    A dataset with ``epochs`` leaves after so many passes (by batch: after the whole batches of these). Where all leave,
    the order ends with the last whole batch; ``left_out`` samples are then not taken.

    Args:
        parts: the datasets.
        config: seed, batch size, lanes and window, for each of them.
        by: what takes turns.

    Raises:
        ValueError: a dataset holds no sample, or its passes make no batch.
    """

    def __init__(self, parts: Sequence[SourcePart], config: OrderConfig, by: Literal["sample", "batch"]) -> None:
        self.config, self.by = config, by
        self.orders = [SampleOrder(part.counts, config, source) for source, part in enumerate(parts)]
        self.lanes = max(order.lanes for order in self.orders)
        self._unit: Final = config.batch_size if by == "batch" else 1
        limits = [self._limit(order, part.epochs) for order, part in zip(self.orders, parts, strict=True)]
        weights = [_weight(order, part.weight) for order, part in zip(self.orders, parts, strict=True)]
        self._mixture = Mixture(weights, limits)
        asked = [order.samples_per_epoch * (part.epochs or 0) for order, part in zip(self.orders, parts, strict=True)]
        self.batches = None if self._mixture.total is None else self._mixture.total * self._unit // config.batch_size
        if self.batches == 0:
            raise ValueError(
                f"{sum(asked)} samples in all passes make no batch of {config.batch_size}; lower batch_size"
            )
        self.left_out = 0 if self.batches is None else sum(asked) - self.batches * config.batch_size

    @property
    def is_finite(self) -> bool:
        """Whether the order ends: all datasets have their passes counted."""
        return self.batches is not None

    @property
    def samples_per_epoch(self) -> int:
        """Samples of a pass over all datasets, if each were taken once."""
        return sum(order.samples_per_epoch for order in self.orders)

    @property
    def batches_per_epoch(self) -> int:
        """How many batches it takes to take as many samples as all datasets have."""
        return -(-self.samples_per_epoch // self.config.batch_size)

    def counts(self, samples: int) -> tuple[int, ...]:
        """Return how many of the first ``samples`` samples, a count of whole batches, are of each dataset."""
        return tuple(count * self._unit for count in self._mixture.counts(samples // self._unit))

    def share(self, k: int, *, rank: int, world: int) -> list[Slot]:
        """Return one rank's part of batch ``k``; empty once there are no more.

        Raises:
            ValueError: ``k`` is negative, or see ``rank_slice``.
        """
        if k < 0:
            raise ValueError(f"batch {k} is negative; batches count from 0")
        part = self.rank_slice(rank, world)
        if self.batches is not None and k >= self.batches:
            return []
        return self._one_source(k, rank, world) if self.by == "batch" else self._mixed(k, part)

    def batch(self, k: int) -> list[Slot]:
        """Return the slots of global batch ``k``."""
        return self.share(k, rank=0, world=1)

    def rank_slice(self, rank: int, world: int) -> slice:
        """Return which part of a batch a rank takes: contiguous, sizes equal or one apart.

        A mixed batch is sorted by lane, those of all datasets side by side: each rank has its part of each dataset,
        and lanes of its own where batch size, lanes and world divide.

        Raises:
            ValueError: the rank is outside the world, or the world is larger than the batch.
        """
        return rank_slice(self.config.batch_size, rank, world)

    def shards_ahead(self, slots: Sequence[Slot]) -> list[int]:
        """Return the shards that the lanes of these slots need, of each dataset as ``SampleOrder`` names them."""
        own: dict[int, list[Slot]] = {}
        for slot in slots:
            own.setdefault(slot.source, []).append(replace(slot, position=self._own_position(slot.position)))
        named = [self.orders[source].shards_ahead(each) for source, each in own.items()]
        in_turns = chain.from_iterable(zip_longest(*named))
        return list(dict.fromkeys(shard for shard in in_turns if shard is not None))

    def _one_source(self, k: int, rank: int, world: int) -> list[Slot]:
        turn, size = self._mixture.turn(k), self.config.batch_size
        moved = (k - turn.index) * size
        share = self.orders[turn.source].share(turn.index, rank=rank, world=world)
        return [replace(slot, position=slot.position + moved) for slot in share]

    def _mixed(self, k: int, part: slice) -> list[Slot]:
        size = self.config.batch_size
        turns = {position: self._mixture.turn(position) for position in range(k * size, (k + 1) * size)}
        chosen = sorted(turns, key=lambda position: self._rank_of(turns[position]))[part]
        return [replace(self._own_slot(turns[position]), position=position) for position in chosen]

    def _rank_of(self, turn: Turn) -> tuple[float, int, int]:
        """Return what places are sorted by: how far along the lanes, then dataset and age."""
        order = self.orders[turn.source]
        return order.lane_of(turn.index) / order.lanes, turn.source, turn.index

    def _own_slot(self, turn: Turn) -> Slot:
        return self.orders[turn.source].slot(turn.index)

    def _own_position(self, position: int) -> int:
        turn = self._mixture.turn(position // self._unit)
        return turn.index * self._unit + position % self._unit

    def _limit(self, order: SampleOrder, epochs: int | None) -> int | None:
        if epochs is None:
            return None
        turns = epochs * order.samples_per_epoch // self._unit
        if not turns:
            raise ValueError(
                f"{epochs * order.samples_per_epoch} samples in all passes over dataset {order.source} make no batch of"
                f" {self._unit}; lower batch_size, raise its epochs, or mix by sample"
            )
        return turns


def _weight(order: SampleOrder, weight: float | None) -> Fraction | int:
    return order.samples_per_epoch if weight is None else Fraction(str(weight))
