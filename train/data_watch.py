"""What the loaders of a run were busy with between two log lines: scalars to draw, and what is waited for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from pipelines.meter import STAGES, MeterReading, StageMeter

_MEGA: Final = 1e6


class Metered(Protocol):
    """A loader whose work is metered."""

    @property
    def meter(self) -> StageMeter:
        """Where its stages report."""

    @property
    def passes(self) -> Mapping[str, float]:
        """How often each dataset of several was passed over, by name."""


class DataWatch:
    """Reads the meters of loaders from one log line to the next. Each rank has its own; the first one's is told.

    Args:
        loaders: the run's loaders by name; that of clips is called ``main``.
        main: the loader whose scalars have no name before them.
    """

    def __init__(self, loaders: Mapping[str, Metered], main: str = "video") -> None:
        self._loaders, self._main = loaders, main
        self._last = self._read()
        self._interval = dict(self._last)

    def turn(self) -> None:
        """End an interval and begin the next."""
        now = self._read()
        self._interval = {name: reading.since(self._last[name]) for name, reading in now.items()}
        self._last = now

    def scalars(self) -> dict[str, float]:
        """Return, of the last interval, what parts of their time the stages were busy, their MB/s, and queue depths.

        Of several datasets it is also how often each was passed over, since the run began.
        """
        found = {name: dict(_scalars(reading)) for name, reading in self._interval.items()}
        for name, loader in self._loaders.items():
            found[name] |= {f"passes/{dataset}": value for dataset, value in loader.passes.items()}
        return {
            f"{'' if name == self._main else f'{name}/'}{what}": value
            for name, scalars in found.items()
            for what, value in scalars.items()
        }

    def blame(self) -> str:
        """Say what the consumer waited for in the last interval; nothing where it hardly waited.

        Of several loaders it is the one that was waited for longest.
        """
        waited = max(self._interval, key=lambda name: self._interval[name].stage("wait").seconds)
        reading = self._interval[waited]
        if reading.culprit is None:
            return ""
        whose = "" if waited == self._main else f"{waited}: "
        return f"{whose}{reading.culprit} {100 * reading.busy(reading.culprit):.0f} % busy"

    def _read(self) -> dict[str, MeterReading]:
        return {name: loader.meter.snapshot() for name, loader in self._loaders.items()}


def _scalars(reading: MeterReading) -> Iterator[tuple[str, float]]:
    for stage in STAGES:
        found = reading.stage(stage)
        if found.calls:
            yield f"busy/{stage}", reading.busy(stage)
        if found.bytes and reading.elapsed > 0:
            yield f"mb_per_s/{stage}", found.bytes / _MEGA / reading.elapsed
    yield "queue/ready", float(reading.ready)
    for queue, depth in reading.queues.items():
        yield f"queue/{queue}", float(depth.finished)
