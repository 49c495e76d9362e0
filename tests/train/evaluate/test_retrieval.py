"""Ranks, recall and dual softmax against plain counting, with ties, distractors and several captions a video."""

from __future__ import annotations

import pytest
import torch

from train.evaluate.retrieval import RankMetrics, dual_softmax, retrieval_metrics, true_ranks


def random_similarity(texts: int, videos: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(texts, videos, generator=torch.Generator().manual_seed(seed))


def counted_ranks(similarity: torch.Tensor, match: list[int]) -> list[int]:
    """Return ranks by sorting, for similarities without ties."""
    return [
        1 + sorted(row, reverse=True).index(row[true]) for row, true in zip(similarity.tolist(), match, strict=True)
    ]


def test_ranks_are_places_in_the_sorted_row():
    similarity = random_similarity(12, 20)
    match = [3 * text % 20 for text in range(12)]
    assert true_ranks(similarity, torch.tensor(match)).tolist() == counted_ranks(similarity, match)


def test_a_perfect_and_a_reversed_model():
    best = retrieval_metrics(torch.eye(20))
    assert best.text_to_video == best.video_to_text
    assert (best.text_to_video.r1, best.text_to_video.median_rank, best.text_to_video.mean_rank) == (100.0, 1.0, 1.0)
    worst = retrieval_metrics(-torch.eye(20)).text_to_video
    assert (worst.r10, worst.median_rank, worst.queries) == (0.0, 20.0, 20)


def test_figures_of_known_ranks():
    ranks = torch.tensor([1.0, 1.0, 2.0, 6.0, 11.0, 40.0], dtype=torch.float64)
    metrics = RankMetrics.of(ranks)
    assert metrics.r1 == pytest.approx(100 * 2 / 6)
    assert metrics.r5 == pytest.approx(50)
    assert metrics.r10 == pytest.approx(100 * 4 / 6)
    assert (metrics.median_rank, metrics.mean_rank, metrics.queries) == (4.0, 61 / 6, 6)


def test_the_directions_differ():
    similarity = random_similarity(15, 15)
    metrics = retrieval_metrics(similarity)
    rows, columns = (counted_ranks(sim, list(range(15))) for sim in (similarity, similarity.T))
    assert metrics.text_to_video.mean_rank == pytest.approx(sum(rows) / 15)
    assert metrics.video_to_text.mean_rank == pytest.approx(sum(columns) / 15)
    assert rows != columns


def test_a_tie_is_half_way_and_keeps_the_denominator():
    similarity = torch.tensor([[0.5, 0.5, 0.1], [0.9, 0.2, 0.2], [0.3, 0.3, 0.3]])
    assert true_ranks(similarity, torch.arange(3)).tolist() == [1.5, 2.5, 2.0]
    metrics = retrieval_metrics(similarity).text_to_video
    assert (metrics.queries, metrics.r1, metrics.mean_rank) == (3, 0.0, 2.0)


def test_a_model_that_says_nothing_is_as_good_as_chance():
    metrics = retrieval_metrics(torch.zeros(31, 31))
    assert metrics.text_to_video == metrics.video_to_text
    assert (metrics.text_to_video.r1, metrics.text_to_video.mean_rank) == (0.0, 16.0)


def test_videos_without_a_text_distract():
    similarity = random_similarity(6, 9)
    metrics = retrieval_metrics(similarity)
    assert metrics.text_to_video.queries == metrics.video_to_text.queries == 6
    assert metrics.text_to_video.mean_rank == pytest.approx(sum(counted_ranks(similarity, list(range(6)))) / 6)
    assert metrics.video_to_text == retrieval_metrics(similarity[:, :6]).video_to_text


def test_texts_without_a_video_distract():
    similarity = random_similarity(9, 6)
    metrics = retrieval_metrics(similarity)
    assert metrics.video_to_text.queries == metrics.text_to_video.queries == 6
    assert metrics.video_to_text.mean_rank == pytest.approx(sum(counted_ranks(similarity.T, list(range(6)))) / 6)
    assert metrics.text_to_video == retrieval_metrics(similarity[:6]).text_to_video


def test_the_best_caption_of_a_video_counts():
    similarity = torch.tensor([[0.9, 0.3], [0.1, 0.2], [0.4, 0.8], [0.7, 0.1]])
    metrics = retrieval_metrics(similarity, torch.tensor([0, 0, 1, 1]))
    assert metrics.text_to_video.queries == 4
    assert metrics.text_to_video.r1 == 50.0
    assert metrics.text_to_video.mean_rank == 1.5
    assert (metrics.video_to_text.queries, metrics.video_to_text.r1) == (2, 100.0)


def test_groups_of_captions_equal_counting_by_hand():
    similarity = random_similarity(14, 5)
    owner = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4])
    by_hand = []
    for video in (0, 1, 2, 4):
        scores = {other: float(similarity[owner == other, video].max()) for other in (0, 1, 2, 4)}
        by_hand.append(1 + sum(score > scores[video] for score in scores.values()))
    metrics = retrieval_metrics(similarity, owner).video_to_text
    assert metrics.queries == 4
    assert metrics.mean_rank == pytest.approx(sum(by_hand) / 4)


def test_dual_softmax_weighs_by_the_other_queries():
    similarity = 3 * random_similarity(4, 6)
    expected = similarity * (similarity.exp() / similarity.exp().sum(dim=0))
    torch.testing.assert_close(dual_softmax(similarity), expected)
    assert not torch.allclose(dual_softmax(similarity.T), dual_softmax(similarity).T)


def test_dual_softmax_makes_a_popular_video_lose():
    similarity = torch.tensor([[5.0, 4.0], [9.0, 8.0]])
    plain, dual = (retrieval_metrics(similarity, torch.tensor([1, 0]), dual=dual) for dual in (False, True))
    assert plain.text_to_video.r1 == 50.0
    assert dual.text_to_video == RankMetrics.of(true_ranks(dual_softmax(similarity), torch.tensor([1, 0])))
    assert dual.video_to_text == RankMetrics.of(true_ranks(dual_softmax(similarity.T), torch.tensor([1, 0])))


@pytest.mark.parametrize("shape", [(4,), (0, 3), (2, 2, 2)])
def test_what_is_no_matrix_is_refused(shape):
    with pytest.raises(ValueError, match="a matrix of texts by videos is taken"):
        retrieval_metrics(torch.zeros(shape))


def test_a_nan_has_no_rank():
    with pytest.raises(ValueError, match="1 similarities are NaN"):
        retrieval_metrics(torch.tensor([[1.0, torch.nan], [0.0, 1.0]]))


@pytest.mark.parametrize("owner", [[0, 1], [0, 1, 2, 3], [0, -1, 2]])
def test_wrong_video_numbers_are_refused(owner):
    with pytest.raises(ValueError, match="3 video numbers from 0 to 2 are taken"):
        retrieval_metrics(torch.zeros(3, 3), torch.tensor(owner))


@pytest.mark.parametrize("owner", [torch.arange(3.0), torch.arange(3, dtype=torch.int32), torch.zeros(3) > 0])
def test_video_numbers_are_int64(owner):
    with pytest.raises(ValueError, match=rf"video_of_text is {owner.dtype} of shape \(3,\): int64 of shape"):
        retrieval_metrics(torch.zeros(3, 3), owner)
