"""A store some of whose files lie elsewhere: it reads them there, under the names that they have here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from shards.local import LocalFolder
from shards.sinks import Wrote
from shards.store import PART_BYTES, STREAMS, SplitUrl, Stat, Store, Version, open_store, split_url


@dataclass(frozen=True)
class LinkedStore(Store):
    """A store with links, which are followed in reading; ``links`` maps names to whole paths or URLs."""

    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_local(self) -> bool:
        """Whether the store and all that it links to are on this machine."""
        return super().is_local and self._links_are_local

    def local_path(self, name: str) -> Path:
        """Return the path of a file, as ``Store.local_path``."""
        place = self._place(name)
        return super().local_path(name) if place is None else self._at(place).local_path(place.name)

    def stat(self, name: str) -> Stat:
        """Return a file's length and entity tag, as ``Store.stat``."""
        place = self._place(name)
        return super().stat(name) if place is None else self._at(place).stat(place.name)

    def expect(self, name: str, size: int) -> Stat | Version:
        """Return what is known of a file of a known length, as ``Store.expect``."""
        place = self._place(name)
        return super().expect(name, size) if place is None else self._at(place).expect(place.name, size)

    def download(
        self,
        name: str,
        to: Path,
        *,
        streams: int = STREAMS,
        part_bytes: int = PART_BYTES,
        size: int | None = None,
        wrote: Wrote | None = None,
    ) -> None:
        """Copy a file to a local path, as ``Store.download``."""
        place = self._place(name)
        if place is None:
            super().download(name, to, streams=streams, part_bytes=part_bytes, size=size, wrote=wrote)
        else:
            self._at(place).download(place.name, to, streams=streams, part_bytes=part_bytes, size=size, wrote=wrote)

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading, as ``Store.open``."""
        place = self._place(name)
        return super().open(name) if place is None else self._at(place).open(place.name)

    @cached_property
    def _local(self) -> LocalFolder | None:
        """The folder of the store's own files, wherever its links lead."""
        return LocalFolder(Path(self.url)) if super().is_local else None

    def _target(self, name: str) -> str:
        return self.links.get(name) or super()._target(name)

    def _read(self, name: str, start: int, stop: int | None, known: Stat | Version | None = None) -> bytes:
        place = self._place(name)
        if place is None:
            return super()._read(name, start, stop, known)
        store = self._at(place)
        return store.read(place.name) if stop is None else store.read_range(place.name, start, stop, known=known)

    def _place(self, name: str) -> SplitUrl | None:
        link = self.links.get(name)
        return None if link is None else split_url(link)

    def _at(self, place: SplitUrl) -> Store:
        """Return the store of a place, one for each folder, so that they keep their clients."""
        if place.parent not in self._stores:
            store = open_store(place.parent, patience=self.patience)
            self._stores[place.parent] = replace(store, watch=self.watch, stop=self.stop)
        return self._stores[place.parent]

    @cached_property
    def _links_are_local(self) -> bool:
        return not any("://" in place for place in self.links.values())

    @cached_property
    def _stores(self) -> dict[str, Store]:
        return {}
