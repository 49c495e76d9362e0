"""``vidloom demo --full``: all four stages on a generated corpus, judged by combinations that they have not seen."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from tools.corpus.scenes import split_scenes
from tools.corpus.synthetic import render_corpus
from tools.demo import draw_rebuilt, shard_both, tell_corpus
from tools.demo_curves import draw_charts
from tools.demo_figures import Figures, Wanted, charts_of, figures_table
from tools.demo_pictures import draw_captions, draw_retrieval, read_shown, score_clips, write_sheet
from tools.demo_runs import ALIGN, CMA, LABEL, MVM, RUNS, SFT_MASKED, SFT_MULTIMODAL, VLC, RunPlan, Steps
from tools.demo_stage import Bench, Stages, prepare, run_stages
from tools.training_run import read_lines

FIGURES_NAME: Final = "demo.json"
_QUERIES, _TOP, _CAPTIONS = 6, 3, 12
"""Queries on the contact sheet, clips below each, and captions on theirs."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much the full demo does: ``clips`` rows to learn from, and ``held_out`` combinations, a row of each.

    ``looks`` is how many more clips there are of each held-out combination, by which classifiers are judged: of one
    clip of each, chance alone moves top-1 by some percent, more than what two classifiers may differ by.
    ``size`` is the width of the smaller videos in pixels; ``seconds`` the shortest and the longest scene.
    """

    clips: int = 832
    held_out: int = 48
    looks: int = 8
    size: int = 96
    seconds: tuple[float, float] = (0.6, 1.2)
    steps: Steps = field(default_factory=Steps)
    wanted: Wanted = field(default_factory=Wanted)


@dataclass(frozen=True, slots=True)
class _FullDemo:
    """What the stages share."""

    bench: Bench
    scale: Scale
    figures: Figures

    @property
    def plan(self) -> RunPlan:
        clips = self.figures.clips["train"]
        return RunPlan(
            self.bench.dataset, self.bench.out / "runs", self.scale.steps, self.bench.seed, self.bench.workers, clips
        )

    def train(self, run: str) -> None:
        settings, steps = self.plan.settings(run), self.scale.steps.of(run)
        # Cross-model attention begins with trained classifiers: its loss is low, and what counts is what it adds.
        fall = self.bench.train(run, settings, steps=steps, parts=4, falling=run != CMA)
        self.figures.losses[run] = {"first": fall.first, "last": fall.last}

    def judge(self, task: str, run: str, *options: str, dataset: Path | None = None) -> dict[str, Any]:
        """Run an evaluation on a dataset, or on the clips that are held out, and return what it reports."""
        report = self.bench.out / "figures" / f"{run}-{task}.json"
        place = ["--model", str(self.bench.run_folder(run)), "--device", "cpu", "--out", str(report)]
        self.bench.command(["eval", task, str(dataset or self.bench.held_out), *place, *options])
        found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return found

    def picture(self, path: Path, about: str) -> None:
        self.figures.pictures.append(path.name)
        self.bench.say(f"{path}: {about}")


def run_full_demo(out: Path, *, seed: int = 0, workers: int = 2, scale: Scale | None = None) -> int:
    """Render, shard, count and verify; train and judge each stage; draw; tell the figures.

    Args:
        out: folder for all that is made; one that an earlier demo filled is emptied first.
        seed: what corpus, held-out combinations and training are drawn from.
        workers: processes that shard, and threads that decode while training.
        scale: how much is done; None does all.

    Returns:
        The exit status: 0 when everything was shown, 1 when a stage fell short, 130 after Ctrl-C.

    Raises:
        ValueError: ``out`` holds files that no demo wrote, or there are no workers.
    """
    if workers < 1:
        raise ValueError(f"workers={workers}: take 1 at least")
    demo = _FullDemo(Bench(prepare(out), seed, workers), scale or Scale(), Figures(seed))
    status = run_stages(demo.bench, demo, _STAGES)
    if not status:
        demo.bench.shown.print(f"\n[bold green]done in {sum(demo.bench.seconds.values()) / 60:.1f} min[/]")
    return status


def _render(demo: _FullDemo) -> None:
    bench, scale = demo.bench, demo.scale
    split = split_scenes(np.random.default_rng(bench.seed), scale.held_out)
    clips = scale.clips
    more = scale.looks * scale.held_out
    demo.figures.clips.update(train=clips, held_out=scale.held_out, held_out_looks=more)
    render = partial(render_corpus, size=scale.size, seconds=scale.seconds, numbered=False, varied=True)
    table = render(bench.out / "corpus", clips=clips, seed=bench.seed, broken=True, scenes=split.train)
    render(bench.out / "held-out", clips=scale.held_out, seed=bench.seed + 1, scenes=split.held_out)
    render(bench.looks.parent, clips=more, seed=bench.seed + 2, scenes=split.held_out)
    tell_corpus(bench, table, clips)
    bench.say(
        f"{scale.held_out} more clips are held out: no combination of shape, colour, ground and motion is in both; "
        f"{more} more show the same combinations in other looks"
    )


def _shard(demo: _FullDemo) -> None:
    shard_both(demo.bench)
    demo.bench.shard(demo.bench.looks.parent)


def _look(demo: _FullDemo) -> None:
    demo.bench.command(["stats", str(demo.bench.dataset)])
    demo.bench.command(["verify", str(demo.bench.dataset)])


def _masked(demo: _FullDemo) -> None:
    demo.train(MVM)
    demo.figures.pictures.append(draw_rebuilt(demo.bench, MVM).name)


def _aligned(demo: _FullDemo) -> None:
    for run in (ALIGN, VLC):
        demo.train(run)


def _retrieve(demo: _FullDemo) -> None:
    demo.figures.retrieval = demo.judge("retrieval", VLC)["metrics"]
    demo.scale.wanted.check_retrieval(demo.figures)


def _caption(demo: _FullDemo) -> None:
    report = demo.judge("captions", VLC, "--shown", str(demo.scale.held_out))
    demo.figures.take_captions(report)
    demo.scale.wanted.check_captions(demo.figures)


def _finetune(demo: _FullDemo) -> None:
    for run in (SFT_MASKED, SFT_MULTIMODAL):
        demo.train(run)
        _classify(demo, run)


def _coordinate(demo: _FullDemo) -> None:
    demo.train(CMA)
    _classify(demo, CMA)
    demo.scale.wanted.check_coordination(demo.figures)


def _classify(demo: _FullDemo, run: str) -> None:
    report = demo.judge("classification", run, "--label-col", LABEL, dataset=demo.bench.looks)
    demo.figures.classification[run] = report["metrics"]


def _draw(demo: _FullDemo) -> None:
    bench, out = demo.bench, demo.bench.out
    clips = read_shown(str(bench.held_out))
    scores = score_clips(bench.run_folder(VLC) / "final", str(bench.held_out))
    sheet = draw_retrieval(scores, clips, queries=_QUERIES, top=_TOP)
    demo.picture(write_sheet(out / "retrieval.png", sheet), f"captions as queries, and the {_TOP} clips found first")
    sheet = draw_captions(demo.figures.examples, clips, shown=_CAPTIONS)
    demo.picture(write_sheet(out / "captions.png", sheet), "captions that were written, beside frames of their clips")
    charts = charts_of({run: read_lines(bench.run_folder(run)) for run in RUNS})
    demo.picture(write_sheet(out / "curves.png", draw_charts(charts)), "losses of all runs")


def _tell(demo: _FullDemo) -> None:
    path = demo.bench.out / FIGURES_NAME
    path.write_text(json.dumps(demo.figures.to_json(demo.bench.seconds), indent=1) + "\n", encoding="utf-8")
    demo.bench.shown.print(figures_table(demo.figures))
    demo.bench.say(f"{path}: the same figures and more, as JSON")


_STAGES: Final[Stages[_FullDemo]] = (
    ("render a corpus", _render),
    ("cut it into shards", _shard),
    ("what is in it, and is it whole", _look),
    ("mvm: masked video modelling", _masked),
    ("vlc: contrast, then caption, too", _aligned),
    ("find clips by captions", _retrieve),
    ("write captions", _caption),
    ("sft: two classifiers", _finetune),
    ("cma: both, looking at each other", _coordinate),
    ("draw what was learnt", _draw),
    ("figures", _tell),
)
