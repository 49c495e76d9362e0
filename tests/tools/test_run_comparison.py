"""Comparing two runs: every reported value counts, and the kill falls between epochs and checkpoints."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tools.run_comparison import COMPARED, Difference, compare, plan_kill, side_by_side


def line(step, **changes):
    values = {
        "step": step,
        "epoch": step / 7,
        "loss": 1 / step,
        "lr": 1e-3,
        "grad_norm": 2.0,
        "keys_sha": f"{step:08x}" * 8,
    }
    return values | {"clips_per_s": 10.0} | changes


def test_equal_runs_are_equal_whatever_their_speed():
    outcome = compare([line(n) for n in range(1, 9)], [line(n, clips_per_s=3.0) for n in (3, 4, 4, 5)])
    assert outcome.equal
    assert outcome.compared == 4


@pytest.mark.parametrize("field", COMPARED)
def test_one_different_value_is_named(field):
    outcome = compare([line(1), line(2)], [line(1), line(2, **{field: "other"})])
    assert outcome.differences == (Difference(2, field, line(2)[field], "other"),)
    assert not outcome.equal


def test_the_last_bit_of_a_loss_counts():
    assert not compare([line(3, loss=0.1 + 0.2)], [line(3, loss=0.3)]).equal


def test_a_step_that_the_reference_lacks_is_a_difference():
    outcome = compare([line(1)], [line(2)])
    assert {each.step for each in outcome.differences} == {2}
    assert not outcome.equal


def test_nothing_compared_is_not_equal():
    assert not compare([line(1)], []).equal


@pytest.mark.parametrize("steps", [8, 12, 40, 300, 1000])
@pytest.mark.parametrize("epoch_steps", [2, 3, 7, 60])
def test_kill_falls_inside_the_run_after_a_checkpoint(steps, epoch_steps):
    plan = plan_kill(steps, epoch_steps=epoch_steps)
    assert 1 <= plan.checkpoint_every <= plan.kill_at < plan.stop_at <= steps


@pytest.mark.parametrize("epoch_steps", [4, 7, 8, 15])
def test_kill_falls_into_an_epoch_with_steps_to_do_again(epoch_steps):
    plan = plan_kill(300, epoch_steps=epoch_steps)
    assert plan.kill_at % epoch_steps
    assert plan.kill_at % plan.checkpoint_every
    assert plan.kill_at > epoch_steps


def test_table_shows_both_losses_in_full():
    whole = [line(n) for n in range(1, 20)]
    text = io.StringIO()
    Console(file=text, width=160).print(side_by_side(whole, whole[:10], whole[8:14]))
    shown = text.getvalue()
    assert shown.count(repr(1 / 9)) == 4
    assert shown.count("killed") == 2
    assert shown.count("resumed") == 4
