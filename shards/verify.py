"""Compare a dataset on disk or in a bucket with its manifest: every shard, keys across shards, plan, other readers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, islice
from typing import Final

from shards.manifest import ShardEntry
from shards.store import Store
from shards.verify_indexes import index_problems
from shards.verify_keys import key_problems
from shards.verify_misplaced import Misplaced, find_misplaced
from shards.verify_opening import open_whole
from shards.verify_problems import Kind, Problem, ShardFindings, VerifyReport
from shards.verify_repairable import mark_repairable
from shards.verify_samples import Look
from shards.verify_shard import ShardTask, check_shard
from shards.verify_spool import ProblemSpool

__all__ = ["Kind", "Problem", "ShardFindings", "Verification", "VerifyReport", "verify_dataset"]

_MOST_PER_FILE: Final = 20
"""How many problems of one file are listed before the rest is only counted."""

_AHEAD: Final = 2
"""Shards that wait for each thread, so that none of them waits."""


@dataclass
class _Findings:
    """The problems found so far, and what was read; ``on_problem`` hears of every one."""

    on_problem: Callable[[Problem], None]
    problems: list[Problem] = field(default_factory=list)
    per_file: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, problem: Problem) -> None:
        self.on_problem(problem)
        self.counts[problem.kind.value] += 1
        if problem.reason is not None:
            self.reasons[problem.reason] += 1
        self.per_file[problem.file] += 1
        if self.per_file[problem.file] <= _MOST_PER_FILE:
            self.problems.append(problem)

    def all(self) -> Iterator[Problem]:
        """Yield the problems, and for files that have more of them how many more."""
        yield from self.problems
        last = {problem.file: problem for problem in self.problems}
        for file, count in self.per_file.items():
            if count > _MOST_PER_FILE:
                what = f"{count - _MOST_PER_FILE} more problems of this file"
                yield replace(last[file], what=what, key=None, reason=None)


class Verification:
    """One look at a whole dataset: what is to be checked, and what came of it.

    Shards may be checked anywhere and in any order, by ``shards.verify_shard.check_shard`` on the tasks; ``take`` is
    told of each. Nothing is kept of a sound shard but the least and the greatest of its keys.

    ``opened`` are its manifest and plan, and what is wrong with them.

    Args:
        store: the dataset.
        on_problem: hears of every problem as it is found; the report holds so many of each file only.

    Raises:
        StoreError: the store cannot be reached.
    """

    def __init__(self, store: Store, on_problem: Callable[[Problem], None] = lambda _: None) -> None:
        self.opened = open_whole(store)
        self._on_problem = on_problem
        self._spool = ProblemSpool()

    @property
    def shards(self) -> Sequence[ShardEntry]:
        """The dataset's shards; none where its manifest cannot be read."""
        return self.opened.shards

    def task(
        self, number: int, look: Look | None = None, on_bytes: Callable[[int], None] = lambda _: None
    ) -> ShardTask:
        """Return the check of one shard, by its number."""
        assert self.opened.dataset is not None
        entry = self.shards[number]
        return ShardTask(
            store=self.opened.dataset.store,
            entry=entry,
            rows=self.opened.rows_of(number),
            name_of=self._name_of,
            look=look,
            rises=not entry.is_foreign,
            has_prints=entry.stem in self._prints,
            on_bytes=on_bytes,
        )

    def take(self, number: int, findings: ShardFindings) -> None:
        """Take in what the check of a shard found."""
        self._spool.put(number, mark_repairable(findings, self.shards[number], adopted=self.opened.is_adopted))

    def findings(self) -> dict[int, ShardFindings]:
        """Return what was taken in, by the shards' numbers; of very many problems of a shard only those of files."""
        return dict(self._spool.findings)

    def of_shards(self) -> Iterator[Problem]:
        """Yield the problems of all shards that were taken in."""
        for number in sorted(self._spool.findings):
            yield from self._spool.problems(number)

    def misplaced(self) -> list[Misplaced]:
        """Return the files that are not where they belong, and lie under other names.

        Raises:
            StoreError: the store cannot be reached.
        """
        dataset = self.opened.dataset
        if dataset is None:
            return []
        return find_misplaced(dataset.store, self.shards, self._spool.findings, self._strangers)

    def report(self) -> VerifyReport:
        """Check what goes across shards, and return all that was found.

        Raises:
            StoreError: the store cannot be reached.
        """
        found = _Findings(self._on_problem)
        taken = [self._spool.findings[number] for number in sorted(self._spool.findings)]
        for problem in chain(self.opened.problems, self._across(taken)):
            found.add(problem)
        return VerifyReport(
            problems=tuple(found.all()),
            shards=len(taken),
            files=sum(each.files for each in taken),
            bytes=sum(each.bytes for each in taken),
            samples=sum(each.samples for each in taken),
            decoded=sum(each.decoded for each in taken),
            frames=sum(each.frames for each in taken),
            counts=dict(sorted(found.counts.items())),
            reasons=dict(sorted(found.reasons.items())),
        )

    def _name_of(self, digest: str) -> str | None:
        return self._known.get(digest)

    @cached_property
    def _prints(self) -> frozenset[str]:
        return self.opened.prints()

    @cached_property
    def _known(self) -> dict[str, str]:
        """The names of the dataset's files by their hashes; of files that are the same, one."""
        return {file.sha256: name for entry in self.shards for name, file in entry.files().items() if file.bytes}

    def _across(self, taken: Sequence[ShardFindings]) -> Iterator[Problem]:
        """Yield the problems of all shards, and then those of no shard alone."""
        lost = {each.name: each.place for each in self.misplaced()}
        for problem in self.of_shards():
            yield replace(problem, repairable=True) if problem.file in lost else problem
        dataset = self.opened.dataset
        if dataset is None:
            return
        yield from key_problems(dataset, taken, rises=self.opened.is_of_one_table)
        names = {place: name for name, place in lost.items()}
        for name in self._strangers:
            what = "the manifest does not know it; readers that list the folder would take it"
            whose = f"; its bytes are those of {names[name]}, which does not lie there" if name in names else ""
            yield Problem(name, what + whose, Kind.UNKNOWN, repairable=name in names)
        yield from index_problems(dataset.store, dataset.manifest)

    @cached_property
    def _strangers(self) -> Sequence[str]:
        return self.opened.strangers()


