"""The indexes that other readers have beside a dataset, against what was written of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader
from typing import Final, cast

from shards.energon import SPLIT_NAME
from shards.indexes import INDEXES_NAME, read_indexes
from shards.manifest import FileEntry, Manifest
from shards.store import NotFoundError, Store
from shards.verify_problems import Kind, Problem

_READERS: Final = 16


def index_problems(store: Store, manifest: Manifest) -> Iterator[Problem]:
    """Yield what is wrong with which index file of a dataset; nothing where it has none.

    Raises:
        StoreError: the store cannot be reached.
    """
    try:
        found = read_indexes(store)
    except ValueError as error:
        yield Problem(INDEXES_NAME, str(error), Kind.DAMAGED)
        return
    if found is None:
        return
    if found.manifest_digest != manifest.digest:
        kinds = ",".join(found.kinds)
        what = f"the dataset changed since its indexes were made; run 'vidloom index' with --index {kinds}"
        yield Problem(INDEXES_NAME, what, Kind.OUTDATED, repairable=True)
        return
    entries = found.entries()
    with ThreadPoolExecutor(_READERS) as readers:
        problems = readers.map(lambda name: _file_problem(store, name, entries[name]), entries)
        yield from (problem for problem in problems if problem is not None)


def _file_problem(store: Store, name: str, expect: FileEntry) -> Problem | None:
    try:
        with store.open(name) as file:
            same = hashlib.file_digest(cast("BufferedReader", file), "sha256").hexdigest() == expect.sha256
    except NotFoundError:
        return Problem(name, "it does not exist, though the dataset was indexed", Kind.MISSING, repairable=True)
    if same:
        return None
    what = "it is not the file that was written; run 'vidloom index' with --index again"
    return Problem(name, what, Kind.HASH, repairable=name != SPLIT_NAME)  # people edit that one by hand
