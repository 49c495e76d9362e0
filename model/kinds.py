"""The kinds of networks that a weights file can hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import nn

from model.answering import VideoQuestionAnswering
from model.captioner import CaptionDecoder
from model.clip_config import (
    AnsweringConfig,
    CaptionerConfig,
    TextConfig,
    UniFormerClassifierConfig,
    VideoEncoderConfig,
    VideoTextConfig,
)
from model.config import ClassifierConfig, VideoMAEConfig
from model.coordination import CoordinatedClassifier
from model.coordination_config import CoordinationConfig
from model.text import TextTower
from model.uniformer import UniFormerClassifier, VideoEncoder
from model.video_text import VideoTextModel
from model.videomae import VideoMAEClassifier, VideoMAEPretrain


@dataclass(frozen=True)
class Kind:
    """One kind of network: the dataclass of its sizes and switches, and the module that is built of them.

    Attributes:
        config: The dataclass.
        network: The module.
        build: How the module is made of a configuration; None where it takes one and nothing else.
        describe: How a module tells its configuration; None where its ``config`` is all of it.
    """

    config: type[Any]
    network: type[nn.Module]
    build: Callable[[Any], nn.Module] | None = None
    describe: Callable[[Any], object] | None = None


def _build_answering(config: AnsweringConfig) -> VideoQuestionAnswering:
    return VideoQuestionAnswering(config, config.answers, dropout=config.answer_dropout)


def _describe_answering(network: VideoQuestionAnswering) -> AnsweringConfig:
    towers = {field.name: getattr(network.config, field.name) for field in dataclasses.fields(VideoTextConfig)}
    drop, last = network.vqa_classifier[0], network.vqa_classifier[-1]
    return AnsweringConfig(**towers, answers=last.out_features, answer_dropout=drop.p)  # type: ignore[arg-type]  # a Sequential does not tell its modules' types


KINDS: Final[Mapping[str, Kind]] = {
    "videomae_pretrain": Kind(VideoMAEConfig, VideoMAEPretrain),
    "videomae_classifier": Kind(ClassifierConfig, VideoMAEClassifier),
    "uniformerv2": Kind(UniFormerClassifierConfig, UniFormerClassifier),
    "clip_text": Kind(TextConfig, TextTower),
    "mm_video_encoder": Kind(VideoEncoderConfig, VideoEncoder),
    "caption_decoder": Kind(CaptionerConfig, CaptionDecoder),
    "mm_full": Kind(VideoTextConfig, VideoTextModel),
    "mm_vqa": Kind(AnsweringConfig, VideoQuestionAnswering, _build_answering, _describe_answering),
    "coordination": Kind(CoordinationConfig, CoordinatedClassifier),
}
"""The networks by name; the names are those of the public code's parts, and ``coordination``, which it has not."""


def find_kind(name: str) -> Kind:
    """Return the kind of a name.

    Raises:
        ValueError: There is none.
    """
    if name not in KINDS:
        raise ValueError(f"cannot build a {name!r}: supported are {', '.join(KINDS)}")
    return KINDS[name]


def build_network(kind: str, config: object) -> nn.Module:
    """Build a network with fresh weights.

    Raises:
        ValueError: There is no such kind.
    """
    found = find_kind(kind)
    return found.network(config) if found.build is None else found.build(config)


def config_of(kind: str, network: nn.Module) -> object:
    """Return the configuration that ``build_network`` makes a network like this one of.

    Raises:
        ValueError: There is no such kind.
    """
    describe = find_kind(kind).describe
    return network.config if describe is None else describe(network)
