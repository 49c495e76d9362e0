"""A sharding run: plan first, blocks by worker processes, manifest last; what is finished already is left as it is."""

from __future__ import annotations

from collections.abc import Sequence

from shards.manifest import Manifest
from shards.republish import drop_stale, finish
from shards.store import open_store
from tools.console import StoppedError
from tools.corpus import retry
from tools.corpus.completing import complete, complete_indexes, missing_blocks
from tools.corpus.events import Note, Report, spell_count
from tools.corpus.inputs import lend_inputs
from tools.corpus.planning import Decision, adopt, decide
from tools.corpus.request import ShardRequest
from tools.corpus.running import Run
from tools.corpus.workspace import alone, workspace


def shard(request: ShardRequest, report: Report, kinds: Sequence[str] = ()) -> Manifest:
    """Make the dataset that is asked for, or what is missing of it, and return its manifest.

    A dataset whose input has grown is extended where the request says so, and rows that failed are tried again.
    Indexes for other readers, those that are asked for and those that the dataset had, are made once it is finished.

    Args:
        request: input, output and settings.
        report: hears of the plan, of progress, and of every published block.
        kinds: indexes to make, as ``shards.indexes.KINDS`` names them.

    Raises:
        ValueError: the input is unfit, the output holds something else, or another run is writing there.
        StoreError: the input or the output cannot be read.
        StoppedError: plan, shards or manifest cannot be written, the videos' store went out of reach, or another run
            took the output over.
    """
    retry.parse_reasons(request.retry)
    out = open_store(request.out)
    with lend_inputs(request.input, request.columns, limit=request.limit) as table:
        decision = decide(request, table, out)
        with workspace(out) as scratch, alone(out) as lease:
            try:
                run = Run(request, decision.plan, out, table, scratch, lease)
                manifest = _run(run, decision, report)
                complete_indexes(run, manifest, kinds)
            except OSError as error:
                raise StoppedError(str(error)) from error
            return manifest


def _run(run: Run, decision: Decision, report: Report) -> Manifest:
    ended = finish(run.out)
    if ended is not None:
        report(Note(f"a retry of {', '.join(ended.reasons)} that was cut off is finished"))
    extended = adopt(run.out, decision)
    if run.request.extend:
        report(Note(_said(run, decision, extended=extended)))
    manifest = complete(run, report)
    drop_stale(run.out, manifest)
    reasons = retry.parse_reasons(run.request.retry)
    if not reasons or (ended is not None and tuple(ended.reasons) == reasons):
        return manifest
    if decision.before is None:
        report(Note("nothing to retry: there was no dataset before this run"))
        return manifest
    return retry.retry(run, reasons, manifest, report)


def _said(run: Run, decision: Decision, *, extended: bool) -> str:
    """Say what --extend came to."""
    plan, before = decision.plan, decision.before
    if before is None:
        return "nothing to extend: there was no dataset before this run"
    if not extended and plan.sections and (left := len(missing_blocks(run))):
        return f"going on with an extension that was cut off: {spell_count(left, 'shard')} left"
    if not extended:
        return "nothing to extend: the dataset has all rows of the input already"
    rows, shards = plan.rows - before.rows, plan.blocks - before.blocks
    return f"adding {spell_count(rows, 'row')} in {spell_count(shards, 'new shard')}"
