"""A dry run: the plan, and what would become of every row, found out without writing a byte to the dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from tarfile import RECORDSIZE
from typing import Final

from shards.plan import BlockPlan
from shards.store import open_store
from tools.console import StoppedError
from tools.corpus.block import Judged
from tools.corpus.events import Event, Planned
from tools.corpus.first_pass import take_fingerprints, with_duplicates
from tools.corpus.inputs import lend_inputs
from tools.corpus.making import finished, judge
from tools.corpus.planning import decide
from tools.corpus.request import ShardRequest
from tools.corpus.running import Run
from tools.corpus.workspace import temporary_workspace

_MEMBER_BYTES: Final = 4608
"""Bytes that a clip takes in a tar beside its video: three headers, caption, record, and what fills their blocks."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run would do: its plan, the blocks that are there already, and what would become of the others' rows."""

    plan: BlockPlan
    blocks_done: int
    judged: tuple[Judged, ...] = ()
    status: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def shard_bytes(self) -> list[int]:
        """The estimated bytes of each tar that would be written, in order."""
        return [-(-(block.bytes + block.clips * _MEMBER_BYTES) // RECORDSIZE) * RECORDSIZE for block in self.judged]


def forecast(request: ShardRequest, report: Callable[[Event | Judged], None]) -> Forecast:
    """Return what a run would do.

    Args:
        request: input, output and settings.
        report: hears of the plan, of progress, and of every block.

    Raises:
        ValueError: the input is unfit, or the output holds something else.
        StoreError: the input or the output cannot be read.
        StoppedError: the videos' store went out of reach.
    """
    out = open_store(request.out)
    with lend_inputs(request.input, request.columns, limit=request.limit) as table:
        plan = decide(request, table, out).plan
        done = finished(out, plan)
        judged: list[Judged] = []
        with temporary_workspace() as scratch:
            run = Run(request, plan, out, table, scratch)
            try:
                if request.sift.dedup is not None:
                    run = _without_duplicates(run, report)
                clips = sum(entry.clips for entry in done.values())
                report(Planned(plan, sum(entry.rows for entry in done.values()), clips, len(done)))
                for event in judge(run, set(range(plan.blocks)) - done.keys()):
                    report(event)
                    if isinstance(event, Judged):
                        judged.append(event)
            except OSError as error:
                raise StoppedError(str(error)) from error
    judged.sort(key=lambda block: block.number)
    return Forecast(
        plan, len(done), tuple(judged), _sum(*(b.status for b in judged)), _sum(*(b.reasons for b in judged))
    )


def _without_duplicates(run: Run, report: Callable[[Event | Judged], None]) -> Run:
    """Return the run with its duplicates known, by fingerprints that go with its scratch folder."""
    report(Planned(run.plan, 0, 0, 0))
    folder = run.scratch / "first_pass"
    folder.mkdir()
    place = open_store(str(folder))
    for event in take_fingerprints(run, range(run.plan.blocks), place):
        report(event)
    return with_duplicates(run, place)


def _sum(*counts: Mapping[str, int]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(sorted(total.items()))
