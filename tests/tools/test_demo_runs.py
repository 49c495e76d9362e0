"""The full demo's runs: their settings compose, fit one another, and lead from stage to stage."""

from __future__ import annotations

import pytest

from tests.support.run_config import made
from tools.corpus.scenes import every_scene
from tools.demo_runs import ACTIONS, CMA, MVM, RUNS, SFT_MASKED, SFT_MULTIMODAL, VLC, RunPlan, Steps
from tools.training_run import override


@pytest.fixture
def plan(tmp_path):
    return RunPlan(
        tmp_path / "data set", tmp_path / "with blank" / "runs", Steps(mvm=30, cma=7), seed=5, workers=1, clips=500
    )


def composed(plan, run):
    return made(*(override(key, value) for key, value in {**plan.settings(run), "out": plan.place(run)}.items()))


def test_every_run_composes_with_the_steps_it_was_given(plan):
    found = {run: composed(plan, run) for run in RUNS}
    assert [config.stage for config in found.values()] == ["mvm", "vlc", "sft", "sft", "cma"]
    assert {run: found[run].train.max_steps for run in (MVM, CMA)} == {MVM: 30, CMA: 7}
    assert {config.train.seed for config in found.values()} == {5}
    assert {config.data.train for config in found.values()} == {str(plan.dataset)}


def test_each_stage_begins_with_what_the_one_before_left(plan):
    assert composed(plan, MVM).init.model is None
    assert composed(plan, VLC).init.model is None
    assert composed(plan, SFT_MASKED).init.model == str(plan.place(MVM))
    assert composed(plan, SFT_MULTIMODAL).init.model == str(plan.place(VLC))
    both = composed(plan, CMA).init
    assert (both.masked, both.multimodal) == (str(plan.place(SFT_MASKED)), (str(plan.place(SFT_MULTIMODAL)),))


def test_networks_are_those_that_weights_come_from(plan):
    shapes = ("width", "depth", "heads", "patch_size", "image_size", "frames")

    def sizes(config):
        return [getattr(config, name) for name in shapes]

    cma = composed(plan, CMA).model
    assert sizes(composed(plan, MVM).model) == sizes(composed(plan, SFT_MASKED).model) == sizes(cma.masked)
    assert (
        sizes(composed(plan, VLC).model.video)
        == sizes(composed(plan, SFT_MULTIMODAL).model)
        == sizes(cma.multimodal[0])
    )


def test_classes_are_the_actions_and_nothing_turns_left_into_right(plan):
    assert len({scene.action for scene in every_scene()}) == ACTIONS
    for run in (SFT_MASKED, SFT_MULTIMODAL, CMA):
        config = composed(plan, run)
        assert (config.data.label, config.data.flip, config.data.randaugment) == ("action", 0.0, None)
        assert (config.model.masked if run == CMA else config.model).classes == ACTIONS


def test_a_batch_is_no_larger_than_the_dataset(tmp_path):
    few = RunPlan(tmp_path, tmp_path, Steps(), seed=0, workers=1, clips=9)
    assert composed(few, VLC).data.batch_size == 9
