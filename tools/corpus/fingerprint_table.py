"""Fingerprints of segments in a file for each block, and all of a dataset's in a few flat arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shards.layout import fingerprint_name
from shards.store import Store

DIGEST_BYTES: Final = 16
"""Bytes that are kept of a SHA-256: two among a billion are alike by chance in one of 10 ** 20 cases."""

PERMUTATIONS: Final = 128
"""Values of a caption's MinHash; 16 bits are kept of each."""

_HASH: Final = np.dtype("<u8")
_WORD: Final = np.dtype("<u2")
_DIGEST: Final = np.dtype([("high", "<u8"), ("low", "<u8")])

_SCHEMA: Final = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("part", pa.int32(), nullable=False),
        pa.field("source", pa.binary(DIGEST_BYTES), nullable=False),
        pa.field("first", pa.int64(), nullable=False),
        pa.field("stop", pa.int64(), nullable=False),
        pa.field("seconds", pa.float32(), nullable=False),
        pa.field("caption", pa.binary(DIGEST_BYTES), nullable=False),
        pa.field("pictures", pa.binary(), nullable=False),
        pa.field("words", pa.binary(2 * PERMUTATIONS)),
    ]
)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is compared of a segment.

    ``source`` and ``caption`` are digests of the video's bytes and of all captions; frames ``first`` to ``stop - 1``
    last ``seconds``. ``pictures`` are hashes of its pictures, ``words`` the MinHash of its caption; both may be empty.
    """

    row: int
    part: int
    source: bytes
    first: int
    stop: int
    seconds: float
    caption: bytes
    pictures: bytes = b""
    words: bytes | None = None


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """The fingerprints of all segments, in the order of rows and parts: one entry of each array a segment.

    The hashes of segment i are ``hashes[ends[i - 1] : ends[i]]``; ``words`` [segments, 128] holds zeros where there is
    no MinHash. ``source`` and ``caption`` are numbers that are equal where the digests are.
    """

    row: NDArray[np.int64]
    part: NDArray[np.int32]
    source: NDArray[np.int32]
    first: NDArray[np.int64]
    stop: NDArray[np.int64]
    seconds: NDArray[np.float32]
    caption: NDArray[np.int32]
    ends: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    words: NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.row)

    def pictures(self, index: int) -> NDArray[np.uint64]:
        """Return the picture hashes of one segment."""
        return self.hashes[self.ends[index - 1] if index else 0 : self.ends[index]]


def write_fingerprints(store: Store, stem: str, prints: Sequence[Fingerprint]) -> None:
    """Publish the fingerprints of one block, in the order of rows and parts.

    Raises:
        StoreError: the file cannot be written.
    """
    ordered = sorted(prints, key=lambda one: (one.row, one.part))
    columns = {name: [getattr(one, name) for one in ordered] for name in _SCHEMA.names}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=_SCHEMA), sink, compression="zstd")
    store.put(fingerprint_name(stem), bytes(sink.getvalue()))


def read_fingerprints(store: Store, stems: Iterable[str]) -> Fingerprints:
    """Return the fingerprints of all blocks, whose files are read one after the other.

    Raises:
        NotFoundError: a block has no file.
        ValueError: a file holds no fingerprints of this version.
    """
    gathered = _Gathered()
    for stem in stems:
        name = fingerprint_name(stem)
        try:
            found = pq.ParquetFile(pa.BufferReader(store.read(name))).read(use_threads=False)
            gathered.add(found.select(_SCHEMA.names).cast(_SCHEMA).combine_chunks())
        except (pa.ArrowException, KeyError) as error:
            raise ValueError(
                f"{store.url}/{name} holds no fingerprints: {error}; delete it to have it made again"
            ) from error
    return gathered.whole()


class _Gathered:
    """Arrays that grow block by block."""

    def __init__(self) -> None:
        self._parts: list[dict[str, NDArray[Any]]] = []

    def add(self, table: pa.Table) -> None:
        columns = {name: _one(table[name]) for name in _SCHEMA.names}
        numbers = {name: columns[name].to_numpy() for name in ("row", "part", "first", "stop", "seconds")}
        pictures = columns["pictures"].to_pylist()
        missing = bytes(2 * PERMUTATIONS)
        words = b"".join(one or missing for one in columns["words"].to_pylist())
        self._parts.append(
            numbers
            | {name: np.frombuffer(b"".join(columns[name].to_pylist()), _DIGEST) for name in ("source", "caption")}
            | {
                "counts": np.array([len(one) // _HASH.itemsize for one in pictures], np.int64),
                "hashes": np.frombuffer(b"".join(pictures), _HASH),
                "words": np.frombuffer(words, _WORD).reshape(-1, PERMUTATIONS),
            }
        )

    def whole(self) -> Fingerprints:
        """Return all that was added; nothing is left here."""
        return Fingerprints(
            row=self._take("row"),
            part=self._take("part"),
            source=_numbered(self._take("source")),
            first=self._take("first"),
            stop=self._take("stop"),
            seconds=self._take("seconds"),
            caption=_numbered(self._take("caption")),
            ends=np.cumsum(self._take("counts")),
            hashes=self._take("hashes"),
            words=self._take("words"),
        )

    def _take(self, name: str) -> NDArray[Any]:
        return np.concatenate([part.pop(name) for part in self._parts])


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _numbered(digests: NDArray[Any]) -> NDArray[np.int32]:
    """Return a number for each digest, equal numbers for equal ones."""
    return np.asarray(np.unique(digests, return_inverse=True)[1], np.int32)
