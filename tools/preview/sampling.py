"""Choose clips of a dataset by chance, the same for the same seed: each clip with the same probability."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.augment import draw_below
from shards.derived import columns_for, derived_schema, with_derived
from shards.errors import StoreError
from shards.expression import Expression
from shards.layout import parquet_name
from shards.manifest import Manifest
from shards.store import Store

_WORD: Final = 1 << 64
_PLACES_DRAW: Final = 0x70726576
_RANK_DRAW: Final = _PLACES_DRAW + 1
"""Second key words of the two draws, far from the epochs that share a seed in training."""
_READERS: Final = 4


@dataclass(frozen=True, slots=True)
class Located:
    """Where a clip lies: the number of its shard in the manifest, that shard's stem, and the clip's row in it."""

    shard: int
    stem: str
    row: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Clips that were chosen, in the dataset's order, and how many there were to choose from."""

    places: tuple[Located, ...]
    among: int


def sample_rows(store: Store, manifest: Manifest, n: int, seed: int = 0, where: Expression | None = None) -> Sample:
    """Choose ``n`` clips, or all where there are fewer.

    Without a condition the manifest's counts are enough and no record is read (Floyd's draw of a subset: Bentley and
    Floyd, "A sample of brilliance", CACM 30, 1987). With one, the columns that it names are read once, shard by shard;
    each clip has a rank that the seed and its place decide, and those of lowest rank are kept: memory grows with ``n``.

    Args:
        store: the dataset.
        manifest: its manifest.
        n: how many clips, at least 1.
        seed: what the choice is drawn from, below 2**64.
        where: a condition that the clips meet.

    Raises:
        ValueError: a number is out of range, a table of records is damaged, or the condition does not suit its columns.
        StoreError: a table of records cannot be read.
    """
    if n < 1 or not 0 <= seed < _WORD:
        raise ValueError(f"n {n} and seed {seed}: n must be at least 1, and seed must be 0 to 2**64 - 1")
    if where is not None:
        return _lowest(store, manifest, n, seed, where)
    ends = np.cumsum([entry.clips for entry in manifest.shards], dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    places = [_locate(manifest, ends, position) for position in sorted(_subset(total, min(n, total), seed))]
    return Sample(tuple(places), total)


def _subset(total: int, n: int, seed: int) -> set[int]:
    """Draw ``n`` different numbers below ``total``."""
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, _PLACES_DRAW], dtype=np.uint64)))
    chosen: set[int] = set()
    for last in range(total - n, total):
        drawn = draw_below(rng, last + 1)
        chosen.add(last if drawn in chosen else drawn)
    return chosen


def _locate(manifest: Manifest, ends: np.ndarray[tuple[int], np.dtype[np.int64]], position: int) -> Located:
    shard = int(np.searchsorted(ends, position, side="right"))
    entry = manifest.shards[shard]
    return Located(shard, entry.stem, position - int(ends[shard]) + entry.clips)


@dataclass(frozen=True, slots=True, order=True)
class _Ranked:
    """A clip that meets the condition; those of lowest rank are chosen."""

    rank: int
    shard: int
    row: int


@dataclass(frozen=True, slots=True)
class _Matching:
    """What a shard has of clips that meet the condition: how many, and those that may be chosen."""

    count: int
    lowest: list[_Ranked]


def _lowest(store: Store, manifest: Manifest, n: int, seed: int, where: Expression) -> Sample:
    kept: list[_Ranked] = []
    among = 0
    for matching in _all_matching(store, manifest, n, seed, where):
        among += matching.count
        bar = kept[-1] if len(kept) == n else None
        better = [ranked for ranked in matching.lowest if bar is None or ranked < bar]
        kept = sorted([*kept, *better])[:n] if better else kept
    found = sorted((ranked.shard, ranked.row) for ranked in kept)
    return Sample(tuple(Located(shard, manifest.shards[shard].stem, row) for shard, row in found), among)


def _all_matching(store: Store, manifest: Manifest, n: int, seed: int, where: Expression) -> Iterator[_Matching]:
    """Look through the shards that hold clips, a few at a time."""

    def look(shard: int) -> _Matching:
        name = parquet_name(manifest.shards[shard].stem)
        try:
            with store.open(name) as file:
                rows = _rows_where(pq.ParquetFile(file, pre_buffer=False), where)
        except StoreError:
            raise
        except (pa.ArrowException, OSError) as error:  # pyarrow calls a broken page an OSError
            raise ValueError(f"{store.url}/{name} is damaged: {error}; 'vidloom verify' says more") from error
        ranks = _ranks(seed, shard, manifest.shards[shard].clips, rows)
        first = np.argsort(ranks, kind="stable")[:n]
        return _Matching(len(rows), [_Ranked(int(ranks[at]), shard, int(rows[at])) for at in first])

    with ThreadPoolExecutor(_READERS) as readers:
        shards = (number for number, entry in enumerate(manifest.shards) if entry.clips)
        while few := list(islice(shards, 2 * _READERS)):
            yield from readers.map(look, few)


def _rows_where(parquet: pq.ParquetFile, where: Expression) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the rows of a table of records that meet the condition; memory is that of a few thousand rows."""
    schema = parquet.schema_arrow
    where.check(derived_schema(schema))  # an error names all columns, not the few read
    columns = sorted(columns_for(where.names, schema.names)) or ["key"]
    found: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = [np.empty(0, dtype=np.int64)]
    first = 0
    for batch in parquet.iter_batches(columns=columns, use_threads=False):
        mask = where.mask(with_derived(batch, where.names))
        found.append(np.flatnonzero(mask.to_numpy(zero_copy_only=False)) + first)
        first += batch.num_rows
    return np.concatenate(found)


def _ranks(
    seed: int, shard: int, clips: int, rows: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> Sequence[int] | np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Return a word for each of a shard's rows, which no other row decides (Salmon et al., SC 2011)."""
    key = np.array([seed, _RANK_DRAW], dtype=np.uint64)
    words = np.random.Philox(key=key, counter=np.array([0, 0, shard, 0], dtype=np.uint64))
    return words.random_raw(max(clips, int(rows.max(initial=-1)) + 1))[rows]
