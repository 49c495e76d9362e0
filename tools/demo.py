"""``vidloom demo``: the whole way on a generated corpus, from a table of videos to what a model rebuilt of them."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.corpus.synthetic import render_corpus
from tools.demo_stage import INTERRUPTED, Bench, DemoFailedError, Stages, prepare, run_stages
from tools.reconstruction import draw_reconstructions
from tools.run_comparison import compare, plan_kill, side_by_side
from tools.training_run import TrainingRun, newest_checkpoint, read_lines

PICTURE_NAME: Final = "reconstruction.png"
HELD_OUT_CLIPS: Final = 4
_BATCH: Final = 8


@dataclass(frozen=True, slots=True)
class _Demo:
    """What the stages share."""

    bench: Bench
    clips: int
    steps: int

    @property
    def settings(self) -> dict[str, object]:
        """The overrides that every training run of the demo shares: a small network on small frames."""
        return {
            "stage": "mvm",
            "model": "vit_tiny",
            "model.patch_size": 8,
            "data.train": self.bench.dataset,
            "data.batch_size": min(_BATCH, self.clips // 4),
            "data.frames": 8,
            "data.stride": 4,
            "data.size": 96,
            "data.workers": self.bench.workers,
            "optim.lr": 3e-3,
            "optim.warmup_steps": self.steps // 20,
            "train.max_steps": self.steps,
            "train.seed": self.bench.seed,
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
    demo = _Demo(Bench(prepare(out), seed, workers), clips, steps)
    status = run_stages(demo.bench, demo, _STAGES)
    if not status:
        _sum_up(demo.bench)
    return status


def _render(demo: _Demo) -> None:
    bench = demo.bench
    table = render_corpus(bench.out / "corpus", clips=demo.clips, seed=bench.seed, broken=True)
    render_corpus(bench.out / "held-out", clips=HELD_OUT_CLIPS, seed=bench.seed + 1)
    tell_corpus(bench, table, demo.clips)
    bench.say(f"{HELD_OUT_CLIPS} more clips are held out")


def tell_corpus(bench: Bench, table: Path, clips: int) -> None:
    """Say what a corpus holds of which ``clips`` rows are sound."""
    videos = [path for path in (table.parent / "videos").iterdir() if path.is_file()]
    rows = len(table.read_bytes().splitlines()) - 1
    kinds = sorted({path.suffix for path in videos})
    size = sum(path.stat().st_size for path in videos) / 1e6
    bench.say(f"{rows} rows, {len(videos)} videos ({' '.join(kinds)}), {size:.1f} MB: coloured shapes that move")
    bench.say(f"{rows - clips} of the rows are broken on purpose")


def _shard(demo: _Demo) -> None:
    shard_both(demo.bench)


def shard_both(bench: Bench) -> None:
    """Cut the corpus, of which some rows must fail because they are broken, and the clips that are held out."""
    bench.shard(bench.out / "corpus", expected=1)
    bench.shard(bench.out / "held-out")


def _count(demo: _Demo) -> None:
    demo.bench.command(["stats", str(demo.bench.dataset)])


def _verify(demo: _Demo) -> None:
    demo.bench.command(["verify", str(demo.bench.dataset)])


def _train(demo: _Demo) -> None:
    demo.bench.train("whole", demo.settings | {"train.checkpoint_every": demo.steps}, steps=demo.steps)


def _kill_and_resume(demo: _Demo) -> None:
    bench = demo.bench
    whole, out = read_lines(bench.run_folder("whole")), bench.run_folder("killed")
    plan = plan_kill(demo.steps, epoch_steps=round(whole[-1]["step"] / whole[-1]["epoch"]))
    settings = demo.settings | {"train.checkpoint_every": plan.checkpoint_every}
    bench.say("the same run once more, to be killed in the middle of an epoch:")
    with TrainingRun(out, settings) as run:
        run.follow(bench.reporter(demo.steps, parts=2, until=plan.kill_at), until=plan.kill_at)
        run.stop(signal.SIGKILL)
    killed, saved = read_lines(out), newest_checkpoint(out).step
    last = killed[-1]["step"]
    bench.shown.print(
        f"[bold]kill -9[/] after step {last} (epoch {killed[-1]['epoch']:.2f}); newest checkpoint: step {saved}",
    )
    with TrainingRun(out, settings, resume=True) as run:
        bench.show_command(run.shown)
        run.follow(bench.reporter(demo.steps, parts=2, until=plan.stop_at), after=last, until=plan.stop_at)
        status = run.stop(signal.SIGTERM)
    if status not in (0, INTERRUPTED):
        raise DemoFailedError(
            f"the resumed run left with status {status} on SIGTERM; 130 says that it wrote a checkpoint"
        )
    resumed = [line for line in read_lines(out) if line["step"] > saved]
    bench.say(f"SIGTERM after step {resumed[-1]['step']}: checkpoint written, exit status {status}")
    bench.shown.print(side_by_side(whole, killed, resumed))
    outcome = compare(whole, [*killed, *resumed])
    if not outcome.equal:
        wrong = outcome.differences[0]
        raise DemoFailedError(
            f"step {wrong.step} has {wrong.field} {wrong.one} in the whole run and {wrong.other} in the other"
        )
    bench.shown.print(
        f"[green]{len(killed)} steps before the kill and {len(resumed)} after it, {last - saved} of them done twice:"
        " keys, losses and gradient norms equal the uninterrupted run's to the last bit[/]",
    )


def _draw(demo: _Demo) -> None:
    draw_rebuilt(demo.bench, "whole")
    demo.bench.say("(each rebuilt cube is given the true cube's mean colour and contrast; judge the model by its loss)")


def draw_rebuilt(bench: Bench, run: str) -> Path:
    """Draw what the network of a run of masked video modelling rebuilds of clips that it has not seen."""
    path = bench.out / PICTURE_NAME
    draw_reconstructions(bench.run_folder(run), str(bench.held_out), path, clips=HELD_OUT_CLIPS)
    bench.say(f"{path}: {HELD_OUT_CLIPS} clips that were not trained on: original, masked, rebuilt")
    return path


_STAGES: Final[Stages[_Demo]] = (
    ("render a corpus", _render),
    ("cut it into shards", _shard),
    ("what is in it", _count),
    ("is it whole", _verify),
    ("train: masked video modelling", _train),
    ("kill a run, resume it, compare", _kill_and_resume),
    ("draw what it rebuilds", _draw),
)


def _sum_up(bench: Bench) -> None:
    folder = str(bench.out)
    bench.shown.print(f"\n[bold green]done in {sum(bench.seconds.values()) / 60:.1f} min[/]")
    bench.say(f"  {folder}/dataset    shards: open them with webdataset, DALI or pyarrow")
    bench.say(f"  {folder}/runs       metrics, checkpoints; tensorboard --logdir {folder}/runs")
    bench.say(f"  {folder}/{PICTURE_NAME}")
