"""Parameters and work of every published network: ours against the tables of the public code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model.captioner import CaptionDecoder
from model.clip_config import (
    CaptionerConfig,
    TextConfig,
    UniFormerClassifierConfig,
    VideoEncoderConfig,
    VideoTextConfig,
    uniformer_preset,
    video_text_preset,
)
from model.config import ClassifierConfig, VideoMAEConfig, ViTConfig, preset
from model.flops import (
    Part,
    Work,
    captioner_work,
    text_work,
    uniformer_work,
    video_text_work,
    videomae_classifier_work,
    videomae_pretrain_work,
)
from model.text import TextTower
from model.uniformer import UniFormerClassifier
from model.video_text import VideoTextModel
from model.videomae import VideoMAEClassifier, VideoMAEPretrain

# The tables say GMAC with one decimal; the networks are built on the meta device, which holds shapes and no numbers.
# There attention is a matrix product like any other, which the counter sees; on a CPU the math backend must be asked
# for, since the counter knows no formula for the fused kernel.

GIGA = 1e9
ROUNDING = 0.05
VISIBLE = 160
"""Of 1568 cubes under a tube mask of 0.9."""


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build().eval()


def parameters(module: nn.Module, *parts: str) -> int:
    return sum(p.numel() for name, p in module.named_parameters() if not parts or any(part in name for part in parts))


def measured_macs(run: Callable[[], object]) -> int:
    """Count the multiply-accumulates of a call; the counter's unit is FLOP, of which a MAC is two."""
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        run()
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


def assert_work(run: Callable[[], object], work: Work, table: float) -> None:
    """Check that the work is what the analysis says, and with what is left out what the table says."""
    done = measured_macs(run)
    assert done == work.total.done
    assert (done + work.total.skipped) / GIGA == pytest.approx(table, rel=0.01)
    assert done / GIGA <= table + ROUNDING


def clip(config: ViTConfig | UniFormerClassifierConfig | VideoEncoderConfig) -> torch.Tensor:
    return torch.empty(1, 3, config.frames, *config.image_size, device="meta")


def tube_mask(visible: int, tokens: int) -> torch.Tensor:
    return (torch.arange(tokens) >= visible)[None]


def classes_of(name: str, classes: int, **changes: object) -> ClassifierConfig:
    shared = {field.name: getattr(preset(name), field.name) for field in fields(ViTConfig)}
    return ClassifierConfig(**{**shared, "classes": classes, **changes})


def towers(name: str, captions: int | None) -> VideoTextConfig:
    config = video_text_preset(name)
    assert config.captioner is not None
    return replace(config, captioner=None if captions is None else replace(config.captioner, depth=captions))


def ids(config: TextConfig, length: int | None = None) -> torch.Tensor:
    return torch.zeros(1, length or config.context, dtype=torch.int64, device="meta")


@pytest.fixture
def unchecked_ids(monkeypatch):
    """Let ids be shapes: their range cannot be looked at on the meta device."""
    monkeypatch.setattr(TextTower, "_check_ids", lambda *_: None)


@pytest.mark.parametrize(
    ("name", "depth", "sizes", "gmac", "parts"),
    [
        ("vit_s", 4, (24_029_376, 21_879_936, 2_075_520, 73_728), 11.5, (0.9, 3.6, 7.0)),
        ("vit_b", 4, (94_210_944, 86_227_200, 7_688_448, 294_912), 35.4, (1.8, 14.1, 19.5)),
        ("vit_l", 12, (342_996_992, 303_860_736, 38_611_456, 524_288), 142.6, (2.5, 49.6, 90.6)),
        ("vit_l", 4, (317_782_016, 303_860_736, 13_396_480, 524_288), 83.0, None),
        ("vit_h", 8, (658_266_880, 631_607_040, 26_003_968, 655_360), 166.7, (3.1, 102.8, 60.8)),
        ("vit_h", 4, (645_659_392, 631_607_040, 13_396_480, 655_360), 136.9, None),
    ],
)
def test_masked_autoencoders(name, depth, sizes, gmac, parts):
    config = preset(name, decoder_depth=depth)
    network = on_meta(lambda: VideoMAEPretrain(config))
    towers = (network, network.encoder, network.decoder, network.encoder_to_decoder)
    assert tuple(parameters(tower) for tower in towers) == sizes
    work = videomae_pretrain_work(config, visible=VISIBLE)
    assert_work(lambda: network(clip(config), tube_mask(VISIBLE, 1568)), work, gmac)
    full = {name: part.full / GIGA for name, part in work.parts.items()}
    if parts is not None:
        # The table's decoder includes the head.
        ours = (full["patch"], full["encoder"], full["decoder"] + full["head"])
        assert ours == pytest.approx(parts, abs=ROUNDING + 0.01)


