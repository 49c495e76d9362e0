"""Where a shard's samples lie in its tar, for readers that keep their own index: from the records, or the headers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from shards import layout
from shards.energon import PlacedSample, PlacedTar
from shards.foreign import ForeignTar
from shards.index import TarSample
from shards.manifest import ShardEntry
from shards.reader import MemberTable
from shards.record import Member
from shards.store import Store


@dataclass(frozen=True, slots=True)
class PlacedShard:
    """A tar as other readers meet it, and the keys of samples in it that the dataset leaves out."""

    tar: PlacedTar
    left_out: tuple[str, ...] = ()

    def records(self) -> list[TarSample]:
        """Return the dataset's samples, as DALI's index lists them."""
        out = set(self.left_out)
        return [TarSample(sample.key, sample.members) for sample in self.tar.samples if sample.key not in out]


def place_shard(store: Store, entry: ShardEntry, name: str) -> PlacedShard:
    """Find the samples of one shard.

    Args:
        store: the dataset's, which follows links.
        entry: the shard.
        name: what other readers call its tar.

    Raises:
        StoreError: the records, or a foreign tar's headers, cannot be read.
        ValueError: the records are damaged.
    """
    table = _read(store, layout.parquet_name(entry.stem), ["key", "members"])
    keys, members = table["key"].to_pylist(), MemberTable.of(table["members"])
    if not entry.is_foreign:
        samples = []
        for row, key in enumerate(keys):
            own = tuple(members.of_row(row))
            samples.append(PlacedSample(key, own[0].offset - layout.BLOCK_BYTES, own))
        return PlacedShard(PlacedTar(name, samples, members.content))
    known = {members.of_row(row)[0].offset for row in range(len(keys))}
    return _scan(store, entry, name, known)


def read_keys(store: Store, name: str) -> list[str]:
    """Return the keys of a shard whose records are the file ``name``, in order.

    Raises:
        StoreError: it cannot be read.
        ValueError: it is damaged.
    """
    keys: list[str] = _read(store, name, ["key"])["key"].to_pylist()
    return keys


def _read(store: Store, name: str, columns: Sequence[str]) -> pa.Table:
    with store.open(name) as file:
        try:
            return pq.ParquetFile(file, pre_buffer=False).read(columns=list(columns), use_threads=False)
        except (pa.ArrowException, ValueError) as error:
            raise ValueError(f"{store.url}/{name} is damaged: {error}; 'vidloom verify' says more") from error


def _scan(store: Store, entry: ShardEntry, name: str, known: set[int]) -> PlacedShard:
    """List a foreign tar by its headers; samples none of whose members is a record's first are left out."""
    samples: list[PlacedSample] = []
    left_out: list[str] = []
    with store.open(layout.tar_name(entry.stem)) as file:
        tar = ForeignTar(file, size=entry.tar.bytes, name=name)
        for sample in tar.samples():
            members = tuple(Member(member.ext, member.offset, member.size) for member in sample.members)
            samples.append(PlacedSample(sample.key, sample.start, members))
            if not known.intersection(member.offset for member in members):
                left_out.append(sample.key)
    return PlacedShard(PlacedTar(name, samples, tar.content), tuple(left_out))
