"""Draw what the loader gives: each row of a batch beside the frames that it was made of, with all that was drawn."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

from pipelines.drops import DropBudget, Failure, attempt
from pipelines.loader import BatchLoader, Loader, PackedLoader
from pipelines.meter import StageMeter
from pipelines.settings import LoaderConfig, SourceConfig
from pipelines.sources import ClipSources, open_sources
from shards.errors import without_signature
from tools.loader_settings import loader_config
from tools.preview.loaded_cards import Made, Row, card_of
from tools.preview.sheet import Card, Sheet, clean

_SPELT_BY_TRAINING: Final = {
    "mask_ratio": "mask.ratio",
    "mask_kind": "mask.kind",
    "decoder_mask_ratio": "mask.decoder_ratio",
    "tokenizer": "tokens.tokenizer",
    "label": "label.column",
    "classes": "label.classes",
    "pack_tokens": "packing.max_tokens",
}
"""Names of training's data settings for what a loader has under another name."""
_OF_TRAINING: Final = "data."
_PATIENCE: Final = 5.0
_MOST_WORKERS: Final = 8
_AT_ONCE: Final = 16
"""Rows that are held at a time, and drawn side by side."""

Watch = Callable[[Iterable[Card], int], Iterable[Card]]


@dataclass(frozen=True, slots=True)
class LoadedRequest:
    """``n`` samples of a loader's order, drawn by ``seed``, with ``settings`` as NAME=VALUE.

    Names are the loader's or, as ``vidloom train`` has them, ``data.NAME``. ``where`` is a condition that clips meet.
    The batches that hold the first ``skip`` samples are passed over.
    """

    dataset: str
    n: int
    seed: int
    where: str | None
    settings: Sequence[str]
    skip: int = 0

    def config(self) -> LoaderConfig:
        """Return the loader's settings.

        Raises:
            ValueError: a setting is unknown or out of range.
        """
        spelt = [_as_loaders(text) for text in self.settings]
        standing = {
            "batch_size": self.n,
            "seed": self.seed,
            "workers": min(_MOST_WORKERS, os.cpu_count() or 1),
            "prefetch_batches": 1,
        }
        config = loader_config(self.dataset, spelt, **standing)
        if self.where is not None:
            config = replace(config, source=(SourceConfig(self.dataset, where=self.where),))
        return replace(config, drops=DropBudget(share=1.0, window=1 << 40, in_a_row=1 << 40))


def loaded_sheet(request: LoadedRequest, watch: Watch = lambda rows, count: rows) -> Sheet:  # noqa: ARG005 - as told
    """Run the loader and draw a card for each row that it makes of the first ``n`` samples.

    Args:
        request: what to load.
        watch: passes the rows on, of which there are so many, and may show how far they are.

    Raises:
        NotFoundError: there is no finished dataset.
        ValueError: a setting is wrong, or the dataset holds no clip that meets the condition.
        StoreError: the dataset cannot be read.
    """
    config = request.config()
    sources = open_sources(config)
    clips = sum(one.clips for one in sources)
    count = min(request.n, clips)
    if config.batch_size == request.n:
        config = replace(config, batch_size=count)
    total = count * config.rows
    kind = Loader if config.packing is None else PackedLoader
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "drops.jsonl"
        with (
            kind(replace(config, drop_log=str(log)), sources) as loader,
            _reading(ClipSources(sources, config.source_names, None, StageMeter())) as source,
        ):
            rows = islice(_rows(loader, source, log, request.skip // config.batch_size), total)
            cards = tuple(watch(_cards(config, rows), total))
    name = clean(without_signature(sources[0].store.url))
    told = " ".join(request.settings) or "the loader's own settings"
    title = f"{len(cards)} rows that the loader makes of {count} of {clips:,} clips of {name}"
    chosen = "" if request.where is None else f", where {request.where}"
    first = f"from batch {request.skip // config.batch_size} on, " if request.skip else ""
    return Sheet(title, (clean(f"{first}seed {request.seed}, {told}{chosen}"),), cards, wide=True)


def _cards(config: LoaderConfig, rows: Iterator[Row]) -> Iterator[Card]:
    """Draw the cards of rows, a few at a time."""

    def card(row: Row) -> Card:
        return card_of(config.of_source(row.slot.source), row)

    with ThreadPoolExecutor(min(_MOST_WORKERS, os.cpu_count() or 1)) as pool:
        while few := list(islice(rows, _AT_ONCE)):
            yield from pool.map(card, few)


@contextmanager
def _reading(source: ClipSources) -> Iterator[ClipSources]:
    """Read clips a second time, to show what rows were made of."""
    try:
        yield source
    finally:
        source.close(_PATIENCE)


def _rows(loader: BatchLoader[Any], source: ClipSources, log: Path, first: int) -> Iterator[Row]:
    """Yield the rows of batch after batch, each with its slot and the clip that it was made of."""
    per_clip = loader.config.rows
    loader.load_state_dict({**loader.state_dict(), "samples": first * loader.config.batch_size})
    for number, batch in enumerate(loader, start=first):
        reasons = _reasons(log)
        for place, slot in enumerate(loader.order.share(number, rank=0, world=1)):
            clip = attempt(partial(source.fetch, slot))
            if isinstance(clip, Failure) and clip.ends_run:
                raise clip.error
            held = None if isinstance(clip, Failure) else clip
            for row in range(per_clip):
                made = Made.of(batch, place * per_clip + row)
                yield Row(slot, source.stem(slot), row, made, held, reasons.get(slot.position))


def _reasons(log: Path) -> dict[int, str]:
    """Return why samples were dropped, by their position."""
    if not log.exists():
        return {}
    lines: list[dict[str, Any]] = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return {line["position"]: f"{line['reason']}: {line['message']}" for line in lines}


def _as_loaders(text: str) -> str:
    """Return a setting under the loader's name for it."""
    if not text.startswith(_OF_TRAINING):
        return text
    name, sign, value = text.removeprefix(_OF_TRAINING).partition("=")
    return f"{_SPELT_BY_TRAINING.get(name, name)}{sign}{value}"
