"""A dataset made of others: whole or by a condition, by reference or as a copy; planned, made, resumed."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from shards import compose, layout
from shards.dataset import Dataset, link_to, open_dataset
from shards.expression import Expression
from shards.keys import Keyed, find_repeats
from shards.linking import Linking
from shards.manifest import Manifest, ShardEntry
from shards.part import Part
from shards.placed import read_keys
from shards.plan import BlockPlan
from shards.store import open_store, split_url
from shards.web_address import is_web, unsigned

KeyRule = Literal["auto", "plain", "dataset"]

_MAKERS: Final = 8
_ODD: Final = re.compile(r"[^0-9A-Za-z_-]+")


@dataclass(frozen=True, slots=True)
class Composition:
    """What is to be made of which datasets.

    ``where`` is the condition that clips have to meet, None takes all. ``keys`` plain are the sources' own, dataset
    puts a source's name before them, auto does that where sources share keys. ``copies`` makes a dataset that holds
    all its bytes, else it refers to the sources' tars.
    """

    made_by: Literal["merge", "select"]
    sources: tuple[str, ...]
    out: str
    where: Expression | None = None
    keys: KeyRule = "auto"
    copies: bool = False


@dataclass(frozen=True)
class Planned:
    """A composition with its sources opened: every shard's part, and the dataset that they become."""

    composition: Composition
    parts: Sequence[Part]
    linking: Linking


def plan_composition(composition: Composition) -> Planned:
    """Open the sources and plan the dataset.

    Raises:
        NotFoundError: a source is no finished dataset.
        ValueError: the output is a source, keys are shared though plain ones are asked for, the condition does not suit
            a source's columns, or a source that is to be referred to has an address that does not last.
        StoreError: a source cannot be read.
    """
    sources = [open_dataset(source) for source in composition.sources]
    out = open_store(composition.out)
    if out.url in {source.store.url for source in sources}:
        raise ValueError(
            f"{composition.out} is a source, which stays as it is: give another folder for the dataset that is made"
        )
    if not composition.copies:
        _require_lasting(sources)
    prefixes = _prefixes(composition, sources)
    parts = [
        Part(source, entry, prefix, composition.where)
        for source, prefix in zip(sources, prefixes, strict=True)
        for entry in source.manifest.shards
    ]
    _require_suited(parts)
    digests = "\n".join(source.manifest.digest for source in sources)
    plan = BlockPlan(
        input_digest=hashlib.sha256(digests.encode()).hexdigest(),
        input_name=_name_of(sources[0]),
        rows=sum(source.manifest.totals.rows for source in sources),
        rows_per_block=0,
        blocks=len(parts),
        settings=_settings(composition, sources, prefixes),
        extra={},
    )
    links = [{} if composition.copies else {"tar": link_to(out, part.places()["tar"])} for part in parts]
    return Planned(composition, parts, Linking(out, plan, links))


def make_composition(planned: Planned, scratch: Path, on_shard: Callable[[ShardEntry], None]) -> Manifest:
    """Make the shards that are missing, and the manifest; what is finished is left as it is.

    Args:
        planned: what is to be made.
        scratch: a local folder.
        on_shard: hears of each shard.

    Raises:
        ValueError: the output holds something else, or a file of a source is damaged.
        StoreError: a source cannot be read, or the output cannot be written.
    """
    linking = planned.linking
    linking.begin()
    done = linking.finished()
    make = compose.copy if planned.composition.copies else compose.refer

    def made(number: int) -> ShardEntry:
        part = replace(planned.parts[number])  # of its own, so that the records which it holds go with it
        return done.get(number) or make(linking.out, layout.shard_stem(number), part, scratch)

    entries: dict[int, ShardEntry] = {}
    for number, entry in _in_order(made, len(planned.parts)):
        entries[number] = entry
        on_shard(entry)
    return linking.finish(entries)


def _in_order(make: Callable[[int], ShardEntry], count: int) -> Iterator[tuple[int, ShardEntry]]:
    """Make shards, a few at a time and not far ahead."""
    with ThreadPoolExecutor(_MAKERS) as makers:
        for first in range(0, count, 4 * _MAKERS):
            numbers = range(first, min(first + 4 * _MAKERS, count))
            yield from zip(numbers, makers.map(make, numbers), strict=True)


def _settings(composition: Composition, sources: Sequence[Dataset], prefixes: Sequence[str]) -> dict[str, Any]:
    return {
        "made_by": composition.made_by,
        "where": None if composition.where is None else composition.where.text,
        "copies": composition.copies,
        "sources": [
            {"url": unsigned(source.store.url), "digest": source.manifest.digest, "prefix": prefix}
            for source, prefix in zip(sources, prefixes, strict=True)
        ],
    }


def _prefixes(composition: Composition, sources: Sequence[Dataset]) -> list[str]:
    """Return what stands before each source's keys: nothing, or its name where keys would come twice."""
    plain = [""] * len(sources)
    if composition.keys == "plain" or (composition.keys == "auto" and len(sources) == 1):
        wanted = plain
    elif composition.keys == "dataset" or find_repeats(lambda: _keyed(sources), most=1):
        return _names(sources)
    else:
        return plain
    repeats = find_repeats(lambda: _keyed(sources), most=1) if len(sources) > 1 else []
    if repeats:
        raise ValueError(
            f"the key {repeats[0].key!r} of {repeats[0].second} is one of {repeats[0].first} as well, and a key comes "
            "once in a dataset; take --keys dataset, which puts each dataset's name before its keys",
        )
    return wanted


def _keyed(sources: Sequence[Dataset]) -> Keyed:
    for source in sources:
        for entry in source.manifest.shards:
            name = layout.parquet_name(entry.stem)
            yield f"{source.store.url}/{name}", read_keys(source.store, name) if entry.clips else ()


def _require_suited(parts: Sequence[Part]) -> None:
    """Try the condition on one shard of each source, so that one that does not suit is refused before all else."""
    some = {part.source.store.url: part for part in parts if part.where is not None and part.entry.clips}
    for part in some.values():
        _ = replace(part).count  # raises where it cannot be told; what it reads is not kept


def _require_lasting(sources: Sequence[Dataset]) -> None:
    """Refuse to refer to what is behind an address with a query: a signature is a secret, and runs out."""
    for source in sources:
        if is_web(source.store.url) and "?" in source.store.url:
            raise ValueError(
                f"{unsigned(source.store.url)} has an address with a query, to which a dataset cannot refer; take "
                "--copy, which makes one that holds all its bytes"
            )


def _name_of(source: Dataset) -> str:
    return split_url(unsigned(source.store.url)).name


def _names(sources: Sequence[Dataset]) -> list[str]:
    """Return a name for each source that no other has: the last part of its place, without dots and blanks."""
    names = [_ODD.sub("-", _name_of(source)).strip("-") or "dataset" for source in sources]
    seen: Counter[str] = Counter()
    out: list[str] = []
    for name in names:
        seen[name] += 1
        out.append(name if seen[name] == 1 and names.count(name) == 1 else f"{name}-{seen[name]}")
    return out
