"""One tar of another tool becomes a shard where it lies: each sample probed, records and index written beside it."""

from __future__ import annotations

import shutil
from typing import BinaryIO, cast

from shards.foreign import ForeignTar
from shards.layout import shard_stem
from shards.ledger import LedgerRow
from shards.manifest import ShardEntry
from shards.record_table import RecordTable
from shards.sequential import SequentialFile
from shards.store import open_store, split_url
from tools.corpus.adopted import AdoptSettings
from tools.corpus.block import BlockSettings, Task, Watch
from tools.corpus.foreign_clip import SampleReader


def adopt_tar(task: Task, settings: BlockSettings, watch: Watch) -> ShardEntry:
    """Read a tar once from front to back and publish what a shard has beside it; the bytes depend on the tar alone.

    Raises:
        StoreError: the tar cannot be read, or its records cannot be published.
        OSError: the scratch folder cannot be written.
    """
    assert isinstance(settings, AdoptSettings)
    number = task.block.number
    stem = shard_stem(number)
    folder = settings.scratch / stem
    shutil.rmtree(folder, ignore_errors=True)
    parent, name = split_url(settings.tars[number])
    file = SequentialFile(open_store(parent), name)
    stream = cast("BinaryIO", file)  # nothing but read, seek and tell is called
    tar = ForeignTar(stream, size=file.size, name=name)
    ledger: list[LedgerRow] = []
    try:
        with RecordTable(stem, folder, settings.extra) as table:
            reader = SampleReader(stream, name, task, settings=settings, watch=watch, folder=folder)
            for at, sample in enumerate(tar.samples()):
                read = reader.read(at, sample)
                ledger.append(read.ledger)
                if read.record is not None:
                    table.add(read.record, sample.key, sample.placed)
            ledger += reader.damage(len(ledger), tar)
            return table.publish(open_store(settings.out), file.entry(), ledger, settings.links[number])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
