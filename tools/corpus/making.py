"""The work of a run: which blocks are published, and those that are wanted, read from the input and made by workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Final

from shards.layout import LEDGER_DIR, ledger_name, shard_stem
from shards.manifest import ShardEntry, finished_entry
from shards.plan import BlockPlan
from shards.store import Store
from tools.corpus.block import Block, BlockSettings, Judged, judge_block, make_block
from tools.corpus.executor import Executor, open_executor
from tools.corpus.fingerprints import Fingerprinted, fingerprint_block
from tools.corpus.ingest import InputRow
from tools.corpus.remake import remake_block
from tools.corpus.running import Run
from tools.corpus.tally import Activity, Progress

_READERS: Final = 16

Again = Callable[[int], frozenset[tuple[int, int]]]
"""Which clips of a block failed and are to be tried again, by row and clip."""


def finished(dataset: Store, plan: BlockPlan) -> dict[int, ShardEntry]:
    """Return the blocks that are published already, by number."""
    ledgers = set(dataset.list(f"{LEDGER_DIR}/"))
    numbers = [number for number in range(plan.blocks) if ledger_name(shard_stem(number)) in ledgers]
    with ThreadPoolExecutor(_READERS) as readers:
        entries = readers.map(lambda number: finished_entry(dataset, shard_stem(number)), numbers)
        return {number: entry for number, entry in zip(numbers, entries, strict=True) if entry is not None}


def make(run: Run, numbers: set[int]) -> Iterator[Progress | Activity | ShardEntry]:
    """Make and publish the blocks of these numbers; yield what goes on, and each block's entry.

    Raises:
        StoppedError: a shard cannot be published, or the videos' store went out of reach.
    """
    if numbers:
        yield from _executor(run, run.out, len(numbers)).run(_blocks(run, numbers, None), make_block)


def remake(run: Run, numbers: set[int], again: Again, into: Store) -> Iterator[Progress | Activity | ShardEntry]:
    """Make published blocks again and publish them in another store; yield what goes on, and each block's entry.

    Args:
        run: the run.
        numbers: the blocks.
        again: the clips to try of each; the others are taken from the published shards.
        into: where the new shards go.

    Raises:
        StoppedError: a shard cannot be read or published, or the videos' store went out of reach.
    """
    if numbers:
        yield from _executor(run, into, len(numbers)).run(_blocks(run, numbers, again), remake_block)


def fingerprint(run: Run, numbers: set[int], into: Store) -> Iterator[Progress | Activity | Fingerprinted]:
    """Take the fingerprints of these blocks and publish them in a store; yield what goes on, and each block's end.

    Raises:
        StoppedError: they cannot be published, or the videos' store went out of reach.
    """
    if numbers:
        yield from _executor(run, into, len(numbers)).run(_blocks(run, numbers, None), fingerprint_block)


def judge(run: Run, numbers: set[int]) -> Iterator[Progress | Activity | Judged]:
    """Find out what would become of the rows of these blocks; yield what goes on, and what there is to say of each.

    Nothing is written but to the run's scratch folder.

    Raises:
        StoppedError: the videos' store went out of reach.
    """
    if numbers:
        yield from _executor(run, run.out, len(numbers), dry=True).run(_blocks(run, numbers, None), judge_block)


def _executor(run: Run, into: Store, blocks: int, *, dry: bool = False) -> Executor:
    extra = run.request.sift.columns(run.plan.extra)
    settings = BlockSettings(into.url, run.request.options(dry=dry), extra, run.scratch, published=run.out.url)
    return open_executor(run.request.choice, settings, blocks)


def _blocks(run: Run, numbers: set[int], again: Again | None) -> Iterator[Block]:
    """Read the wanted blocks from the input, one after the other."""
    plan, shots = run.plan, run.request.shots
    by_shot = shots is not None and shots.mode == "clips"
    rows = run.table.rows(plan.extra, limit=run.request.limit, wanted=lambda row: plan.block_of(row) in numbers)
    if run.duplicates is not None:
        rows = map(run.duplicates.apply, rows)
    for number, group in groupby(rows, lambda row: plan.block_of(row.row)):
        segments = tuple(group)
        yield Block(number, segments, None if again is None else _tried(segments, again(number), by_shot=by_shot))


def _tried(
    rows: Iterable[InputRow], failed: frozenset[tuple[int, int]], *, by_shot: bool
) -> frozenset[tuple[int, int]]:
    """Return the segments, by row and part, that the failed clips are of.

    The clips of a row are its parts, unless shots are clips: how many those are is known when all are looked for.
    """
    whole = {row for row, _ in failed} if by_shot else set()
    return frozenset((row.row, row.part) for row in rows if row.row in whole or (row.row, row.part) in failed)
