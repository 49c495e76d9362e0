"""A pass over made-up batches: order, views, samples that cannot be used, ranks without rows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.support.fake_loader import fake_batch
from train.evaluate.passes import run_pass
from train.evaluate.resting import at_rest, filled
from train.evaluate.views import average_views
from train.parallel import Ranks

ONE = Ranks(0, 1, torch.device("cpu"))


def keys_of(positions):
    return {f"{position:09d}_00000": place for place, position in enumerate(positions)}


def means(batch):
    return {"mean": batch.video.mean(dim=(1, 2, 3, 4)), "key": [f"<{key}>" for key in batch.keys]}


def test_rows_come_in_the_order_of_the_dataset():
    batches = [fake_batch([4, 1]), fake_batch([0, 3], broken={3})]
    found = run_pass(batches, means, ONE, keys_of([0, 1, 3, 4]))
    assert found.index.tolist() == [0, 1, 3]
    wanted = torch.cat([means(fake_batch([position]))["mean"] for position in (0, 1, 4)])
    torch.testing.assert_close(found.rows("mean"), wanted)
    assert found.texts["key"] == [f"<{position:09d}_00000>" for position in (0, 1, 4)]
    assert found.unusable == ["000000003_00000"]


def test_a_sample_that_is_missing_or_comes_twice_is_noticed():
    with pytest.raises(AssertionError, match="every sample"):
        run_pass([fake_batch([0])], means, ONE, keys_of([0, 1]))
    with pytest.raises(AssertionError, match="once over all ranks"):
        run_pass([fake_batch([0]), fake_batch([0])], means, ONE, keys_of([0]))
    with pytest.raises(AssertionError, match="one row"):
        run_pass([fake_batch([0, 0])], means, ONE, keys_of([0]))


def test_views_of_a_sample_become_one_row():
    scores = torch.randn(5, 3)
    batch = replace(fake_batch([7, 7, 2, 2, 2], broken={2}), view=torch.tensor([0, 1, 0, 1, 2]))
    found = run_pass(
        [batch],
        lambda _: {"scores": scores},
        ONE,
        keys_of([2, 7]),
        merge=lambda rows, sample, view: average_views(rows, sample, view).probabilities,
    )
    torch.testing.assert_close(found.rows("scores")[0], scores[:2].softmax(dim=1).mean(dim=0))
    assert (found.index.tolist(), found.unusable) == ([1], ["000000002_00000"])


def test_a_batch_without_rows_is_passed_over_or_filled():
    seen = []

    def note(batch):
        seen.append(len(batch))
        return means(batch)

    batches = [fake_batch([0]), fake_batch([1]).select(slice(0, 0))]
    run_pass(batches, note, ONE, keys_of([0]))
    assert seen == [1]
    seen.clear()
    found = run_pass(batches, note, ONE, keys_of([0]), fill=filled)
    assert seen == [1, 1]
    assert len(found.index) == 1


def test_what_fills_counts_for_nothing_and_hides_some():
    batch = filled(replace(fake_batch([0, 1]), label=torch.tensor([1, 2])).select(slice(0, 0)))
    assert (len(batch), batch.valid.tolist(), batch.label.tolist()) == (1, [False], [0])
    assert 0 < int(batch.mask.sum()) < batch.mask.numel()


def test_nothing_usable_is_refused():
    found = run_pass([fake_batch([0], broken={0})], means, ONE, keys_of([0]))
    with pytest.raises(ValueError, match="none of the 1 samples could be used"):
        found.rows("mean")


def test_rest_ends_as_it_began():
    network = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Sequential(torch.nn.BatchNorm1d(2)))
    network.train()
    network[1].eval()
    with at_rest(network):
        assert not any(each.training for each in network.modules())
        assert not torch.is_grad_enabled()
    assert [each.training for each in network.modules()] == [True, True, False, False]
    assert torch.is_grad_enabled()
