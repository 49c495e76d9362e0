"""A run's own place to work: one run at a time in an output folder, and nothing left of runs that were killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from shards.layout import INTERNAL_DIR
from shards.lease import Lease, hold_lease
from shards.local import is_temporary
from shards.store import Store

_SCRATCH: Final = "scratch"
_PREFIX: Final = "vidloom-shard-"


@contextlib.contextmanager
def workspace(out: Store) -> Iterator[Path]:
    """Lend a scratch folder for one run: inside a local output, so that files move by name; else a temporary folder.

    Raises:
        ValueError: a local output cannot be written, or another run is writing to it.
        OSError: the temporary folder cannot be made.
    """
    with contextlib.ExitStack() as stack:
        if out.is_local:
            folder = out.local_path(INTERNAL_DIR)
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ValueError(
                    f"output {out.url} cannot be written: {error.strerror}; give another folder"
                ) from error
            if not _lock(folder, stack):
                raise ValueError(f"another run is writing to {out.url}; wait for it, or give another output")
            stack.callback(_sweep, Path(out.url))
            scratch = folder / _SCRATCH
        else:
            scratch = stack.enter_context(temporary_workspace()) / _SCRATCH
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        yield scratch


@contextlib.contextmanager
def temporary_workspace() -> Iterator[Path]:
    """Lend a temporary folder, and remove those that killed processes left.

    Raises:
        OSError: it cannot be made.
    """
    _sweep_temporary()
    with contextlib.ExitStack() as stack:
        yield _temporary_folder(stack)


def _temporary_folder(stack: contextlib.ExitStack) -> Path:
    """Make and lock a temporary folder that goes with the stack."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        with contextlib.suppress(FileNotFoundError):
            if _lock(folder, stack) and folder.exists():  # else another run swept it away before it was locked
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
                return folder


def _lock(folder: Path, stack: contextlib.ExitStack) -> bool:
    """Lock a folder for as long as the stack or the process lives; tell whether that went."""
    handle = os.open(folder, os.O_RDONLY)
    stack.callback(os.close, handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sweep(out: Path) -> None:
    """Remove half-written files that killed runs left; only the run that holds the lock may do so."""
    internal = out / INTERNAL_DIR
    for folder in (out, internal, *(path for path in internal.iterdir() if path.is_dir())):
        for path in folder.iterdir():
            if is_temporary(path.name):
                path.unlink(missing_ok=True)


def _sweep_temporary() -> None:
    """Remove the scratch folders of dead runs from the temporary folder."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            if folder.stat().st_uid == os.getuid() and _lock(folder, stack):
                shutil.rmtree(folder, ignore_errors=True)


def alone(out: Store) -> contextlib.AbstractContextManager[Lease | None]:
    """Keep other runs away from a bucket by a lease, for as long as the block runs; a folder's workspace is locked.

    Raises:
        LeaseTakenError: another run is at work there.
        StoreError: the store cannot be reached.
    """
    return contextlib.nullcontext() if out.is_local else hold_lease(out)