@pytest.mark.parametrize(("name", "total"), [("vit_s", 25_808_064), ("vit_b", 101_307_264), ("vit_l", 330_389_504)])
def test_masked_autoencoders_with_eight_decoder_blocks(name, total):
    assert parameters(on_meta(lambda: VideoMAEPretrain(preset(name, decoder_depth=8)))) == total


@pytest.mark.parametrize(
    ("name", "classes", "total", "gmac"),
    [
        ("vit_s", 400, 22_033_936, 56.9),
        ("vit_s", 710, 22_153_286, 56.9),
        ("vit_b", 400, 86_534_800, 180.3),
        ("vit_b", 710, 86_773_190, 180.3),
        ("vit_l", 400, 304_270_736, 596.8),
        ("vit_l", 710, 304_588_486, 596.8),
        ("vit_h", 400, 632_119_440, 1191.0),
        ("vit_h", 710, 632_516_550, 1191.0),
    ],
)
def test_videomae_classifiers(name, classes, total, gmac):
    config = classes_of(name, classes)
    network = on_meta(lambda: VideoMAEClassifier(config))
    assert parameters(network) == total
    assert_work(lambda: network(clip(config)), videomae_classifier_work(config), gmac)


@pytest.mark.parametrize(
    ("name", "changes", "sizes", "gmac"),
    [
        ("uniformer_b16", {}, (114_552_208, 28_754_320, 0), 148.1),
        ("uniformer_l14", {}, (354_099_600, 50_921_872, 0), 665.6),
        ("uniformer_l14", {"classes": 710}, (354_417_350, 51_239_622, 0), 665.6),
        ("uniformer_l14_336", {}, (354_427_280, 50_921_872, 0), 1567.0),
        ("uniformer_l14_336", {"frames": 32}, (354_427_280, 50_921_872, 0), 6267.8),
        ("uniformer_b16_ssv2", {}, (162_992_814, 57_024_174, 18_991_104), 187.2),
        ("uniformer_l14_ssv2", {}, (573_949_966, 202_213_550, 67_354_464), 858.2),
    ],
)
def test_uniformers(name, changes, sizes, gmac):
    config = uniformer_preset(name, **changes)
    network = on_meta(lambda: UniFormerClassifier(config))
    new = parameters(network, ".dpe.", ".dec.", ".proj.", "temporal_cls_token", "balance")
    assert (parameters(network), new, parameters(network, "lmhra")) == sizes
    assert_work(lambda: network(clip(config)), uniformer_work(config), gmac)


@pytest.mark.parametrize(
    ("name", "sizes", "gmac_video", "gmac_text"),
    [
        ("video_text_b16", (178_066_433, 114_637_824, 63_428_609), 148.1, 3.0),
        ("video_text_l14", (478_127_105, 354_476_032, 123_651_073), 665.6, 6.6),
    ],
)
@pytest.mark.usefixtures("unchecked_ids")
def test_video_text_towers(name, sizes, gmac_video, gmac_text):
    config = towers(name, None)
    network = on_meta(lambda: VideoTextModel(config))
    # The table counts logit_scale among the text's.
    assert (parameters(network), parameters(network.video), parameters(network.text) + 1) == sizes
    read = uniformer_work(config.video, tokens_read=True)
    assert_work(lambda: network.encode_video(clip(config.video)), read, gmac_video)
    assert_work(lambda: network.video.embed(clip(config.video)), uniformer_work(config.video), gmac_video)
    assert_work(lambda: network.encode_text(ids(config.text)), text_work(config.text), gmac_text)


