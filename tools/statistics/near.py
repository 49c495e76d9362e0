"""Near duplicates among a sample of clips: their pictures are decoded, hashed and compared."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from tools.corpus.dedup import DedupSettings, decide
from tools.corpus.executor import ExecutorChoice
from tools.corpus.fingerprint_table import Fingerprints
from tools.corpus.likeness import picture_share
from tools.statistics.model import NearFacts, NearPair
from tools.statistics.near_workers import prints_by_workers
from tools.statistics.prints import Print, prints_of
from tools.statistics.scan import in_threads
from tools.statistics.tables import Shard, Source, find_rows

Workers = ExecutorChoice
"""Who decodes clips, where this process does not."""

_SETTINGS: Final = DedupSettings("near")
_PARTS: Final = 32
"""Bits behind the number of a row in ``Duplicates``."""


def find_near(
    sources: Sequence[Source],
    places: Sequence[int],
    progress: Callable[[int], None] = lambda _: None,
    choice: Workers | None = None,
) -> NearFacts:
    """Decode some pictures of clips and return which clips are like which earlier ones.

    Clips are alike as ``vidloom shard --dedup near`` has it, with its standard settings: the same bytes, or 60 % of the
    pictures of both with a like one in the other, of which at most 10 of the hash's 64 bits differ.

    Args:
        sources: The datasets.
        places: Where the clips stand.
        progress: Is told of clips as they are decoded.
        choice: Who decodes; None takes threads of this process, one for each core.

    Raises:
        StoreError: a file cannot be read.
        ValueError: a table is damaged, or there is no such cluster; the message names it.
        StoppedError: the workers cannot go on.
    """
    prints: list[Print] = []
    wanted = find_rows(sources, places)
    threads = os.cpu_count() or 1
    found = in_threads(_prints, wanted, threads) if choice is None else prints_by_workers(sources, wanted, choice)
    for some in found:
        prints += some
        progress(len(some))
    sound = sorted((one for one in prints if one.hashes is not None), key=lambda one: one.place)
    pairs = _pairs(sound)
    return NearFacts(len(sound), len(prints) - len(sound), len(pairs), tuple(pairs))


def _prints(wanted: tuple[Shard, list[int]]) -> list[Print]:
    return prints_of(*wanted)


def _pairs(prints: Sequence[Print]) -> list[NearPair]:
    """Return the clips that are like an earlier one, each with the earliest such."""
    if not prints:
        return []
    table = _table(prints)
    found = decide(table, _SETTINGS)
    numbers = {one.place: number for number, one in enumerate(prints)}
    assert len(numbers) == len(prints), "each clip has a place of its own"
    pairs = []
    for later, earlier in zip((found.places >> _PARTS).tolist(), (found.originals >> _PARTS).tolist(), strict=True):
        same = prints[later].digest == prints[earlier].digest
        share = 1.0 if same else picture_share(table, np.array([later, earlier]), _SETTINGS.bits)
        pairs.append(NearPair(prints[later].key, prints[earlier].key, share))
    return pairs


def _table(prints: Sequence[Print]) -> Fingerprints:
    """Return the prints as they are compared, with their numbers for rows."""
    count = len(prints)
    hashes = [one.hashes if one.hashes is not None else np.empty(0, np.uint64) for one in prints]
    return Fingerprints(
        row=np.arange(count),
        part=np.zeros(count, np.int32),
        source=np.unique([one.digest for one in prints], return_inverse=True)[1].astype(np.int32),
        first=np.zeros(count, np.int64),
        stop=np.array([one.frames for one in prints], np.int64),
        seconds=np.array([one.seconds for one in prints], np.float32),
        caption=np.arange(count, dtype=np.int32),
        ends=np.cumsum([len(one) for one in hashes]),
        hashes=np.concatenate(hashes),
        words=np.zeros((count, 1), np.uint16),
    )
