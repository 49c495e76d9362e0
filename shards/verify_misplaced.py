"""Files of a dataset that lie under other names than their own: swapped or renamed, and known by their bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader
from typing import cast

from shards.dataset import KINDS
from shards.manifest import FileEntry, ShardEntry
from shards.store import Store
from shards.verify_problems import ShardFindings
from shards.verify_repairable import wrong_files


@dataclass(frozen=True, slots=True)
class Misplaced:
    """A file of a dataset whose bytes lie elsewhere: its right name, and the name under which they lie.

    ``is_known`` tells whether the latter is the name of another file of the dataset.
    """

    name: str
    place: str
    is_known: bool


def find_misplaced(
    store: Store,
    shards: Sequence[ShardEntry],
    findings: Mapping[int, ShardFindings],
    strangers: Collection[str],
) -> list[Misplaced]:
    """Find the files that are wrong or missing among what lies under other names.

    Args:
        store: the dataset.
        shards: its shards, in the manifest's order.
        findings: what was found of them, by their places in it.
        strangers: names of files that the dataset does not know; they are read where their length is that of one that
            is looked for.

    Raises:
        StoreError: the store cannot be reached.
    """
    wanted = {name: file for place, found in findings.items() for name, file in _wrong(shards[place], found)}
    lying = {digest: name for found in findings.values() for name, digest in found.lying.items()}
    sizes = {file.bytes for file in wanted.values()}
    for name in strangers:
        if store.stat(name).size in sizes:
            with store.open(name) as file:
                lying[hashlib.file_digest(cast("BufferedReader", file), "sha256").hexdigest()] = name
    known = set(strangers)
    return [
        Misplaced(name, lying[file.sha256], lying[file.sha256] not in known)
        for name, file in wanted.items()
        if file.sha256 in lying
    ]


def _wrong(entry: ShardEntry, findings: ShardFindings) -> Iterator[tuple[str, FileEntry]]:
    wrong = wrong_files(entry, findings)
    for kind, (name, file) in zip(KINDS, entry.files().items(), strict=True):
        if kind in wrong and kind not in entry.links:
            yield name, file
