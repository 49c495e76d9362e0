"""The one reading of a tar of ours: its members, its samples against the records, and what is damaged in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from shards import layout
from shards.index import TarSample
from shards.record import Record
from shards.store import Store
from shards.verify_problems import Kind
from shards.verify_samples import (
    Flaw,
    KeyedFlaw,
    Look,
    LookedAt,
    PassedSample,
    RecordRows,
    TarReading,
    flaws_of,
    is_unspoilt,
    passed_samples,
)
from shards.verify_stream import PassingFile, TarWalk


class TarCheck:
    """The comparison of a tar of ours with its shard's records, while it is read once from front to back.

    Args:
        table: the records; None where they cannot be trusted: then each sample is compared with its own record.
        look: what else is done with payloads that are as they were stored.
    """

    def __init__(self, table: pa.Table | None, look: Look | None) -> None:
        self._table, self._look = table, look
        self._rows = None if table is None else RecordRows(table)
        self._flaws: list[KeyedFlaw] = []
        self._looked: list[LookedAt] = []
        self._unspoilt = 0

    def read(self, store: Store, name: str, on_bytes: Callable[[int], None]) -> TarReading:
        """Read the tar.

        Raises:
            StoreError: it cannot be read.
        """
        file = PassingFile(store, name, on_bytes)
        walk = TarWalk(file, () if self._table is None else starts_of(self._table), name)
        samples: list[TarSample] = []
        seen: set[str] = set()
        for sample in passed_samples(walk, file, self._rows, self._look):
            self._check(sample, len(samples), seen)
            samples.append(sample.as_indexed())
        damage = list(self._damage(walk))
        cut = {each.key for each in damage if each.key is not None}
        left = [each for each in self._flaws if each.key not in cut]  # the others follow from the damage
        return TarReading(
            entry=file.entry(),
            flaws=[*left, *damage],
            looked=self._looked,
            count=len(samples),
            unspoilt=self._unspoilt,
            samples=None if damage else samples,
        )

    def _damage(self, walk: TarWalk) -> Iterator[KeyedFlaw]:
        for damage in walk.damage:
            key = None if self._table is None else key_at(self._table, damage.offset)
            yield KeyedFlaw(key, Flaw("tar", Kind.DAMAGED, f"{damage.what} at byte {damage.offset}"))

    def _check(self, sample: PassedSample, place: int, seen: set[str]) -> None:
        """Compare one sample with its record, and look at its payload."""
        if sample.key in seen or len({member.ext for member in sample.members}) < len(sample.members):
            self._note(sample.key, Flaw("tar", Kind.KEY, "it comes twice, or a member of it"))
        seen.add(sample.key)
        if self._rows is None:
            self._check_parts(sample, None, place)
        elif (number := self._rows.numbers.get(sample.key)) is None:
            self._note(sample.key, Flaw("parquet", Kind.RECORD, "the tar has it, the records do not"))
        else:
            self._check_parts(sample, self._rows.row(number), number)

    def _check_parts(self, sample: PassedSample, row: Mapping[str, Any] | None, number: int) -> None:
        for flaw in flaws_of(sample, row):
            self._note(sample.key, flaw)
        own = sample.record() if row is None else None
        known = row if own is None else own.to_row()
        if known is None or not is_unspoilt(sample, known["bytes"], known["sha256"]):
            return
        self._unspoilt += 1
        data = sample.payloads[0].data
        if data is None or self._look is None:
            return
        looked = self._look.take(number, own or Record.from_row(known), data)
        self._looked.append(looked)
        for flaw in looked.flaws:
            self._note(sample.key, flaw)

    def _note(self, key: str, flaw: Flaw) -> None:
        self._flaws.append(KeyedFlaw(key, flaw))


def starts_of(table: pa.Table) -> Sequence[int]:
    """Return the bytes at which members' headers start in a tar of ours, in order, as its records tell."""
    offsets = table["members"].combine_chunks().flatten().field("offset")
    return sorted(offset - layout.BLOCK_BYTES for offset in offsets.to_pylist())


def key_at(table: pa.Table, position: int) -> str | None:
    """Return the key of the sample in whose members a byte of a tar of ours lies, as its records tell."""
    found: str | None = None
    for key, members in zip(table["key"].to_pylist(), table["members"].to_pylist(), strict=True):
        if not members or members[0]["offset"] - layout.BLOCK_BYTES > position:
            break
        end = members[-1]["offset"] + members[-1]["size"]
        found = key if position < -(-end // layout.BLOCK_BYTES) * layout.BLOCK_BYTES else None
    return found