def verify_dataset(
    store: Store,
    *,
    on_shard: Callable[[ShardEntry], None] | None = None,
    workers: int = 1,
) -> VerifyReport:
    """Read every byte of a dataset and say what is wrong with which file.

    Checked are: the manifest and the plan; each file's length and SHA-256; the tar's structure; index and records
    against the tar; each sample's caption, record and payload hash (of another tool's tar, the payload's alone); that
    no key comes twice; that each ledger adds up to its block of input rows and names exactly the tar's samples; that no
    shard file lies there which the manifest does not know; and the indexes for other readers. Every tar is read once,
    from front to back, a few MiB at a time.

    Args:
        store: the dataset.
        on_shard: called after each shard, to show progress.
        workers: threads, each of which checks one shard at a time.

    Raises:
        StoreError: the store itself cannot be reached; a single missing or unreadable file is a problem instead.
    """
    verification = Verification(store)
    for number in check_all(verification, range(len(verification.shards)), workers):
        if on_shard is not None:
            on_shard(verification.shards[number])
    return verification.report()


def check_all(
    verification: Verification,
    numbers: Iterable[int],
    workers: int,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> Iterator[int]:
    """Check shards by threads of this process, and yield the number of each when it is done.

    Raises:
        StoreError: the store cannot be reached.
    """
    left = iter(numbers)
    if workers == 1:
        for number in left:
            verification.take(number, check_shard(verification.task(number, on_bytes=on_bytes)))
            yield number
        return
    stop = threading.Event()

    def pass_on(count: int) -> None:
        if stop.is_set():
            raise InterruptedError("the verification was given up")
        on_bytes(count)

    with ThreadPoolExecutor(workers) as checkers:
        waiting: dict[Future[ShardFindings], int] = {}
        try:
            while True:
                for number in islice(left, workers * _AHEAD - len(waiting)):
                    waiting[checkers.submit(check_shard, verification.task(number, on_bytes=pass_on))] = number
                if not waiting:
                    return
                for done in wait(waiting, return_when=FIRST_COMPLETED).done:
                    number = waiting.pop(done)
                    verification.take(number, done.result())
                    yield number
        finally:
            stop.set()
            for each in waiting:
                each.cancel()
