"""Clips decoded for comparison by worker processes of this machine, or on the nodes of a Ray cluster."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from shards.store import open_store
from tools.corpus.block import Block, BlockSettings, Task, Watch
from tools.corpus.cut_options import CutOptions
from tools.corpus.cut_settings import CutSettings
from tools.corpus.executor import ExecutorChoice, open_executor
from tools.corpus.sources import Sources
from tools.statistics.prints import Print, prints_of
from tools.statistics.tables import Shard, Source, open_sources


@dataclass(frozen=True, slots=True)
class PrintSettings(BlockSettings):
    """What all workers are told: the datasets' places, and of each piece of work its shard and the rows of it."""

    datasets: tuple[str, ...] = ()
    wanted: tuple[tuple[int, tuple[int, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Printed:
    """What the clips of a shard are compared by."""

    prints: list[Print]


def prints_by_workers(
    sources: Sequence[Source], wanted: Iterable[tuple[Shard, list[int]]], choice: ExecutorChoice
) -> Iterator[list[Print]]:
    """Yield what clips are compared by, shard by shard, in any order.

    Args:
        sources: The datasets.
        wanted: The shards and the rows of them.
        choice: Who works.

    Raises:
        StoppedError: the work cannot go on.
        ValueError: there is no such cluster.
    """
    choice.require()
    pieces = tuple((shard.number, tuple(rows)) for shard, rows in wanted)
    datasets = tuple(source.store.url for source in sources)
    with tempfile.TemporaryDirectory(prefix="vidloom-near-") as scratch:
        settings = PrintSettings(
            out=datasets[0],
            options=CutOptions(Sources.below(datasets[0], allow_outside=False), CutSettings()),
            extra={},
            scratch=Path(scratch),
            datasets=datasets,
            wanted=pieces,
        )
        blocks = (Block(number, ()) for number in range(len(pieces)))
        for event in open_executor(choice, settings, len(pieces)).run(blocks, print_block):
            if isinstance(event, Printed):
                yield event.prints


def print_block(task: Task, settings: BlockSettings, watch: Watch) -> Printed:
    """Decode the clips of the piece of work that has a block's number; one that kills its process is given up.

    Raises:
        StoreError: a file cannot be read.
        ValueError: the table is damaged; the message names it.
    """
    assert isinstance(settings, PrintSettings)
    number, rows = settings.wanted[task.block.number]
    sources = _opened(settings.datasets)
    dataset = max(place for place, source in enumerate(sources) if source.first <= number)
    source = sources[dataset]
    shard = Shard(dataset, number, source.store, source.manifest.shards[number - source.first])
    return Printed(prints_of(shard, rows, task.lost, lambda row: _told(watch, row)))


@contextmanager
def _told(watch: Watch, row: int) -> Iterator[None]:
    """Tell which clip is at work, so that it is known should the process die of it."""
    watch.begin((row,))
    yield
    watch.end((row,))


@lru_cache(maxsize=1)
def _opened(datasets: tuple[str, ...]) -> list[Source]:
    """Return a process's own view of the datasets, their manifests read once."""
    return open_sources([open_store(dataset) for dataset in datasets])
