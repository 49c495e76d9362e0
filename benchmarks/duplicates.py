"""How much memory and time it takes to find duplicates among many rows: python -m benchmarks.duplicates --rows N."""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.amounts import at_least_one
from tools.corpus.dedup import DedupSettings, decide
from tools.corpus.fingerprint_table import PERMUTATIONS, Fingerprints

PICTURES = 20
"""Hashes a segment: ten seconds of video."""

PLANTED = 100
"""One row of so many is a copy of an earlier one, with a few bits of its hashes and values of its MinHash changed."""


def make_fingerprints(rows: int, *, pictures: int, words: bool, seed: int = 0) -> Fingerprints:
    """Return random fingerprints; every hundredth is like that of the row before it."""
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 1 << 63, (rows, pictures), np.uint64)
    values = random.integers(1, 1 << 16, (rows, PERMUTATIONS if words else 1), np.uint16)
    copies = np.arange(PLANTED - 1, rows, PLANTED)
    if pictures:
        flips = np.uint64(1) << random.integers(0, 64, (len(copies), pictures, 3)).astype(np.uint64)
        hashes[copies] = hashes[copies - 1] ^ flips[..., 0] ^ flips[..., 1] ^ flips[..., 2]
    values[copies] = np.where(random.random((len(copies), values.shape[1])) < 0.1, values[copies], values[copies - 1])  # noqa: PLR2004
    return Fingerprints(
        row=np.arange(rows),
        part=np.zeros(rows, np.int32),
        source=np.arange(rows, dtype=np.int32),
        first=np.zeros(rows, np.int64),
        stop=np.full(rows, 250),
        seconds=np.full(rows, 10, np.float32),
        caption=np.arange(rows, dtype=np.int32),
        ends=np.arange(1, rows + 1) * pictures,
        hashes=hashes.ravel(),
        words=values if words else np.broadcast_to(np.zeros(PERMUTATIONS, np.uint16), (rows, PERMUTATIONS)),
    )


def measure(rows: int, mode: str, by: str) -> dict[str, float | int | str]:
    """Find the duplicates among that many rows; return the counts, seconds, and bytes of peak memory a row."""
    settings = DedupSettings(mode, by)  # type: ignore[arg-type]  # the class checks the names
    before = _peak()
    prints = make_fingerprints(rows, pictures=PICTURES if settings.needs_pictures else 0, words=settings.needs_words)
    held = sum(getattr(prints, name).nbytes for name in prints.__slots__ if name != "words" or settings.needs_words)
    made, start = _peak(), time.perf_counter()
    found = decide(prints, settings)
    return {
        "rows": rows,
        "mode": mode,
        "by": by,
        "planted": rows // PLANTED,
        "found": len(found),
        "seconds": round(time.perf_counter() - start, 1),
        "bytes_a_row_held": round(held / rows),
        "bytes_a_row_peak": round((_peak() - before) / rows),
        "of_which_made_while_generating": round((made - before) / rows),
    }


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure once, as the options say; print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=at_least_one, default=1_000_000)
    parser.add_argument("--mode", default="near")
    parser.add_argument("--by", default="video")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    given = parser.parse_args(arguments)
    found = json.dumps(measure(given.rows, given.mode, given.by))
    print(found)
    if given.json:
        given.json.write_text(found + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
