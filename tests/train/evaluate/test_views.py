"""Views made one against a loop over samples, with views that come twice."""

from __future__ import annotations

import pytest
import torch

from train.evaluate.views import average_views


def plain_average(scores, sample, view):
    """Go through the rows one by one, passing over views that were seen."""
    sums, seen = {}, set()
    for row, (owner, number) in enumerate(zip(sample.tolist(), view.tolist(), strict=True)):
        if (owner, number) in seen:
            continue
        seen.add((owner, number))
        sums.setdefault(owner, []).append(scores[row].softmax(dim=0))
    return {owner: torch.stack(parts).mean(dim=0) for owner, parts in sums.items()}


def test_the_mean_of_softmax_over_different_views():
    torch.manual_seed(0)
    sample = torch.tensor([7, 7, 3, 3, 3, 7, 9])
    view = torch.tensor([0, 1, 2, 0, 2, 1, 0])
    scores = 3 * torch.randn(7, 4)
    found = average_views(scores, sample, view)
    plain = plain_average(scores, sample, view)
    assert sample[found.first].tolist() == [7, 3, 9]
    assert found.views.tolist() == [2, 2, 1]
    for owner, row in zip([7, 3, 9], found.probabilities, strict=True):
        torch.testing.assert_close(row, plain[owner])


def test_without_numbers_each_row_is_a_view():
    scores = torch.randn(3, 4)
    found = average_views(scores, torch.tensor([1, 1, 0]))
    torch.testing.assert_close(found.probabilities[0], scores[:2].softmax(dim=1).mean(dim=0))
    assert found.views.tolist() == [2, 1]


def test_it_is_no_mean_of_scores():
    """A sure view outweighs unsure ones: the mean of scores would say class 1."""
    scores = torch.tensor([[20.0, 0.0], [-10.0, 10.0], [-1.0, 11.0]])
    probabilities = average_views(scores, torch.zeros(3, dtype=torch.int64)).probabilities
    torch.testing.assert_close(probabilities[0, 0], torch.tensor(1 / 3), atol=1e-4, rtol=0)


def test_no_rows_give_no_samples():
    assert average_views(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)).probabilities.shape == (0, 3)


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="3 rows of scores"):
        average_views(torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="one of each per row"):
        average_views(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64), torch.zeros(4, dtype=torch.int64))
