"""Whether keys come twice in a dataset, found in bounded memory however many there are."""

from __future__ import annotations

import hashlib
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

_HELD: Final = 1 << 22
"""Digests that are held in memory before they go to disk: 32 MiB."""

_PARTS: Final = 64

_MOST: Final = 1 << 16
"""Digests that come twice and are looked at: two large datasets may share all their keys."""

Keyed = Iterable[tuple[str, Iterable[str]]]
"""The keys of each shard, with what messages call the shard."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """A key that comes twice, and the shards where it does."""

    key: str
    first: str
    second: str


def find_repeats(shards: Callable[[], Keyed], *, most: int = 20) -> list[Repeat]:
    """Return keys that come more than once, ``most`` at most, in the order in which they come again.

    Of very many that do, those that are named are some, and not always the first.
    Each key counts 8 bytes, on disk where there are many; only where digests agree are the keys themselves compared.

    Args:
        shards: gives all keys, from the beginning each time it is called.
        most: how many repeats are named.
    """
    twice = _repeated_digests(key for _, keys in shards() for key in keys)
    found: list[Repeat] = []
    seen: dict[str, str] = {}
    again = ((shard, key) for shard, keys in (shards() if twice else ()) for key in keys if _digest(key) in twice)
    for shard, key in again:
        if key in seen:
            found.append(Repeat(key, seen[key], shard))
        seen.setdefault(key, shard)
        if len(found) == most or len(seen) > _HELD:
            break
    return found


def _repeated_digests(keys: Iterable[str]) -> frozenset[int]:
    """Return digests that come more than once: all of them, or ``_MOST`` where there are many more."""
    with tempfile.TemporaryDirectory(prefix="vidloom-keys-") as folder:
        held = array("Q")
        spilt = False
        for key in keys:
            held.append(_digest(key))
            if len(held) == _HELD:
                _spill(held, Path(folder))
                held, spilt = array("Q"), True
        if not spilt:
            return frozenset(_twice(np.frombuffer(held, dtype=np.uint64))[:_MOST].tolist())
        _spill(held, Path(folder))
        found = (each for part in _parts(Path(folder)) for each in _twice(np.fromfile(part, dtype=np.uint64)))
        return frozenset(int(digest) for digest in islice(found, _MOST))


def _spill(held: array[int], folder: Path) -> None:
    """Append digests to files by their first bits, so that equal ones meet in the same file."""
    digests = np.frombuffer(held, dtype=np.uint64)
    part = (digests >> np.uint64(58)).astype(np.intp)
    for number in range(_PARTS):
        with (folder / str(number)).open("ab") as file:
            digests[part == number].tofile(file)


def _parts(folder: Path) -> Iterator[Path]:
    return (folder / str(number) for number in range(_PARTS))


def _twice(digests: NDArray[np.uint64]) -> NDArray[np.uint64]:
    ordered = np.sort(digests)
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def _digest(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest())
