"""The networks' wiring: what is computed, for whom, from which first weights, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model import videomae
from model.config import ClassifierConfig, Grid, VideoMAEConfig, preset
from model.layers import ALL_TOKENS
from model.positions import resize_table, sinusoid_table
from model.videomae import VideoMAEClassifier, VideoMAEPretrain

SMALL = {"image_size": (16, 24), "frames": 6, "patch_size": 8, "tubelet": 3, "width": 24, "depth": 3, "heads": 3}


def pretrain(**changes):
    torch.manual_seed(0)
    config = {**SMALL, "decoder_width": 12, "decoder_depth": 2, "decoder_heads": 2, "layer_scale": 0.5, **changes}
    return randomized(VideoMAEPretrain(VideoMAEConfig(**config)))


def classifier(**changes):
    torch.manual_seed(0)
    return randomized(VideoMAEClassifier(ClassifierConfig(**{**SMALL, "classes": 5, **changes})))


def randomized(network):
    """Give every parameter, also those that start at zero, a value that matters."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network


def clips(frames=6, batch=2):
    return torch.randn(batch, 3, frames, 16, 24, generator=torch.Generator().manual_seed(1))


def masks(count=12, hidden=9, batch=2):
    generator = torch.Generator().manual_seed(2)
    return torch.stack([torch.randperm(count, generator=generator) < hidden for _ in range(batch)])


def gradients(network, output):
    network.zero_grad()
    output.square().mean().backward()
    return {name: parameter.grad.clone() for name, parameter in network.named_parameters()}


def compute_everything(monkeypatch):
    """Make stacks compute all tokens in every block and choose only at the end."""
    plain = videomae.run_blocks

    def run(blocks, x, *, keep=ALL_TOKENS, recompute=False):
        return plain(blocks, x, recompute=recompute)[:, keep]

    monkeypatch.setattr(videomae, "run_blocks", run)


