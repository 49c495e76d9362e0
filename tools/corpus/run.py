"""A sharding run: plan first, blocks by worker processes, manifest last; what is finished already is left as it is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from shards.layout import MANIFEST_NAME
from shards.lease import Lease, hold_lease
from shards.ledger import LedgerRow, Reason, read_ledger
from shards.manifest import Manifest, ShardEntry, make_manifest, write_manifest
from shards.plan import BlockPlan, read_plan, require_same_plan, write_plan
from shards.republish import finish
from shards.store import Store, open_store
from tools.console import StoppedError
from tools.corpus import retry
from tools.corpus.first_pass import spell_duplicates, take_fingerprints, unprinted, with_duplicates
from tools.corpus.inputs import lend_inputs
from tools.corpus.making import Run, finished, make
from tools.corpus.planning import Decision, ShardRequest, decide
from tools.corpus.tally import Activity, Progress
from tools.corpus.workspace import workspace


@dataclass(frozen=True, slots=True)
class Planned:
    """A run is about to start: its plan, and the rows, clips and blocks that need no work."""

    plan: BlockPlan
    rows_done: int
    clips_done: int
    blocks_done: int


@dataclass(frozen=True, slots=True)
class Note:
    """One line that the user should read."""

    text: str


Event = Planned | Note | Progress | Activity | ShardEntry
"""What a run tells of itself while it goes on."""

Report = Callable[[Event], None]


def shard(request: ShardRequest, report: Report) -> Manifest:
    """Make the dataset that is asked for, or what is missing of it, and return its manifest.

    A dataset whose input has grown is extended where the request says so, and rows that failed are tried again.

    Args:
        request: input, output and settings.
        report: hears of the plan, of progress, and of every published block.

    Raises:
        ValueError: the input is unfit, the output holds something else, or another run is writing there.
        StoreError: the input or the output cannot be read.
        StoppedError: plan, shards or manifest cannot be written, the videos' store went out of reach, or another run
            took the output over.
    """
    reasons = retry.parse_reasons(request.retry)
    out = open_store(request.out)
    with lend_inputs(request.input, request.columns, limit=request.limit) as table:
        decision = decide(request, table, out)
        with workspace(out) as scratch, _alone(out) as lease:
            try:
                run = Run(request, decision.plan, out, table, scratch, lease)
                return _run(run, decision, reasons, report)
            except OSError as error:
                raise StoppedError(str(error)) from error


def failures(dataset: Store, manifest: Manifest) -> Iterator[LedgerRow]:
    """Yield the ledger rows that failed, in the order of the input; only ledgers that hold any are read."""
    for entry in manifest.shards:
        if entry.status.get("failed", 0):
            yield from (row for row in read_ledger(dataset, entry.stem) if row.status == "failed")


def _alone(out: Store) -> contextlib.AbstractContextManager[Lease | None]:
    """Hold the lease on a bucket; a local folder is locked with its workspace."""
    return contextlib.nullcontext() if out.is_local else hold_lease(out)


def _run(run: Run, decision: Decision, reasons: tuple[Reason, ...], report: Report) -> Manifest:
    ended = finish(run.out)
    if ended is not None:
        report(Note(f"a retry of {', '.join(ended.reasons)} that was cut off is finished"))
    _adopt(run, decision, report)
    manifest = _complete(run, report)
    if not reasons or (ended is not None and tuple(ended.reasons) == reasons):
        return manifest
    return _retry(run, reasons, manifest, report)


def _adopt(run: Run, decision: Decision, report: Report) -> None:
    """Put the plan in its place, or find it there."""
    plan, before = decision.plan, decision.before
    begun = read_plan(run.out)
    if begun is None and before is None:
        write_plan(run.out, plan)
    elif begun is not None and begun == before and begun != plan:
        write_plan(run.out, plan)
        report(
            Note(
                f"adding {_spell(plan.rows - before.rows, 'row')} in {_spell(plan.blocks - before.blocks, 'new shard')}"
            )
        )
    elif begun is not None:  # perhaps by another run, between our first look and our lock
        require_same_plan(begun, plan)
        if run.request.extend:
            report(Note("nothing to extend: the dataset's plan holds all rows of the input already"))
    else:
        raise StoppedError(f"the plan in {run.out.url} has gone since this run began; run the same command again")


def _complete(run: Run, report: Report) -> Manifest:
    """Make what is missing, and return the manifest of the whole."""
    done = finished(run.out, run.plan)
    missing = set(range(run.plan.blocks)) - done.keys()
    if missing and run.request.sift.dedup is not None:
        run = _without_duplicates(run, report)
    report(Planned(run.plan, sum(e.rows for e in done.values()), sum(e.clips for e in done.values()), len(done)))
    for event in make(run, missing):
        report(event)
        if isinstance(event, ShardEntry):
            done[int(event.stem)] = event
            run.require_alone()
    run.require_alone()
    manifest = make_manifest(run.plan, done.values())
    if not run.out.exists(MANIFEST_NAME) or run.out.read(MANIFEST_NAME) != manifest.to_bytes():
        write_manifest(run.out, manifest)
    return manifest


def _without_duplicates(run: Run, report: Report) -> Run:
    """Take the fingerprints that are missing, and return the run with its duplicates known."""
    missing = unprinted(run.out, run.plan)
    left = sum(len(run.plan.block_rows(number)) for number in missing)
    report(Note("looking for duplicates"))
    report(Planned(run.plan, run.plan.rows - left, 0, run.plan.blocks - len(missing)))
    for event in take_fingerprints(run, missing, run.out):
        report(event)
    run.require_alone()
    run = with_duplicates(run, run.out)
    assert run.duplicates is not None, "they were just found"
    report(Note(spell_duplicates(run.duplicates)))
    return run


def _retry(run: Run, reasons: tuple[Reason, ...], manifest: Manifest, report: Report) -> Manifest:
    """Try the rows that failed again, and return the manifest of what came of it."""
    found = retry.find(reasons, manifest.shards)
    if not found.numbers:
        report(Note(f"nothing to retry: no row failed with {' or '.join(reasons)}"))
        return manifest
    report(Note(f"trying {_spell(found.rows, 'row')} in {_spell(len(found.numbers), 'shard')} again"))
    totals = manifest.totals
    report(Planned(run.plan, totals.rows - found.rows, totals.clips, len(manifest.shards) - len(found.numbers)))
    return retry.carry_out(run, found, manifest, report)


def _spell(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
