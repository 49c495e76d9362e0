"""The check of one shard: its five files against the manifest and against each other, the tar read once."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from shards import layout
from shards.dataset import KINDS
from shards.errors import NotFoundError, StoreError, concerns_all_files
from shards.index import DamagedShardError, TarSample, parse_idx
from shards.ledger import LedgerRow, parse_ledger, summarise
from shards.manifest import FileEntry, ShardEntry, entry_from_stats
from shards.reader import read_records
from shards.store import Store
from shards.verify_foreign import ForeignCheck
from shards.verify_problems import KeyRange, Kind, Problem, ShardFindings
from shards.verify_samples import Flaw, Look, RecordRows, TarReading
from shards.verify_tar import TarCheck

_NAMED_KEYS: Final = 50
"""Keys that one comparison of a ledger or an index names at most."""


@dataclass(frozen=True)
class ShardTask:
    """One shard to check.

    ``store`` is the dataset's, which follows links; ``rows`` are the input rows of its block, None where blocks are not
    made of such; ``name_of`` tells which file of the dataset has a hash. ``look`` is what else is done with payloads.
    ``rises`` says that the keys of a shard rise; ``has_prints`` that its rows' fingerprints were kept. ``on_bytes``
    hears how many bytes of tars passed.
    """

    store: Store
    entry: ShardEntry
    rows: range | None = None
    name_of: Callable[[str], str | None] = lambda _: None
    look: Look | None = None
    rises: bool = True
    has_prints: bool = False
    on_bytes: Callable[[int], None] = lambda _: None


def check_shard(task: ShardTask) -> ShardFindings:
    """Read every byte of a shard and say what is wrong with which of its files.

    Raises:
        StoreError: the store is out of reach; a single missing or unreadable file is a problem instead.
    """
    return _ShardCheck(task).run()


class _ShardCheck:
    """All checks of one shard; each needs only what the checks before it could read."""

    def __init__(self, task: ShardTask) -> None:
        self._task, self._store, self._entry = task, task.store, task.entry
        self._names = dict(zip(KINDS, task.entry.files(), strict=True)) | {
            "manifest": layout.MANIFEST_NAME,
            "fingerprints": layout.fingerprint_name(task.entry.stem),
        }
        self._problems: list[Problem] = []
        self._bad: set[str] = set()
        self._files = self._bytes = 0
        self._reading = TarReading(task.entry.tar, (), (), 0, 0)
        self._lying: dict[str, str] = {}
        self._found: dict[str, FileEntry] = {}
        self._keys: list[str] | None = None
        self._is_tar_right = True

    def run(self) -> ShardFindings:
        table = self._records()
        index = self._index()
        ledger = self._ledger()
        if table is not None:
            self._check_table(table)
        try:
            self._check_tar(table, index)
        except OSError as error:
            self._add_unreadable("tar", error)
        self._stats()
        self._check_fates(ledger)
        if self._task.has_prints:
            self._check_prints()
        reading = self._reading
        return ShardFindings(
            stem=self._entry.stem,
            problems=tuple(self._problems),
            bad=frozenset(self._bad),
            files=self._files,
            bytes=self._bytes,
            samples=reading.count,
            decoded=len(reading.looked),
            frames=sum(looked.frames for looked in reading.looked),
            keys=KeyRange(min(self._keys), max(self._keys)) if self._keys else None,
            unspoilt=table is not None and reading.unspoilt == table.num_rows,
            lying=self._lying,
        )

    def _add(self, file: str, kind: Kind, what: str, key: str | None = None, reason: str | None = None) -> None:
        self._bad.add(file)
        place = self._entry.links.get(file, self._names[file])
        self._problems.append(Problem(place, what, kind, key, reason))

    def _add_flaw(self, key: str | None, flaw: Flaw) -> None:
        what = flaw.what if key is None else f"sample {key}: {flaw.what}"
        file = "tar" if flaw.file == "parquet" and not self._is_tar_right else flaw.file
        self._add(file, flaw.kind, what, key, flaw.reason)

    def _add_unreadable(self, file: str, error: OSError) -> None:
        """Note that a file cannot be read; an error that says nothing of this file is raised again."""
        if concerns_all_files(error):
            raise error
        kind = Kind.MISSING if isinstance(error, NotFoundError) else Kind.UNREADABLE
        self._add(file, kind, str(error) if isinstance(error, StoreError) else f"it cannot be read: {error.strerror}")

    def _small(self, file: str, expect: FileEntry) -> bytes | None:
        """Return a small file whose length and hash are right."""
        try:
            data = self._store.read(self._names[file])
        except OSError as error:
            self._add_unreadable(file, error)
            return None
        right = self._compare(file, FileEntry(len(data), hashlib.sha256(data).hexdigest()), expect)
        return data if right else None

    def _compare(self, file: str, found: FileEntry, expect: FileEntry) -> bool:
        self._files += 1
        self._bytes += found.bytes
        self._found[file] = found
        if found == expect:
            return True
        if file not in self._entry.links:
            self._lying[self._names[file]] = found.sha256
        other = self._task.name_of(found.sha256)
        whose = f"; its bytes are those of {other}" if other is not None else ""
        if found.bytes != expect.bytes:
            self._add(file, Kind.LENGTH, f"{found.bytes} bytes, the manifest says {expect.bytes}{whose}")
        else:
            self._add(file, Kind.HASH, f"its hash is {found.sha256}, the manifest says {expect.sha256}{whose}")
        return False

    def _records(self) -> pa.Table | None:
        data = self._small("parquet", self._entry.parquet)
        if data is None:
            return None
        try:
            return read_records(data, name=self._names["parquet"])
        except DamagedShardError as error:
            self._add("parquet", Kind.DAMAGED, error.what)
            return None

    def _check_table(self, table: pa.Table) -> None:
        rows = RecordRows(table)
        self._keys = rows.keys
        if len(rows.keys) != self._entry.clips:
            self._add("parquet", Kind.COUNT, f"{len(rows.keys)} records, the manifest says {self._entry.clips} clips")
        if len(rows.numbers) != len(rows.keys):
            twice = next(key for number, key in enumerate(rows.keys) if rows.numbers[key] != number)
            self._add("parquet", Kind.KEY, f"sample {twice} comes twice", twice)

        seconds, frames = math.fsum(table["duration"].to_pylist()), sum(table["num_frames"].to_pylist())
        if (seconds, frames) != (self._entry.seconds, self._entry.frames):
            said = f"it says {self._entry.seconds:g} s and {self._entry.frames} frames of shard {self._entry.stem}"
            self._add("manifest", Kind.COUNT, f"{said}, whose records hold {seconds:g} s and {frames} frames")

    def _index(self) -> list[TarSample] | None:
        data = self._small("idx", self._entry.idx)
        try:
            return None if data is None else parse_idx(data)
        except ValueError as error:
            self._add("idx", Kind.DAMAGED, str(error))
            return None

    def _stats(self) -> None:
        data = self._small("stats", self._entry.stats)
        if data is None:
            return
        try:
            told = entry_from_stats(self._entry.stem, data, self._entry.ledger)
        except ValueError as error:
            self._add("stats", Kind.DAMAGED, f"it is no shard summary: {error}")
            return
        odd = [kind for kind in KINDS[:3] if getattr(told, kind) != getattr(self._entry, kind)]
        if odd and all(self._found.get(kind) == getattr(told, kind) for kind in odd):
            said = f"it says other lengths or hashes of {', '.join(self._names[kind] for kind in odd)}"
            self._add("manifest", Kind.HASH, f"{said} than {self._names['stats']}, which has those of the files")
        elif told != replace(self._entry, links={}):
            self._add("stats", Kind.COUNT, "its counts or hashes are not those of the manifest")

    def _ledger(self) -> list[LedgerRow] | None:
        data = self._small("ledger", self._entry.ledger)
        if data is None:
            return None
        try:
            ledger = parse_ledger(data, name=self._names["ledger"])
        except ValueError as error:
            self._add("ledger", Kind.DAMAGED, str(error))
            return None
        sums, rows = summarise(ledger), self._task.rows
        if (sums.rows, sums.status, sums.reasons) != (self._entry.rows, self._entry.status, self._entry.reasons):
            self._add("ledger", Kind.COUNT, "its rows do not add up to the manifest's counts")
        if rows is not None and sorted({row.row for row in ledger}) != list(rows):
            what = f"its rows are not the input rows {rows.start} to {rows.stop - 1} of the block"
            self._add("ledger", Kind.FATE, what)
        return ledger

    def _check_prints(self) -> None:
        """Read the fingerprints of the block's rows, of which no hash was kept."""
        try:
            data = self._store.read(self._names["fingerprints"])
            pq.ParquetFile(pa.BufferReader(data), pre_buffer=False).read(use_threads=False)
        except StoreError as error:
            self._add_unreadable("fingerprints", error)
        except (pa.ArrowException, OSError) as error:
            what = f"it is no readable table: {error}; delete it, and the next run takes the fingerprints again"
            self._add("fingerprints", Kind.DAMAGED, what)

    def _check_fates(self, ledger: Sequence[LedgerRow] | None) -> None:
        """Compare a ledger's successes with the samples that there are."""
        if ledger is None or self._keys is None:
            return
        made, there = {row.key or "" for row in ledger if row.status == "success"}, set(self._keys)
        if made != there:
            odd = sorted(made ^ there)
            named = ", ".join(odd[:_NAMED_KEYS])
            self._add("ledger", Kind.FATE, f"its successes are not the samples of the tar: {named}", odd[0])

    def _check_tar(self, table: pa.Table | None, index: Sequence[TarSample] | None) -> None:
        """Read the tar once, and compare what is in it with the records and the index."""
        rows, look, place = None if table is None else RecordRows(table), self._task.look, self._names["tar"]
        check = ForeignCheck(table, index, look) if self._entry.is_foreign else TarCheck(table, look)
        reading = check.read(self._store, place, self._task.on_bytes)
        self._reading = reading
        self._is_tar_right = self._compare("tar", reading.entry, self._entry.tar)
        for each in reading.flaws:
            self._add_flaw(each.key, each.flaw)
        if self._entry.is_foreign:
            return
        if reading.samples is not None:
            self._compare_samples(reading.samples, rows)
        if index is not None:
            self._compare_index(index, reading.samples, rows)

    def _compare_samples(self, found: Sequence[TarSample], rows: RecordRows | None) -> None:
        """Compare the samples of a tar with the counts, the records, and the rule that keys rise."""
        if len(found) != self._entry.clips:
            self._add("tar", Kind.COUNT, f"{len(found)} samples, the manifest says {self._entry.clips}")
        keys = [sample.key for sample in found]
        if self._is_tar_right:
            self._keys = keys
        if rows is not None:
            self._compare_keys(keys, rows.keys)
        for last, key in pairwise(keys):
            if self._task.rises and key <= last:
                what = f"sample {key} comes after {last}; keys rise through a dataset and none comes twice"
                self._add("tar", Kind.KEY, what, key)

    def _compare_keys(self, found: Sequence[str], recorded: Sequence[str]) -> None:
        for key in sorted(set(recorded).difference(found)):
            self._add_flaw(key, Flaw("parquet", Kind.RECORD, "the records have it, the tar does not"))
        if found != recorded and sorted(found) == sorted(recorded):
            self._add_flaw(None, Flaw("parquet", Kind.KEY, "records and tar have their samples in another order"))

    def _compare_index(
        self, index: Sequence[TarSample], found: Sequence[TarSample] | None, rows: RecordRows | None
    ) -> None:
        """Compare an index with the tar, or with the records where those are right and the tar is not."""
        known = found if self._is_tar_right else None
        if known is None and rows is not None:
            known = [TarSample(key, rows.record(number).members) for number, key in enumerate(rows.keys)]
        if known is not None and list(index) != list(known):
            odd = next((there.key for said, there in zip(index, known, strict=False) if said != there), None)
            at = f": {len(index)} samples, the tar has {len(known)}" if odd is None else f", first at sample {odd}"
            self._add("idx", Kind.OFFSETS, f"its offsets are not those of the tar{at}", odd)
