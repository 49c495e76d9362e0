"""A small dataset with questions, choices and classes, and tiny models to measure on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.kinds import find_kind
from shards.manifest import Manifest
from shards.store import open_store
from shards.writer import Clip
from tests.support.clip_datasets import build_clip_dataset, video_clip
from tests.support.saved_runs import save_run, tiny_words, towers_with_words
from tests.support.tiny_networks import EVERY_CONFIG
from tests.support.video_text import build
from train.run_files import keep_run_files

ROWS = (0, 1, 2, 3, 8, 9, 10, 12, 13, 14)
"""Input rows of the dataset, in its order."""
TWIN, ORIGINAL = 13, 2
"""A row whose clip is the same, byte for byte, as another's."""
COLUMNS = {
    "action": "string",
    "number": "int64",
    "question": "string",
    "reply": "string",
    "options": "string",
    "right": "int64",
    "one": "string",
    "two": "string",
}
NAMES = ("run", "sit", "a_dog")


def caption_of(row: int) -> str:
    return f"{('a red dog', 'two dogs')[row % 2]} {('runs', 'sit', 'runs and sits')[row % 3]} {row}"


def values_of(row: int) -> dict[str, Any]:
    return {
        "action": NAMES[row % 3],
        "number": row % 3,
        "question": f"what does dog {row} do",
        "reply": '["runs", "runs", "sits"]' if row % 2 else "Sits.",
        "options": '["a red dog", "two dogs", "sit"]' if row % 2 else '["sit", "runs"]',
        "right": row % 2,
        "one": "a red dog runs",
        "two": f"two dogs sit {row}",
    }


def build_evaluated(
    folder: Path, scratch: Path, *, broken: tuple[int, ...] = (), captions: Mapping[int, tuple[str, ...]] | None = None
) -> Manifest:
    """Write ten clips in four shards, of which one is empty; some rows may have other captions than their one."""

    def make(row: int) -> Clip:
        clip = video_clip(ORIGINAL if row == TWIN else row, broken=row in broken)
        key = f"{row:09d}_00000"
        told = (captions or {}).get(row, (caption_of(row),))
        several = told if len(told) > 1 else ()
        record = replace(clip.record, row=row, key=key, caption=told[0] if told else "", captions=several)
        return replace(clip, record=record)

    return build_clip_dataset(
        open_store(folder), scratch, counts=(4, 0, 3, 3), columns=COLUMNS, values=values_of, make=make
    )


def save_model(out: Path, kind: str, *, classes: tuple[str, ...] | None = None, seed: int = 0) -> str:
    """Write a run with a tiny model of a kind, whose weights spread its features."""
    towers = kind == "mm_full"
    config = towers_with_words() if towers else EVERY_CONFIG[kind]
    if classes is not None:
        config = replace(config, classes=len(classes))
    if hasattr(config, "image_size"):
        config = replace(config, image_size=(16, 16))
    weights = build(find_kind(kind).network, config, seed).state_dict()
    save_run(out, kind, config, weights=weights, data={"sampling": "bin" if towers else "dense"})
    keep_run_files(open_store(out), tokenizer=tiny_words() if towers else None, classes=classes)
    return str(out)
