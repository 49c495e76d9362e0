"""The tables of some datasets, some rows at a time: the columns that count, of the rows that are asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shards.dataset import open_dataset
from shards.derived import columns_for, derived_schema, with_derived
from shards.errors import StoreError
from shards.expression import Expression, ExpressionError
from shards.layout import parquet_name
from shards.manifest import Manifest, ShardEntry
from shards.store import Store, open_store
from tools.statistics.columns import DICTIONARIES, TEXTS, USUAL_DICTIONARIES, Projection, project
from tools.statistics.hashing import Hashes

ROWS: Final = 1 << 16
"""Rows of a large table that are read at a time; small tables are counted together until there are as many."""

_BYTES: Final = 64 << 20
"""Bytes of rows that are counted together."""

_PART: Final = 1 << 12
"""Rows a part from which on texts are counted part by part, which takes less time than putting them together."""

_FEW: Final = 1 << 10
"""Rows that are decoded at a time where a few are wanted."""

_LOCAL: Final = {"buffer_size": 1 << 16}
"""How local files are read: in pieces that a processor's cache holds."""

_REMOTE: Final = {"pre_buffer": True}
"""How others are: all columns of a row group by few requests."""

_SHARDS: Final = 128
"""Shards that one thread reads in a row, so that all threads have work and remote files do not wait for each other."""

_SHARD_BITS: Final = 32
"""A place is the number of the shard, over all datasets, and in its last 32 bits the row."""


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset that is looked at: its files, what they are, and the number of its first shard among all."""

    store: Store
    manifest: Manifest
    first: int


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard of one of some datasets: the dataset's number, the shard's among all, its files and what they are."""

    dataset: int
    number: int
    store: Store
    entry: ShardEntry


@dataclass(frozen=True, slots=True)
class Question:
    """Which rows are looked at, and what they are put into groups by."""

    where: Expression | None = None
    by: Expression | None = None

    @property
    def names(self) -> frozenset[str]:
        """The columns that it speaks of."""
        return frozenset().union(*(part.names for part in (self.where, self.by) if part))


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows: their columns, where each stands, and what groups are made by (None: there are none)."""

    batch: pa.RecordBatch | pa.Table
    places: Hashes
    projection: Projection
    by: pa.Array | None


def open_sources(datasets: Sequence[str | Store]) -> list[Source]:
    """Open some datasets.

    Raises:
        NotFoundError: there is no finished dataset.
        ValueError: a manifest is damaged; the message names it.
    """
    found: list[Source] = []
    for dataset in datasets:
        store, manifest = open_dataset(dataset if isinstance(dataset, Store) else open_store(dataset))
        found.append(Source(store, manifest, found[-1].first + len(found[-1].manifest.shards) if found else 0))
    return found


def shards_of(sources: Sequence[Source]) -> Iterator[Shard]:
    """Yield all shards in order."""
    for dataset, source in enumerate(sources):
        for number, entry in enumerate(source.manifest.shards, source.first):
            yield Shard(dataset, number, source.store, entry)


def bundles(sources: Sequence[Source]) -> Iterator[list[Shard]]:
    """Yield shards that are read together: large ones alone, small ones until there are rows enough."""
    few: list[Shard] = []
    rows = 0
    for shard in shards_of(sources):
        if shard.entry.clips:
            few.append(shard)
            rows += shard.entry.clips
        if rows >= ROWS or len(few) >= _SHARDS:
            yield few
            few, rows = [], 0
    if few:
        yield few


def read_rows(bundle: Sequence[Shard], ask: Question, less: Collection[str] = ()) -> Iterator[Rows]:
    """Yield the rows of some shards, some 130,000 at a time at most.

    Args:
        bundle: The shards.
        ask: Which rows, and what of them.
        less: Columns of the user's that are not wanted.

    Raises:
        StoreError: a file cannot be read.
        ValueError: a file is damaged, or the question does not fit its columns; the message says which.
    """
    held: list[Rows] = []
    count = size = 0
    for rows in (rows for shard in bundle for rows in _shard_rows(shard, ask, less)):
        size += rows.batch.nbytes
        if held and (size > _BYTES or not held[0].batch.schema.equals(rows.batch.schema)):
            yield _joined(held)
            held, count, size = [], 0, rows.batch.nbytes
        held.append(rows)
        count += len(rows.places)
        if count >= ROWS:
            yield _joined(held)
            held, count, size = [], 0, 0
    if held:
        yield _joined(held)


def read_groups(shard: Shard, ask: Question) -> Iterator[pa.Array]:
    """Yield what groups are made by, of those rows of a shard that are asked for.

    Raises:
        StoreError: the file cannot be read.
        ValueError: it is damaged, or the question does not fit its columns; the message says which.
    """
    assert ask.by is not None, "there is something that groups are made by"
    with opened_table(shard) as file:
        schema = derived_schema(file.schema_arrow)  # an error names all columns, not the few read
        ask.by.check_value(schema)
        if ask.where:
            ask.where.check(schema)
        columns = sorted(columns_for(ask.names, file.schema_arrow.names))
        for batch in file.iter_batches(batch_size=ROWS, columns=columns, use_threads=False):
            whole = with_derived(batch, ask.names)
            yield ask.by.array(whole.filter(ask.where.mask(whole)) if ask.where else whole)


def find_rows(sources: Sequence[Source], places: Sequence[int]) -> Iterator[tuple[Shard, list[int]]]:
    """Yield the shards in which some rows stand, each with the rows' numbers, rising."""
    wanted: dict[int, list[int]] = {}
    for place in sorted(set(places)):
        wanted.setdefault(place >> _SHARD_BITS, []).append(place & ((1 << _SHARD_BITS) - 1))
    for number, rows in wanted.items():
        dataset = max(index for index, source in enumerate(sources) if source.first <= number)
        source = sources[dataset]
        yield Shard(dataset, number, source.store, source.manifest.shards[number - source.first]), rows