@pytest.mark.parametrize(
    ("name", "depth", "total", "gmac"),
    [
        ("video_text_b16", 4, 56_256_512, 5.1),
        ("video_text_b16", 6, 71_200_768, 6.3),
        ("video_text_l14", 4, 106_953_472, 9.6),
        ("video_text_l14", 6, 140_379_904, 12.3),
    ],
)
def test_caption_decoders(name, depth, total, gmac):
    config = towers(name, depth)
    network = on_meta(lambda: CaptionDecoder(config.captioner))
    assert parameters(network) == total
    grid = config.video.grid
    tokens, positions = grid.slots * (1 + grid.rows * grid.columns), config.text.context - 1
    seen = torch.empty(1, tokens, config.captioner.visual_width, device="meta")
    text = torch.empty(1, positions, config.captioner.width, device="meta")
    work = captioner_work(config.captioner, visual_tokens=tokens, positions=positions)
    assert_work(lambda: network(seen, text), work, gmac)


def test_two_and_three_encoders_add_up_to_the_published_billions():
    """InternVideo-D is ViT-H beside UniFormerV2-L, and T has one more UniFormerV2-L (arXiv 2212.03191, table 2)."""
    large = parameters(on_meta(lambda: UniFormerClassifier(uniformer_preset("uniformer_l14"))))
    huge = parameters(on_meta(lambda: VideoMAEClassifier(classes_of("vit_h", 400))))
    assert (huge + large) / GIGA == pytest.approx(1.0, abs=0.05)
    assert (huge + 2 * large) / GIGA == pytest.approx(1.3, abs=0.05)


# The same equality of count and analysis where the tables have no row, at sizes that run on a CPU too.

SMALL = {"image_size": (16, 24), "frames": 4, "patch_size": 8, "width": 24, "depth": 3, "heads": 3, "mlp_ratio": 3.5}
SMALL_MAE = VideoMAEConfig(**SMALL, decoder_width=12, decoder_depth=2, decoder_heads=2)
SMALL_UNIFORMER = UniFormerClassifierConfig(
    image_size=(16, 24), frames=4, patch_size=8, width=24, depth=4, heads=3, global_blocks=(1, 2), classes=7
)
ANYWHERE = pytest.mark.parametrize("device", ["cpu", "meta"])


@ANYWHERE
@pytest.mark.parametrize(("visible", "spared"), [(3, 0), (3, 4), (12, 0), (1, 10)])
def test_work_of_any_mask(device, visible, spared):
    with torch.device(device):
        network, video = VideoMAEPretrain(SMALL_MAE).eval(), torch.zeros(1, 3, 4, 16, 24)
    mask = tube_mask(visible, 12)
    decoder = mask & (torch.arange(12) >= 12 - spared)[None] if spared else None
    predicted = 12 - visible - spared if spared else None
    work = videomae_pretrain_work(SMALL_MAE, visible=visible, predicted=predicted)
    assert measured_macs(lambda: network(video, mask, decoder)) == work.total.done
    assert work.total.full >= work.total.done


@ANYWHERE
@pytest.mark.parametrize("mean_pooling", [True, False])
def test_work_of_either_pooling(device, mean_pooling):
    config = ClassifierConfig(**SMALL, classes=5, mean_pooling=mean_pooling)
    with torch.device(device):
        network, video = VideoMAEClassifier(config).eval(), torch.zeros(1, 3, 4, 16, 24)
    work = videomae_classifier_work(config)
    assert measured_macs(lambda: network(video)) == work.total.done
    assert bool(work.total.skipped) is not mean_pooling


@ANYWHERE
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("local", ["none", "single", "double"])
@pytest.mark.parametrize("blocks", [(1, 2), (0, 3)])
@pytest.mark.parametrize("downsample", [False, True])
def test_work_of_every_uniformer(device, frozen, local, blocks, downsample):
    config = replace(SMALL_UNIFORMER, frozen=frozen, local=local, global_blocks=blocks, temporal_downsample=downsample)
    with torch.device(device):
        network, video = UniFormerClassifier(config).eval(), torch.zeros(1, 3, 4, 16, 24)
    assert measured_macs(lambda: network(video)) == uniformer_work(config).total.done


