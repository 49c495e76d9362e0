"""The trunk of UniFormerV2: patches, positions, what is computed, what is frozen, what is recomputed."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import conv3d

from model.uniblocks import LocalMixing
from model.uniformer_trunk import cut_patches
from tests.support.small_uniformers import assert_same_gradients, classifier, clips, encoder, gradients, video_encoder


@pytest.mark.parametrize(("frames", "overlap"), [(4, False), (4, True), (2, True), (1, False)])
def test_patches_times_the_kernel_is_the_convolution(frames, overlap):
    video, span = clips(frames), 3 if overlap else 1
    kernel = torch.randn(7, 3, span, 8, 8)
    wanted = conv3d(video, kernel, stride=(1 + overlap, 8, 8), padding=(int(overlap), 0, 0))
    ours = cut_patches(video, 8, overlap=overlap) @ kernel.flatten(1).T
    torch.testing.assert_close(ours, wanted.permute(0, 2, 3, 4, 1).flatten(2, 3), atol=1e-4, rtol=1e-5)


def computed(network, **named):
    """Run a network and return how many tokens of a frame each backbone block returned."""
    rows = []
    hooks = [
        block.register_forward_hook(lambda _m, _i, output: rows.append(output.shape[1]))
        for block in network.transformer.resblocks
    ]
    network.encode([clips()], **named)
    for hook in hooks:
        hook.remove()
    return rows


def test_the_last_block_computes_class_tokens_alone_where_nothing_else_is_read():
    assert computed(encoder(global_blocks=(0, 1))) == [7, 7, 1]
    assert computed(encoder(global_blocks=(0, 1)), collect=frozenset({2})) == [7, 7, 7]
    assert computed(encoder(global_blocks=(0, 2))) == [7, 7, 7]


def test_blocks_that_nothing_reads_are_not_run():
    frozen = encoder(global_blocks=(0,), frozen=True)
    assert computed(frozen) == [7]
    assert computed(frozen, collect=frozenset({1})) == [7, 7]
    assert computed(encoder(global_blocks=(2,), frozen=True)) == [7, 7, 7]


@pytest.mark.parametrize("frozen", [False, True])
def test_batch_norms_in_training_see_every_block(frozen):
    network = encoder(global_blocks=(0,), frozen=frozen, local="double").train()
    assert computed(network) == [7, 7, 7]
    counts = [int(module.pos_embed[0].num_batches_tracked) for module in network.modules() if is_mixing(module)]
    assert counts == [1] * 6


def is_mixing(module):
    return isinstance(module, LocalMixing)


@pytest.mark.parametrize("changes", [{}, {"frozen": True}, {"local": "double"}, {"temporal_downsample": True}])
def test_computing_less_changes_no_value_and_no_gradient(changes):
    network = classifier(global_blocks=(0, 1), **changes)
    fast = network.encode([clips()]).fused
    fast.square().sum().backward()
    ours = gradients(network)
    plain = network.encode([clips()], collect=frozenset({2})).fused
    plain.square().sum().backward()
    torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-5)
    assert_same_gradients(ours, gradients(network))


def test_tokens_of_any_block_can_be_collected():
    network = encoder()
    found = network.encode([clips()], collect=frozenset({0, 2}))
    assert set(found.collected) == {0, 2}
    seen = {}
    network.transformer.resblocks[0].register_forward_hook(lambda _m, _i, output: seen.update(first=output))
    network.encode([clips()])
    assert torch.equal(found.collected[0], seen["first"])


@pytest.mark.parametrize("block", [-1, 3])
def test_a_block_that_does_not_exist_cannot_be_collected(block):
    with pytest.raises(ValueError, match=rf"collect asks for blocks \[{block}\]: the backbone has 0 to 2"):
        encoder().encode([clips()], collect=frozenset({block}))


@pytest.mark.parametrize(
    "shape", [(3, 4, 16, 24), (2, 1, 4, 16, 24), (2, 3, 4, 16, 20), (2, 3, 4, 15, 24), (2, 3, 0, 16, 24)]
)
def test_clips_that_do_not_come_out_even_are_refused(shape):
    with pytest.raises(ValueError, match="the video has"):
        encoder()(torch.zeros(shape))


def test_an_odd_number_of_frames_cannot_be_halved():
    network = encoder(temporal_downsample=True)
    with pytest.raises(ValueError, match="3 frames of 16x24 pixels: they must be multiples of 2 frames"):
        network(clips(3))
    assert network(clips(6)).tokens.shape == (2, 3, 7, 24)


def test_other_sizes_take_a_resized_position_table():
    network = encoder()
    with torch.no_grad():
        network.positional_embedding[1:] = torch.linspace(-1, 1, 24)
    constant = network._positions(network.config.grid)
    wide = network._positions(type(network.config.grid)(1, 3, 5))
    assert constant is network.positional_embedding
    torch.testing.assert_close(wide[1:], constant[1:2].expand(15, -1))
    assert torch.equal(wide[0], constant[0])
    assert network(clips(2, size=(24, 40))).tokens.shape == (2, 2, 16, 24)


def trained_names(network):
    network.train()(clips()).square().sum().backward()
    return {name for name, parameter in network.named_parameters() if parameter.grad is not None}


def test_a_frozen_backbone_gets_no_gradient_and_moves_no_statistics():
    network = classifier(local="double", drop_path=0.9, frozen=True)
    network.freeze_backbone()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.train()
    torch.manual_seed(0)
    first = network(clips())
    names = trained_names(network)
    assert names
    assert all(
        name.startswith(("transformer.dec", "transformer.dpe", "transformer.proj"))
        for name in names - {"transformer.temporal_cls_token"}
    )
    assert "transformer.temporal_cls_token" in names
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, before[name]), name
    assert torch.equal(network.train()(clips()), first)  # stochastic depth of the backbone is off
    assert network.transformer.dec.training
    assert not network.transformer.resblocks.training


def test_a_backbone_that_is_not_frozen_moves_its_statistics():
    network = classifier(local="double")
    before = network.transformer.resblocks[0].lmhra1.pos_embed[0].running_mean.clone()
    assert "conv1.weight" in trained_names(network)
    assert not torch.equal(network.transformer.resblocks[0].lmhra1.pos_embed[0].running_mean, before)


def test_recomputed_activations_give_the_same_gradients_and_count_a_batch_once():
    changes = {"local": "double", "drop_path": 0.5, "global_drop_path": 0.5, "global_dropout": 0.5}
    plain, saving = classifier(**changes).train(), classifier(**changes, checkpoint_blocks=True).train()
    results = []
    for network in (plain, saving):
        torch.manual_seed(3)
        scores = network(clips())
        scores.square().sum().backward()
        results.append(scores.detach())
    torch.testing.assert_close(results[0], results[1], atol=1e-6, rtol=1e-5)
    assert_same_gradients(gradients(saving), gradients(plain))
    for (name, wanted), ours in zip(plain.named_buffers(), saving.buffers(), strict=True):
        torch.testing.assert_close(ours, wanted, msg=f"{name}: {{}}".format)


def test_recomputing_keeps_fewer_tensors():
    kept = {}
    for saving in (False, True):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t):
            classifier(checkpoint_blocks=saving).train()(clips())
        kept[saving] = sum(sizes)
    assert kept[True] < 0.5 * kept[False]


def test_first_weights_are_those_of_the_table():
    torch.manual_seed(0)
    network = classifier().__class__(classifier(local="double", width=96, heads=3).config)
    state = network.state_dict()
    starts = ("transformer.temporal_cls_token", "transformer.balance", "transformer.dpe.0.bias")
    zero = {name for name, value in state.items() if value.is_floating_point() and not value.any()}
    assert zero >= set(starts)
    for name in ("dec.1.attn.out_proj.weight", "dec.1.mlp.c_proj.weight", "resblocks.1.lmhra2.pos_embed.3.weight"):
        assert f"transformer.{name}" in zero
    for name in ("dec.1.attn.in_proj_weight", "dec.1.mlp.c_fc.weight", "dpe.1.weight", "resblocks.0.mlp.c_proj.weight"):
        assert f"transformer.{name}" not in zero
    assert 0.08 < float(state["positional_embedding"].std()) < 0.13  # 96^-0.5 is 0.102
    bound = (6 / (96 + 4 * 96)) ** 0.5
    assert 0.95 * bound < float(state["transformer.dec.0.mlp.c_fc.weight"].abs().max()) <= bound


@pytest.mark.parametrize("overlap", [False, True])
def test_no_clips_are_refused_and_cut_into_no_patches(overlap):
    assert cut_patches(clips()[:0], 8, overlap=overlap).shape == (0, 4 // (1 + overlap), 6, 192 * (1 + 2 * overlap))
    for network in (encoder(temporal_downsample=overlap), video_encoder(temporal_downsample=overlap)):
        with pytest.raises(ValueError, match=r"shape \(0, 3, 4, 16, 24\): at least one clip"):
            network(clips()[:0])


def test_pixels_of_a_type_that_is_not_taken_are_refused():
    network = encoder()
    with pytest.raises(ValueError, match=r"the video is torch.uint8: .* normalise raw pixels first"):
        network(clips().to(torch.uint8))
    with pytest.raises(ValueError, match=r"the video is torch.float64 and the weights are torch.float32"):
        network(clips().double())
    assert network(clips().bfloat16()).fused.dtype == torch.float32
    assert network.double()(clips().double()).fused.dtype == torch.float64
