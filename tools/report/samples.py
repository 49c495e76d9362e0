"""Sample clips of the page: chosen by chance from some datasets, drawn, and as many as the page has room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shards.dataset import open_dataset
from shards.expression import Expression
from shards.record import Record
from shards.store import Store
from tools.preview.posters import PosterLook
from tools.preview.sampling import sample_rows
from tools.preview.tiles import Tile, draw_tiles
from tools.report.spelling import TIMES, shorten, spell_count, spell_number, spell_quantity

LOOK: Final = PosterLook(width=320, height=240, frames=8, most_bytes=48_000)
"""How large the pictures of the page are."""

_CAPTION: Final = 2_000
"""Characters of a caption that are in the page."""
_LONG: Final = 160
"""Characters from which on a caption is folded."""
_TEXT: Final = 300
_FRAME: Final = 1_500
"""Bytes of a figure beside its picture and caption."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A clip on the page: its picture as a data address (empty: ``fault`` says why), and what stands below it.

    ``shape`` is a frame's width over its height.
    """

    key: str
    caption: str
    detail: str
    picture: str
    frames: int
    cover: int
    shape: str
    fault: str

    @property
    def is_long(self) -> bool:
        """Whether the caption may need more than a few lines."""
        return len(self.caption) > _LONG or self.caption.count("\n") > 2  # noqa: PLR2004 - lines shown at first

    @property
    def is_tall(self) -> bool:
        """Whether a frame is taller than the room for it, which is 16 by 9."""
        return float(self.shape) < 16 / 9

    @property
    def size(self) -> int:
        """Bytes that the figure takes in the page, at most."""
        return len(self.picture) + 6 * len((self.caption + self.key + self.fault).encode()) + _FRAME


@dataclass(frozen=True, slots=True)
class Figures:
    """The clips of the page, and a line on how they were chosen."""

    figures: tuple[Figure, ...]
    lead: str


def draw_samples(datasets: Sequence[Store], n: int, *, seed: int = 0, where: Expression | None = None) -> list[Tile]:
    """Choose clips by chance and draw them: of several datasets about as many each, first ones first.

    Args:
        datasets: The datasets.
        n: How many clips, over all datasets; 0: none.
        seed: What the choice is drawn from.
        where: A condition that the clips meet.

    Raises:
        NotFoundError: there is no finished dataset.
        StoreError: a store is out of reach.
        ValueError: a table of records is damaged, or the condition does not suit its columns.
    """
    tiles: list[Tile] = []
    for place, dataset in enumerate(datasets):
        share = (n - len(tiles)) // (len(datasets) - place)
        if share:
            store, manifest = open_dataset(dataset)
            places = sample_rows(store, manifest, share, seed, where).places
            tiles += draw_tiles(store, manifest, places, LOOK)
    return tiles


def fit_figures(tiles: Sequence[Tile], room: int) -> Figures:
    """Return figures of the first clips that fit into some bytes."""
    figures: list[Figure] = []
    for tile in tiles:
        figure = _figure(tile)
        room -= figure.size
        if room < 0:
            break
        figures.append(figure)
    lead = "Chosen by chance: each clip of a dataset was as likely as any other of it."
    if len(figures) < len(tiles):
        lead += (
            f" {spell_count(len(figures))} of {spell_count(len(tiles))} are shown, for the page has no room for more."
        )
    return Figures(tuple(figures), lead)


def _figure(tile: Tile) -> Figure:
    caption = shorten(tile.caption, _CAPTION)
    if len(tile.caption) > _CAPTION:
        caption += f" ({spell_count(len(tile.caption))} characters)"
    poster = tile.poster
    return Figure(
        key=shorten(tile.key, _TEXT),
        caption=caption,
        detail="" if tile.record is None else _detail(tile.record),
        picture="" if poster is None else poster.data_uri,
        frames=1 if poster is None else poster.frames,
        cover=0 if poster is None else poster.cover,
        shape="1" if poster is None else f"{poster.width / poster.height:.4f}",
        fault=shorten(tile.fault or "", _TEXT),
    )


def _detail(record: Record) -> str:
    media = record.media
    rate = f"{spell_number(round(media.fps, 2), 4)} fps"
    length = spell_quantity(media.duration, "s")
    pieces = (length, f"{media.width} {TIMES} {media.height}", rate, media.codec)
    return " · ".join(piece.replace(" ", "\N{NO-BREAK SPACE}") for piece in pieces)
