"""Where converted weights go: layout and place as the user names them, written whole or not at all."""

from __future__ import annotations

import errno
import filecmp
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from safetensors import SafetensorError
from torch import Tensor

from model.layouts import LAYOUTS, find_layout
from model.saved import Description
from pipelines.foreign_files import TORCH_SUFFIXES, first_sentence, write_torch
from pipelines.weights import local_copy, publish, write_weights
from shards.errors import concerns_all_files
from shards.store import StoreError, StoreOutageError, open_store, split_url
from tools.console import StoppedError

OWN: Final = "vidloom"
"""What our own files are called where layouts are."""

_SUFFIX: Final = ".safetensors"
_BARE: Final = "bare"
_NO_PLACE: Final = frozenset(
    {
        errno.EACCES,
        errno.EEXIST,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)
"""Errors that say that a name was given under which nothing can be written."""


@dataclass(frozen=True)
class Target:
    """Where and how weights are written: layout, and the entry that they lie under, or None."""

    layout: str
    wrapper: str | None
    is_torch: bool


def parse_target(to: str | None, out: str) -> Target:
    """Read what ``--to`` and the name of the output say.

    Raises:
        ValueError: They are at odds, or a layout or wrapper is not known.
    """
    suffix = PurePosixPath(out).suffix.lower()
    if suffix not in (_SUFFIX, *TORCH_SUFFIXES):
        taken = ", ".join((_SUFFIX, *TORCH_SUFFIXES))
        raise ValueError(f"{out or 'the output, which is empty,'} has the suffix {suffix or 'none'}; taken are {taken}")
    if "://" not in out and Path(out).is_dir():
        raise ValueError(f"{out} is a folder: name a file in it, such as {out.rstrip('/')}/weights{suffix}")
    is_torch = suffix != _SUFFIX
    name, _, wrapper = (to or OWN).partition(":")
    if name == OWN:
        if is_torch or wrapper:
            raise ValueError(f"our own files are safetensors: name it *{_SUFFIX}, or give the layout with --to")
        return Target(OWN, None, is_torch=False)
    require_layout(name)
    layout = find_layout(name)
    if not layout.writes:
        raise ValueError(f"the layout {name} is read, and not written")
    wrappers = (_BARE, *layout.wrappers)
    if wrapper and wrapper not in wrappers:
        raise ValueError(f"{name} files have their weights {' or '.join(wrappers)}, not under {wrapper!r}")
    if wrapper not in ("", _BARE) and not is_torch:
        raise ValueError(f"safetensors have no entries in entries: leave :{wrapper} out, or name a torch file")
    usual = None if layout.bare or not layout.wrappers else layout.wrappers[0]
    chosen = usual if not wrapper else None if wrapper == _BARE else wrapper
    return Target(name, chosen if is_torch else None, is_torch)


def require_layout(name: str) -> None:
    """Check that there is a layout of a name.

    Raises:
        ValueError: There is none.
    """
    if name not in (*LAYOUTS, OWN):
        raise ValueError(f"there is no layout {name!r}; known are {', '.join(LAYOUTS)}, and {OWN}, which is ours")


def write_target(out: str, target: Target, entries: Mapping[str, Tensor], about: Description) -> None:
    """Write a file, which appears under its name when it is complete.

    Raises:
        ValueError: The name is none that can be written, or holds something else already, which stays.
        StoppedError: There is no room, or the disk failed; what was there before is untouched.
        StoreError: The store refused the file, or is out of reach.
    """
    try:
        with publish(out) as path:
            _save(path, target, entries, about)
            _require_free(out, path)
    except StoreOutageError:
        raise
    except (OSError, SafetensorError) as error:
        raise _unwritten(out, error) from error


def _save(path: Path, target: Target, entries: Mapping[str, Tensor], about: Description) -> None:
    if target.is_torch:
        own = {name: value.clone() for name, value in entries.items()}
        write_torch(path, own if target.wrapper is None else {target.wrapper: own})
    else:
        write_weights(path, entries, about.to_metadata() if target.layout == OWN else {"format": "pt"})


def _require_free(out: str, path: Path) -> None:
    """Check that a name holds nothing, or what is about to be put there: the same command may be given again."""
    parent, name = split_url(out)
    store = open_store(parent)
    if not store.exists(name):
        return
    same = store.stat(name).size == path.stat().st_size
    if same:
        with local_copy(out) as there:
            same = filecmp.cmp(path, there, shallow=False)
    if not same:
        raise ValueError(f"{out} holds something else already: remove it, or name another file")


def _unwritten(out: str, error: OSError | SafetensorError) -> Exception:
    """Return the error that says whose fault it is that a file was not written: the name's, or the disk's."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, StoreError) and "://" in out and not concerns_all_files(error):
        return error
    why = error.strerror if isinstance(error, OSError) and error.strerror else first_sentence(error)
    if number in _NO_PLACE:
        return ValueError(f"cannot write {out}: {why}; name a file in a folder that you may write to")
    return StoppedError(f"cannot write {out}: {why}; nothing was written")
