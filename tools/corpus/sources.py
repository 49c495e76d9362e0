"""Where a row's video lies, and its bytes: names that lead out of the root are refused before anything is opened."""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from shards.errors import StoreOutageError, concerns_all_files, without_signature
from shards.ledger import Reason
from shards.remote import HOST_PROTOCOLS, SchemeError
from shards.store import NotFoundError, Store, StoreError, open_store, split_url
from shards.web_address import WebAddress, is_web, join_name, parse_address
from shards.web_errors import WebError
from tools.corpus.fetching import Fetching, fetched, web_size
from tools.corpus.places import MemberPlace, Place, WebPlace
from tools.corpus.tables import Fault
from tools.corpus.tar_names import TarMember, find_member

__all__ = ["Fetching", "Place", "SourceError", "Sources"]

ENDINGS: Final = ("mp4", "webm", "mkv", "mov", "avi", "m4v", "flv", "ts", "3gp", "wmv")
"""Endings of files that are tried for ``.*``, in this order."""

_REFUSED: Final = frozenset({errno.EACCES, errno.EPERM})


class SourceError(ValueError):
    """A row's video cannot be had; ``fault`` is what its ledger row says. Neither holds credentials of a URL."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(without_signature(message))
        self.fault = Fault(reason, str(self))


@dataclass(frozen=True)
class Sources:
    """The videos below one root, a folder or a URL, and those on web servers.

    Those elsewhere, on this machine or where this user's credentials open doors, are taken only where ``allow_outside``
    says so. ``fetching`` is how videos are brought from elsewhere.
    """

    root: Store
    allow_outside: bool = False
    fetching: Fetching = field(default_factory=Fetching)

    @classmethod
    def below(cls, root: str, *, allow_outside: bool, fetching: Fetching | None = None) -> Sources:
        """Return the sources below a folder or URL, links in its own path followed.

        Raises:
            ValueError: a local root is no folder, or the package for a URL's scheme is not installed.
        """
        store = open_store(root)
        if store.is_local and not Path(store.url).is_dir():
            raise ValueError(f"--root {root} is no folder; give the folder or URL that the table's paths start from")
        store.require_package()
        store = open_store(os.path.realpath(store.url)) if store.is_local else store
        return cls(store, allow_outside, fetching or Fetching())

    def is_remote(self, video: str) -> bool:
        """Tell whether a row's video has to be fetched; nothing is asked for that."""
        scheme, separator, _ = video.partition("://")
        return scheme != "file" if separator else not self.root.is_local and not video.startswith("/")

    def is_web(self, video: str) -> bool:
        """Tell whether a row's video lies on a web server; nothing is asked for that."""
        return is_web(video) or ("://" not in video and is_web(self.root.url) and not video.startswith("/"))

    def find(self, video: str) -> Place:
        """Return the place of the video that a row names, by a path relative to the root, a full path or a URL.

        A name that ends with ``.*`` stands for the first of ``ENDINGS`` that is there.

        Raises:
            SourceError: it lies outside the root, is not there, or cannot be read.
            OSError: nothing is known of it: its store is out of reach, or this machine has no room left.
        """
        if "\0" in video:
            raise SourceError(Reason.NOT_FOUND, f"{video!a} is no name of a file: it has a zero byte")
        if (member := find_member(video)) is not None:
            return self._find_member(member)
        if video.endswith(".*") and not self.is_web(video):
            return self._find_any(video)
        scheme, separator, _ = video.partition("://")
        if (address := self._address(video)) is not None:
            return self._find_web(video, address)
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
        with contextlib.ExitStack() as stack:
            if find_member(video) is None and (address := self._address(video)) is not None:
                with self._as_source_error(video, address):
                    held = stack.enter_context(fetched(address, scratch, self.fetching))
            else:
                place = self.find(video)
                held = place.path or self._copy(place, video, scratch, stack)
            yield held

    def anonymous(self, message: str) -> str:
        """Return the message with the root's own place left out, so that ledgers do not depend on it."""
        return message.replace(self.root.url.rstrip("/") + "/", "") if len(self.root.url) > 1 else message

    def _unreadable(self, video: str, error: StoreError | ValueError) -> Exception:
        """Return what a failed look at a store means: the row's fault, or the error itself, which stops the run."""
        if isinstance(error, StoreError) and concerns_all_files(error):
            if not self._is_anothers(video):
                return error
            return SourceError(Reason.UNREACHABLE, self.anonymous(str(error)))
        reason = Reason.UNREADABLE
        if isinstance(error, SchemeError):
            reason = Reason.UNSUPPORTED
        elif isinstance(error, StoreError) and error.errno in _REFUSED:
            reason = Reason.FORBIDDEN
        return SourceError(reason, self.anonymous(str(error)))

    def _is_anothers(self, video: str) -> bool:
        """Tell whether a video lies on one host that is not the root's: its failure is no outage of our store."""
        scheme, separator, _ = video.partition("://")
        return bool(separator) and scheme in HOST_PROTOCOLS and not video.startswith(self.root.url + "/")

    def _copy(self, place: Place, video: str, scratch: Path, stack: contextlib.ExitStack) -> Path | bytes:
        """Return the bytes of a remote video, or the path of a copy that goes with the stack."""
        if place.size > self.fetching.max_bytes:
            message = f"{video} has {place.size} bytes; taken are at most {self.fetching.max_bytes}"
            raise SourceError(Reason.TOO_LARGE, message)
        try:
            if place.size <= self.fetching.memory_bytes:
                return place.read()
            copy = scratch / f"source-{secrets.token_hex(8)}"
            stack.callback(copy.unlink, missing_ok=True)
            place.download(copy)
        except NotFoundError as error:
            raise _not_found(video) from error
        except StoreError as error:
            raise self._unreadable(video, error) from error
        except WebError as error:
            raise SourceError(Reason(error.fault), f"{video} cannot be fetched: {error}") from error
        return copy

    def _address(self, video: str) -> WebAddress | None:
        """Return the web address of a video that has one.

        Raises:
            SourceError: it cannot be read, or leads out of a root on the web.
        """
        if "\0" in video:
            return None
        if "://" not in video:
            if not is_web(self.root.url) or video.startswith("/"):
                return None
            if _leads_out(unquote(video.partition("?")[0])):
                raise _outside(video)
            video = join_name(self.root.url, video)
        elif not is_web(video):
            return None
        try:
            return parse_address(video)
        except ValueError as error:
            raise SourceError(Reason.NOT_FOUND, f"{video} cannot be fetched: {error}") from error

    def _find_any(self, video: str) -> Place:
        for ending in ENDINGS:
            try:
                return self.find(f"{video[:-1]}{ending}")
            except SourceError as error:
                if error.fault.reason is not Reason.NOT_FOUND:
                    raise
        raise SourceError(Reason.NOT_FOUND, f"there is no file {video}, with none of {', '.join(ENDINGS)}")

    def _find_member(self, member: TarMember) -> Place:
        tar = self.find(member.tar)
        if member.offset + member.size > tar.size:
            raise SourceError(Reason.TRUNCATED, f"{member} runs past the end of its tar, which has {tar.size} bytes")
        if isinstance(tar, WebPlace):
            return replace(tar, size=member.size, offset=member.offset)
        return MemberPlace(tar.store, tar.name, member.size, member.offset)

    def _find_web(self, video: str, address: WebAddress) -> Place:
        with self._as_source_error(video, address):
            size = web_size(address, self.fetching)
        server = open_store(f"{address.scheme}://{address.authority}")
        return WebPlace(server, address.target, size, address, self.fetching)

    @contextlib.contextmanager
    def _as_source_error(self, video: str, address: WebAddress) -> Iterator[None]:
        """Turn the failure of a web server into the row's fault; only of the root's own host it may be more."""
        try:
            yield
        except WebError as error:
            is_own = is_web(self.root.url) and parse_address(self.root.url).origin == address.origin
            if error.fault == "unreachable" and is_own:
                raise StoreOutageError(f"cannot read {without_signature(address.url)}: {error}") from error
            raise SourceError(Reason(error.fault), f"{video} cannot be fetched: {error}") from error

    def _find_path(self, video: str) -> Place:
        root = self.root.url if self.root.is_local else None
        real = os.path.realpath(video if root is None else Path(root, video))
        if not self.allow_outside and (root is None or not Path(real).is_relative_to(root)):
            raise _outside(video, None if root is None else _link_out(Path(root), video))
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
        name = posixpath.normpath(name)
        url = f"{scheme}://{bucket}/{name}"
        inside = url.startswith(self.root.url + "/")
        if _leads_out(name) or not (inside or self.allow_outside):
            raise _outside(video.removeprefix(self.root.url + "/"))
        try:
            store, name = _split(url, self.root) if inside else _open_parent(url)
            return Place(store, name, store.stat(name).size)
        except NotFoundError as error:
            raise _not_found(video.removeprefix(self.root.url + "/")) from error
        except (StoreError, ValueError) as error:
            raise self._unreadable(video, error) from error


