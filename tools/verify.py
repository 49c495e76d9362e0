"""The verify command: what is wrong with which file of a dataset, what was put back, and what to do about the rest."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from shards.layout import MANIFEST_NAME, PLAN_NAME
from shards.verify_problems import NOT_AS_WRITTEN, Problem
from tools.console import DONE, FALLS_SHORT, parse_size, printable, spell_size
from tools.corpus.events import spell_count
from tools.corpus.executor import ExecutorChoice
from tools.verify_options import DecodeRunOptions, VerifyOptions
from tools.verifying.request import VerifyRequest
from tools.verifying.run import Verified, verify

FORMAT: Final = 1
"""Version of what ``--json`` prints, which ``docs/verifying.md`` describes."""

_NAMED_SHARDS: Final = 20


def verify_request(dataset: str, what: VerifyOptions, run: DecodeRunOptions) -> VerifyRequest:
    """Return what a call of the command asks for.

    Raises:
        ValueError: an option is out of range, or some do not go together.
    """
    memory = parse_size(run.worker_memory)
    choice = ExecutorChoice(run.executor, run.workers, run.ray_address, run.clip_timeout, memory)
    return VerifyRequest(
        dataset=dataset,
        decode=what.decode,
        sample=what.sample,
        seed=what.seed,
        shards=what.shards,
        repair=what.repair,
        choice=choice,
        log=run.log,
    )


def run_verify(request: VerifyRequest, *, as_json: bool = False) -> int:
    """Verify a dataset and say on standard output what is wrong with it; return the exit status.

    Args:
        request: which dataset, and how.
        as_json: print one JSON object.

    Raises:
        NotFoundError: there is no dataset.
        StoreError: the store cannot be reached.
        ValueError: options do not suit the dataset, or another run is writing to it.
        StoppedError: a worker could not go on.
    """
    request.choice.require()
    with _log(request.log) as log:
        verified = verify(request, Console(stderr=True), log)
    print(json.dumps(_summary(verified)) if as_json else "\n".join(_lines(verified, request)))
    return FALLS_SHORT if verified.report.problems else DONE


@contextlib.contextmanager
def _log(path: str | None) -> Iterator[Callable[[Problem], None]]:
    """Lend who writes every problem to a file, a JSON object a line; who does nothing where no file is asked for."""
    if path is None:
        yield lambda _: None
        return
    with Path(path).open("w", encoding="utf-8") as file:

        def write(problem: Problem) -> None:
            file.write(json.dumps(asdict(problem)) + "\n")

        yield write


def _summary(verified: Verified) -> dict[str, Any]:
    report = asdict(verified.report)
    problems, counts = report.pop("problems"), {name: report.pop(name) for name in ("counts", "reasons")}
    return {
        "format": FORMAT,
        "dataset": verified.url,
        "digest": verified.digest,
        "whole": not problems,
        **report,
        **counts,
        "problems": problems,
        "repairs": [asdict(repair) for repair in verified.repairs],
    }


def _lines(verified: Verified, request: VerifyRequest) -> list[str]:
    report = verified.report
    put = ("put back" if repair.done else "not put back" for repair in verified.repairs)
    lines = [
        f"{printable(repair.file)}: {said}: {printable(repair.what)}"
        for said, repair in zip(put, verified.repairs, strict=True)
    ]
    lines += [f"{printable(problem.file)}: {printable(problem.what)}" for problem in report.problems]
    read = (
        f"{spell_count(report.shards, 'shard')}, {spell_count(report.files, 'file')}, {spell_size(report.bytes)} read"
    )
    if request.decode:
        read += f", {spell_count(report.frames, 'frame')} of {spell_count(report.decoded, 'clip')} decoded"
    if not report.problems:
        sound = "is whole" if request.shards is None else f"has nothing wrong in shards {request.shards}"
        return [*lines, f"{verified.url} {sound}: {read}"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.counts.items())
    total = sum(report.counts.values())
    return [*lines, *_advice(verified, request), f"{verified.url}: {spell_count(total, 'problem')} ({kinds}); {read}"]


def _advice(verified: Verified, request: VerifyRequest) -> Iterator[str]:
    """Yield what to do about the problems."""
    problems = verified.report.problems
    repairable = len({problem.file for problem in problems if problem.repairable})
    if repairable and not request.repair:
        yield f"{repairable} of these files can be made again: vidloom verify {printable(verified.url)} --repair"
    files = {problem.file for problem in problems if not problem.repairable}
    if PLAN_NAME in files:
        yield f"{PLAN_NAME} cannot be made again: nothing else holds what it says; take it from a copy"
    if MANIFEST_NAME in files and not request.repair:
        yield f"{MANIFEST_NAME} may be made again from the shards' summaries: the same command with --repair tries it"
    gone = {problem.file for problem in problems if problem.kind in NOT_AS_WRITTEN} & files
    lost = [entry.stem for entry in verified.shards if gone.intersection(entry.files())]
    if lost:
        named = ", ".join(lost[:_NAMED_SHARDS]) + (
            f" and {len(lost) - _NAMED_SHARDS} more" * (len(lost) > _NAMED_SHARDS)
        )
        yield (
            f"shards {named}: files that nothing else holds the bytes of; copy them from where they came, or delete "
            "these shards' ledgers (_vidloom/ledger/NUMBER.parquet) and run the command again that made the dataset, "
            "which makes them anew"
        )
