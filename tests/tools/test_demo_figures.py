"""The full demo's figures: what they must come to, how captions are counted, what is told of them."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tools.demo_figures import Figures, Wanted, charts_of, figures_table
from tools.demo_runs import CMA, SFT_MASKED, SFT_MULTIMODAL
from tools.demo_stage import DemoFailedError


def example(caption, *references):
    return {"key": "k", "caption": caption, "references": list(references)}


@pytest.fixture
def figures():
    found = Figures(seed=3, clips={"train": 8, "held_out": 50})
    direction = {"r1": 90.0, "r5": 100.0}
    found.retrieval = {"text_to_video": dict(direction), "video_to_text": dict(direction), "videos": 50, "texts": 50}
    found.take_captions(
        {
            "examples": [example("a red square", "a red square"), example("a blue square", "a red square", "a box")],
            "metrics": {"bleu": [90.0, 85.0, 80.0, 71.25], "cider": 4.5},
        }
    )
    for run, top1 in ((SFT_MASKED, 80.0), (SFT_MULTIMODAL, 92.0), (CMA, 94.0)):
        found.classification[run] = {"top1": top1}
    return found


def test_captions_count_as_right_word_by_word(figures):
    assert figures.captions == {"exact": 50.0, "bleu": [90.0, 85.0, 80.0, 71.25], "cider": 4.5}
    figures.take_captions({"examples": [example("a  box", "a red square", "a box")], "metrics": {}})
    assert figures.captions == {"exact": 100.0}


@pytest.mark.parametrize("direction", ["text_to_video", "video_to_text"])
def test_retrieval_must_be_far_above_chance_both_ways(figures, direction):
    wanted = Wanted(above_chance=20.0)
    wanted.check_retrieval(figures)
    figures.retrieval[direction]["r1"] = 39.9
    with pytest.raises(DemoFailedError, match=r"39\.9 %; 40\.0 % or more was expected"):
        wanted.check_retrieval(figures)


def test_too_few_right_captions_fall_short(figures):
    Wanted(exact=50.0).check_captions(figures)
    with pytest.raises(DemoFailedError, match=r"50\.0 % of the captions .* 51 % or more was expected"):
        Wanted(exact=51.0).check_captions(figures)


@pytest.mark.parametrize("better", [SFT_MASKED, SFT_MULTIMODAL])
def test_both_encoders_together_must_be_no_worse_than_the_better_one(figures, better):
    figures.classification[better]["top1"] = 94.0
    Wanted().check_coordination(figures)
    figures.classification[better]["top1"] = 94.1
    with pytest.raises(DemoFailedError, match=r"94\.0 % top-1; 94\.1 % or more"):
        Wanted().check_coordination(figures)


def test_json_and_table_tell_the_same(figures):
    told = figures.to_json({"draw": 1.26})
    assert told["retrieval"]["chance"] == 2.0
    assert told["seconds"] == {"draw": 1.3}
    assert told["classification"][CMA] == {"top1": 94.0}
    text = io.StringIO()
    Console(file=text, width=120).print(figures_table(figures))
    for value in ("90.0 %", "2.0 %", "50.0 %", "71.2", "4.50", "80.0 %", "92.0 %", "94.0 %"):
        assert value in text.getvalue(), value


def test_a_chart_shows_the_parts_of_a_loss_or_the_loss():
    lines = [{"step": step, "loss": 3.0, "loss/a": 1.0, "loss/b": 2.0} for step in (1, 2)]
    alone = [{"step": step, "loss": 3.0, "loss/a": 3.0} for step in (1, 2)]
    charts = charts_of({"vlc": lines, "mvm": alone, "old": [{"loss": 1.0}, {"loss": 0.5}]})
    assert [chart.title for chart in charts] == ["vlc", "mvm", "old"]
    assert [dict(chart.curves) for chart in charts] == [
        {"a": [1.0, 1.0], "b": [2.0, 2.0]},
        {"loss": [3.0, 3.0]},
        {"loss": [1.0, 0.5]},
    ]
