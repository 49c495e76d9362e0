"""Checkpoints of a run: written beside the training, whole or not at all, checked when read, by any number of ranks."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.logging_handlers import DCP_LOGGER_NAME
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor

from shards.sealed_json import is_as_sealed
from shards.store import Store
from train.background import Background
from train.checkpoint_files import FOLDER, CheckpointFiles, DamagedCheckpointError, Keeping
from train.checkpoint_tensors import CheckedFiles, Stored, dtype_name
from train.parallel import PeerFailedError, Ranks
from train.sealed_storage import SealedReader, SealedWriter
from train.state import TrainState

__all__ = ["Checkpoint", "Checkpoints", "DamagedCheckpointError", "Found"]

_SHOWN: Final = 5
"""How many names a message lists."""

ALONE: Final = Ranks(0, 1, torch.device("cpu"))
"""The place of a process that reads checkpoints by itself."""

_log = logging.getLogger(__name__)
# torch logs each of its steps there, and failures as pages of text; what matters of those is raised.
logging.getLogger(f"c10d-NullHandler-{DCP_LOGGER_NAME}").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Found:
    """A whole checkpoint, none of whose tensors is in memory yet: its place for messages, its step and state.

    Attributes:
        source: where it is.
        step: its step.
        state: where the run stood.
        tensors: what it holds, by name.
        files: the files, checked.
    """

    source: str
    step: int
    state: TrainState
    tensors: Mapping[str, Stored]
    files: CheckedFiles

    def has(self, section: str) -> bool:
        """Tell whether it holds tensors named ``section/...``."""
        return any(name.startswith(f"{section}/") for name in self.tensors)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint holds, with its place for messages; tensors are whole and on the host."""

    source: str
    state: TrainState
    tensors: dict[str, Tensor]


