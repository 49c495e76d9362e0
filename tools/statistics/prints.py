"""What clips are compared by: a digest of their bytes, and hashes of their pictures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

from shards.layout import tar_name
from tools.statistics.hashing import Hashes
from tools.statistics.picture_hashes import picture_hashes
from tools.statistics.tables import Shard, place, read_chosen

_SIDE_FILES: Final = frozenset({"txt", "json"})


@dataclass(frozen=True, slots=True)
class Print:
    """What is compared of a clip: its place and key, the digest of its bytes, frames, seconds, hashes of its pictures.

    Where it cannot be decoded, ``hashes`` is None.
    """

    place: int
    key: str
    digest: str
    frames: int
    seconds: float
    hashes: Hashes | None


def prints_of(
    shard: Shard,
    rows: Sequence[int],
    given_up: Collection[int] = (),
    at_work: Callable[[int], AbstractContextManager[object]] = nullcontext,
) -> list[Print]:
    """Decode some clips of a shard, by rising row numbers, and return what they are compared by.

    Args:
        shard: The shard.
        rows: The clips' rows.
        given_up: Rows that are not decoded, because they killed the process that did.
        at_work: Is entered with a row's number while that clip is read and decoded.

    Raises:
        StoreError: a file cannot be read.
        ValueError: the table is damaged; the message names it.
    """
    columns = ("key", "sha256", "num_frames", "duration", "members")
    found = []
    for row, values in read_chosen(shard, rows, columns):
        with at_work(row):
            hashes = None if row in given_up else _hashes(shard, values["key"], values["members"])
        found.append(
            Print(
                place=place(shard, row),
                key=values["key"],
                digest=values["sha256"],
                frames=values["num_frames"],
                seconds=values["duration"],
                hashes=hashes,
            )
        )
    return found


def _hashes(shard: Shard, key: str, members: Sequence[Mapping[str, Any]]) -> Hashes | None:
    member = next(one for one in members if one["ext"] not in _SIDE_FILES)
    start = member["offset"]
    return picture_hashes(key, shard.store.read_range(tar_name(shard.entry.stem), start, start + member["size"]))
