"""A finished dataset as its readers meet it: the manifest, and a store that finds every file of it."""

from __future__ import annotations

import posixpath
from os import PathLike
from os.path import normpath, relpath
from typing import Final, NamedTuple

from shards.linked import LinkedStore
from shards.manifest import Manifest, open_manifest
from shards.store import Store, open_store

KINDS: Final = ("tar", "idx", "parquet", "stats", "ledger")
"""The files of a shard, in the order of ``ShardEntry.files``."""


class Dataset(NamedTuple):
    """A dataset's files and what they are; unpacks as a pair."""

    store: Store
    manifest: Manifest


def open_dataset(dataset: Store | str | PathLike[str]) -> Dataset:
    """Open a finished dataset, given as a store, a folder or a URL.

    Returns:
        The manifest, and a store that has each shard's files under their standard names, wherever they lie.

    Raises:
        NotFoundError: there is no manifest, so the dataset is unfinished or no dataset.
        ValueError: the file is no manifest, or of a format that this version does not know.
    """
    store = dataset if isinstance(dataset, Store) else open_store(dataset)
    manifest = open_manifest(store)
    return Dataset(with_links(store, manifest), manifest)


def with_links(store: Store, manifest: Manifest) -> Store:
    """Return a store that finds the files which the manifest's entries link to; ``store`` where there are none."""
    links = {
        name: resolve(store, entry.links[kind])
        for entry in manifest.shards
        if entry.links
        for kind, name in zip(KINDS, entry.files(), strict=True)
        if kind in entry.links
    }
    return LinkedStore(store.url, store.patience, links) if links else store


def resolve(store: Store, place: str) -> str:
    """Return the path or URL of a link's place: a URL or whole path as it is, others from the dataset's folder."""
    if "://" in place or place.startswith("/"):
        return place
    scheme, separator, path = store.url.rpartition("://")
    joined = posixpath.join(path, place)
    return f"{scheme}{separator}{posixpath.normpath(joined)}" if separator else normpath(joined)


def link_to(store: Store, place: str) -> str:
    """Return how a link in ``store``'s dataset spells a path or URL: from the dataset's folder where both are near.

    Files on this machine are named from the folder, so that both may be moved together; so are URLs below the
    dataset's own.
    """
    if store.is_local and "://" not in place:
        return relpath(place, store.url)
    below = f"{store.url}/"
    return place.removeprefix(below) if place.startswith(below) else place
