"""The first pass of a run that leaves duplicates out: each segment that would become a clip gets its fingerprint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shards.layout import shard_stem
from shards.store import open_store
from tools.corpus.ahead import ReadAhead
from tools.corpus.block import block_folder
from tools.corpus.fingerprint_table import Fingerprint, write_fingerprints
from tools.corpus.row_work import Unit, in_threads, row_numbers, units_of, with_captions
from tools.corpus.tasks import BlockSettings, Task, Watch
from tools.corpus.unit_prints import unit_prints


@dataclass(frozen=True, slots=True)
class Fingerprinted:
    """A block whose fingerprints are published, how many of its segments have one, and how many rows were given up."""

    number: int
    segments: int
    lost: int


def fingerprint_block(task: Task, settings: BlockSettings, watch: Watch) -> Fingerprinted:
    """Publish the fingerprints of a block's segments, of all that would become clips: sound ones that filters keep.

    Segments that would fail or be sorted out have none: they are nobody's original. Where shots become clips, whole
    segments have fingerprints, whatever filters would say of their shots.

    Raises:
        StoreError: the file cannot be published.
        OSError: the videos' store is out of reach, or the scratch folder cannot be written.
    """
    task = with_captions(task, settings.options.captions)
    watch.end(row_numbers([row for row in task.block.rows if row.problem is not None or row.row in task.lost]))
    units = units_of(task)
    found: list[Fingerprint] = []
    with block_folder(task, settings) as folder:
        folder.mkdir(parents=True)
        with ReadAhead(settings.options.sources, [unit[0].video for unit in units], folder) as videos:

            def take(unit: Unit) -> Iterator[None]:
                numbers = row_numbers(unit)
                watch.begin(numbers)
                found.extend(unit_prints(unit, settings.options, videos, folder))
                watch.end(numbers)
                yield

            for _ in in_threads(take, units, 1 if task.deaths else settings.threads):
                pass
    write_fingerprints(open_store(settings.out), shard_stem(task.block.number), found)
    return Fingerprinted(task.block.number, len(found), len(task.lost))
