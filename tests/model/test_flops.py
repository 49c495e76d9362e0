"""What the counted work names and derives, and networks that stand in no table: batches, training, coordination."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model.captioner import CaptionDecoder
from model.captioning_loss import caption_loss
from model.clip_config import CaptionerConfig, TextConfig, UniFormerConfig, VideoEncoderConfig, VideoTextConfig
from model.config import PRESETS, VideoMAEConfig
from model.coordination import CoordinatedClassifier
from model.coordination_config import COORDINATION_PRESETS
from model.flops import (
    captioner_work,
    coordinated_work,
    text_work,
    uniformer_work,
    video_text_work,
    videomae_pretrain_work,
)
from model.masking import TokenSplit
from model.text import TextTower
from model.uniformer import UniFormer, VideoEncoder
from model.videomae import VideoMAEPretrain

CLIP = {"image_size": (16, 24), "frames": 4, "patch_size": 8, "width": 24, "heads": 2}
PRETRAIN = VideoMAEConfig(**CLIP, depth=2, mlp_ratio=3.3, decoder_width=20, decoder_depth=3, decoder_heads=2)
ENCODER = VideoEncoderConfig(**CLIP, depth=3, global_blocks=(0, 2), global_heads=3, global_mlp_ratio=2.3, embed_width=8)
TEXT = TextConfig(vocabulary=40, context=9, width=24, depth=3, heads=2, embed_width=8)
CAPTIONER = CaptionerConfig(vocabulary=40, width=24, heads=4, visual_width=24, depth=2, queries=5, ff_ratio=3)
VIDEO_TEXT = VideoTextConfig(video=ENCODER, text=TEXT, captioner=CAPTIONER)


def measured_flops(call: Callable[[], object]) -> int:
    """Count with the attention whose products torch counts everywhere."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def still(network: nn.Module) -> nn.Module:
    return network.eval().requires_grad_(requires_grad=False)


def clips(batch: int, frames: int = 4) -> torch.Tensor:
    return torch.rand(batch, 3, frames, 16, 24)


@pytest.mark.parametrize("name", COORDINATION_PRESETS)
def test_published_coordinated_classifiers_do_what_is_counted(name):
    config = COORDINATION_PRESETS[name]
    with torch.device("meta"):
        network = still(CoordinatedClassifier(config))
        views = [torch.empty(1, 3, each.frames, *each.image_size) for each in (config.masked, *config.multimodal)]
    work = coordinated_work(config)
    assert measured_flops(lambda: network(views)) == 2 * work.total.done
    assert {name.split(".")[0] for name in work.skipped} == {f"multimodal_{i}" for i in range(len(config.multimodal))}


@pytest.mark.parametrize("collect", [frozenset(), frozenset({0}), frozenset({2}), frozenset({0, 3})])
@pytest.mark.parametrize("frozen", [False, True])
def test_wanted_tokens_are_computed(collect, frozen):
    config = UniFormerConfig(**CLIP, depth=4, global_blocks=(1,), local="double", frozen=frozen)
    network, video = still(UniFormer(config)), clips(1)
    work = uniformer_work(config, collect=collect)
    assert measured_flops(lambda: network.encode([video], collect=collect)) == 2 * work.total.done
    if 3 in collect:
        assert work.parts == uniformer_work(config, tokens_read=True).parts


@pytest.mark.parametrize("frames", [1, 2, 6])
def test_a_batch_of_images_or_clips_does_the_work_of_each(frames):
    network, work = still(VideoEncoder(ENCODER)), uniformer_work(replace(ENCODER, frames=frames))
    assert measured_flops(lambda: network(clips(3, frames))) == 3 * 2 * work.total.done


def test_texts_of_a_batch_do_the_work_up_to_their_ends():
    tower, ends = still(TextTower(TEXT)), [1, 3, 8, 9]
    ids = torch.ones(4, TEXT.context, dtype=torch.int64)
    for row, end in zip(ids, ends, strict=True):
        row[end - 1] = 39
    works = [text_work(TEXT, positions=end) for end in ends]
    assert measured_flops(lambda: tower.embed(ids)) == sum(2 * work.total.done for work in works)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_caption_decoder_maps_its_queries_once_for_all_clips(batch):
    decoder, work = still(CaptionDecoder(CAPTIONER)), captioner_work(CAPTIONER, visual_tokens=14, positions=8)
    tokens, text = torch.rand(batch, 14, 24), torch.rand(batch, 8, 24)
    again = (batch - 1) * CAPTIONER.queries * CAPTIONER.width**2
    assert measured_flops(lambda: decoder(tokens, text)) == 2 * (batch * work.total.done - again)


def test_a_decoder_without_blocks_has_no_work_but_its_head():
    config = replace(PRETRAIN, decoder_depth=0)
    work, split = (
        videomae_pretrain_work(config, visible=5),
        TokenSplit(torch.arange(5)[None], torch.arange(5, 12)[None]),
    )
    network = still(VideoMAEPretrain(config))
    assert measured_flops(lambda: network(clips(1), split)) == 2 * work.total.done


def test_captioning_scores_no_padding():
    decoder, tokens, text = still(CaptionDecoder(CAPTIONER)), torch.rand(1, 14, 24), torch.rand(1, 8, 24)
    targets = torch.tensor([[3, 4, 5, 0, 0, 0, 0, 0]])
    work = captioner_work(CAPTIONER, visual_tokens=14, positions=8, scored=3)

    def step():
        return caption_loss(decoder, decoder.decode(text, decoder.pool(tokens)), targets, padding_id=0)

    with torch.no_grad():
        assert measured_flops(step) == 2 * work.total.done
    assert work.skipped == {"predictor: padding is not scored": 5 * 24 * (24 + 40)}
    assert work.total.full == captioner_work(CAPTIONER, visual_tokens=14, positions=8).total.full
    with pytest.raises(ValueError, match="9 scored of 8 positions"):
        captioner_work(CAPTIONER, visual_tokens=14, positions=8, scored=9)


def test_a_training_step_does_three_forward_passes_but_for_the_gradient_of_pixels():
    work, network = videomae_pretrain_work(PRETRAIN, visible=5), VideoMAEPretrain(PRETRAIN)
    split = TokenSplit(torch.arange(5)[None], torch.arange(5, 12)[None])
    found = measured_flops(lambda: network(clips(1), split).prediction.sum().backward())
    assert work.training_flops == found + 2 * 5 * PRETRAIN.cube_values * PRETRAIN.width


def test_what_is_left_out_is_named():
    assert videomae_pretrain_work(PRESETS["vit_b"], visible=160).skipped == {
        "patch: masked cubes are not embedded": 1408 * 1536 * 768,
        # Queries, results and the MLP of 160 tokens: 2 + 8 maps of the width, and their scores and sums.
        "decoder: visible tokens, and masked ones that are not predicted, are not computed to the end": (
            160 * 10 * 384**2 + 2 * 160 * 1568 * 384
        ),
    }
    assert not videomae_pretrain_work(PRESETS["vit_b"], visible=1568).skipped


def test_what_towers_leave_out_is_named_with_their_name():
    folded = "global: keys and values of a single query are folded into its side"
    work = video_text_work(VIDEO_TEXT)
    assert work.skipped == {f"video.{folded}": uniformer_work(ENCODER).skipped[folded]}
    assert sum(work.skipped.values()) == work.total.skipped > 0
