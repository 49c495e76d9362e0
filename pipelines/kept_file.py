"""Make a file once for all processes of a node: the first that asks makes it, the others wait and read."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shards.local import publish_file


def cache_folder(name: str, cache_dir: str | Path | None = None) -> Path:
    """Return the folder ``name`` of a loader's cache folder, or of ``vidloom`` in the user's where it has none."""
    if cache_dir is not None:
        return Path(cache_dir) / name
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "vidloom" / name


def is_writable(folder: Path) -> bool:
    """Tell whether files can be made in a folder, which is made where it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def kept_file(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return a file's bytes; where there is none, one process makes them and publishes the file whole.

    A process that dies on the way leaves nothing that the next one trips over.

    Raises:
        OSError: the folder cannot be written.
    """
    if path.is_file():
        return path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.with_suffix(".lock")):
        if path.is_file():
            return path.read_bytes()
        data = make()
        with publish_file(path) as file:
            file.write(data)
        return data


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Let one process at a time run the block; a lock dies with its process."""
    with lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
