"""Checkpoints of a run: written whole or not at all, checked when they are read, the newest few kept."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from shards.store import Store
from train.state import TrainState

_FOLDER: Final = "checkpoints"
_STATE: Final = "state.json"
_STEP: Final = re.compile(rf"{_FOLDER}/step-(\d+)/{re.escape(_STATE)}")
_SCRATCH: Final = ".writing-"

_log = logging.getLogger(__name__)


class DamagedCheckpointError(ValueError):
    """A checkpoint's files are not those that were written."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint holds, with its place for messages; tensors are on the host."""

    source: str
    state: TrainState
    model: dict[str, Tensor]
    optim: dict[str, Tensor]


class Checkpoints:
    """The checkpoints below ``out``: ``checkpoints/step-00000010/{model,optim}.safetensors`` and ``state.json``.

    One is whole once its ``state.json`` stands under its name, with the sizes and hashes of the other files in it. In a
    folder a checkpoint appears by one rename; in an object store ``state.json`` is uploaded last.

    Args:
        store: the run's ``out``.
        keep: how many of the newest stay.
    """

    def __init__(self, store: Store, keep: int) -> None:
        self.store = store
        self._keep = keep

    def steps(self) -> list[int]:
        """Return the steps that whole checkpoints were taken at, ascending."""
        found = (_STEP.fullmatch(name) for name in self.store.list(f"{_FOLDER}/"))
        return sorted(int(match[1]) for match in found if match)

    def save(self, state: TrainState, model: Mapping[str, Tensor], optim: Mapping[str, Tensor]) -> None:
        """Write a checkpoint for the step of ``state``, then remove all but the newest ``keep`` up to it.

        Raises:
            StoreError, OSError: it could not be written; what was there before is untouched.
        """
        with self._scratch() as scratch:
            files = {"model.safetensors": model, "optim.safetensors": optim}
            for name, tensors in files.items():
                save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, scratch / name)
            sealed = state.to_json() | {"files": {name: _seal(scratch / name) for name in files}}
            (scratch / _STATE).write_text(json.dumps(sealed, indent=1, allow_nan=False) + "\n", encoding="utf-8")
            self._publish(scratch, _name(state.step), [*files, _STATE])
        # A later step can only be a damaged one that the run went back from.
        steps = self.steps()
        kept = [step for step in steps if step <= state.step][-self._keep :]
        for step in steps:
            if step not in kept:
                self._remove(_name(step))

    def newest(self) -> Checkpoint | None:
        """Read the newest checkpoint that is whole; damaged ones are named in the log and passed over.

        Raises:
            DamagedCheckpointError: there are checkpoints, and none is whole.
            ValueError: it was written by a version with another format.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return self.read(step)
            except DamagedCheckpointError as error:
                _log.warning("%s; going back to the one before", error)
        if steps:
            raise DamagedCheckpointError(f"no checkpoint under {self.store.url}/{_FOLDER} is whole; choose another out")
        return None

    def read(self, step: int) -> Checkpoint:
        """Read the checkpoint of a step.

        Raises:
            DamagedCheckpointError: a file is absent, or its size or hash is not the one in ``state.json``.
            ValueError: it was written by a version with another format.
        """
        source = f"{self.store.url}/{_name(step)}"
        try:
            sealed = json.loads(self.store.read(f"{_name(step)}/{_STATE}"))
        except ValueError as error:
            raise DamagedCheckpointError(f"{source}/{_STATE} is no JSON: {error}") from None
        state = TrainState.from_json(sealed, source=f"{source}/{_STATE}")
        with tempfile.TemporaryDirectory() as scratch:
            tensors = {
                name: self._tensors(f"{_name(step)}/{name}", seal, Path(scratch) / name)
                for name, seal in sealed.get("files", {}).items()
            }
        try:
            return Checkpoint(source, state, tensors["model.safetensors"], tensors["optim.safetensors"])
        except KeyError as error:
            raise DamagedCheckpointError(f"{source}/{_STATE} does not list {error}") from None

    def _tensors(self, name: str, seal: Mapping[str, Any], copy: Path) -> dict[str, Tensor]:
        """Return the tensors of a file once its size and hash are the sealed ones."""
        shown = f"{self.store.url}/{name}"
        if not self.store.exists(name):
            raise DamagedCheckpointError(f"{shown} is absent")
        if not self.store.is_local:
            self.store.download(name, copy)
        path = self.store.local_path(name) if self.store.is_local else copy
        found = _seal(path)
        if found != seal:
            raise DamagedCheckpointError(f"{shown} is damaged: {found} was read, {dict(seal)} was written")
        try:
            return load_file(path)
        except SafetensorError as error:
            raise DamagedCheckpointError(f"{shown} is no safetensors file: {error}") from None

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """Yield an empty folder to build a checkpoint in: beside its place where that is local, for one rename."""
        parent = None
        if self.store.is_local:
            parent = self.store.local_path(_FOLDER)
            parent.mkdir(parents=True, exist_ok=True)
            for left_behind in parent.glob(f"{_SCRATCH}*"):
                shutil.rmtree(left_behind)
        scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=parent))
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _publish(self, scratch: Path, name: str, files: list[str]) -> None:
        if not self.store.is_local:
            for file in files:
                self.store.put_file(f"{name}/{file}", scratch / file)
            return
        for file in files:
            _sync(scratch / file)
        scratch.chmod(0o755)  # a scratch folder is private, a checkpoint is as open as its neighbours
        _sync(scratch)
        place = self.store.local_path(name)
        if place.exists():
            self._remove(name)
        scratch.rename(place)
        _sync(place.parent)

    def _remove(self, name: str) -> None:
        """Remove a checkpoint, its ``state.json`` first, so that a half-removed one never looks whole."""
        if self.store.exists(f"{name}/{_STATE}"):
            self.store.delete(f"{name}/{_STATE}")
        for file in self.store.list(f"{name}/"):
            self.store.delete(file)
        if self.store.is_local:
            shutil.rmtree(self.store.local_path(name), ignore_errors=True)


def _name(step: int) -> str:
    return f"{_FOLDER}/step-{step:08d}"


def _seal(path: Path) -> dict[str, Any]:
    """Return a file's size in bytes and its hash."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
