"""Where torch.distributed.checkpoint writes to and reads from: safetensors of each rank, and JSON; nothing pickled."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, TensorStorageMetadata
from torch.distributed.checkpoint.planner import LoadPlan, LoadPlanner, ReadItem, SavePlan, SavePlanner, WriteItem
from torch.distributed.checkpoint.storage import StorageReader, StorageWriter, WriteResult
from torch.futures import Future

from shards.errors import store_error
from shards.sealed_json import seal_json
from train.checkpoint_files import STATE, TENSORS, CheckpointFiles, folder_of, seal, seal_bytes
from train.checkpoint_tensors import SUFFIX, CheckedFiles, Piece, Stored, dtype_name


@dataclass(frozen=True, slots=True)
class _Written:
    """What a rank tells of a piece that it has written, with the seal of its file."""

    piece: Piece
    seal: Mapping[str, Any]


class SealedWriter(StorageWriter):
    """Writes one checkpoint: each rank the pieces that it has, the first one the lists, and then it appears.

    Tensors are named ``section/name``. What one rank writes alone is in ``section.safetensors`` under ``name``, so a
    checkpoint of whole tensors is plain files; parts of several ranks are in ``section-00000-of-00002.safetensors``,
    under ``name[3:6,0:4]``.

    Args:
        files: where checkpoints lie.
        step: the checkpoint's step.
        state: what its ``state.json`` says besides the seals.
    """

    def __init__(self, files: CheckpointFiles, step: int, state: Mapping[str, Any]) -> None:
        self._files = files
        self._step = step
        self._state = state

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Nothing is kept from one checkpoint to the next."""

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401, FBT001 - torch's signature
        """Nothing: the first rank makes room once all have planned."""

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """Keep what this rank means to write."""
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """Give each rank's files their names, and make room for them."""
        self._files.clear(self._step)
        writers = sum(bool(plan.items) for plan in plans)
        if writers == 1:
            return [replace(plan, storage_data="") for plan in plans]
        return [replace(plan, storage_data=f"-{rank:05d}-of-{len(plans):05d}") for rank, plan in enumerate(plans)]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write this rank's pieces, one file for each section."""
        tensors: dict[str, dict[str, Tensor]] = {}
        pieces = [_piece(item, plan.storage_data) for item in plan.items]
        for item, piece in zip(plan.items, pieces, strict=True):
            value = planner.resolve_data(item)
            assert isinstance(value, Tensor)
            tensors.setdefault(piece.file, {})[piece.key] = value.detach().contiguous()
        with ExitStack() as stack:
            scratch = (
                Path(stack.enter_context(tempfile.TemporaryDirectory())) if not self._files.store.is_local else None
            )
            seals = {file: self._write(file, each, scratch) for file, each in tensors.items()}
        done: Future[list[WriteResult]] = Future()
        done.set_result(
            [
                WriteResult(item.index, seals[piece.file]["bytes"], _Written(piece, seals[piece.file]))
                for item, piece in zip(plan.items, pieces, strict=True)
            ]
        )
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Write what is where and the state, and let the checkpoint appear."""
        told = [result for each in results for result in each]
        sealed = {result.storage_data.piece.file: dict(result.storage_data.seal) for result in told}
        stored: dict[str, Stored] = {}
        for name, each in metadata.state_dict_metadata.items():
            pieces = tuple(result.storage_data.piece for result in told if result.index.fqn == name)
            assert isinstance(each, TensorStorageMetadata)
            stored[name] = Stored(dtype_name(each.properties.dtype), tuple(each.size), pieces)
        tensors = json.dumps({name: each.to_json() for name, each in stored.items()})
        listed = {TENSORS: f"{tensors}\n".encode()}
        all_sealed = sealed | {TENSORS: seal_bytes(listed[TENSORS])}
        state = json.dumps(seal_json({**self._state, "files": all_sealed}), indent=1, allow_nan=False)
        self._files.publish(self._step, sealed, listed | {STATE: f"{state}\n".encode()})

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:  # noqa: ARG003 - torch's signature
        """Refuse to be chosen by a path."""
        return False

    def _write(self, file: str, tensors: dict[str, Tensor], scratch: Path | None) -> dict[str, Any]:
        """Write a file, in its place or by way of a scratch folder and an upload, and return its seal."""
        path = (scratch or self._files.scratch(self._step)) / file
        try:
            save_file(tensors, path)
            with path.open("rb") as written:
                os.fsync(written.fileno())
        except (OSError, SafetensorError) as error:
            raise store_error("write", self._files.shown(self._step, file), error) from None
        sealed = seal(path)
        if scratch is not None:
            self._files.store.put_file(f"{folder_of(self._step)}/{file}", path, move=True)
        return sealed


class SealedReader(StorageReader):
    """Reads a checkpoint's tensors into whatever part of them a rank holds.

    Args:
        stored: the checkpoint's tensors by name.
        places: its files, checked.
    """

    def __init__(self, stored: Mapping[str, Stored], places: CheckedFiles) -> None:
        self._stored = stored
        self._places = places

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Nothing is kept from one checkpoint to the next."""

    def read_metadata(self) -> Metadata:
        """Return the tensors in torch's terms."""
        return Metadata({name: each.described() for name, each in self._stored.items()})

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401, FBT001 - torch's signature
        """Nothing to set up."""

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        """Keep what this rank means to read."""
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        """Keep what the ranks mean to read."""
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """Copy the wanted parts, file by file."""
        wanted: dict[str, list[tuple[ReadItem, Piece]]] = {}
        for item in plan.items:
            piece = self._piece(item.storage_index)
            wanted.setdefault(piece.file, []).append((item, piece))
        for file, items in wanted.items():
            with self._places.opened(file) as reader:
                for item, piece in items:
                    ranges = zip(item.storage_offsets, item.lengths, strict=True)
                    wanted_part = tuple(slice(begin, begin + length) for begin, length in ranges)
                    planner.resolve_tensor(item).copy_(reader.part(piece, wanted_part))
        done: Future[None] = Future()
        done.set_result(None)
        return done

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:  # noqa: ARG003 - torch's signature
        """Refuse to be chosen by a path."""
        return False

    def _piece(self, index: MetadataIndex) -> Piece:
        return next(piece for piece in self._stored[index.fqn].pieces if piece.offset == tuple(index.offset or ()))


def _piece(item: WriteItem, suffix: str) -> Piece:
    """Return where an item of a rank goes, whose files' names end in ``suffix``."""
    section, _, name = item.index.fqn.partition("/")
    data = item.tensor_data
    if data is None or not name:
        raise TypeError(f"{item.index.fqn}: a checkpoint takes tensors, named SECTION/NAME")
    offset, shape = tuple(data.chunk.offsets), tuple(data.chunk.sizes)
    ranges = ",".join(f"{begin}:{begin + length}" for begin, length in zip(offset, shape, strict=True))
    key = name if shape == tuple(data.size) else f"{name}[{ranges}]"
    return Piece(f"{section}{suffix}{SUFFIX}", key, offset, shape)
