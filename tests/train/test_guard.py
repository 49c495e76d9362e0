"""The guard: what it takes for broken, what it puts back, and when it ends the run."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from tests.support.fake_loader import FakeLoader
from tests.support.ranks import on_ranks
from tests.support.run_config import tiny_config
from train import build, loaders, loop
from train.guard import NotFiniteError, RunningStatistics, SkipCount, not_finite
from train.metrics import read_metrics
from train.parallel import Ranks

ALONE = Ranks(0, 1, torch.device("cpu"))
GOOD, BROKEN = torch.tensor([False, True])
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("totals", "norm", "broken"),
    [
        ((1.0, 2.0), 3.0, False),
        ((0.0, 0.0), 0.0, False),
        ((1.0, NAN), 3.0, True),
        ((-INF, 2.0), 3.0, True),
        ((1.0, 2.0), INF, True),
        ((1.0, 2.0), NAN, True),
    ],
)
def test_any_number_that_is_none_breaks_a_step(totals, norm, broken):
    named = {str(at): torch.tensor(total) for at, total in enumerate(totals)}
    assert bool(not_finite(named, torch.tensor(norm))) is broken


def norms():
    torch.manual_seed(0)
    return nn.Sequential(nn.BatchNorm1d(3), nn.LayerNorm(3), nn.BatchNorm1d(3))


def state(net):
    return {name: value.clone() for name, value in net.named_buffers()}


def take_step(net, statistics, x, skipped):
    statistics.keep()
    net(x)
    statistics.settle(skipped)


def test_a_broken_step_leaves_running_statistics_as_they_were():
    net = norms()
    statistics = RunningStatistics(net, ALONE)
    take_step(net, statistics, torch.randn(4, 3), GOOD)
    before = state(net)
    take_step(net, statistics, torch.full((4, 3), NAN), BROKEN)
    assert all(torch.equal(value, before[name]) for name, value in net.named_buffers())
    assert int(before["0.num_batches_tracked"]) == 1


def test_a_good_step_moves_them_as_torch_does():
    net, plain = norms(), norms()
    x = torch.randn(4, 3)
    take_step(net, RunningStatistics(net, ALONE), x, GOOD)
    plain(x)
    assert all(torch.equal(value, state(plain)[name]) for name, value in net.named_buffers())


def _statistics_of_ranks(ranks):
    net = norms()
    net[2].eval()
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(ranks.rank))
    take_step(net, RunningStatistics(net, ranks), x, GOOD)
    return state(net)


def test_ranks_keep_the_mean_of_their_statistics(tmp_path):
    one, two = on_ranks(2, _statistics_of_ranks, tmp_path)
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    shares = [torch.randn(4, 3, generator=torch.Generator().manual_seed(rank)) for rank in range(2)]
    mean = torch.stack([0.1 * share.mean(dim=0) for share in shares]).mean(dim=0)
    torch.testing.assert_close(one["0.running_mean"], mean)
    assert int(one["0.num_batches_tracked"]) == 1
    assert one["2.running_mean"].tolist() == [0.0] * 3


def test_so_many_broken_steps_in_a_row_are_let_pass(caplog):
    caplog.set_level(logging.WARNING)
    count = SkipCount(2)
    for step, skipped in enumerate([True, True, False, True, True]):
        count.add(step, skipped=skipped, what="loss null")
    assert [message.partition(",")[0] for message in caplog.messages] == [
        *("loss null at step 0", "loss null at step 1", "loss null at step 3", "loss null at step 4"),
    ]
    with pytest.raises(NotFiniteError, match=r"loss null at step 5, 3 steps in a row.*lower optim\.lr"):
        count.add(5, skipped=True, what="loss null")


def test_none_is_let_pass_where_nothing_is_said():
    with pytest.raises(NotFiniteError, match=r"loss null at step 7, where null is no finite number; the run ends"):
        SkipCount(0).add(7, skipped=True, what="loss null")


class Poisoned(FakeLoader):
    """A loader whose fourth and seventh batch of four clips hold numbers that are none."""

    def __iter__(self):
        for batch in super().__iter__():
            if self.samples in {16, 28}:
                batch.video[1, 0, 0, 0, 0] = NAN
            yield batch


def run_to_the_end(out, skip):
    with build.prepare(tiny_config(out, train__skip_nonfinite=skip, train__ema=0.9), ALONE) as run:
        assert loop.train(run)


def weights_of(out):
    return {path.name: path.read_bytes() for path in (out / "checkpoints/step-00000008").glob("*.safetensors")}


def test_a_run_steps_over_what_breaks_or_ends_and_can_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(
        loaders, "build_loader", lambda config, state=None: Poisoned(batch_size=config.batch_size, state=state)
    )
    lenient, strict = tmp_path / "lenient", tmp_path / "strict"
    run_to_the_end(lenient, 1)
    lines = read_metrics(lenient / "metrics.jsonl")
    assert [line["step"] for line in lines if line["skipped"]] == [4, 7]
    assert [line["loss"] is None for line in lines] == [line["skipped"] for line in lines]
    with pytest.raises(NotFiniteError, match=r"at step 4, where null is no finite number; the run ends"):
        run_to_the_end(strict, 0)
    assert sorted(path.name for path in (strict / "checkpoints").glob("step-*")) == ["step-00000003"]
    run_to_the_end(strict, 1)
    assert weights_of(strict) == weights_of(lenient)
    assert weights_of(lenient)
