"""What a trained classifier is measured by: its accuracy over several views of each clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

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
    truth = class_numbers(data.rows(label).values[label], classes or model.classes, column=label)
    found = data.run(
        lambda batch: {"scores": model.classify(batch.video)},
        views=wanted,
        merge=lambda scores, sample, view: average_views(scores, sample, view).probabilities,
    )
    accuracy = classification_accuracy(found.rows("scores"), truth.numbers[found.index])
    return Figures(asdict(accuracy) | {"views": wanted.count}, len(found.index), found.unusable)
