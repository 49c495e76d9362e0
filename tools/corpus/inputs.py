"""What a run reads its rows from: tables, a folder of videos or tars, lent as files of this machine."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shards.errors import without_signature
from shards.web_address import is_web
from tools.corpus.folder import folder_entries
from tools.corpus.formats import UNTABLED, known_format
from tools.corpus.ingest import Columns, InputRow, Listed, TableInfo, digest_table, rows_of, scan
from tools.corpus.input_files import InputFiles, find_files
from tools.corpus.listings import ListingTable, write_listing
from tools.corpus.table_files import needs_unzipping
from tools.corpus.tables import cut_name, reading
from tools.corpus.tars_in import tar_entries
from tools.corpus.workspace import temporary_workspace

_PIECE: Final = 16 << 20
_ROOM: Final = 1 << 30
"""Bytes that unzipping a table leaves free on the disk, whatever the table claims to hold."""


@dataclass(frozen=True, slots=True)
class LentFile:
    """A table, or a listing that stands for one, as a local file.

    ``name`` is what messages call it, ``digest`` the SHA-256 (hex) of its bytes as they were found.
    """

    path: Path
    name: str
    digest: str
    listing: bool = False
    timed: bool = True

    def open(self, columns: Columns) -> Listed:
        """Open the table.

        Raises:
            ValueError: it cannot be read, or its columns are not those of the format that was named.
        """
        if not self.listing:
            return Listed.open(self.path, columns, self.name)
        return Listed.of(ListingTable(self.path, timed=self.timed), columns, self.name, cut_name(self.path))


@dataclass(frozen=True, slots=True)
class Inputs:
    """The rows of a run, while they are lent.

    ``name`` is what the plan calls the input, ``digest`` the SHA-256 (hex) of what it holds: of a table its bytes, of
    several tables their digests, of a folder or of tars the list of what was found in them.
    """

    name: str
    digest: str
    columns: Columns
    files: tuple[LentFile, ...]

    def scan(self, *, limit: int | None = None) -> TableInfo:
        """Read all once and tell the number of rows and the kinds of the user's columns.

        Raises:
            ValueError: something cannot be read, there are no rows, or a needed column is absent.
        """
        return scan((file.open(self.columns) for file in self.files), self.columns, limit=limit)

    def rows(
        self, extra: Mapping[str, str], *, limit: int | None = None, wanted: Callable[[int], bool] = lambda _: True
    ) -> Iterator[InputRow]:
        """Yield the rows of the wanted numbers, the segments of a row next to each other.

        Args:
            extra: the kinds of the user's columns, as ``scan`` told them.
            limit: how many rows there are, at most.
            wanted: tells by a row's number whether it is to be read.

        Raises:
            ValueError: something cannot be read, or is not what was scanned.
        """
        return rows_of((file.open(self.columns) for file in self.files), extra, limit=limit, wanted=wanted)


@contextlib.contextmanager
def lend_inputs(specs: str | Sequence[str], columns: Columns, *, limit: int | None = None) -> Iterator[Inputs]:
    """Lend what paths, URLs, patterns and folders name: local tables as they are, all else as files that go afterwards.

    Args:
        specs: one INPUT or several.
        columns: what is said of their columns.
        limit: how many rows will be read, at most: of a folder or of tars no more are looked at.

    Raises:
        ValueError: the inputs name nothing, or things of several kinds, or cannot be read.
        StoreError: they cannot be copied or listed.
    """
    known_format(columns.format)
    found = find_files(specs)
    with temporary_workspace() as folder:
        if found.kind == "tables":
            files = [_table(found, number, folder) for number in range(len(found.names))]
        else:
            files = [_listing(found, columns, folder / "listing.jsonl", limit)]
        digests = [file.digest for file in files]
        digest = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
        yield Inputs(found.shown, digest, columns, tuple(files))


def _table(found: InputFiles, number: int, scratch: Path) -> LentFile:
    """Lend one table: itself where it lies here and can be read in place, else a copy."""
    shown = without_signature(found.names[number])
    name = found.names[number].rpartition("/")[2].partition("?" if is_web(found.folder.url) else "\0")[0]
    copy = scratch / f"{number:07d}" / name
    if found.folder.is_local:
        path = found.folder.local_path(found.names[number])
    else:
        copy.parent.mkdir()
        found.folder.download(found.names[number], copy)
        path = copy
    digest = digest_table(path)
    if needs_unzipping(name):
        copy.parent.mkdir(exist_ok=True)
        path = _unzipped(path, copy.with_suffix(""), shown)
    return LentFile(path, shown, digest)


def _unzipped(path: Path, to: Path, shown: str) -> Path:
    """Unzip a table into ``to`` and return it; one that fills the disk is refused while there is room left."""
    with reading(path, zipped=True) as file, to.open("wb") as copy:
        while piece := file.read(_PIECE):
            if shutil.disk_usage(to.parent).free < _ROOM + len(piece):
                raise ValueError(
                    f"input {shown} does not fit {to.parent.parent} unzipped; set TMPDIR to a larger folder"
                )
            copy.write(piece)
    return to


def _listing(found: InputFiles, columns: Columns, path: Path, limit: int | None) -> LentFile:
    if columns.format is not None and columns.format not in UNTABLED:
        raise ValueError(
            f"--format {columns.format} is for tables, and {found.shown} is none; files of folders and tars are told by"
            " their names, so leave --format out"
        )
    write_listing((folder_entries if found.kind == "videos" else tar_entries)(found, limit), path)
    return LentFile(path, found.shown, digest_table(path), listing=True, timed=found.kind == "videos")
