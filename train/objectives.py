"""The objective of every stage: built by the settings, and fed with what it takes of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from jaxtyping import Int64
from torch import Tensor, nn

from model.classification import AnswerClassification, CrossModelClassification, Mix, SupervisedClassification
from model.clip_config import AnsweringConfig, UniFormerClassifierConfig, VideoTextConfig
from model.config import ClassifierConfig, VideoMAEConfig
from model.coordination_config import CoordinationConfig
from model.objectives import MaskedVideoModelling, VideoLanguage, VideoLanguageConfig
from model.packed_modelling import PackedVideoModelling
from model.uniformer import UniFormerClassifier
from pipelines.packed_batch import AnyBatch
from pipelines.tokenizer import TextTokenizer
from train.config import RunConfig
from train.parallel import Ranks
from train.stages import CoordinationSettings, MaskedSettings, SupervisedSettings, VideoLanguageSettings


@dataclass(frozen=True, slots=True)
class _Fed:
    """Fields of a batch that a stage takes, those that its counts hang on, the one that may lack, and its setting."""

    inputs: tuple[str, ...]
    counted: tuple[str, ...]
    needs: str
    source: str


_LABELLED: Final = _Fed(("video", "label", "valid"), ("label", "valid"), "label", "data.label")
_FED: Final[Mapping[str, _Fed]] = {
    "mvm": _Fed(
        ("video", "mask", "valid", "decoder_mask"), ("mask", "valid", "decoder_mask"), "mask", "data.mask_ratio"
    ),
    "vlc": _Fed(("video", "tokens", "valid"), ("tokens", "valid"), "tokens", "data.tokenizer"),
    "sft": _LABELLED,
    "cma": _LABELLED,
}
_STAGES: Final[Mapping[type[nn.Module], str]] = {
    MaskedVideoModelling: "mvm",
    VideoLanguage: "vlc",
    SupervisedClassification: "sft",
    AnswerClassification: "sft",
    CrossModelClassification: "cma",
}


def build_objective(config: RunConfig, ranks: Ranks, tokenizer: TextTokenizer | None = None) -> nn.Module:
    """Build the stage's objective, which is a module: its networks and losses, with fresh weights, on the host.

    Args:
        config: The run's settings.
        ranks: The ranks that a loss over the global batch spans.
        tokenizer: What made the batches' tokens; stage ``vlc`` needs it.

    Raises:
        ValueError: the tokenizer is absent or does not fit the text tower, or nothing of the network can be frozen.
    """
    return _BUILDERS[config.stage](config, ranks, tokenizer)


def inputs_of(stage: str, batch: AnyBatch, mix: Mix | None = None) -> dict[str, Any]:
    """Return what a stage's objective takes of a batch, as keyword arguments of its ``forward``.

    Args:
        stage: The stage's name.
        batch: The samples.
        mix: What clips were mixed with, in a supervised stage.

    Raises:
        ValueError: the batch lacks a part that the stage needs.
    """
    asked = {"tokens": batch.tokens} if stage == "sft" and batch.tokens is not None else {}
    return _taken(stage, batch, _FED[stage].inputs) | asked | ({} if mix is None else {"mix": mix})


def counts_of(objective: nn.Module, batch: AnyBatch) -> dict[str, Int64[Tensor, ""]]:
    """Return the counts that the objective will return for a batch, without running its network.

    Raises:
        ValueError: the batch lacks a part that the stage needs.
    """
    # Weights that are cut over ranks make a class of their own out of the objective's.
    stage = next(name for kind, name in _STAGES.items() if isinstance(objective, kind))
    return objective.count(**_taken(stage, batch, _FED[stage].counted))  # type: ignore[operator, no-any-return] # torch types submodules only


def _taken(stage: str, batch: AnyBatch, names: tuple[str, ...]) -> dict[str, Any]:
    fed = _FED[stage]
    if getattr(batch, fed.needs) is None:
        raise ValueError(f"stage={stage} needs {fed.needs} in its batches and there is none; see {fed.source}")
    return {name: getattr(batch, name) for name in names}


def _masked(config: RunConfig, _ranks: Ranks, _tokenizer: TextTokenizer | None) -> nn.Module:
    model, settings = config.model, config.objective
    assert isinstance(model, VideoMAEConfig)
    assert isinstance(settings, MaskedSettings)
    kind = PackedVideoModelling if config.data.is_unequal else MaskedVideoModelling
    return kind(model, normalize_target=settings.normalize_target)


def _video_language(config: RunConfig, ranks: Ranks, tokenizer: TextTokenizer | None) -> nn.Module:
    model, settings = config.model, config.objective
    assert isinstance(model, VideoTextConfig)
    assert isinstance(settings, VideoLanguageSettings)
    if tokenizer is None:
        raise ValueError("stage=vlc needs a tokenizer, and none is given; see data.tokenizer")
    _require_fit(model, tokenizer)
    stage = VideoLanguageConfig(
        replace(model, padding_id=tokenizer.padding_id),
        contrastive_weight=settings.contrastive_weight,
        captioning_weight=settings.captioning_weight,
        freeze_text=settings.freeze_text,
        chunk=settings.chunk,
    )
    return VideoLanguage(stage, exchange=ranks.exchange())


def _require_fit(model: VideoTextConfig, tokenizer: TextTokenizer) -> None:
    text = model.text
    if tokenizer.vocabulary > text.vocabulary:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocabulary} ids and model.text.vocabulary={text.vocabulary}: give"
            f" model.text.vocabulary={tokenizer.vocabulary} or more (and model.captioner.vocabulary), or a smaller"
            " tokenizer",
        )
    if tokenizer.context > text.context:
        raise ValueError(
            f"the tokenizer makes rows of {tokenizer.context} tokens and model.text.context={text.context}: give"
            f" model.text.context={tokenizer.context} or more",
        )


def _supervised(config: RunConfig, _ranks: Ranks, tokenizer: TextTokenizer | None) -> nn.Module:
    model, settings = config.model, config.objective
    assert isinstance(settings, SupervisedSettings)
    if isinstance(model, AnsweringConfig):
        return _answering(model, settings, tokenizer)
    assert isinstance(model, ClassifierConfig | UniFormerClassifierConfig)
    objective = SupervisedClassification(model, label_smoothing=settings.label_smoothing)
    if settings.freeze_backbone:
        network = objective.model
        if not isinstance(network, UniFormerClassifier):
            raise ValueError(
                f"objective.freeze_backbone=true leaves CLIP's blocks as they are, and model.kind={config.model_kind}"
                " has none; give model.kind=uniformerv2, or false",
            )
        network.freeze_backbone()
    return objective


def _answering(model: AnsweringConfig, settings: SupervisedSettings, tokenizer: TextTokenizer | None) -> nn.Module:
    """Build what answers questions.

    Raises:
        ValueError: the tokenizer is absent or does not fit, or settings that are of classifiers of clips alone.
    """
    if tokenizer is None:
        raise ValueError("model.kind=mm_vqa reads questions and needs a tokenizer, and none is given")
    _require_fit(model, tokenizer)
    none = {"mixup": "0", "cutmix": "0", "freeze_backbone": "false"}
    given = {name: value for name in none if (value := getattr(settings, name))}
    if given:
        told = ", ".join(f"objective.{name}={value}" for name, value in given.items())
        raise ValueError(
            f"{told} is for classifiers of clips, and model.kind=mm_vqa reads a question with each; give"
            f" {' '.join(f'objective.{name}={none[name]}' for name in given)}"
        )
    return AnswerClassification(
        replace(model, padding_id=tokenizer.padding_id), label_smoothing=settings.label_smoothing
    )


def _coordination(config: RunConfig, _ranks: Ranks, _tokenizer: TextTokenizer | None) -> nn.Module:
    model, settings = config.model, config.objective
    assert isinstance(model, CoordinationConfig)
    assert isinstance(settings, CoordinationSettings)
    return CrossModelClassification(model, label_smoothing=settings.label_smoothing)


_BUILDERS: Final[Mapping[str, Callable[[RunConfig, Ranks, TextTokenizer | None], nn.Module]]] = {
    "mvm": _masked,
    "vlc": _video_language,
    "sft": _supervised,
    "cma": _coordination,
}
