"""``vidloom demo``: the whole way on a generated corpus, from a table of videos to what a model rebuilt of them."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Final

from rich.console import Console
from rich.markup import escape

from tools.child import child_process
from tools.corpus.synthetic import render_corpus
from tools.reconstruction import draw_reconstructions
from tools.run_comparison import compare, plan_kill, side_by_side
from tools.training_run import Line, RunFailedError, TrainingRun, newest_checkpoint, read_lines

INTERRUPTED: Final = 130
PICTURE_NAME: Final = "reconstruction.png"
HELD_OUT_CLIPS: Final = 4
CLEAR_FALL: Final = 0.75
"""The loss has clearly fallen when its mean over the last steps is below this part of that over the first."""
_FIRST_STEPS: Final = 3

_MARKER: Final = ".vidloom-demo"
_OWN_FOLDERS: Final = ("corpus", "dataset", "held-out", "runs")
_BATCH: Final = 8


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
class _Demo:
    """What the stages share; ``shown`` is where they speak."""

    out: Path
    clips: int
    steps: int
    seed: int
    workers: int
    shown: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))

    @property
    def dataset(self) -> Path:
        return self.out / "dataset"

    @property
    def held_out(self) -> Path:
        return self.out / "held-out" / "dataset"

    def run_folder(self, name: str) -> Path:
        return self.out / "runs" / name

    @property
    def settings(self) -> dict[str, object]:
        """The overrides that every training run of the demo shares: a small network on small frames."""
        return {
            "stage": "mvm",
            "model": "vit_tiny",
            "model.patch_size": 8,
            "data.train": self.dataset,
            "data.batch_size": min(_BATCH, self.clips // 4),
            "data.frames": 8,
            "data.stride": 4,
            "data.size": 96,
            "data.workers": self.workers,
            "optim.lr": 3e-3,
            "optim.warmup_steps": self.steps // 20,
            "train.max_steps": self.steps,
            "train.seed": self.seed,
            "train.log_every": 1,
            "train.device": "cpu",
        }


def run_demo(out: Path, *, clips: int = 120, steps: int = 200, seed: int = 0, workers: int = 2) -> int:
    """Render, shard, count, verify, train, kill, resume, compare and draw, telling each stage in short lines.

    Args:
        out: folder for all that is made; one that an earlier demo filled is emptied first.
        clips: sound rows of the generated corpus; a few broken ones are added.
        steps: training steps of the uninterrupted run.
        seed: what corpus and training are drawn from.
        workers: processes that shard, and threads that decode while training.

    Returns:
        The exit status: 0 when everything was shown, 1 when a stage fell short, 130 after Ctrl-C.

    Raises:
        ValueError: ``out`` holds files that no demo wrote, or a number is too small.
    """
    if min(clips, workers) < 1 or steps < 8 or clips < 8:  # noqa: PLR2004 - said in the message
        raise ValueError(
            f"clips={clips}, steps={steps}, workers={workers}: take 8 clips, 8 steps and 1 worker at least"
        )
    demo = _Demo(_prepare(out), clips, steps, seed, workers)
    began = time.perf_counter()
    try:
        for number, (title, stage) in enumerate(_STAGES, start=1):
            with _telling(demo.shown, f"{number}/{len(_STAGES)} {title}"):
                stage(demo)
    except (DemoFailedError, RunFailedError) as error:
        demo.shown.print(f"[bold red]failed:[/] {escape(str(error))}")
        return 1
    except KeyboardInterrupt:
        demo.shown.print(
            f"interrupted; {escape(str(demo.out))} holds what was done, and the next demo starts anew there"
        )
        return INTERRUPTED
    _sum_up(demo, time.perf_counter() - began)
    return 0


def _prepare(out: Path) -> Path:
    """Make the folder, or empty it of what an earlier demo left there."""
    marker = out / _MARKER
    if out.is_dir() and any(out.iterdir()) and not marker.exists():
        raise ValueError(f"{out} holds files that no demo wrote; choose another folder with --out, or an empty one")
    out.mkdir(parents=True, exist_ok=True)
    marker.touch()
    for name in _OWN_FOLDERS:
        shutil.rmtree(out / name, ignore_errors=True)
    return out


@contextmanager
def _telling(shown: Console, title: str) -> Iterator[None]:
    """Print a stage's title, and how long it took when it is done."""
    shown.print(f"\n[bold]{title}[/]")
    began = time.perf_counter()
    yield
    shown.print(f"[dim]{time.perf_counter() - began:.1f} s[/]")


def _render(demo: _Demo) -> None:
    table = render_corpus(demo.out / "corpus", clips=demo.clips, seed=demo.seed, broken=True)
    render_corpus(demo.out / "held-out", clips=HELD_OUT_CLIPS, seed=demo.seed + 1)
    videos = [path for path in (table.parent / "videos").iterdir() if path.is_file()]
    rows = len(table.read_bytes().splitlines()) - 1
    kinds = sorted({path.suffix for path in videos})
    size = sum(path.stat().st_size for path in videos) / 1e6
    demo.shown.print(f"{rows} rows, {len(videos)} videos ({' '.join(kinds)}), {size:.1f} MB: coloured shapes that move")
    demo.shown.print(f"{rows - demo.clips} of the rows are broken on purpose; {HELD_OUT_CLIPS} more clips are held out")


def _shard(demo: _Demo) -> None:
    settings = ["--preset", "train", "--shard-size", "512KiB", "--workers", str(demo.workers)]
    # Status 1 says that some rows failed, and some must: they are broken.
    _command(demo, ["shard", str(demo.out / "corpus" / "corpus.csv"), str(demo.dataset), *settings], expected=1)
    _command(demo, ["shard", str(demo.out / "held-out" / "corpus.csv"), str(demo.held_out), *settings])