def _leads_out(name: str) -> bool:
    """Tell whether a name below a URL leads out of it, or is none."""
    name = posixpath.normpath(name)
    return name.startswith(("../", "/")) or name in {".", ".."}


def _split(url: str, root: Store) -> tuple[Store, str]:
    return root, url[len(root.url) + 1 :]


def _open_parent(url: str) -> tuple[Store, str]:
    parent, name = split_url(url)
    return open_store(parent), name


def _not_found(video: str) -> SourceError:
    return SourceError(Reason.NOT_FOUND, f"there is no file {video}")


def _link_out(root: Path, video: str) -> str | None:
    """Return the link, as a name below the root, by which a video's name leads out; None where the name does itself."""
    name = Path(os.path.normpath(Path(root, video)))
    if not name.is_relative_to(root):
        return None
    steps = [name, *name.parents]
    below = reversed(steps[: steps.index(root)])
    leaving = (step for step in below if not Path(os.path.realpath(step)).is_relative_to(root))
    link = next(leaving, None)  # there is none in linked/../a.mp4, of which only the whole name leads out
    return None if link is None else str(link.relative_to(root))


def _outside(video: str, link: str | None = None) -> SourceError:
    way = "leads out of the root"
    if link is not None:
        is_whole = link == os.path.normpath(video)
        way = "is a link that leads out of the root" if is_whole else f"{way} by the link {link}"
    return SourceError(Reason.OUTSIDE_ROOT, f"{video} {way}; --allow-outside takes such videos")
