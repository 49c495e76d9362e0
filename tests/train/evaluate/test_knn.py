"""Votes of neighbours against sorting by hand."""

from __future__ import annotations

import math

import pytest
import torch

from train.evaluate import knn
from train.evaluate.knn import knn_scores


def plain_scores(features, bank, label, *, classes, neighbours, temperature):
    """Sort the labelled clips by cosine, clip by clip."""
    rows = []
    for feature in features:
        cosines = [float(feature @ other / feature.norm() / other.norm()) for other in bank]
        nearest = sorted(range(len(bank)), key=lambda at, cosines=cosines: -cosines[at])[:neighbours]
        row = [0.0] * classes
        for at in nearest:
            row[int(label[at])] += math.exp(cosines[at] / temperature) / math.exp(cosines[nearest[0]] / temperature)
        rows.append(row)
    return torch.tensor(rows)


@pytest.mark.parametrize("neighbours", [1, 4, 100])
def test_votes_of_the_nearest(neighbours, monkeypatch):
    monkeypatch.setattr(knn, "_CHUNK", 3)
    torch.manual_seed(0)
    features, bank, label = torch.randn(8, 5), torch.randn(20, 5), torch.randint(0, 3, (20,))
    found = knn_scores(features, bank, label, classes=3, neighbours=neighbours, temperature=0.5)
    torch.testing.assert_close(
        found,
        plain_scores(features, bank, label, classes=3, neighbours=neighbours, temperature=0.5),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("temperature", [0.01, 1e-4])
def test_votes_of_a_low_temperature_are_finite(temperature):
    """exp(1 / 0.01) is beyond float32: votes that are all infinite would be won by the first class."""
    bank = torch.tensor([[1.0, 0.02], [1.0, 0.01], [1.0, 0.0]])
    scores = knn_scores(bank[2:], bank, torch.tensor([0, 1, 2]), classes=3, temperature=temperature)
    assert scores.isfinite().all()
    assert scores.argmax() == 2


def test_length_does_not_matter():
    torch.manual_seed(1)
    features, bank, label = torch.randn(4, 5), torch.randn(9, 5), torch.randint(0, 3, (9,))
    stretched = knn_scores(9 * features, bank * torch.rand(9, 1).add(0.1), label, classes=3)
    torch.testing.assert_close(stretched, knn_scores(features, bank, label, classes=3), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bank": torch.zeros(0, 5), "label": torch.zeros(0, dtype=torch.int64)}, "M >= 1"),
        ({"bank": torch.zeros(9, 4)}, r"\(9, 4\)"),
        ({"label": torch.zeros(3, dtype=torch.int64)}, r"labels \(3,\)"),
        ({"neighbours": 0}, "neighbours is 0"),
        ({"temperature": 0.0}, "temperature 0.0"),
        ({"features": torch.full((2, 5), torch.inf)}, "not finite"),
    ],
)
def test_what_cannot_vote_is_refused(changes, message):
    given = {"features": torch.ones(2, 5), "bank": torch.ones(9, 5), "label": torch.zeros(9, dtype=torch.int64)}
    with pytest.raises(ValueError, match=message):
        knn_scores(**(given | {"classes": 3} | changes))
