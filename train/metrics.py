"""What a run says of itself: metrics.jsonl with a line a step, TensorBoard files, and log lines."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch.utils.tensorboard import SummaryWriter

from shards.store import Store
from train.data_watch import DataWatch
from train.dataset_losses import DatasetLosses
from train.guard import NotFiniteError, SkipCount
from train.parallel import Ranks
from train.state import TrainState
from train.step import StepResult

METRICS: Final = "metrics.jsonl"
EVALUATIONS: Final = "evaluations.jsonl"
_DROPS: Final = re.compile(r"drops/(?:(\w+)-)?rank-(\d+)\.jsonl")
_TENSORBOARD: Final = "tensorboard"
_LOSS: Final = "loss/"
_TERA: Final = 1e12

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LogFolder:
    """Where a run's logs grow: ``out`` itself, or a scratch folder that is uploaded to a remote ``out``."""

    store: Store
    path: Path

    def file(self, name: str) -> Path:
        """Return the local place of a log, with what an earlier part of the run has written in it."""
        place = self.path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not self.store.is_local and not place.exists() and self.store.exists(name):
            place.write_bytes(self.store.read(name))
        return place

    def publish(self) -> None:
        """Upload all logs to a remote ``out``; a local one has them already."""
        if self.store.is_local:
            return
        for place in sorted(self.path.rglob("*")):
            if place.is_file():
                self.store.put(place.relative_to(self.path).as_posix(), place.read_bytes())


@contextmanager
def log_folder(store: Store) -> Iterator[LogFolder]:
    """Open the folder that the logs of a run with this ``out`` grow in, and publish them at the end."""
    with ExitStack() as stack:
        path = Path(store.url if store.is_local else stack.enter_context(tempfile.TemporaryDirectory()))
        folder = LogFolder(store, path)
        try:
            yield folder
        finally:
            folder.publish()


@dataclass(frozen=True, slots=True)
class Pace:
    """Steps of the whole run, samples of an epoch, steps from one log line to the next.

    ``peak_tflops`` is what one device could do in a second, in 10^12 FLOP (None: nobody knows); so many non-finite
    steps in a row as ``skip_nonfinite`` says are let pass. ``datasets`` are the names of several datasets of clips.
    """

    total_steps: int
    epoch_samples: int
    log_every: int
    peak_tflops: float | None = None
    skip_nonfinite: int = 0
    datasets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Entry:
    """One step as this rank saw it; ``samples`` are the global batch's, times are seconds."""

    state: TrainState
    result: StepResult
    keys: list[str]
    samples: int
    lr: float
    waited: float
    took: float


