"""What a trained classifier is measured by: its accuracy over several views of each clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from torch import Tensor

from pipelines.batch import VideoTextBatch
from pipelines.part_settings import ViewConfig
from train.evaluate.accuracy import classification_accuracy
from train.evaluate.judging import JudgedDataset
from train.evaluate.labels import class_numbers
from train.evaluate.report import Figures
from train.evaluate.views import average_views


def classification(
    data: JudgedDataset, *, label: str, classes: Sequence[str] | None = None, views: ViewConfig | None = None
) -> Figures:
    """Classify clips by a trained classifier, the softmax of several views averaged.

    Args:
        data: The dataset.
        label: Column of the class: its name, or its number.
        classes: Names of the model's classes in order; None takes those that the model knows itself.
        views: Clips along time and crops along the longer side; None looks at the middle.

    Raises:
        ValueError: The model scores no classes, or a label is none of them.
    """
    model, wanted = data.judge.model, views or ViewConfig()
    values, names = data.rows(label).values[label], classes or model.classes
    if names is None and any(isinstance(value, str) for value in values):
        raise ValueError(
            f"column {label!r} holds names and {model.place} knows none of its classes: give --classes a file with the "
            "name of each class on a line, in the model's order"
        )
    truth = class_numbers(values, names, column=label)

    def score(batch: VideoTextBatch) -> dict[str, Tensor]:
        scores = model.classify(batch.video)
        if names is not None and scores.shape[1] != len(names):
            raise ValueError(f"{model.place} scores {scores.shape[1]} classes and {len(names)} are named: name each")
        return {"scores": scores}

    found = data.run(
        score,
        views=wanted,
        merge=lambda scores, sample, view: average_views(scores, sample, view).probabilities,
    )
    accuracy = classification_accuracy(found.rows("scores"), truth.numbers[found.index])
    return Figures(asdict(accuracy) | {"views": wanted.count}, len(found.index), found.unusable)