class Checkpoints(AbstractContextManager["Checkpoints"]):
    """The checkpoints below ``out``: ``checkpoints/step-00000010/`` with safetensors files, lists and ``state.json``.

    One is whole once its ``state.json`` stands under its name, with the sizes and hashes of the other files in it. All
    ranks call the same methods in the same order, ``steps`` and ``read`` apart. They are written in the background; at
    the end of the ``with`` block what is being written is waited for.

    Args:
        store: the run's ``out``; with parts of tensors on several ranks, all of them reach the same files there.
        ranks: this process's place; what only reads needs none.
        keep: how many of the newest stay.
        keep_every: checkpoints of steps that this divides stay for ever.
    """

    def __init__(self, store: Store, ranks: Ranks = ALONE, *, keep: int = 1, keep_every: int | None = None) -> None:
        self.store = store
        self._files = CheckpointFiles(store)
        self._keeping = Keeping(keep, keep_every)
        self._ranks = ranks
        self._background = Background("checkpoint")
        self._copies: tempfile.TemporaryDirectory[str] | None = None
        # The background thread and the training must not wait for each other's exchanges.
        self._group = dist.new_group(backend="gloo") if ranks.world > 1 else None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for what is being written, unless the process shall end at once.

        Raises:
            StoreError, PeerFailedError: it could not be written; where something else has failed already, this is
                logged instead.
        """
        try:
            if kind is None or issubclass(kind, Exception):
                self.finish()
        except (OSError, ValueError, RuntimeError) as error:
            if kind is None:
                raise
            _log.warning("the last checkpoint was not written: %s", error)
        finally:
            self._forget_copies()
            if self._group is not None and not self._background.busy:
                dist.destroy_process_group(self._group)
                self._group = None

    def steps(self) -> list[int]:
        """Return the steps that whole checkpoints were taken at, ascending."""
        return self._files.steps()

    def save(self, state: TrainState, tensors: Mapping[str, Tensor]) -> None:
        """Write a checkpoint for the step of ``state``, then remove those that need not stay.

        It returns once the tensors are copied to the host; the writing goes on in the background. Of tensors that all
        ranks hold whole, the first rank's are written.

        Args:
            state: where the run stands; the same on all ranks.
            tensors: named ``section/name``, on any device, whole or cut over the ranks.

        Raises:
            StoreError, OSError: the checkpoint before could not be written; what was there before it is untouched.
            PeerFailedError: another rank could not write it.
        """
        self.finish()
        staged = {name: self._staged(value) for name, value in tensors.items()}
        writer = SealedWriter(self._files, state.step, state.to_json())
        self._background.start(lambda: self._write(state.step, staged, writer))

    def finish(self) -> None:
        """Wait until the last checkpoint is written.

        Raises:
            StoreError, OSError, PeerFailedError: it could not be.
        """
        self._background.finish()

    def newest(self) -> Found | None:
        """Find the newest checkpoint that is whole; damaged ones are named in the log and passed over.

        The ranks share the work of reading and hashing its files.

        Raises:
            DamagedCheckpointError: there are checkpoints, and none is whole.
            ValueError: it was written by a version with another format, or ranks see different checkpoints.
        """
        steps = self._agreed(self.steps())
        for step in reversed(steps):
            try:
                return self._whole(step)
            except DamagedCheckpointError as error:
                _log.warning("%s; going back to the one before", error)
        if steps:
            raise DamagedCheckpointError(f"no checkpoint under {self.store.url}/{FOLDER} is whole; choose another out")
        return None

    def load(self, found: Found, into: Mapping[str, Tensor]) -> None:
        """Read a checkpoint into tensors, in place, however they are cut and however those were that it was taken of.

        Sections that ``into`` has no name of are left out, aloud.

        Raises:
            ValueError: names, shapes or types do not fit; the message names them.
            DamagedCheckpointError: a file is not the one that was written.
        """
        try:
            self._fill(found, _fitting(found, into))
        finally:
            self._forget_copies()

    def read(self, step: int | None = None) -> Checkpoint:
        """Read the checkpoint of a step, or the newest that is whole; ``ranks`` is one, whatever the run had.

        Raises:
            DamagedCheckpointError: a file is absent, or its size or hash is not the one in ``state.json``.
            ValueError: there is none, or it was written by a version with another format.
        """
        try:
            found = self._only(step)
            for file in found.files.sealed:
                found.files.path(file)
            tensors = {name: torch.empty(each.shape, dtype=each.torch_dtype) for name, each in found.tensors.items()}
            self._fill(found, tensors)
            return Checkpoint(found.source, found.state, tensors)
        finally:
            self._forget_copies()

    def _staged(self, tensor: Tensor) -> Tensor:
        """Return a copy on the host of what this rank writes of a tensor; of what it does not write, the tensor."""
        if isinstance(tensor, DTensor) or self._ranks.first:
            return tensor.detach().to("cpu", copy=True)
        return tensor.detach()

    def _write(self, step: int, staged: Mapping[str, Tensor], writer: SealedWriter) -> None:
        """Write what was staged; runs in the background on all ranks."""
        planner = DefaultSavePlanner(
            flatten_state_dict=False, flatten_sharded_tensors=False, dedup_save_to_lowest_rank=True
        )
        try:
            with self._together("written"):
                save(
                    dict(staged),
                    storage_writer=writer,
                    planner=planner,
                    process_group=self._group,
                    no_dist=self._group is None,
                )
            if self._ranks.first:
                self._files.prune(step, self._keeping)
            _log.info("checkpoint of step %d written", step)
        finally:
            if self._ranks.first:
                self._files.abandon(step)

    def _only(self, step: int | None) -> Found:
        found = self.newest() if step is None else self._found(step)
        if found is None:
            raise ValueError(f"{self.store.url} holds no checkpoint")
        return found

    def _fill(self, found: Found, into: Mapping[str, Tensor]) -> None:
        with self._together("read"):
            load(
                dict(into),
                storage_reader=SealedReader(found.tensors, found.files),
                planner=DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False),
                process_group=self._group,
                no_dist=self._group is None,
            )

    @contextmanager
    def _together(self, done: str) -> Iterator[None]:
        """Take torch's errors apart: this rank's own is raised as it is, and that of another rank as such."""
        # A run of one rank is no mistake.
        warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
        try:
            with self._ranks.exchanging():
                yield
        except CheckpointException as error:
            failures = {rank: cause for rank, (cause, _) in error.failures.items()}
            own = failures.get(self._ranks.rank)
            if own is not None:
                raise own from None
            rank, cause = next(iter(failures.items()))
            raise PeerFailedError(f"a checkpoint cannot be {done}, says rank {rank}: {cause}") from None

    def _agreed(self, steps: list[int]) -> list[int]:
        newest = steps[-1] if steps else -1
        if self._ranks.worst(newest) != -self._ranks.worst(-newest):
            raise ValueError(
                f"rank {self._ranks.rank} sees checkpoints up to step {newest} under {self.store.url}, others see other"
                " ones; give an out that all machines share, or an s3:// URL"
            )
        return steps

    def _found(self, step: int) -> Found:
        """Read what a checkpoint says of itself."""
        source = self._files.shown(step)
        sealed = self._files.state(step)
        state = TrainState.from_json(sealed, source=f"{source}/state.json")
        if not is_as_sealed(sealed) or state.step != step:
            raise DamagedCheckpointError(f"{source}/state.json is damaged: it does not say what was written")
        if self._copies is None and not self.store.is_local:
            self._copies = tempfile.TemporaryDirectory()
        copies = Path(self._copies.name) if self._copies is not None else None
        files = CheckedFiles(self._files, step, sealed.get("files", {}), copies)
        return Found(source, step, state, files.stored(), files)

    def _whole(self, step: int) -> Found:
        """Check this rank's share of a checkpoint's files, and hear of the others'."""
        found, problem = None, None
        try:
            found = self._found(step)
            for file in sorted(found.files.sealed)[self._ranks.rank :: self._ranks.world]:
                found.files.path(file)
        except DamagedCheckpointError as error:
            problem = error
        if self._ranks.worst(int(problem is not None)):
            raise problem or DamagedCheckpointError(f"{self._files.shown(step)} is damaged, as another rank says")
        assert found is not None
        found.files.trust()
        return found

    def _forget_copies(self) -> None:
        if self._copies is not None:
            self._copies.cleanup()
            self._copies = None


def _fitting(found: Found, into: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``into`` if a checkpoint can be read into it."""
    sections = {_section(name) for name in into}
    spare = sorted({_section(name) for name in found.tensors} - sections)
    if spare:
        _log.warning("%s holds %s, which this run has no use for", found.source, ", ".join(spare))
    stored = {name: each for name, each in found.tensors.items() if _section(name) in sections}
    wrong = [f"{name} is not in the checkpoint" for name in sorted(into.keys() - stored.keys())]
    wrong += [f"{name} is not in this run" for name in sorted(stored.keys() - into.keys())]
    for name in sorted(stored.keys() & into.keys()):
        there, here = stored[name], into[name]
        if (there.shape, there.dtype) != (tuple(here.shape), dtype_name(here.dtype)):
            own = f"{dtype_name(here.dtype)} {list(here.shape)}"
            wrong.append(f"{name} is {there.dtype} {list(there.shape)} there and {own} here")
    if wrong:
        raise ValueError(
            f"{found.source} does not fit this run in {len(wrong)} tensors: {'; '.join(wrong[:_SHOWN])}. Give the"
            " settings that it was taken with, or another out"
        )
    return dict(into)


def _section(name: str) -> str:
    return name.partition("/")[0]