class RunLog(AbstractContextManager["RunLog"]):
    """Collects what steps report and writes it every few steps, so that a GPU need not be waited for in between.

    All ranks must call the same methods in the same order; the first one writes.

    Args:
        folder: where the files grow.
        ranks: this process's place.
        state: where the run goes on from; lines beyond it, which a killed run left, are cut off.
        pace: how often to write, and what steps are counted against.
        watch: tells what the loaders were busy with; None leaves that out.
    """

    def __init__(
        self, folder: LogFolder, ranks: Ranks, state: TrainState, pace: Pace, watch: DataWatch | None = None
    ) -> None:
        self._watch = watch
        self._ranks = ranks
        self._pace = pace
        self._samples = state.samples
        self._entries: list[_Entry] = []
        self._waited = 0.0
        self._skips = SkipCount(pace.skip_nonfinite)
        self._stack = ExitStack()
        self._lines: Path | None = None
        self._evaluations: Path | None = None
        if ranks.first:
            self._lines, self._evaluations = folder.file(METRICS), folder.file(EVALUATIONS)
            for lines in (self._lines, self._evaluations):
                if lines.exists():
                    _cut(lines, lambda line: line["step"] <= state.step)
            self._board = SummaryWriter(str(folder.file(_TENSORBOARD)), purge_step=state.step + 1)
            self._stack.callback(self._board.close)
        self._last = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the files, after writing what a failed run of one rank has left; ranks of many may be out of step."""
        with self._stack:
            if kind is not None and self._ranks.world == 1:
                with suppress(NotFiniteError):
                    self.flush()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside as waiting for data."""
        began = time.perf_counter()
        yield
        self._waited = time.perf_counter() - began

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Keep the time inside out of the speed that is reported: that of a checkpoint, for example."""
        began = time.perf_counter()
        yield
        self._last += time.perf_counter() - began

    def add(self, state: TrainState, result: StepResult, keys: Sequence[str], lr: float) -> None:
        """Take the report of the step that led to ``state``; flush if it is time.

        Raises:
            NotFiniteError: see ``flush``.
        """
        now = time.perf_counter()
        samples = state.samples - self._samples
        self._entries.append(_Entry(state, result, list(keys), samples, lr, self._waited, now - self._last))
        self._last, self._samples = now, state.samples
        if state.step % self._pace.log_every == 0:
            self.flush()

    def lacks_evaluation(self, step: int) -> bool:
        """Say, on all ranks, whether no evaluation after so many steps is in the log."""
        place = self._evaluations
        lacks = place is not None and all(line["step"] != step for line in read_metrics(place))
        return bool(self._ranks.worst(int(lacks)))

    def evaluated(self, state: TrainState, figures: Mapping[str, float]) -> None:
        """Write what an evaluation after the step that led to ``state`` found: a line, scalars, a log line."""
        if self._evaluations is None:
            return
        line = {"step": state.step, **{name: _finite(value) for name, value in figures.items()}}
        _append(self._evaluations, [line])
        for name, value in figures.items():
            self._board.add_scalar(f"eval/{name}", value, state.step)
        self._board.flush()
        _log.info("evaluation at step %d: %s", state.step, ", ".join(f"{n} {v:.4g}" for n, v in figures.items()))

    def flush(self) -> None:
        """Write what was collected: lines and TensorBoard scalars for each step, one log line for all of them.

        Raises:
            NotFiniteError: too many steps in a row had a loss or gradient norm that is infinite or not a number; these
                have been written as null, and the weights are those before the first of them.
        """
        entries, self._entries = self._entries, []
        if not entries:
            return
        keys = self._ranks.gather([entry.keys for entry in entries])
        apart = DatasetLosses([entry.result for entry in entries], self._pace.datasets, self._ranks)
        lines = [self._line(entry, [one[at] for one in keys]) | apart.of_step(at) for at, entry in enumerate(entries)]
        if self._lines is not None:
            _append(self._lines, lines)
            self._draw(lines)
            self._say(entries, lines, apart.told())
        for line in lines:
            what = f"loss {line['loss']} and gradient norm {line['grad_norm']}".replace("None", "null")
            self._skips.add(line["step"], skipped=line["skipped"], what=what)

    def _line(self, entry: _Entry, keys: list[list[str]]) -> dict[str, Any]:
        result, drops = entry.result, int(entry.result.drops)
        rows = entry.samples if result.rows is None else int(result.rows)
        digest = hashlib.sha256("\n".join(key for part in keys for key in part).encode()).hexdigest()
        losses = {name: _finite(float(loss)) for name, loss in result.losses.items()}
        total = sum(map(float, result.losses.values())) if result.loss is None else float(result.loss)
        return {
            "step": entry.state.step,
            "epoch": round(entry.state.samples / self._pace.epoch_samples, 4),
            "loss": _finite(total),
            **{f"loss/{name}": loss for name, loss in losses.items()},
            **{name: _finite(float(value)) for name, value in result.gauges.items()},
            "lr": entry.lr,
            "grad_norm": _finite(float(result.grad_norm)),
            "skipped": result.skipped is not None and bool(result.skipped),
            "clips_per_s": round((rows - drops) / entry.took, 3),
            "data_wait": round(min(entry.waited / entry.took, 1.0), 4),
            **self._work(rows * result.flops / entry.took),
            "drops": drops,
            "keys_sha": digest,
        }

    def _work(self, flops: float) -> dict[str, float]:
        """Return what each device does in a second, and what part that is of what it could, where that is known."""
        peak, each = self._pace.peak_tflops, flops / self._ranks.world / _TERA
        return {} if peak is None else {"tflops": round(each, 3), "mfu": round(each / peak, 4)}

    def _draw(self, lines: Sequence[dict[str, Any]]) -> None:
        for line in lines:
            for name, value in line.items():
                if isinstance(value, int | float) and name != "step":
                    self._board.add_scalar(f"train/{name}", value, line["step"])
        if self._watch is not None:
            self._watch.turn()
            for name, value in self._watch.scalars().items():
                self._board.add_scalar(f"data/{name}", value, lines[-1]["step"])
        self._board.flush()

    def _say(self, entries: Sequence[_Entry], lines: Sequence[dict[str, Any]], apart: str) -> None:
        took = sum(entry.took for entry in entries)
        clips = sum(line["clips_per_s"] * entry.took for entry, line in zip(entries, lines, strict=True))
        last = lines[-1]
        parts = [
            f"step {last['step']}/{self._pace.total_steps}",
            f"epoch {last['epoch']:.2f}",
            f"loss {_shown(last['loss'])}{_named_losses(last)}",
            *[f"({apart})"] * bool(apart),
            f"lr {last['lr']:.3g}",
            f"{clips / took:.1f} clips/s",
            f"data wait {100 * min(sum(entry.waited for entry in entries) / took, 1.0):.0f} %{self._blame()}",
        ]
        if "mfu" in last:
            tflops = sum(line["tflops"] * entry.took for entry, line in zip(entries, lines, strict=True)) / took
            parts.append(f"{tflops:.3g} TFLOP/s, MFU {100 * tflops / self._peak():.1f} %")
        for name, sign in (("drops", "dropped"), ("skipped", "skipped")):
            count = sum(line[name] for line in lines)
            parts += [f"{count} {sign}"] * bool(count)
        _log.info("%s", "  ".join(parts))

    def _blame(self) -> str:
        blame = "" if self._watch is None else self._watch.blame()
        return f" ({blame})" if blame else ""

    def _peak(self) -> float:
        assert self._pace.peak_tflops is not None
        return self._pace.peak_tflops


def drop_log(rank: int, feed: str | None = None) -> str:
    """Return the name of the log, in a run's folder, of the samples that a rank could not use.

    Args:
        rank: the rank.
        feed: what they were of, where that is not clips, such as "images".
    """
    return f"drops/{'' if feed is None else f'{feed}-'}rank-{rank:05d}.jsonl"


def cut_drops(folder: LogFolder, ranks: Ranks, samples: int, feed: str | None = None) -> None:
    """Forget the drops of samples from position ``samples`` on, which the run comes to again, perhaps on other ranks.

    Every rank calls this before its loader writes; the first one sees to the logs of ranks that are no more. ``feed``
    is as for ``drop_log``.
    """
    for name in folder.store.list("drops/"):
        match = _DROPS.fullmatch(name)
        if match is None or match[1] != feed:
            continue
        writer = int(match[2])
        if writer == ranks.rank or (ranks.first and writer >= ranks.world):
            _cut(folder.file(name), lambda line: line["position"] < samples)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a ``metrics.jsonl``; one that a killed run left half-written is passed over."""
    return [line for _, line in _read_lines(path)]


def _read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the whole lines of a log, as text and as what they say."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for line in text.split("\n"):  # and no other character, for names of videos may hold what splitlines() cuts at
        try:
            if line:
                yield line, json.loads(line)
        except ValueError:
            _log.warning("%s holds a half-written line of %d characters; it is passed over", path, len(line))


def _cut(path: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Keep some lines of a log, so that what a resumed run does again stands in it once."""
    kept = [f"{text}\n" for text, line in _read_lines(path) if keep(line)]
    temporary = path.with_name(f"{path.name}.part")
    temporary.write_text("".join(kept), encoding="utf-8")
    temporary.replace(path)


def _append(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(line, allow_nan=False) + "\n" for line in lines))


def _named_losses(line: Mapping[str, Any]) -> str:
    """Return a step's losses by name, where there is more than one."""
    named = {key.removeprefix(_LOSS): value for key, value in line.items() if key.startswith(_LOSS)}
    return f" ({', '.join(f'{name} {_shown(value)}' for name, value in named.items())})" if len(named) > 1 else ""


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
