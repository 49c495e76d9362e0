"""A store behind http:// or https://: files of a web server by name, read only, exact to the byte."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from shards.errors import TransferError, store_error
from shards.remote import Object, RemoteFolder
from shards.s3 import Patience, Transfer, Write
from shards.web_address import WebAddress, join_name, parse_address
from shards.web_client import Manners
from shards.web_errors import WebError, WebFault
from shards.web_ranges import WholeFilesError, describe, fetch_range
from shards.web_transfer import fetch

_OUT: Final[frozenset[WebFault]] = frozenset({"unreachable", "server_error", "too_slow", "broken_transfer"})
_NO_BOUND: Final = 1 << 62


class WebFolder(RemoteFolder):
    """Files below one URL of a web server; it can be read only."""

    def target(self, name: str) -> str:
        """Return the URL of ``name``; a query of the folder's URL goes with it."""
        return join_name(self.url, name) if name else self.url

    def info(self, name: str) -> Object:
        """Return a file's length and entity tag.

        Raises:
            StoreError: it is not there, the server fails, or states no length.
        """
        with self._as_store_error("stat", name), _not_found_alike():
            found = describe(self._address(name), _manners(self.patience))
            if found.size is None:
                raise TransferError("its server states no length")
        return Object(found.size, found.etag)

    def fetch(self, name: str, etag: str | None, transfer: Transfer) -> None:
        """Hand byte ranges of a file to ``transfer.write``; a server that sends whole files only is asked once.

        Raises:
            StoreError: the file changed, a range ended early, or the server failed after all attempts.
        """
        address, manners = self._address(name), _manners(self.patience)

        def fetch_one(part: range) -> None:
            transfer.write(part.start, fetch_range(address, part, etag, manners))

        with self._as_store_error("read", name), _not_found_alike():
            try:
                with ThreadPoolExecutor(max_workers=transfer.streams) as pool:
                    list(pool.map(fetch_one, transfer.ranges))
            except WholeFilesError:
                fetch(address, _Cutter(transfer.ranges, transfer.write), manners, etag=etag)

    def put(self, name: str, data: bytes) -> None:  # noqa: ARG002 - as the base class has it
        """Refuse to write."""
        self._refuse(name)

    def put_file(self, name: str, source: Path) -> None:  # noqa: ARG002 - as the base class has it
        """Refuse to write."""
        self._refuse(name)

    def delete(self, name: str) -> None:
        """Refuse to remove anything."""
        self._refuse(name)

    def _address(self, name: str) -> WebAddress:
        try:
            return parse_address(self.target(name))
        except ValueError as error:
            raise store_error("read", self.target(name), str(error)) from None

    def _refuse(self, name: str) -> NoReturn:
        raise store_error("write", self.target(name), "a web server is read only; give a folder or an s3:// URL")

    def _is_out(self, error: BaseException) -> bool:
        return isinstance(error, WebError) and error.fault in _OUT


@dataclass
class _Cutter:
    """A sink that hands on those bytes of a whole file that belong to the ranges asked for."""

    ranges: Sequence[range]
    take: Write
    at: int = 0

    def write(self, piece: bytes) -> None:
        for part in self.ranges:
            start, stop = max(part.start, self.at), min(part.stop, self.at + len(piece))
            if start < stop:
                self.take(start, piece[start - self.at : stop - self.at])
        self.at += len(piece)

    def restart(self) -> None:
        self.at = 0


@contextmanager
def _not_found_alike() -> Iterator[None]:
    """Let a file that is not there be known as such."""
    try:
        yield
    except WebError as error:
        if error.fault == "not_found":
            raise FileNotFoundError(str(error)) from None
        raise


def _manners(patience: Patience) -> Manners:
    return Manners(
        connect_seconds=patience.connect_seconds,
        silent_seconds=patience.read_seconds,
        attempts=patience.attempts,
        max_bytes=_NO_BOUND,
    )
