"""A store in a local folder: files appear whole under their names, by temporary name, fsync and rename."""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from shards.errors import StoreError, store_error

_TEMPORARY_SUFFIX: Final = ".part"
_WRITERS: Final = 4
"""How many may write the same name at the same time; more wait."""

_FILE_SYSTEMS_OWN: Final = "lost+found"
"""A folder at the top of many disks, which only the system reads."""

_PAUSE: Final = 0.01
_COPY_BYTES: Final = 4 << 20


class LocalFolder:
    """Files below one folder, by relative name with forward slashes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        """Return where ``name`` lies."""
        return self.root / name

    def size(self, name: str) -> int:
        """Return a file's length in bytes.

        Raises:
            StoreError: it is not there, or no file.
        """
        with _as_store_error("stat", self.path(name)):
            if self.path(name).is_dir():
                raise IsADirectoryError(name)
            return self.path(name).stat().st_size

    def names(self, prefix: str, *, deep: bool = True) -> list[str]:
        """Return the names below the root that start with ``prefix``, sorted; half-written files are left out.

        Not ``deep``: only those in the folder that ``prefix`` names.
        """
        top = self.root / prefix.rpartition("/")[0]
        found: list[str] = []
        with _as_store_error("list", top):
            walk = os.walk(top, onerror=_unless_gone)
            for folder, _, files in walk if deep else itertools.islice(walk, 1):
                below = Path(folder).relative_to(self.root).as_posix()
                names = (file if below == "." else f"{below}/{file}" for file in files if not is_temporary(file))
                found += [name for name in names if name.startswith(prefix)]
        return sorted(found)

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Return the bytes ``start`` to ``stop`` (exclusive) of a file.

        Raises:
            StoreError: the file is not there or ends early.
        """
        with _as_store_error("read", self.path(name)), self.path(name).open("rb", buffering=0) as file:
            data = b"".join(_read_pieces(file.fileno(), start, stop))
        if len(data) != stop - start:
            found = f"bytes {start} to {stop} were asked for, {len(data)} of them are there"
            raise store_error("read", str(self.path(name)), found)
        return data

    def copy_to(self, name: str, to: Path) -> None:
        """Copy a file into the local path ``to``, writing in place: an existing file is not cut first."""
        with _as_store_error("read", self.path(name)), self.path(name).open("rb") as file, open_in_place(to) as copy:
            shutil.copyfileobj(file, copy, _COPY_BYTES)
            copy.truncate()

    def put(self, name: str, data: bytes) -> None:
        """Write ``data`` so that the name holds all of it or what it held before."""
        with self._published(name) as file:
            file.write(data)

    def put_file(self, name: str, source: Path, *, move: bool) -> None:
        """Publish a copy of ``source``, or ``source`` itself where it may move and lies on the same file system."""
        target = self.path(name)
        if move and self._moved(source, target):
            return
        with _as_store_error("read", source), source.open("rb") as reader, self._published(name) as file:
            shutil.copyfileobj(reader, file, _COPY_BYTES)
        if move:
            source.unlink()

    def create(self, name: str, data: bytes) -> bool:
        """Write ``data`` under a free name, whole; tell whether it was free."""
        target = self.path(name)
        with _as_store_error("write", target):
            target.parent.mkdir(parents=True, exist_ok=True)
            sweep(target)
            temporary, file = _create_locked(target)
            with file:
                try:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                    target.hardlink_to(temporary)
                except FileExistsError:
                    return False
                finally:
                    temporary.unlink(missing_ok=True)
            sync_folder(target.parent)
        return True

    def move(self, name: str, to: str) -> None:
        """Give a file another name."""
        source, target = self.path(name), self.path(to)
        with _as_store_error("write", target):
            source.stat()  # a missing source is told from a missing folder
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
            sync_folder(target.parent)
            sync_folder(source.parent)

    def delete(self, name: str) -> None:
        """Remove a file."""
        with _as_store_error("delete", self.path(name)):
            self.path(name).unlink()

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading."""
        with _as_store_error("open", self.path(name)):
            return self.path(name).open("rb")

    @contextmanager
    def _published(self, name: str) -> Iterator[BinaryIO]:
        target = self.path(name)
        with _as_store_error("write", target), publish_file(target) as file:
            yield file

    def _moved(self, source: Path, target: Path) -> bool:
        with _as_store_error("write", target):
            target.parent.mkdir(parents=True, exist_ok=True)
            if not _same_device(source, target.parent):
                return False
            with source.open("rb") as file:
                os.fsync(file.fileno())
            sweep(target)
            source.replace(target)
            sync_folder(target.parent)
        return True


@contextmanager
def publish_file(target: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that takes ``target``'s name when the block ends well, and goes when it does not.

    Temporary names follow from the target's, and the file is locked while it is written. So what a killed process left
    can be told from what another process is writing, and is removed whenever the same name is written again, without a
    look at the rest of the folder.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target)
    temporary, file = _create_locked(target)
    with file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)  # while it is locked: later the name may be another writer's
            raise
    sync_folder(target.parent)


def open_in_place(path: Path) -> BinaryIO:
    """Open a file for writing without cutting what it holds; it is made where it is absent."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666), "wb")


def is_temporary(name: str) -> bool:
    """Tell whether a file name is one that ``publish_file`` gives while writing."""
    return name.startswith(".") and name.endswith(_TEMPORARY_SUFFIX)


def sweep(target: Path) -> None:
    """Remove the temporary files of ``target`` whose writers are dead."""
    for leftover in _temporary_names(target):
        try:
            with leftover.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(file, leftover):
                    leftover.unlink()
        except (BlockingIOError, FileNotFoundError):
            continue


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _create_locked(target: Path) -> tuple[Path, BinaryIO]:
    """Make and lock the first temporary file of ``target`` that no other writer has, or wait until one is free."""
    for temporary in itertools.cycle(_temporary_names(target)):
        try:
            file = temporary.open("xb")
        except FileExistsError:
            if temporary.name.endswith(f".{_WRITERS - 1}{_TEMPORARY_SUFFIX}"):
                time.sleep(_PAUSE)  # as many writers of one name are at work as there may be
                sweep(target)
            continue
        fcntl.flock(file, fcntl.LOCK_EX)
        if _is_at(file, temporary):  # else another process swept it away before it was locked
            return temporary, file
        file.close()
    raise AssertionError("a cycle has no end")


def _temporary_names(target: Path) -> list[Path]:
    return [target.with_name(f".{target.name}.{number}{_TEMPORARY_SUFFIX}") for number in range(_WRITERS)]


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Tell whether an open file still is the one at ``path``."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _unless_gone(error: OSError) -> None:
    """Raise what keeps a folder from being listed; one that is not there has no files, nor has a file system's own."""
    is_gone = isinstance(error, FileNotFoundError | NotADirectoryError)
    if not is_gone and Path(error.filename or "").name != _FILE_SYSTEMS_OWN:
        raise error


def _same_device(a: Path, b: Path) -> bool:
    return a.stat().st_dev == b.stat().st_dev


def _read_pieces(handle: int, start: int, stop: int) -> Iterator[bytes]:
    while start < stop and (piece := os.pread(handle, stop - start, start)):
        start += len(piece)
        yield piece


@contextmanager
def _as_store_error(action: str, path: Path) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise store_error(action, str(path), error) from error
