"""The pass before the clips: fingerprints of all blocks, and from them which segments are left out as duplicates."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from shards.layout import FINGERPRINT_DIR, fingerprint_name, shard_stem
from shards.plan import BlockPlan
from shards.store import Store
from tools.corpus.dedup import Duplicates, decide
from tools.corpus.events import Note
from tools.corpus.fingerprint_table import read_fingerprints
from tools.corpus.fingerprints import Fingerprinted
from tools.corpus.making import fingerprint
from tools.corpus.running import Run
from tools.corpus.tally import Activity, Progress


def unprinted(place: Store, plan: BlockPlan) -> set[int]:
    """Return the blocks whose fingerprints are not there yet."""
    there = set(place.list(f"{FINGERPRINT_DIR}/"))
    return {number for number in range(plan.blocks) if fingerprint_name(shard_stem(number)) not in there}


def take_fingerprints(run: Run, numbers: Collection[int], into: Store) -> Iterator[Progress | Activity | Note]:
    """Take the fingerprints of blocks and publish them; yield what goes on, and how many rows had to be given up.

    Raises:
        StoppedError: they cannot be published, or the videos' store went out of reach.
    """
    lost = 0
    for event in fingerprint(run, set(numbers), into):
        if isinstance(event, Fingerprinted):
            lost += event.lost
        else:
            yield event
    if lost:
        yield Note(f"{lost} rows are compared with no others: their process died, or ran out of time or memory")


def with_duplicates(run: Run, place: Store) -> Run:
    """Return the run with its duplicates known, all blocks having their fingerprints in a place.

    Raises:
        StoreError: fingerprints cannot be read.
        ValueError: a file holds none.
    """
    assert run.request.sift.dedup is not None, "duplicates are asked for"
    prints = read_fingerprints(place, map(shard_stem, range(run.plan.blocks)))
    return replace(run, duplicates=decide(prints, run.request.sift.dedup))


def spell_duplicates(found: Duplicates) -> str:
    """Return one line on how many segments are left out."""
    exact = int(found.exact.sum())
    return f"{len(found)} segments are duplicates of earlier ones ({exact} exact, {len(found) - exact} near)"
