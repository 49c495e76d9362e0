"""The shard command: runs, shows progress, names every row that failed, and ends with the sums."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

from rich.console import Console

from shards.layout import LEDGER_DIR
from shards.ledger import LedgerRow
from shards.manifest import Manifest
from shards.store import Store, open_store
from tools.console import DONE, FALLS_SHORT, printable, spell_seconds, spell_size
from tools.corpus.planning import ShardRequest
from tools.corpus.run import Event, Planned, failures, shard
from tools.corpus.tally import Progress
from tools.progress import ClipProgress

_NAMED_FAILURES: Final = 50


def run_shard(request: ShardRequest, *, as_json: bool = False) -> int:
    """Shard a corpus and say on standard output what became of it; return the exit status.

    Raises:
        ValueError, StoreError, StoppedError: as ``tools.corpus.run.shard``.
    """
    with ClipProgress(Console(stderr=True)) as progress:

        def report(event: Event) -> None:
            if isinstance(event, Planned):
                progress.start(event.plan.rows, event.rows_done)
            elif isinstance(event, Progress):
                progress.advance(event.rows, event.clips)

        manifest = shard(request, report)
    out = open_store(request.out)
    failed = list(islice(failures(out, manifest), _NAMED_FAILURES))
    if as_json:
        print(json.dumps(_summary(out, manifest, failed), ensure_ascii=True))
    else:
        print("\n".join(_lines(out, manifest, failed)))
    return FALLS_SHORT if manifest.totals.status.get("failed", 0) else DONE


def _summary(out: Store, manifest: Manifest, failed: Sequence[LedgerRow]) -> dict[str, Any]:
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
        "failures": [
            {"row": row.row, "source": row.source, "reason": row.reason, "message": row.message} for row in failed
        ],
    }


def _lines(out: Store, manifest: Manifest, failed: Sequence[LedgerRow]) -> list[str]:
    totals = manifest.totals
    lines = ["rows that failed (the first row after the header is row 0):"] if failed else []
    lines += [
        f"row {row.row} ({printable(row.source)}): {row.reason}: {printable(row.message or '')}" for row in failed
    ]
    left = totals.status.get("failed", 0) - len(failed)
    if left:
        lines.append(f"and {left} more rows that failed; all are in {out.url}/{LEDGER_DIR}")
    lines.append(
        f"{totals.clips} clips of {spell_seconds(totals.seconds)} in all, {spell_size(totals.bytes)} "
        f"in {len(manifest.shards)} shards at {out.url}",
    )
    counts = {"success": 0, "failed": 0} | dict(totals.status)
    return [*lines, f"{totals.rows} rows: " + ", ".join(f"{count} {status}" for status, count in counts.items())]
