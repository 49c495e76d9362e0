"""Accuracy against counting by hand, and what is refused."""

from __future__ import annotations

import pytest
import torch

from train.evaluate.accuracy import classification_accuracy


def plain_accuracy(scores, label, top):
    """Count samples for which fewer than ``top`` classes come before the true one."""
    hits = []
    for row, true in zip(scores.tolist(), label.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda each: -row[each])
        hits.append(true in order[:top])
    return hits


@pytest.mark.parametrize("classes", [2, 5, 6, 17])
def test_it_counts_what_a_person_would_count(classes):
    torch.manual_seed(classes)
    scores, label = torch.randn(60, classes), torch.randint(0, classes, (60,))
    label[label == 1] = 0
    found = classification_accuracy(scores, label)
    first = plain_accuracy(scores, label, 1)
    assert found.top1 == pytest.approx(100 * sum(first) / 60, abs=1e-4)
    by_class = [
        sum(hit for hit, true in zip(first, label.tolist(), strict=True) if true == each) / int((label == each).sum())
        for each in sorted(set(label.tolist()))
    ]
    assert found.mean_class == pytest.approx(100 * sum(by_class) / len(by_class), abs=1e-4)
    assert found.samples == 60
    if classes > 5:
        assert found.top5 == pytest.approx(100 * sum(plain_accuracy(scores, label, 5)) / 60, abs=1e-4)
    else:
        assert found.top5 is None


def test_scores_that_tell_nothing_are_no_success():
    label = torch.arange(10)
    found = classification_accuracy(torch.zeros(10, 10), label)
    assert (found.top1, found.top5, found.mean_class) == (10.0, 50.0, 10.0)


def test_one_class_is_always_right():
    assert classification_accuracy(torch.randn(3, 1), torch.zeros(3, dtype=torch.int64)).top1 == 100.0


@pytest.mark.parametrize(
    ("scores", "label", "message"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), "not empty"),
        (torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64), r"labels \(3,\)"),
        (torch.full((2, 3), torch.nan), torch.zeros(2, dtype=torch.int64), "2 samples have scores that are NaN"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), "labels go from 0 to 3 and there are 3 scores"),
        (torch.zeros(2, 3), torch.tensor([-1, 0]), "labels go from -1 to 0"),
    ],
)
def test_what_cannot_be_measured_is_refused(scores, label, message):
    with pytest.raises(ValueError, match=message):
        classification_accuracy(scores, label)
