"""Walk the plan of a thousand ranks over a hundred thousand shards and compare it with the sizing rule.

Run ``python -m benchmarks.scale [--ranks 1024] [--shards 100000] [--json FILE]`` from the root. Nothing is read: the
loader's own order says which clips each rank takes and which shards it wants, and the loader's own rule which clips
one request brings. Some nodes, all their ranks, are walked through a whole epoch. Measured are the time to plan at the
start and for a batch, and the memory of a rank for manifest and order; counted are shards, bytes and requests, with a
cache (shards are fetched when first wanted and let go when no longer wanted) and without one. The second epoch is
walked, with the batch that it shares with the first. Ratios are what was
counted over what ``vidloom bench sizing`` says. ``--lanes`` less than the nodes shows what that costs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.amounts import above_zero, at_least_one
from benchmarks.sides.memory import peak, start_counting
from pipelines.chain import FETCH_THREADS
from pipelines.nearby import neighbours
from pipelines.plan import OrderConfig, SampleOrder, Slot
from shards.layout import shard_stem
from shards.manifest import FileEntry, ShardEntry
from shards.store import PART_BYTES
from tools.bench.sizing import (
    TABLE_BYTES,
    TAR_BYTES,
    Need,
    cached_bytes,
    cached_requests,
    held_shards,
    node_shards,
    ranged_bytes,
    ranged_requests,
)

STEADY = 40


@dataclass(frozen=True)
class Planned:
    """What planning took: seconds at the start, and of a batch in the median and at worst; KiB of one rank."""

    start: float
    batch: float
    worst: float
    manifest: int
    order: int


@dataclass
class Walk:
    """What one node takes in an epoch."""

    clips: int = 0
    fetched: int = 0
    tables: int = 0
    held: int = 0
    held_at_turn: int = 0
    ranges: int = 0
    bytes: float = 0.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, count, print the table and write what was asked for."""
    options = _options(arguments)
    need = Need(
        gpus=options.ranks,
        clips=options.clips_per_second,
        clip_bytes=options.clip_bytes,
        gpus_per_node=options.gpus_per_node,
        batch=options.batch,
        shards=options.shards,
        lanes=options.lanes,
        window=options.window,
        whole_batches=options.whole_batches,
        shard_bytes=options.shard_clips * (options.clip_bytes + TAR_BYTES + TABLE_BYTES),
    )
    memory = start_counting()
    manifest = make_entries(options.shards)
    held = peak() - memory
    counts = draw_counts(options.shards, options.shard_clips)
    planned = plan(need, counts, held)
    del manifest
    walks = [walk(need, counts, node) for node in range(0, need.nodes, max(1, need.nodes // options.nodes))]
    found = compare(need, planned, walks[: options.nodes], int(counts.sum()))
    _print(need, planned, found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def draw_counts(shards: int, clips: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the clips of each shard: a fifth more or less than the mean."""
    return np.random.default_rng(0).integers(clips * 4 // 5, clips * 6 // 5 + 1, shards)


def make_entries(shards: int) -> list[ShardEntry]:
    """Return entries of a manifest, which every rank keeps in memory."""

    def entry(number: int) -> ShardEntry:
        tar, idx, parquet, stats, ledger = (FileEntry(256 << 20, f"{number * 5 + n:064x}") for n in range(5))
        about, sums = (shard_stem(number), 450, 440, 4400.0, 110_000), ({"success": 440}, {"decode": 10})
        return ShardEntry(*about, tar, idx, parquet, stats, ledger, *sums)

    return [entry(number) for number in range(shards)]


def plan(need: Need, counts: Sequence[int] | np.ndarray[Any, Any], manifest: int) -> Planned:
    """Time what a rank's planning thread does, from nothing and batch by batch, and the memory that it takes."""
    before, start = start_counting(), time.perf_counter()
    order = make_order(need, counts)
    rank = need.gpus // 2
    order.shards_ahead(order.share(0, rank=rank, world=need.gpus))
    first, times = time.perf_counter() - start, []
    batches = order.batches_per_epoch
    for k in range(0, batches, max(1, batches // STEADY)):
        for batch in (k, k + 1):
            start = time.perf_counter()
            order.shards_ahead(order.share(batch, rank=rank, world=need.gpus))
            times.append(time.perf_counter() - start)
    return Planned(first, statistics.median(times), max(times), manifest, peak() - before)


def make_order(need: Need, counts: Sequence[int] | np.ndarray[Any, Any]) -> SampleOrder:
    """Return the order that all ranks share."""
    config = OrderConfig(0, need.batch * need.gpus, need.walked, need.window, need.whole_batches)
    return SampleOrder(list(counts), config)


def walk(need: Need, counts: np.ndarray[Any, Any], node: int) -> Walk:
    """Take all ranks of a node through an epoch, and count what they ask of a store."""
    order, found = make_order(need, counts), Walk()
    ranks = range(node * need.node_gpus, (node + 1) * need.node_gpus)
    under_way = -(-(need.batch + FETCH_THREADS) // need.batch) + 1
    wanted: dict[int, deque[frozenset[int]]] = {rank: deque(maxlen=under_way) for rank in ranks}
    opened: dict[int, frozenset[int]] = dict.fromkeys(ranks, frozenset())
    held: frozenset[int] = frozenset()
    epoch = order.samples_per_epoch // order.config.batch_size
    for k in range(epoch - under_way, 2 * epoch):
        if k == epoch:  # what the epoch's first windows take was fetched before it, as its last ones fetch for the next
            found = Walk()
        for rank in ranks:
            slots = order.share(k, rank=rank, world=need.gpus)
            wanted[rank].append(frozenset(order.shards_ahead(slots)))
            used = frozenset(slot.shard for slot in slots)
            keep = frozenset().union(*wanted[rank])
            found.tables += len(used - opened[rank])
            opened[rank] = opened[rank] & keep | used
            found.clips += len(slots)
            for reach in requests(need, slots):
                found.ranges += 1
                found.bytes += len(reach)
        now = frozenset().union(*(shares for each in wanted.values() for shares in each))
        found.fetched += len(now - held)
        turns = not need.whole_batches and k < epoch + under_way
        found.held_at_turn = max(found.held_at_turn, len(now))
        found.held, held = max(found.held, 0 if turns else len(now)), now
    return found


def requests(need: Need, slots: Sequence[Slot]) -> Iterator[range]:
    """Yield the byte ranges by which a rank without a cache reads the clips of a batch."""
    member = round(need.clip_bytes + TAR_BYTES)
    for shard, count in Counter(slot.shard for slot in slots).items():
        rows = [slot.row for slot in slots if slot.shard == shard]
        spans = [range(row * member, row * member + round(need.clip_bytes)) for row in rows]
        while spans:
            at, *others = spans
            chosen = set(neighbours(at, others)) if count > 1 else set()
            together = [at, *(others[n] for n in chosen)]
            yield range(min(span.start for span in together), max(span.stop for span in together))
            spans = [span for n, span in enumerate(others) if n not in chosen]


def compare(need: Need, planned: Planned, walks: Sequence[Walk], samples: int) -> dict[str, Any]:
    """Set what was counted beside the rule; figures are of a node."""
    sums = Walk(*(sum(getattr(each, name) for each in walks) for name in asdict(walks[0])))
    held = max(each.held for each in walks)
    part = sums.clips / len(walks) / (samples / need.nodes)  # the last batch, which two epochs share, is not walked
    shard_bytes = samples / need.shards * (need.clip_bytes + TAR_BYTES + TABLE_BYTES)
    parts = -(-shard_bytes // PART_BYTES) + 1
    rate = need.clips * need.node_gpus
    need = replace(need, shard_bytes=shard_bytes)
    tables = TABLE_BYTES * need.shard_clips * sums.tables
    counted = {
        "shards fetched an epoch": (sums.fetched / len(walks), node_shards(need) * part),
        "shards held": (held, held_shards(need)),
        "shards wanted at the turn": (max(each.held_at_turn for each in walks), None),
        "GB an epoch, cache": (sums.fetched / len(walks) * shard_bytes / 1e9, None),
        "requests/s, cache": (sums.fetched * parts / sums.clips * rate, cached_requests(need) * rate),
        "MB/s, cache": (sums.fetched * shard_bytes / sums.clips * rate / 1e6, cached_bytes(need) * rate / 1e6),
        "GB an epoch, no cache": ((sums.bytes + tables) / len(walks) / 1e9, None),
        "requests/s, no cache": ((sums.ranges + sums.tables) / sums.clips * rate, ranged_requests(need) * rate),
        "MB/s, no cache": ((sums.bytes + tables) / sums.clips * rate / 1e6, ranged_bytes(need) * rate / 1e6),
    }
    return {
        "need": asdict(need),
        "samples": samples,
        "nodes walked": len(walks),
        "planning": asdict(planned),
        "batch of the step": planned.batch / (need.batch / need.clips),
        "counted": {
            name: {"walked": got, "rule": rule, "ratio": got / rule if rule else None}
            for name, (got, rule) in counted.items()
        },
    }


def _print(need: Need, planned: Planned, found: dict[str, Any]) -> None:
    lanes = f"{need.walked} lanes, window {need.window}, batches of {need.batch} a rank"
    print(f"{need.gpus} ranks on {need.nodes} nodes, {need.shards} shards, {found['samples']} clips, {lanes}")
    print(f"planning: start {planned.start:.3f} s; batch {1e3 * planned.batch:.2f} ms, at worst ", end="")
    print(f"{1e3 * planned.worst:.1f} ms: {100 * found['batch of the step']:.3f} % of a step of ", end="")
    print(f"{need.batch / need.clips:.2f} s")
    print(f"memory of a rank: manifest {planned.manifest / 1024:.0f} MiB, order {planned.order / 1024:.0f} MiB")
    print(f"\n{'a node of ' + str(found['nodes walked']) + ' walked':26} {'walked':>10} {'rule':>10} {'ratio':>7}")
    for name, each in found["counted"].items():
        rule = "" if each["rule"] is None else f"{each['rule']:10.1f}"
        ratio = f"{each['ratio']:7.3f}" if each["ratio"] else ""
        print(f"{name:26} {each['walked']:10.1f} {rule} {ratio}".rstrip())


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=at_least_one, default=1024)
    parser.add_argument("--gpus-per-node", type=at_least_one, default=8)
    parser.add_argument("--shards", type=at_least_one, default=100_000)
    parser.add_argument("--shard-clips", type=at_least_one, default=440, help="clips of a shard, in the mean")
    parser.add_argument("--clip-bytes", type=above_zero, default=600_000.0)
    parser.add_argument("--clips-per-second", type=above_zero, default=12.0, help="of a GPU")
    parser.add_argument("--batch", type=at_least_one, default=32, help="clips of a rank's batch")
    parser.add_argument("--lanes", type=int, default=0, help="default: what the rule takes")
    parser.add_argument("--window", type=at_least_one, default=4)
    parser.add_argument("--whole-batches", action="store_true", help="no batch is shared by two epochs")
    parser.add_argument("--nodes", type=at_least_one, default=2, help="nodes that are walked through the epoch")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
