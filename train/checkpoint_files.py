"""The files of checkpoints: named, sealed by size and hash, published whole, the newest few kept."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shards.store import NotFoundError, Store, StoreError

FOLDER: Final = "checkpoints"
STATE: Final = "state.json"
TENSORS: Final = "tensors.json"
LATEST: Final = f"{FOLDER}/latest"
"""Names the newest checkpoint's folder; it is written after that is whole, and before older ones go."""

_STEP: Final = re.compile(rf"{FOLDER}/step-(\d+)/{re.escape(STATE)}")
_SCRATCH: Final = ".writing-"

Sealed = Mapping[str, Mapping[str, Any]]
"""Name of each file in a checkpoint, with its size in bytes and its hash."""


class DamagedCheckpointError(ValueError):
    """A checkpoint's files are not those that were written."""


def folder_of(step: int) -> str:
    """Return the name of a step's checkpoint in the run's store."""
    return f"{FOLDER}/step-{step:08d}"


def seal(path: Path) -> dict[str, Any]:
    """Return a file's size in bytes and its hash."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def seal_bytes(data: bytes) -> dict[str, Any]:
    """Return what ``seal`` says of a file that holds ``data``."""
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@dataclass(frozen=True, slots=True)
class Keeping:
    """Which checkpoints stay: the newest ``newest``, and for ever those of steps that ``every`` divides."""

    newest: int
    every: int | None = None

    def keeps(self, steps: Sequence[int], last: int) -> set[int]:
        """Return which of ``steps`` stay once ``last`` is written; later ones are damaged and were gone back from."""
        past = sorted(step for step in steps if step <= last)
        return {*past[-self.newest :], *(step for step in past if self.every and step % self.every == 0)}


@dataclass(frozen=True)
class CheckpointFiles:
    """The checkpoints in a run's store, as files.

    In a folder a checkpoint appears by one rename; in an object store its ``state.json`` is uploaded last. Without that
    file there is no checkpoint.
    """

    store: Store

    def steps(self) -> list[int]:
        """Return the steps that whole checkpoints were taken at, ascending."""
        found = (_STEP.fullmatch(name) for name in self.store.list(f"{FOLDER}/"))
        return sorted(int(match[1]) for match in found if match)

    def shown(self, step: int, file: str = "") -> str:
        """Return what messages call a checkpoint, or a file of it."""
        return f"{self.store.url}/{folder_of(step)}" + (f"/{file}" if file else "")

    def state(self, step: int) -> dict[str, Any]:
        """Return what a checkpoint's ``state.json`` says.

        Raises:
            DamagedCheckpointError: it is absent or no JSON object.
        """
        try:
            plain = json.loads(self.store.read(f"{folder_of(step)}/{STATE}"))
        except NotFoundError:
            raise DamagedCheckpointError(f"{self.shown(step, STATE)} is absent") from None
        except ValueError as error:
            raise DamagedCheckpointError(f"{self.shown(step, STATE)} is no JSON: {error}") from None
        if not isinstance(plain, dict):
            raise DamagedCheckpointError(f"{self.shown(step, STATE)} holds no object")
        return plain

    def fetch(self, step: int, file: str, sealed: Sealed, copies: Path | None) -> Path:
        """Return the local path of a checkpoint's file, copied into ``copies`` unless the store is local.

        Raises:
            DamagedCheckpointError: ``state.json`` does not list it, it is absent, or it is not the file that was
                written.
        """
        if file not in sealed:
            raise DamagedCheckpointError(f"{self.shown(step, STATE)} does not list '{file}'")
        name = f"{folder_of(step)}/{file}"
        path = self.store.local_path(name) if copies is None else copies / str(step) / file
        try:
            if copies is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                self.store.download(name, path)
            found = seal(path)
        except (FileNotFoundError, NotFoundError):
            raise DamagedCheckpointError(f"{self.shown(step, file)} is absent") from None
        if found != sealed[file]:
            written = dict(sealed[file])
            raise DamagedCheckpointError(
                f"{self.shown(step, file)} is damaged: {found} was read, {written} was written"
            )
        return path

    def scratch(self, step: int) -> Path:
        """Return where the files of a checkpoint are written before it appears: beside its place."""
        return self.store.local_path(f"{FOLDER}/{_SCRATCH}{step:08d}")

    def clear(self, step: int) -> None:
        """Make room to write a step's checkpoint: what a killed run left behind goes."""
        if not self.store.is_local:
            self.remove(step)
            return
        for left_behind in self.store.local_path(FOLDER).glob(f"{_SCRATCH}*"):
            shutil.rmtree(left_behind)
        self.scratch(step).mkdir(parents=True)

    def publish(self, step: int, sealed: Mapping[str, Any], own: Mapping[str, bytes]) -> None:
        """Let a checkpoint appear whose tensors are written.

        Args:
            step: its step.
            sealed: the sizes and hashes of those files, by name.
            own: the remaining files, ``state.json`` last.

        Raises:
            StoreError: a file that a rank has written is not where this one looks for it.
        """
        if self.store.is_local:
            self._require(step, sealed)
            for file, data in own.items():
                _write(self.scratch(step) / file, data)
            _sync(self.scratch(step))
            self.remove(step)
            self.scratch(step).rename(self.store.local_path(folder_of(step)))
            _sync(self.store.local_path(FOLDER))
        else:
            for file, data in own.items():
                self.store.put(f"{folder_of(step)}/{file}", data)
        self.store.put(LATEST, f"{folder_of(step).rpartition('/')[2]}\n".encode())

    def abandon(self, step: int) -> None:
        """Let go of what was written of a checkpoint that did not appear; where it did, there is nothing."""
        if self.store.is_local:
            shutil.rmtree(self.scratch(step), ignore_errors=True)

    def remove(self, step: int) -> None:
        """Remove a checkpoint, its ``state.json`` first, so that a half-removed one never looks whole."""
        name = folder_of(step)
        files = self.store.list(f"{name}/")
        for file in sorted(files, key=lambda file: not file.endswith(f"/{STATE}")):
            self.store.delete(file)
        if self.store.is_local:
            shutil.rmtree(self.store.local_path(name), ignore_errors=True)

    def prune(self, last: int, keeping: Keeping) -> None:
        """Remove what need not stay once the checkpoint of step ``last`` is written."""
        steps = self.steps()
        for step in sorted({*steps} - keeping.keeps(steps, last)):
            self.remove(step)

    def _require(self, step: int, sealed: Mapping[str, Any]) -> None:
        for file, each in sealed.items():
            path = self.scratch(step) / file
            if not path.exists() or path.stat().st_size != each["bytes"]:
                raise StoreError(
                    f"cannot write {self.shown(step)}: {path} is not here, though a rank has written it; give an out"
                    " that all machines share, or an s3:// URL"
                )


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
