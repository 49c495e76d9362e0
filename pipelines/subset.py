"""A part of a dataset by condition and split: clips counted per shard once, rows found again when a shard is opened."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int64

from pipelines.kept_file import cache_folder, is_writable, kept_file
from pipelines.split import SplitConfig
from shards.derived import columns_for, derived_schema, with_derived
from shards.expression import ExpressionError, parse
from shards.layout import parquet_name
from shards.manifest import Manifest
from shards.store import Store, StoreError

# R rows of a shard's table that are in the subset.

_LOG: Final = logging.getLogger(__name__)
_RECIPE: Final = 1
"""Goes up when the same settings choose other rows."""
_READERS: Final = 8
_SAY_EVERY: Final = 10.0
"""Seconds between two lines that tell how far the first look has come."""


@dataclass(frozen=True, slots=True)
class SubsetConfig:
    """Which clips of a dataset are taken: those of a condition in the filter language, of a part of a split, or both.

    Raises:
        ExpressionError: the condition cannot be read.
    """

    where: str | None = None
    split: SplitConfig | None = None

    def __post_init__(self) -> None:
        if self.where is not None:
            parse(self.where)

    def __str__(self) -> str:
        """Return which clips are taken, in words."""
        said = [] if self.where is None else [f"clips of which {self.where!r} is true"]
        return ", of ".join(said + ([] if self.split is None else [str(self.split)])) or "all clips"

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return self.where is None and self.split is None

    def columns(self, schema: pa.Schema) -> list[str]:
        """Return which columns of a shard's table decide.

        Raises:
            ExpressionError: the condition does not fit the schema.
        """
        names: set[str] = set() if self.split is None else {self.split.by}
        if self.where is not None:
            condition = parse(self.where)
            condition.check(derived_schema(schema))  # an error names all columns, not the few read
            names |= columns_for(condition.names, schema.names)
        return sorted(names)

    def rows(self, table: pa.Table) -> Int64[np.ndarray, "R"]:
        """Return which rows of a table are taken, ascending.

        Raises:
            ExpressionError: the condition does not fit the table's columns.
        """
        taken = np.ones(table.num_rows, dtype=np.bool_)
        if self.where is not None:
            condition = parse(self.where)
            taken &= np.asarray(condition.mask(with_derived(table, condition.names)), dtype=np.bool_)
        if self.split is not None and table.num_rows:
            taken &= self.split.takes(table[self.split.by])
        return np.flatnonzero(taken)

    def as_settings(self) -> dict[str, Any]:
        """Return what decides, as JSON values; nothing for the whole."""
        found: dict[str, Any] = {} if self.where is None else {"where": self.where}
        return found if self.split is None else found | {"split": self.split.as_settings()}


WHOLE: Final = SubsetConfig()
"""All clips."""


class RowMap:
    """Tells which row of a shard's table the n-th clip of the subset is; for any number of threads.

    Memory is the rows of the shards that ``keep`` named last, and of those asked for since.

    Args:
        subset: what is taken.
        counts: clips taken of each shard.
    """

    def __init__(self, subset: SubsetConfig, counts: Sequence[int]) -> None:
        self._subset, self._counts = subset, counts
        self._lock = threading.Lock()
        self._rows: dict[int, Int64[np.ndarray, "R"]] = {}

    def count(self, shard: int) -> int:
        """Return how many clips of a shard are taken."""
        return self._counts[shard]

    def true_row(self, shard: int, table: pa.Table, kept: int) -> int:
        """Return the row of the ``kept``-th clip that is taken of a shard, whose table is at hand.

        Raises:
            ValueError: the table has another number of clips in the subset than were counted at the start.
        """
        rows = self._rows.get(shard)
        if rows is None:
            rows = self._found(shard, table)
            with self._lock:
                self._rows[shard] = rows
        return int(rows[kept])

    def keep(self, shards: Collection[int]) -> None:
        """Forget the rows of all other shards."""
        with self._lock:
            self._rows = {shard: rows for shard, rows in self._rows.items() if shard in shards}

    def _found(self, shard: int, table: pa.Table) -> Int64[np.ndarray, "R"]:
        rows = self._subset.rows(table)
        if len(rows) != self._counts[shard]:
            raise ValueError(
                f"shard number {shard} has {len(rows)} clips in the part ({self._subset}), and"
                f" {self._counts[shard]} were counted before: its table has changed, or the kept counts are another"
                " dataset's; remove the folder 'subsets' of the cache and start again"
            )
        return rows


@dataclass(frozen=True, slots=True)
class Subset:
    """How many clips of each shard are taken, and which rows these are; ``rows`` is None where all are taken."""

    counts: tuple[int, ...]
    rows: RowMap | None = None

    @property
    def clips(self) -> int:
        """Clips of all shards."""
        return sum(self.counts)


def open_subset(config: SubsetConfig, store: Store, manifest: Manifest, cache_dir: str | Path | None = None) -> Subset:
    """Count a subset's clips; the columns that decide are read once, and the counts kept for later runs.

    They are kept as a small file of the folder ``subsets`` in ``cache_dir`` (None: of vidloom's in the user's cache),
    named by the dataset's digest and the subset. Of many processes one looks, the others wait for its file. Where
    nothing can be written, each looks for itself.

    Raises:
        ExpressionError: the condition does not fit the dataset's columns.
        ValueError: no clip is taken, or a table is damaged.
        StoreError: a table cannot be read.
        OSError: the counts cannot be written to the end.
    """
    whole = tuple(entry.clips for entry in manifest.shards)
    if config.is_whole:
        return Subset(whole)
    about = json.dumps([_RECIPE, manifest.digest, config.as_settings()], sort_keys=True)
    path = cache_folder("subsets", cache_dir) / f"subset-{hashlib.sha256(about.encode()).hexdigest()}.json"
    counts = _kept_counts(path, whole, lambda: _written(config, store, manifest))
    if not any(counts):
        raise ValueError(
            f"{store.url} has {sum(whole)} clips and none of them is in the part that is asked for: {config}"
        )
    return Subset(counts, RowMap(config, counts))


def _kept_counts(path: Path, whole: Sequence[int], make: Callable[[], bytes]) -> tuple[int, ...]:
    """Return the counts of a kept file, made where it is not there or damaged."""
    if not is_writable(path.parent):
        _LOG.warning("%s cannot be written to: counts of clips are not kept for the next time", path.parent)
        return _read(make(), whole) or ()
    counts = _read(kept_file(path, make), whole)
    if counts is None:
        _LOG.warning("%s does not hold the counts that it should; they are made again", path)
        path.unlink(missing_ok=True)
        counts = _read(kept_file(path, make), whole)
    assert counts is not None, "what was just written can be read"
    return counts


def _written(config: SubsetConfig, store: Store, manifest: Manifest) -> bytes:
    return json.dumps({"recipe": _RECIPE, "counts": list(_counted(config, store, manifest))}).encode()


def _read(data: bytes, whole: Sequence[int]) -> tuple[int, ...] | None:
    """Return the counts of a kept file, or None where it is damaged."""
    try:
        found = json.loads(data)["counts"]
    except (ValueError, KeyError, TypeError):
        return None
    fits = (
        isinstance(found, list)
        and len(found) == len(whole)
        and all(type(count) is int and 0 <= count <= clips for count, clips in zip(found, whole, strict=True))
    )
    return tuple(found) if fits else None


def _counted(config: SubsetConfig, store: Store, manifest: Manifest) -> Iterator[int]:
    """Yield the clips taken of each shard, looking at several shards at a time."""
    pool = ThreadPoolExecutor(_READERS, thread_name_prefix="vidloom-subset")
    said = time.monotonic()
    _LOG.info("looking for %s in %d shards of %s", config, len(manifest.shards), store.url)
    try:
        looks = [pool.submit(_count, config, store, entry.stem) if entry.clips else None for entry in manifest.shards]
        for number, look in enumerate(looks):
            yield 0 if look is None else look.result()
            if time.monotonic() - said > _SAY_EVERY:
                said = time.monotonic()
                _LOG.info("looked at %d of %d shards of %s", number + 1, len(looks), store.url)
    finally:
        pool.shutdown(cancel_futures=True)


def _count(config: SubsetConfig, store: Store, stem: str) -> int:
    name = parquet_name(stem)
    try:
        with store.open(name) as file:
            table = pq.ParquetFile(file, pre_buffer=False)
            return len(config.rows(table.read(columns=config.columns(table.schema_arrow), use_threads=False)))
    except ExpressionError as error:
        raise ExpressionError(error.text, error.position, f"{error.problem} ({store.url}/{name})") from None
    except StoreError:
        raise
    except (pa.ArrowException, OSError, KeyError) as error:  # pyarrow calls a broken page an OSError
        raise ValueError(f"{store.url}/{name} is damaged: {error}; 'vidloom verify' says more") from error
