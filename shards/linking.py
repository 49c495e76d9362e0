"""A dataset in the making whose shards' files have other places: names, what is finished, and the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

from shards import layout
from shards.dataset import KINDS, resolve
from shards.keys import Keyed, Repeat, find_repeats
from shards.linked import LinkedStore
from shards.manifest import Manifest, ShardEntry, finished_entry, sum_up, write_manifest
from shards.placed import read_keys
from shards.plan import BlockPlan, read_plan, require_same_plan, write_plan
from shards.store import Store

_READERS: Final = 16


@dataclass(frozen=True)
class Linking:
    """The output, its plan, and the links of each shard by number, as entries have them."""

    out: Store
    plan: BlockPlan
    links: Sequence[Mapping[str, str]]

    def begin(self) -> None:
        """Put the plan in its place, or find it there.

        Raises:
            ValueError: the output holds a dataset of another input or with other settings.
        """
        begun = read_plan(self.out)
        if begun is None:
            write_plan(self.out, self.plan)
        else:
            require_same_plan(begun, self.plan)

    def finished(self) -> dict[int, ShardEntry]:
        """Return the shards that are published already, by number."""
        ledgers = set(self.out.list(f"{layout.LEDGER_DIR}/"))
        stems = [layout.shard_stem(number) for number in range(self.plan.blocks)]
        numbers = [number for number, stem in enumerate(stems) if layout.ledger_name(stem) in ledgers]
        store = self.store()

        def find(number: int) -> ShardEntry | None:
            return finished_entry(store, stems[number])

        with ThreadPoolExecutor(_READERS) as readers:
            found = zip(numbers, readers.map(find, numbers), strict=True)
            return {
                number: replace(entry, links=dict(self.links[number])) for number, entry in found if entry is not None
            }

    def store(self) -> Store:
        """Return the output with every file under its standard name."""
        links = {
            name: resolve(self.out, places[kind])
            for number, places in enumerate(self.links)
            for kind, name in zip(KINDS, layout.shard_files(layout.shard_stem(number)), strict=True)
            if kind in places
        }
        return LinkedStore(self.out.url, self.out.patience, links)

    def repeats(self, entries: Mapping[int, ShardEntry]) -> list[Repeat]:
        """Return keys that come twice."""
        store = self.store()

        def keyed() -> Keyed:
            return ((entries[number].stem, _keys(store, entries[number])) for number in sorted(entries))

        return find_repeats(keyed)

    def finish(self, entries: Mapping[int, ShardEntry]) -> Manifest:
        """Write the manifest of all shards, which ends the work, and return it."""
        assert len(entries) == self.plan.blocks
        shards = tuple(entries[number] for number in sorted(entries))
        manifest = Manifest(self.plan.digest, self.plan.settings, shards, sum_up(shards))
        if not self.out.exists(layout.MANIFEST_NAME) or self.out.read(layout.MANIFEST_NAME) != manifest.to_bytes():
            write_manifest(self.out, manifest)
        return manifest


def _keys(store: Store, entry: ShardEntry) -> Sequence[str]:
    return read_keys(store, layout.parquet_name(entry.stem)) if entry.clips else ()
