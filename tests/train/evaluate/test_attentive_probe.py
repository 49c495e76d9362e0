"""The attentive probe: it finds the one token that tells, by chance that only the seed decides."""

from __future__ import annotations

import pytest
import torch

from train.evaluate.attentive_probe import AttentiveProbe, AttentiveSettings, fit_attentive_probe


def needles(count=192, *, seed=0):
    """Clips of six tokens of which one, marked by its last channel, tells the class; the others shout at random."""
    generator = torch.Generator().manual_seed(seed)
    tokens = 3 * torch.randn(count, 6, 9, generator=generator)
    tokens[:, :, -1] = 0
    label = torch.arange(count) % 3
    place = torch.randint(0, 6, (count,), generator=generator)
    tokens[torch.arange(count), place] = 0
    tokens[torch.arange(count), place, label] = 3
    tokens[torch.arange(count), place, -1] = 5
    return tokens, label


def test_it_finds_the_token_that_tells():
    probe = fit_attentive_probe(*needles(), classes=3, settings=AttentiveSettings(epochs=40, batch_size=32, lr=1e-2))
    tokens, label = needles(90, seed=1)
    right = (probe.scores(tokens).argmax(dim=1) == label).double().mean()
    assert right > 0.85
    mixed = tokens.mean(dim=1, keepdim=True)
    assert (probe.scores(mixed).argmax(dim=1) == label).double().mean() < right


def test_the_seed_decides_and_torch_goes_on_as_it_was():
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    short = AttentiveSettings(epochs=1, batch_size=64)
    one, other = (fit_attentive_probe(*needles(), classes=3, settings=short).query for _ in range(2))
    assert torch.equal(one, other)
    assert torch.equal(torch.rand(4), wanted)
    different = fit_attentive_probe(*needles(), classes=3, settings=AttentiveSettings(epochs=1, batch_size=64, seed=1))
    assert not torch.equal(different.query, one)


def test_attention_written_out():
    torch.manual_seed(0)
    probe = AttentiveProbe(128, 5, torch.randn(128), torch.rand(128) + 0.5)
    tokens = torch.randn(2, 7, 128)
    plain = (tokens - probe.mean) / probe.spread
    keys, values = probe.key_value(plain).chunk(2, dim=-1)
    heads = []
    for head in range(2):
        part = slice(64 * head, 64 * head + 64)
        weights = (keys[..., part] @ probe.query[part] / 8).softmax(dim=1)
        heads.append((weights[..., None] * values[..., part]).sum(dim=1))
    wanted = probe.head(probe.norm(probe.proj(torch.cat(heads, dim=1))))
    torch.testing.assert_close(probe(tokens), wanted, rtol=1e-4, atol=1e-5)


def test_half_floats_are_taken():
    tokens, label = needles(24)
    probe = fit_attentive_probe(tokens.half(), label, classes=3, settings=AttentiveSettings(epochs=1))
    assert probe.scores(tokens.half()).shape == (24, 3)


@pytest.mark.parametrize(
    ("tokens", "label", "message"),
    [
        (torch.zeros(0, 2, 3), torch.zeros(0, dtype=torch.int64), "not empty"),
        (torch.zeros(2, 2, 3), torch.zeros(3, dtype=torch.int64), r"labels \(3,\)"),
        (torch.full((2, 2, 3), torch.nan), torch.zeros(2, dtype=torch.int64), "not finite"),
    ],
)
def test_what_cannot_be_fitted_is_refused(tokens, label, message):
    with pytest.raises(ValueError, match=message):
        fit_attentive_probe(tokens, label, classes=2)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 0}, {"lr": 0.0}, {"weight_decay": -1.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="are taken"):
        AttentiveSettings(**wrong)