def read_chosen(shard: Shard, rows: Sequence[int], columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield some rows of a shard, by rising numbers, with their values; only their row groups are read.

    Raises:
        StoreError: the file cannot be read.
        ValueError: it is damaged; the message names it.
    """
    with opened_table(shard) as file:
        about = file.metadata
        ends = np.cumsum([about.row_group(group).num_rows for group in range(about.num_row_groups)])
        groups = np.searchsorted(ends, rows, side="right")
        for group in np.unique(groups).tolist():
            first = int(ends[group - 1]) if group else 0
            mine = [row for row, where in zip(rows, groups, strict=True) if where == group]
            batches = file.iter_batches(_FEW, row_groups=[group], columns=list(columns), use_threads=False)
            yield from _picked(batches, mine, first)


def _picked(batches: Iterator[pa.RecordBatch], rows: Sequence[int], first: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield some rows, by rising numbers, of batches that begin with the first; none behind the last is decoded."""
    for batch in batches:
        here = [row for row in rows if first <= row < first + batch.num_rows]
        if here:
            yield from zip(here, batch.take(pa.array([row - first for row in here])).to_pylist(), strict=True)
        first += batch.num_rows
        if first > rows[-1]:
            return


def place(shard: Shard, row: int) -> int:
    """Return the place of a shard's row."""
    return (shard.number << _SHARD_BITS) | row


@contextmanager
def opened_table(shard: Shard) -> Iterator[Any]:
    """Open a shard's table, a ``pyarrow.parquet.ParquetFile``.

    Raises:
        StoreError: the file cannot be read.
        ValueError: it is damaged, or holds another count of rows than the manifest says; the message names it.
    """
    name = parquet_name(shard.entry.stem)
    is_local = shard.store.is_local
    try:
        with pa.OSFile(str(shard.store.local_path(name))) if is_local else shard.store.open(name) as file:
            table = _opened(file, **(_LOCAL if is_local else _REMOTE))
            _require_rows(table.metadata.num_rows, shard.entry.clips)
            yield table
    except StoreError:
        raise
    except ExpressionError as error:
        raise ExpressionError(error.text, error.position, _placed(error.problem, shard.store.url)) from error
    except (pa.ArrowException, OSError, ValueError) as error:  # pyarrow calls a broken page an OSError
        raise ValueError(f"{shard.store.url}/{name} is damaged: {error}; 'vidloom verify' says more") from error


def _opened(file: Any, **reading: Any) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Open a table so that its columns of few values are read as dictionaries: at once where it has the usual ones."""
    try:
        table = pq.ParquetFile(file, read_dictionary=USUAL_DICTIONARIES, **reading)
    except KeyError:  # one of them is absent
        table = pq.ParquetFile(file, **reading)
    few = [one.name for one in table.schema_arrow if one.name in DICTIONARIES and not pa.types.is_nested(one.type)]
    if len(few) == len(USUAL_DICTIONARIES):
        return table
    return pq.ParquetFile(file, metadata=table.metadata, read_dictionary=few, **reading)


def _placed(problem: str, url: str) -> str:
    """Return what is wrong with an expression, and of which dataset: another may have the column."""
    what, semicolon, rest = problem.partition(";")
    return f"{what} in {url}{semicolon}{rest}"


def _require_rows(found: int, wanted: int) -> None:
    if found != wanted:
        raise ValueError(f"it has {found} rows, the manifest says {wanted}")


def _shard_rows(shard: Shard, ask: Question, less: Collection[str]) -> Iterator[Rows]:
    with opened_table(shard) as file:
        projection = project(file.schema_arrow, more=ask.names, less=less)
        if ask.where:
            ask.where.check(derived_schema(file.schema_arrow))
        first = place(shard, 0)
        for batch in file.iter_batches(batch_size=ROWS, columns=list(projection.columns), use_threads=False):
            places = np.arange(first, first + batch.num_rows, dtype=np.uint64)
            first += batch.num_rows
            yield _chosen(batch, places, projection, ask)


def _chosen(batch: pa.RecordBatch, places: Hashes, projection: Projection, ask: Question) -> Rows:
    """Return the rows of which the condition is true, with what groups are made by."""
    whole = with_derived(batch, ask.names)
    if ask.where:
        mask = ask.where.mask(whole)
        whole, places = whole.filter(mask), places[mask.to_numpy(zero_copy_only=False)]
    by = ask.by.array(whole) if ask.by else None
    if whole.num_columns != len(projection.columns):
        whole = whole.select(list(projection.columns))
    return Rows(whole, places, projection, by)


def _joined(some: Sequence[Rows]) -> Rows:
    """Return rows of one schema put together; long columns of texts stay in their parts."""
    if len(some) == 1:
        return some[0]
    table = pa.Table.from_batches([rows.batch for rows in some])
    by = None if some[0].by is None else pa.concat_arrays([rows.by for rows in some])
    if table.num_rows >= _PART * len(some):
        few = [name for name in table.column_names if name not in TEXTS]
        table = _appended(table.select(few).unify_dictionaries().combine_chunks(), table.select(TEXTS))
    else:
        table = table.unify_dictionaries().combine_chunks()
    return Rows(table, np.concatenate([rows.places for rows in some]), some[0].projection, by)


def _appended(one: pa.Table, other: pa.Table) -> pa.Table:
    return pa.table([*one.columns, *other.columns], names=[*one.column_names, *other.column_names])
