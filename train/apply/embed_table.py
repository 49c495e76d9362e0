"""The Parquet file of embeddings: its columns, what it says of itself, how it is written and read piece by piece."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float32
from torch import nn

from shards.store import StoreError, open_store, split_url

# D channels of an embedding.

Of = Literal["video", "text", "frames"]

FORMAT: Final = 1
ROWS: Final = 8192
"""Rows of a row group, and of what is read at a time."""
_ABOUT: Final = b"vidloom"
_KEPT: Final = ("key", "caption", "source", "row", "clip", "pts_start", "duration", "fps")
"""Columns of a dataset's records that rows of embeddings take over; ``pts_start`` becomes ``clip_start``."""
_TEXTS: Final = ("key", "caption", "source", "shard", "error")


@dataclass(frozen=True, slots=True)
class About:
    """What embeddings were made of, by what, and how; it stands as JSON in the file's metadata, under ``vidloom``.

    Attributes:
        of: ``video``, ``text`` or ``frames``.
        space: ``shared`` where clips and texts meet, so that they can be searched by a text; ``own`` elsewhere.
        dim: Channels (D).
        kind: Kind of the network.
        weights: SHA-256 (hex) of the network's weights.
        vocabulary: Digest of the vocabulary, for embeddings of texts.
        dataset: Digest of the dataset's manifest.
        clips: What the network takes of a clip: frames, stride, size, sampling, crop, colours.
        windows: ``seconds`` and ``stride`` of windows, or None where a clip is embedded once.
        precision: ``fp32`` or ``bf16``.
        format: Version of the file.
    """

    of: str
    space: str
    dim: int
    kind: str
    weights: str
    vocabulary: str | None
    dataset: str
    clips: dict[str, Any]
    windows: dict[str, float] | None
    precision: str
    format: int = FORMAT

    def to_plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One embedding, or why there is none: of which record of the shard, and of which of its seconds."""

    record: int
    start: float | None = None
    end: float | None = None
    feature: Float32[np.ndarray, "D"] | None = None
    error: str | None = None


def weights_digest(network: nn.Module) -> str:
    """Return the SHA-256 (hex) of a network's weights: names, types, shapes and bytes, wherever they came from."""
    found = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        tensor = value.detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def schema_of(about: About) -> pa.Schema:
    """Return the columns of a file of embeddings, with what it says of itself."""
    seconds = [(name, pa.float64()) for name in ("start", "end", "clip_start", "duration", "fps")]
    fields = [
        *((name, pa.string()) for name in ("key", "caption", "source")),
        ("row", pa.int64()),
        ("clip", pa.int32()),
        ("shard", pa.string()),
        *seconds,
        ("embedding", pa.list_(pa.float32(), about.dim)),
        ("error", pa.string()),
    ]
    told = json.dumps(about.to_plain(), sort_keys=True)
    return pa.schema(fields, metadata={_ABOUT: told.encode()})


def table_of(about: About, stem: str, records: pa.Table, pieces: Sequence[Piece]) -> pa.Table:
    """Return the rows of a shard.

    Args:
        about: What the file says of itself.
        stem: The shard.
        records: The shard's records.
        pieces: Its embeddings, in the order of their rows.
    """
    schema = schema_of(about)
    kept = records.select(list(_KEPT)).take(pa.array([piece.record for piece in pieces], pa.int64()))
    columns: dict[str, Any] = {name: kept[name] for name in _KEPT if name != "pts_start"}
    columns |= {name: [getattr(piece, name) for piece in pieces] for name in ("start", "end", "error")}
    columns |= {"clip_start": kept["pts_start"], "shard": [stem] * len(pieces)}
    columns["embedding"] = [piece.feature for piece in pieces]
    arrays = [_array(columns[field.name], field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(values: Any, kind: pa.DataType) -> Any:  # noqa: ANN401 - a list or a column of Arrow, and Arrow carries no types
    return values.cast(kind) if isinstance(values, pa.ChunkedArray) else pa.array(values, kind)


def to_bytes(table: pa.Table) -> bytes:
    """Return a table as a Parquet file."""
    file = io.BytesIO()
    with _writer(file, table.schema) as writer:
        writer.write_table(table, row_group_size=ROWS)
    return file.getvalue()


def write_whole(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write rows to a local Parquet file in row groups of ``ROWS``, holding no more than about one of them."""
    waiting: list[pa.RecordBatch] = []
    with _writer(path, schema) as writer:
        for batch in batches:
            waiting.append(batch)
            if sum(map(len, waiting)) >= ROWS:
                table = pa.Table.from_batches(waiting, schema)
                whole = len(table) // ROWS * ROWS
                writer.write_table(table.slice(0, whole), row_group_size=ROWS)
                waiting = table.slice(whole).to_batches()
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting, schema), row_group_size=ROWS)


def _writer(file: BinaryIO | Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=list(_TEXTS))


def read_batches(file: BinaryIO, name: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Read a file of embeddings, a row group at a time at most.

    Raises:
        ValueError: It is damaged; the message names it.
    """
    with _as_damage(name):
        found = pq.ParquetFile(file, pre_buffer=False)
        for group in range(found.num_row_groups):  # iter_batches holds on to the row groups that it has passed
            yield from found.read_row_group(group, columns, use_threads=False).to_batches(max_chunksize=ROWS)


class Embeddings:
    """A file of embeddings, which is read a row group at a time.

    Args:
        place: Path or URL.

    Raises:
        ValueError: It is no file of embeddings.
        StoreError: It cannot be read.
    """

    def __init__(self, place: str) -> None:
        parent, self._name = split_url(place)
        self.place, self._store = place, open_store(parent)
        with self._store.open(self._name) as file, _as_damage(place):
            found = pq.ParquetFile(file, pre_buffer=False)
            self.rows = int(found.metadata.num_rows)
            told = (found.schema_arrow.metadata or {}).get(_ABOUT)
        if told is None:
            raise ValueError(f"{place} is a Parquet file, but none of embeddings; 'vidloom embed' writes them")
        self.about = self._read_about(told)

    def _read_about(self, told: bytes) -> About:
        plain = json.loads(told)
        if plain.get("format") != FORMAT:
            raise ValueError(f"{self.place} has format {plain.get('format')}; this version reads {FORMAT}")
        return About(**plain)

    def batches(self, *columns: str) -> Iterator[pa.RecordBatch]:
        """Read its rows in order, named columns or all."""
        with self._store.open(self._name) as file:
            yield from read_batches(file, self.place, list(columns) or None)


@contextmanager
def _as_damage(name: str) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except (pa.ArrowException, OSError) as error:  # pyarrow calls a broken page an OSError
        raise ValueError(f"{name} is damaged, or no Parquet file: {error}") from error
