"""Multiple choice: counting, ties, candidates that are missing."""

from __future__ import annotations

import pytest
import torch

from train.evaluate.choices import choice_accuracy

NONE = float("-inf")


def test_it_counts_the_right_ones():
    torch.manual_seed(0)
    scores, right = torch.randn(50, 5), torch.randint(0, 5, (50,))
    hits = [
        max(range(5), key=row.__getitem__) == true for row, true in zip(scores.tolist(), right.tolist(), strict=True)
    ]
    found = choice_accuracy(scores, right)
    assert found.accuracy == pytest.approx(100 * sum(hits) / 50)
    assert (found.chance, found.clips) == (pytest.approx(20.0), 50)


def test_scores_that_tell_nothing_give_chance():
    scores = torch.tensor([[1.0, 1.0, 1.0, NONE], [1.0, 1.0, 1.0, 1.0]])
    found = choice_accuracy(scores, torch.tensor([0, 3]))
    assert found.accuracy == pytest.approx(100 * (1 / 3 + 1 / 4) / 2)
    assert found.chance == found.accuracy


def test_a_tie_counts_in_part_only_where_the_right_one_is_in_it():
    scores = torch.tensor([[2.0, 2.0, 1.0], [2.0, 2.0, 1.0]])
    assert choice_accuracy(scores, torch.tensor([1, 2])).accuracy == pytest.approx(25.0)


@pytest.mark.parametrize(
    ("scores", "right", "message"),
    [
        (torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), "not empty"),
        (torch.zeros(2, 2), torch.zeros(3, dtype=torch.int64), r"\(3,\)"),
        (torch.tensor([[0.0, torch.nan]]), torch.tensor([0]), "NaN"),
        (torch.tensor([[0.0, NONE]]), torch.tensor([1]), "clip 0 is number 1: there are 1"),
        (torch.zeros(2, 2), torch.tensor([0, -1]), "clip 1 is number -1"),
    ],
)
def test_what_cannot_be_measured_is_refused(scores, right, message):
    with pytest.raises(ValueError, match=message):
        choice_accuracy(scores, right)
