"""The full demo: what its stages ask of one another, how it ends when one falls short, and all of it at full size."""

from __future__ import annotations

import csv
import json
import os

import pytest

from tools import demo_full
from tools.demo_full import Scale, run_full_demo
from tools.demo_runs import CMA, RUNS, SFT_MASKED, SFT_MULTIMODAL, VLC, Steps
from tools.demo_stage import Bench, LossFall

SMALL = Scale(clips=3, held_out=2, looks=2, size=64, seconds=(0.3, 0.4), steps=Steps(1, 2, 3, 4, 5, 6))
DIRECTION = {"r1": 100.0, "r5": 100.0}


@pytest.fixture
def pretended(monkeypatch):
    """Pretends that commands and training come out well; tells what was asked, and takes other reports."""
    asked, reports = [], {
        "retrieval": {"metrics": {"text_to_video": DIRECTION, "video_to_text": DIRECTION, "videos": 64, "texts": 64}},
        "captions": {
            "metrics": {"bleu": [99.0, 98.0, 97.0, 90.0], "cider": 5.0},
            "examples": [{"key": "k", "caption": "a box", "references": ["a box"]}],
        },
        SFT_MASKED: {"metrics": {"top1": 60.0}},
        SFT_MULTIMODAL: {"metrics": {"top1": 80.0}},
        CMA: {"metrics": {"top1": 90.0}},
    }  # fmt: skip

    def train(self, name, settings, *, steps, parts, falling):
        asked.append((name, settings["stage"], steps))
        assert falling is (name != CMA)
        return LossFall(2.0, 1.0)

    def command(self, arguments, *, expected=0):
        asked.append(tuple(arguments[:2]))
        if arguments[0] == "eval":
            told = dict(zip(arguments[3::2], arguments[4::2], strict=True))
            run = told["--model"].rpartition("/")[2]
            path = self.out / "figures" / told["--out"].rpartition("/")[2]
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(reports.get(run) or reports[arguments[1]]))

    monkeypatch.setattr(Bench, "train", train)
    monkeypatch.setattr(Bench, "command", command)
    monkeypatch.setattr(demo_full, "draw_rebuilt", lambda bench, run: bench.out / f"{run}.png")
    monkeypatch.setattr(demo_full, "_STAGES", tuple(s for s in demo_full._STAGES if s[0] != "draw what was learnt"))
    return asked, reports


def test_stages_follow_one_another_and_their_figures_are_told(tmp_path, pretended, capsys):
    asked, _ = pretended
    assert run_full_demo(tmp_path, seed=4, scale=SMALL) == 0
    assert [each for each in asked if len(each) == 3] == [
        (run, stage, steps)
        for run, stage, steps in zip(RUNS, ("mvm", "vlc", "vlc", "sft", "sft", "cma"), range(1, 7), strict=True)
    ]
    assert [each[1] for each in asked if each[0] == "shard"] == [
        str(tmp_path / name / "corpus.csv") for name in ("corpus", "held-out", "held-out-looks")
    ]
    assert [each[1] for each in asked if each[0] == "eval"] == ["retrieval", "captions", *["classification"] * 3]
    told = json.loads((tmp_path / "demo.json").read_text())
    assert told["seed"] == 4
    assert told["clips"] == {"train": 3, "held_out": 2, "held_out_looks": 4}
    assert told["captions"]["exact"] == 100.0
    assert told["classification"][CMA] == {"top1": 90.0}
    assert told["losses"][VLC] == {"first": 2.0, "last": 1.0}
    assert "90.0 %" in capsys.readouterr().out


def test_no_clip_that_is_held_out_shows_a_combination_that_is_trained_on(tmp_path, pretended):
    assert run_full_demo(tmp_path, scale=SMALL) == 0

    def captions(table):
        lines = table.read_text(encoding="utf-8", errors="replace").splitlines()
        return [row["caption"] for row in csv.DictReader(lines)]

    trained, judged, looks = (
        captions(tmp_path / name / "corpus.csv") for name in ("corpus", "held-out", "held-out-looks")
    )
    assert len(judged) == len(set(judged)) == 2
    assert not set(trained) & set(judged)
    assert sorted(looks) == sorted(2 * judged)
    videos = [path.read_bytes() for path in tmp_path.glob("held-out*/videos/*")]
    assert len(set(videos)) == len(videos)


def test_classifiers_are_judged_by_all_looks_of_what_is_held_out(tmp_path, pretended, monkeypatch):
    judged, command = {}, Bench.command

    def kept(self, arguments, **options):
        if arguments[0] == "eval":
            judged.setdefault(arguments[1], set()).add(arguments[2])
        command(self, arguments, **options)

    monkeypatch.setattr(Bench, "command", kept)
    assert run_full_demo(tmp_path, scale=SMALL) == 0
    single, looks = (str(tmp_path / name / "dataset") for name in ("held-out", "held-out-looks"))
    assert judged == {"retrieval": {single}, "captions": {single}, "classification": {looks}}


@pytest.mark.parametrize(
    "case",
    [
        ("retrieval", {"text_to_video": {"r1": 3.0, "r5": 9.0}}, "R@1 text to video is 3.0 %; 31.2 % or more"),
        (CMA, {"top1": 79.0}, "has 79.0 % top-1; 80.0 % or more, as the better backbone has"),
    ],
)
def test_a_figure_that_falls_short_ends_the_demo(tmp_path, pretended, capsys, case):
    report, change, said = case
    pretended[1][report]["metrics"].update(change)
    assert run_full_demo(tmp_path, scale=SMALL) == 1
    assert said in capsys.readouterr().out.replace("\n", " ")
    assert not (tmp_path / "demo.json").exists()


def test_interrupt_ends_with_status_130(tmp_path, pretended, monkeypatch):
    def interrupted(self, name, settings, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Bench, "train", interrupted)
    assert run_full_demo(tmp_path, scale=SMALL) == 130


def test_foreign_folders_and_no_workers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="workers=0"):
        run_full_demo(tmp_path / "demo", workers=0)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds files that no demo wrote"):
        run_full_demo(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif("VIDLOOM_FULL_DEMO" not in os.environ, reason="takes ten minutes: set VIDLOOM_FULL_DEMO=1")
def test_the_whole_way(tmp_path):
    out = tmp_path / "with blank" / "demo"
    assert run_full_demo(out) == 0
    told = json.loads((out / "demo.json").read_text())
    assert told["retrieval"]["text_to_video"]["r1"] > 20 * told["retrieval"]["chance"]
    for name in ("reconstruction.png", "retrieval.png", "captions.png", "curves.png"):
        assert name in told["pictures"]
        assert (out / name).stat().st_size > 10_000
