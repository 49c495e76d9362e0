"""Videos that were found, on disk, in a store, in a tar or on a web server, and how to have their bytes."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from shards.errors import store_error
from shards.remote import RemoteFile
from shards.store import Store
from shards.web_address import WebAddress
from shards.web_client import Manners
from shards.web_ranges import fetch_range
from tools.corpus.fetching import Fetching
from tools.corpus.tar_names import Window

_PIECE_BYTES: Final = 8 << 20
_LOOK_BYTES: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Place:
    """A video that was found: the store that holds it, its name there and its length in bytes."""

    store: Store
    name: str
    size: int

    @property
    def path(self) -> Path | None:
        """The video's path where it lies on this machine."""
        return self.store.local_path(self.name) if self.store.is_local else None

    def open(self) -> BinaryIO:
        """Open the video to look at some of it."""
        return self.store.open(self.name)

    def read(self) -> bytes:
        """Return the video's bytes."""
        return self.store.read(self.name)

    def download(self, to: Path) -> None:
        """Copy the video into a local file."""
        self.store.download(self.name, to, size=self.size)


@dataclass(frozen=True, slots=True)
class MemberPlace(Place):
    """A video in a tar: ``store`` and ``name`` are the tar's, ``offset`` is the byte at which the video starts."""

    offset: int

    @property
    def path(self) -> None:
        """It is no file of its own."""
        return

    def open(self) -> BinaryIO:
        """Open the video to look at some of it."""
        return cast("BinaryIO", io.BufferedReader(Window(self.store.open(self.name), self.offset, self.size)))

    def read(self) -> bytes:
        """Return the video's bytes."""
        return self.store.read_range(self.name, self.offset, self.offset + self.size)

    def download(self, to: Path) -> None:
        """Copy the video into a local file."""
        with self.open() as file, to.open("wb") as copy:
            shutil.copyfileobj(file, copy, _PIECE_BYTES)
        if to.stat().st_size != self.size:
            raise store_error("read", f"{self.store.url}/{self.name}", "it ends in the middle of a member")


@dataclass(frozen=True, slots=True)
class WebPlace(Place):
    """A video on a web server, or in a tar there, from byte ``offset`` on; ``store`` is the server.

    All of its verbs raise WebError where the server fails.
    """

    address: WebAddress
    fetching: Fetching
    offset: int = 0

    @property
    def path(self) -> None:
        """It is not on this machine."""
        return

    def open(self) -> BinaryIO:
        """Open the video to look at some of it; a server that sends no ranges is an error at a read."""
        raw = RemoteFile(lambda start, stop: self._range(start, stop, self.fetching.looks), self.size)
        return cast("BinaryIO", io.BufferedReader(raw, _LOOK_BYTES))

    def read(self) -> bytes:
        """Return the video's bytes, asked for as ranges."""
        return b"".join(self._pieces())

    def download(self, to: Path) -> None:
        """Copy the video into a local file, by ranges."""
        with to.open("wb") as copy:
            copy.writelines(self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        for start in range(0, self.size, _PIECE_BYTES):
            yield self._range(start, min(self.size, start + _PIECE_BYTES), self.fetching.manners)

    def _range(self, start: int, stop: int, manners: Manners) -> bytes:
        return fetch_range(self.address, range(self.offset + start, self.offset + stop), None, manners)
