"""One pass over the tables of some datasets: a few threads count, and what they found is added up."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tools.statistics.partial import Limits, Partial
from tools.statistics.repeats import NO_BOUND
from tools.statistics.sample import likely_bound
from tools.statistics.tables import Question, Rows, Shard, Source, bundles, read_groups, read_rows, shards_of
from tools.statistics.tallies import Tally, spelt

A = TypeVar("A")
B = TypeVar("B")

REST: Final = "\0other"
"""What the clips of all smaller groups are counted under."""

_LOCAL_READERS: Final = 8
_REMOTE_READERS: Final = 16
_MOST_HELD: Final = 64
"""Parts that are held until they are added up."""


class _Counted(NamedTuple):
    """How many rows of some shards were read, and what is known of those that are asked for, by group."""

    read: int
    parts: list[tuple[str, Partial]]


class _Sum:
    """Adds up parts as they come, many at a time: at once where little is known yet, or when enough wait."""

    def __init__(self) -> None:
        self.whole = Partial()
        self._held: list[Partial] = []
        self._weight = 0

    def add(self, part: Partial) -> None:
        self._held.append(part)
        self._weight += part.weight
        if self._weight >= self.whole.weight or len(self._held) >= _MOST_HELD:
            self.result()

    def result(self) -> Partial:
        """Return what is known of all rows so far."""
        if self._held:
            self.whole = Partial.merged([self.whole, *self._held])
            self._held, self._weight = [], 0
        return self.whole


def scan(
    sources: Sequence[Source],
    ask: Question,
    limits: Limits,
    *,
    groups: Sequence[str] = (),
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Partial]:
    """Return what is known of the rows of each group, under ``REST`` of all others; under "" where no group is given.

    Memory is bounded by the limits and the number of groups, whatever the number of rows. What repeats may not be
    settled yet.

    Args:
        sources: The datasets.
        ask: Which rows; with ``by`` where there are groups.
        limits: How much is kept of a group.
        groups: Values of ``by``, as reports spell them.
        progress: Is told of rows as they were read.

    Raises:
        StoreError: a file cannot be read.
        ValueError: a file is damaged, or the question does not fit its columns; the message says which.
    """
    if groups or ask.where:
        return _scan(sources, ask, limits, groups=groups, progress=progress)
    rank = likely_bound(sum(source.manifest.totals.clips for source in sources), limits.captions)
    found = _scan(sources, ask, limits, progress=progress, rank=rank)
    if found[""].sample.bound < rank or rank == NO_BOUND:
        return found
    return _scan(sources, ask, limits)  # too few rows were below that rank


def _scan(
    sources: Sequence[Source],
    ask: Question,
    limits: Limits,
    *,
    groups: Sequence[str] = (),
    progress: Callable[[int], None] = lambda _: None,
    rank: int = NO_BOUND,
) -> dict[str, Partial]:
    """Return what ``scan`` does; above ``rank`` no row is taken into the sample."""
    sums = {name: _Sum() for name in (*groups, REST)} if groups else {"": _Sum()}

    def count(bundle: list[Shard]) -> _Counted:
        many = [] if groups else [name for name, tally in sums[""].whole.values.items() if tally.counts is None]
        parts = [
            (
                name,
                Partial.of(part.batch, part.places, part.projection, limits=limits, known=sums[name].whole, rank=rank),
            )
            for some in read_rows(bundle, ask, many)
            for name, part in (_split(some, groups) if groups else [("", some)])
        ]
        return _Counted(sum(shard.entry.clips for shard in bundle), parts)

    for read, parts in in_threads(count, bundles(sources), readers(sources)):
        for name, part in parts:
            sums[name].add(part)
        progress(read)
    return {name: one.result() for name, one in sums.items()}


def count_groups(sources: Sequence[Source], ask: Question) -> Tally:
    """Return how many rows there are of each value that groups are made by; no other columns are read.

    Raises:
        StoreError: a file cannot be read.
        ValueError: a file is damaged, or the question does not fit its columns; the message says which.
    """

    def count(shard: Shard) -> Tally:
        return Tally.merged([Tally.of(_single(values, ask)) for values in read_groups(shard, ask)])

    some = (shard for shard in shards_of(sources) if shard.entry.clips)
    whole = Tally()
    for tally in in_threads(count, some, readers(sources)):
        whole = Tally.merged([whole, tally])
    return whole


def _single(values: pa.Array, ask: Question) -> pa.Array:
    """Return what groups are made by.

    Raises:
        ValueError: these are lists or structures.
    """
    if pa.types.is_nested(values.type):
        text = "" if ask.by is None else ask.by.text
        raise ValueError(
            f"{text!r} is {values.type}, of which no groups are made: give a column of single values, or an expression "
            "of its parts such as 'decodable.nvdec'"
        )
    return values


def readers(sources: Sequence[Source]) -> int:
    """Return how many threads read: one a core for local files, more for remote ones, which wait most of the time."""
    if any(not source.store.is_local for source in sources):
        return _REMOTE_READERS
    return min(os.cpu_count() or 1, _LOCAL_READERS)


def in_threads(work: Callable[[A], B], items: Iterable[A], threads: int) -> Iterator[B]:
    """Yield what the work makes of each item, in order; as many as there are threads are at work ahead."""
    waiting: deque[Future[B]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _split(rows: Rows, groups: Sequence[str]) -> Iterator[tuple[str, Rows]]:
    """Yield the rows of each group that has some."""
    assert rows.by is not None, "a question with groups gives their values"
    places = {name: number for number, name in enumerate(groups)}
    encoded = rows.by if pa.types.is_dictionary(rows.by.type) else rows.by.dictionary_encode()
    of_value = np.array([places.get(name, len(groups)) for name in (*spelt(encoded.dictionary), "")], np.int64)
    of_value[-1] = places.get("null", len(groups))
    numbers = of_value[pc.fill_null(encoded.indices, len(of_value) - 1).to_numpy(zero_copy_only=False)]
    for number, name in enumerate((*groups, REST)):
        mine = np.flatnonzero(numbers == number)
        if len(mine):
            yield name, Rows(rows.batch.take(pa.array(mine)), rows.places[mine], rows.projection, None)
