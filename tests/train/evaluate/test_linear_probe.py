"""The linear probe: at the optimum, the strength that held-out clips choose, no chance in it."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from train.evaluate.linear_probe import STRENGTHS, fit_linear_probe


def clouds(count=120, width=6, classes=3, *, noise=1.0, seed=0):
    """Clips around a centre for each class, on scales that differ wildly."""
    generator = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    label = torch.arange(count) % classes
    features = centres[label] + noise * torch.randn(count, width, generator=generator)
    return features * torch.logspace(-3, 3, width), label


def test_it_is_the_minimum():
    """The gradient of the penalised loss is zero there, and every step away is uphill: the problem is convex."""
    features, label = clouds(noise=2.0)
    probe = fit_linear_probe(features, label, classes=3, strengths=[0.01])
    plain = (features.double() - features.double().mean(dim=0)) / features.double().std(dim=0, correction=0)

    def loss(weight, bias):
        return cross_entropy(plain @ weight.T + bias, label) + 0.005 * weight.square().sum()

    weight, bias = probe.weight.clone().requires_grad_(), probe.bias.clone().requires_grad_()
    least = loss(weight, bias)
    least.backward()
    assert weight.grad.abs().max() < 1e-6
    assert bias.grad.abs().max() < 1e-6
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        step = 0.05 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        assert loss(weight + step, bias) > least
    torch.testing.assert_close(probe.scores(features), plain @ probe.weight.T + probe.bias)


def test_it_tells_classes_apart_on_clips_it_has_not_seen():
    probe = fit_linear_probe(*clouds(), classes=3)
    features, label = clouds(seed=1)
    assert (probe.scores(features).argmax(dim=1) == label).double().mean() > 0.9


def test_held_out_clips_choose_the_strength():
    """Labels that features say nothing about are best guessed with a strong penalty."""
    torch.manual_seed(0)
    noise = torch.randn(60, 40)
    label = (torch.arange(60) % 10 > 2).long()
    assert fit_linear_probe(noise, label, classes=2).strength > 0.01
    features, label = clouds(300, noise=0.3)
    held = fit_linear_probe(features, label, classes=3, strengths=[1e-4, 1e4])
    assert held.strength in (1e-4, 1e4)
    assert (held.scores(features).argmax(dim=1) == label).all()


def test_there_is_no_chance_in_it():
    one, other = (fit_linear_probe(*clouds(40), classes=4).weight for _ in range(2))
    assert torch.equal(one, other)
    assert one.shape == (4, 6)


def test_a_channel_that_never_changes_says_nothing():
    features, label = clouds(60)
    features[:, 2] = 7.0
    assert fit_linear_probe(features, label, classes=3, strengths=[0.1]).scores(features).isfinite().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": torch.zeros(0, 3), "label": torch.zeros(0, dtype=torch.int64)}, "not empty"),
        ({"label": torch.zeros(2, dtype=torch.int64)}, r"labels \(2,\)"),
        ({"features": torch.full((4, 3), torch.nan)}, "not finite"),
        ({"strengths": []}, "strengths are"),
        ({"strengths": [0.0]}, "above 0"),
    ],
)
def test_what_cannot_be_fitted_is_refused(changes, message):
    given = {"features": torch.ones(4, 3), "label": torch.zeros(4, dtype=torch.int64), "strengths": STRENGTHS}
    with pytest.raises(ValueError, match=message):
        fit_linear_probe(**(given | {"classes": 2} | changes))
