"""What frozen features tell of classes: nearest neighbours, a linear and an attentive probe."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from jaxtyping import Float, Int64
from torch import Tensor

from pipelines.batch import VideoTextBatch
from train.clip_features import clip_features
from train.evaluate.accuracy import classification_accuracy
from train.evaluate.attentive_probe import AttentiveSettings, fit_attentive_probe
from train.evaluate.columns import CLIP
from train.evaluate.judging import JudgedDataset
from train.evaluate.knn import NEIGHBOURS, TEMPERATURE, knn_scores
from train.evaluate.labels import class_numbers
from train.evaluate.linear_probe import STRENGTHS, fit_linear_probe
from train.evaluate.passes import Work
from train.evaluate.report import Figures
from train.evaluate.tokens import clip_tokens

# Axes: N clips to classify, M labelled clips, C classes.

_GIB: Final = 1 << 30
_log = logging.getLogger(__name__)


def knn(
    data: JudgedDataset,
    train: JudgedDataset,
    *,
    label: str,
    neighbours: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> Figures:
    """Classify clips by the nearest clips of a labelled dataset.

    Args:
        data: The dataset to classify.
        train: The labelled dataset.
        label: Column of the class in both.
        neighbours: How many of the nearest vote.
        temperature: What cosines are divided by.

    Raises:
        ValueError: The model has no features, or a label is no class.
    """
    both = _frozen(data, train, label, _features(data))
    scores = knn_scores(
        both.given, both.known, both.known_label, classes=both.classes, neighbours=neighbours, temperature=temperature
    )
    return both.figures(scores)


def linear_probe(
    data: JudgedDataset, train: JudgedDataset, *, label: str, strengths: Sequence[float] = STRENGTHS
) -> Figures:
    """Classify clips by logistic regression on the frozen features of a labelled dataset.

    Args:
        data: The dataset to classify.
        train: The labelled dataset.
        label: Column of the class in both.
        strengths: Weights of the penalty to choose among.

    Raises:
        ValueError: The model has no features, or a label is no class.
    """
    both, place = _frozen(data, train, label, _features(data)), data.judge.ranks.device
    probe = fit_linear_probe(
        both.known.to(place), both.known_label.to(place), classes=both.classes, strengths=strengths
    )
    scores = probe.scores(both.given.to(place)).float().cpu()
    return both.figures(scores, penalty=probe.strength)


def attentive_probe(
    data: JudgedDataset,
    train: JudgedDataset,
    *,
    label: str,
    settings: AttentiveSettings | None = None,
    memory: int = 16 * _GIB,
) -> Figures:
    """Classify clips by a learnt query that looks at the frozen tokens of a labelled dataset.

    Every rank holds all tokens, as half floats, and trains the same probe.

    Args:
        data: The dataset to classify.
        train: The labelled dataset.
        label: Column of the class in both.
        settings: How the probe is trained.
        memory: Bytes of host memory that the tokens may take in each process.

    Raises:
        ValueError: The model has no tokens, they would not fit into memory, or a label is no class.
    """
    network, clips = data.judge.model.network, len(data.order) + len(train.order)

    def tokens(batch: VideoTextBatch) -> dict[str, Tensor]:
        found = clip_tokens(network, batch.video)
        need = clips * found[0].numel() * 2
        if need > memory:
            raise ValueError(
                f"{clips} clips with {found.shape[1]} tokens of {found.shape[2]} channels take {need / _GIB:.1f} GiB "
                f"in each process, and {memory / _GIB:.1f} may be taken: give --memory more, or fewer clips"
            )
        return {"found": found.half()}

    both, place = _frozen(data, train, label, tokens), data.judge.ranks.device
    probe = fit_attentive_probe(both.known, both.known_label, classes=both.classes, settings=settings, device=place)
    return both.figures(probe.scores(both.given).cpu())


@dataclass(frozen=True)
class _Frozen:
    """What a frozen network makes of a dataset to classify and of a labelled one."""

    given: Float[Tensor, "N ..."]
    label: Int64[Tensor, "N"]
    known: Float[Tensor, "M ..."]
    known_label: Int64[Tensor, "M"]
    classes: int
    unusable: list[str]
    shared: int
    """Clips to classify that are, byte for byte, among the labelled ones."""

    def figures(self, scores: Float[Tensor, "N C"], **more: float) -> Figures:
        """Return the accuracy of scores."""
        accuracy = classification_accuracy(scores, self.label)
        about = {"classes": self.classes, "training_clips": len(self.known), "also_in_training": self.shared, **more}
        return Figures(asdict(accuracy) | about, len(self.label), self.unusable)


def _features(data: JudgedDataset) -> Work:
    network = data.judge.model.network
    return lambda batch: {"found": clip_features(network, batch.video).float()}


def _frozen(data: JudgedDataset, train: JudgedDataset, label: str, work: Work) -> _Frozen:
    """Run the network over both; classes are numbered by the labelled dataset."""
    told, asked = train.rows(label, CLIP), data.rows(label, CLIP)
    truth = class_numbers(told.values[label], None, column=label)
    wanted = class_numbers(asked.values[label], truth.classes, column=label)
    known, given = train.run(work), data.run(work)
    learnt = {told.values[CLIP][place] for place in known.index.tolist()}
    shared = sum(asked.values[CLIP][place] in learnt for place in given.index.tolist())
    if shared and data.judge.ranks.first:
        _log.warning(
            "%d of %d clips to classify are among those that are learnt from: such figures tell more of memory than of "
            "the features; --holdout takes other clips of one dataset",
            shared,
            len(given.index),
        )
    return _Frozen(
        given=given.rows("found"),
        label=wanted.numbers[given.index],
        known=known.rows("found"),
        known_label=truth.numbers[known.index],
        classes=max(truth.count, wanted.count),
        unusable=[*known.unusable, *given.unusable],
        shared=shared,
    )
