"""Draw a contact sheet of a dataset, as it is stored or as the loader gives it, and write it where it shall be."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from rich.console import Console
from rich.progress import track

from shards.dataset import open_dataset
from shards.errors import without_signature
from shards.expression import Expression, parse
from shards.store import open_store, split_url
from tools.console import DONE, FALLS_SHORT, printable, spell_size
from tools.preview.loaded import LoadedRequest, loaded_sheet
from tools.preview.page import render_page
from tools.preview.picture import draw_picture
from tools.preview.posters import PosterLook
from tools.preview.sampling import sample_rows
from tools.preview.sheet import Sheet, cards_of, clean
from tools.preview.tiles import draw_tiles

_KINDS: Final = (".html", ".png")
_NAMED: Final = 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PreviewRequest:
    """What is to be drawn, and where the sheet goes.

    ``n`` clips drawn by ``seed`` of those that meet ``where``, to ``out``, a path or URL that ends in .html or .png.
    ``settings`` are those of a loader, NAME=VALUE each, for what it gives from sample ``skip`` of its order on; None
    draws clips as they are stored.
    ``frames`` of each clip are shown where they are as stored. ``fonts`` are font files for a PNG.

    Raises:
        ValueError: the sheet's name has another ending, or the condition cannot be read.
    """

    dataset: str
    out: str = "preview.html"
    n: int = 24
    seed: int = 0
    where: str | None = None
    frames: int = 6
    fonts: tuple[str, ...] = ()
    settings: tuple[str, ...] | None = None
    skip: int = 0

    def __post_init__(self) -> None:
        if not self.out.lower().endswith(_KINDS):
            raise ValueError(f"{self.out} is neither a page nor a picture; give a name that ends in .html or .png")
        self.condition  # noqa: B018 - one that cannot be read is refused

    @property
    def condition(self) -> Expression | None:
        """The condition, read."""
        return None if self.where is None else parse(self.where)


@dataclass(frozen=True, slots=True)
class _Written:
    """A sheet's bytes, and a remark on what could not be drawn of it."""

    data: bytes
    remark: str | None = None


def run_preview(request: PreviewRequest, *, as_json: bool = False) -> int:
    """Draw the sheet, write it, and say what is on it; return the exit status, 1 where clips have no picture.

    Raises:
        NotFoundError: there is no finished dataset.
        StoreError: a file cannot be read, or the sheet cannot be written.
        ValueError: settings are wrong, no clip meets the condition, or a table of records is damaged.
    """
    sheet = _stored_sheet(request) if request.settings is None else _loaded_sheet(request, request.settings)
    written = _write(sheet, request)
    if as_json:
        _print_json(sheet, request, written)
    else:
        _print(sheet, request, written)
    return FALLS_SHORT if sheet.faults else DONE


def _stored_sheet(request: PreviewRequest) -> Sheet:
    look = PosterLook(frames=request.frames)
    store, manifest = open_dataset(request.dataset)
    where = request.condition
    sample = sample_rows(store, manifest, request.n, request.seed, where)
    if not sample.places:
        held = "holds no clip" if where is None else f"holds no clip of which {where.text!r} is true"
        raise ValueError(f"{store.url} {held}: there is nothing to draw ('vidloom stats {store.url}')")
    tiles = draw_tiles(store, manifest, sample.places, look)
    cards = cards_of(_watched(tiles, len(sample.places), "drawing"))
    name = clean(without_signature(store.url))
    chosen = f"drawn by seed {request.seed} of " + ("all clips" if where is None else f"the clips where {where.text}")
    return Sheet(f"{len(cards)} of {sample.among:,} clips of {name}", (clean(chosen),), cards)


def _loaded_sheet(request: PreviewRequest, settings: tuple[str, ...]) -> Sheet:
    loaded = LoadedRequest(request.dataset, request.n, request.seed, request.where, settings, request.skip)
    return loaded_sheet(loaded, lambda rows, count: _watched(rows, count, "loading"))


def _write(sheet: Sheet, request: PreviewRequest) -> _Written:
    if request.out.lower().endswith(".html"):
        written = _Written(render_page(sheet).encode())
    else:
        drawn = draw_picture(sheet, request.fonts)
        remark = (
            f"{drawn.lacking} of {len(sheet.cards)} cards have characters that no font found here has a sign for; "
            "give a font with --font FILE, or write a page, whose reader has fonts of its own"
        )
        written = _Written(drawn.data, remark if drawn.lacking else None)
    parent, name = split_url(request.out)
    open_store(parent).put(name, written.data)
    return written


def _watched(items: Iterable[T], count: int, what: str) -> Iterator[T]:
    """Pass items on under a progress bar where a terminal shows it."""
    console = Console(stderr=True)
    if not sys.stderr.isatty():
        return iter(items)
    return iter(track(items, what, total=count, console=console, transient=True))


def _print(sheet: Sheet, request: PreviewRequest, written: _Written) -> None:
    print(f"{printable(sheet.title)}: {printable(request.out)}, {spell_size(len(written.data))}")
    if written.remark is not None:
        print(written.remark)
    faulty = [card for card in sheet.cards if card.fault is not None]
    for card in faulty[:_NAMED]:
        print(f"{printable(card.title)}: {printable(card.fault or '')}")
    if faulty:
        print(f"{len(faulty)} of {len(sheet.cards)} have no picture; the sheet says why")


def _print_json(sheet: Sheet, request: PreviewRequest, written: _Written) -> None:
    faults = [{"clip": card.title, "fault": card.fault} for card in sheet.cards if card.fault is not None]
    about = {
        "format": 1,
        "out": request.out,
        "bytes": len(written.data),
        "title": sheet.title,
        "cards": len(sheet.cards),
        "faults": faults,
        "remark": written.remark,
    }
    print(json.dumps(about, ensure_ascii=True))
