"""The shard command: runs, shows progress, names every row that failed, and ends with the sums."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Final

from rich.console import Console

from shards.errors import without_signature
from shards.indexes import parse_kinds, update_indexes
from shards.layout import LEDGER_DIR
from shards.ledger import LedgerRow
from shards.manifest import Manifest
from shards.store import Store, open_store, split_url
from tools.console import DONE, FALLS_SHORT, printable, spell_seconds, spell_size
from tools.corpus.events import Event
from tools.corpus.failures import failures
from tools.corpus.request import ShardRequest
from tools.corpus.run import shard
from tools.progress import RunDisplay
from tools.run_state import RunState
from tools.shard_log import JsonLines, RunLog, Sink, Wandb

_NAMED_FAILURES: Final = 50


@dataclass(frozen=True, slots=True)
class Watchers:
    """Who else hears of a run: a file of JSON lines, a project of Weights & Biases."""

    log: str | None = None
    wandb: str | None = None


def run_shard(
    request: ShardRequest, *, as_json: bool = False, watchers: Watchers | None = None, index: str = ""
) -> int:
    """Shard a corpus and say on standard output what became of it; return the exit status.

    Indexes for other readers, those that ``index`` names with commas between and those that the dataset had, are made
    once it is finished.

    Raises:
        ValueError, StoreError, StoppedError: as ``tools.corpus.run.shard``.
    """
    kinds = parse_kinds(index)
    state = RunState()
    display = RunDisplay(Console(stderr=True), state, f"sharding to {without_signature(request.out)}")
    with RunLog(_sinks(request, watchers or Watchers()), state) as log:
        log.begin(_about(request))
        with display:

            def report(event: Event) -> None:
                state.take(event)
                log.take(event)
                display.take(event)

            manifest = shard(request, report)
            out = open_store(request.out)
            update_indexes(out, manifest, kinds)
        failed = list(islice(failures(out, manifest), _NAMED_FAILURES))
        elapsed = round(state.snapshot().elapsed, 3)
        summary = _summary(out, manifest) | {"elapsed": elapsed, "notes": list(state.notes)}
        status = FALLS_SHORT if manifest.totals.status.get("failed", 0) else DONE
        log.end(status, summary)
    if as_json:
        print(json.dumps(summary | {"failures": _failures(failed)}, ensure_ascii=True))
    else:
        print("\n".join(_lines(out, manifest, failed, elapsed)))
    return status


def _sinks(request: ShardRequest, watchers: Watchers) -> list[Sink]:
    sinks: list[Sink] = []
    if watchers.log is not None:
        sinks.append(JsonLines(watchers.log, lambda line: print(f"vidloom: {printable(line)}", file=sys.stderr)))
    if watchers.wandb is not None:
        sinks.append(Wandb(watchers.wandb, split_url(request.out).name, _about(request)))
    return sinks


def _about(request: ShardRequest) -> dict[str, Any]:
    names = [request.input] if isinstance(request.input, str) else request.input
    about = {"input": [without_signature(name) for name in names], "out": without_signature(request.out)}
    return about | {"settings": request.settings(), "run": asdict(request.choice)}


def _summary(out: Store, manifest: Manifest) -> dict[str, Any]:
    totals = manifest.totals
    return {
        "out": out.url,
        "shards": len(manifest.shards),
        "rows": totals.rows,
        "clips": totals.clips,
        "seconds": totals.seconds,
        "frames": totals.frames,
        "bytes": totals.bytes,
        "status": dict(totals.status),
        "reasons": dict(totals.reasons),
        "digest": manifest.digest,
    }


def _failures(failed: Sequence[LedgerRow]) -> list[Mapping[str, Any]]:
    return [
        {"row": row.row, "clip": row.clip, "source": row.source, "reason": row.reason, "message": row.message}
        for row in failed
    ]


def _lines(out: Store, manifest: Manifest, failed: Sequence[LedgerRow], elapsed: float) -> list[str]:
    totals = manifest.totals
    lines = ["rows that failed (the first row after the header is row 0):"] if failed else []
    lines += [
        f"row {row.row} ({printable(row.source)}): {row.reason}: {printable(row.message or '')}" for row in failed
    ]
    left = totals.status.get("failed", 0) - len(failed)
    if left:
        lines.append(f"and {left} more rows that failed; all are in {out.url}/{LEDGER_DIR}")
    if totals.reasons:
        lines.append("reasons: " + ", ".join(f"{reason} {count}" for reason, count in _commonest(totals.reasons)))
    lines.append(
        f"{totals.clips} clips of {spell_seconds(totals.seconds)} in all, {spell_size(totals.bytes)} "
        f"in {len(manifest.shards)} shards at {out.url}, in {spell_seconds(elapsed)}",
    )
    counts = {"success": 0, "failed": 0} | dict(totals.status)
    return [*lines, f"{totals.rows} rows: " + ", ".join(f"{count} {status}" for status, count in counts.items())]


def _commonest(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
