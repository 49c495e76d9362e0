"""A sharding run: plan first, blocks by worker processes, manifest last; what is finished already is left as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from shards.layout import LEDGER_DIR, MANIFEST_NAME, ledger_name, shard_stem
from shards.ledger import LedgerRow, read_ledger
from shards.manifest import Manifest, ShardEntry, finished_entry, make_manifest, write_manifest
from shards.plan import BlockPlan, read_plan, require_same_plan, write_plan
from shards.store import Store, open_store
from tools.console import StoppedError
from tools.corpus.block import Block, BlockSettings, make_block
from tools.corpus.ingest import read_rows
from tools.corpus.planning import ShardRequest, local_table, make_plan
from tools.corpus.pool import Pool
from tools.corpus.tally import Activity, Progress
from tools.corpus.units import CutOptions
from tools.corpus.workspace import workspace

_READERS: Final = 16


@dataclass(frozen=True, slots=True)
class Planned:
    """A run is about to start: its plan, and the rows, clips and blocks that an earlier run finished."""

    plan: BlockPlan
    rows_done: int
    clips_done: int
    blocks_done: int


Event = Planned | Progress | Activity | ShardEntry
"""What a run tells of itself while it goes on."""


def shard(request: ShardRequest, report: Callable[[Event], None]) -> Manifest:
    """Make the dataset that is asked for, or what is missing of it, and return its manifest.

    Args:
        request: input, output and settings.
        report: hears of the plan, of progress, and of every published block.

    Raises:
        ValueError: the input is unfit, or the output holds something else.
        StoreError: the input or the output cannot be read.
        StoppedError: plan, shards or manifest cannot be written, the videos' store went out of reach, or another run is
            writing to the same place.
    """
    out = open_store(request.out)
    with local_table(request.input) as table:
        plan = make_plan(request, table, out)
        with workspace(out) as scratch:
            try:
                return _run(request, _Run(plan, out, table, scratch), report)
            except OSError as error:
                raise StoppedError(str(error)) from error


def failures(dataset: Store, manifest: Manifest) -> Iterator[LedgerRow]:
    """Yield the ledger rows that failed, in the order of the input; only ledgers that hold any are read."""
    for entry in manifest.shards:
        if entry.status.get("failed", 0):
            yield from (row for row in read_ledger(dataset, entry.stem) if row.status == "failed")


@dataclass(frozen=True, slots=True)
class _Run:
    plan: BlockPlan
    out: Store
    table: Path
    scratch: Path


def _run(request: ShardRequest, run: _Run, report: Callable[[Event], None]) -> Manifest:
    plan, out = run.plan, run.out
    begun = read_plan(out)
    if begun is None:
        write_plan(out, plan)
    else:  # perhaps by another run, between our first look and our lock
        require_same_plan(begun, plan)
    done = _finished(out, plan)
    report(Planned(plan, sum(e.rows for e in done.values()), sum(e.clips for e in done.values()), len(done)))
    for event in _make_blocks(request, run, set(done)):
        report(event)
        if isinstance(event, ShardEntry):
            done[int(event.stem)] = event
            _require_our_plan(run)
    _require_our_plan(run)
    manifest = make_manifest(plan, done.values())
    if not out.exists(MANIFEST_NAME) or out.read(MANIFEST_NAME) != manifest.to_bytes():
        write_manifest(out, manifest)
    return manifest


def _require_our_plan(run: _Run) -> None:
    """Stop where another run put its plan over ours: nothing but the plan guards a bucket against two runs at once."""
    found = read_plan(run.out)
    if found is None or found.digest != run.plan.digest:
        raise StoppedError(
            f"the plan in {run.out.url} is not this run's any more: another run is writing there, and shards of both "
            "may lie there now; let neither go on, and give each an empty place of its own"
        )


def _finished(out: Store, plan: BlockPlan) -> dict[int, ShardEntry]:
    """Return the blocks that are published already, by number."""
    ledgers = set(out.list(f"{LEDGER_DIR}/"))
    numbers = [number for number in range(plan.blocks) if ledger_name(shard_stem(number)) in ledgers]
    with ThreadPoolExecutor(_READERS) as readers:
        entries = readers.map(lambda number: finished_entry(out, shard_stem(number)), numbers)
        return {number: entry for number, entry in zip(numbers, entries, strict=True) if entry is not None}


def _make_blocks(request: ShardRequest, run: _Run, done: set[int]) -> Iterator[Progress | Activity | ShardEntry]:
    plan = run.plan
    todo = plan.blocks - len(done)
    if todo == 0:
        return
    options = CutOptions(request.sources, request.cut, request.min_seconds, request.max_seconds)
    # With fewer blocks than workers, the workers left over cut other videos of the same blocks.
    threads = -(-request.workers // todo)
    settings = BlockSettings(run.out.url, options, plan.extra, run.scratch, threads)
    rows = read_rows(
        run.table,
        request.columns,
        plan.extra,
        limit=request.limit,
        wanted=lambda row: plan.block_of(row) not in done,
    )
    blocks = (
        Block(number, tuple(group)) for number, group in groupby(rows, lambda row: plan.block_of(row.row))
    )
    yield from Pool(settings, min(request.workers, todo), row_seconds=request.row_seconds).run(blocks, make_block)
