"""The index command: adopts tars of other tools, and makes indexes of a dataset for other readers."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from rich.console import Console
from rich.status import Status

from shards.indexes import Indexes, parse_kinds, write_indexes
from shards.layout import LEDGER_DIR
from shards.manifest import Manifest
from shards.plan import read_plan
from shards.store import Store, open_store
from tools.console import DONE, FALLS_SHORT, printable, spell_seconds, spell_size
from tools.corpus.adopting import Advance, adopt
from tools.corpus.adoption_plan import MADE_BY, AdoptRequest
from tools.corpus.events import spell_count
from tools.corpus.failures import failures

_NAMED_FAILURES: Final = 50
_LINE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class IndexRequest:
    """One call of ``vidloom index``: what to adopt, and for which readers to make indexes."""

    adopt: AdoptRequest
    kinds: tuple[str, ...] = ()

    @classmethod
    def of(cls, adopt_request: AdoptRequest, kinds: str | None) -> IndexRequest:
        """Return the request of a call whose ``--index`` says ``kinds``.

        Raises:
            ValueError: a kind is unknown.
        """
        return cls(adopt_request, parse_kinds(kinds))


def run_index(request: IndexRequest, *, as_json: bool = False) -> int:
    """Adopt tars, make indexes, or both, and say on standard output what came of it; return the exit status.

    Raises:
        ValueError, StoreError, StoppedError: as ``tools.corpus.adopting.adopt`` and ``shards.indexes.write_indexes``.
    """
    sources = request.adopt.sources
    store = open_store(sources[0])
    console = Console(stderr=True)
    if len(sources) == 1 and request.adopt.out is None and _is_our_own(store):
        if not request.kinds:
            raise ValueError(f"{store.url} is a dataset of ours; say with --index for which readers to make indexes")
        made = _index(store, request.kinds, console)
        print(json.dumps(_indexed(store, made)) if as_json else "\n".join(_index_lines(store, made)))
        return DONE
    with console.status("reading tars") as status:
        adopted = adopt(request.adopt, _Teller(console, status), request.kinds)
    found = adopted.indexes
    if as_json:
        print(json.dumps(_summary(adopted.out, adopted.manifest, found), ensure_ascii=True))
    else:
        print("\n".join(_lines(adopted.out, adopted.manifest, found)))
    return FALLS_SHORT if adopted.manifest.totals.status.get("failed", 0) else DONE


class _Teller:
    """Says how far an adoption is: at once on a terminal, by lines at intervals elsewhere."""

    def __init__(self, console: Console, status: Status) -> None:
        self._console, self._status = console, status
        self._said = time.monotonic()

    def __call__(self, advance: Advance) -> None:
        text = f"reading tars: {advance.done} of {advance.tars} done, {advance.samples} samples read"
        self._status.update(text)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._said >= _LINE_SECONDS:
            self._said = now
            self._console.print(text)


def _is_our_own(store: Store) -> bool:
    """Tell whether a place holds a dataset that was not made by adopting tars."""
    plan = None if store.url.endswith(".tar") else read_plan(store)
    return plan is not None and plan.settings.get("made_by") != MADE_BY


def _index(store: Store, kinds: Sequence[str], console: Console) -> Indexes:
    with console.status("making indexes") as status:
        return write_indexes(store, kinds, on_shard=lambda entry: status.update(f"making indexes: shard {entry.stem}"))


def _indexed(store: Store, found: Indexes) -> dict[str, Any]:
    return {"out": store.url, "index": list(found.kinds), "files": sorted(found.files)}


def _summary(out: Store, manifest: Manifest, found: Indexes | None) -> dict[str, Any]:
    totals = manifest.totals
    failed = islice(failures(out, manifest), _NAMED_FAILURES)
    return {
        "out": out.url,
        "shards": len(manifest.shards),
        "samples": totals.rows,
        "clips": totals.clips,
        "seconds": totals.seconds,
        "frames": totals.frames,
        "status": dict(totals.status),
        "reasons": dict(totals.reasons),
        "digest": manifest.digest,
        "failures": [{"source": row.source, "reason": row.reason, "message": row.message} for row in failed],
        **({} if found is None else {"index": list(found.kinds), "files": sorted(found.files)}),
    }


def _lines(out: Store, manifest: Manifest, found: Indexes | None) -> list[str]:
    totals = manifest.totals
    failed = list(islice(failures(out, manifest), _NAMED_FAILURES))
    lines = [f"{printable(row.source)}: {row.reason}: {printable(row.message or '')}" for row in failed]
    left = totals.status.get("failed", 0) - len(failed)
    if left:
        lines.append(f"and {left} more samples; all are in {out.url}/{LEDGER_DIR}")
    counts = {"success": 0, "failed": 0} | dict(totals.status)
    lines.append(
        f"{spell_count(totals.clips, 'clip')} of {spell_seconds(totals.seconds)} in all, {spell_size(totals.bytes)} "
        f"in {spell_count(len(manifest.shards), 'tar')}; their dataset is at {out.url}",
    )
    lines += [] if found is None else _index_lines(out, found)
    fates = ", ".join(f"{count} {status}" for status, count in counts.items())
    return [*lines, f"{spell_count(totals.rows, 'sample')}: {fates}"]


def _index_lines(store: Store, found: Indexes) -> list[str]:
    return [f"{store.url} has indexes for {', '.join(found.kinds)}: {spell_count(len(found.files), 'file')}"]
