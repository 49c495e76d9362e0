"""A store behind an fsspec URL: one file system a process, every failure a StoreError, reads exact to the byte."""

from __future__ import annotations

import io
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import botocore.exceptions  # type: ignore[import-untyped]  # it has no types
import fsspec
from fsspec.core import url_to_fs

from shards.errors import TransferError, errors_of, redact, store_error
from shards.s3 import (
    Patience,
    Transfer,
    connect,
    create_object,
    environment,
    is_outage,
    is_refused,
    upload_file,
)
from shards.s3_reading import download_parts

S3_PROTOCOLS: Final = frozenset({"s3", "s3a"})
_FOREIGN_ERRORS: Final = (
    OSError,
    botocore.exceptions.BotoCoreError,
    botocore.exceptions.ClientError,
    TimeoutError,
    EOFError,
)
"""What fsspec's file systems raise; botocore's classes are no OSErrors, nor is ftplib's end of a line."""

_OPTIONAL_ERRORS: Final = {
    "aiohttp": "ClientError",
    "ftplib": "Error",
    "gcsfs.retry": "HttpError",
    "google.auth.exceptions": "GoogleAuthError",
    "azure.core.exceptions": "AzureError",
    "httpx": "HTTPError",
    "paramiko.ssh_exception": "SSHException",
    "smbprotocol.exceptions": "SMBException",
}
"""The same of packages that may be loaded: module -> class."""

HOST_PROTOCOLS: Final = frozenset({"ftp", "sftp", "ssh", "smb", "webdav", "dav"})
"""Protocols that speak to one named host, over a connection that takes one question at a time."""

_hosts: defaultdict[tuple[str, str], threading.RLock] = defaultdict(threading.RLock)
_systems: dict[tuple[object, ...], Any] = {}
_lock = threading.Lock()


def _after_fork() -> None:
    """Forget in a forked child what belongs to its parent: no file system survives a fork."""
    global _lock  # noqa: PLW0603  (the parent's lock may have been held by a thread that the child lacks)
    _lock = threading.Lock()
    _systems.clear()
    _hosts.clear()


os.register_at_fork(after_in_child=_after_fork)


def _one_at_a_time(protocol: str, host: str) -> AbstractContextManager[object]:
    """Lend a host's connection to one thread at a time, where it takes no more."""
    return _hosts[protocol, host] if host else nullcontext()


def _foreign_errors() -> tuple[type[BaseException], ...]:
    """Return what may be raised by those packages that are loaded."""
    return _FOREIGN_ERRORS + errors_of(_OPTIONAL_ERRORS)


class SchemeError(ValueError):
    """A URL's scheme is unknown, or the package for it is not installed; the message names it."""


@dataclass(frozen=True)
class Object:
    """Length in bytes and entity tag of one object; the tag changes with the content, and may be absent."""

    size: int
    etag: str | None


def require_package(url: str) -> None:
    """Raise SchemeError where this machine has no package for a URL's scheme."""
    protocol = url.partition("://")[0]
    if protocol in S3_PROTOCOLS:
        return
    try:
        fsspec.get_filesystem_class(protocol)
    except (ImportError, ValueError) as error:
        known = "a folder, file://, s3:// and http(s):// always work, others need fsspec's package for them"
        raise SchemeError(redact(f"cannot open {url}: {error}; {known}")) from error


