"""Whose turn it is to speak to a host: so many connections at a time from all processes of this machine."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import random
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shards.errors import StoreOutageError

_PAUSE_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class HostTurns:
    """At most ``most`` holders of a turn for each host, among all processes that use the same ``folder``.

    A turn is a locked file, so that it ends with its process however that dies.
    """

    most: int
    folder: Path

    @classmethod
    def of_machine(cls, most: int) -> HostTurns:
        """Return the turns that all runs of this user on this machine share."""
        return cls(most, Path(tempfile.gettempdir(), f"vidloom-hosts-{os.getuid()}"))

    @contextlib.contextmanager
    def turn(self, host: str) -> Iterator[None]:
        """Wait for a turn, and hold it.

        Raises:
            StoreOutageError: the folder is another user's, so that no host can be spoken to.
            OSError: it cannot be used.
        """
        self.folder.mkdir(mode=0o700, exist_ok=True, parents=True)
        _require_ours(self.folder)
        name = hashlib.sha256(host.encode()).hexdigest()[:24]
        while (lock := self._take(name)) is None:
            time.sleep(random.uniform(_PAUSE_SECONDS / 2, _PAUSE_SECONDS))  # noqa: S311 - spreads attempts, guards nothing
        try:
            yield
        finally:
            lock.release()

    def _take(self, name: str) -> _Lock | None:
        for number in range(self.most):
            lock = _lock(self.folder / f"{name}-{number}")
            if lock is not None:
                return lock
        return None


@dataclass(frozen=True, slots=True)
class _Lock:
    path: Path
    handle: int

    def release(self) -> None:
        """Remove the file, then unlock it: whoever opened it meanwhile sees that it is gone."""
        self.path.unlink(missing_ok=True)
        os.close(self.handle)


def _require_ours(folder: Path) -> None:
    """Refuse a folder that another user has put there: what is opened in it might be anything."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise StoreOutageError(f"{folder} is not this user's folder; remove it, or set TMPDIR to another")


def _lock(path: Path) -> _Lock | None:
    """Return the lock of a file that is locked by no other, and still is the one at its path."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), path.stat()):
            return _Lock(path, handle)
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(handle)
    return None
