"""Rows that failed are tried again: their shards are made anew beside the dataset, and take over when all are there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from shards.layout import FINGERPRINT_DIR, fingerprint_name, shard_stem
from shards.ledger import INPUT_REASONS, RULE_REASONS, LedgerRow, Reason, read_ledger
from shards.linked import LinkedStore
from shards.manifest import Manifest, ShardEntry, make_manifest
from shards.republish import Journal, begin, read_journal, staging, take_over
from tools.corpus.events import Note, Planned, Report, spell_count
from tools.corpus.first_pass import take_fingerprints, with_duplicates
from tools.corpus.making import finished, remake
from tools.corpus.running import Run

ALL: Final = "failed"
"""Stands for every reason that a new try may change."""

RETRIABLE: Final = tuple(reason for reason in Reason if reason not in INPUT_REASONS | RULE_REASONS)
"""Reasons that a new try may change: those that the input or a rule decides stay as they are."""


@dataclass(frozen=True, slots=True)
class Retry:
    """What a retry has before it: the blocks in which clips failed for these reasons, and how many clips those are.

    ``rows`` is how many rows they are of, at most.

    ``changed`` are segments, by row and part, that are duplicates now and were none before, or the other way about.
    """

    reasons: tuple[Reason, ...]
    numbers: tuple[int, ...]
    clips: int
    rows: int
    changed: frozenset[tuple[int, int]] = frozenset()

    @property
    def stems(self) -> tuple[str, ...]:
        """The shards that are made again."""
        return tuple(shard_stem(number) for number in self.numbers)

    def again(self, ledger: Iterable[LedgerRow], rows: range) -> frozenset[tuple[int, int]]:
        """Return which clips of a block of these rows are to be tried again, by row and clip."""
        failed = {(row.row, row.clip) for row in ledger if row.status == "failed" and row.reason in self.reasons}
        return frozenset(failed | {place for place in self.changed if place[0] in rows})


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
    failed = [(entry, sum(entry.reasons.get(reason.value, 0) for reason in reasons)) for entry in entries]
    numbers = tuple(sorted(int(entry.stem) for entry, count in failed if count))
    rows = sum(min(entry.rows, count) for entry, count in failed)
    return Retry(reasons, numbers, sum(count for _, count in failed), rows)


def retry(run: Run, reasons: tuple[Reason, ...], old: Manifest, report: Report) -> Manifest:
    """Try the rows again that failed for these reasons, and return the manifest of what came of it.

    What an interrupted call with the same reasons has finished is taken over.

    Args:
        run: the run, whose dataset is finished and has the manifest ``old``.
        reasons: as ``parse_reasons`` returns them.
        old: the manifest.
        report: hears of progress, and of every shard that is made.

    Raises:
        StoppedError: a shard cannot be made, or the videos' store went out of reach; the dataset is as it was.
        StoreError: the dataset cannot be read or written.
    """
    todo = find(reasons, old.shards)
    if not todo.numbers:
        report(Note(f"nothing to retry: {_none_failed(reasons, old)}"))
        return old
    report(Note(f"trying {spell_count(todo.clips, 'clip')} in {spell_count(len(todo.numbers), 'shard')} again"))
    report(Planned(run.plan, run.plan.rows - todo.rows, old.totals.clips, len(old.shards) - len(todo.numbers)))
    journal = Journal(run.plan.digest, old.digest, [reason.value for reason in reasons], list(todo.stems))
    begun = read_journal(run.out)
    if begun is None or not _same(begun, journal):
        begin(run.out, journal)
    if run.request.sift.dedup is not None:
        run, todo = _sifted_again(run, todo, report)
    made = _remade(run, todo, report)
    run.require_alone()
    entries = {int(entry.stem): entry for entry in old.shards} | made
    manifest = make_manifest(run.plan, entries.values())
    take_over(run.out, replace(journal, stems=todo.stems), manifest)
    return manifest


def _none_failed(reasons: tuple[Reason, ...], manifest: Manifest) -> str:
    if not manifest.totals.status.get("failed", 0):
        return "no row failed"
    if len(reasons) == len(RETRIABLE):
        return "no row failed for a reason that a new try may change"
    return f"no row failed with {' or '.join(reasons)}"


def _remade(run: Run, todo: Retry, report: Report) -> dict[int, ShardEntry]:
    """Make the shards anew beside the dataset, as far as they are not there, and return their entries by number."""
    place = staging(run.out)
    made = {number: entry for number, entry in finished(place, run.plan).items() if number in todo.numbers}

    def again(number: int) -> frozenset[tuple[int, int]]:
        return todo.again(read_ledger(run.out, shard_stem(number)), run.plan.block_rows(number))

    for event in remake(run, set(todo.numbers) - made.keys(), again, place):
        report(event)
        if isinstance(event, ShardEntry):
            made[int(event.stem)] = event
            run.require_alone()
    return made


class _Sifted(NamedTuple):
    """A run that knows its duplicates, and a retry that knows which segments' fates those change."""

    run: Run
    todo: Retry


def _sifted_again(run: Run, todo: Retry, report: Report) -> _Sifted:
    """Find out which segments are duplicates if those that are tried again can be made."""
    place = staging(run.out)
    names = {number: fingerprint_name(shard_stem(number)) for number in todo.numbers}
    there = set(place.list(f"{FINGERPRINT_DIR}/"))
    for event in take_fingerprints(run, [number for number, name in names.items() if name not in there], place):
        report(event)
    links = {name: f"{place.url}/{name}" for name in names.values()}
    before = with_duplicates(run, run.out).duplicates
    run = with_duplicates(run, LinkedStore(run.out.url, run.out.patience, links))
    assert before is not None
    assert run.duplicates is not None
    changed = before.unlike(run.duplicates)
    numbers = set(todo.numbers) | {run.plan.block_of(row) for row, _ in changed}
    return _Sifted(run, replace(todo, numbers=tuple(sorted(numbers)), changed=changed))


def _same(one: Journal, other: Journal) -> bool:
    return one.manifest_digest == other.manifest_digest and list(one.reasons) == list(other.reasons)


def _why(name: str) -> str:
    if name in {reason.value for reason in INPUT_REASONS}:
        return "the input itself is at fault, so a new try gives the same"
    if name in {reason.value for reason in RULE_REASONS}:
        return "rows that a rule left out did not fail, so a new try gives the same"
    return "no reason of that name"
