"""The full demo's runs: their settings compose, fit one another, and lead from stage to stage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.run_config import made
from tools.corpus.scenes import every_scene
from tools.demo_runs import ACTIONS, ALIGN, CMA, MVM, RUNS, SFT_MASKED, SFT_MULTIMODAL, VLC, RunPlan, Steps
from tools.training_run import override

PLAN = RunPlan(Path("/data set"), Path("/with blank/runs"), Steps(mvm=30, cma=7), seed=5, workers=1, clips=500)


@pytest.fixture(scope="module")
def composed():
    """The configuration of each run, as its command line makes it."""
    told = {run: {**PLAN.settings(run), "out": PLAN.place(run)} for run in RUNS}
    return {run: made(*(override(key, value) for key, value in each.items())) for run, each in told.items()}


def test_every_run_composes_with_the_steps_it_was_given(composed):
    assert [config.stage for config in composed.values()] == ["mvm", "vlc", "vlc", "sft", "sft", "cma"]
    assert {run: composed[run].train.max_steps for run in (MVM, CMA)} == {MVM: 30, CMA: 7}
    assert {config.train.seed for config in composed.values()} == {5}
    assert {config.data.train for config in composed.values()} == {"/data set"}


def test_each_stage_begins_with_what_the_one_before_left(composed):
    assert composed[MVM].init.model is None
    assert composed[ALIGN].init.model is None
    assert composed[VLC].init.model == "/with blank/runs/vlc-align"
    assert composed[SFT_MASKED].init.model == "/with blank/runs/mvm"
    assert composed[SFT_MULTIMODAL].init.model == "/with blank/runs/vlc"
    both = composed[CMA].init
    assert (both.masked, both.multimodal) == ("/with blank/runs/sft-masked", ("/with blank/runs/sft-multimodal",))


def test_networks_are_those_that_weights_come_from(composed):
    masked, aligned = composed[CMA].model.masked, composed[CMA].model.multimodal[0]
    assert composed[SFT_MASKED].model == masked
    assert composed[SFT_MULTIMODAL].model == aligned
    for name in ("width", "depth", "heads", "patch_size", "tubelet", "image_size", "frames"):
        assert getattr(composed[MVM].model, name) == getattr(masked, name)
    for name in ("width", "depth", "heads", "patch_size", "local", "temporal_downsample", "image_size", "frames"):
        assert getattr(composed[VLC].model.video, name) == getattr(aligned, name)
    assert replace(composed[VLC].model, captioner=None) == composed[ALIGN].model


def test_classes_are_the_actions_and_nothing_turns_left_into_right(composed):
    assert len({scene.action for scene in every_scene()}) == ACTIONS
    assert composed[CMA].model.masked.classes == ACTIONS
    for run in (SFT_MASKED, SFT_MULTIMODAL, CMA):
        data = composed[run].data
        assert (data.label, data.flip, data.randaugment) == ("action", 0.0, None)


def test_a_batch_is_no_larger_than_the_dataset():
    assert {replace(PLAN, clips=9).settings(run)["data.batch_size"] for run in RUNS} == {9}


def test_positions_and_what_looks_along_time_learn_by_a_factor_of_the_rate(composed):
    for run in (ALIGN, VLC):
        scales = composed[run].optim.lr_scales
        assert {name.removeprefix("video.visual."): scale for name, scale in scales.items()} == {
            "positional_embedding": 3.0,
            "class_embedding": 3.0,
            "transformer.*lmhra": 4.0,
            "transformer.dpe": 4.0,
        }


def test_the_captioner_begins_with_weights_as_wide_as_its_width_asks_for(composed):
    captioner = composed[VLC].model.captioner
    assert captioner.init_std == pytest.approx(captioner.width**-0.5, rel=0.1)
