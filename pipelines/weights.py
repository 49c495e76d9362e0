"""Weights files on disk or in a bucket: safetensors with text fields, read whole and written whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from shards.store import open_store, split_url

# This lies here, and not in shards/, because shards/ knows no tensor; and not in model/, because a model opens no file.
# Tools and training both reach it: load_model(read_weights(place)).

_SCRATCH = ".writing-"


@dataclass(frozen=True)
class WeightsFile:
    """A weights file that was read.

    Attributes:
        source: Path or URL that it was read from.
        metadata: The text fields of its header.
        tensors: Its tensors by name, on the host.
    """

    source: str
    metadata: Mapping[str, str]
    tensors: Mapping[str, Tensor]


def read_weights(place: str | PathLike[str]) -> WeightsFile:
    """Read a safetensors file.

    Args:
        place: Path or ``s3://`` URL.

    Raises:
        ValueError: It is no safetensors file, or it is cut off.
        StoreError: It is not there, or cannot be read.
    """
    with local_copy(place) as path:
        return read_local(path, source=str(place))


def read_local(path: Path, *, source: str) -> WeightsFile:
    """Read a safetensors file of this machine, called ``source`` in messages.

    Raises:
        ValueError: It is no safetensors file, or it is cut off.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except SafetensorError as error:
        raise ValueError(f"{source} is no whole safetensors file: {error}") from error
    return WeightsFile(source, metadata, tensors)


def write_weights(
    place: str | PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file; it appears under its name when it is complete.

    Args:
        place: Path or ``s3://`` URL.
        tensors: Tensors by name; they may share memory and lie on any device.
        metadata: Text fields of the header.

    Raises:
        StoreError: It could not be written; what was there before is untouched.
    """
    with publish(place) as path:
        save_file({name: _owned(value) for name, value in tensors.items()}, path, metadata=dict(metadata or {}))


@contextmanager
def local_copy(place: str | PathLike[str]) -> Iterator[Path]:
    """Give the path of a file: its own, or that of a copy where it lies in a bucket.

    Raises:
        StoreError: It is not there, or cannot be read.
    """
    parent, name = split_url(place)
    store = open_store(parent)
    if store.is_local:
        store.stat(name)
        yield store.local_path(name)
        return
    with tempfile.TemporaryDirectory(prefix="vidloom-") as scratch:
        copy = Path(scratch) / name
        store.download(name, copy)
        yield copy


@contextmanager
def publish(place: str | PathLike[str]) -> Iterator[Path]:
    """Give a path to write; what was written there appears at ``place`` when the block ends well.

    Raises:
        StoreError: It could not be put there; what was there before is untouched.
    """
    parent, name = split_url(place)
    store = open_store(parent)
    beside = store.local_path(name).parent if store.is_local else None
    if beside is not None:
        beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=beside) as scratch:
        path = Path(scratch) / name
        path.touch()
        mode = path.stat().st_mode  # what the user's mask leaves; safetensors would let nobody else read the file
        yield path
        path.chmod(mode)
        store.put_file(name, path, move=True)


def _owned(value: Tensor) -> Tensor:
    """Return a tensor on the host that shares its memory with none: safetensors refuses others."""
    value = value.detach().cpu().contiguous()
    return value if value.untyped_storage().nbytes() == value.nbytes else value.clone()
