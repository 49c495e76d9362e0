"""Fill one shard in a scratch folder, hash it while it is written, publish its files in order, each of them whole."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from shards import layout, record
from shards.canonical import canonical_json
from shards.errors import without_signature
from shards.index import TarSample, format_idx, padded, scan_tar, tar_size
from shards.ledger import LedgerRow, LedgerSums, summarise, write_ledger
from shards.manifest import FileEntry, ShardEntry, describe
from shards.record import Member, Record
from shards.store import Store
from shards.tar_header import ustar_header

_LARGEST_MEMBER: Final = 8 << 30
"""Bytes that a plain ustar header can state (POSIX pax, "ustar Interchange Format"): 11 octal digits."""

_JSON: Final = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_BUFFER_BYTES: Final = 1 << 14
"""Bytes of small members that are gathered; what is longer is written from where it lies."""

_ROW_GROUP: Final = 4096


@dataclass(frozen=True, slots=True)
class Clip:
    """What goes into a shard: a record without members, the payload, and the payload's extension without a dot.

    The writer sets the record's ``bytes``, ``sha256`` and ``members``, and leaves user parts and signatures of
    URLs out of its ``source``.
    """

    record: Record
    payload: bytes
    ext: str


@dataclass(frozen=True, slots=True)
class BuiltShard:
    """A shard in its scratch folder: three files with their entries, and what they hold."""

    stem: str
    paths: Mapping[str, Path]
    files: Mapping[str, FileEntry]
    clips: int
    seconds: float
    frames: int

    def discard(self) -> None:
        """Remove the scratch files that are still there."""
        for path in self.paths.values():
            path.unlink(missing_ok=True)


class ShardWriter:
    """Builds one shard in a scratch folder; leaving it as a context manager by an exception removes what it wrote.

    Args:
        stem: the shard's stem.
        scratch: a local folder, which is made; files of the same names are replaced.
        extra: the user's own columns: stored name -> type, as ``shards.record.schema`` takes them.
    """

    def __init__(self, stem: str, scratch: Path, extra: Mapping[str, str]) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self.stem = stem
        self._extra = extra
        self._schema = record.schema(extra)
        names = {"tar": layout.tar_name(stem), "idx": layout.idx_name(stem), "parquet": layout.parquet_name(stem)}
        self._paths = {kind: scratch / name for kind, name in names.items()}
        self._rows: list[dict[str, Any]] = []
        self._samples: list[TarSample] = []
        self._file = _HashingFile(self._paths["tar"].open("wb", _BUFFER_BYTES))
        self._position = 0
        self._source = ("", "")

    def add(self, clip: Clip) -> None:
        """Append one clip; clips come in the order of their keys.

        Raises:
            ValueError: the key does not follow the one before, the extension is none of the format's, the payload is
                8 GiB or more, or caption or extra columns hold what UTF-8 or JSON cannot.
        """
        key = clip.record.key
        if self._samples and key <= self._samples[-1].key:
            raise ValueError(
                f"{key}: clips come in the order of their keys, the one before was {self._samples[-1].key}"
            )
        if clip.ext not in layout.VIDEO_EXTS | layout.IMAGE_EXTS:
            raise ValueError(f"{key}: extension {clip.ext!r} is none of the format's")
        if len(clip.payload) >= _LARGEST_MEMBER:
            raise ValueError(
                f"{key}: {len(clip.payload)} bytes are too many for one clip; cut it into parts below 8 GiB"
            )
        digest = hashlib.sha256(clip.payload).hexdigest()
        extra = {name: _finite(clip.record.extra.get(name)) for name in self._extra}
        cells = clip.record.own_cells() | extra
        cells |= {"source": self._said(clip.record.source), "bytes": len(clip.payload), "sha256": digest}
        members = self._write_members(cells, clip)
        self._samples.append(TarSample(key, members))
        cells["members"] = record.member_cells(members)
        self._rows.append(cells)

    def finish(self) -> BuiltShard:
        """Close the tar, check it, write index and records beside it, and return what was built."""
        self._file.write(bytes(tar_size(self._position) - self._position))
        self._file.close()
        self._check()
        self._paths["idx"].write_bytes(format_idx(self._samples))
        _write_rows(self._rows, self._schema, self._paths["parquet"])
        files = {kind: describe(self._paths[kind].read_bytes()) for kind in ("idx", "parquet")}
        return BuiltShard(
            stem=self.stem,
            paths=self._paths,
            files={"tar": self._file.entry(), **files},
            clips=len(self._rows),
            seconds=math.fsum(row["duration"] for row in self._rows),
            frames=sum(row["num_frames"] for row in self._rows),
        )

    def discard(self) -> None:
        """Close the tar and remove the scratch files."""
        self._file.abandon()
        for path in self._paths.values():
            path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.discard()

    def _said(self, source: str) -> str:
        """Return what is stored of a source; most clips have the source of the one before."""
        if self._source[0] != source:
            self._source = (source, without_signature(source))
        return self._source[1]

    def _write_members(self, cells: Mapping[str, Any], clip: Clip) -> tuple[Member, ...]:
        try:
            parts = {
                clip.ext: clip.payload,
                layout.CAPTION_EXT: clip.record.caption.encode(),
                layout.RECORD_EXT: _JSON.encode(record.json_cells(cells)).encode(),
            }
        except (ValueError, TypeError) as error:
            raise ValueError(f"{clip.record.key}: caption or columns cannot be stored: {error}") from error
        members: list[Member] = []
        small: list[bytes] = []
        for ext, data in sorted(parts.items()):
            members.append(Member(ext, self._position + layout.BLOCK_BYTES, len(data)))
            self._position += layout.BLOCK_BYTES + padded(len(data))
            small.append(ustar_header(layout.member_name(clip.record.key, ext), len(data)))
            if len(data) <= _BUFFER_BYTES:
                small.append(data)
            else:  # neither joined nor buffered
                self._file.write(b"".join(small))
                self._file.write(data)
                small.clear()
            small.append(bytes(padded(len(data)) - len(data)))
        self._file.write(b"".join(small))
        return tuple(members)

    def _check(self) -> None:
        """Read the tar's headers back: our arithmetic of offsets must be what any tar reader finds."""
        path = self._paths["tar"]
        with path.open("rb") as file:
            found = scan_tar(file, size=path.stat().st_size, name=str(path))
        if found != self._samples:
            raise AssertionError(f"{path}: the members lie elsewhere than was computed")


