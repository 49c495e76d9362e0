"""Check what adopted, merged and selected datasets say of tars that other tools wrote, or that others share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

import pyarrow as pa

from shards import layout
from shards.foreign import ForeignTar
from shards.index import TarSample
from shards.keys import Keyed, find_repeats
from shards.manifest import Manifest, ShardEntry
from shards.placed import read_keys
from shards.record import Member
from shards.store import Store, StoreError

_SIDE_EXTS: Final = frozenset({layout.CAPTION_EXT, layout.RECORD_EXT})


@dataclass(frozen=True, slots=True)
class FileProblem:
    """What is wrong with which of a shard's files."""

    kind: str
    what: str


def foreign_problems(
    tar: BinaryIO,
    entry: ShardEntry,
    table: pa.Table,
    index: Sequence[TarSample] | None,
) -> Iterator[FileProblem]:
    """Yield what does not fit between a tar that may hold more than a shard's records, its records and its index.

    Args:
        tar: the tar, which can seek.
        entry: the shard.
        table: its records.
        index: DALI's index as it was read; None where it could not be.
    """
    if table.num_rows != entry.clips:
        yield FileProblem("parquet", f"{table.num_rows} records, the manifest says {entry.clips} clips")
    found = {member.offset: member for member in ForeignTar(tar, size=entry.tar.bytes, name=entry.stem).members()}
    media: list[Member] = []
    for row in table.select(["key", "members", "bytes", "sha256"]).to_pylist():
        members = [Member(**member) for member in row["members"]]
        clip = next((member for member in members if member.ext not in _SIDE_EXTS), None)
        media += [clip] if clip else []
        for member in members:
            here = found.get(member.offset)
            if here is None or here.size != member.size or not is_key_of(row["key"], here.key):
                what = f"sample {row['key']}: no member of it and of {member.size} bytes lies at byte {member.offset}"
                yield FileProblem("parquet", what)
        if clip and not _is_stored(tar, clip, row["sha256"]):
            what = f"sample {row['key']}: the {clip.size} bytes of {clip.ext} have another hash"
            yield FileProblem("tar", what)
    if index is not None and not _same_clips(index, media):
        yield FileProblem("idx", "its samples are not those of the records")


def is_key_of(key: str, tar_key: str) -> bool:
    """Tell whether a dataset's key is that of a tar's sample: the same, or behind a folder that makes it unique."""
    return key == tar_key or key.endswith(f"/{tar_key}")


def repeated_keys(store: Store, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield the files in which a key stands that came before."""

    def keyed() -> Keyed:
        return ((name, _keys(store, name)) for name in names)

    names = [layout.parquet_name(entry.stem) for entry in manifest.shards]
    for repeat in find_repeats(keyed):
        yield repeat.second, f"sample {repeat.key} is one of {repeat.first} as well; a key comes once in a dataset"


def _keys(store: Store, name: str) -> list[str]:
    """Return the keys of a shard, none where they cannot be read, which is told elsewhere."""
    try:
        return read_keys(store, name)
    except (StoreError, ValueError):
        return []


def _is_stored(tar: BinaryIO, member: Member, digest: str) -> bool:
    tar.seek(member.offset)
    return hashlib.sha256(tar.read(member.size)).hexdigest() == digest


def _same_clips(index: Sequence[TarSample], media: Sequence[Member]) -> bool:
    """Tell whether each sample of an index holds the clip of the record in its place."""
    if len(index) != len(media):
        return False
    return all(
        any((member.offset, member.size) == (clip.offset, clip.size) for member in sample.members)
        for sample, clip in zip(index, media, strict=True)
    )
