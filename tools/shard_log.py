"""A run's story for programs: JSON lines in a file, and metrics for Weights & Biases."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Protocol, Self

from shards.errors import StoreOutageError
from shards.manifest import ShardEntry
from tools.console import FALLS_SHORT, INTERRUPTED, WRONG_USAGE
from tools.corpus.events import Event, Note, Planned
from tools.run_state import RunState, as_json

EVERY_SECONDS: Final = 10.0
"""Seconds between two ``progress`` events."""


class Sink(Protocol):
    """Takes the events of a run, one mapping of plain values each, with ``event`` saying of what kind it is."""

    def write(self, event: Mapping[str, Any]) -> None:
        """Keep an event."""
        ...

    def close(self, status: int) -> None:
        """End, with the run's exit status."""
        ...


class RunLog:
    """Tells sinks of a run: its start, its plan, its progress now and then, every shard, every note, its end.

    Args:
        sinks: who hears of it.
        state: what there is to say; it has each event before this has.
        every: seconds between two ``progress`` events.
    """

    def __init__(self, sinks: list[Sink], state: RunState, *, every: float = EVERY_SECONDS) -> None:
        self._sinks = sinks
        self._state = state
        self._every = every
        self._told = state.snapshot().elapsed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            status = _status_of(error)
            self.end(status, {"error": "interrupted" if status == INTERRUPTED else str(error)})

    def begin(self, about: Mapping[str, Any]) -> None:
        """Tell that a run starts, and with what."""
        self._write("start", about)

    def take(self, event: Event) -> None:
        """Tell of an event, where it is one to tell."""
        if isinstance(event, Planned):
            self._write("plan", _plan(event))
        elif isinstance(event, ShardEntry):
            self._write("shard", _shard(event))
        elif isinstance(event, Note):
            self._write("note", {"text": event.text})
        if self._state.snapshot().elapsed - self._told >= self._every:
            self._progress()

    def end(self, status: int, summary: Mapping[str, Any]) -> None:
        """Tell of the end with its exit status, and end."""
        if self._state.planned:
            self._progress()
        self._write("end", {"exit": status, **summary})
        sinks, self._sinks = self._sinks, []
        for sink in sinks:
            sink.close(status)

    def _progress(self) -> None:
        snapshot = self._state.snapshot()
        self._told = snapshot.elapsed
        self._write("progress", as_json(snapshot))

    def _write(self, kind: str, values: Mapping[str, Any]) -> None:
        elapsed = round(self._state.snapshot().elapsed, 3)
        for sink in self._sinks:
            sink.write({"event": kind, "elapsed": elapsed, **values})


class JsonLines:
    """A file that gets one JSON object a line, added to what is there, on disk at once.

    Args:
        path: the file; its folder must be there.
        warn: is told, once, that no more can be written; the run goes on.

    Raises:
        ValueError: it cannot be written.
    """

    def __init__(self, path: str, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._path = path
        try:
            self._file: int | None = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            if _breaks_off(self._file):
                os.write(self._file, b"\n")
        except OSError as error:
            raise ValueError(f"--log {path} cannot be written: {error.strerror}; give another file") from error

    def write(self, event: Mapping[str, Any]) -> None:
        """Add a line, which begins with the time (UTC)."""
        if self._file is None:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"time": now, **event}, ensure_ascii=True) + "\n"
        try:
            _write_whole(self._file, line.encode())
        except OSError as error:
            self._warn(f"--log {self._path} cannot be written any more: {error.strerror}; the run goes on without it")
            self.close(0)

    def close(self, _status: int) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _breaks_off(file: int) -> bool:
    """Tell whether a file ends within a line, as where a run was killed or the disk was full."""
    size = os.fstat(file).st_size
    return size > 0 and os.pread(file, 1, size - 1) != b"\n"


def _write_whole(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


class Wandb:
    """Metrics of a run at Weights & Biases: counts and rates over time, the summary at the end.

    Args:
        project: the project's name.
        name: the run's name.
        config: the run's settings.

    Raises:
        ValueError: wandb is not installed, or takes no run.
    """

    def __init__(self, project: str, name: str, config: Mapping[str, Any]) -> None:
        try:
            import wandb  # noqa: PLC0415 - heavy, and an extra
        except ImportError as error:
            raise ValueError("--wandb needs wandb; install it with: pip install 'vidloom[wandb]'") from error
        try:
            self._run = wandb.init(project=project, name=name, config=dict(config), job_type="shard")
        except wandb.Error as error:
            raise ValueError(f"--wandb {project}: {error}; WANDB_MODE=offline keeps the run on this machine") from error

    def write(self, event: Mapping[str, Any]) -> None:
        """Log the numbers of a progress event, and take the end's as the summary."""
        if event["event"] == "progress":
            self._run.log(_numbers(event))
        elif event["event"] == "end":
            self._run.summary.update(_numbers(event))

    def close(self, status: int) -> None:
        """End the run; one that was done but for bad rows is no failure."""
        self._run.finish(exit_code=0 if status <= 1 else status)


def _status_of(error: BaseException) -> int:
    """Return the exit status that ``tools.console.command`` makes of an error."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    is_usage = isinstance(error, (ValueError, OSError)) and not isinstance(error, StoreOutageError)
    return WRONG_USAGE if is_usage else FALLS_SHORT


def _plan(event: Planned) -> dict[str, Any]:
    plan = event.plan
    return {
        "rows": plan.rows,
        "rows_done": event.rows_done,
        "clips_done": event.clips_done,
        "shards": plan.blocks,
        "shards_done": event.blocks_done,
        "plan": plan.digest,
    }


def _shard(entry: ShardEntry) -> dict[str, Any]:
    return {
        "shard": entry.stem,
        "rows": entry.rows,
        "clips": entry.clips,
        "seconds": entry.seconds,
        "bytes": entry.tar.bytes,
        "status": dict(entry.status),
        "reasons": dict(entry.reasons),
    }


def _numbers(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return all numbers of nested mappings by names such as ``reasons/failed/not_found``."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[f"{prefix}{name}"] = value
    return found
