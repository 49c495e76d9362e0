"""Local copies of remote files under a byte budget, shared by the processes of a machine."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shards.following_hash import FollowingHash
from shards.manifest import FileEntry
from shards.store import Store, StoreError

_OURS: Final = re.compile(r"vidloom-[0-9a-f]{64}\.(data|part)")
_GATE: Final = "vidloom-cache.lock"
_HASH_ATTEMPTS: Final = 2
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0


class CacheFullError(RuntimeError):
    """The cache's budget cannot hold the file beside those that are in use."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """A file of the cache: where it is, its length in bytes, when it was last used (nanoseconds)."""

    path: Path
    size: int
    used: int


class ShardCache:
    """Copies of files of remote stores in one local folder, which any number of processes may share.

    Copies are named by their content's hash. A copy in use is pinned by a shared lock on it, which dies with its
    process; a copy on its way has an exclusive lock and its final length from the start, so that the lengths of all
    files always add up to at most the budget. Only files whose names this class gives are ever counted or removed. The
    hash is worked out while the bytes arrive.

    Args:
        folder: the local folder, which is made.
        budget_bytes: how many bytes the copies may take together.
        wait_seconds: how long to wait for other users to let go of copies when nothing can be evicted.

    Raises:
        ValueError: the budget is not positive.
    """

    def __init__(self, folder: Path, budget_bytes: int, *, wait_seconds: float = 60.0) -> None:
        if budget_bytes <= 0:
            raise ValueError(f"a cache budget of {budget_bytes} bytes holds nothing; give a positive number of bytes")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.budget_bytes = budget_bytes
        self.wait_seconds = wait_seconds

    @contextmanager
    def hold(self, store: Store, name: str, expect: FileEntry) -> Iterator[Path]:
        """Give the path of a local copy, which stays while the block runs.

        The file is fetched where no copy exists yet, once for all processes, and its length and hash are checked.

        Args:
            store: where the file comes from.
            name: its name there.
            expect: the length and hash that it has by the manifest.

        Raises:
            CacheFullError: the file does not fit into the budget, beside what is in use.
            StoreError: the file cannot be fetched, or is not the expected one.
        """
        data = self.folder / f"vidloom-{expect.sha256}.data"
        while (pin := _pin(data, expect.bytes)) is None:
            self._fetch(store, name, expect, data)
        try:
            os.utime(pin)
            yield data
        finally:
            _release(pin)

    def used_bytes(self) -> int:
        """Return how many bytes all copies take, those on their way included."""
        with self._gate():
            return sum(stored.size for stored in self._stored())

    def _fetch(self, store: Store, name: str, expect: FileEntry, data: Path) -> None:
        """Make the copy, or wait until the process that is making it is done."""
        part = data.with_suffix(".part")
        lock = self._reserve(part, data, expect.bytes, f"{store.url}/{name}")
        if lock is None:
            return
        try:
            _download(store, name, part, expect)
            os.fsync(lock)
            with self._gate():  # a listing beside it could see the file under both names, or under none
                part.replace(data)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        finally:
            _release(lock)

    def _reserve(self, part: Path, data: Path, size: int, url: str) -> int | None:
        """Take the right to make a copy: its file, locked and of its full length. None: look again for the copy."""
        if size > self.budget_bytes:
            raise CacheFullError(self._full(url, size, self.budget_bytes - self.used_bytes()))
        deadline = time.monotonic() + self.wait_seconds
        pause = _FIRST_PAUSE
        while True:
            with ExitStack() as stack:
                lock = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                stack.callback(_release, lock)
                free = self._claim(lock, part, data, size)
                if free is None:
                    fcntl.flock(lock, fcntl.LOCK_SH)  # until the process that makes the copy is done or dead
                    return None
                if free >= size:
                    stack.pop_all()
                    return lock
            if time.monotonic() >= deadline:
                raise CacheFullError(self._full(url, size, free))
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _claim(self, lock: int, part: Path, data: Path, size: int) -> int | None:
        """Lock a part and make room for it. Return the free bytes, or None where the copy is or will be there."""
        with self._gate():
            if not (_try_lock(lock) and _is_at(lock, part)):
                return None
            if _is_whole(data, size):
                part.unlink()
                return None
            free = self._make_room(size, keep=part)
            if free >= size:
                os.ftruncate(lock, size)
            else:
                part.unlink()
            return free

    def _make_room(self, need: int, *, keep: Path) -> int:
        """Remove leftovers, then the copies unused for longest, until ``need`` bytes are free; return what is free."""
        stored = [item for item in self._stored() if item.path != keep]
        free = self.budget_bytes - sum(item.size for item in stored)
        stored.sort(key=lambda item: (item.path.suffix == ".data", item.used))
        for item in stored:
            leftover = item.path.suffix == ".part"
            if (leftover or free < need) and _remove_unused(item.path):
                free += item.size
        return free

    def _stored(self) -> list[_Stored]:
        found: list[_Stored] = []
        for entry in os.scandir(self.folder):
            if _OURS.fullmatch(entry.name):
                with suppress(FileNotFoundError):
                    stat = entry.stat(follow_symlinks=False)
                    found.append(_Stored(Path(entry.path), stat.st_size, stat.st_mtime_ns))
        return found

    @contextmanager
    def _gate(self) -> Iterator[None]:
        """Let one process at a time count, evict and name."""
        handle = os.open(self.folder / _GATE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            _release(handle)

    def _full(self, url: str, need: int, room: int) -> str:
        return (
            f"cannot cache {url} in {self.folder}: it needs {need} bytes, the budget is {self.budget_bytes} bytes and "
            f"{self.budget_bytes - room} of them are in use; give a larger budget or read fewer shards at a time"
        )


def _download(store: Store, name: str, part: Path, expect: FileEntry) -> None:
    """Fetch a file and check it; one that arrives with wrong bytes is fetched once more."""
    found = ""
    for _ in range(_HASH_ATTEMPTS):
        with FollowingHash(part) as follower:
            store.download(name, part, size=expect.bytes, wrote=follower.wrote)
            found = follower.hexdigest()
        if found == expect.sha256:
            return
    raise StoreError(
        f"{store.url}/{name} has the hash {found}, the manifest says {expect.sha256}: it is damaged or was replaced; "
        "'vidloom verify' checks the whole dataset",
    )


def _pin(path: Path, size: int) -> int | None:
    """Lock a copy against removal and return the handle that holds the lock; None where there is no whole copy."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    fcntl.flock(handle, fcntl.LOCK_SH)
    if _is_at(handle, path) and os.fstat(handle).st_size == size:
        return handle
    _release(handle)
    return None


def _is_whole(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_unused(path: Path) -> bool:
    """Remove a file that nobody has locked."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if not (_try_lock(handle) and _is_at(handle, path)):
            return False
        path.unlink()
        return True
    finally:
        _release(handle)


def _is_at(handle: int, path: Path) -> bool:
    """Tell whether an open file still is the one at ``path``."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _release(handle: int) -> None:
    """Unlock and close; the unlocking reaches a forked child's copy of the handle too."""
    fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)
