"""The running average of weights: its values, what it leaves alone, and that it can stand in for them."""

from __future__ import annotations

import torch
from torch import nn

from train.ema import WeightAverage, learning_state

COUNTS, SKIPPED = torch.tensor([False, True])


def network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    net[2].requires_grad_(requires_grad=False)
    return net


def change(net, number):
    generator = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for value in learning_state(net).values():
            value.copy_(torch.randn(value.shape, generator=generator))


def bits(tensors):
    return {name: value.detach().clone().view(torch.int32) for name, value in tensors.items()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


def test_what_learns_and_running_statistics_are_averaged():
    assert set(WeightAverage(network(), 0.9).average) == {
        *("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"),
    }


def test_the_average_is_the_weighted_sum_of_all_weights_so_far():
    net = network()
    average = WeightAverage(net, 0.9)
    expected = net[0].weight.detach().double()
    for number in range(5):
        change(net, number)
        average.update(COUNTS)
        expected = 0.9 * expected + 0.1 * net[0].weight.detach().double()
    torch.testing.assert_close(average.average["0.weight"].double(), expected, rtol=1e-6, atol=1e-6)


def test_a_skipped_step_leaves_every_bit():
    net = network()
    average = WeightAverage(net, 0.9)
    with torch.no_grad():
        average.average["0.bias"].copy_(torch.tensor([-0.0, 0.0, 1e-42, 3.0]))
        net[0].weight.fill_(torch.nan)
    before = bits(average.average)
    average.update(SKIPPED)
    assert same(bits(average.average), before)


def test_the_average_is_float32_whatever_the_weights_are():
    net = nn.Linear(2, 2, dtype=torch.bfloat16)
    with torch.no_grad():
        net.weight.fill_(0.0)
    average = WeightAverage(net, 0.999)
    with torch.no_grad():
        net.weight.fill_(1.0)
    for _ in range(10):
        average.update(COUNTS)
    # In bfloat16 the later of these steps of a thousandth would be cut by up to a 256th of the sum.
    torch.testing.assert_close(average.average["weight"], torch.full((2, 2), 1 - 0.999**10), rtol=1e-6, atol=0)


def test_weights_come_back_bit_for_bit():
    net = network()
    average = WeightAverage(net, 0.9)
    change(net, 1)
    average.update(COUNTS)
    weights, statistics = bits(learning_state(net)), net[1].num_batches_tracked.clone()
    with average.applied():
        assert same(bits(learning_state(net)), bits(average.average))
    assert same(bits(learning_state(net)), weights)
    assert net[1].num_batches_tracked == statistics


def test_restarting_takes_the_weights_of_now():
    net = network()
    average = WeightAverage(net, 0.9)
    change(net, 1)
    average.restart()
    assert same(bits(average.average), bits(learning_state(net)))
