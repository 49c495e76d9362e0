"""The published sizes: parameters of every network, part by part, and the work of the full network for one clip."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from model.captioner import CaptionDecoder
from model.clip_config import (
    UNIFORMER_PRESETS,
    VIDEO_TEXT_PRESETS,
    CaptionerConfig,
    UniFormerClassifierConfig,
    VideoTextConfig,
)
from model.config import PRESETS, ClassifierConfig, VideoMAEConfig
from model.flops import caption_work, classifier_work, pretraining_work, text_work, uniformer_work
from model.uniformer import UniFormerClassifier
from model.video_text import VideoTextModel
from model.videomae import VideoMAEClassifier, VideoMAEPretrain

# Measured on the public code of InternVideo (arXiv 2212.03191): parameters, and 10^9 multiply-accumulates of a forward
# pass for one clip or text, rounded to 0.1. None is a place that was not measured.

MASKED = 1408
"""Cubes of 1568 that tube masking at 0.9 hides: 176 of 196 in each of 8 slots."""


@dataclass(frozen=True)
class Pretrained:
    """A masked autoencoder."""

    name: str
    decoder_depth: int
    total: int
    encoder: int | None = None
    decoder: int | None = None
    change: int | None = None
    work: float | None = None
    parts: tuple[float, float, float] | None = None

    @property
    def config(self) -> VideoMAEConfig:
        return replace(PRESETS[self.name], decoder_depth=self.decoder_depth)


PRETRAINED = [
    #          network  blocks  total        encoder      decoder     change   GMAC   patch, encoder, decoder
    Pretrained("vit_s", 4, 24_029_376, 21_879_936, 2_075_520, 73_728, 11.5, (0.9, 3.6, 7.0)),
    Pretrained("vit_b", 4, 94_210_944, 86_227_200, 7_688_448, 294_912, 35.4, (1.8, 14.1, 19.5)),
    Pretrained("vit_l", 12, 342_996_992, 303_860_736, 38_611_456, 524_288, 142.6, (2.5, 49.6, 90.6)),
    Pretrained("vit_l", 4, 317_782_016, None, 13_396_480, None, 83.0),
    Pretrained("vit_h", 8, 658_266_880, 631_607_040, 26_003_968, 655_360, 166.7, (3.1, 102.8, 60.8)),
    Pretrained("vit_h", 4, 645_659_392, None, 13_396_480, None, 136.9),
    Pretrained("vit_s", 8, 25_808_064),
    Pretrained("vit_b", 8, 101_307_264),
    Pretrained("vit_l", 8, 330_389_504),
]

CLASSIFIERS = [
    # network, parameters with 400 and 710 classes, GMAC
    ("vit_s", 22_033_936, 22_153_286, 56.9),
    ("vit_b", 86_534_800, 86_773_190, 180.3),
    ("vit_l", 304_270_736, 304_588_486, 596.8),
    ("vit_h", 632_119_440, 632_516_550, 1191.0),
]


@dataclass(frozen=True)
class UniFormed:
    """A UniFormerV2 classifier: its parameters, those of global blocks and head, those of the local mixing."""

    name: str
    frames: int
    classes: int
    total: int
    over_time: int
    local: int
    work: float

    @property
    def config(self) -> UniFormerClassifierConfig:
        return replace(UNIFORMER_PRESETS[self.name], frames=self.frames, classes=self.classes)


UNIFORMED = [
    #         network       frames  classes  total   global, head  local      GMAC
    UniFormed("uniformer_b16", 8, 400, 114_552_208, 28_754_320, 0, 148.1),
    UniFormed("uniformer_l14", 8, 400, 354_099_600, 50_921_872, 0, 665.6),
    UniFormed("uniformer_l14", 8, 710, 354_417_350, 51_239_622, 0, 665.6),
    UniFormed("uniformer_l14_336", 8, 400, 354_427_280, 50_921_872, 0, 1567.0),
    UniFormed("uniformer_l14_336", 32, 400, 354_427_280, 50_921_872, 0, 6267.8),
    UniFormed("uniformer_b16_ssv2", 16, 174, 162_992_814, 57_024_174, 18_991_104, 187.2),
    UniFormed("uniformer_l14_ssv2", 16, 174, 573_949_966, 202_213_550, 67_354_464, 858.2),
]


@dataclass(frozen=True)
class Multimodal:
    """The contrastive model, whose text tower counts the factor on similarities, and caption decoders of 4 and 6."""

    name: str
    total: int
    video: int
    text: int
    video_work: float
    text_work: float
    captioners: dict[int, tuple[int, float]]

    @property
    def config(self) -> VideoTextConfig:
        return VIDEO_TEXT_PRESETS[self.name]

    def captioner(self, depth: int) -> CaptionerConfig:
        assert self.config.captioner is not None
        return replace(self.config.captioner, depth=depth)


B16 = Multimodal(
    "video_text_b16", 178_066_433, 114_637_824, 63_428_609, 148.1, 3.0, {4: (56_256_512, 5.1), 6: (71_200_768, 6.3)}
)
L14 = Multimodal(
    "video_text_l14", 478_127_105, 354_476_032, 123_651_073, 665.6, 6.6, {4: (106_953_472, 9.6), 6: (140_379_904, 12.3)}
)

pretrained = pytest.mark.parametrize("row", PRETRAINED, ids=lambda row: f"{row.name}-{row.decoder_depth}")
uniformed = pytest.mark.parametrize("row", UNIFORMED, ids=lambda row: f"{row.name}-{row.frames}f-{row.classes}")
multimodal = pytest.mark.parametrize("row", [B16, L14], ids=lambda row: row.name)


def held(*parts: nn.Module | Iterable[nn.Parameter]) -> int:
    """Count the parameters of modules and lists of parameters."""
    lists = (part.parameters() if isinstance(part, nn.Module) else part for part in parts)
    return sum(parameter.numel() for each in lists for parameter in each)


def on_meta(build, config) -> nn.Module:
    with torch.device("meta"):
        return build(config)


def agree(work: int, published: float | None, within: float = 0.01) -> bool:
    """Tell whether a count is the published one as far as that is rounded, and within a share of it."""
    giga = work / 1e9
    return published is None or (abs(giga - published) < 0.0501 and abs(giga - published) <= within * published)


@pretrained
def test_masked_autoencoders_have_the_published_parameters(row):
    built = on_meta(VideoMAEPretrain, row.config)
    found = [held(built), held(built.encoder), held(built.decoder), held(built.encoder_to_decoder)]
    for count, published in zip(found, [row.total, row.encoder, row.decoder, row.change], strict=True):
        assert published in {None, count}
    assert found[0] == sum(found[1:]) + row.config.decoder_width


@pretrained
def test_masked_autoencoders_do_the_published_work(row):
    work = pretraining_work(row.config, MASKED)
    assert agree(work.full, row.work)
    parts = zip(("patch", "encoder", "decoder"), row.parts or (None,) * 3, strict=True)
    # Parts are published to 0.1, which is up to 6 % of the smallest.
    assert all(agree(work.parts[part], published, within=0.06) for part, published in parts)


@pytest.mark.parametrize(("name", "few", "many", "work"), CLASSIFIERS)
def test_classifiers_have_the_published_size(name, few, many, work):
    like = PRESETS[name]
    for classes, total in ((400, few), (710, many)):
        config = ClassifierConfig(width=like.width, depth=like.depth, heads=like.heads, classes=classes)
        assert held(on_meta(VideoMAEClassifier, config)) == total
        assert agree(classifier_work(config).full, work)


@uniformed
def test_uniformers_have_the_published_parameters(row):
    built = on_meta(UniFormerClassifier, row.config)
    transformer = built.transformer
    tokens = [transformer.temporal_cls_token, transformer.balance]
    local = [part for block in transformer.resblocks for part in (block.lmhra1, block.lmhra2) if part is not None]
    assert held(built) == row.total
    assert held(tokens, transformer.dpe, transformer.dec, transformer.proj) == row.over_time
    assert held(*local) == row.local


@uniformed
def test_uniformers_do_the_published_work(row):
    assert agree(uniformer_work(row.config).full, row.work)


@multimodal
def test_multimodal_towers_have_the_published_parameters(row):
    built = on_meta(VideoTextModel, replace(row.config, captioner=None))
    assert held(built) == row.total
    assert held(built.video) == row.video
    assert held(built.text, [built.logit_scale]) == row.text
    for depth, (parameters, _) in row.captioners.items():
        assert held(on_meta(CaptionDecoder, row.captioner(depth))) == parameters


@multimodal
def test_multimodal_towers_do_the_published_work(row):
    config = row.config
    assert agree(uniformer_work(config.video).full, row.video_work)
    assert agree(text_work(config.text).full, row.text_work)
    tokens = config.video.grid.tokens + config.video.grid.slots
    for depth, (_, work) in row.captioners.items():
        # The last position of a text has no next token and is not read.
        assert agree(caption_work(row.captioner(depth), tokens, config.text.context - 1).full, work)