def _count(demo: _Demo) -> None:
    _command(demo, ["stats", str(demo.dataset)])


def _verify(demo: _Demo) -> None:
    _command(demo, ["verify", str(demo.dataset)])


def _train(demo: _Demo) -> None:
    out = demo.run_folder("whole")
    with TrainingRun(out, demo.settings | {"train.checkpoint_every": demo.steps}) as run:
        _print_command(demo, run.shown)
        run.follow(_reporter(demo, parts=6))
        run.finish()
    fall = loss_fall(read_lines(out))
    demo.shown.print(f"mean loss: {fall.first:.3f} over the first steps, {fall.last:.3f} over the last tenth")
    if not fall.clear:
        raise DemoFailedError(f"the loss ends at {fall.last:.3f}; it should come below {CLEAR_FALL * fall.first:.3f}")


def _kill_and_resume(demo: _Demo) -> None:
    whole, out = read_lines(demo.run_folder("whole")), demo.run_folder("killed")
    plan = plan_kill(demo.steps, epoch_steps=round(whole[-1]["step"] / whole[-1]["epoch"]))
    settings = demo.settings | {"train.checkpoint_every": plan.checkpoint_every}
    demo.shown.print("the same run once more, to be killed in the middle of an epoch:")
    with TrainingRun(out, settings) as run:
        run.follow(_reporter(demo, parts=2, steps=plan.kill_at), until=plan.kill_at)
        run.stop(signal.SIGKILL)
    killed, saved = read_lines(out), newest_checkpoint(out).step
    last = killed[-1]["step"]
    demo.shown.print(
        f"[bold]kill -9[/] after step {last} (epoch {killed[-1]['epoch']:.2f}); newest checkpoint: step {saved}",
    )
    with TrainingRun(out, settings, resume=True) as run:
        _print_command(demo, run.shown)
        run.follow(_reporter(demo, parts=2, steps=plan.stop_at), after=last, until=plan.stop_at)
        status = run.stop(signal.SIGTERM)
    if status not in (0, INTERRUPTED):
        raise DemoFailedError(
            f"the resumed run left with status {status} on SIGTERM; 130 says that it wrote a checkpoint"
        )
    resumed = [line for line in read_lines(out) if line["step"] > saved]
    demo.shown.print(f"SIGTERM after step {resumed[-1]['step']}: checkpoint written, exit status {status}")
    demo.shown.print(side_by_side(whole, killed, resumed))
    outcome = compare(whole, [*killed, *resumed])
    if not outcome.equal:
        wrong = outcome.differences[0]
        raise DemoFailedError(
            f"step {wrong.step} has {wrong.field} {wrong.one} in the whole run and {wrong.other} in the other"
        )
    demo.shown.print(
        f"[green]{len(killed)} steps before the kill and {len(resumed)} after it, {last - saved} of them done twice:"
        " keys, losses and gradient norms equal the uninterrupted run's to the last bit[/]",
    )


def _draw(demo: _Demo) -> None:
    path = demo.out / PICTURE_NAME
    draw_reconstructions(
        newest_checkpoint(demo.run_folder("whole")).folder, str(demo.held_out), path, clips=HELD_OUT_CLIPS
    )
    demo.shown.print(
        f"{escape(str(path))}: {HELD_OUT_CLIPS} clips that were not trained on: original, masked, rebuilt",
    )
    demo.shown.print(
        "(each rebuilt cube is given the true cube's mean colour and contrast; judge the model by its loss)"
    )


_STAGES: Final[Sequence[tuple[str, Callable[[_Demo], None]]]] = (
    ("render a corpus", _render),
    ("cut it into shards", _shard),
    ("what is in it", _count),
    ("is it whole", _verify),
    ("train: masked video modelling", _train),
    ("kill a run, resume it, compare", _kill_and_resume),
    ("draw what it rebuilds", _draw),
)


def _reporter(demo: _Demo, *, parts: int, steps: int | None = None) -> Callable[[Line], None]:
    """Return what prints the first step's report and then one for each of ``parts`` equal parts of the run."""
    total = steps or demo.steps
    told = {1, *(total * part // parts for part in range(1, parts + 1))}

    def report(line: Line) -> None:
        if line["step"] in told:
            demo.shown.print(
                f"  step {line['step']:>4}/{demo.steps}  epoch {line['epoch']:5.2f}  loss {line['loss']:.4f}"
                f"  {line['clips_per_s']:5.1f} clips/s  data wait {line['data_wait']:.0%}",
            )

    return report


def _command(demo: _Demo, arguments: Sequence[str], *, expected: int = 0) -> None:
    """Run one of our own commands, showing it as a person types it; its output goes where ours goes."""
    _print_command(demo, shlex.join(["vidloom", *arguments]))
    with child_process([sys.executable, "-m", "tools", *arguments]) as process:
        status = process.wait()
    if status != expected:
        raise DemoFailedError(f"vidloom {arguments[0]} ended with exit status {status}; {expected} was expected")


def _print_command(demo: _Demo, command: str) -> None:
    demo.shown.print(f"[cyan]$ {escape(command)}[/]")


def _sum_up(demo: _Demo, seconds: float) -> None:
    folder = escape(str(demo.out))
    demo.shown.print(f"\n[bold green]done in {seconds / 60:.1f} min[/]")
    demo.shown.print(f"  {folder}/dataset    shards: open them with webdataset, DALI or pyarrow")
    demo.shown.print(f"  {folder}/runs       metrics, checkpoints; tensorboard --logdir {folder}/runs")
    demo.shown.print(f"  {folder}/{PICTURE_NAME}")
