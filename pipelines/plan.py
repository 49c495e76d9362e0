"""The order of samples as arithmetic: which sample stands at a position, and which positions make a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

import numpy as np
from jaxtyping import Int64, UInt64

# P shards that hold samples (empty ones have no part in the order), B samples of a batch, W samples of a window.

_WORD: Final = 1 << 64
_ROW_BITS: Final = 32
_SHARD_BITS: Final = 24
MOST_SOURCES: Final = 128
"""Datasets of a mix, at most: their numbers stand above shard and row in a sample's, which fits 63 bits."""

_SHARD_DRAW: Final = 1 << 63
_WINDOW_DRAW: Final = _SHARD_DRAW + 1
"""Last counter words of our draws: far from the streams of a sample, which share the key (seed, epoch)."""

_EPOCHS_KEPT: Final = 3


@dataclass(frozen=True, slots=True)
class OrderConfig:
    """What the order depends on, apart from the dataset.

    ``batch_size`` counts the samples of a batch over all ranks. ``lanes`` are walked side by side, each through its own
    part of the epoch; ``window`` shards at a time are shuffled by sample inside a lane. With ``whole_batches`` no batch
    is shared by two epochs: as many samples as do not fill a batch sit an epoch out, others in each.

    Raises:
        ValueError: a number is out of range; the message names the field.
    """

    seed: int
    batch_size: int
    lanes: int = 8
    window: int = 4
    whole_batches: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.seed < _WORD:
            raise ValueError(f"seed {self.seed} does not fit 64 bits; give 0 to 2**64 - 1")
        for name in ("batch_size", "lanes", "window"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True, slots=True)
class Slot:
    """One place of the endless order and the sample that stands there.

    ``position`` counts samples from the first epoch on and never restarts; ``row`` is the sample's index inside shard
    number ``shard`` of dataset number ``source``; ``sample_id`` is ``source << 56 | shard << 32 | row``, the same in
    every epoch. ``epoch`` is the dataset's own. A slot that is ``padding`` only fills its batch: it names a sample that
    stands elsewhere, and is never valid.
    """

    position: int
    epoch: int
    shard: int
    row: int
    sample_id: int
    source: int = 0
    padding: bool = False

    @property
    def shard_id(self) -> int:
        """The number of the slot's shard among those of all datasets (see ``shard_id``)."""
        return shard_id(self.source, self.shard)


class Order(Protocol):
    """What hands out slots: endless for training, finite for evaluation."""

    @property
    def is_finite(self) -> bool:
        """Whether shares end."""

    def share(self, k: int, *, rank: int, world: int) -> list[Slot]:
        """Return one rank's part of batch ``k``; empty once there are no more."""

    def rank_slice(self, rank: int, world: int) -> slice:
        """Return which places of a batch a rank takes."""

    def shards_ahead(self, slots: Sequence[Slot]) -> list[int]:
        """Return the shards (``shard_id``) that these slots need, then those needed next."""


@dataclass(frozen=True, slots=True)
class ShardPlace:
    """Where a shard is: shard number ``shard`` of dataset number ``source``."""

    source: int
    shard: int


def sample_id(shard: int, row: int, source: int = 0) -> int:
    """Return a sample's number among those of all datasets of a loader."""
    return shard_id(source, shard) << _ROW_BITS | row


def shard_id(source: int, shard: int) -> int:
    """Return a shard's number among those of all datasets of a loader; with one dataset, its number in that."""
    return source << _SHARD_BITS | shard


def shard_place(shard_id: int) -> ShardPlace:
    """Return which shard of which dataset a number from ``shard_id`` means."""
    return ShardPlace(shard_id >> _SHARD_BITS, shard_id & ((1 << _SHARD_BITS) - 1))


def require_counts(counts: Int64[np.ndarray, "P"]) -> None:
    """Refuse numbers of samples that slots cannot tell apart.

    Raises:
        ValueError: there are too many shards, or a shard has too many samples or a negative number of them.
    """
    if len(counts) > 1 << _SHARD_BITS:
        raise ValueError(f"{len(counts)} shards are more than the order can number; at most 2**{_SHARD_BITS} are taken")
    if len(counts) and not 0 <= int(counts.min()) <= int(counts.max()) < 1 << _ROW_BITS:
        raise ValueError(f"a shard's samples must be 0 to 2**32 - 1, not {counts.min()} to {counts.max()}")


