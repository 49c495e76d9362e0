"""The supervised stages as modules: one video classifier, or frozen ones with cross-model attention, and their loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from model.answering import VideoQuestionAnswering
from model.clip_config import AnsweringConfig, UniFormerClassifierConfig
from model.config import ClassifierConfig, require_rate
from model.coordination import CoordinatedClassifier
from model.coordination_config import CoordinationConfig
from model.losses import MaskedLoss, RowLosses, blank_invalid, require_valid
from model.objectives import ObjectiveOutput
from model.uniformer import UniFormerClassifier
from model.videomae import VideoMAEClassifier

# Axes: B batch, T frames, H rows and W columns of pixels, C classes.

VideoClassifier = VideoMAEClassifier | UniFormerClassifier | CoordinatedClassifier | VideoQuestionAnswering


@dataclass(frozen=True)
class ClassificationOutput(ObjectiveOutput):
    """What a supervised stage makes of a batch.

    Attributes:
        scores: The class scores, without gradient; those of samples that are not valid say nothing.
    """

    scores: Float[Tensor, "B C"]


@dataclass(frozen=True)
class Mix:
    """What each clip of a batch was mixed with (mixup, arXiv 1710.09412; CutMix, arXiv 1905.04899).

    Attributes:
        label: The class of the other clip; whatever stands where ``weight`` is 1 must be a class too.
        weight: What the clip's own class weighs in its target, from 0 to 1; the rest is the other's.
    """

    label: Int64[Tensor, "B"]
    weight: Float[Tensor, "B"]


def classification_loss(
    scores: Float[Tensor, "B C"],
    label: Int64[Tensor, "B"],
    valid: Bool[Tensor, "B"] | None = None,
    *,
    label_smoothing: float = 0.0,
    mix: Mix | None = None,
) -> MaskedLoss:
    """Sum the cross-entropies of the valid samples, in float32.

    Args:
        scores: Class scores before softmax.
        label: The true classes; whatever stands at samples that are not valid is not looked at.
        valid: False for samples that count for nothing; None counts all.
        label_smoothing: Share of the target that is spread over all classes.
        mix: The second class of each sample, where clips were mixed; None for clips as they are.

    Raises:
        ValueError: The label is not one class per sample, or ``valid`` not one boolean. The label's values are looked
            at on a CPU only, since elsewhere that would wait for the device, which refuses them itself.
    """
    require_valid(valid, len(label))
    counts = torch.ones_like(label, dtype=torch.bool) if valid is None else valid.to(label.device)
    errors = _errors(scores, label, counts, label_smoothing)
    if mix is not None:
        errors = torch.lerp(_errors(scores, mix.label, counts, label_smoothing), errors, mix.weight)
    kept = torch.where(counts, errors, 0.0)
    return MaskedLoss(kept.sum(), counts.sum(), RowLosses(kept.detach(), counts.long()))


def _errors(
    scores: Float[Tensor, "B C"], label: Int64[Tensor, "B"], counts: Bool[Tensor, "B"], label_smoothing: float
) -> Float[Tensor, "B"]:
    """Return the cross-entropy of each sample; of those that do not count, with a class that there is."""
    classes = scores.shape[-1]
    if label.shape != scores.shape[:1] or label.dtype != torch.int64:
        raise ValueError(
            f"the label has shape {tuple(label.shape)} and type {label.dtype}: ({scores.shape[0]},) and int64 are taken"
        )
    label = torch.where(counts, label, 0)
    if label.device.type == "cpu" and not 0 <= int(label.min()) <= int(label.max()) < classes:
        raise ValueError(
            f"the label has classes from {int(label.min())} to {int(label.max())}: 0 to {classes - 1} are taken;"
            " give the model as many classes, or another column of classes"
        )
    return cross_entropy(scores.float(), label, reduction="none", label_smoothing=label_smoothing)


class _Classification(nn.Module):
    """What the supervised stages share: a network that scores classes, counts, and the loss."""

    parts_add_up: Final = True
    """The loss of a batch is the sum over its parts; batch norms, where configured, see each part alone."""

    def __init__(self, model: VideoClassifier, label_smoothing: float) -> None:
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing
        require_rate(self, "label_smoothing")

    def count(self, label: Int64[Tensor, "B"], valid: Bool[Tensor, "B"] | None = None) -> dict[str, Int64[Tensor, ""]]:
        """Return the counts that ``forward`` will return, without running the network.

        Raises:
            ValueError: ``valid`` is not one boolean per label.
        """
        require_valid(valid, len(label))
        counted = torch.ones_like(label, dtype=torch.bool) if valid is None else valid
        return {"classification": counted.sum()}

    def _compare(
        self,
        scores: Float[Tensor, "B C"],
        label: Int64[Tensor, "B"],
        valid: Bool[Tensor, "B"] | None,
        mix: Mix | None,
    ) -> ClassificationOutput:
        label = label.to(scores.device)
        loss = classification_loss(scores, label, valid, label_smoothing=self.label_smoothing, mix=mix)
        return ClassificationOutput(
            losses={"classification": loss.total},
            counts={"classification": loss.count},
            rows={} if loss.rows is None else {"classification": loss.rows},
            scores=scores.detach(),
        )


class SupervisedClassification(_Classification):
    """Stage ``sft``: supervised post-pretraining of one video encoder (InternVideo, arXiv 2212.03191).

    Its only loss is ``classification``, the cross-entropy of the valid samples.
    """

    def __init__(self, config: ClassifierConfig | UniFormerClassifierConfig, *, label_smoothing: float = 0.0) -> None:
        """Build the network, a VideoMAE or a UniFormerV2 classifier.

        Args:
            config: The network's sizes.
            label_smoothing: Share of the target that is spread over all classes; the public scripts take 0.1 for
                VideoMAE and none for UniFormerV2.
        """
        network = VideoMAEClassifier(config) if isinstance(config, ClassifierConfig) else UniFormerClassifier(config)
        super().__init__(network, label_smoothing)
        if isinstance(network, UniFormerClassifier):
            network.freeze_unread()

    def forward(
        self,
        video: Float[Tensor, "B 3 T H W"],
        label: Int64[Tensor, "B"],
        valid: Bool[Tensor, "B"] | None = None,
        mix: Mix | None = None,
    ) -> ClassificationOutput:
        """Score normalised clips and compare.

        Args:
            video: Clips that the network takes.
            label: The true class of each.
            valid: False for samples that count for nothing and may hold anything, NaN too; None counts all.
            mix: What the clips were mixed with, on their device; None for clips as they are.

        Raises:
            ValueError: Clips, labels or ``valid`` that do not fit.
        """
        return self._compare(self.model(blank_invalid(video, valid)), label, valid, mix)


class AnswerClassification(_Classification):
    """Stage ``sft`` for questions about clips: which of a list of answers is true (InternVideo, arXiv 2212.03191).

    Its only loss is ``classification``, the cross-entropy of the valid samples.
    """

    def __init__(self, config: AnsweringConfig, *, label_smoothing: float = 0.0) -> None:
        """Build the towers and the classifier.

        Args:
            config: The network's sizes.
            label_smoothing: Share of the target that is spread over all answers; the public code takes none.
        """
        super().__init__(VideoQuestionAnswering(config, config.answers, dropout=config.answer_dropout), label_smoothing)

    def forward(
        self,
        video: Float[Tensor, "B 3 T H W"],
        label: Int64[Tensor, "B"],
        valid: Bool[Tensor, "B"] | None = None,
        *,
        tokens: Int64[Tensor, "B L"],
    ) -> ClassificationOutput:
        """Score the answers to questions about normalised clips and compare.

        Args:
            video: Clips that the network takes.
            label: The true answer of each.
            valid: False for samples that count for nothing and may hold anything, NaN too; None counts all.
            tokens: Token ids of each clip's question; best on the CPU, where their ends are looked for.

        Raises:
            ValueError: Clips, questions, labels or ``valid`` that do not fit.
        """
        return self._compare(self.model(blank_invalid(video, valid), tokens), label, valid, None)


class CrossModelClassification(_Classification):
    """Stage ``cma``: cross-model attention over frozen encoders (InternVideo, arXiv 2212.03191).

    Its only loss is ``classification``, the cross-entropy of the combined scores of the valid samples.
    """

    def __init__(self, config: CoordinationConfig, *, label_smoothing: float = 0.0) -> None:
        """Build the encoders and the modules between them.

        Args:
            config: The networks' sizes; see ``CoordinatedClassifier`` for what of them learns.
            label_smoothing: Share of the target that is spread over all classes.
        """
        super().__init__(CoordinatedClassifier(config), label_smoothing)

    def forward(
        self,
        video: Float[Tensor, "B 3 T H W"] | Sequence[Float[Tensor, "B 3 t h w"]],
        label: Int64[Tensor, "B"],
        valid: Bool[Tensor, "B"] | None = None,
        mix: Mix | None = None,
    ) -> ClassificationOutput:
        """Score clips and compare.

        Args:
            video: Clips, or a view of them for each encoder, as ``CoordinatedClassifier`` takes them.
            label: The true class of each.
            valid: False for samples that count for nothing and may hold anything, NaN too; None counts all.
            mix: What the clips were mixed with, on their device; None for clips as they are.

        Raises:
            ValueError: Clips, views, labels or ``valid`` that do not fit.
        """
        shown: Tensor | Sequence[Tensor]
        if isinstance(video, Tensor):
            shown = blank_invalid(video, valid)
        else:
            shown = [blank_invalid(view, valid) for view in video]
        return self._compare(self.model(shown).scores, label, valid, mix)
