"""Rows that failed are tried again: their shards are made anew beside the dataset, and take over when all are there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from shards.layout import shard_stem
from shards.ledger import INPUT_REASONS, RULE_REASONS, LedgerRow, Reason, read_ledger
from shards.manifest import Manifest, ShardEntry, make_manifest
from shards.republish import Journal, begin, read_journal, staging, take_over
from tools.corpus.making import Run, finished, remake

ALL: Final = "failed"
"""Stands for every reason that a new try may change."""

RETRIABLE: Final = tuple(reason for reason in Reason if reason not in INPUT_REASONS | RULE_REASONS)
"""Reasons that a new try may change: those that the input or a rule decides stay as they are."""


@dataclass(frozen=True, slots=True)
class Retry:
    """What a retry has before it: the blocks that hold rows of these reasons, and how many rows failed for them."""

    reasons: tuple[Reason, ...]
    numbers: tuple[int, ...]
    rows: int

    @property
    def stems(self) -> tuple[str, ...]:
        """The shards that are made again."""
        return tuple(shard_stem(number) for number in self.numbers)

    def again(self, rows: Iterable[LedgerRow]) -> frozenset[tuple[int, int]]:
        """Return which of a ledger's clips are to be tried again, by row and clip."""
        return frozenset((row.row, row.clip) for row in rows if row.status == "failed" and row.reason in self.reasons)


def parse_reasons(texts: Iterable[str]) -> tuple[Reason, ...]:
    """Return the reasons that ``--retry`` names, each once and sorted; ``failed`` stands for all.

    Args:
        texts: the option's values, each a name or a list of names with commas between them.

    Raises:
        ValueError: a name is none of those that are taken.
    """
    names = [name.strip() for text in texts for name in text.split(",")]
    taken = {reason.value for reason in RETRIABLE}
    for name in names:
        if name != ALL and name not in taken:
            raise ValueError(
                f"--retry {name!r}: {_why(name)}; taken are {ALL} (all of them), {', '.join(sorted(taken))}"
            )
    chosen = taken if ALL in names else set(names)
    return tuple(sorted(Reason(name) for name in chosen))


def find(reasons: tuple[Reason, ...], entries: Iterable[ShardEntry]) -> Retry:
    """Return what is to be tried again, as the sums of the shards tell."""
    counts = {int(entry.stem): sum(entry.reasons.get(reason.value, 0) for reason in reasons) for entry in entries}
    numbers = tuple(sorted(number for number, count in counts.items() if count))
    return Retry(reasons, numbers, sum(counts.values()))


def carry_out(run: Run, retry: Retry, old: Manifest, report: Callable[..., None]) -> Manifest:
    """Try the rows again, replace the shards that they are in, and return the new manifest.

    What an interrupted call with the same reasons has finished is taken over.

    Args:
        run: the run, whose dataset is finished and has the manifest ``old``.
        retry: what is to be tried.
        old: the manifest.
        report: hears of progress, and of every shard that is made.

    Raises:
        StoppedError: a shard cannot be made, or the videos' store went out of reach; the dataset is as it was.
        StoreError: the dataset cannot be read or written.
    """
    journal = Journal(run.plan.digest, old.digest, [reason.value for reason in retry.reasons], list(retry.stems))
    begun = read_journal(run.out)
    if begun is None or not _same(begun, journal):
        begin(run.out, journal)
    place = staging(run.out)
    made = {number: entry for number, entry in finished(place, run.plan).items() if number in retry.numbers}
    missing = set(retry.numbers) - made.keys()
    for event in remake(run, missing, lambda number: retry.again(read_ledger(run.out, shard_stem(number))), place):
        report(event)
        if isinstance(event, ShardEntry):
            made[int(event.stem)] = event
            run.require_alone()
    run.require_alone()
    entries = {int(entry.stem): entry for entry in old.shards} | made
    manifest = make_manifest(run.plan, entries.values())
    take_over(run.out, journal, manifest)
    return manifest


def _same(one: Journal, other: Journal) -> bool:
    return one.manifest_digest == other.manifest_digest and list(one.reasons) == list(other.reasons)


def _why(name: str) -> str:
    if name in {reason.value for reason in INPUT_REASONS}:
        return "the input itself is at fault, so a new try gives the same"
    if name in {reason.value for reason in RULE_REASONS}:
        return "rows that a rule left out did not fail, so a new try gives the same"
    return "no reason of that name"
