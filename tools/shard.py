"""The shard command: runs, shows progress, names every row that failed, and ends with the sums."""

from __future__ import annotations

import json
from itertools import islice
from typing import Final

from rich.console import Console

from shards.indexes import parse_kinds
from shards.store import open_store
from tools.console import DONE, FALLS_SHORT
from tools.corpus.events import Event
from tools.corpus.failures import failures
from tools.corpus.request import ShardRequest
from tools.corpus.run import shard
from tools.progress import RunDisplay
from tools.run_state import RunState
from tools.shard_log import RunLog
from tools.shard_summary import is_headed, spell_failures, summary_lines, summary_of
from tools.shard_watchers import Watchers, about, open_sinks

_NAMED_FAILURES: Final = 50


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
    request.choice.require()
    state = RunState()
    display = RunDisplay(Console(stderr=True), state, f"sharding to {about(request)['out']}")
    with RunLog(open_sinks(request, watchers or Watchers()), state) as log:
        log.begin(about(request))
        with display:

            def report(event: Event) -> None:
                state.take(event)
                log.take(event)
                display.take(event)

            manifest = shard(request, report, kinds)
        out = open_store(request.out)
        failed = list(islice(failures(out, manifest), _NAMED_FAILURES))
        elapsed = round(state.snapshot().elapsed, 3)
        summary = summary_of(out, manifest) | {"elapsed": elapsed, "notes": list(state.notes)}
        status = FALLS_SHORT if manifest.totals.status.get("failed", 0) else DONE
        log.end(status, summary)
    if as_json:
        print(json.dumps(summary | {"failures": spell_failures(failed)}, ensure_ascii=True))
    else:
        print("\n".join(summary_lines(out, manifest, failed, elapsed, headed=is_headed(request.input))))
    return status
