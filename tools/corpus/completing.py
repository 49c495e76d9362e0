"""Blocks that are missing of a dataset are made, those that are there stay as they are, and the manifest goes last."""

from __future__ import annotations

from collections.abc import Sequence

from shards.indexes import update_indexes
from shards.layout import MANIFEST_NAME
from shards.manifest import Manifest, ShardEntry, make_manifest, write_manifest
from tools.corpus.events import Note, Planned, Report
from tools.corpus.first_pass import spell_duplicates, take_fingerprints, unprinted, with_duplicates
from tools.corpus.making import finished, make
from tools.corpus.running import Run


def missing_blocks(run: Run) -> set[int]:
    """Return the numbers of the plan's blocks that are not published yet.

    Raises:
        StoreError: the output cannot be read.
    """
    return set(range(run.plan.blocks)) - finished(run.out, run.plan).keys()


def complete(run: Run, report: Report) -> Manifest:
    """Make and publish what is missing of a dataset, then its manifest, and return that.

    Raises:
        StoppedError: a shard cannot be made or published, or another run is writing to the same place.
        StoreError: the output cannot be read or written.
    """
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


def complete_indexes(run: Run, manifest: Manifest, kinds: Sequence[str]) -> None:
    """Make the indexes for other readers that are asked for, and again those that the dataset had, while it is ours.

    Raises:
        ValueError: a reader cannot take the dataset as it is.
        StoreError: the output cannot be read or written.
    """
    update_indexes(run.out, manifest, kinds)


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
