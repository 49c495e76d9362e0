"""A manifest that is gone or damaged, made again from what each shard says of itself."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pyarrow as pa

from shards import layout
from shards.canonical import parse_versioned
from shards.index import DamagedShardError, format_idx
from shards.ledger import parse_ledger, summarise
from shards.manifest import Manifest, ShardEntry, describe, entry_from_stats, make_manifest
from shards.plan import BlockPlan, read_plan
from shards.reader import read_records
from shards.record import Record
from shards.store import NotFoundError, Store
from shards.verify_rebuild import NotRebuiltError, RecordColumns, describe_file, find_columns, sound_samples
from shards.verify_stream import PassingFile
from shards.writer import BuiltShard, spell_summary, write_records

_AGAIN: Final = "run the same 'vidloom {}' command again, which goes on where it stopped"


def rebuild_manifest(store: Store, scratch: Path, on_put: Callable[[str], None]) -> Manifest:
    """Make the manifest of a dataset again, and where a shard's summary is gone or damaged, that as well.

    The manifest is returned, not written. What is put in place on the way are files of shards that have no summary:
    there the tar, whole in itself, is what the others are made of.

    Args:
        store: the dataset.
        scratch: a local folder.
        on_put: hears the name of each file that was made again and put in its place.

    Raises:
        NotRebuiltError: the plan is gone, shards are missing or damaged, or the shards lie elsewhere.
        StoreError: the store cannot be reached.
    """
    plan = _plan_of(store)
    columns: RecordColumns | None = None
    entries: list[ShardEntry] = []
    for number in range(plan.blocks):
        stem = layout.shard_stem(number)
        entry = _told(store, stem)
        if entry is None:
            stems = (layout.shard_stem(each) for each in range(plan.blocks))
            columns = columns or find_columns(store, stems, plan.extra)
            entry = _Block(store, stem, columns, scratch / stem).rebuild(on_put)
        entries.append(entry)
    try:
        return make_manifest(plan, entries)
    except ValueError as error:
        raise NotRebuiltError(str(error)) from error


def _told(store: Store, stem: str) -> ShardEntry | None:
    """Return what a block's summary and ledger tell of it, None where they are not both there and of one mind."""
    try:
        ledger = store.read(layout.ledger_name(stem))
        stats = store.read(layout.stats_name(stem))
        entry = entry_from_stats(stem, stats, describe(ledger))
        sums = summarise(parse_ledger(ledger, name=stem))
    except (NotFoundError, ValueError):
        return None
    same = (sums.rows, sums.status, sums.reasons) == (entry.rows, entry.status, entry.reasons)
    own = parse_versioned(stats, stem).get("stem") == stem
    return entry if same and own else None


def _plan_of(store: Store) -> BlockPlan:
    try:
        plan = read_plan(store)
    except ValueError as error:
        raise NotRebuiltError(f"{error}, and a manifest cannot be made without it") from error
    if plan is None:
        raise NotRebuiltError(f"{store.url} has no {layout.PLAN_NAME}, without which no manifest can be made")
    if store.exists(layout.JOURNAL_NAME):
        raise NotRebuiltError(f"a retry did not come to its end; {_AGAIN.format('shard')}")
    if not plan.rows_per_block:
        made_by = plan.settings.get("made_by", "index")
        raise NotRebuiltError(f"where its files lie stood in the manifest alone; {_AGAIN.format(made_by)}")
    return plan


class _Block:
    """A block whose summary is gone: its tar and its ledger tell what it was."""

    def __init__(self, store: Store, stem: str, columns: RecordColumns, scratch: Path) -> None:
        self._store, self._stem, self._columns, self._scratch = store, stem, columns, scratch

    def rebuild(self, on_put: Callable[[str], None]) -> ShardEntry:
        self._scratch.mkdir(parents=True)
        try:
            return self._rebuilt(on_put)
        except NotFoundError as error:
            raise NotRebuiltError(f"{error}; {_AGAIN.format('shard')}") from error
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _rebuilt(self, on_put: Callable[[str], None]) -> ShardEntry:
        store, stem = self._store, self._stem
        ledger = store.read(layout.ledger_name(stem))
        try:
            fates = parse_ledger(ledger, name=layout.ledger_name(stem))
        except ValueError as error:
            raise NotRebuiltError(str(error)) from error
        samples = list(sound_samples(store, layout.tar_name(stem)))
        rows = [record for record in (sample.record() for sample in samples) if record is not None]
        made, sums = {row.key for row in fates if row.status == "success"}, summarise(fates)
        if len(rows) != len(made):
            raise NotRebuiltError(f"shard {stem}: the tar has {len(rows)} samples, the ledger {len(made)} successes")
        odd = next((row.key for row in rows if row.key not in made), None)
        if odd is not None:
            raise NotRebuiltError(f"shard {stem}: the tar has sample {odd}, which is none of the ledger's successes")
        idx = format_idx([sample.as_indexed() for sample in samples])
        built = BuiltShard(
            stem=stem,
            paths={},
            files={
                "tar": PassingFile(store, layout.tar_name(stem)).entry(),
                "idx": describe(idx),
                "parquet": describe_file(self._records(rows, on_put)),
            },
            clips=len(rows),
            seconds=math.fsum(row.media.duration for row in rows),
            frames=sum(row.media.num_frames for row in rows),
        )
        stats = spell_summary(built, sums)
        for name, data in ((layout.idx_name(stem), idx), (layout.stats_name(stem), stats)):
            if not store.exists(name) or store.read(name) != data:
                store.put(name, data)
                on_put(name)
        return entry_from_stats(stem, stats, describe(ledger))

    def _records(self, rows: list[Record], on_put: Callable[[str], None]) -> Path:
        """Return a local copy of the block's table: the one that is there where it says what the tar does."""
        name = layout.parquet_name(self._stem)
        made, there = self._scratch / name, self._scratch / f"there{layout.PARQUET_SUFFIX}"
        write_records(rows, self._columns.schema(), made)
        try:
            there.write_bytes(self._store.read(name))
            if _rows_of(there) == rows:
                return there
        except NotFoundError:
            pass
        self._store.put_file(name, made)
        on_put(name)
        return made


def _rows_of(path: Path) -> list[Record] | None:
    try:
        return [Record.from_row(row) for row in read_records(path, name=path.name).to_pylist()]
    except (DamagedShardError, pa.ArrowException, KeyError, TypeError):
        return None
