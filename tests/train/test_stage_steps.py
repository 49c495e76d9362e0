"""Steps of every stage: ranks, parts and the way weights are cut change neither loss nor gradient."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.distributed.tensor import DTensor

from model.classification import AnswerClassification
from tests.support.ranks import on_ranks
from tests.support.run_config import made
from tests.support.stages import ANSWERING, UNIFORMER, build_step, stage_batch, stage_config
from tests.support.video_text import TINY
from train.mix_config import MixSource
from train.parallel import Ranks
from train.step import mixing_of
from train.throughput import training_flops

ALONE = Ranks(0, 1, torch.device("cpu"))
BROKEN = (1, 6)
MIXED = {"objective__mixup": 0.8, "objective__cutmix": 1.0, "objective__label_smoothing": 0.1}
STAGES = {"mvm": {}, "vlc": {}, "sft": MIXED, "cma": MIXED}
IN_PARTS = ("mvm", "sft", "cma")
MIX = [MixSource("a"), MixSource("b"), MixSource("c")]
OWNERS = torch.tensor([0, 1, 1, 0, 0, 1, 0, 1])
"""Datasets of the rows of a batch; none is of the last one."""
PLAIN = dict.fromkeys(MIXED, 0.0)
NORMED = replace(UNIFORMER, local="single")
"""With batch norms, whose running statistics a forward pass moves."""
CONTRAST_ONLY = replace(TINY, captioner=None)
"""Without a caption decoder the towers leave out what only it would read."""
EARLY = replace(UNIFORMER, frozen=True, global_blocks=(0,))
"""Nothing reads the second block."""
STEPS = 2
LOSS, GRADIENT = 1e-5, 1e-4
"""Tolerances: of a loss, relative; of a gradient, of the largest entry of its parameter's. Sums of float32 in another
order differ by that much."""


def whole(value):
    return (value.full_tensor() if isinstance(value, DTensor) else value).detach().clone()


def gradients_of(step):
    return {name: whole(p.grad) for name, p in step.objective.named_parameters() if p.grad is not None}


def steps_of(stage, ranks, **settings):
    """Take steps with broken samples of three datasets; return losses, gradients before each update."""
    config = stage_config(stage, **STAGES[stage] | settings)
    config = replace(config, data=replace(config.data, train=None, mix=MIX))
    step = build_step(config, ranks)
    gradients = []
    step.optimizer.register_step_pre_hook(lambda *_: gradients.append(gradients_of(step)))
    rows = slice(8 * ranks.rank // ranks.world, 8 * (ranks.rank + 1) // ranks.world)
    losses = []
    for number in range(STEPS):
        batch = stage_batch(config, rows, number=number, broken=BROKEN)
        result = step(replace(batch, dataset=OWNERS[rows]), number, 1e-3)
        losses.append({name: float(loss) for name, loss in result.losses.items()} | {"loss": float(result.loss)})
        apart = ranks.add_up(result.by_dataset)
        assert apart.shape == (len(result.losses), 2, len(MIX))
        losses[-1] |= {f"{name} apart": apart[at].flatten().tolist() for at, name in enumerate(result.losses)}
        losses[-1] |= {"norm": float(result.grad_norm), "drops": int(result.drops), "rows": int(result.rows)}
    return {"losses": losses, "gradients": gradients}


def assert_same(ours, expected):
    for mine, theirs in zip(ours["losses"], expected["losses"], strict=True):
        for name, loss in theirs.items():
            assert mine[name] == pytest.approx(loss, rel=LOSS), name
    for mine, theirs in zip(ours["gradients"], expected["gradients"], strict=True):
        assert mine.keys() == theirs.keys()
        for name, gradient in theirs.items():
            scale = float(gradient.abs().max())
            torch.testing.assert_close(
                mine[name], gradient, rtol=0, atol=GRADIENT * scale + 1e-7, msg=f"{name}: {{}}".format
            )


@pytest.fixture(scope="module")
def alone():
    done = {stage: steps_of(stage, ALONE) for stage in STAGES}
    done["contrast only"] = steps_of("vlc", ALONE, model=CONTRAST_ONLY)
    done["questions"] = steps_of("sft", ALONE, model=ANSWERING, **PLAIN)
    return done | {"early query": steps_of("sft", ALONE, model=EARLY)}


def _everything(ranks):
    done = {(stage, way): steps_of(stage, ranks, train__strategy=way) for stage in STAGES for way in ("ddp", "fsdp")}
    for way in ("ddp", "fsdp"):
        done["contrast only", way] = steps_of("vlc", ranks, model=CONTRAST_ONLY, train__strategy=way)
        done["early query", way] = steps_of("sft", ranks, model=EARLY, train__strategy=way)
        done["questions", way] = steps_of("sft", ranks, model=ANSWERING, **PLAIN, train__strategy=way)
    for stage in IN_PARTS:
        done[stage, "ddp in parts"] = steps_of(stage, ranks, train__accumulate=4)
    done["sft", "fsdp in parts"] = steps_of("sft", ranks, train__accumulate=4, train__strategy="fsdp")
    for way in ("ddp", "fsdp"):
        done["guard", way] = broken_step(ranks, way)
    return done


def bits(step):
    """Return a copy of everything that a checkpoint would hold."""
    return {name: whole(value) for name, value in step.state_tensors().items()}


def same_bits(one, two):
    """Tell whether two states are equal to the last bit, also where a number is none or zero has a sign."""
    return one.keys() == two.keys() and all(_bytes(value) == _bytes(two[name]) for name, value in one.items())


def _bytes(value):
    return value.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def broken_step(ranks, way):
    """Take a good step, then one whose numbers break on the last rank only; tell what each has changed."""
    config = stage_config("sft", model=NORMED, train__ema=0.9, train__strategy=way)
    step = build_step(config, ranks)
    rows = slice(8 * ranks.rank // ranks.world, 8 * (ranks.rank + 1) // ranks.world)
    states, skipped = [bits(step)], []
    for number in range(2):
        batch = stage_batch(config, rows, number=number)
        if number and ranks.rank == ranks.world - 1:
            batch.video[0, 0, 0, 0, 0] = torch.nan
        skipped.append(bool(step(batch, number, 1e-3).skipped))
        states.append(bits(step))
    return {"skipped": skipped, "same": [same_bits(*pair) for pair in pairwise(states)]}


@pytest.fixture(scope="module")
def on_two(tmp_path_factory):
    return on_ranks(2, _everything, tmp_path_factory.mktemp("ranks"))


def test_every_stage_has_its_losses_and_gradients(alone):
    others = {"loss", "norm", "drops", "rows"}
    names = {
        stage: {name for name in done["losses"][0] if name not in others and not name.endswith("apart")}
        for stage, done in alone.items()
    }
    assert names == {
        "mvm": {"reconstruction"},
        "vlc": {"contrastive", "captioning"},
        "sft": {"classification"},
        "cma": {"classification"},
        "contrast only": {"contrastive"},
        "early query": {"classification"},
        "questions": {"classification"},
    }
    for done in alone.values():
        assert [(line["drops"], line["rows"]) for line in done["losses"]] == [(2, 8)] * STEPS
        assert all(bool(gradient.any()) for step in done["gradients"] for gradient in step.values())


def test_datasets_apart_add_up_to_the_loss(alone):
    """Of the clips of each of the two datasets three are valid; of the third there is none."""
    for stage, done in alone.items():
        for line in done["losses"]:
            for name in [name for name in line if f"{name} apart" in line]:
                totals, counts = torch.tensor(line[f"{name} apart"]).view(2, len(MIX))
                assert float(totals.sum() / counts.sum()) == pytest.approx(line[name], rel=1e-5), stage
                assert (float(totals[2]), float(counts[2])) == (0, 0)
                assert name == "captioning" or counts[0] == counts[1] > 0
                assert totals[0] != totals[1]


def test_questions_in_parts_are_the_whole(alone):
    assert_same(steps_of("sft", ALONE, model=ANSWERING, **PLAIN, train__accumulate=4), alone["questions"])


@pytest.mark.parametrize("name", ["mixup", "cutmix", "freeze_backbone"])
def test_what_questions_do_not_take_is_refused_by_name(name):
    config = stage_config("sft", model=ANSWERING, **{f"objective__{name}": 1})
    with pytest.raises(ValueError, match=rf"objective\.{name}=1 is for classifiers of clips, and model\.kind=mm_vqa"):
        build_step(config, ALONE)


def test_all_that_questions_do_not_take_is_told_at_once():
    config = stage_config("sft", model=ANSWERING, objective__mixup=0.8, objective__cutmix=1.0)
    with pytest.raises(
        ValueError, match=r"mixup=0\.8, objective\.cutmix=1\.0 is for .*give objective\.mixup=0 objective\.cut"
    ):
        build_step(config, ALONE)


def test_what_the_docs_set_for_questions_is_all_that_they_need():
    told = "stage=sft model=vqa_tiny data=video_text optim=adamw_multimodal objective.mixup=0 objective.cutmix=0"
    page = (Path(__file__).parents[2] / "docs/training.md").read_text(encoding="utf-8")
    assert all(word in page for word in told.replace("_tiny", "_b16").split())
    config = made(*told.split(), "data.train=x", "data.label=answer", "data.frames=4", "data.size=32")
    step = build_step(config, ALONE)
    assert isinstance(step.objective, AnswerClassification)


def test_questions_have_no_one_stack_of_layers():
    config = stage_config("sft", model=ANSWERING, **PLAIN, optim__layer_decay=0.5)
    with pytest.raises(ValueError, match=r"layer_decay=0\.5 is for the classifiers .* with model\.kind=mm_vqa"):
        build_step(config, ALONE)


def test_one_dataset_is_not_told_apart():
    config = stage_config("sft")
    batch = stage_batch(config, slice(0, 8))
    assert build_step(config, ALONE)(batch, 0, 1e-3).by_dataset is None


@pytest.mark.parametrize("stage", IN_PARTS)
def test_parts_one_after_the_other_are_the_whole(alone, stage):
    assert_same(steps_of(stage, ALONE, train__accumulate=4), alone[stage])


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
@pytest.mark.parametrize("stage", [*STAGES, "contrast only", "early query", "questions"])
def test_two_ranks_are_as_one(alone, on_two, stage, way):
    for done in on_two:
        assert_same(done[stage, way], alone[stage])


@pytest.mark.parametrize(("stage", "way"), [*((stage, "ddp in parts") for stage in IN_PARTS), ("sft", "fsdp in parts")])
def test_two_ranks_in_parts_are_as_one(alone, on_two, stage, way):
    for done in on_two:
        assert_same(done[stage, way], alone[stage])


def test_texts_cut_to_the_longest_change_nothing(monkeypatch):
    """The two texts that fill all 8 positions are not valid, and 7 are enough for the others."""
    seen, done = [], []
    for multiple in (8, 1):
        monkeypatch.setattr("train.step._WORDS", multiple)
        config = stage_config("vlc")
        step = build_step(config, ALONE)
        step.objective.register_forward_pre_hook(
            lambda _module, _inputs, named: seen.append(named["tokens"].shape[1]), with_kwargs=True
        )
        gradients = []
        step.optimizer.register_step_pre_hook(lambda *_, of=step, to=gradients: to.append(gradients_of(of)))
        result = step(stage_batch(config, broken=(0, 5)), 0, 1e-3)
        numbers = {name: float(loss) for name, loss in result.losses.items()}
        done.append({"losses": [numbers], "gradients": gradients})
    assert seen == [8, 7]
    assert_same(done[1], done[0])


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_a_step_that_breaks_on_one_rank_changes_nothing_on_any(on_two, way):
    assert [done["guard", way] for done in on_two] == [{"skipped": [False, True], "same": [False, True]}] * 2


GUARDED = {stage: {} for stage in STAGES} | {"sft": {"model": NORMED}}


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e30])
@pytest.mark.parametrize("stage", STAGES)
def test_a_broken_step_leaves_every_bit_and_the_next_goes_on(stage, bad):
    config = stage_config(stage, **GUARDED[stage], train__ema=0.9)
    guarded, plain = build_step(config, ALONE), build_step(config, ALONE)
    for step in (guarded, plain):
        step(stage_batch(config, number=0), 0, 1e-3)
    before = bits(guarded)
    broken = stage_batch(config, number=1)
    broken.video[3] = bad
    result = guarded(broken, 1, 1e-3)
    assert bool(result.skipped)
    assert same_bits(bits(guarded), before)
    for step in (guarded, plain):
        assert not bool(step(stage_batch(config, number=2), 2, 1e-3).skipped)
    assert same_bits(bits(guarded), bits(plain))


@pytest.mark.parametrize("stage", STAGES)
def test_a_state_read_into_a_new_run_goes_on_bit_for_bit(stage):
    config = stage_config(stage, **(GUARDED[stage] | STAGES[stage]), train__ema=0.9)
    straight = build_step(config, ALONE)
    for number in range(2):
        straight(stage_batch(config, number=number), number, 1e-3)
    resumed = build_step(config, ALONE)
    saved = bits(straight)
    assert any(name.startswith("ema/") for name in saved)
    with torch.no_grad():
        for name, value in resumed.state_tensors().items():
            value.copy_(saved[name])
    resumed.after_load()
    for number in range(2, 4):
        for step in (straight, resumed):
            step(stage_batch(config, number=number), number, 1e-3)
    assert same_bits(bits(resumed), bits(straight))


def test_ranks_whose_shares_cut_a_pair_are_refused():
    config = stage_config("sft", objective__mixup=0.8)
    assert mixing_of(config, 2) is config.objective
    with pytest.raises(ValueError, match=r"data\.batch_size=8 over 3 rank"):
        mixing_of(config, 3)
    assert mixing_of(stage_config("sft"), 3) is None
    assert mixing_of(stage_config("mvm"), 3) is None


def test_repeats_of_a_clip_are_rows_of_the_batch():
    config = stage_config("sft", objective__mixup=0.8, data__repeats=2)
    result = build_step(config, ALONE)(stage_batch(config, broken=(3,)), 0, 1e-3)
    assert (int(result.rows), int(result.drops)) == (16, 1)
    assert result.flops == training_flops(config)


def test_a_step_says_what_it_minimised():
    config = stage_config("vlc", objective__contrastive_weight=2.0, objective__captioning_weight=0.5)
    result = build_step(config, ALONE)(stage_batch(config), 0, 1e-3)
    expected = 2 * float(result.losses["contrastive"]) + 0.5 * float(result.losses["captioning"])
    assert float(result.loss) == pytest.approx(expected, rel=1e-6)
    nothing = build_step(config, ALONE)(stage_batch(config, broken=tuple(range(8))), 0, 1e-3)
    assert torch.isnan(nothing.loss)
    assert not bool(nothing.skipped)