def assert_saving_is_exact(monkeypatch, network, predict):
    fast = predict()
    fast_gradients = gradients(network, fast)
    compute_everything(monkeypatch)
    plain = predict()
    torch.testing.assert_close(fast, plain, atol=1e-6, rtol=1e-5)
    for name, gradient in gradients(network, plain).items():
        torch.testing.assert_close(fast_gradients[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_last_decoder_block_for_masked_tokens_alone_changes_no_value_and_no_gradient(monkeypatch):
    network = pretrain()
    assert_saving_is_exact(monkeypatch, network, lambda: network(clips(), masks()).prediction)


def test_last_block_for_the_first_token_alone_changes_no_value_and_no_gradient(monkeypatch):
    network = classifier(mean_pooling=False)
    assert_saving_is_exact(monkeypatch, network, lambda: network(clips()))


def test_last_decoder_block_queries_masked_tokens_only(monkeypatch):
    network = pretrain()
    queries = []
    network.decoder.blocks[-1].mlp.register_forward_hook(lambda _m, _i, output: queries.append(output.shape[1]))
    network(clips(), masks())
    assert queries == [9]


def test_masked_pixels_do_not_reach_the_prediction():
    network, video, mask = pretrain(), clips(), masks()
    hidden = mask.view(2, 2, 1, 2, 1, 3, 1).expand(2, 2, 3, 2, 8, 3, 8).reshape(2, 6, 16, 24)[:, None]
    changed = torch.where(hidden, torch.randn_like(video), video)
    assert not torch.equal(changed, video)
    assert torch.equal(network(video, mask).prediction, network(changed, mask).prediction)
    assert not torch.equal(network(video, mask).prediction, network(video + 0.1, mask).prediction)


def test_samples_do_not_depend_on_each_other():
    network, video, mask = pretrain(), clips(), masks()
    both = network(video, mask).prediction
    torch.testing.assert_close(network(video[1:], mask[1:]).prediction, both[1:], atol=1e-6, rtol=1e-5)


def test_decoder_masks_leave_out_predictions_and_keep_their_order():
    network, mask = pretrain(decoder_depth=1), masks()
    # Every other masked cube; with one block and no attention the others are predicted alike.
    spared = mask & (torch.cumsum(mask, dim=1) % 3 == 0)
    for block in network.decoder.blocks:
        nn.init.zeros_(block.attn.proj.weight)
    whole = network(clips(), mask).prediction
    part = network(clips(), mask, spared)
    kept = ~spared[mask].view(2, 9)
    assert part.prediction.shape[1] == 6
    torch.testing.assert_close(part.prediction, whole[kept].view(2, 6, -1))
    assert torch.equal(part.tokens.masked, network.split(mask, torch.device("cpu")).masked[kept].view(2, 6))


def test_a_decoder_mask_is_the_decoder_over_visible_and_predicted_cubes_alone():
    """Spelled out for one sample at a time: the cubes left out are no keys either, so the others come out otherwise."""
    network, video, mask = pretrain(), clips(), masks()
    spared = mask & (torch.cumsum(mask, dim=1) % 3 == 0)
    output, decoder = network(video, mask, spared), network.decoder
    for number in range(2):
        seen, guessed = (torch.nonzero(part[number])[:, 0] for part in (~mask, mask & ~spared))
        narrow = network.encoder_to_decoder(network(video, mask).encoded[number]) + decoder.positions[seen]
        x = torch.cat([narrow, network.mask_token[0] + decoder.positions[guessed]])[None]
        for block in decoder.blocks:
            x = block(x)
        expected = decoder.head(decoder.norm(x[0, len(seen) :]))
        torch.testing.assert_close(output.prediction[number], expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(output.encoded, network(video, mask).encoded)
    kept = network(video, mask).prediction[~spared[mask].view(2, 9)].view(2, 6, -1)
    assert not torch.allclose(output.prediction, kept, atol=1e-3)


def test_nothing_masked_predicts_all_cubes():
    output = pretrain()(clips(), torch.zeros(2, 12, dtype=torch.bool))
    assert output.prediction.shape == (2, 12, 3 * 3 * 8 * 8)
    assert output.encoded.shape == (2, 12, 24)


@pytest.mark.parametrize("frames", [3, 9])
def test_any_number_of_tubelets_works_when_configured(frames):
    tokens = frames // 3 * 6
    output = pretrain(frames=frames)(clips(frames), masks(tokens, tokens // 2))
    assert output.prediction.shape == (2, tokens // 2, 576)


@pytest.mark.parametrize("shape", [(2, 3, 3, 16, 24), (2, 3, 7, 16, 24), (2, 3, 6, 24, 16), (2, 3, 6, 16, 32)])
def test_clips_of_another_size_are_refused(shape):
    with pytest.raises(ValueError, match="the model takes"):
        pretrain()(torch.zeros(shape), masks())
    with pytest.raises(ValueError, match="the model takes"):
        classifier()(torch.zeros(shape))


def test_masks_of_another_grid_or_of_unequal_counts_are_refused():
    with pytest.raises(ValueError, match="12 tokens"):
        pretrain()(clips(), masks(24, 9))
    uneven = masks()
    uneven[0] = False
    with pytest.raises(ValueError, match="between 0 and 9"):
        pretrain()(clips(), uneven)


def test_recomputation_by_config_changes_no_gradient():
    plain, recomputing = pretrain(), pretrain(checkpoint_blocks=True)
    expected = gradients(plain, plain(clips(), masks()).prediction)
    for name, gradient in gradients(recomputing, recomputing(clips(), masks()).prediction).items():
        assert torch.equal(gradient, expected[name]), name


def test_bf16_autocast_trains_and_stays_near_float32():
    network = pretrain()
    exact = network(clips(), masks()).prediction
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = network(clips(), masks()).prediction
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().max() < 0.05 * exact.abs().max()
    assert all(gradient.isfinite().all() for gradient in gradients(network, rough.float()).values())


def test_position_tables_are_not_saved_and_move_with_the_network():
    network = pretrain()
    assert not [name for name in network.state_dict() if "positions" in name]
    assert network.to(torch.float64).encoder.positions.dtype == torch.float64


def test_first_weights_are_as_the_table_says():
    torch.manual_seed(0)
    network = VideoMAEPretrain(VideoMAEConfig(width=192, depth=2, heads=3, decoder_width=96, decoder_heads=3))
    qkv = network.encoder.blocks[0].attn.qkv.weight
    assert qkv.abs().max().item() == pytest.approx((6 / (192 + 3 * 192)) ** 0.5, rel=1e-2)
    head = network.decoder.head
    assert head.weight.abs().max().item() == pytest.approx((6 / (96 + 1536)) ** 0.5, rel=1e-2)
    assert not head.bias.any()
    assert not network.encoder.blocks[1].attn.q_bias.any()
    # The outer map keeps torch's default, uniform within fan_in^-0.5, and so does the cube embedding.
    assert network.encoder_to_decoder.weight.abs().max().item() == pytest.approx(192**-0.5, rel=1e-2)
    assert network.encoder.patch_embed.proj.weight.abs().max().item() == pytest.approx(1536**-0.5, rel=1e-2)
    token = network.mask_token
    assert token.abs().max() <= 0.02
    assert 0.008 < token.std() < 0.014


def test_a_fresh_classifier_scores_nearly_nothing():
    torch.manual_seed(0)
    network = VideoMAEClassifier(ClassifierConfig(**SMALL, classes=5, head_scale=0.001))
    assert 0 < network.head.weight.abs().max() < 0.001
    assert network.blocks[0].mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert network(clips()).shape == (2, 5)


def test_mean_pooling_averages_before_the_norm():
    network = classifier().eval()
    tokens = {}
    network.blocks[-1].register_forward_hook(lambda _m, _i, output: tokens.update(last=output))
    features = network.features(clips())
    torch.testing.assert_close(features, network.fc_norm(tokens["last"].mean(dim=1)))
    torch.testing.assert_close(network(clips()), network.head(features))


def test_base_grid_resizes_the_table_and_its_own_grid_does_not():
    resized = classifier(base_grid=Grid(4, 4, 4))
    assert resized.positions.shape == (12, 24)
    assert torch.equal(classifier(base_grid=Grid(2, 2, 3)).positions, classifier().positions)
    assert not torch.allclose(resized.positions, classifier().positions)


def test_head_dropout_acts_in_training_only():
    network = classifier(head_dropout=0.5)
    torch.testing.assert_close(network.eval()(clips()), network.eval()(clips()))
    torch.manual_seed(0)
    assert not torch.allclose(network.train()(clips()), network(clips()))


@pytest.mark.parametrize("rate", ["dropout", "attention_dropout", "drop_path"])
def test_dropout_of_each_kind_acts_in_training_only(rate):
    for network, run in (
        (pretrain(**{rate: 0.5}), lambda net: net(clips(), masks()).prediction),
        (classifier(**{rate: 0.5}), lambda net: net(clips())),
    ):
        exact = run(network.eval())
        torch.testing.assert_close(run(network), exact)
        torch.manual_seed(0)
        assert not torch.allclose(run(network.train()), exact)


def test_each_stack_climbs_to_the_configured_stochastic_depth():
    network = pretrain(drop_path=0.4, depth=3, decoder_depth=2)
    assert [block.drop_path.rate for block in network.encoder.blocks] == [0.0, 0.2, 0.4]
    assert [block.drop_path.rate for block in network.decoder.blocks] == [0.0, 0.4]


@pytest.mark.parametrize("mean_pooling", [True, False])
def test_learnable_positions_are_a_weight_that_no_gradient_reaches(mean_pooling):
    network, fixed = (classifier(learnable_positions=on, mean_pooling=mean_pooling) for on in (True, False))
    assert network.state_dict().keys() - fixed.state_dict().keys() == {"pos_embed"}
    fixed.load_state_dict({name: value for name, value in network.state_dict().items() if name != "pos_embed"})
    assert not torch.allclose(network(clips()), fixed(clips()))
    with torch.no_grad():
        network.pos_embed[0] = fixed.positions
    torch.testing.assert_close(network(clips()), fixed(clips()))
    network(clips()).square().mean().backward()
    assert network.pos_embed.grad is None
    network.pos_embed.requires_grad_()
    network(clips()).square().mean().backward()
    assert network.pos_embed.grad.any(), "unfrozen, it learns"


def test_fresh_learnable_positions_are_small_and_random():
    torch.manual_seed(0)
    network = VideoMAEClassifier(ClassifierConfig(**SMALL, learnable_positions=True))
    assert network.pos_embed.std().item() == pytest.approx(0.02, rel=0.1)
    assert network.positions.shape == (12, 24)


@pytest.mark.parametrize("mean_pooling", [True, False])
def test_packed_clips_get_learnable_positions_too(mean_pooling):
    network = classifier(learnable_positions=True, mean_pooling=mean_pooling).eval()
    longer = torch.randn(3, 9, 16, 32)
    together = network.features_packed([*clips(), longer])
    torch.testing.assert_close(together[:2], network.features(clips()), atol=1e-5, rtol=1e-5)
    alone = classifier(frames=9, image_size=(16, 32), learnable_positions=True, mean_pooling=mean_pooling).eval()
    table = resize_table(network.positions, Grid(2, 2, 3), Grid(3, 2, 4))
    alone.load_state_dict({**network.state_dict(), "pos_embed": table[None]})
    torch.testing.assert_close(together[2:], alone.features(longer[None]), atol=1e-5, rtol=1e-5)


def test_learnable_positions_cannot_be_made_for_another_grid():
    network = classifier(learnable_positions=True, resize_positions=False).eval()
    torch.testing.assert_close(network.features_packed(list(clips())), network.features(clips()), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match=r"Grid\(slots=3, rows=2, columns=3\), .* set resize_positions=True"):
        network.features_packed([torch.randn(3, 9, 16, 24)])
    with pytest.raises(ValueError, match="learnable_positions is True and base_grid"):
        classifier(learnable_positions=True, base_grid=Grid(4, 4, 4))


def test_without_decoder_blocks_a_masked_cube_sees_its_place_only():
    network, video, mask = pretrain(decoder_depth=0), clips(), masks()
    output, decoder = network(video, mask), network.decoder
    expected = decoder.head(decoder.norm(network.mask_token[0] + decoder.positions[output.tokens.masked]))
    torch.testing.assert_close(output.prediction, expected)
    packed = network.forward_packed(list(video), list(mask))
    torch.testing.assert_close(torch.stack(packed.predictions), output.prediction, atol=1e-6, rtol=1e-5)
    assert network(video, torch.zeros_like(mask)).prediction.shape[1] == 12


@pytest.mark.parametrize("kind", [pretrain, classifier])
def test_layer_scale_is_absent_at_zero(kind):
    assert not [name for name in kind(layer_scale=0.0).state_dict() if "gamma" in name]
    scaled = kind(layer_scale=0.1)
    assert {name.rsplit(".", 1)[-1] for name in scaled.state_dict() if "gamma" in name} == {"gamma_1", "gamma_2"}


def test_a_classifier_of_another_size_sees_the_pretraining_table_resized():
    """The table of 16 frames of 224 x 224, for clips of another size (fine-tuning after a change of resolution)."""
    config = {"image_size": (288, 320), "frames": 8, "patch_size": 16, "width": 24, "depth": 1, "heads": 3}
    network = VideoMAEClassifier(ClassifierConfig(**config, base_grid=Grid(8, 14, 14)))
    expected = resize_table(sinusoid_table(1568, 24), Grid(8, 14, 14), Grid(4, 18, 20))
    assert torch.equal(network.positions, expected)
    assert network(torch.randn(1, 3, 8, 288, 320)).shape == (1, 400)


@pytest.mark.parametrize(
    ("name", "hidden", "values"),
    [("vit_giant14", 6144, 1176), ("vit_giant16", 6144, 1536), ("vit_gigantic14", 8192, 1176)],
)
def test_the_giants_have_the_published_widths(name, hidden, values):
    with torch.device("meta"):
        network = VideoMAEPretrain(preset(name, depth=1, decoder_depth=1))
    assert network.encoder.blocks[0].mlp.fc1.out_features == hidden
    assert network.decoder.head.out_features == values
    assert (network.config.decoder_width, network.config.decoder_heads) == (512, 8)


@pytest.mark.parametrize("count", [1, 3])
def test_another_number_of_masks_than_of_clips_is_refused(count):
    with pytest.raises(ValueError, match=rf"\(2, 3, 6, 16, 24\) and there are masks of {count} clips"):
        pretrain()(clips(), masks(batch=count))
