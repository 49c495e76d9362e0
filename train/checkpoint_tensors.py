"""The tensors of a checkpoint: which there are, of what pieces in which files, and reading those once checked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, TensorProperties, TensorStorageMetadata

from train.checkpoint_files import TENSORS, CheckpointFiles, DamagedCheckpointError, Sealed, folder_of

SUFFIX: Final = ".safetensors"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a tensor: where it begins, its shape, and the file and the key that it lies under."""

    file: str
    key: str
    offset: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of a checkpoint: its type (``float32``), its shape, and the pieces that make it up."""

    dtype: str
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as JSON holds them; pieces without values are left out."""
        pieces = [asdict(piece) for piece in self.pieces if 0 not in piece.shape or 0 in self.shape]
        return {"dtype": self.dtype, "shape": list(self.shape), "pieces": pieces}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Stored:
        """Read what ``to_json`` wrote."""
        pieces = (
            Piece(each["file"], each["key"], tuple(each["offset"]), tuple(each["shape"])) for each in plain["pieces"]
        )
        return cls(plain["dtype"], tuple(plain["shape"]), tuple(pieces))

    def described(self) -> TensorStorageMetadata:
        """Return the same in torch's terms."""
        chunks = [ChunkStorageMetadata(torch.Size(each.offset), torch.Size(each.shape)) for each in self.pieces]
        return TensorStorageMetadata(TensorProperties(self.torch_dtype), torch.Size(self.shape), chunks)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The type as torch has it."""
        found = getattr(torch, self.dtype, None)
        if not isinstance(found, torch.dtype):
            raise DamagedCheckpointError(f"torch has no type {self.dtype!r} for tensors")
        return found


def dtype_name(dtype: torch.dtype) -> str:
    """Return a type's name without torch's."""
    return str(dtype).removeprefix("torch.")


@dataclass(frozen=True, slots=True)
class PieceReader:
    """An open file of pieces."""

    reader: Any

    def part(self, piece: Piece, ranges: tuple[slice, ...]) -> Tensor:
        """Return a part of a piece, by its ranges along each axis."""
        if all((each.start, each.stop) == (0, length) for each, length in zip(ranges, piece.shape, strict=True)):
            return self.reader.get_tensor(piece.key)  # type: ignore[no-any-return] # safetensors has no types
        return self.reader.get_slice(piece.key)[ranges]  # type: ignore[no-any-return] # safetensors has no types


@dataclass(frozen=True, slots=True)
class CheckedFiles:
    """The files of one checkpoint, each checked against its seal once, and the tensors in them.

    Attributes:
        files: where checkpoints lie.
        step: the checkpoint's step.
        sealed: its files with size and hash, from its ``state.json``.
        copies: a folder for copies of remote files; None where the store is local.
    """

    files: CheckpointFiles
    step: int
    sealed: Sealed
    copies: Path | None
    _paths: dict[str, Path] = field(default_factory=dict)

    def path(self, file: str) -> Path:
        """Return where a file is on this machine.

        Raises:
            DamagedCheckpointError: it is absent or not the file that was written.
        """
        if file not in self._paths:
            self._paths[file] = self.files.fetch(self.step, file, self.sealed, self.copies)
        return self._paths[file]

    def trust(self) -> None:
        """Take files in a folder as checked, because other ranks have done it."""
        if self.files.store.is_local:
            place = self.files.store.local_path(folder_of(self.step))
            self._paths.update({file: place / file for file in self.sealed})

    @contextmanager
    def opened(self, file: str) -> Iterator[PieceReader]:
        """Open a file of pieces.

        Raises:
            DamagedCheckpointError: it is damaged, or holds something else than it should.
        """
        path = self.path(file)
        try:
            with safe_open(path, framework="pt") as reader:
                yield PieceReader(reader)
        except SafetensorError as error:
            raise DamagedCheckpointError(f"{self.files.shown(self.step, file)}: {error}") from None

    def stored(self) -> dict[str, Stored]:
        """Return the checkpoint's tensors by name.

        Raises:
            DamagedCheckpointError: the list is damaged.
        """
        if TENSORS not in self.sealed:
            return self._stored_of_old()
        text = self.path(TENSORS).read_bytes()
        try:
            plain = json.loads(text)
            return {name: Stored.from_json(each) for name, each in plain.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedCheckpointError(
                f"{self.files.shown(self.step, TENSORS)} is no list of tensors: {error}"
            ) from None

    def _stored_of_old(self) -> dict[str, Stored]:
        """Return the tensors of a checkpoint of format 1, whole ones in two files."""
        stored: dict[str, Stored] = {}
        for section in ("model", "optim"):
            file = f"{section}{SUFFIX}"
            with self.opened(file) as opened:
                for key in opened.reader.keys():  # noqa: SIM118 - safetensors' reader is no mapping
                    part = opened.reader.get_tensor(key)
                    piece = Piece(file, key, (0,) * part.ndim, tuple(part.shape))
                    stored[f"{section}/{key}"] = Stored(dtype_name(part.dtype), tuple(part.shape), (piece,))
        return stored
