"""Whether a key comes twice in a dataset: told from each shard's least and greatest key wherever that will do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shards import layout
from shards.dataset import Dataset
from shards.keys import Keyed, find_repeats
from shards.placed import read_keys
from shards.store import Store, StoreError
from shards.verify_problems import Kind, Problem, ShardFindings


def key_problems(dataset: Dataset, shards: Sequence[ShardFindings], *, rises: bool) -> Iterator[Problem]:
    """Yield the keys that come twice in a dataset, or that do not rise where they should.

    Keys are read again only of shards whose ranges of keys overlap, and compared in bounded memory, however many there
    are.

    Args:
        dataset: the dataset.
        shards: what the checks of its shards found, in order; within each, keys were looked at.
        rises: whether keys rise from shard to shard.
    """
    if rises:
        yield from _falling(shards)
        return
    stems = _overlapping(shards)
    names = [layout.parquet_name(stem) for stem in stems]

    def keyed() -> Keyed:
        return ((name, _keys(dataset.store, name)) for name in names)

    for repeat in find_repeats(keyed) if names else ():
        what = f"sample {repeat.key} is one of {repeat.first} as well; a key comes once in a dataset"
        yield Problem(repeat.second, what, Kind.KEY, repeat.key)


def _falling(shards: Sequence[ShardFindings]) -> Iterator[Problem]:
    last = ""
    for shard in shards:
        if shard.keys is None:
            continue
        first = shard.keys.first
        if first <= last:
            what = f"sample {first} comes after {last}; keys rise through a dataset and none comes twice"
            yield Problem(layout.tar_name(shard.stem), what, Kind.KEY, first)
        last = max(last, shard.keys.last)


def _overlapping(shards: Sequence[ShardFindings]) -> list[str]:
    """Return the stems, in the dataset's order, of shards whose keys lie between those of another."""
    ranged = sorted(
        (shard.keys.first, shard.keys.last, number) for number, shard in enumerate(shards) if shard.keys is not None
    )
    found: set[int] = set()
    reach, holder = "", -1
    for first, last, number in ranged:
        if holder >= 0 and first <= reach:
            found |= {holder, number}
        if last >= reach:
            reach, holder = last, number
    return [shards[number].stem for number in sorted(found)]


def _keys(store: Store, name: str) -> list[str]:
    """Return the keys of a shard, none where they cannot be read, which is told elsewhere."""
    try:
        return read_keys(store, name)
    except (StoreError, ValueError):
        return []
