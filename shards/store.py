"""Stores of files: a local folder or an fsspec URL such as s3://bucket/name, with the same few verbs for both."""

from __future__ import annotations

import io
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import BinaryIO, Final, cast
from urllib.parse import unquote, urlsplit

from shards.errors import NotFoundError, StoreError, StoreOutageError, redact, store_error
from shards.local import LocalFolder, open_in_place
from shards.remote import S3_PROTOCOLS, RemoteFile, RemoteFolder, require_package
from shards.s3 import Patience, Transfer, Version
from shards.sinks import Sink, Wrote, fill, write_at
from shards.traffic import Traffic, Watch
from shards.web_address import is_web
from shards.web_folder import WebFolder

__all__ = [
    "NotFoundError",
    "Patience",
    "Stat",
    "Store",
    "StoreError",
    "StoreOutageError",
    "Version",
    "open_store",
    "split_url",
]

_HOST_AND_PORT: Final = re.compile(r"(?:[^:\[\]]+|\[[0-9A-Fa-f:.]+\]):[0-9]+")
PART_BYTES: Final = 16 << 20
_RANGE_BYTES: Final = 8 << 20
STREAMS: Final = 8
_BUFFER_BYTES: Final = 1 << 20
_OF_THIS_PROCESS: Final = frozenset({"watch", "stop"})


@dataclass(frozen=True, slots=True)
class Stat:
    """Length in bytes of a file, and its entity tag where the store has one."""

    size: int
    etag: str | None