def write_records(rows: Sequence[Record], schema: pa.Schema, path: Path) -> None:
    """Write a shard's table of records; the bytes follow from rows, schema and the version of pyarrow."""
    _write_rows([row.to_row() for row in rows], schema, path)


def _write_rows(rows: list[dict[str, Any]], schema: pa.Schema, path: Path) -> None:
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, path, compression="zstd", row_group_size=_ROW_GROUP)


def publish(
    store: Store,
    built: BuiltShard,
    ledger_rows: Sequence[LedgerRow],
    links: Mapping[str, str] | None = None,
) -> ShardEntry:
    """Move a built shard into a dataset: tar, idx, parquet, summary, and the ledger last, which makes it finished.

    Each file appears whole or not at all; a crash in between leaves whole files that the next run replaces by the same
    bytes. The scratch files are gone afterwards.

    Args:
        store: the dataset.
        built: the shard; a tar that is not among its paths lies where its link says.
        ledger_rows: what became of its rows.
        links: other names for files of the shard, by kind, as ``ShardEntry`` has them.

    Raises:
        ValueError: the ledger's successes are not the shard's clips.
        StoreError: a file cannot be written.
    """
    sums = summarise(ledger_rows)
    if sums.status.get("success", 0) != built.clips:
        made = sums.status.get("success", 0)
        raise ValueError(f"shard {built.stem}: the ledger has {made} successes, the shard {built.clips} clips")
    stats = spell_summary(built, sums)
    ledger = write_ledger(ledger_rows)
    entry = ShardEntry(
        stem=built.stem,
        rows=sums.rows,
        clips=built.clips,
        seconds=built.seconds,
        frames=built.frames,
        tar=built.files["tar"],
        idx=built.files["idx"],
        parquet=built.files["parquet"],
        stats=describe(stats),
        ledger=describe(ledger),
        status=sums.status,
        reasons=sums.reasons,
        links=dict(links or {}),
    )
    names = dict(zip(("tar", "idx", "parquet", "stats", "ledger"), entry.files(), strict=True)) | dict(entry.links)
    for kind in ("tar", "idx", "parquet"):
        if kind in built.paths:
            store.put_file(names[kind], built.paths[kind], move=True)
    store.put(names["stats"], stats)
    store.put(names["ledger"], ledger)
    return entry


class _HashingFile:
    """A file that counts and hashes what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._bytes = 0

    def write(self, data: bytes) -> None:
        self._hash.update(data)
        self._bytes += len(data)
        self._file.write(data)

    def close(self) -> None:
        self._file.close()

    def abandon(self) -> None:
        """Close the file, whatever comes of what was written."""
        with suppress(OSError):
            self._file.close()

    def entry(self) -> FileEntry:
        return FileEntry(self._bytes, self._hash.hexdigest())


def _finite(value: Any) -> Any:  # noqa: ANN401  (a cell of the user's own column)
    """Return a cell as JSON and Parquet can both hold it: a number that is not finite becomes None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def spell_summary(built: BuiltShard, sums: LedgerSums) -> bytes:
    """Return a shard's summary as it stands on disk: ours, and counts under the names that video2dataset's tools read.

    Args:
        built: what the shard holds, and its files' lengths and hashes; its paths are not looked at.
        sums: those of its ledger.
    """
    fates = Counter(sums.reasons) + Counter({"success": sums.status.get("success", 0)})
    values: dict[str, Any] = {
        "format": layout.FORMAT_VERSION,
        "stem": built.stem,
        "rows": sums.rows,
        "clips": built.clips,
        "bytes": sum(entry.bytes for entry in built.files.values()),
        "frames": built.frames,
        "seconds": built.seconds,
        "status": dict(sums.status),
        "reasons": dict(sums.reasons),
        "files": {kind: asdict(entry) for kind, entry in built.files.items()},
        "count": sum(sums.status.values()),
        "successes": built.clips,
        "failed_to_download": 0,
        "failed_to_subsample": sums.status.get("failed", 0),
        "status_dict": dict(sorted(fates.items())),
    }
    return canonical_json(values)
