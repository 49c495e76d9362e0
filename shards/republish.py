"""Shards of a finished dataset replaced by others: staged beside it first, then moved over the old ones for good.

The new shards and the new manifest are made under ``_vidloom/retry/``, in the layout of a dataset, while the old
manifest stands and speaks the truth. Then the journal says that they take over: from that instant on the old manifest
is withdrawn, every file is moved to its place, and the new manifest goes last. Whoever comes after a crash finds the
journal and goes on with the moves, which may be done any number of times.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Final

from shards import layout
from shards.canonical import canonical_json, parse_versioned
from shards.json_fields import typed
from shards.manifest import Manifest, write_manifest
from shards.store import NotFoundError, Store, open_store

_MOVERS: Final = 16


@dataclass(frozen=True, slots=True)
class Journal:
    """What is being replaced: ``stems`` of the dataset of this plan and manifest, because of ``reasons``.

    ``takes_over`` says that all is staged, and that the dataset is what the staged files make of it.
    """

    plan_digest: str
    manifest_digest: str
    reasons: Sequence[str]
    stems: Sequence[str]
    takes_over: bool = False
    format: int = layout.FORMAT_VERSION


def staging(dataset: Store) -> Store:
    """Return the store in which the new shards are made; its names are those of a dataset."""
    return open_store(f"{dataset.url}/{layout.RETRY_DIR}", patience=dataset.patience)


def read_journal(dataset: Store) -> Journal | None:
    """Return what is being replaced, or None.

    Raises:
        ValueError: the file is no journal, or of a format that this version does not know.
    """
    try:
        data = dataset.read(layout.JOURNAL_NAME)
    except NotFoundError:
        return None
    url = f"{dataset.url}/{layout.JOURNAL_NAME}"
    values = parse_versioned(data, url)
    try:
        values = typed(values, Journal)
    except ValueError as error:
        raise ValueError(f"{url} is no journal: {error}") from error
    return Journal(**{**values, "reasons": tuple(values["reasons"]), "stems": tuple(values["stems"])})


def begin(dataset: Store, journal: Journal) -> None:
    """Note what is to be replaced; what was staged for another purpose goes."""
    _clear(dataset)
    _write(dataset, journal)


def take_over(dataset: Store, journal: Journal, manifest: Manifest) -> None:
    """Replace the shards by those that are staged, and the manifest by the given one.

    Raises:
        StoreError: the store failed; any later ``finish`` goes on.
    """
    write_manifest(staging(dataset), manifest)
    _write(dataset, replace(journal, takes_over=True))
    finish(dataset)


def finish(dataset: Store) -> Journal | None:
    """Go on with a replacement that was decided upon, to its end; return its journal, or None where there is none."""
    journal = read_journal(dataset)
    if journal is None:
        _clear(dataset)  # a crash may have come between the journal's end and that of the rest
    if journal is None or not journal.takes_over:
        return None
    staged = set(staging(dataset).list())
    if layout.MANIFEST_NAME in staged:
        with suppress(NotFoundError):
            dataset.delete(layout.MANIFEST_NAME)
        with ThreadPoolExecutor(_MOVERS) as movers:
            list(movers.map(lambda stem: _move_shard(dataset, stem, staged), journal.stems))
        _move(dataset, layout.MANIFEST_NAME)
    drop(dataset)
    return journal


def drop_stale(dataset: Store, manifest: Manifest) -> None:
    """Remove what is staged for another manifest than the dataset has: it was extended meanwhile."""
    journal = read_journal(dataset)
    if journal is not None and journal.manifest_digest != manifest.digest:
        drop(dataset)


def drop(dataset: Store) -> None:
    """Remove the journal, and what is staged."""
    with suppress(NotFoundError):
        dataset.delete(layout.JOURNAL_NAME)
    _clear(dataset)


def _move_shard(dataset: Store, stem: str, staged: set[str]) -> None:
    for name in (*layout.shard_files(stem), layout.fingerprint_name(stem)):
        if name in staged:
            _move(dataset, name)


def _move(dataset: Store, name: str) -> None:
    dataset.move(f"{layout.RETRY_DIR}/{name}", name)


def _write(dataset: Store, journal: Journal) -> None:
    dataset.put(layout.JOURNAL_NAME, canonical_json(asdict(journal)))


def _clear(dataset: Store) -> None:
    if dataset.is_local:
        with suppress(FileNotFoundError):  # what stayed for another reason would be taken for what is staged next
            shutil.rmtree(dataset.local_path(layout.RETRY_DIR))
        return
    place = staging(dataset)
    for name in place.list():
        place.delete(name)
