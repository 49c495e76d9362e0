"""What is said of a dataset when a run has finished it: failures by name, then the sums, as lines or as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from shards.errors import without_signature
from shards.layout import LEDGER_DIR
from shards.ledger import LedgerRow
from shards.manifest import Manifest
from shards.store import Store
from tools.console import printable, spell_seconds, spell_size
from tools.corpus.events import spell_count
from tools.corpus.table_files import table_suffix

_ADVICE: Final = {
    "no_caption": "no row has a caption: --caption-col '' takes videos without, in another output folder",
    "outside_root": "no video lies below the root: give one that holds all as --root, with --retry outside_root, or "
    "--allow-outside, in another output folder",
}
"""What to do where every clip failed for this reason."""


def summary_of(out: Store, manifest: Manifest) -> dict[str, Any]:
    """Return the sums of a finished dataset as JSON holds them."""
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


def spell_failures(failed: Sequence[LedgerRow]) -> list[Mapping[str, Any]]:
    """Return clips that failed as JSON holds them."""
    return [
        {"row": row.row, "clip": row.clip, "source": row.source, "reason": row.reason, "message": row.message}
        for row in failed
    ]


def summary_lines(
    out: Store, manifest: Manifest, failed: Sequence[LedgerRow], elapsed: float, *, headed: bool = False
) -> list[str]:
    """Return the last lines of a run: the first clips that failed, by name, then the sums.

    Args:
        out: the dataset.
        manifest: its manifest.
        failed: the first clips that failed.
        elapsed: seconds of the run.
        headed: whether the input is tables whose first line is a header.
    """
    totals = manifest.totals
    first = "the first row after the header is row 0" if headed else "the first is row 0"
    lines = [f"rows that failed ({first}):"] if failed else []
    lines += [
        f"row {row.row} ({printable(row.source)}): {row.reason}: {printable(row.message or '')}" for row in failed
    ]
    left = totals.status.get("failed", 0) - len(failed)
    if left:
        lines.append(f"and {left} more rows that failed; all are in {out.url}/{LEDGER_DIR}")
    if totals.reasons:
        lines.append("reasons: " + ", ".join(f"{reason} {count}" for reason, count in _commonest(totals.reasons)))
    lines.append(
        f"{spell_count(totals.clips, 'clip')} of {spell_seconds(totals.seconds)} in all, {spell_size(totals.bytes)} "
        f"in {spell_count(len(manifest.shards), 'shard')} at {out.url}, in {spell_seconds(elapsed)}",
    )
    lines += advice(totals.clips, totals.reasons)
    counts = {"success": 0, "failed": 0} | dict(totals.status)
    asked = sum(counts.values())
    whose = spell_count(totals.rows, "row")
    if asked != totals.rows:
        whose += f", {spell_count(asked, 'clip')} asked for"
    return [*lines, f"{whose}: " + ", ".join(f"{count} {status}" for status, count in counts.items())]


def advice(clips: int, reasons: Mapping[str, int]) -> list[str]:
    """Return what to do where every clip failed for one reason that an option of the whole dataset decides."""
    alone = not clips and len(reasons) == 1
    return [_ADVICE[reason] for reason in reasons if alone and reason in _ADVICE]


def is_headed(source: str | Sequence[str]) -> bool:
    """Tell whether an input is named as tables whose first line is a header, CSV or TSV."""
    names = [source] if isinstance(source, str) else source
    return all(table_suffix(without_signature(name)) in {".csv", ".tsv"} for name in names)


def _commonest(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
