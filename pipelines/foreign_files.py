"""Checkpoint files of other programs: told apart by what is in them, read without running what they hold."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from pipelines.weights import local_copy, publish, read_local

TORCH_SUFFIXES: Final = (".pth", ".pt", ".bin", ".ckpt", ".pyth")
_HEADER_LENGTH: Final = 8
_ZIP: Final = b"PK\x03\x04"
_PICKLE: Final = b"\x80"
_SHOWN: Final = 16
_LISTED: Final = 12
_TAKEN: Final = "safetensors, torch files and TorchScript archives are taken"
_REFUSED: Final = re.compile(r"(?:GLOBAL|global|Unsupported class) ([\w.]+)")


def read_foreign(place: str | PathLike[str], *, trust: bool) -> Mapping[str, Any]:
    """Read a checkpoint file: safetensors, a torch file, or a TorchScript archive.

    Args:
        place: Path or ``s3://`` URL.
        trust: Run the code that a pickle or a TorchScript archive holds, as some old files need. Such code can do
            whatever the user can do.

    Raises:
        ValueError: It is none of these, is cut off, holds no mapping, or needs ``trust``.
        StoreError: It is not there, or cannot be read.
    """
    with local_copy(place) as path:
        if is_safetensors(path):
            return read_local(path, source=str(place)).tensors
        _require_torch_file(path, place)
        if _is_archive(path):
            return _read_archive(path, place, trust=trust)
        found = _read_torch(path, place, trust=trust)
    if not isinstance(found, Mapping):
        raise ValueError(f"{place} holds a {type(found).__name__}; a mapping from names to tensors is taken")  # noqa: TRY004 - a user's fault
    return found


def write_torch(place: str | PathLike[str], entries: Mapping[str, Any]) -> None:
    """Write a torch file, which appears under its name when it is complete.

    Raises:
        StoreError: It could not be put there; what was there before is untouched.
        OSError: The disk has no room for it.
    """
    with publish(place) as path:
        try:
            torch.save(entries, path)
        except RuntimeError as error:  # what torch makes of a full disk
            raise OSError(first_sentence(error)) from error


def require_file(place: str) -> None:
    """Check that a local place is no folder.

    Raises:
        ValueError: It is one; the checkpoints in it are named.
    """
    if not place or "://" in place or not Path(place).is_dir():
        return
    found = sorted(each.name for each in Path(place).iterdir() if each.suffix in (".safetensors", *TORCH_SUFFIXES))
    choice = f": one of {', '.join(found[:_LISTED])}" if found else ""
    raise ValueError(f"{place} is a folder, and a file is taken{choice}")


def is_safetensors(path: Path) -> bool:
    """Tell whether a file begins as safetensors files do: the length of a header, and the header."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_HEADER_LENGTH), "little")
        return file.read(1) == b"{" and length > 0


def _require_torch_file(path: Path, place: str | PathLike[str]) -> None:
    """Check that a file begins as torch files do, new ones (zip) or old ones (pickle), and that a zip has its end."""
    with path.open("rb") as file:
        begins = file.read(_SHOWN)
    if not begins:
        raise ValueError(f"{place} is empty; {_TAKEN}")
    if not begins.startswith((_ZIP, _PICKLE)):
        raise ValueError(f"{place} is no checkpoint: it begins with {begins!r}; {_TAKEN}")
    if begins.startswith(_ZIP) and not zipfile.is_zipfile(path):
        raise ValueError(f"{place} is cut off or damaged: it begins as a torch file and lacks the end of one")


def _is_archive(path: Path) -> bool:
    """Tell whether a file is a TorchScript archive, which holds code beside its tensors."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _read_archive(path: Path, place: str | PathLike[str], *, trust: bool) -> dict[str, Tensor]:
    if not trust:
        raise ValueError(
            f"{place} is a TorchScript archive, which holds code: give --trust (a run: init.trust=true) if you trust"
            " its source"
        )
    try:
        with warnings.catch_warnings(action="ignore"):  # as below
            return dict(torch.jit.load(path, map_location="cpu").state_dict())  # type: ignore[no-untyped-call]  # of torch
    except RuntimeError as error:
        raise ValueError(f"{place} is no whole TorchScript archive: {first_sentence(error)}") from error


def _read_torch(path: Path, place: str | PathLike[str], *, trust: bool) -> object:
    try:
        with warnings.catch_warnings(action="ignore"):  # what torch thinks of a file's age is no matter here
            return torch.load(path, map_location="cpu", weights_only=not trust, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        if trust:
            raise ValueError(f"{place} is no whole checkpoint: {first_sentence(error)}") from error
        needed = _REFUSED.search(str(error))
        raise ValueError(
            f"{place} holds more than tensors: to read {f'its {needed[1]}' if needed else 'it'}, code of the file has "
            "to run, which can do whatever you can do; give --trust (a run: init.trust=true) if you trust its source"
        ) from error
    except ImportError as error:
        raise ValueError(f"{place} holds objects of a package that is not installed: {error}") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise ValueError(f"{place} is no whole checkpoint: {type(error).__name__}: {first_sentence(error)}") from error


def first_sentence(error: Exception) -> str:
    """Return the first sentence of an error: torch's go on for a page."""
    return (str(error).strip().splitlines() or ["no reason is given"])[0].partition(". ")[0]
