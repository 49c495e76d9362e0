"""What clips are compared by: a digest of their bytes, and hashes of their pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shards.layout import tar_name
from tools.statistics.hashing import Hashes
from tools.statistics.picture_hashes import picture_hashes
from tools.statistics.tables import Shard, place, read_chosen

_SIDE_FILES: Final = frozenset({"txt", "json"})


@dataclass(frozen=True, slots=True)
class Print:
    """What is compared of a clip: its place and key, a digest of its bytes, frames, seconds, hashes of its pictures.

    Where it cannot be decoded, ``hashes`` is None.
    """

    place: int
    key: str
    digest: str
    frames: int
    seconds: float
    hashes: Hashes | None


def prints_of(shard: Shard, rows: Sequence[int]) -> list[Print]:
    """Decode some clips of a shard, by rising row numbers, and return what they are compared by.

    Raises:
        StoreError: a file cannot be read.
        ValueError: the table is damaged; the message names it.
    """
    columns = ("key", "sha256", "num_frames", "duration", "members")
    found = []
    for row, values in read_chosen(shard, rows, columns):
        member = next(one for one in values["members"] if one["ext"] not in _SIDE_FILES)
        start = member["offset"]
        payload = shard.store.read_range(tar_name(shard.entry.stem), start, start + member["size"])
        found.append(
            Print(
                place=place(shard, row),
                key=values["key"],
                digest=hashlib.sha256(payload).hexdigest(),
                frames=values["num_frames"],
                seconds=values["duration"],
                hashes=picture_hashes(values["key"], payload),
            )
        )
    return found
