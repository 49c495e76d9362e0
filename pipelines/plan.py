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
_SHARD_DRAW: Final = 1 << 63
_WINDOW_DRAW: Final = _SHARD_DRAW + 1
"""Last counter words of our draws: far from the streams of a sample, which share the key (seed, epoch)."""

_EPOCHS_KEPT: Final = 3


@dataclass(frozen=True, slots=True)
class OrderConfig:
    """What the order depends on, apart from the dataset.

    ``batch_size`` counts the samples of a batch over all ranks. ``lanes`` are walked side by side, each through its own
    part of the epoch; ``window`` shards at a time are shuffled by sample inside a lane.

    Raises:
        ValueError: a number is out of range; the message names the field.
    """

    seed: int
    batch_size: int
    lanes: int = 8
    window: int = 4

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
    number ``shard``; ``sample_id`` is ``shard << 32 | row``, the same in every epoch.
    """

    position: int
    epoch: int
    shard: int
    row: int
    sample_id: int


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
        """Return the shards that these slots need, then those needed next."""


def sample_id(shard: int, row: int) -> int:
    """Return a sample's number in its dataset."""
    return shard << _ROW_BITS | row


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
        return int(np.searchsorted(self.starts, sample, side="right")) - 1


class SampleOrder:
    """The endless, shuffled order of a dataset's samples, computed and not stored.

    Each epoch permutes the shards, lays them end to end as one line of S samples and cuts it into ``lanes`` parts of
    ``S // lanes`` samples. The ``S % lanes`` samples at the end of the line sit this epoch out; the permutation differs
    from epoch to epoch, and so do they. Inside a lane the pieces of shards are taken ``window`` at a time and their
    samples permuted. Position q of an epoch is sample ``q // lanes`` of lane ``q % lanes``.

    All draws are sorts of raw Philox words keyed (seed, epoch), so no version of numpy changes them. Memory is
    O(shards) plus a few windows; any position costs the same.

    Args:
        counts: samples of each shard, in the manifest's order.
        config: seed, batch size, lanes and window. Fewer samples than lanes lower the number of lanes.

    Raises:
        ValueError: there is no sample, or a count is negative or beyond 2**32.
    """

    is_finite: Final = False

    def __init__(self, counts: Sequence[int], config: OrderConfig) -> None:
        self._counts: Int64[np.ndarray, "P"] = np.asarray(counts, dtype=np.int64)
        if len(self._counts) and not 0 <= int(self._counts.min()) <= int(self._counts.max()) < 1 << _ROW_BITS:
            raise ValueError(f"a shard's samples must be 0 to 2**32 - 1, not {min(counts)} to {max(counts)}")
        total = int(self._counts.sum())
        if total == 0:
            raise ValueError(f"the {len(self._counts)} shards hold no sample; there is nothing to order")
        self.config = config
        self.lanes = min(config.lanes, total)
        self.lane_samples = total // self.lanes
        self.samples_per_epoch = self.lanes * self.lane_samples
        self._line = lru_cache(maxsize=_EPOCHS_KEPT)(self._draw_line)
        self._permutation = lru_cache(maxsize=2 * self.lanes + 2)(self._draw_permutation)

    @property
    def batches_per_epoch(self) -> int:
        """How many batches it takes to see an epoch, the last one perhaps shared with the next epoch."""
        return -(-self.samples_per_epoch // self.config.batch_size)

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
        offset = place.lane * self.lane_samples + place.index - window.low
        size = window.high - window.low
        sample = window.low + int(self._permutation(place.epoch, place.lane, window.number, size)[offset])
        piece = line.piece(sample)
        shard, row = int(line.shards[piece]), sample - int(line.starts[piece])
        return Slot(position, place.epoch, shard, row, sample_id(shard, row))

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
        found = dict.fromkeys(slot.shard for slot in slots)
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
        index = self._window(self._line(place.epoch), place).high - place.lane * self.lane_samples
        if index < self.lane_samples:
            return _Place(place.epoch, place.lane, index)
        return _Place(place.epoch + 1, place.lane, 0)

    def _window_shards(self, place: _Place) -> list[int]:
        line = self._line(place.epoch)
        return [int(line.shards[piece]) for piece in self._window(line, place).pieces]

    def _window(self, line: _Line, place: _Place) -> _Window:
        first, end = place.lane * self.lane_samples, (place.lane + 1) * self.lane_samples
        opening, closing = line.piece(first), line.piece(end - 1) + 1
        number = (line.piece(first + place.index) - opening) // self.config.window
        low_piece = opening + number * self.config.window
        high_piece = min(low_piece + self.config.window, closing)
        low, high = max(first, int(line.starts[low_piece])), min(end, int(line.starts[high_piece]))
        return _Window(number, low, high, range(low_piece, high_piece))

    def _draw_line(self, epoch: int) -> _Line:
        words = self._words(epoch, 0, 0, _SHARD_DRAW, len(self._counts))
        order = np.argsort(words, kind="stable")
        order = order[self._counts[order] > 0]
        starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(self._counts[order])])
        return _Line(order.astype(np.int64), starts)

    def _draw_permutation(self, epoch: int, lane: int, window: int, size: int) -> Int64[np.ndarray, "W"]:
        words = self._words(epoch, window, lane, _WINDOW_DRAW, size)
        return np.argsort(words, kind="stable").astype(np.int64)

    def _words(self, epoch: int, low: int, high: int, draw: int, count: int) -> UInt64[np.ndarray, "W"]:
        """Return raw words of Philox (Salmon et al., SC 2011), whose counter counts up in its first word only."""
        key = np.array([self.config.seed, epoch], dtype=np.uint64)
        counter = np.array([0, low, high, draw], dtype=np.uint64)
        return np.random.Philox(key=key, counter=counter).random_raw(count)
