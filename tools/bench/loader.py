"""The bench command for a loader: how many clips a second it gives, and which stage its consumer waits for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Final

from rich.console import Console
from rich.table import Column, Table

from pipelines.loader import AnyLoader, build_loader, build_packed_loader
from pipelines.meter import STAGES, MeterReading
from pipelines.packed_batch import AnyBatch
from pipelines.settings import LoaderConfig
from tools.console import DONE, printable, spell_seconds

_MEGA: Final = 1e6
_MILLI: Final = 1e3


@dataclass(frozen=True, slots=True)
class LoaderBench:
    """What is measured: a loader, for how many seconds, by a consumer that takes ``step`` seconds over each batch."""

    config: LoaderConfig
    seconds: float = 20.0
    step: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("seconds", 0.1), ("step", 0.0)):
            if not least <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; take {least} or more")


@dataclass(frozen=True, slots=True)
class StageReport:
    """What a stage did: seconds of work for each clip, part of its threads' time, and bytes a second."""

    calls: int
    seconds_per_clip: float
    busy: float
    threads: int
    bytes_per_second: float


@dataclass(frozen=True, slots=True)
class LoaderReport:
    """What was measured after the first batch, which is told apart: a loader starts its threads with it."""

    dataset: str
    clips: int
    dropped: int
    seconds: float
    clips_per_second: float
    first_batch_seconds: float
    data_wait: float
    waits_for: str | None
    stages: dict[str, StageReport]
    queues: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return asdict(self)


def run_loader_bench(bench: LoaderBench, *, as_json: bool = False) -> int:
    """Measure and print; return the exit status.

    Raises:
        NotFoundError, StoreError, ValueError, OSError: as ``pipelines.build_loader`` and its loader.
    """
    with Console(stderr=True).status(f"loading for {bench.seconds:g} s"):
        report = measure(bench)
    if as_json:
        print(json.dumps(report.to_json()))
        return DONE
    console = Console(highlight=False, markup=False)
    for line in _tables(report):
        console.print(line)
    return DONE


def measure(bench: LoaderBench) -> LoaderReport:
    """Load batches for some time and return what the loader's meter says of it.

    Raises:
        NotFoundError, StoreError, ValueError, OSError: as ``run_loader_bench``.
    """
    with _opened(bench.config) as loader:
        began = time.perf_counter()
        next(loader)
        first = time.perf_counter() - began
        before, dropped, clips = loader.meter.snapshot(), loader.dropped, 0
        readings = []
        for size in _batches(loader, bench):
            clips += size
            readings.append(loader.meter.snapshot())
        found = readings[-1].since(before)
        return _report(bench, found, clips, loader.dropped - dropped, first, readings)


def _opened(config: LoaderConfig) -> AnyLoader:
    return build_loader(config) if config.packing is None else build_packed_loader(config)


def _batches(loader: AnyLoader, bench: LoaderBench) -> Iterator[int]:
    """Yield the clips of batch after batch until the time is over; one at least."""
    ends = time.perf_counter() + bench.seconds
    batches: Iterator[AnyBatch] = iter(loader)
    while True:
        batch = next(batches)
        time.sleep(bench.step)
        yield len(batch) // bench.config.rows
        if time.perf_counter() >= ends:
            return


def _report(  # noqa: PLR0917 - what one measurement found
    bench: LoaderBench, found: MeterReading, clips: int, dropped: int, first: float, readings: list[MeterReading]
) -> LoaderReport:
    stages = {
        name: StageReport(
            reading.calls,
            reading.seconds / clips,
            found.busy(name),
            found.threads.get(name, 1),
            reading.bytes / found.elapsed,
        )
        for name in STAGES
        if (reading := found.stage(name)).calls
    }
    names = {name for reading in readings for name in reading.queues}
    queues = {name: fmean(r.queues[name].finished for r in readings if name in r.queues) for name in sorted(names)}
    return LoaderReport(
        dataset=str(bench.config.source),
        clips=clips,
        dropped=dropped,
        seconds=found.elapsed,
        clips_per_second=clips / found.elapsed,
        first_batch_seconds=first,
        data_wait=found.wait_share,
        waits_for=found.culprit,
        stages=stages,
        queues={"ready": fmean(reading.ready for reading in readings), **queues},
    )


def _tables(report: LoaderReport) -> Iterator[Table]:
    sums = Table(title=printable(report.dataset), show_header=False)
    waits = f"{100 * report.data_wait:.0f} % of the time"
    for name, value in (
        ("clips a second", f"{report.clips_per_second:.1f}"),
        ("clips", f"{report.clips} in {spell_seconds(report.seconds)}, {report.dropped} of them dropped"),
        ("first batch", f"after {report.first_batch_seconds:.2f} s"),
        ("consumer waits", f"{waits}, for {report.waits_for}" if report.waits_for else waits),
        ("queues", ", ".join(f"{value:.1f} {name}" for name, value in report.queues.items())),
    ):
        sums.add_row(name, value)
    yield sums
    columns = ("ms a clip", "threads", "busy", "MB/s")
    stages = Table("stage", *(Column(name, justify="right") for name in columns))
    for name, stage in report.stages.items():
        speed = f"{stage.bytes_per_second / _MEGA:.1f}" if stage.bytes_per_second else ""
        stages.add_row(
            name, f"{_MILLI * stage.seconds_per_clip:.2f}", str(stage.threads), f"{100 * stage.busy:.0f} %", speed
        )
    yield stages