@dataclass(frozen=True)
class Store:
    """Files below one folder or URL, by relative names with forward slashes.

    It can be pickled and handed to other processes: it holds the URL alone, and each process builds its own client when
    it first needs one. Every failure is a StoreError that names URL and action. ``watch`` is told what reading took,
    and reading S3 is given up once ``stop`` is set; neither goes with it to another process.
    """

    url: str
    patience: Patience = field(default_factory=Patience)
    watch: Watch | None = field(default=None, kw_only=True, compare=False, repr=False)
    stop: threading.Event | None = field(default=None, kw_only=True, compare=False, repr=False)

    @property
    def is_local(self) -> bool:
        """Whether the store is a folder of this machine."""
        return "://" not in self.url

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name not in _OF_THIS_PROCESS}

    def require_package(self) -> None:
        """Raise where the package for the URL's scheme is not installed.

        Raises:
            SchemeError: it is not, or no such scheme is known; this is a ValueError.
        """
        if not self.is_local and not is_web(self.url):
            require_package(self.url)

    def local_path(self, name: str) -> Path:
        """Return the path of a file of a local store.

        Raises:
            ValueError: the store is remote.
        """
        if self._local is None:
            raise ValueError(f"{self._target(name)} is no local file; copy it first")
        return self._local.path(_checked(name))

    def exists(self, name: str) -> bool:
        """Tell whether a file is there."""
        try:
            self.stat(name)
        except NotFoundError:
            return False
        return True

    def stat(self, name: str) -> Stat:
        """Return a file's length and entity tag.

        Raises:
            NotFoundError: it is not there.
        """
        _checked(name)
        if self._local is not None:
            return Stat(self._local.size(name), None)
        found = self._remote.info(name)
        return Stat(found.size, found.etag)

    def list(self, prefix: str = "", *, deep: bool = True) -> list[str]:
        """Return the names of all files that start with ``prefix``, sorted; a folder that is absent has none.

        Not ``deep``: only those in the folder that ``prefix`` names (up to its last slash), not in folders below.
        """
        folder: LocalFolder | RemoteFolder = self._local or self._remote
        try:
            return folder.names(prefix, deep=deep)
        except NotFoundError:
            return []

    def read(self, name: str) -> bytes:
        """Return a whole file.

        Raises:
            NotFoundError: it is not there.
            StoreError: it ends before the length that the store states.
        """
        return self._read(name, 0, None)

    def expect(self, name: str, size: int) -> Stat | Version:
        """Return what ``read_range`` and ``download`` take as known of a file whose length the caller knows already.

        Of an S3 object it costs no request: the first answer says the rest, and another length is an error then.

        Raises:
            NotFoundError: it is not there; of an S3 object, reading says so.
            StoreError: it has another length; the same.
        """
        _checked(name)
        if not self.is_local and self._remote.protocol in S3_PROTOCOLS and size:
            return Version(size)
        found = self.stat(name)
        if found.size != size:
            raise store_error("read", self._target(name), f"it has {found.size} bytes, expected are {size}")
        return found

    def read_range(self, name: str, start: int, stop: int, *, known: Stat | Version | None = None) -> bytes:
        """Return the bytes ``start`` to ``stop`` (exclusive) of a file, all of them.

        Args:
            name: the file.
            start: its first byte to read.
            stop: the byte after the last.
            known: what ``stat`` or ``expect`` said of the file, which saves a request; a remote file that changed is
                refused.

        Raises:
            NotFoundError: it is not there.
            StoreError: it ends before ``stop``, or is not the one that was known.
        """
        if not 0 <= start <= stop:
            raise ValueError(f"bytes {start} to {stop} are no range")
        return self._read(name, start, stop, known)

    def download(
        self,
        name: str,
        to: Path,
        *,
        streams: int = STREAMS,
        part_bytes: int = PART_BYTES,
        size: int | None = None,
        wrote: Wrote | None = None,
    ) -> None:
        """Copy a file to the local path ``to``, by ``streams`` concurrent ranges of ``part_bytes`` each.

        The path is written in place and may be left half-written where this raises: give a temporary name.

        Args:
            name: the file in the store.
            to: the local path.
            streams: how many ranges are on their way at a time.
            part_bytes: length of one range.
            size: the length that the caller expects, in bytes; it saves a request.
            wrote: is told of each range of bytes that is in place, in any order; of a local file's copy it is not.

        Raises:
            NotFoundError: the file is not there.
            StoreError: its length is not ``size``, it ends early, or it changes during the copy.
        """
        found = self.stat(name) if size is None else self.expect(name, size)
        if self._local is not None:
            self._local.copy_to(name, to)
            return
        with open_in_place(to) as file:
            length = cast("int", found.size)
            os.truncate(file.fileno(), length)
            with Sink(lambda at, piece: write_at(file.fileno(), at, piece, wrote)) as sink:
                self._fetch(name, found, Transfer(_split(0, length, part_bytes), streams, sink.write))

    def put(self, name: str, data: bytes) -> None:
        """Publish ``data`` under a name: readers see all of it or what was there before."""
        (self._local or self._remote).put(_checked(name), data)

    def put_file(self, name: str, path: Path, *, move: bool = False) -> None:
        """Publish a local file under a name: readers see all of it or what was there before.

        Args:
            name: the name in the store.
            path: the local file.
            move: the local file is not needed any more: it is renamed where it can be, else copied and removed.
        """
        _checked(name)
        if self._local is not None:
            self._local.put_file(name, path, move=move)
            return
        self._remote.put_file(name, path)
        if move:
            path.unlink()

    def create(self, name: str, data: bytes) -> bool:
        """Publish ``data`` under a name that must be free, and tell whether it was.

        Of several that create one name at the same time, one only is told so on local disks, and in object stores that
        look and write in one step (S3's ``If-None-Match``). Elsewhere several may be told so; the last one's stays.
        """
        return (self._local or self._remote).create(_checked(name), data)

    def move(self, name: str, to: str) -> None:
        """Give a file another name; what stood there is replaced whole. A bucket's is copied there, then removed here.

        Raises:
            NotFoundError: it is not there.
        """
        (self._local or self._remote).move(_checked(name), _checked(to))

    def delete(self, name: str) -> None:
        """Remove a file.

        Raises:
            NotFoundError: a local file is not there; object stores do not tell.
        """
        (self._local or self._remote).delete(_checked(name))

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading; the reader can seek, and reads by ranges where the store is remote."""
        _checked(name)
        if self._local is not None:
            return self._local.open(name)
        found = self.stat(name)
        raw = RemoteFile(lambda start, stop: self.read_range(name, start, stop, known=found), found.size)
        return cast("BinaryIO", io.BufferedReader(raw, _BUFFER_BYTES))

    @cached_property
    def _local(self) -> LocalFolder | None:
        return LocalFolder(Path(self.url)) if self.is_local else None

    @cached_property
    def _remote(self) -> RemoteFolder:
        return (WebFolder if is_web(self.url) else RemoteFolder)(self.url, self.patience)

    def _target(self, name: str) -> str:
        return f"{self.url}/{name}"

    def _read(self, name: str, start: int, stop: int | None, known: Stat | Version | None = None) -> bytes:
        _checked(name)
        found = known or self.stat(name)
        stop = found.size if stop is None else stop
        assert stop is not None, "what is known of a file has its length"
        if self._local is not None:
            return self._local.read_range(name, start, stop)
        if found.size is not None and stop > found.size:
            problem = f"bytes {start} to {stop} were asked for, it has {found.size}"
            raise store_error("read", self._target(name), problem)
        buffer = io.BytesIO(bytes(stop - start))  # neither its making nor taking its bytes in the end copies any
        with buffer.getbuffer() as data, Sink(lambda at, piece: fill(data, at - start, piece)) as sink:
            self._fetch(name, found, Transfer(_split(start, stop, _RANGE_BYTES), STREAMS, sink.write))
        return buffer.getvalue()

    def _fetch(self, name: str, known: Stat | Version, transfer: Transfer) -> None:
        version = known if isinstance(known, Version) else None
        self._remote.fetch(name, known.etag, replace(transfer, version=version, watch=self.watch, stop=self.stop))
        if self.watch is not None and self._remote.protocol not in S3_PROTOCOLS:
            self.watch(Traffic(requests=len(transfer.ranges), bytes=sum(map(len, transfer.ranges))))


def open_store(url: str | PathLike[str], *, patience: Patience | None = None) -> Store:
    """Return the store of a folder or URL; nothing is opened yet.

    Args:
        url: a local path, ``file://...``, ``s3://bucket/prefix``, or another URL that fsspec has a package for.
        patience: time-outs and attempts; the defaults suit training runs.

    Raises:
        ValueError: the URL holds credentials, or no bucket.
    """
    text = os.fspath(url)
    scheme, separator, rest = text.partition("://")
    if not separator:
        text = str(Path(text).absolute())
    elif scheme == "file":
        text = str(Path(unquote(urlsplit(text).path)).absolute())
    else:
        if _looks_secret(scheme, rest.partition("/")[0]):
            raise ValueError(
                f"a URL {scheme}://... holds credentials, or a ':' where its bucket stands; "
                f"give credentials by the environment (AWS_ACCESS_KEY_ID and the like), and write {scheme}://BUCKET/PREFIX"
            )
        if not rest.partition("/")[0]:
            raise ValueError(f"{text} names no bucket; write {scheme}://BUCKET/PREFIX")
        text = f"{scheme}://{rest.strip('/')}"
    return Store(text, patience or Patience())


def _looks_secret(scheme: str, host: str) -> bool:
    """Tell whether the first part of a URL may hold a key: a secret with slashes ends it before any '@'."""
    if "@" in host:
        return True
    if scheme in S3_PROTOCOLS:
        return ":" in host and not host.startswith("arn:")
    return ":" in host and not _HOST_AND_PORT.fullmatch(host)


@dataclass(frozen=True, slots=True)
class SplitUrl:
    """A file's place: the URL of the folder that holds it, and its name there. Unpacks as a pair."""

    parent: str
    name: str

    def __iter__(self) -> Iterator[str]:
        return iter((self.parent, self.name))


