"""The shard command's dry run: the plan, the fate of every row by reason, and how large the dataset would be."""

from __future__ import annotations

import json
from math import fsum
from typing import Any

from rich.console import Console

from shards.errors import without_signature
from tools.console import DONE, FALLS_SHORT, spell_seconds, spell_size
from tools.corpus.block import Judged
from tools.corpus.dry_run import Forecast, forecast
from tools.corpus.events import Event, spell_count
from tools.corpus.request import ShardRequest
from tools.progress import RunDisplay
from tools.run_state import RunState
from tools.shard_summary import advice
from tools.shard_watchers import Watchers


def run_dry(request: ShardRequest, *, as_json: bool = False, watchers: Watchers | None = None) -> int:
    """Say on standard output what a run would do, and write nothing; return the exit status that it would have.

    Raises:
        ValueError: there are watchers of a run, or rows to retry, of which nothing can be foretold; or as ``forecast``.
        StoreError, StoppedError: as ``tools.corpus.dry_run.forecast``.
    """
    if watchers not in {None, Watchers()}:
        raise ValueError("--log and --wandb tell of a run, and --dry-run is none; leave them out, or take --json")
    if request.retry:
        raise ValueError("--dry-run cannot tell what --retry would mend; vidloom stats tells which rows failed")
    request.choice.require()
    state = RunState()
    with RunDisplay(Console(stderr=True), state, f"dry run for {without_signature(request.out)}") as display:

        def report(event: Event | Judged) -> None:
            state.take(event)
            display.take(event)

        found = forecast(request, report)
    summary = _summary(request, found)
    print(json.dumps(summary, ensure_ascii=True) if as_json else "\n".join(_lines(summary)))
    return FALLS_SHORT if found.status.get("failed", 0) else DONE


def _summary(request: ShardRequest, found: Forecast) -> dict[str, Any]:
    sizes = found.shard_bytes
    return {
        "out": without_signature(request.out),
        "rows": found.plan.rows,
        "rows_per_block": found.plan.rows_per_block,
        "shards": found.plan.blocks,
        "shards_done": found.blocks_done,
        "rows_judged": sum(block.rows for block in found.judged),
        "clips": sum(block.clips for block in found.judged),
        "seconds": fsum(block.seconds for block in found.judged),
        "frames": sum(block.frames for block in found.judged),
        "bytes": sum(sizes),
        "largest_shard": max(sizes, default=0),
        "smallest_shard": min(sizes, default=0),
        "status": found.status,
        "reasons": found.reasons,
    }


def _lines(summary: dict[str, Any]) -> list[str]:
    rows, shards = spell_count(summary["rows"], "row"), spell_count(summary["shards"], "shard")
    if not summary["rows_judged"]:
        return [f"all {rows} in {shards} are done already; nothing was written"]
    lines = [f"{rows} in {shards} of {spell_count(summary['rows_per_block'], 'row')} each"]
    if summary["shards_done"]:
        lines.append(f"{summary['shards_done']} shards are there already; what follows is of the others")
    lines += [f"  {reason}: {count}" for reason, count in _commonest(summary["reasons"])]
    size, smallest, largest = (spell_size(summary[name]) for name in ("bytes", "smallest_shard", "largest_shard"))
    lines.append(
        f"{spell_count(summary['clips'], 'clip')} of {spell_seconds(summary['seconds'])} in all, about {size}; "
        f"shards of about {smallest} to {largest}"
    )
    lines += [] if summary["shards_done"] else advice(summary["clips"], summary["reasons"])
    counts = {"success": 0, "failed": 0} | summary["status"]
    fates = ", ".join(f"{count} {status}" for status, count in counts.items())
    return [*lines, f"{spell_count(summary['rows_judged'], 'row')} would give: {fates}; nothing was written"]


def _commonest(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
