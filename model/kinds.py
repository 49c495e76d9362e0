"""The kinds of networks that a weights file can hold, and their configurations as plain values."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

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
}
"""The networks by name; the names are those of the public code's parts."""


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


def config_to_plain(config: object) -> dict[str, Any]:
    """Return a configuration as JSON holds it: mappings, lists, numbers, text."""
    assert dataclasses.is_dataclass(config)
    assert not isinstance(config, type)
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def config_from_plain(config: type[Any], plain: Mapping[str, Any], *, where: str = "") -> Any:  # noqa: ANN401 - an instance of the dataclass given
    """Read a configuration from plain values; fields that are absent keep their defaults.

    Args:
        config: The dataclass.
        plain: Values by field name, as ``config_to_plain`` returns them. One number may stand for a pair.
        where: What stands before the fields' names in messages.

    Raises:
        ValueError: A field that there is not, a value of a wrong type, or values that contradict each other.
    """
    types_of = get_type_hints(config)
    for name in plain:
        if name not in types_of:
            raise ValueError(f"there is no {where}{name}; fields are {', '.join(types_of)}")
    return config(**{name: _typed(types_of[name], value, where + name) for name, value in plain.items()})


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value):
        return config_to_plain(value)
    return list(value) if isinstance(value, tuple) else value


def _typed(wanted: Any, value: Any, name: str) -> Any:  # noqa: ANN401 - types and values of any field
    origin = get_origin(wanted)
    if origin in {Union, types.UnionType}:
        inner = next(each for each in get_args(wanted) if each is not type(None))
        return None if value is None else _typed(inner, value, name)
    if origin is tuple:
        return _items(get_args(wanted), value, name)
    if dataclasses.is_dataclass(wanted):
        if not isinstance(value, Mapping):
            raise ValueError(f"{name} is {value!r}: its fields are taken, by name")
        return config_from_plain(wanted, value, where=f"{name}.")  # type: ignore[arg-type]  # no instance, but a class
    return _scalar(str if origin is Literal else wanted, value, name)


def _items(wanted: tuple[Any, ...], value: object, name: str) -> tuple[int, ...]:
    """Read a tuple of whole numbers: of any length, or a pair, which one number may stand for."""
    pair = Ellipsis not in wanted
    items = [value] * (2 if pair else 1) if isinstance(value, int) else value
    if not isinstance(items, list | tuple) or (pair and len(items) != len(wanted)):
        raise ValueError(f"{name} is {value!r}: {len(wanted) if pair else 'a list of'} whole numbers are taken")
    return tuple(_scalar(int, item, name) for item in items)


def _scalar(wanted: type, value: Any, name: str) -> Any:  # noqa: ANN401 - as above
    taken = (int, float) if wanted is float else wanted
    if not isinstance(value, taken) or (isinstance(value, bool) and wanted is not bool):
        raise ValueError(f"{name} is {value!r}: a value of type {wanted.__name__} is taken")
    return wanted(value)
