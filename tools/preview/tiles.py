"""Draw chosen clips of a dataset: each with its record and its picture, or with the reason why it has none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Final

from pipelines.drops import Failure, attempt
from shards.errors import NotFoundError, StoreError
from shards.manifest import Manifest
from shards.record import Record
from shards.store import Store
from tools.preview.posters import Poster, PosterLook, poster
from tools.preview.reading import Told, read_clip, read_told
from tools.preview.sampling import Located

_MOST_WORKERS: Final = 8


@dataclass(frozen=True, slots=True)
class Tile:
    """A clip on a sheet. Without a poster ``fault`` says why; a clip whose record is unreadable has none of either."""

    place: Located
    record: Record | None
    poster: Poster | None
    fault: str | None = None

    @property
    def key(self) -> str:
        """The clip's key, or where it lies if that cannot be known."""
        return self.record.key if self.record is not None else f"{self.place.stem}, row {self.place.row}"

    @property
    def caption(self) -> str:
        """The clip's caption, as it is stored."""
        return "" if self.record is None else self.record.caption


def draw_tiles(
    store: Store,
    manifest: Manifest,
    places: Sequence[Located],
    look: PosterLook | None = None,
    *,
    workers: int | None = None,
) -> Iterator[Tile]:
    """Read and draw clips, several at a time; the tiles come in the order of ``places``.

    Args:
        store: the dataset.
        manifest: its manifest.
        places: the clips, those of a shard one after the other.
        look: how large the pictures are.
        workers: threads; None takes one for each core, and eight at most.

    Raises:
        StoreError: the store is out of reach, or refuses us; a file that is missing or damaged is a tile's fault.
        MemoryError: there is no room for a clip.
    """
    groups = [(shard, list(group)) for shard, group in groupby(places, lambda place: place.shard)]

    def tell(group: tuple[int, list[Located]]) -> list[Told]:
        return read_told(store, manifest.shards[group[0]], [place.row for place in group[1]])

    with ThreadPoolExecutor(workers or min(_MOST_WORKERS, os.cpu_count() or 1)) as pool:
        told = [each for group in pool.map(tell, groups) for each in group]
        yield from pool.map(partial(_draw, store, look or PosterLook()), places, told)


def _draw(store: Store, look: PosterLook, place: Located, told: Told) -> Tile:
    record = told.record
    if record is None:
        return Tile(place, None, None, told.fault)
    made = attempt(lambda: poster(read_clip(store, place.stem, record), look))
    if not isinstance(made, Failure):
        return Tile(place, record, made)
    lost = isinstance(made.error, StoreError) and not isinstance(made.error, NotFoundError)
    if lost or isinstance(made.error, MemoryError):
        raise made.error
    return Tile(place, record, None, str(made.error) or type(made.error).__name__)