def split_url(url: str | PathLike[str]) -> SplitUrl:
    """Split the URL or path of one file into the URL of its folder (for ``open_store``) and its name.

    The query of a web address is part of the name, slashes in it encoded.

    Raises:
        ValueError: there is no file name in it.
    """
    text = os.fspath(url)
    if is_web(text):
        path, separator, query = text.partition("?")
        text = path + separator + query.replace("/", "%2F")
    scheme, separator, rest = text.rpartition("://")
    parent, _, name = rest.rpartition("/")
    if not name or (separator and scheme != "file" and not parent):
        raise ValueError(f"{redact(text)} names no file; a file's place is FOLDER/NAME or s3://BUCKET/NAME")
    if not separator:
        return SplitUrl(parent or ("/" if rest.startswith("/") else "."), name)
    return SplitUrl(f"{scheme}://{parent}", unquote(name) if scheme == "file" else name)


def _checked(name: str) -> str:
    """Refuse names that lead out of the store, whoever wrote them."""
    parts = name.split("/")
    if not name or any(part in {"", ".", ".."} for part in parts):
        raise ValueError(f"{name!r} is no name of a file in a store; names are relative, without '..' and '//'")
    return name


def _split(start: int, stop: int, size: int) -> list[range]:
    return [range(at, min(at + size, stop)) for at in range(start, stop, size)]
