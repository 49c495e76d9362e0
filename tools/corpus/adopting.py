"""Tars of other tools become a dataset where they lie: read by workers, published shard by shard, and resumed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from shards import layout
from shards.indexes import Indexes, require_own_folder, write_indexes
from shards.lease import hold_lease
from shards.manifest import Manifest, ShardEntry
from shards.plan import write_plan
from shards.store import Store
from tools.console import StoppedError
from tools.corpus.adopt_work import read_tars
from tools.corpus.adoption_plan import Adoption, AdoptRequest, plan_adoption
from tools.corpus.workspace import workspace


@dataclass(frozen=True, slots=True)
class Adopted:
    """A finished adoption: the dataset's store and manifest, and its indexes for other readers, where it has any."""

    out: Store
    manifest: Manifest
    indexes: Indexes | None = None


@dataclass(frozen=True, slots=True)
class Advance:
    """How far an adoption is: tars done and in all, and samples read by this run."""

    done: int
    tars: int
    samples: int


def adopt(request: AdoptRequest, report: Callable[[Advance], None], kinds: Sequence[str] = ()) -> Adopted:
    """Make a dataset of tars where they lie, or what is missing of it, and indexes of it for other readers.

    Args:
        request: which tars, and how they are understood.
        report: hears how far it is.
        kinds: indexes to make, as ``shards.indexes.KINDS`` names them; a reader that cannot find the tars is refused
            before any of them is read.

    Raises:
        ValueError: there are no tars, the output holds something else, keys come twice though plain ones were asked
            for, or a reader cannot take the dataset.
        StoreError: a tar or the output is out of reach.
        StoppedError: the records cannot be written, or another run is writing to the same place.
    """
    adoption = plan_adoption(request)
    out = adoption.linking.out
    tars = {layout.shard_stem(number): links["tar"] for number, links in enumerate(adoption.linking.links)}
    require_own_folder(out.url, tars, kinds)
    with workspace(out) as scratch, contextlib.nullcontext() if out.is_local else hold_lease(out):
        try:
            manifest = _adopt(request, adoption, scratch, report)
            return Adopted(out, manifest, write_indexes(out, kinds) if kinds else None)
        except OSError as error:
            raise StoppedError(str(error)) from error


def _adopt(request: AdoptRequest, adoption: Adoption, scratch: Path, report: Callable[[Advance], None]) -> Manifest:
    linking = adoption.linking
    linking.begin()
    done = linking.finished()
    samples = 0
    report(Advance(len(done), len(adoption.tars), samples))
    for event in read_tars(adoption, request.choice, scratch, done.keys()):
        if isinstance(event, ShardEntry):
            done[int(event.stem)] = event
        else:
            samples += event.clips
        report(Advance(len(done), len(adoption.tars), samples))
    repeats = linking.repeats(done)
    if not repeats:
        return linking.finish(done)
    first = repeats[0]
    told = f"the key {first.key!r} of tar {first.second} is one of tar {first.first} as well"
    if adoption.names.qualified or request.keys != "auto":
        raise ValueError(f"{told}; a key comes once in a dataset: give --keys tar and another --out")
    return _adopt(request, _begun_again(request, linking.out), scratch, report)


def _begun_again(request: AdoptRequest, out: Store) -> Adoption:
    """Plan again with keys that hold the tar's name: what is published goes, its ledgers first, and then the plan."""
    adoption = plan_adoption(request, qualified=True)
    for name in out.list(f"{layout.LEDGER_DIR}/"):
        out.delete(name)
    write_plan(out, adoption.linking.plan)
    return adoption
