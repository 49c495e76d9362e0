"""A shard of a merged or selected dataset: files of a source named again, records written anew, or a whole copy."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from shards import layout
from shards.dataset import link_to
from shards.index import DamagedShardError, format_idx
from shards.manifest import FileEntry, ShardEntry, describe
from shards.part import Part
from shards.reader import DamagedSampleError
from shards.record import COLUMNS, EXTRA_TYPES, Record
from shards.store import Store
from shards.writer import BuiltShard, Clip, ShardWriter, publish

_ROW_GROUP: Final = 4096
_SIDE_EXTS: Final = frozenset({layout.CAPTION_EXT, layout.RECORD_EXT})


def refer(out: Store, stem: str, part: Part, scratch: Path) -> ShardEntry:
    """Make a shard that refers to a source's tar; only records and index are written, and they where they differ.

    Nothing at all is written of a shard that is wanted whole under its own keys. Of one of which nothing is wanted,
    an empty tar is.

    Raises:
        StoreError: the source cannot be read, or the output cannot be written.
        ValueError: a file of the source is damaged, or the condition does not suit its columns.
    """
    places = {kind: link_to(out, place) for kind, place in part.places().items()}
    if part.is_whole and not part.prefix:
        return replace(part.entry, stem=stem, links=places)
    if not part.count:
        return copy(out, stem, part, scratch)
    table = part.records()
    folder = scratch / stem
    folder.mkdir(parents=True, exist_ok=True)
    paths = {"idx": folder / layout.idx_name(stem), "parquet": folder / layout.parquet_name(stem)}
    paths["idx"].write_bytes(format_idx(part.samples()))
    pq.write_table(table, paths["parquet"], compression="zstd", row_group_size=_ROW_GROUP)
    files = {kind: describe(path.read_bytes()) for kind, path in paths.items()}
    built = BuiltShard(
        stem=stem,
        paths=paths,
        files={"tar": part.entry.tar, **files},
        clips=table.num_rows,
        seconds=math.fsum(table["duration"].to_pylist()),
        frames=sum(table["num_frames"].to_pylist()),
    )
    try:
        return publish(out, built, part.ledger(), {"tar": places["tar"]})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copy(out: Store, stem: str, part: Part, scratch: Path) -> ShardEntry:
    """Make a shard of its own: a copy of the source's files where it is one of ours and wanted whole, else a new tar.

    Raises:
        StoreError, ValueError: as ``refer``; DamagedSampleError: a clip's bytes are not those that were stored.
    """
    folder = scratch / stem
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if part.is_whole and not part.prefix and not part.entry.is_foreign:
            return _copy_files(out, stem, part, folder)
        table = part.records().sort_by("key")  # other tools' tars may have another order
        with ShardWriter(stem, folder, _extra(table.schema)) as writer:
            for clip in _clips(part, table):
                writer.add(clip)
            built = writer.finish()
        return publish(out, built, part.ledger())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy_files(out: Store, stem: str, part: Part, folder: Path) -> ShardEntry:
    """Copy a shard's files as they are, under the other number; each is checked on the way."""
    store, entry = part.source.store, part.entry
    names = zip(entry.files().items(), layout.shard_files(stem), strict=True)
    for (name, expect), target in names:
        path = folder / "file"
        store.download(name, path, size=expect.bytes)
        with path.open("rb") as file:
            found = FileEntry(expect.bytes, hashlib.file_digest(file, "sha256").hexdigest())
        if found != expect:
            raise DamagedShardError(f"{store.url}/{name}", "its hash is not the manifest's", 0)
        out.put_file(target, path, move=True)
    return replace(entry, stem=stem, links={})


def _clips(part: Part, table: pa.Table) -> Iterator[Clip]:
    """Yield the wanted clips with their bytes, one at a time."""
    store, name = part.source.store, layout.tar_name(part.entry.stem)
    url = f"{store.url}/{name}"
    known = store.stat(name)
    for batch in table.to_batches(max_chunksize=_ROW_GROUP):
        for row in batch.to_pylist():
            record = Record.from_row(row)
            member = next((each for each in record.members if each.ext not in _SIDE_EXTS), None)
            if member is None:
                raise DamagedSampleError(url, record.key, "its record names no video")
            payload = store.read_range(name, member.offset, member.offset + member.size, known=known)
            if hashlib.sha256(payload).hexdigest() != record.sha256:
                raise DamagedSampleError(url, record.key, f"the {member.size} bytes of {member.ext} have another hash")
            yield Clip(record, payload, member.ext)


def _extra(schema: pa.Schema) -> dict[str, str]:
    """Return the user's columns of records and their types."""
    kinds = {kind: name for name, kind in EXTRA_TYPES.items()}
    return {field.name: kinds[field.type] for field in schema if field.name not in COLUMNS}