def rank_slice(batch_size: int, rank: int, world: int) -> slice:
    """Return which places of a batch a rank takes: contiguous, sizes equal or one apart.

    Raises:
        ValueError: the rank is outside the world, or the world is larger than the batch.
    """
    if not 0 <= rank < world:
        raise ValueError(f"rank {rank} is outside a world of {world}; ranks count from 0")
    if world > batch_size:
        raise ValueError(
            f"batch_size {batch_size} is less than the world of {world}: give every rank a sample at least"
        )
    return slice(batch_size * rank // world, batch_size * (rank + 1) // world)


@dataclass(frozen=True, slots=True)
class _Place:
    """A position taken apart: the ``index``-th sample of a lane in an epoch."""

    epoch: int
    lane: int
    index: int


@dataclass(frozen=True, slots=True)
class _Window:
    """The samples ``[low, high)`` of an epoch's line that are shuffled together, and the pieces they come from."""

    number: int
    low: int
    high: int
    pieces: range


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    """An epoch's shards laid end to end: ``shards[p]`` holds the samples ``[starts[p], starts[p + 1])`` of the line."""

    shards: Int64[np.ndarray, "P"]
    starts: Int64[np.ndarray, "P+1"]

    def piece(self, sample: int) -> int:
        """Return which piece of the line holds a sample."""
        return int(self.starts.searchsorted(sample, side="right")) - 1


class SampleOrder:
    """The endless, shuffled order of a dataset's samples, computed and not stored.

    Each epoch permutes the shards, lays them end to end as one line of S samples and cuts it into ``lanes`` parts of
    ``S // lanes`` samples, the first ``S % lanes`` of them with one more, so that every sample has its place. Inside a
    lane the pieces of shards are taken ``window`` at a time and their samples permuted. Position q of an epoch is
    sample ``q // lanes`` of lane ``q % lanes``.

    All draws are sorts of raw Philox words keyed (seed, epoch), so no version of numpy changes them. Memory is
    O(shards) plus a few windows; any position costs the same.

    Args:
        counts: samples of each shard, in the manifest's order.
        config: seed, batch size, lanes and window. Fewer samples than lanes lower the number of lanes.
        source: the dataset's number, where there are several; each number has permutations of its own.

    Raises:
        ValueError: there is no sample, or fewer than a batch where whole ones are asked for, or a count is negative or
            beyond 2**32, or there are more shards than 2**24.
    """

    is_finite: Final = False
    batches: Final = None
    left_out: Final = 0

    def __init__(self, counts: Sequence[int], config: OrderConfig, source: int = 0) -> None:
        self._counts: Int64[np.ndarray, "P"] = np.asarray(counts, dtype=np.int64)
        require_counts(self._counts)
        self.samples = int(self._counts.sum())
        if self.samples == 0:
            raise ValueError(f"the {len(self._counts)} shards hold no sample; there is nothing to order")
        self.config, self.source = config, source
        self.lanes = min(config.lanes, self.samples)
        self.samples_per_epoch = self.samples
        if config.whole_batches:
            self.samples_per_epoch -= self.samples % config.batch_size
        if not self.samples_per_epoch:
            raise ValueError(f"{self.samples} samples make no whole batch of {config.batch_size}; lower batch_size")
        self._line = lru_cache(maxsize=_EPOCHS_KEPT)(self._draw_line)
        self._permutation = lru_cache(maxsize=2 * self.lanes + 2)(self._draw_permutation)

    @property
    def batches_per_epoch(self) -> int:
        """How many batches it takes to see an epoch, the last one perhaps shared with the next epoch."""
        return -(-self.samples_per_epoch // self.config.batch_size)

    def counts(self, samples: int) -> tuple[int, ...]:
        """Return how many of the first ``samples`` samples are of each dataset: all are of the one."""
        return (samples,)

    def slot(self, position: int) -> Slot:
        """Return the slot at a position of the endless order.

        Raises:
            ValueError: the position is negative.
        """
        if position < 0:
            raise ValueError(f"position {position} is negative; positions count from 0")
        place = self._place(position)
        line = self._line(place.epoch)
        window = self._window(line, place)
        offset = self._lane(place.lane).start + place.index - window.low
        size = window.high - window.low
        sample = window.low + int(self._permutation(place.epoch, place.lane, window.number, size)[offset])
        piece = line.piece(sample)
        shard, row = int(line.shards[piece]), sample - int(line.starts[piece])
        return Slot(position, place.epoch, shard, row, sample_id(shard, row, self.source), self.source)

    def lane_of(self, position: int) -> int:
        """Return the lane that a position is walked in."""
        return self._place(position).lane

    def batch(self, k: int) -> list[Slot]:
        """Return the slots of global batch ``k``, sorted by epoch, lane and index."""
        return self.share(k, rank=0, world=1)

    def share(self, k: int, *, rank: int, world: int) -> list[Slot]:
        """Return one rank's part of batch ``k``: ``batch(k)[rank_slice(rank, world)]``, without working out the rest.

        Raises:
            ValueError: ``k`` is negative, or see ``rank_slice``.
        """
        if k < 0:
            raise ValueError(f"batch {k} is negative; batches count from 0")
        size = self.config.batch_size
        positions = np.arange(k * size, (k + 1) * size, dtype=np.int64)
        epochs, inside = np.divmod(positions, self.samples_per_epoch)
        order = np.lexsort((inside // self.lanes, inside % self.lanes, epochs))
        return [self.slot(int(position)) for position in positions[order[self.rank_slice(rank, world)]]]

    def rank_slice(self, rank: int, world: int) -> slice:
        """Return which part of a batch a rank takes: contiguous, sizes equal or one apart.

        A batch is sorted by lane, so ranks own whole lanes where batch size, lanes and world divide.

        Raises:
            ValueError: the rank is outside the world, or the world is larger than the batch.
        """
        return rank_slice(self.config.batch_size, rank, world)

    def shards_ahead(self, slots: Sequence[Slot]) -> list[int]:
        """Return the shards that the lanes of these slots need: first those of their windows, then of the next ones.

        Each shard stands once, in the order of its first need, which is what a fetcher should bring first.
        """
        places = {(place.epoch, place.lane): place for place in map(self._place, (slot.position for slot in slots))}
        found = dict.fromkeys(slot.shard_id for slot in slots)
        for place in places.values():
            found |= dict.fromkeys(self._window_shards(place))
        for place in places.values():
            found |= dict.fromkeys(self._window_shards(self._after(place)))
        return list(found)

    def _place(self, position: int) -> _Place:
        epoch, inside = divmod(position, self.samples_per_epoch)
        return _Place(epoch, inside % self.lanes, inside // self.lanes)

    def _after(self, place: _Place) -> _Place:
        """Return the first place of the lane after this one's window, in the next epoch where the lane ends."""
        lane = self._lane(place.lane)
        index = self._window(self._line(place.epoch), place).high - lane.start
        if index < len(lane):
            return _Place(place.epoch, place.lane, index)
        return _Place(place.epoch + 1, place.lane, 0)

    def _window_shards(self, place: _Place) -> list[int]:
        line = self._line(place.epoch)
        return [shard_id(self.source, int(line.shards[piece])) for piece in self._window(line, place).pieces]

    def _lane(self, lane: int) -> range:
        """Return the part of an epoch's line that a lane walks."""
        size, longer = divmod(self.samples, self.lanes)
        first = lane * size + min(lane, longer)
        return range(first, first + size + (lane < longer))

    def _window(self, line: _Line, place: _Place) -> _Window:
        lane = self._lane(place.lane)
        first, end = lane.start, lane.stop
        opening, closing = line.piece(first), line.piece(end - 1) + 1
        number = (line.piece(first + place.index) - opening) // self.config.window
        low_piece = opening + number * self.config.window
        high_piece = min(low_piece + self.config.window, closing)
        low, high = max(first, int(line.starts[low_piece])), min(end, int(line.starts[high_piece]))
        return _Window(number, low, high, range(low_piece, high_piece))

    def _draw_line(self, epoch: int) -> _Line:
        words = self._words(epoch, 0, self.source << _ROW_BITS, _SHARD_DRAW, len(self._counts))
        order = np.argsort(words, kind="stable")
        order = order[self._counts[order] > 0]
        starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(self._counts[order])])
        return _Line(order.astype(np.int64), starts)

    def _draw_permutation(self, epoch: int, lane: int, window: int, size: int) -> Int64[np.ndarray, "W"]:
        words = self._words(epoch, window, self.source << _ROW_BITS | lane, _WINDOW_DRAW, size)
        return np.argsort(words, kind="stable").astype(np.int64)

    def _words(self, epoch: int, low: int, high: int, draw: int, count: int) -> UInt64[np.ndarray, "W"]:
        """Return raw words of Philox (Salmon et al., SC 2011), whose counter counts up in its first word only."""
        key = np.array([self.config.seed, epoch], dtype=np.uint64)
        counter = np.array([0, low, high, draw], dtype=np.uint64)
        return np.random.Philox(key=key, counter=counter).random_raw(count)
