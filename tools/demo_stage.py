"""What the stages of a demo share: its folder, commands shown as a person types them, runs that are followed."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Final, TypeVar

from rich.console import Console
from rich.markup import escape

from tools.child import child_process
from tools.training_run import Line, RunFailedError, TrainingRun, read_lines

INTERRUPTED: Final = 130
FALLS_SHORT: Final = 1
CLEAR_FALL: Final = 0.75
"""The loss has clearly fallen when its mean over the last steps is below this part of that over the first."""

_FIRST_STEPS: Final = 3
_MARKER: Final = ".vidloom-demo"
_OWN_FOLDERS: Final = ("corpus", "dataset", "held-out", "held-out-looks", "runs", "figures")


class DemoFailedError(RuntimeError):
    """A stage did not do what it is there to show."""


@dataclass(frozen=True, slots=True)
class LossFall:
    """The mean loss over a run's first few steps, and over its last tenth."""

    first: float
    last: float

    @property
    def clear(self) -> bool:
        """Whether the loss has clearly fallen."""
        return self.last < CLEAR_FALL * self.first


def loss_fall(lines: Sequence[Line]) -> LossFall:
    """Compare the end of a run with its start; the start is short, for the loss falls fast there."""
    losses = [line["loss"] for line in lines]
    return LossFall(fmean(losses[:_FIRST_STEPS]), fmean(losses[-max(_FIRST_STEPS, len(losses) // 10) :]))


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a demo works: its folder, what it is drawn from, the processes it takes, and where it speaks.

    ``seconds`` keeps how long each stage took, by its title.
    """

    out: Path
    seed: int
    workers: int
    shown: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def dataset(self) -> Path:
        """The shards that are trained on."""
        return self.out / "dataset"

    @property
    def held_out(self) -> Path:
        """The shards of clips that are not trained on."""
        return self.out / "held-out" / "dataset"

    @property
    def looks(self) -> Path:
        """The shards of more clips of what is held out, each combination in several looks."""
        return self.out / "held-out-looks" / "dataset"

    def run_folder(self, name: str) -> Path:
        """Return the folder of a training run."""
        return self.out / "runs" / name

    def say(self, line: str) -> None:
        """Print a line that may hold anything."""
        self.shown.print(escape(line))

    def show_command(self, command: str) -> None:
        """Print a command as a person types it."""
        self.shown.print(f"[cyan]$ {escape(command)}[/]")

    def command(self, arguments: Sequence[str], *, expected: int = 0) -> None:
        """Run one of our own commands, showing it; its output goes where ours goes.

        Raises:
            DemoFailedError: it does not end with the status that is expected.
        """
        self.show_command(shlex.join(["vidloom", *arguments]))
        with child_process([sys.executable, "-m", "tools", *arguments]) as process:
            status = process.wait()
        if status != expected:
            raise DemoFailedError(f"vidloom {arguments[0]} ended with exit status {status}; {expected} was expected")

    def shard(self, folder: Path, *, expected: int = 0) -> None:
        """Cut the corpus in a folder into the shards that stand for it."""
        out = self.dataset if folder == self.out / "corpus" else folder / "dataset"
        settings = ["--preset", "train", "--shard-size", "512KiB", "--workers", str(self.workers)]
        self.command(["shard", str(folder / "corpus.csv"), str(out), *settings], expected=expected)

    def train(
        self, name: str, settings: Mapping[str, object], *, steps: int, parts: int = 6, falling: bool = True
    ) -> LossFall:
        """Train to the end, telling of ``parts`` equal parts of the run.

        Args:
            name: The run's folder below ``runs``.
            settings: Overrides, all but ``out``.
            steps: How many steps the run takes.
            parts: How many reports are told after the first.
            falling: Whether the loss must fall clearly; one that is low from the first on need not.

        Raises:
            RunFailedError: it did not come to the end.
            DemoFailedError: the loss has not clearly fallen.
        """
        out = self.run_folder(name)
        with TrainingRun(out, settings) as run:
            self.show_command(run.shown)
            run.follow(self.reporter(steps, parts=parts))
            run.finish()
        fall = loss_fall(read_lines(out))
        self.say(f"mean loss: {fall.first:.3f} over the first steps, {fall.last:.3f} over the last tenth")
        if falling and not fall.clear:
            wanted = CLEAR_FALL * fall.first
            raise DemoFailedError(f"the loss of {name} ends at {fall.last:.3f}; it should come below {wanted:.3f}")
        return fall

    def reporter(self, steps: int, *, parts: int, until: int | None = None) -> Callable[[Line], None]:
        """Return what prints the first step's report and then one for each of ``parts`` equal parts of the run."""
        total = until or steps
        told = {1, *(total * part // parts for part in range(1, parts + 1))}

        def report(line: Line) -> None:
            if line["step"] in told:
                self.say(
                    f"  step {line['step']:>4}/{steps}  epoch {line['epoch']:5.2f}  loss {line['loss']:.4f}"
                    f"  {line['clips_per_s']:5.1f} clips/s  data wait {line['data_wait']:.0%}",
                )

        return report


D = TypeVar("D")
Stages = Sequence[tuple[str, Callable[[D], None]]]


def prepare(out: Path) -> Path:
    """Make the folder, or empty it of what an earlier demo left there.

    Raises:
        ValueError: it holds files that no demo wrote.
    """
    marker = out / _MARKER
    if out.is_dir() and any(out.iterdir()) and not marker.exists():
        raise ValueError(f"{out} holds files that no demo wrote; choose another folder with --out, or an empty one")
    out.mkdir(parents=True, exist_ok=True)
    marker.touch()
    for name in _OWN_FOLDERS:
        shutil.rmtree(out / name, ignore_errors=True)
    return out


def run_stages(bench: Bench, demo: D, stages: Stages[D]) -> int:
    """Go through the stages, telling each; return the exit status: 0, 1 where one fell short, 130 after Ctrl-C."""
    try:
        for number, (title, stage) in enumerate(stages, start=1):
            with _telling(bench, f"{number}/{len(stages)}", title):
                stage(demo)
    except (DemoFailedError, RunFailedError) as error:
        bench.shown.print(f"[bold red]failed:[/] {escape(str(error))}")
        return FALLS_SHORT
    except KeyboardInterrupt:
        bench.say(f"interrupted; {bench.out} holds what was done, and the next demo starts anew there")
        return INTERRUPTED
    return 0


@contextmanager
def _telling(bench: Bench, number: str, title: str) -> Iterator[None]:
    """Print a stage's title, and how long it took when it is done."""
    bench.shown.print(f"\n[bold]{number} {escape(title)}[/]")
    began = time.perf_counter()
    yield
    bench.seconds[title] = time.perf_counter() - began
    bench.shown.print(f"[dim]{bench.seconds[title]:.1f} s[/]")
