"""Small datasets whose captions a test chooses, with opaque bytes in place of videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shards.manifest import Manifest, make_manifest, write_manifest
from shards.plan import BlockPlan, write_plan
from shards.store import Store
from tests.support.datasets import fake_clip, write_shard


def build_captioned_dataset(store: Store, scratch: Path, shards: Sequence[Sequence[str | tuple[str, ...]]]) -> Manifest:
    """Write a finished dataset whose shard ``n`` holds clips with the captions ``shards[n]``, a tuple for several."""
    block = max(1, *map(len, shards))
    plan = BlockPlan(
        input_digest="2" * 64,
        input_name="captions.csv",
        rows=block * len(shards),
        rows_per_block=block,
        blocks=len(shards),
        settings={"preset": "copy"},
        extra={},
    )
    write_plan(store, plan)
    entries = []
    for number, captions in enumerate(shards):
        first = number * block
        clips = [fake_clip(first + n, size=64, **_texts(caption)) for n, caption in enumerate(captions)]
        entries.append(write_shard(store, number, clips, scratch, first=first, rows=block))
    manifest = make_manifest(plan, entries)
    write_manifest(store, manifest)
    return manifest


def _texts(caption: str | tuple[str, ...]) -> dict[str, Any]:
    return {"caption": caption} if isinstance(caption, str) else {"caption": caption[0], "captions": caption}
