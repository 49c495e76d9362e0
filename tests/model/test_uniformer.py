"""UniFormerV2 with and without a head, and as the video encoder: whole networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model.clip_config import UNIFORMER_PRESETS, VIDEO_TEXT_PRESETS
from model.uniformer import UniFormerClassifier, VideoEncoder, inflate_patch_kernel
from tests.support.plain_uniformer import PlainUniFormer
from tests.support.small_uniformers import (
    assert_same_gradients,
    classifier,
    clips,
    encoder,
    gradients,
    mixed_clips,
    video_encoder,
)

# Counted on networks of the public code.
CLASSIFIERS = {
    "uniformer_b16": (114_552_208, 28_754_320, 0),
    "uniformer_l14": (354_099_600, 50_921_872, 0),
    "uniformer_l14_336": (354_427_280, 50_921_872, 0),
    "uniformer_b16_ssv2": (162_992_814, 57_024_174, 18_991_104),
    "uniformer_l14_ssv2": (573_949_966, 202_213_550, 67_354_464),
}
VIDEO_ENCODERS = {"video_text_b16": 114_637_824, "video_text_l14": 354_476_032}
KINDS = [
    {},
    {"frozen": True},
    {"local": "single"},
    {"local": "double", "temporal_downsample": True, "global_blocks": (0, 1)},
]


def count(module, part=""):
    return sum(p.numel() for name, p in module.named_parameters() if part in name)


@pytest.mark.parametrize(("name", "sizes"), CLASSIFIERS.items())
def test_classifiers_have_the_public_sizes(name, sizes):
    with torch.device("meta"):
        network = UniFormerClassifier(UNIFORMER_PRESETS[name])
    blocks = network.transformer
    new = count(blocks.dpe) + count(blocks.dec) + count(blocks.proj) + 2 * network.config.width
    assert (count(network), new, count(network, "lmhra")) == sizes


@pytest.mark.parametrize(("name", "size"), VIDEO_ENCODERS.items())
def test_video_encoders_have_the_public_sizes(name, size):
    with torch.device("meta"):
        assert count(VideoEncoder(VIDEO_TEXT_PRESETS[name].video)) == size


@pytest.mark.parametrize("changes", KINDS)
@pytest.mark.parametrize(("frames", "size"), [(4, (16, 24)), (2, (24, 8)), (6, (8, 32))])
def test_features_are_those_of_the_network_spelled_out(changes, frames, size):
    network = encoder(**changes)
    plain = PlainUniFormer(network.state_dict(), network.config)
    video = clips(frames, size=size)
    with torch.no_grad():
        fused = network(video).fused
        for clip, ours in zip(video, fused, strict=True):
            torch.testing.assert_close(ours, plain.fused(clip), atol=1e-5, rtol=1e-5)


def test_an_image_is_a_clip_of_one_frame():
    network = encoder(local="double")
    image = clips(1, batch=1)
    with torch.no_grad():
        plain = PlainUniFormer(network.state_dict(), network.config).fused(image[0])
        torch.testing.assert_close(network(image).fused[0], plain, atol=1e-5, rtol=1e-5)


def clip_image_tower(network, frame):
    """The class token [D] that CLIP's image transformer makes of a frame, with torch's own layers."""
    state, config = network.state_dict(), network.config
    patch = config.patch_size
    patches = nn.functional.conv2d(frame[None], state["conv1.weight"][:, :, 0], stride=patch)[0].flatten(1).T
    tokens = torch.cat([state["class_embedding"][None], patches]) + state["positional_embedding"]
    tokens = network.ln_pre(tokens)
    for block in network.transformer.resblocks:
        attention = nn.MultiheadAttention(config.width, config.heads)
        attention.load_state_dict(block.attn.state_dict())
        seen = block.ln_1(tokens)[:, None]
        tokens = tokens + attention(seen, seen, seen, need_weights=False)[0][:, 0]
        tokens = tokens + block.mlp(block.ln_2(tokens))
    return tokens[0]


@pytest.mark.parametrize("local", ["none", "double"])
def test_fresh_blocks_leave_clips_feature_as_it_is(local):
    torch.manual_seed(0)
    network = VideoEncoder(video_encoder(local=local).config).eval()
    video = clips()
    with torch.no_grad():
        found = network(video)
        frames = [[clip_image_tower(network.visual, frame) for frame in clip.transpose(0, 1)] for clip in video]
        mean = torch.stack([torch.stack(classes).mean(dim=0) for classes in frames])
        clip_feature = network.visual_ln_post(mean) @ network.visual_proj
    torch.testing.assert_close(found.fused, mean / 2, atol=1e-5, rtol=1e-5)
    assert not found.fused.sub(mean).abs().max() < 0.1
    torch.testing.assert_close(found.embedded, clip_feature, atol=1e-3, rtol=1e-3)  # the norm's epsilon
    assert nn.functional.cosine_similarity(found.embedded, clip_feature).min() > 0.99999


def test_a_kernel_inflated_in_the_centre_answers_to_the_middle_frame():
    kernel = torch.randn(5, 3, 8, 8)
    grown = inflate_patch_kernel(kernel, 3)
    assert grown.shape == (5, 3, 3, 8, 8)
    assert torch.equal(grown[:, :, 1], kernel)
    assert not grown[:, :, [0, 2]].any()
    assert torch.equal(inflate_patch_kernel(kernel, 1)[:, :, 0], kernel)


def test_a_kernel_inflated_by_its_mean_answers_to_three_equal_frames_as_to_one():
    kernel = torch.randn(5, 3, 8, 8)
    grown = inflate_patch_kernel(kernel, 3, "mean")
    torch.testing.assert_close(grown.sum(dim=2), kernel)
    assert torch.equal(grown[:, :, 0], grown[:, :, 2])


@pytest.mark.parametrize(
    ("shape", "frames", "how"),
    [((5, 3, 1, 8, 8), 1, "centre"), ((5, 3, 8, 8), 2, "centre"), ((5, 3, 8, 8), 3, "first")],
)
def test_what_cannot_be_inflated_is_refused(shape, frames, how):
    with pytest.raises(ValueError, match="1 or 3 frames and 'centre' or 'mean' are taken"):
        inflate_patch_kernel(torch.zeros(shape), frames, how)


def test_temporal_downsampling_with_a_centred_kernel_sees_every_other_frame():
    halving, plain = encoder(temporal_downsample=True), encoder()
    state = plain.state_dict()
    state["conv1.weight"] = inflate_patch_kernel(state["conv1.weight"][:, :, 0], 3)
    halving.load_state_dict(state)
    video = clips(6)
    torch.testing.assert_close(halving(video).tokens, plain(video[:, :, ::2]).tokens)


def packable(changes):
    """Return mixed clips that a network takes: with temporal downsampling, no image."""
    return [clip for clip in mixed_clips() if clip.shape[1] % 2 == 0 or not changes.get("temporal_downsample")]


@pytest.mark.parametrize("changes", KINDS)
def test_packed_clips_have_the_values_and_gradients_of_each_alone(changes):
    network, videos = video_encoder(**changes), packable(changes)
    packed = network.forward_packed(videos)
    sum(read(found) for found in packed).backward()
    ours = gradients(network)
    alone = [network(video[None]) for video in videos]
    sum(read(found) for found in alone).backward()
    for one, other in zip(packed, alone, strict=True):
        for field in ("tokens", "fused", "pooled", "embedded"):
            torch.testing.assert_close(getattr(one, field), getattr(other, field), atol=1e-5, rtol=1e-5)
    assert_same_gradients(ours, gradients(network))


def read(found):
    return found.embedded.square().sum() + found.tokens.square().mean()


@pytest.mark.parametrize("changes", KINDS)
def test_packed_scores_are_those_of_each_clip_alone(changes):
    network, videos = classifier(**changes), packable(changes)
    packed = network.forward_packed(videos)
    packed.square().sum().backward()
    ours = gradients(network)
    alone = torch.cat([network(video[None]) for video in videos])
    alone.square().sum().backward()
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)
    assert_same_gradients(ours, gradients(network))


def test_packed_tokens_can_be_collected():
    network, videos = encoder(), mixed_clips()
    for video, found in zip(videos, network.forward_packed(videos, collect=frozenset({1})), strict=True):
        one = network(video[None], collect=frozenset({1}))
        torch.testing.assert_close(found.collected[1], one.collected[1], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.query, one.query, atol=1e-5, rtol=1e-5)
        assert set(found.collected) == {1}


def test_a_pack_of_one_shape_is_a_batch_in_training_too():
    packed, plain = classifier(local="double").train(), classifier(local="double").train()
    video = clips(batch=3)
    torch.testing.assert_close(packed.forward_packed(list(video)), plain(video), atol=1e-5, rtol=1e-5)
    for ours, wanted in zip(packed.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, wanted)


def test_packed_clips_train_with_recomputed_activations():
    results = []
    for saving in (False, True):
        network = classifier(local="double", checkpoint_blocks=saving, drop_path=0.5).train()
        torch.manual_seed(0)
        network.forward_packed(mixed_clips()).square().sum().backward()
        results.append(gradients(network))
    assert_same_gradients(results[1], results[0])


def test_an_image_cannot_be_packed_where_time_is_halved():
    with pytest.raises(ValueError, match="the video has 1 frames"):
        encoder(temporal_downsample=True).forward_packed(mixed_clips())


def test_samples_do_not_depend_on_each_other():
    network, video = encoder(local="double"), clips()
    torch.testing.assert_close(network(video[1:]).fused[0], network(video).fused[1], atol=1e-6, rtol=1e-5)


def test_the_order_of_frames_matters():
    network, video = encoder(), clips()
    assert not torch.allclose(network(video).fused, network(video.flip(2)).fused, atol=1e-3)


def test_outputs_have_names_and_shapes():
    found = encoder()(clips(), collect=frozenset({0, 2}))
    assert found.tokens.shape == (2, 4, 7, 24)
    assert found.fused.shape == found.query.shape == (2, 24)
    assert {i: tuple(x.shape) for i, x in found.collected.items()} == {0: (2, 4, 7, 24), 2: (2, 4, 7, 24)}
    assert torch.equal(found.collected[2], found.tokens)
    video = video_encoder()(clips())
    assert video.embedded.shape == (2, 10)
    assert video.pooled.shape == (2, 24)


def test_a_frozen_network_reads_the_query_alone():
    found = encoder(frozen=True)(clips())
    assert torch.equal(found.fused, found.query)
    assert "transformer.balance" not in encoder(frozen=True).state_dict()
    assert not torch.allclose(encoder()(clips()).fused, encoder()(clips()).query)


def test_an_embedding_without_tokens_is_the_same():
    network = video_encoder(global_blocks=(0,))
    torch.testing.assert_close(network.embed(clips()), network(clips()).embedded, atol=1e-5, rtol=1e-5)


def test_every_parameter_gets_a_gradient():
    network = classifier(local="double", global_blocks=(0, 2))
    network.train()(clips()).square().sum().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]


def test_dropout_and_stochastic_depth_act_in_training_only():
    network = classifier(global_dropout=0.5, head_dropout=0.5, drop_path=0.5, global_drop_path=0.5)
    torch.manual_seed(0)
    assert torch.equal(network(clips()), network(clips()))
    network.train()
    assert not torch.equal(network(clips()), network(clips()))


def test_bfloat16_autocast_stays_near_float32_and_trains():
    network = classifier(local="double").train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = network(clips())
        packed = network.forward_packed(mixed_clips())
    (scores.float().sum() + packed.float().sum()).backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in network.parameters())
    network.eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        rough = network(clips())
    torch.testing.assert_close(rough.float(), network(clips()).detach(), atol=0.15, rtol=0.05)


@pytest.mark.gpu
@pytest.mark.parametrize("changes", [{"width": 48}, {"width": 48, "local": "double"}])
def test_on_a_gpu_packed_clips_have_the_values_of_each_alone(changes):
    network = classifier(**changes).cuda()
    videos = [clip.cuda() for clip in mixed_clips()]
    packed = network.forward_packed(videos)
    alone = torch.cat([network(video[None]) for video in videos])
    torch.testing.assert_close(packed, alone, atol=1e-3, rtol=1e-3)
    packed.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)
