"""A folder of files that is written whole or not at all, with sizes and hashes of all in one of them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pipelines.weights import local_copy
from shards.local import sync_folder
from shards.store import Store, open_store
from train.checkpoint_files import seal

ABOUT: Final = "data.json"
"""The file that lists the others; without it a folder is not whole."""

_UNFINISHED: Final = "unfinished"
"""What the list says first, and no more, while an object store gets the files."""

_SCRATCH: Final = ".writing-"


@contextmanager
def sealed_folder(url: str, about: Mapping[str, Any]) -> Iterator[Path]:
    """Give an empty folder to fill; what lies in it then appears at ``url``, in place of an earlier one.

    In a folder it appears by one rename. In an object store ``data.json`` calls it unfinished until all is there.

    Args:
        url: Where it goes.
        about: What ``data.json`` says besides the files.

    Raises:
        ValueError: Something else lies there.
        StoreError, OSError: It could not be written. What was there before is untouched; in an object store it is left
            unfinished, and the next one takes its place.
    """
    store = open_store(url)
    names = _replaceable(store)
    scratch = _scratch(store)
    try:
        yield scratch
        files = {path.name: seal(path) for path in sorted(scratch.iterdir())}
        text = json.dumps({**about, "files": files}, indent=1, allow_nan=False) + "\n"
        (scratch / ABOUT).write_text(text, encoding="utf-8")
        if store.is_local:
            _rename(scratch, Path(store.url))
        else:
            _upload(scratch, store, list(files), names)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def read_about(store: Store) -> dict[str, Any]:
    """Return what ``data.json`` of a folder says.

    Raises:
        ValueError: It is damaged, or the folder was never finished.
        StoreError: It is absent or cannot be read.
    """
    about = _about(store)
    if _UNFINISHED in about:
        raise ValueError(f"{store.url} is unfinished: whoever wrote it was stopped; export again")
    return about


def is_whole(store: Store) -> bool:
    """Tell whether there is a folder of this sort, and a finished one.

    Raises:
        ValueError: ``data.json`` is damaged.
        StoreError: It cannot be read.
    """
    return store.exists(ABOUT) and _UNFINISHED not in _about(store)


def _about(store: Store) -> dict[str, Any]:
    try:
        about = json.loads(store.read(ABOUT))
    except ValueError as error:
        raise ValueError(f"{store.url}/{ABOUT} is no JSON: {error}") from None
    if not isinstance(about, dict) or not isinstance(about.get("files"), dict):
        raise ValueError(f"{store.url}/{ABOUT} lists no files; it is no export of a run")  # noqa: TRY004 - a file's fault
    return about


@contextmanager
def checked_copy(store: Store, name: str, about: Mapping[str, Any]) -> Iterator[Path]:
    """Give the path of a file of the folder, whose size and hash are those that ``data.json`` lists.

    Raises:
        ValueError: It is not listed, or is another one than the one that was written.
        StoreError: It is absent or cannot be read.
    """
    if name not in about["files"]:
        raise ValueError(f"{store.url}/{ABOUT} lists no {name}")
    with local_copy(f"{store.url}/{name}") as path:
        found, written = seal(path), about["files"][name]
        if found != written:
            raise ValueError(f"{store.url}/{name} is damaged: {found} was read, {written} was written")
        yield path


def _replaceable(store: Store) -> list[str]:
    """Return the files of an earlier folder of this sort; anything else that lies there is refused."""
    names = store.list()
    known = {*_about(store)["files"], ABOUT} if ABOUT in names else set()
    strangers = [name for name in names if name not in known]
    if strangers:
        raise ValueError(f"{store.url} holds {strangers[0]}, which no export wrote; choose another place")
    return names


def _scratch(store: Store) -> Path:
    """Make an empty folder: beside its place where that is local, without what a killed process left there."""
    if not store.is_local:
        return Path(tempfile.mkdtemp(prefix=_SCRATCH))
    place = Path(store.url)
    place.parent.mkdir(parents=True, exist_ok=True)
    prefix = f"{_SCRATCH}{place.name}-"
    for left_behind in place.parent.glob(f"{prefix}*"):
        shutil.rmtree(left_behind)
    return Path(tempfile.mkdtemp(prefix=prefix, dir=place.parent))


def _rename(scratch: Path, place: Path) -> None:
    """Put the scratch folder in its place by renames; what was there is removed when the new one stands."""
    for path in scratch.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    scratch.chmod(0o755)  # a scratch folder is private
    sync_folder(scratch)
    former = scratch.with_name(f"{scratch.name}-former")
    had_one = place.exists()
    if had_one:
        place.rename(former)
    try:
        scratch.rename(place)
    except OSError:
        if had_one:
            former.rename(place)
        raise
    sync_folder(place.parent)
    shutil.rmtree(former, ignore_errors=True)


def _upload(scratch: Path, store: Store, files: list[str], former: list[str]) -> None:
    known = dict.fromkeys([*files, *(name for name in former if name != ABOUT)])
    store.put(ABOUT, json.dumps({_UNFINISHED: True, "files": known}).encode())
    for name in files:
        store.put_file(name, scratch / name)
    for name in former:
        if name not in {*files, ABOUT}:
            store.delete(name)
    store.put_file(ABOUT, scratch / ABOUT)
