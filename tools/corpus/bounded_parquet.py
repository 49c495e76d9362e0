"""Parquet read in batches whose size in memory is bounded, whatever few bytes of the file stand for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

_BATCH_ROWS: Final = 512
_BATCH_BYTES: Final = 1 << 30
_HEADER_BYTES: Final = 32
_INT_FIELD: Final = 0x15
"""In Thrift's compact protocol: the next field, and it is a 32-bit number."""

_DICTIONARY_PAGE: Final = 2
_MORE: Final = 0x80


class BoundedParquet:
    """A Parquet file whose text may repeat: a value that stands in many rows is stored once, but read for each of them.

    Batches get the fewer rows the longer a repeated value can be, by what the file's page headers say; texts inside of
    lists and structures stay references to the one value.

    Args:
        file: the file, which can seek.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        leaves = pq.ParquetFile(file).schema
        named = [(number, leaves.column(number)) for number in range(len(leaves))]
        texts = {leaf.path: number for number, leaf in named if leaf.physical_type == "BYTE_ARRAY"}
        inside = [leaf.path for _, leaf in named if leaf.path in texts and leaf.path != leaf.name]
        self._parquet = pq.ParquetFile(file, read_dictionary=inside)
        self._texts = {path: number for path, number in texts.items() if path not in inside}
        self.metadata, self.schema = self._parquet.metadata, self._parquet.schema_arrow

    def batches(self, group: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield columns of one row group in batches."""
        wanted = [name for name in columns if name in self._texts]
        # Broken descriptions of columns end the process where they are asked for, but are an error where one is read.
        next(self._parquet.iter_batches(1, row_groups=[group], columns=wanted), None)
        told = self.metadata.row_group(group)
        repeated = sum(self._longest_repeated(told.column(self._texts[name])) for name in wanted)
        rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, repeated)))
        found: Iterator[pa.RecordBatch] = self._parquet.iter_batches(rows, row_groups=[group], columns=columns)
        return found

    def _longest_repeated(self, chunk: Any) -> int:  # noqa: ANN401 - pyarrow has no types
        """Return a bound, in bytes, on a text that stands in the chunk once and in many of its rows."""
        if "DELTA_BYTE_ARRAY" in chunk.encodings:
            return int(chunk.total_uncompressed_size)
        if not chunk.has_dictionary_page:
            return 0
        self._file.seek(chunk.dictionary_page_offset)
        size = _dictionary_bytes(self._file.read(_HEADER_BYTES))
        return int(chunk.total_uncompressed_size) if size is None else size


def _dictionary_bytes(header: bytes) -> int | None:
    """Return the length of a dictionary page that its header states; None where these bytes are no such header.

    The header's first two fields are its type and the uncompressed length (Apache Parquet, parquet.thrift, PageHeader).
    """
    at, fields = 0, []
    for _ in range(2):
        if header[at : at + 1] != bytes([_INT_FIELD]):
            return None
        at, value, shift = at + 1, 0, 0
        while at < len(header):
            value |= (header[at] & ~_MORE) << shift
            at, shift = at + 1, shift + 7
            if not header[at - 1] & _MORE:
                break
        fields.append((value >> 1) ^ -(value & 1))
    return fields[1] if fields[0] == _DICTIONARY_PAGE and fields[1] >= 0 else None
