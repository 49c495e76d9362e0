"""Run benchmarks one after the other, each in a process of its own, and collect their figures as they come."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from benchmarks.absent import ABSENT
from benchmarks.catalogue import PEER, REFERENCE, Benchmark
from benchmarks.figures import Figure
from benchmarks.machine import commit_of, describe_machine, load, peer_versions, versions
from benchmarks.results_table import render

ROOT: Final = Path(__file__).resolve().parents[1]
_THREADS: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_IO_THREADS")
_QUIET: Final = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait must not spin, which would count as CPU time; ``python -m train`` sets the same."""

_NOT_HERE: Final = re.compile(
    r"without (?!a cache)|no (bucket|object store|videos|public code)\b|.* is (missing|left out): "
)
_PATIENCE_SECONDS: Final = 15.0


@dataclass(frozen=True)
class Settings:
    """Where results go, how large the runs are, what there is to compare with, and a limit in place of each one's."""

    out: Path
    quick: bool = False
    compared: Mapping[str, str] = field(default_factory=dict)
    limit: float | None = None


@dataclass(frozen=True)
class _Outcome:
    """How a benchmark ended: its status, why it failed, what its runs wrote, and the figures of that."""

    status: str
    why: str
    raw: Mapping[str, Any]
    figures: Sequence[Figure] = ()

    def notes(self, log: Path) -> list[str]:
        """Return what is to be said: which runs and sides were left out, or why there are no figures."""
        if self.status == "measured":
            return list(dict.fromkeys(line for line in _lines(log) if _NOT_HERE.match(line)))
        return [": ".join(filter(None, [self.why, _last_line(log)]))]


def run_all(benchmarks: Mapping[str, Benchmark], settings: Settings) -> dict[str, Any]:
    """Run benchmarks, and write the results and the table after each, so that an interruption loses none.

    Returns:
        The results, as they stand in ``results.json``.
    """
    settings.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        "format": 1,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": settings.quick,
        "machine": describe_machine(),
        "versions": versions(),
        "peers": _peers(settings.compared),
        "load before": load(),
        "benchmarks": [],
    }
    for name, benchmark in benchmarks.items():
        print(f"== {name}: {benchmark.title}", flush=True)
        results["benchmarks"].append(run_one(name, benchmark, settings))
        results["load after"] = load()
        _write(settings.out / "results.json", json.dumps(results, indent=1) + "\n")
        _write(settings.out / "results.md", render(results))
    return results


def _peers(compared: Mapping[str, str]) -> dict[str, str]:
    """Return the versions of what there is to compare with."""
    found = peer_versions(compared[PEER]) if PEER in compared else {}
    public = commit_of(Path(compared[REFERENCE])) if REFERENCE in compared else ""
    return found | ({"InternVideo": public} if public else {})


def run_one(name: str, benchmark: Benchmark, settings: Settings) -> dict[str, Any]:
    """Run one benchmark's runs and return its part of the results.

    Its status is ``measured``, ``absent`` (what it compares with is not here) or ``failed``; ``notes`` say why, and
    which sides were left out.
    """
    begun, before, cpu = time.monotonic(), load(), _cpu()
    log = settings.out / f"{name}.log"
    with log.open("wb") as output:
        outcome = _outcome(name, benchmark, settings, output)
    figures = [figure.to_json() for figure in outcome.figures]
    if settings.quick:
        figures = [figure | {"holds": None} for figure in figures]  # sizes at which budgets mean nothing
    return {
        "name": name,
        "title": benchmark.title,
        "status": outcome.status,
        "notes": outcome.notes(log),
        "seconds": round(time.monotonic() - begun, 1),
        "cpu seconds": round(_cpu() - cpu, 1),
        "load": {"before": before, "after": load()},
        "figures": figures,
        "raw": outcome.raw,
    }


def _outcome(name: str, benchmark: Benchmark, settings: Settings, output: IO[bytes]) -> _Outcome:
    found: dict[str, Any] = {}
    for label, given in (benchmark.quick if settings.quick else benchmark.runs).items():
        path = settings.out / f"{name}-{label.replace(' ', '-')}.json"
        path.unlink(missing_ok=True)
        ended = _run(name, given, path, benchmark, settings, output)
        if ended == ABSENT:
            continue  # one of several; what it said stands in the log
        if ended:
            return _Outcome("failed", _spell(ended), found)
        try:
            found[label] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            return _Outcome("failed", f"wrote no figures: {error!r}", found)
    if not found:
        return _Outcome("absent", "", found)
    try:
        return _Outcome("measured", "", found, list(benchmark.read(found)))
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return _Outcome("failed", f"its figures cannot be read: {error!r}", found)


def _run(  # noqa: PLR0917 - one run of one benchmark
    name: str, given: str, path: Path, benchmark: Benchmark, settings: Settings, output: IO[bytes]
) -> int:
    """Run once; return the exit status, or minus the signal that ended it."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *shlex.split(given), "--json", str(path)]
    for option in benchmark.takes:
        if option in settings.compared:
            command += [option, settings.compared[option]]
    print(f"   {shlex.join(command[1:])}", flush=True)
    threads = dict.fromkeys(_THREADS, str(len(os.sched_getaffinity(0))))
    environment = {**os.environ, **threads, **_QUIET, **benchmark.environment}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        try:
            return process.wait(settings.limit or benchmark.limit)
        except subprocess.TimeoutExpired:
            return -signal.SIGALRM
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a run: all processes of its session that stayed in its group.

    It may tidy up first, unless whoever interrupted it does so again.
    """
    try:
        if process.poll() is None:
            _tell(process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE_SECONDS)
    finally:
        _tell(process.pid, signal.SIGKILL)


def _tell(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _cpu() -> float:
    """Return the CPU seconds of all runs that have ended, and of what they waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _spell(status: int) -> str:
    if status == -signal.SIGALRM:
        return "it took longer than its limit and was ended"
    return f"ended with status {status}" if status > 0 else f"was ended by {signal.Signals(-status).name}"


def _lines(log: Path) -> Iterator[str]:
    return (line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip())


def _last_line(log: Path) -> str:
    return next(iter(reversed(list(_lines(log)))), "it said nothing")


def _write(path: Path, text: str) -> None:
    """Replace a file at once, so that readers never see half of it."""
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