@pytest.mark.parametrize("captions", [True, False])
def test_work_of_the_video_text_model_is_that_of_its_towers(captions):
    config = VideoTextConfig(
        video=VideoEncoderConfig(
            image_size=(16, 24), frames=4, patch_size=8, width=24, depth=3, heads=3, global_blocks=(1,), embed_width=8
        ),
        text=TextConfig(vocabulary=30, context=7, width=16, depth=2, heads=2, embed_width=8),
        captioner=CaptionerConfig(vocabulary=30, width=16, heads=2, visual_width=24, depth=2, queries=5),
    )
    config = config if captions else replace(config, captioner=None)
    model, work = VideoTextModel(config).eval(), video_text_work(config)
    text = torch.tensor([[28, 3, 4, 5, 6, 7, 29]])

    def run():
        model.encode_text(text) if captions else model.text(text)
        if model.captioner is None:
            model.video.embed(torch.zeros(1, 3, 4, 16, 24))
            return
        seen, read = model.encode_video(torch.zeros(1, 3, 4, 16, 24)), model.encode_text(text)
        model.captioner(seen.tokens.flatten(1, 2), read.tokens[:, :-1])

    twice = text_work(config.text).total.done if captions else 0
    assert measured_macs(run) == work.total.done + twice
    assert {name.split(".")[0] for name in work.parts} == {"video", "text"} | ({"captioner"} if captions else set())


def test_work_of_a_short_text_alone():
    config = TextConfig(vocabulary=30, context=9, width=16, depth=3, heads=2, embed_width=8)
    tower, text = TextTower(config).eval(), torch.tensor([[28, 4, 5, 29, 0, 0, 0, 0, 0]])
    assert measured_macs(lambda: tower.embed(text)) == text_work(config, positions=4).total.done
    assert text_work(config, positions=4).total.full == text_work(config).total.done


def test_a_packed_step_does_the_work_of_its_clips():
    network = VideoMAEPretrain(SMALL_MAE).eval()
    videos = [torch.zeros(3, 4, 16, 24), torch.zeros(3, 2, 16, 16)]
    masks = [torch.arange(12) >= 3, torch.arange(4) >= 2]
    small = replace(SMALL_MAE, image_size=(16, 16), frames=2)
    parts = videomae_pretrain_work(SMALL_MAE, visible=3).total, videomae_pretrain_work(small, visible=2).total
    assert measured_macs(lambda: network.forward_packed(videos, masks)) == sum(part.done for part in parts)


def test_the_counter_sees_attention_only_where_it_is_a_matrix_product():
    """The reason for the math backend: the fused kernel of a CPU has no formula in the counter."""
    q = torch.zeros(1, 2, 8, 4)
    with FlopCounterMode(display=False) as fused:
        nn.functional.scaled_dot_product_attention(q, q, q)
    assert fused.get_total_flops() == 0
    assert measured_macs(lambda: nn.functional.scaled_dot_product_attention(q, q, q)) == 2 * 2 * 8 * 8 * 4


def test_parts_add_up():
    work = Work({"one": Part(5, 3), "two": Part.whole(10**9)})
    assert work.total == Part(10**9 + 5, 10**9 + 3)
    assert (work.total.skipped, work.gmac, work.full_gmac) == (2, 1.000000003, 1.000000005)
    assert Part(5, 3) * 2 == Part(10, 6)


@pytest.mark.parametrize(
    "call",
    [
        lambda: videomae_pretrain_work(SMALL_MAE, visible=0),
        lambda: videomae_pretrain_work(SMALL_MAE, visible=13),
        lambda: videomae_pretrain_work(SMALL_MAE, visible=3, predicted=10),
        lambda: videomae_pretrain_work(SMALL_MAE, visible=3, predicted=0),
        lambda: text_work(TextConfig(), positions=78),
        lambda: text_work(TextConfig(), positions=0),
    ],
)
def test_counts_that_do_not_fit_are_refused(call):
    with pytest.raises(ValueError, match=r"fit|are taken"):
        call()
