"""The indexes that other readers have beside a dataset, against what was written of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from io import BufferedReader
from typing import cast

from shards.energon import SPLIT_NAME
from shards.indexes import INDEXES_NAME, read_indexes
from shards.manifest import Manifest
from shards.store import NotFoundError, Store
from shards.verify_problems import Kind, Problem


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
    for name, expect in found.entries().items():
        try:
            with store.open(name) as file:
                same = hashlib.file_digest(cast("BufferedReader", file), "sha256").hexdigest() == expect.sha256
        except NotFoundError:
            yield Problem(name, "it does not exist, though the dataset was indexed", Kind.MISSING, repairable=True)
            continue
        if not same:
            what = "it is not the file that was written; run 'vidloom index' with --index again"
            yield Problem(name, what, Kind.HASH, repairable=name != SPLIT_NAME)  # people edit that one by hand
