"""The caption decoder: its wiring, first weights, cache, recomputation, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model.captioner import CaptionDecoder
from model.clip_config import CaptionerConfig

SMALL = {"vocabulary": 20, "width": 24, "heads": 3, "visual_width": 16, "depth": 2, "queries": 5}


def decoder(**changes):
    torch.manual_seed(0)
    network = CaptionDecoder(CaptionerConfig(**{**SMALL, **changes}))
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def clips(batch=2, count=9):
    return drawn(batch, count, 16, seed=1)


def texts(batch=2, length=7):
    return drawn(batch, length, 24, seed=2)


def test_names_are_the_published_ones_without_constants():
    found = list(decoder(depth=1).state_dict())
    layer = "multimodal_layers.0."
    assert found == [
        "visual_queries",
        "visual_attn_pooler.norm.gamma",
        "visual_attn_pooler.context_norm.gamma",
        *(f"visual_attn_pooler.{name}.weight" for name in ("to_q", "to_kv", "to_out")),
        *(f"{name}.{kind}" for name in ("visual_pooler_norm", "text_norm") for kind in ("weight", "bias")),
        f"{layer}0.fn.norm.gamma",
        *(f"{layer}0.fn.{name}.weight" for name in ("fused_attn_ff_proj", "attn_out", "ff_out.1")),
        f"{layer}1.fn.norm.gamma",
        *(f"{layer}1.fn.{name}.weight" for name in ("to_q", "to_kv", "to_out", "ff.0", "ff.2")),
        *(f"predictor.{number}.{kind}" for number in (0, 1, 3, 4) for kind in ("weight", "bias")),
    ]


def test_first_weights_are_those_of_the_table():
    torch.manual_seed(3)
    network = CaptionDecoder(CaptionerConfig(**{**SMALL, "width": 96, "queries": 64}))
    assert float(network.visual_queries.detach().std()) == pytest.approx(96**-0.5, rel=0.1)
    for name, value in network.named_parameters():
        if name.endswith("bias"):
            assert not value.any(), name
        elif value.ndim == 1:
            assert bool((value == 1).all()), name
        elif name != "visual_queries":
            assert float(value.detach().std()) == pytest.approx(0.02, rel=0.1), name


def test_linear_maps_begin_as_wide_as_told():
    network = CaptionDecoder(CaptionerConfig(**{**SMALL, "width": 96, "init_std": 0.1}))
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear):
            assert float(module.weight.detach().std()) == pytest.approx(0.1, rel=0.1), name


@pytest.mark.parametrize("std", [0.0, -0.02, float("inf"), float("nan")])
def test_a_deviation_that_draws_no_weights_is_refused(std: float):
    with pytest.raises(ValueError, match=r"init_std is \S+: a finite number above 0 is taken"):
        CaptionerConfig(init_std=std)


def test_stages_make_up_the_whole():
    network = decoder()
    pooled = network.pool(clips())
    assert pooled.shape == (2, 5, 24)
    expected = network.predict(network.decode(texts(), pooled))
    torch.testing.assert_close(network(clips(), texts()), expected)
    assert expected.shape == (2, 7, 20)


def test_pooled_clip_is_normalised_and_keeps_nothing_of_the_queries():
    network = decoder()
    nn.init.ones_(network.visual_pooler_norm.weight)
    nn.init.zeros_(network.visual_pooler_norm.bias)
    nn.init.zeros_(network.visual_attn_pooler.to_out.weight)
    assert not network.pool(clips()).any()


def test_order_of_a_clips_tokens_does_not_matter_and_each_token_does():
    network, tokens = decoder(), clips()
    torch.testing.assert_close(network.pool(tokens.flip(1)), network.pool(tokens), atol=1e-5, rtol=1e-5)
    changed = tokens.clone()
    changed[0, 4, 0] += 3  # a shift of all channels would be normalised away
    difference = (network.pool(changed) - network.pool(tokens)).abs().amax(dim=(1, 2))
    assert difference[0] > 1e-4
    assert difference[1] == 0


@pytest.mark.parametrize("count", [1, 3, 40])
def test_any_number_of_tokens_and_positions_is_taken(count):
    assert decoder()(clips(3, count), texts(3, count)).shape == (3, count, 20)


def test_no_position_sees_a_later_one_and_each_sees_the_earlier_ones():
    network = decoder()
    pooled, text = network.pool(clips()), texts()
    plain = network.decode(text, pooled)
    changed = text.clone()
    changed[:, 4, 0] += 3
    other = network.decode(changed, pooled)
    torch.testing.assert_close(other[:, :4], plain[:, :4], atol=1e-6, rtol=1e-6)
    assert bool(((other - plain)[:, 4:].abs().amax(dim=(0, 2)) > 1e-4).all())


def test_order_of_the_text_matters():
    """Without rotary positions the last position would see a set."""
    network, text = decoder(), texts()
    pooled = network.pool(clips())
    swapped = text[:, [1, 0, 2, 3, 4, 5, 6]]
    assert (network.decode(text, pooled) - network.decode(swapped, pooled))[:, -1].abs().max() > 1e-3


@pytest.mark.parametrize("first", [1, 3, 7])
def test_extending_gives_what_the_whole_text_gave_at_every_position(first):
    network, text = decoder(), texts()
    pooled = network.pool(clips())
    whole = network.decode(text, pooled)
    cache = network.start(pooled)
    steps = [network.extend(text[:, :first], cache)]
    steps += [network.extend(text[:, place : place + 1], cache) for place in range(first, 7)]
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, atol=1e-5, rtol=1e-5)
    assert (cache.length, cache.rows, cache.clips) == (7, 2, 2)


def test_several_later_positions_may_come_at_once():
    network, text = decoder(), texts()
    cache = network.start(network.pool(clips()))
    steps = [network.extend(part, cache) for part in text.split([2, 4, 1], dim=1)]
    torch.testing.assert_close(
        torch.cat(steps, dim=1), network.decode(text, network.pool(clips())), atol=1e-5, rtol=1e-5
    )


def test_clips_are_looked_at_once_however_many_texts_they_have():
    network, text = decoder(), texts(6)
    pooled = network.pool(clips(3))
    cache = network.start(pooled)
    looked = []
    for layer in network.multimodal_layers:
        layer[1].fn.to_kv.register_forward_hook(lambda *_: looked.append(1))
    network.extend(text[::2, :2], cache)
    # Text 0 and two copies of text 1 would leave clip 2 out: clips 0 and 1 stay, with two texts each.
    cache.reorder(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1]))
    grown = network.extend(text[:4, 2:3], cache)
    assert not looked
    assert cache.seen[0].key.shape[0] == 2
    for row, (begun, clip) in enumerate([(0, 0), (0, 0), (2, 1), (2, 1)]):
        alone = torch.cat([text[begun : begun + 1, :2], text[row : row + 1, 2:3]], dim=1)
        expected = network.decode(alone, pooled[clip : clip + 1])[:, 2:]
        torch.testing.assert_close(grown[row : row + 1], expected, atol=1e-5, rtol=1e-5)


def gradients(network):
    network.zero_grad()
    tokens, text = clips().requires_grad_(), texts().requires_grad_()
    (network(tokens, text) * drawn(2, 7, 20, seed=5)).sum().backward()
    return {"tokens": tokens.grad, "text": text.grad, **{name: p.grad for name, p in network.named_parameters()}}


def test_everything_has_a_gradient_and_recomputation_changes_none():
    kept, again = gradients(decoder()), gradients(decoder(checkpoint_blocks=True))
    for name, gradient in kept.items():
        assert bool(gradient.abs().sum() > 0), name
        torch.testing.assert_close(again[name], gradient, atol=1e-6, rtol=1e-5, msg=name)


def test_recomputation_keeps_less_for_the_backward_pass():
    def kept(**changes):
        network, sizes = decoder(depth=4, **changes), []

        def note(value):
            sizes.append(value.numel())
            return value

        with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
            network.decode(texts(2, 50), network.pool(clips()))
        return sum(sizes)

    assert kept(checkpoint_blocks=True) < kept() / 3


def test_lower_precision_runs_and_is_near():
    network = decoder()
    plain = network(clips(), texts())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network(clips(), texts())
    half.float().sum().backward()
    assert bool(network.visual_queries.grad.isfinite().all())
    assert bool((half.float() - plain).abs().max() < 0.1 * plain.abs().max())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda n: n.pool(torch.zeros(2, 9, 24)), r"tokens have shape \(2, 9, 24\): \[B, N, 16\]"),
        (lambda n: n.pool(torch.zeros(2, 3, 9, 16)), r"tokens have shape \(2, 3, 9, 16\)"),
        (lambda n: n.pool(torch.zeros(2, 0, 16)), "N >= 1"),
        (lambda n: n.decode(torch.zeros(2, 7, 20), torch.zeros(2, 5, 24)), r"text have shape .* \[B, N, 24\]"),
        (lambda n: n.decode(torch.zeros(2, 7, 24), torch.zeros(2, 5, 16)), r"pooled have shape .* \[B, N, 24\]"),
        (lambda n: n.decode(torch.zeros(4, 7, 24), torch.zeros(2, 5, 24)), "4 texts and 2 clips"),
        (lambda n: n.start(torch.zeros(5, 24)), r"pooled have shape \(5, 24\)"),
        (lambda n: n.extend(torch.zeros(3, 1, 24), n.start(torch.zeros(2, 5, 24))), "3 texts and the cache is of 2"),
        (lambda n: n.extend(torch.zeros(2, 1, 9), n.start(torch.zeros(2, 5, 24))), r"text have shape \(2, 1, 9\)"),
        (lambda n: n.start(torch.zeros(2, 5, 24)).reorder(torch.zeros(3, dtype=int)), "3,.* and 2 clips stay"),
        (lambda n: n.start(torch.zeros(2, 5, 24)).reorder(torch.zeros(2, 1, dtype=int)), "a list of text numbers"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(decoder())


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64, torch.int64])
def test_another_type_than_the_weights_is_refused(kind):
    network = decoder()
    pooled, said = network.pool(clips()), f"are {kind} and the caption decoder's weights torch.float32"
    for call in (
        lambda: network.pool(clips().to(kind)),
        lambda: network.decode(texts().to(kind), pooled),
        lambda: network.start(pooled.to(kind)),
        lambda: network.extend(texts().to(kind), network.start(pooled)),
    ):
        with pytest.raises(ValueError, match=said):
            call()
    assert network.double()(clips().double(), texts().double()).dtype == torch.float64


def test_autocast_takes_lower_precision_and_no_integers():
    network = decoder()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert bool(network(clips().bfloat16(), texts().bfloat16()).isfinite().all())
        with pytest.raises(ValueError, match=r"tokens are torch.int64"):
            network.pool(clips().long())
