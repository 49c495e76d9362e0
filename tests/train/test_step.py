"""One step: the exact mean over the global batch, whatever its parts, ranks and broken samples."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from tests.support.fake_loader import fake_batch
from tests.support.ranks import on_ranks
from tests.support.run_config import tiny_config
from train.parallel import PeerFailedError, Ranks
from train.state import TrainState
from train.step import TrainStep

ALONE = Ranks(0, 1, torch.device("cpu"))
BROKEN = {1, 6}


def trained(config, ranks, steps=3):
    """Train a few steps of 8 samples, some broken; return the reports and the weights after them."""
    torch.manual_seed(0)
    step = TrainStep(config, ranks)
    reports = []
    for number in range(steps):
        positions = range(8 * number, 8 * number + 8)
        share = positions[8 * ranks.rank // ranks.world : 8 * (ranks.rank + 1) // ranks.world]
        report = step(fake_batch(share, broken=BROKEN), number, 1e-2)
        reports.append((float(report.losses["reconstruction"]), float(report.grad_norm), int(report.drops)))
    return reports, {name: value.clone() for name, value in step.objective.state_dict().items()}


def assert_same(one, two):
    for a, b in zip(one[0], two[0], strict=True):
        assert a == pytest.approx(b, rel=2e-5)
    for name, value in one[1].items():
        # AdamW divides by the gradient's size, so it blows up the rounding of gradients near 0; a step is 1e-2.
        torch.testing.assert_close(value, two[1][name], rtol=0, atol=5e-5)


@pytest.fixture(scope="module")
def straight():
    return trained(tiny_config("x", data__batch_size=8), ALONE)


def test_steps_lower_the_loss():
    torch.manual_seed(0)
    step = TrainStep(tiny_config("x", data__batch_size=8), ALONE)
    losses = [float(step(fake_batch(range(8)), number, 1e-2).losses["reconstruction"]) for number in range(10)]
    assert losses[-1] < losses[0] - 0.01


def test_drops_are_counted(straight):
    assert [drops for _, _, drops in straight[0]] == [2, 0, 0]


def test_the_same_step_twice_is_the_same_to_the_last_bit(straight):
    again = trained(tiny_config("x", data__batch_size=8), ALONE)
    assert again[0] == straight[0]
    assert all(torch.equal(again[1][name], value) for name, value in straight[1].items())


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_accumulation_changes_nothing(straight, parts):
    assert_same(straight, trained(tiny_config("x", data__batch_size=8, train__accumulate=parts), ALONE))


def test_the_loss_is_the_mean_over_valid_samples(straight):
    torch.manual_seed(0)
    step = TrainStep(tiny_config("x", data__batch_size=8), ALONE)
    batch = fake_batch(range(8))
    output = step.objective(batch.video, batch.mask, torch.tensor([at not in BROKEN for at in range(8)]))
    mean = output.losses["reconstruction"] / output.counts["reconstruction"]
    assert float(mean.detach()) == pytest.approx(straight[0][0][0], rel=1e-6)


@pytest.mark.parametrize("parts", [1, 2])
def test_the_loss_counts_the_cubes_that_the_decoder_predicts(parts):
    torch.manual_seed(0)
    step = TrainStep(tiny_config("x", data__batch_size=8, train__accumulate=parts), ALONE)
    whole = fake_batch(range(8))
    batch = replace(whole, decoder_mask=whole.mask & (torch.arange(8) < 4))
    output = step.objective(batch.video, batch.mask, batch.valid, batch.decoder_mask)
    expected = float((output.losses["reconstruction"] / output.counts["reconstruction"]).detach())
    assert output.prediction.shape[1] == 2
    assert float(step(batch, 0, 0.0).losses["reconstruction"]) == pytest.approx(expected, rel=1e-6)


def test_a_batch_without_valid_samples_has_no_gradient():
    step = TrainStep(tiny_config("x", data__batch_size=8), ALONE)
    report = step(fake_batch(range(4), broken={0, 1, 2, 3}), 0, 1e-3)
    assert torch.isnan(report.losses["reconstruction"])
    assert float(report.grad_norm) == 0.0
    assert int(report.drops) == 4
    assert all(torch.isfinite(param).all() for param in step.objective.parameters())


def test_clipping_bounds_the_gradient_and_reports_its_length():
    torch.manual_seed(0)
    step = TrainStep(tiny_config("x", data__batch_size=8, optim__clip_norm=1e-3), ALONE)
    seen = []
    step.optimizer.register_step_pre_hook(
        lambda optimizer, *_: seen.append(
            torch.nn.utils.get_total_norm([p.grad for group in optimizer.param_groups for p in group["params"]]),
        ),
    )
    report = step(fake_batch(range(4)), 0, 1e-3)
    assert float(report.grad_norm) > 1e-2
    assert float(seen[0]) == pytest.approx(1e-3, rel=1e-3)


def test_bf16_stays_near_fp32(straight):
    reports, weights = trained(tiny_config("x", data__batch_size=8, train__precision="bf16"), ALONE)
    assert reports[0][0] == pytest.approx(straight[0][0][0], rel=2e-2)
    assert reports[0][0] != straight[0][0][0]
    assert all(value.dtype == torch.float32 for value in weights.values())


def test_running_out_of_memory_says_what_to_do(monkeypatch):
    step = TrainStep(tiny_config("x", data__batch_size=8), ALONE)

    def exhausted(*_args, **_kwargs):
        raise torch.OutOfMemoryError("tried to allocate 9 GiB")

    monkeypatch.setattr(step, "_wrapped", exhausted)
    with pytest.raises(MemoryError, match=r"ran out of memory in step 7; ") as caught:
        step(fake_batch(range(4)), 7, 1e-3)
    # A run that was stopped by it must be able to go on with what the message says.
    told = set(re.findall(r"\b(?:data|model|optim|train)\.\w+", str(caught.value)))
    assert told == {"train.accumulate", "model.checkpoint_blocks"}
    state = TrainState(tiny_config("x").as_dict())
    changed = tiny_config("x", train__accumulate=4, model__checkpoint_blocks=True).as_dict()
    assert state.resumed_with(changed, "cpu", source="x").config == changed


@pytest.mark.parametrize(("decoder_heads", "said"), [(1, ["kernel of 12"]), (2, ["kernel of 12", "kernel of 6"])])
def test_the_attention_of_encoder_and_decoder_is_named(monkeypatch, decoder_heads, said):
    monkeypatch.setattr("train.kernels.attention_backend", lambda _device, _dtype, width: f"kernel of {width}")
    step = TrainStep(tiny_config("x", model__decoder_heads=decoder_heads), ALONE)
    assert re.findall(r"kernel of \d+", step.attention) == said


def _left_in_a_step(ranks):
    """The second rank leaves; the first one comes as far as exchanging gradients."""
    step = TrainStep(tiny_config("x"), ranks)
    ranks.wait()  # torch may abort a process that leaves in the middle of an exchange
    if not ranks.first:
        return None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ranks, "add_up", lambda _self, values: values)
        with pytest.raises(PeerFailedError) as caught:
            step(fake_batch(range(4)), 0, 1e-3)
    return str(caught.value)


def test_a_rank_that_is_left_alone_in_a_step_says_so(tmp_path):
    told, _ = on_ranks(2, _left_in_a_step, tmp_path)
    assert told == "another rank is gone or out of reach; its own message says why"


def _both_ways(ranks):
    return [trained(tiny_config("x", data__batch_size=8, train__accumulate=parts), ranks) for parts in (1, 2)]


def test_two_ranks_are_as_one(straight, tmp_path):
    for one, two in zip(*on_ranks(2, _both_ways, tmp_path), strict=True):
        assert_same(straight, one)
        assert one[0] == two[0]
        assert all(torch.equal(value, two[1][name]) for name, value in one[1].items())
