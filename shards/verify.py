"""Compare a dataset on disk or in a bucket with its manifest: sizes, hashes, tar structure, records, ledgers."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import digits
from typing import Any, BinaryIO, Final

import pyarrow as pa

from shards import layout
from shards.dataset import open_dataset
from shards.errors import concerns_all_files
from shards.index import DamagedShardError, TarSample, parse_idx, scan_tar
from shards.indexes import check_indexes
from shards.ledger import LedgerRow, parse_ledger, summarise
from shards.manifest import (
    FileEntry,
    Manifest,
    ShardEntry,
    entry_from_stats,
)
from shards.plan import BlockPlan, read_plan
from shards.reader import read_records
from shards.record import Record
from shards.store import NotFoundError, Store, StoreError
from shards.verify_foreign import foreign_problems, repeated_keys

_SHARD_SUFFIXES: Final = (layout.TAR_SUFFIX, layout.IDX_SUFFIX, layout.PARQUET_SUFFIX, layout.STATS_SUFFIX)
_MOST_PER_FILE: Final = 20
"""How many problems of one file are listed before the rest is only counted."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: the file's name in the dataset, and what."""

    file: str
    what: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification found; ``files`` and ``bytes`` count what was read. No problems: the dataset is whole."""

    problems: tuple[Problem, ...]
    shards: int
    files: int
    bytes: int


@dataclass
class _Findings:
    """The problems found so far, and what was read."""

    problems: list[Problem] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    files: int = 0
    bytes: int = 0

    def add(self, file: str, what: str) -> None:
        self.counts[file] = self.counts.get(file, 0) + 1
        if self.counts[file] <= _MOST_PER_FILE:
            self.problems.append(Problem(file, what))

    def report(self, shards: int) -> VerifyReport:
        for file, count in self.counts.items():
            if count > _MOST_PER_FILE:
                self.problems.append(Problem(file, f"{count - _MOST_PER_FILE} more problems of this file"))
        return VerifyReport(tuple(self.problems), shards, self.files, self.bytes)


def verify_dataset(store: Store, *, on_shard: Callable[[ShardEntry], None] | None = None) -> VerifyReport:
    """Read every byte of a dataset and say what is wrong with which file.

    Checked are: the manifest and the plan; each file's length and SHA-256; the tar's structure; index and records
    against the tar; each sample's caption, record and payload hash (of another tool's tar, the payload's alone); that
    no key comes twice; that each ledger adds up to its block of input rows and names exactly the tar's samples; that no
    shard file lies there which the manifest does not know; and the indexes for other readers. A remote tar passes
    through a temporary file.

    Args:
        store: the dataset.
        on_shard: called after each shard, to show progress.

    Raises:
        StoreError: the store itself cannot be reached; a single missing or unreadable file is a problem instead.
    """
    findings = _Findings()
    try:
        store, manifest = open_dataset(store)
        plan = read_plan(store)
    except (NotFoundError, ValueError) as error:
        findings.add(layout.MANIFEST_NAME, str(error))
        return findings.report(0)
    _check_plan(manifest, plan, findings)
    of_one_table = plan is None or plan.rows_per_block > 0
    last_key = ""
    for number, entry in enumerate(manifest.shards):
        check = _ShardCheck(store, entry, findings)
        check.run(_block_rows(plan, number))
        last_key = check.require_rising(last_key) if of_one_table else last_key
        if on_shard is not None:
            on_shard(entry)
    _check_strangers(store, manifest, findings)
    repeated = () if of_one_table else repeated_keys(store, manifest)
    for file, what in (*repeated, *check_indexes(store, manifest)):
        findings.add(file, what)
    return findings.report(len(manifest.shards))


def _check_plan(manifest: Manifest, plan: BlockPlan | None, findings: _Findings) -> None:
    if plan is None:
        findings.add(layout.PLAN_NAME, "it does not exist")
    elif plan.digest != manifest.plan_digest and plan.sections and plan.blocks > len(manifest.shards):
        findings.add(
            layout.PLAN_NAME,
            f"an extension to {plan.blocks} shards was begun and is not finished, the manifest has "
            f"{len(manifest.shards)}; run the same 'vidloom shard --extend' command again",
        )
    elif plan.digest != manifest.plan_digest:
        findings.add(layout.PLAN_NAME, f"its digest is {plan.digest}, the manifest says {manifest.plan_digest}")
    elif plan.blocks != len(manifest.shards):
        findings.add(layout.PLAN_NAME, f"it has {plan.blocks} blocks, the manifest {len(manifest.shards)} shards")


def _block_rows(plan: BlockPlan | None, number: int) -> range | None:
    """Return the input rows of a block; None where blocks are not made of consecutive rows of a table."""
    return plan.block_rows(number) if plan is not None and plan.rows_per_block and number < plan.blocks else None


def _check_strangers(store: Store, manifest: Manifest, findings: _Findings) -> None:
    known = {name for entry in manifest.shards for name in (*entry.files(), *entry.links.values())}
    # Beside tars of another tool lie tables and summaries of that tool's.
    suffixes = (layout.TAR_SUFFIX,) if any(entry.links for entry in manifest.shards) else _SHARD_SUFFIXES
    for name in store.list():
        is_shard_file = "/" not in name and name.endswith(suffixes) and name[0] in digits
        is_shard_file = is_shard_file and not name.endswith(layout.TAR_IDX_SUFFIX)
        is_ledger = name.startswith(f"{layout.LEDGER_DIR}/")
        if (is_shard_file or is_ledger) and name not in known:
            findings.add(name, "the manifest does not know it; readers that list the folder would take it")


class _ShardCheck:
    """All checks of one shard; each needs only what the checks before it could read."""

    def __init__(self, store: Store, entry: ShardEntry, findings: _Findings) -> None:
        self._store = store
        self._entry = entry
        self._findings = findings
        self._names = dict(zip(("tar", "idx", "parquet", "stats", "ledger"), entry.files(), strict=True))
        self._keys: list[str] | None = None

    def run(self, rows: range | None) -> None:
        """Check the shard's five files; ``rows`` are the input rows of its block."""
        table = self._records()
        index = self._index()
        ledger = self._ledger(rows)
        self._stats()
        with self._tar() as tar:
            if tar is not None:
                try:
                    self._check_tar(tar, table, index)
                except OSError as error:
                    self._add_unreadable("tar", error)
        if ledger is not None and self._keys is not None:
            made = sorted(row.key or "" for row in ledger if row.status == "success")
            if made != sorted(self._keys):
                self._add("ledger", "its successes are not the samples of the tar")

    def require_rising(self, last: str) -> str:
        """Check that this shard's keys follow ``last``, the greatest so far, and return the greatest now."""
        for key in self._keys or ():
            if key <= last:
                self._add("tar", f"sample {key} comes after {last}; keys rise through a dataset and none comes twice")
            last = max(last, key)
        return last

    def _add(self, kind: str, what: str) -> None:
        self._findings.add(self._entry.links.get(kind, self._names[kind]), what)

    def _add_unreadable(self, kind: str, error: OSError) -> None:
        """Note that a file cannot be read; an error that says nothing of this file is raised again."""
        if concerns_all_files(error):
            raise error
        self._add(kind, str(error) if isinstance(error, StoreError) else f"it cannot be read: {error.strerror}")

    def _bytes(self, kind: str, expect: FileEntry) -> bytes | None:
        """Return a small file whose length and hash are right."""
        try:
            data = self._store.read(self._names[kind])
        except StoreError as error:
            self._add_unreadable(kind, error)
            return None
        right = self._compare(kind, FileEntry(len(data), hashlib.sha256(data).hexdigest()), expect)
        return data if right else None

    def _compare(self, kind: str, found: FileEntry, expect: FileEntry) -> bool:
        self._findings.files += 1
        self._findings.bytes += found.bytes
        if found.bytes != expect.bytes:
            self._add(kind, f"{found.bytes} bytes, the manifest says {expect.bytes}")
        elif found.sha256 != expect.sha256:
            self._add(kind, f"its hash is {found.sha256}, the manifest says {expect.sha256}")
        return found == expect

    def _records(self) -> pa.Table | None:
        data = self._bytes("parquet", self._entry.parquet)
        if data is None:
            return None
        try:
            return read_records(data, name=self._names["parquet"])
        except DamagedShardError as error:
            self._add("parquet", error.what)
            return None

    def _index(self) -> list[TarSample] | None:
        data = self._bytes("idx", self._entry.idx)
        try:
            return None if data is None else parse_idx(data)
        except ValueError as error:
            self._add("idx", str(error))
            return None

    def _stats(self) -> None:
        data = self._bytes("stats", self._entry.stats)
        if data is None:
            return
        try:
            same = entry_from_stats(self._entry.stem, data, self._entry.ledger) == replace(self._entry, links={})
        except ValueError as error:
            self._add("stats", f"it is no shard summary: {error}")
            return
        if not same:
            self._add("stats", "its counts or hashes are not those of the manifest")

    def _ledger(self, rows: range | None) -> list[LedgerRow] | None:
        data = self._bytes("ledger", self._entry.ledger)
        if data is None:
            return None
        try:
            ledger = parse_ledger(data, name=self._names["ledger"])
        except ValueError as error:
            self._add("ledger", str(error))
            return None
        sums = summarise(ledger)
        if (sums.rows, sums.status, sums.reasons) != (self._entry.rows, self._entry.status, self._entry.reasons):
            self._add("ledger", "its rows do not add up to the manifest's counts")
        if rows is not None and sorted({row.row for row in ledger}) != list(rows):
            self._add("ledger", f"its rows are not the input rows {rows.start} to {rows.stop - 1} of the block")
        return ledger

    @contextmanager
    def _tar(self) -> Iterator[BinaryIO | None]:
        """Open the tar after its length and hash were looked at; None where it cannot be read."""
        with ExitStack() as stack:
            try:
                file = self._open_tar(stack)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                self._add_unreadable("tar", error)
                yield None
                return
            self._compare("tar", FileEntry(file.seek(0, os.SEEK_END), digest), self._entry.tar)
            yield file

    def _open_tar(self, stack: ExitStack) -> io.BufferedReader:
        """Open the tar where it lies, or a copy of a remote one that goes with the stack."""
        name = self._names["tar"]
        if self._store.is_local:
            self._store.stat(name)
            return stack.enter_context(self._store.local_path(name).open("rb"))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="vidloom-verify-"))
        path = Path(folder) / "shard.tar"
        self._store.download(name, path)
        return stack.enter_context(path.open("rb"))

    def _check_tar(self, tar: BinaryIO, table: pa.Table | None, index: list[TarSample] | None) -> None:
        if self._entry.is_foreign:
            if table is not None:
                self._keys = table["key"].to_pylist()
                for problem in foreign_problems(tar, self._entry, table, index):
                    self._add(problem.kind, problem.what)
            return
        try:
            samples = scan_tar(tar, size=tar.seek(0, 2), name=self._names["tar"])
        except DamagedShardError as error:
            self._add("tar", f"{error.what} at byte {error.offset}")
            return
        self._keys = [sample.key for sample in samples]
        if index is not None and index != samples:
            self._add("idx", "its offsets are not those of the tar")
        if len(samples) != self._entry.clips:
            self._add("tar", f"{len(samples)} samples, the manifest says {self._entry.clips}")
        if table is not None:
            self._check_samples(tar, table, samples)

    def _check_samples(self, tar: BinaryIO, table: pa.Table, samples: list[TarSample]) -> None:
        records = [Record.from_row(row) for batch in table.to_batches() for row in batch.to_pylist()]
        if [TarSample(record.key, record.members) for record in records] != samples:
            self._add("parquet", "its keys or member offsets are not those of the tar")
            return
        for record in records:
            for problem in _sample_problems(tar, record):
                self._add("tar", f"sample {record.key}: {problem}")


def _sample_problems(tar: BinaryIO, record: Record) -> Iterator[str]:
    """Say what is wrong with one sample's three members."""
    parts = {member.ext: _member(tar, member.offset, member.size) for member in record.members}
    caption = parts.pop(layout.CAPTION_EXT, None)
    text = parts.pop(layout.RECORD_EXT, b"null")
    if caption != record.caption.encode():
        yield "the caption is not the record's"
    if _parsed(text) != record.to_json():
        yield "the record in the tar is not the one of the table"
    if len(parts) != 1:
        yield f"{len(parts)} videos in place of one"
    for ext, payload in parts.items():
        if len(payload) != record.bytes or hashlib.sha256(payload).hexdigest() != record.sha256:
            yield f"the {len(payload)} bytes of {ext} have another length or hash than the record says"


def _member(tar: BinaryIO, offset: int, size: int) -> bytes:
    tar.seek(offset)
    return tar.read(size)


def _parsed(text: bytes) -> Any:  # noqa: ANN401  (whatever JSON holds)
    try:
        return json.loads(text)
    except ValueError:
        return None
