"""Packed clips: each has the values and gradients that it has alone, whatever lies beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from model import attention as attention_module
from model import layers, packing
from model.config import ClassifierConfig, Grid, VideoMAEConfig
from model.packing import Pack, clip_grids, cut_packed, packed_tables, split_packed
from model.patches import cut_cubes
from model.positions import resize_table, sinusoid_table
from model.videomae import VideoMAEClassifier, VideoMAEPretrain

# Frames, height and width of the clips of a pack: two sizes twice, not side by side, longer and non-square ones.
SIZES = ((4, 16, 24), (2, 16, 16), (4, 16, 24), (6, 8, 32), (2, 16, 16))
HIDDEN = (0.75, 0.25, 0.5, 0.9, 0.0)
CONFIG = VideoMAEConfig(
    image_size=(16, 24),
    frames=4,
    patch_size=8,
    width=24,
    depth=3,
    heads=3,
    decoder_width=16,
    decoder_depth=2,
    decoder_heads=2,
    layer_scale=0.5,
)


def network(**changes):
    torch.manual_seed(0)
    return randomized(VideoMAEPretrain(replace(CONFIG, **changes)))


def classifier(**changes):
    torch.manual_seed(0)
    shared = {name: getattr(CONFIG, name) for name in ("image_size", "frames", "patch_size", "width", "depth", "heads")}
    return randomized(VideoMAEClassifier(ClassifierConfig(**{**shared, "classes": 5, **changes})))


def randomized(model):
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


def clips(sizes=SIZES):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(3, *size, generator=generator) for size in sizes]


def masks(videos, ratios=HIDDEN, tubelet=2):
    generator = torch.Generator().manual_seed(2)
    counts = [grid.tokens for grid in clip_grids(videos, tubelet, 8)]
    return [
        torch.randperm(count, generator=generator) < int(ratio * count)
        for count, ratio in zip(counts, ratios, strict=True)
    ]


def alone(model, video, **changes):
    """Return a network with the same weights that is configured for one clip."""
    frames, height, width = video.shape[1:]
    twin = type(model)(replace(model.config, frames=frames, image_size=(height, width), **changes))
    twin.load_state_dict(model.state_dict())
    return twin.train(model.training)


def gradients(model):
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def assert_same_gradients(model, added):
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, added[name], atol=1e-6, rtol=1e-4, msg=name)


def add_up(total, model):
    for name, gradient in gradients(model).items():
        if gradient is not None:
            total[name] = total.get(name, 0) + gradient


def test_each_clip_is_predicted_as_alone_with_the_same_gradients():
    model, videos = network(resize_positions=False), clips()
    hidden = masks(videos)
    output = model.forward_packed(videos, hidden)
    total = {}
    for number, (video, mask) in enumerate(zip(videos, hidden, strict=True)):
        twin = alone(model, video)
        single = twin(video[None], mask[None])
        torch.testing.assert_close(output.predictions[number], single.prediction[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(output.encodings[number], single.encoded[0], atol=1e-5, rtol=1e-5)
        single.prediction.square().sum().backward()
        add_up(total, twin)
    sum(prediction.square().sum() for prediction in output.predictions).backward()
    assert_same_gradients(model, total)


def test_a_pack_of_equal_clips_is_the_batch():
    model, videos = network(), clips([(4, 16, 24)] * 3)
    hidden = masks(videos, (0.75,) * 3)
    batch = model(torch.stack(videos), torch.stack(hidden)).prediction
    batch.square().sum().backward()
    expected = {name: gradient.clone() for name, gradient in gradients(model).items()}
    model.zero_grad()
    packed = model.forward_packed(videos, hidden).predictions
    torch.testing.assert_close(torch.stack(packed), batch, atol=1e-5, rtol=1e-5)
    torch.stack(packed).square().sum().backward()
    assert_same_gradients(model, expected)


def test_the_order_of_the_clips_changes_nothing():
    model, videos = network(), clips()
    hidden = masks(videos)
    plain = model.forward_packed(videos, hidden).predictions
    turned = model.forward_packed(videos[::-1], hidden[::-1]).predictions[::-1]
    for one, other in zip(plain, turned, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_images_are_packed_with_videos_where_cubes_have_one_frame():
    model, videos = network(tubelet=1, resize_positions=False), clips([(1, 16, 16), (4, 16, 24), (1, 24, 8)])
    hidden = masks(videos, (0.5, 0.75, 0.4), tubelet=1)
    output = model.forward_packed(videos, hidden).predictions
    for number, (video, mask) in enumerate(zip(videos, hidden, strict=True)):
        single = alone(model, video)(video[None], mask[None]).prediction[0]
        torch.testing.assert_close(output[number], single, atol=1e-5, rtol=1e-5)


def test_an_image_among_cubes_of_two_frames_is_refused():
    videos = clips([(4, 16, 24), (1, 16, 16)])
    with pytest.raises(ValueError, match=r"clip 1 is an image.*span 2 frames.*tubelet 1"):
        network().forward_packed(videos, masks(videos[:1], (0.5,)) * 2)
    with pytest.raises(ValueError, match="clip 1 is an image"):
        classifier().features_packed(videos)


def test_the_decoder_predicts_the_chosen_cubes_of_each_clip():
    model, videos = network(resize_positions=False), clips()
    hidden = masks(videos, (0.75, 0.5, 0.5, 0.9, 0.25))
    spared = [mask & (torch.arange(len(mask)) % 3 == 1) for mask in hidden]
    output = model.forward_packed(videos, hidden, spared)
    for number, (video, mask, skip) in enumerate(zip(videos, hidden, spared, strict=True)):
        assert len(output.predictions[number]) == int((mask & ~skip).sum())
        single = alone(model, video)(video[None], mask[None], skip[None]).prediction[0]
        torch.testing.assert_close(output.predictions[number], single, atol=1e-5, rtol=1e-5)


def test_the_last_decoder_block_computes_returned_tokens_only():
    model, videos = network(), clips()
    hidden = masks(videos)
    widths = []
    for block in model.decoder.blocks:
        block.mlp.register_forward_hook(lambda _m, _i, output: widths.append(output.shape[1]))
    model.forward_packed(videos, hidden)
    everything = sum(len(mask) for mask in hidden)
    nothing_hidden = len(hidden[-1])
    assert widths == [everything, sum(int(mask.sum()) for mask in hidden) + nothing_hidden]


def test_masked_pixels_do_not_reach_the_prediction():
    model, videos = network(), clips([(4, 16, 24), (2, 16, 16)])
    hidden = masks(videos, (0.5, 0.5))
    before = model.forward_packed(videos, hidden).predictions
    slot, row, column = (int(part) for part in torch.nonzero(hidden[0].view(2, 2, 3))[0])
    videos[0][:, 2 * slot : 2 * slot + 2, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += 1
    for one, other in zip(before, model.forward_packed(videos, hidden).predictions, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("changes", [{}, {"mean_pooling": False}, {"base_grid": Grid(4, 4, 4)}])
def test_each_clip_is_classified_as_alone_with_the_same_gradients(changes):
    model, videos = classifier(**changes), clips()
    base = model.config.base_grid or model.config.grid
    features = model.features_packed(videos)
    total = {}
    for number, video in enumerate(videos):
        twin = alone(model, video, base_grid=base)
        torch.testing.assert_close(features[number], twin.features(video[None])[0], atol=1e-5, rtol=1e-5)
        twin(video[None]).square().sum().backward()
        add_up(total, twin)
    model.head(features).square().sum().backward()
    assert_same_gradients(model, total)


def test_a_pack_is_the_padded_batch(monkeypatch):
    """Padding with a mask over the keys, spelt out, has the values and gradients that the pack has."""
    model, videos = classifier(resize_positions=False), clips()
    packed = model.features_packed(videos)
    packed.square().sum().backward()
    expected = {name: gradient.clone() for name, gradient in gradients(model).items() if gradient is not None}
    model.zero_grad()
    embedded = [model.patch_embed.embed(cut_cubes(video[None], 2, 8))[0] for video in videos]
    tokens = [x + sinusoid_table(len(x), x.shape[1]) for x in embedded]
    real = nn.utils.rnn.pad_sequence([torch.ones(len(x), dtype=torch.bool) for x in tokens], batch_first=True)

    def attend(q, k, v, **_):
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return scaled_dot_product_attention(q, k, v, attn_mask=real[:, None, None]).transpose(1, 2)

    monkeypatch.setattr(layers, "attention", attend)
    x = layers.run_blocks(model.blocks, nn.utils.rnn.pad_sequence(tokens, batch_first=True))
    mean = (x * real[..., None]).sum(dim=1) / real.sum(dim=1, keepdim=True)
    padded = model.fc_norm(mean)
    torch.testing.assert_close(packed, padded, atol=1e-5, rtol=1e-5)
    padded.square().sum().backward()
    for name, gradient in expected.items():
        torch.testing.assert_close(gradient, model.get_parameter(name).grad, atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 5e-2)])
def test_xformers_and_sdpa_agree_on_packs_on_a_gpu(monkeypatch, dtype, tolerance):
    torch.manual_seed(0)
    model = VideoMAEPretrain(replace(CONFIG, width=128, heads=2, decoder_width=64, decoder_heads=1)).cuda()
    videos = [video.cuda() for video in clips()]
    hidden = masks(videos)
    results = []
    for engine in (attention_module._xformers_attention, lambda *_, **__: None):
        monkeypatch.setattr(attention_module, "_xformers_attention", engine)
        model.zero_grad()
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            prediction = model.forward_packed(videos, hidden).prediction.float()
        prediction.square().sum().backward()
        results.append((prediction.detach(), [parameter.grad.clone() for parameter in model.parameters()]))
    (fast, fast_gradients), (plain, plain_gradients) = results
    torch.testing.assert_close(fast, plain, atol=tolerance, rtol=tolerance)
    for ours, other in zip(fast_gradients, plain_gradients, strict=True):
        torch.testing.assert_close(ours, other, atol=tolerance * float(other.abs().max()) + 1e-6, rtol=tolerance)


@pytest.mark.gpu
def test_packs_on_a_gpu_equal_those_on_the_cpu():
    model, videos = network(), clips()
    hidden = masks(videos)
    expected = model.forward_packed(videos, hidden).prediction
    ours = model.cuda().forward_packed([video.cuda() for video in videos], hidden).prediction
    torch.testing.assert_close(ours.cpu(), expected, atol=1e-3, rtol=1e-3)


def test_positions_of_another_grid_are_resized_or_made_anew_as_configured():
    video = clips([(6, 8, 32)])
    base, own = CONFIG.grid, Grid(3, 1, 4)
    for resize, expected in ((True, resize_table(sinusoid_table(12, 24), base, own)), (False, sinusoid_table(12, 24))):
        tables = packed_tables([own], base, 24, torch.device("cpu"), resize=resize)
        torch.testing.assert_close(tables, expected)
    resized, anew = (
        network(resize_positions=flag).forward_packed(video, masks(video, (0.5,))) for flag in (True, False)
    )
    assert not torch.allclose(resized.predictions[0], anew.predictions[0])


def test_the_configured_grid_has_the_networks_own_table():
    model = classifier(base_grid=Grid(4, 4, 4))
    tables = packed_tables([model.config.grid], Grid(4, 4, 4), 24, torch.device("cpu"), resize=True)
    assert torch.equal(tables, model.positions)


def test_tables_made_during_inference_serve_training():
    packing._table.cache_clear()
    model, videos = network(), clips()
    with torch.inference_mode():
        model.forward_packed(videos, masks(videos))
    model.forward_packed(videos, masks(videos)).predictions[0].sum().backward()
    assert model.mask_token.grad.isfinite().all()


def test_recomputation_changes_no_gradient():
    videos = clips()
    plain, recomputing = network(), network(checkpoint_blocks=True)
    for model in (plain, recomputing):
        torch.cat(model.forward_packed(videos, masks(videos)).predictions).square().sum().backward()
    for name, gradient in gradients(recomputing).items():
        assert torch.equal(gradient, gradients(plain)[name]), name


def test_bf16_autocast_and_double_weights_run():
    model, videos = network(), clips()
    exact = torch.cat(model.forward_packed(videos, masks(videos)).predictions)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = torch.cat(model.forward_packed(videos, masks(videos)).predictions)
        assert classifier().features_packed(videos).isfinite().all()
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().max() < 0.05 * exact.abs().max()
    precise = torch.cat(model.double().forward_packed([v.double() for v in videos], masks(videos)).predictions)
    torch.testing.assert_close(precise.float(), exact, atol=1e-5, rtol=1e-5)


def test_stochastic_depth_drops_clips_not_packs():
    videos = clips([(2, 8, 8)] * 40)
    hidden = [torch.tensor([False])] * 40
    model = network(drop_path=0.9, depth=2, decoder_depth=1)
    torch.manual_seed(3)
    dropped = model.train().forward_packed(videos, hidden).encodings
    model.encoder.blocks[1] = nn.Module()
    model.encoder.blocks[1].forward = lambda x, *_: x
    untouched = model.forward_packed(videos, hidden).encodings
    same = sum(torch.allclose(one, other) for one, other in zip(dropped, untouched, strict=True))
    assert 20 < same < 40, "about 0.81 of the clips leave both branches of the last block out"


def test_lengths_pack_and_unpack():
    pack = Pack((2, 3))
    rows = torch.arange(10.0).view(5, 2)
    packed = pack.pack([rows[:2], rows[2:]])
    assert packed.shape == (1, 5, 2)
    assert [part.tolist() for part in pack.unpack(packed)] == [rows[:2].tolist(), rows[2:].tolist()]
    assert pack.mean(packed).tolist() == [[1.0, 2.0], [6.0, 7.0]]
    assert (pack.total, pack.firsts(), pack.clip_numbers().tolist()) == (5, [0, 2], [0, 0, 1, 1, 1])
    assert pack.bias_to(Pack((4, 4))).key_lengths == (4, 4)


def test_cubes_are_cut_out_of_the_right_clips():
    videos = clips()
    grids = clip_grids(videos, 2, 8)
    tokens = [torch.tensor([0, grid.tokens - 1]) for grid in grids]
    cut = cut_packed(videos, torch.cat(tokens), Pack((2,) * 5), 2, 8)[0]
    expected = torch.cat(
        [cut_cubes(video[None], 2, 8)[0, picked] for video, picked in zip(videos, tokens, strict=True)]
    )
    assert torch.equal(cut, expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Pack(()), "at least one clip"),
        (lambda: Pack((3, 0)), "at least one token"),
        (lambda: Pack((2, 2)).pack([torch.zeros(2, 1), torch.zeros(3, 1)]), r"\(2, 3\) tokens and the pack \(2, 2\)"),
        (lambda: Pack((2, 2)).unpack(torch.zeros(1, 5, 1)), r"\[1, 4, D\] is taken"),
        (lambda: Pack((2, 2)).mean(torch.zeros(2, 4, 1)), r"\[1, 4, D\] is taken"),
        (lambda: clip_grids([torch.zeros(2, 3, 4, 16, 16)], 2, 8), r"clip 0 has shape .*\[3, T, H, W\]"),
        (lambda: clip_grids([*clips(), torch.zeros(3, 3, 16, 16)], 2, 8), "clip 5: .*3 frames of 16x16"),
        (lambda: clip_grids([torch.zeros(3, 4, 16, 20)], 2, 8), "clip 0: .*multiples of 2 frames and 8 pixels"),
    ],
)
def test_packs_and_clips_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("given", "decoder", "message"),
    [
        ([torch.zeros(4, dtype=torch.bool)], None, "1 masks for 2 clips"),
        ([torch.zeros(4, dtype=torch.bool), torch.zeros(5, dtype=torch.bool)], None, r"clip 1 .*\[2\] is taken"),
        ([torch.zeros(4), torch.zeros(2)], None, "clip 0 is torch.float32"),
        ([torch.ones(4, dtype=torch.bool), torch.zeros(2, dtype=torch.bool)], None, "clip 0 hides all 4"),
        (
            [torch.zeros(4, dtype=torch.bool), torch.tensor([True, False])],
            [torch.zeros(4, dtype=torch.bool), torch.ones(2, dtype=torch.bool)],
            "decoder mask of clip 1",
        ),
    ],
)
def test_masks_that_do_not_fit_are_refused(given, decoder, message):
    with pytest.raises(ValueError, match=message):
        split_packed([Grid(1, 2, 2), Grid(1, 1, 2)], given, decoder)
