"""The merge and select commands: datasets made of others, by reference or as copies."""

from __future__ import annotations

import contextlib
import json

from rich.console import Console

from shards.composition import Composition, make_composition, plan_composition
from shards.indexes import parse_kinds, require_own_folder, update_indexes
from shards.layout import shard_stem
from shards.lease import hold_lease
from shards.manifest import Manifest, ShardEntry
from shards.store import open_store
from tools.console import DONE, StoppedError, printable, spell_seconds, spell_size
from tools.corpus.events import spell_count
from tools.corpus.workspace import workspace


def run_composition(composition: Composition, *, index: str | None = None, as_json: bool = False) -> int:
    """Make a dataset of others and say on standard output what it holds; return the exit status.

    Args:
        composition: which datasets, and what of them.
        index: kinds of indexes for other readers, with commas between.
        as_json: print one JSON object.

    Raises:
        ValueError, StoreError: as ``shards.composition``.
        StoppedError: the output cannot be written, or another run is writing to it.
    """
    kinds = parse_kinds(index)
    planned = plan_composition(composition)
    out = planned.linking.out
    places = [links.get("tar") for links in planned.linking.links]
    tars = {shard_stem(n): place for n, place in enumerate(places) if place and planned.parts[n].entry.clips}
    require_own_folder(out.url, tars, kinds)
    console = Console(stderr=True)
    with workspace(out) as scratch, contextlib.nullcontext() if out.is_local else hold_lease(out):
        with console.status("making shards") as status:

            def tell(entry: ShardEntry) -> None:
                status.update(f"making shards: {entry.stem} of {len(planned.parts)} is done")

            try:
                manifest = make_composition(planned, scratch, tell)
            except OSError as error:
                raise StoppedError(str(error)) from error
        update_indexes(out, manifest, kinds)
    print(json.dumps(_summary(composition, manifest)) if as_json else "\n".join(_lines(composition, manifest)))
    return DONE


def _summary(composition: Composition, manifest: Manifest) -> dict[str, object]:
    totals = manifest.totals
    return {
        "out": open_store(composition.out).url,
        "sources": [source["url"] for source in manifest.settings["sources"]],
        "prefixes": [source["prefix"] for source in manifest.settings["sources"]],
        "shards": len(manifest.shards),
        "linked": sum("tar" in entry.links for entry in manifest.shards),
        "rows": totals.rows,
        "clips": totals.clips,
        "seconds": totals.seconds,
        "status": dict(totals.status),
        "digest": manifest.digest,
    }


def _lines(composition: Composition, manifest: Manifest) -> list[str]:
    totals = manifest.totals
    linked = sum("tar" in entry.links for entry in manifest.shards)
    lines = [
        f"keys of {printable(source['url'])} begin with {source['prefix']}/"
        for source in manifest.settings["sources"]
        if source["prefix"]
    ]
    where = f", {linked} of them in the sources' tars" if linked else f" of {spell_size(totals.bytes)}"
    lines.append(
        f"{spell_count(totals.clips, 'clip')} of {spell_seconds(totals.seconds)} "
        f"in {spell_count(len(manifest.shards), 'shard')}{where}, "
        f"at {open_store(composition.out).url}"
    )
    fates = ", ".join(f"{count} {status}" for status, count in totals.status.items())
    return [*lines, f"{spell_count(totals.rows, 'row')}: {fates}"]
