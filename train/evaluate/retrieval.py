"""Text-to-video and video-to-text retrieval: ranks of the true match, recall, and dual-softmax re-weighting."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

# Axes: Q queries, C candidates, S texts, V videos.


@dataclass(frozen=True)
class RankMetrics:
    """How high the true match ranks, over all queries of one direction.

    Attributes:
        r1: Percentage of queries whose match has rank 1.
        r5: Percentage with rank 5 or better.
        r10: Percentage with rank 10 or better.
        median_rank: Median rank, from 1.
        mean_rank: Mean rank, from 1.
        queries: Number of queries, the denominator of all of these.
    """

    r1: float
    r5: float
    r10: float
    median_rank: float
    mean_rank: float
    queries: int

    @classmethod
    def of(cls, ranks: Float64[Tensor, "Q"]) -> RankMetrics:
        """Sum up the ranks of the queries."""
        r1, r5, r10 = (100.0 * float((ranks <= top).double().mean()) for top in (1, 5, 10))
        return cls(r1, r5, r10, float(ranks.quantile(0.5)), float(ranks.mean()), ranks.numel())


@dataclass(frozen=True)
class RetrievalMetrics:
    """Both directions of retrieval."""

    text_to_video: RankMetrics
    video_to_text: RankMetrics


def retrieval_metrics(
    similarity: Float[Tensor, "S V"], video_of_text: Int64[Tensor, "S"] | None = None, *, dual: bool = False
) -> RetrievalMetrics:
    """Measure retrieval in both directions.

    Text to video: each text ranks the videos. Video to text: each video that has a text ranks the videos' captions,
    where the captions of a video stand as one candidate with the best of their similarities (as in the public code of
    InternVideo, arXiv 2212.03191, and of CLIP4Clip). A video without a text is a candidate, but no query.

    Args:
        similarity: Texts by videos, on any scale; with ``dual``, multiplied by the model's exp(logit_scale).
        video_of_text: The true video of each text. None pairs text i with video i; what is left over on the longer
            side distracts only.
        dual: Whether each direction's similarity is re-weighted by ``dual_softmax`` first.

    Raises:
        ValueError: The similarity is no matrix or holds a NaN, or a video number does not fit.
    """
    if similarity.ndim != 2 or not similarity.numel():  # noqa: PLR2004 - texts by videos
        raise ValueError(f"the similarity has shape {tuple(similarity.shape)}: a matrix of texts by videos is taken")
    if similarity.isnan().any():
        raise ValueError(f"{int(similarity.isnan().sum())} similarities are NaN, which has no rank")
    by_text, by_video = (dual_softmax(similarity), dual_softmax(similarity.T)) if dual else (similarity, similarity.T)
    if video_of_text is None:
        pairs = torch.arange(min(similarity.shape), device=similarity.device)
        text_ranks, video_ranks = true_ranks(by_text[: len(pairs)], pairs), true_ranks(by_video[: len(pairs)], pairs)
    else:
        _check_matches(video_of_text, similarity)
        described = torch.bincount(video_of_text).nonzero().flatten()
        text_ranks = true_ranks(by_text, video_of_text)
        video_ranks = true_ranks(_best_caption(by_video, video_of_text)[described], described)
    return RetrievalMetrics(text_to_video=RankMetrics.of(text_ranks), video_to_text=RankMetrics.of(video_ranks))


def true_ranks(similarity: Float[Tensor, "Q C"], match: Int64[Tensor, "Q"]) -> Float64[Tensor, "Q"]:
    """Return the rank of each query's match among the candidates, from 1.

    A tie is half-way: the match ranks behind all better candidates and in the middle of its equals, so a rank may be
    x.5 and a similarity that tells nothing gives the mean rank of chance, not a perfect one. Each query has one rank.
    """
    own = similarity.gather(1, match[:, None])
    better = (similarity > own).sum(dim=1, dtype=torch.float64)
    equal = (similarity == own).sum(dim=1, dtype=torch.float64)
    return better + (equal + 1) / 2


def dual_softmax(similarity: Float[Tensor, "Q C"]) -> Float[Tensor, "Q C"]:
    """Re-weight similarities by how much each candidate prefers the query: sim * softmax of sim over the queries.

    It uses all queries of the test set at once, so figures with it are transductive. For the other direction the
    transposed similarity is re-weighted, which is not the transpose of the result (CAMoE, arXiv 2109.04290).

    Args:
        similarity: Queries by candidates, multiplied by the model's exp(logit_scale).
    """
    return similarity * similarity.softmax(dim=0)


def _best_caption(by_video: Float[Tensor, "V S"], video_of_text: Int64[Tensor, "S"]) -> Float[Tensor, "V V"]:
    """Return the best similarity of each video to the captions of each video; -inf where a video has none."""
    empty = torch.full_like(by_video[:, :1], -torch.inf).expand(-1, by_video.shape[0])
    return empty.scatter_reduce(1, video_of_text.expand(by_video.shape[0], -1), by_video, "amax")


def _check_matches(video_of_text: Tensor, similarity: Tensor) -> None:
    texts, videos = similarity.shape
    if video_of_text.shape != (texts,) or video_of_text.dtype != torch.int64:
        raise ValueError(
            f"video_of_text is {video_of_text.dtype} of shape {tuple(video_of_text.shape)}: int64 of shape ({texts},), "
            f"{texts} video numbers from 0 to {videos - 1} are taken"
        )
    if not 0 <= int(video_of_text.min()) <= int(video_of_text.max()) < videos:
        raise ValueError(
            f"video_of_text has values from {int(video_of_text.min())} to {int(video_of_text.max())}: "
            f"{texts} video numbers from 0 to {videos - 1} are taken"
        )
