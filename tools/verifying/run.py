"""One verification from end to end: shards checked, files put back where that is asked for, what is left reported."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rich.console import Console

from shards.layout import MANIFEST_NAME, PLAN_NAME
from shards.manifest import ShardEntry, open_manifest
from shards.store import Store, open_store
from shards.verify import Verification, check_all
from shards.verify_problems import Problem, VerifyReport
from tools.corpus.tally import Progress
from tools.corpus.workspace import alone, temporary_workspace, workspace
from tools.verifying.decoding import choose_clips
from tools.verifying.progress import CheckDisplay
from tools.verifying.repairing import Repair, Repairer
from tools.verifying.request import VerifyRequest, chosen_shards
from tools.verifying.work import check_by_workers

_MOST_THREADS: Final = 16


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification came to: what is wrong at its end, what was put back, and the manifest's digest (if any)."""

    url: str
    report: VerifyReport
    repairs: tuple[Repair, ...]
    digest: str | None
    shards: tuple[ShardEntry, ...]


def verify(request: VerifyRequest, console: Console, on_problem: Callable[[Problem], None]) -> Verified:
    """Verify a dataset as a request says, and repair what can be where it says so.

    Args:
        request: the request.
        console: where progress is shown.
        on_problem: hears of every problem that there is at the end.

    Raises:
        ValueError: options do not suit the dataset, or another run is writing to it.
        StoreError: the store cannot be reached.
        StoppedError: a worker could not go on.
    """
    store = open_store(request.dataset)
    if not store.exists(MANIFEST_NAME) and not store.exists(PLAN_NAME):
        open_manifest(store)  # raises, and says what is there instead
    if request.repair:
        return _repaired(request, store, console, on_problem)
    verification = Verification(store, on_problem)
    with temporary_workspace() as folder:
        _check(request, verification, folder, console)
    return _verified(store, verification, ())


def _repaired(
    request: VerifyRequest, store: Store, console: Console, on_problem: Callable[[Problem], None]
) -> Verified:
    """Check all but the decoding first, put back what can be, and look again."""
    repairs: list[Repair] = []
    files = replace(request, decode=False, sample=None)
    with workspace(store) as scratch, alone(store) as lease:
        require_alone = (lambda: None) if lease is None else lease.require
        repairer = Repairer(store, scratch, repairs.append, require_alone, request.choice)
        verification = Verification(store, on_problem)
        if verification.opened.dataset is None and repairer.manifest(verification.opened.problems[0].what):
            verification = Verification(store, on_problem)
        _check(files, verification, scratch, console)
        found = (*verification.opened.problems, *verification.of_shards())
        wrong = next((each.what for each in found if each.file == MANIFEST_NAME), None)
        if wrong is not None and verification.opened.dataset is not None and repairer.manifest(wrong):
            verification = Verification(store, on_problem)
            _check(files, verification, scratch, console)
        if repairer.misplaced(verification):
            verification = Verification(store, on_problem)
            _check(files, verification, scratch, console)
        made = list(repairer.shards(verification))
        for _ in check_all(verification, made, 1):
            pass
        if verification.opened.dataset is not None:
            repairer.indexes(verification.opened.dataset)
        if request.decode:
            verification = Verification(store, on_problem)
            _check(request, verification, scratch, console)
        return _verified(store, verification, repairs)


def _check(request: VerifyRequest, verification: Verification, scratch: Path, console: Console) -> None:
    """Check the shards that a request names, by threads of this process, or by workers where clips are decoded."""
    shards = verification.shards
    places = chosen_shards(request.shards, shards)
    if not places:
        return
    if not request.decode:
        with CheckDisplay(console, len(places), sum(shards[place].tar.bytes for place in places)) as display:
            workers = request.choice.workers or min(_MOST_THREADS, len(os.sched_getaffinity(0)) + 2)
            for _ in check_all(verification, places, workers, lambda size: display.count(size=size)):
                display.count(shards=1)
        return
    wanted = None
    if request.sample is not None:
        drawn = choose_clips([shards[place].clips for place in places], request.sample, request.seed)
        wanted = {places[at]: numbers for at, numbers in drawn.items()}
    clips = sum(shards[place].clips if wanted is None else len(wanted.get(place, ())) for place in places)
    with CheckDisplay(console, len(places), clips, decodes=True) as display:
        for event in check_by_workers(request.dataset, places, request.choice, scratch, wanted):
            if isinstance(event, Progress):
                display.count(clips=event.clips, size=event.bytes)
            else:
                verification.take(event.place, event.findings)
                display.count(shards=1)


def _verified(store: Store, verification: Verification, repairs: Sequence[Repair]) -> Verified:
    dataset = verification.opened.dataset
    digest = None if dataset is None else dataset.manifest.digest
    return Verified(store.url, verification.report(), tuple(repairs), digest, tuple(verification.shards))
