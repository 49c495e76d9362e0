"""The rows of a dataset that failed, for those who are to be told of them."""

from __future__ import annotations

from collections.abc import Iterator

from shards.ledger import LedgerRow, read_ledger
from shards.manifest import Manifest
from shards.store import Store


def failures(dataset: Store, manifest: Manifest) -> Iterator[LedgerRow]:
    """Yield the ledger rows that failed, in the order of the input; only ledgers that hold any are read."""
    for entry in manifest.shards:
        if entry.status.get("failed", 0):
            yield from (row for row in read_ledger(dataset, entry.stem) if row.status == "failed")
