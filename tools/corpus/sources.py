"""Where a row's video lies, and its bytes: names that lead out of the root are refused before anything is opened."""

from __future__ import annotations

import contextlib
import os
import posixpath
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from shards.errors import concerns_all_files, without_signature
from shards.ledger import Reason
from shards.store import NotFoundError, Store, StoreError, open_store, split_url
from tools.corpus.tables import Fault

_MEMORY_BYTES: Final = 64 * 1024 * 1024
"""Remote videos up to this size are held in memory, larger ones in the scratch folder."""


class SourceError(ValueError):
    """A row's video cannot be had; ``fault`` is what its ledger row says. Neither holds credentials of a URL."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(without_signature(message))
        self.fault = Fault(reason, str(self))


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


@dataclass(frozen=True)
class Sources:
    """The videos below one root, a folder or a URL; those elsewhere only where ``allow_outside`` says so."""

    root: Store
    allow_outside: bool = False

    @classmethod
    def below(cls, root: str, *, allow_outside: bool) -> Sources:
        """Return the sources below a folder or URL, links in its own path followed.

        Raises:
            ValueError: a local root is no folder.
        """
        store = open_store(root)
        if store.is_local and not Path(store.url).is_dir():
            raise ValueError(f"--root {root} is no folder; give the folder or URL that the table's paths start from")
        return cls(open_store(os.path.realpath(store.url)) if store.is_local else store, allow_outside)

    def find(self, video: str) -> Place:
        """Return the place of the video that a row names, by a path relative to the root, a full path or a URL.

        Raises:
            SourceError: it lies outside the root, is not there, or cannot be read.
            OSError: nothing is known of it: its store is out of reach, or this machine has no room left.
        """
        if "\0" in video:
            raise SourceError(Reason.NOT_FOUND, f"{video!a} is no name of a file: it has a zero byte")
        scheme, separator, _ = video.partition("://")
        if separator and scheme == "file":
            video = unquote(urlsplit(video).path)
        if separator and scheme != "file":
            return self._find_url(video)
        if self.root.is_local or video.startswith("/"):
            return self._find_path(video)
        return self._find_url(f"{self.root.url}/{video}")

    @contextlib.contextmanager
    def reading(self, video: str, scratch: Path) -> Iterator[Path | bytes]:
        """Find a video and hold it while the block runs: its local path, or the bytes of a remote one.

        Raises:
            SourceError: it lies outside the root, is not there, or cannot be read.
            OSError: nothing is known of it: its store is out of reach, or this machine has no room left.
        """
        place = self.find(video)
        if place.path is not None:
            yield place.path
            return
        with contextlib.ExitStack() as stack:
            try:
                held = _fetch(place, scratch, stack)
            except NotFoundError as error:
                raise _not_found(video) from error
            except StoreError as error:
                raise self._unreadable(error) from error
            yield held

    def anonymous(self, message: str) -> str:
        """Return the message with the root's own place left out, so that ledgers do not depend on it."""
        return message.replace(self.root.url.rstrip("/") + "/", "") if len(self.root.url) > 1 else message

    def _unreadable(self, error: StoreError | ValueError) -> Exception:
        """Return what a failed look at a store means: the row's fault, or the error itself, which stops the run."""
        if isinstance(error, StoreError) and concerns_all_files(error):
            return error
        return SourceError(Reason.UNREADABLE, self.anonymous(str(error)))

    def _find_path(self, video: str) -> Place:
        root = self.root.url if self.root.is_local else None
        real = os.path.realpath(video if root is None else Path(root, video))
        if not self.allow_outside and (root is None or not Path(real).is_relative_to(root)):
            raise _outside(video)
        try:
            found = Path(real).stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _not_found(video) from error
        except OSError as error:
            if concerns_all_files(error):
                raise
            raise SourceError(Reason.UNREADABLE, f"{video} cannot be read: {error.strerror}") from error
        if not stat.S_ISREG(found.st_mode):
            what = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
            raise SourceError(Reason.UNREADABLE, f"{video} is {what}")
        parent, name = os.path.split(real)
        return Place(open_store(parent), name, found.st_size)

    def _find_url(self, video: str) -> Place:
        scheme, _, rest = video.partition("://")
        bucket, _, name = rest.partition("/")
        name = posixpath.normpath(name) if name else ""
        url = f"{scheme}://{bucket}/{name}"
        inside = url.startswith(self.root.url + "/")
        if name.startswith(("../", "/")) or name in {"", ".", ".."} or not (inside or self.allow_outside):
            raise _outside(video.removeprefix(self.root.url + "/"))
        try:
            store, name = _split(url, self.root) if inside else _open_parent(url)
            return Place(store, name, store.stat(name).size)
        except NotFoundError as error:
            raise _not_found(video.removeprefix(self.root.url + "/")) from error
        except (StoreError, ValueError) as error:
            raise self._unreadable(error) from error


def _split(url: str, root: Store) -> tuple[Store, str]:
    return root, url[len(root.url) + 1 :]


def _open_parent(url: str) -> tuple[Store, str]:
    parent, name = split_url(url)
    return open_store(parent), name


def _fetch(place: Place, scratch: Path, stack: contextlib.ExitStack) -> Path | bytes:
    if place.size <= _MEMORY_BYTES:
        return place.store.read(place.name)
    copy = scratch / f"source-{secrets.token_hex(8)}"
    stack.callback(copy.unlink, missing_ok=True)
    place.store.download(place.name, copy, size=place.size)
    return copy


def _not_found(video: str) -> SourceError:
    return SourceError(Reason.NOT_FOUND, f"there is no file {video}")


def _outside(video: str) -> SourceError:
    return SourceError(Reason.OUTSIDE_ROOT, f"{video} leads out of the root; --allow-outside takes such videos")