class RemoteFolder:
    """Objects below one URL, by relative name with forward slashes."""

    def __init__(self, url: str, patience: Patience) -> None:
        self.url = url
        self.protocol, _, rest = url.partition("://")
        self.patience = patience
        self._host = rest.partition("/")[0] if self.protocol in HOST_PROTOCOLS else ""

    @property
    def system(self) -> Any:  # noqa: ANN401  (fsspec has no types)
        """The fsspec file system of this process, built when first asked for."""
        key = self._key()
        with _lock:
            if key not in _systems:
                _systems[key] = self._build()
            return _systems[key]

    def target(self, name: str) -> str:
        """Return the URL of ``name``."""
        return f"{self.url}/{name}" if name else self.url

    def info(self, name: str) -> Object:
        """Return an object's length and entity tag.

        Raises:
            StoreError: it is not there, or the store fails.
        """
        with self._as_store_error("stat", name):
            found = self.system.info(self.target(name))
            if found["type"] != "file":
                raise FileNotFoundError(name)
            if found.get("size") is None:
                raise TransferError("its store states no length")
        return Object(int(found["size"]), found.get("ETag") or None)

    def names(self, prefix: str, *, deep: bool = True) -> list[str]:
        """Return the names below the URL that start with ``prefix``, sorted; not ``deep``: of one folder only."""
        top = self.target(prefix.rpartition("/")[0]).rstrip("/")
        with self._as_store_error("list", prefix):
            found = self.system.find(top, maxdepth=None if deep else 1)
            root = self.system._strip_protocol(self.url).rstrip("/") + "/"  # noqa: SLF001  (fsspec has no public name)
        names = (path.removeprefix(root) for path in found if path.startswith(root))
        return sorted(name for name in names if name.startswith(prefix))

    def fetch(self, name: str, etag: str | None, transfer: Transfer) -> None:
        """Hand byte ranges of an object to ``transfer.write`` in pieces, several ranges at a time.

        Raises:
            StoreError: the object has another entity tag, a range ended early, or the store failed after all attempts.
        """
        with self._as_store_error("read", name):
            if self.protocol in S3_PROTOCOLS:
                download_parts(self.system, self.target(name), etag, transfer, self.patience)
            else:
                self._fetch_plain(name, transfer)

    def put(self, name: str, data: bytes) -> None:
        """Store ``data`` under a name by one completed upload."""
        with self._as_store_error("write", name):
            self.system.pipe_file(self.target(name), data)

    def put_file(self, name: str, source: Path) -> None:
        """Store a local file under a name by one completed upload; a big one goes in parts of bounded memory."""
        with self._as_store_error("write", name):
            if self.protocol in S3_PROTOCOLS:
                upload_file(self.system, source, self.target(name))
            else:
                self.system.put_file(str(source), self.target(name))

    def create(self, name: str, data: bytes) -> bool:
        """Store ``data`` under a free name; tell whether it was free."""
        with self._as_store_error("write", name):
            if self.protocol in S3_PROTOCOLS:
                return create_object(self.system, self.target(name), data)
            try:
                self.system.pipe_file(self.target(name), data, mode="create")
            except FileExistsError:
                return False
        return True

    def move(self, name: str, to: str) -> None:
        """Copy an object to another name within the store, then remove it."""
        with self._as_store_error("move", name):
            self.system.cp_file(self.target(name), self.target(to))
            self.system.rm_file(self.target(name))

    def delete(self, name: str) -> None:
        """Remove an object."""
        with self._as_store_error("delete", name):
            self.system.rm_file(self.target(name))

    def _key(self) -> tuple[object, ...]:
        return os.getpid(), self.protocol, self._host, self.patience, environment()

    def _build(self) -> Any:  # noqa: ANN401  (fsspec has no types)
        if self.protocol in S3_PROTOCOLS:
            return connect(self.patience)
        require_package(self.url)
        try:
            return url_to_fs(self.url, skip_instance_cache=True, use_listings_cache=False)[0]
        except (ImportError, TypeError, ValueError) as error:  # TypeError: it wants to be told more than a URL holds
            raise SchemeError(redact(f"cannot open {self.url}: {error}")) from error

    def _fetch_plain(self, name: str, transfer: Transfer) -> None:
        system, path = self.system, self.target(name)

        def fetch_one(part: range) -> None:
            data = system.cat_file(path, start=part.start, end=part.stop)
            if len(data) != len(part):
                raise TransferError(f"bytes {part.start} to {part.stop} were asked for, {len(data)} came")
            transfer.write(part.start, data)

        streams = 1 if self._host else transfer.streams
        with ThreadPoolExecutor(max_workers=streams) as pool:
            list(pool.map(fetch_one, transfer.ranges))

    @contextmanager
    def _as_store_error(self, action: str, name: str) -> Iterator[None]:
        try:
            with _one_at_a_time(self.protocol, self._host):
                yield
        except _foreign_errors() as error:
            if self._host and not isinstance(error, FileNotFoundError):  # its connection may be of no more use
                _systems.pop(self._key(), None)
            refused = self.protocol in S3_PROTOCOLS and is_refused(self.system, self.url, error)
            # Not chained: the cause's own text may hold what must not be shown.
            raise store_error(action, self.target(name), error, outage=self._is_out(error), refused=refused) from None

    def _is_out(self, error: BaseException) -> bool:
        """Tell whether the whole store fails us, not this object."""
        return is_outage(error)


class RemoteFile(io.RawIOBase):
    """A seekable reader of one object by ranges; wrap it in ``io.BufferedReader``."""

    def __init__(self, read_range: Callable[[int, int], bytes], size: int) -> None:
        super().__init__()
        self._read_range = read_range
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be sought in."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a byte offset from the start, the position or the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to byte {base + offset}, which is before the start")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401  (a writable buffer has no type in Python 3.11)
        """Fill ``buffer`` from the position on and return how many bytes it took."""
        view = memoryview(buffer).cast("B")
        stop = min(self._position + len(view), self._size)
        if stop <= self._position:
            return 0
        data = self._read_range(self._position, stop)
        view[: len(data)] = data
        self._position = stop
        return len(data)
