"""Parity checks of frame choice, crops and evaluation figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from pipelines import augment, clips
from tests.support.parity_harness import Case, compare_if_present, reference_raises, refusal_allowed
from train.evaluate import retrieval


def sampling_videomae_pretrain(case: Case) -> None:
    for wanted in case.entries("num_frames"):
        video = (wanted["num_frames"], wanted["clip_len"], wanted["stride"])
        raises = reference_raises(wanted)
        with refusal_allowed(when=raises or video[0] < 1):
            draws = [clips.dense_frames(*video, augment.sample_rng(0, 0, sample)) for sample in range(50)]
            starts = clips.dense_starts(*video)
            assert all(0 <= ids[0] < starts and ids[-1] < video[0] for ids in draws)
            if not raises:
                assert starts == wanted["n_possible_starts"]
                assert clips.dense_frames(*video, wanted["offset_one_based"] - 1).tolist() == wanted["frame_ids"]


def sampling_videomae_eval(case: Case) -> None:
    for wanted in case.entries("kind"):
        raises = reference_raises(wanted)
        with refusal_allowed(when=raises or wanted["num_frames"] < 1):
            views, fetched = _eval_views(wanted)
            for view in views:
                _inside(view, wanted["num_frames"], len(view))
            if raises:
                continue
            if wanted["kind"] != "validation":
                assert views == wanted["views"]
            if "fetched_frames" in wanted or wanted["kind"] == "validation":
                assert fetched == wanted["fetched_frames"]


def _eval_views(wanted: dict[str, Any]) -> tuple[list[list[int]], list[int]]:
    """Return our views of a video, and the frames that the reference decodes to make them of."""
    frames, clip_len, stride = wanted["num_frames"], wanted.get("clip_len", 1), wanted.get("stride", 1)
    if wanted["kind"] == "test_dense":
        every = list(range(0, frames, stride))
        every += every[-1:] * (clip_len - len(every))
        return clips.dense_views(frames, clip_len, stride, wanted["test_num_segment"]).tolist(), every
    if wanted["kind"] == "test_sparse":
        views = clips.sparse_views(frames, wanted["num_segment"], wanted["test_num_segment"])
        return views.tolist(), views.T.flatten().tolist()
    if wanted["kind"] == "validation":
        ids = clips.centred_frames(frames, clip_len, stride).tolist()
        return [ids], ids
    pytest.fail(f"no frame choice is known as {wanted['kind']!r}")


def sampling_uniformerv2(case: Case) -> None:
    for wanted in case.entries("video_len"):
        length, clip_len = wanted["video_len"], wanted["num_frames"]
        clip, views = wanted["clip_idx"], wanted["num_clips"]
        reference = _reference_frames(wanted)
        with refusal_allowed(when=reference is None or length < 1):
            if clip >= 0:
                found = clips.segment_views(length, clip_len, views).tolist()
                if reference is not None:
                    assert found[clip] == reference
                for ours in found:
                    _inside(ours, length, clip_len)
                continue

            def draw(rng: np.random.Generator, video: tuple[int, int] = (length, clip_len)) -> np.ndarray:
                return clips.segment_frames(*video, rng)

            draws = _fifty(draw)
            ends = [round((length - 1) / clip_len * border) for border in range(clip_len + 1)]
            _require_random(draws, list(pairwise(ends)), reference)


def sampling_mm(case: Case) -> None:
    for wanted in case.entries("video_len"):
        length, clip_len, mode = wanted["video_len"], wanted["num_frames"], wanted["mode"]
        reference = _reference_frames(wanted)
        assert mode in {"rand", "uniform"} or reference is None, f"no frame choice is known as {mode!r}"
        with refusal_allowed(when=reference is None or length < 1):
            if mode != "rand":
                ours = _inside(clips.bin_frames(length, clip_len, None).tolist(), length, clip_len)
                assert reference is None or ours == reference
                continue

            def draw(rng: np.random.Generator, video: tuple[int, int] = (length, clip_len)) -> np.ndarray:
                return clips.bin_frames(*video, rng)

            draws = _fifty(draw)
            bounds = [int(bound) for bound in np.linspace(0, length, min(length, clip_len) + 1)]
            intervals = [(low, max(low, high - 2)) for low, high in pairwise(bounds)]
            _require_random(draws, intervals, reference)


def _reference_frames(wanted: dict[str, Any]) -> list[int] | None:
    """Return the reference's frames, or None where it raises."""
    frames = wanted.get("frame_ids")
    if reference_raises(wanted) or frames is None:
        return None
    assert isinstance(frames, list), f"{frames!r} are no frames"
    return frames


def _inside(frames: list[int], length: int, clip_len: int) -> list[int]:
    """Return a clip's frames after asserting that they are a clip's."""
    assert 1 <= len(frames) <= clip_len
    assert 0 <= frames[0] <= frames[-1] < length
    assert frames == sorted(frames)
    return frames


def _fifty(draw: Callable[[np.random.Generator], np.ndarray]) -> np.ndarray:
    return np.stack([draw(augment.sample_rng(0, 0, sample)) for sample in range(50)])


def _require_random(draws: np.ndarray, intervals: list[tuple[int, int]], reference: list[int] | None) -> None:
    """Assert that each frame, ours and the reference's, lies in its interval, and that ours reach both its ends."""
    lows, highs = (np.array(ends) for ends in zip(*intervals, strict=True))
    for ids in draws if reference is None else [*draws, np.array(reference)]:
        assert ((lows <= ids) & (ids <= highs)).all(), (ids, intervals)
    narrow = highs - lows < 4
    assert (draws.min(axis=0) == lows)[narrow].all()
    assert (draws.max(axis=0) == highs)[narrow].all()


def retrieval_metrics(case: Case) -> None:
    expected = {} if case.raises else case.about["expected"]
    unknown = expected.keys() - {"t2v", "v2t", "t2v_dsl", "v2t_dsl"}
    assert not unknown, f"nothing is known as {sorted(unknown)}"
    with refusal_allowed(when=any(reference_raises(entry) for entry in expected.values())):
        compare_retrieval(case, expected)


def compare_retrieval(case: Case, expected: dict[str, Any]) -> None:
    sim = case.tensors["input/sim"]
    plain, dual = retrieval.retrieval_metrics(sim), retrieval.retrieval_metrics(sim, dual=True)
    for name, texts_first in (("t2v", sim), ("v2t", sim.T)):
        weighted = retrieval.dual_softmax(texts_first)
        compare_if_present(case, f"output/sim_dsl_{name}", weighted)
        for key, matrix, metrics in ((name, texts_first, plain), (f"{name}_dsl", weighted, dual)):
            ours = metrics.text_to_video if name == "t2v" else metrics.video_to_text
            reference = expected.get(key) or {}
            _require_retrieval(ours, matrix, {} if reference_raises(reference) else reference)


def _require_retrieval(ours: retrieval.RankMetrics, sim: Tensor, reference: dict[str, float]) -> None:
    """Assert the reference's figures where no tie makes them ill-defined, else that ours are what ties allow."""
    pairs = min(sim.shape)
    own = sim.diagonal()[:, None]
    better, equal = (sim[:pairs] > own).sum(1), (sim[:pairs] == own).sum(1)
    figures = {"R1": ours.r1, "R5": ours.r5, "R10": ours.r10, "MR": ours.median_rank, "MeanR": ours.mean_rank}
    assert ours.queries == pairs
    assert reference.keys() <= figures.keys(), f"nothing is known as {sorted(reference.keys() - figures.keys())}"
    if int(equal.max()) == 1:
        for name, value in reference.items():
            assert figures[name] == pytest.approx(value, abs=1e-5), name
        return
    best, worst = (1 + better).double(), (better + equal).double()
    assert float(best.mean()) <= ours.mean_rank <= float(worst.mean())
    assert float(best.quantile(0.5)) <= ours.median_rank <= float(worst.quantile(0.5))
    for name, top in (("R1", 1), ("R5", 5), ("R10", 10)):
        lowest, highest = (100 * float((ranks <= top).double().mean()) for ranks in (worst, best))
        assert lowest - 1e-9 <= figures[name] <= highest + 1e-9


def augment_multiscale_crop(case: Case) -> None:
    for wanted in case.entries("image_wh"):
        width, height = wanted["image_wh"]
        raises = reference_raises(wanted)
        with refusal_allowed(when=raises):
            ours = [(c.x, c.y, c.width, c.height) for c in augment.multiscale_crops(width, height, wanted["out"])]
            drawn = augment.multiscale_crop(width, height, wanted["out"], augment.sample_rng(0, 0, 0))
            assert (drawn.x, drawn.y, drawn.width, drawn.height) in ours
            if raises:
                assert all(0 <= x <= width - wide and 0 <= y <= height - high for x, y, wide, high in ours)
                continue
            reference = [
                (x, y, wide, high)
                for wide, high in wanted["crop_wh_candidates"]
                for x, y in wanted["offsets"][f"{wide}x{high}"]
            ]
            assert Counter(ours) == Counter(reference)


CHECKS = {
    check.__name__: check
    for check in (
        sampling_videomae_pretrain,
        sampling_videomae_eval,
        sampling_uniformerv2,
        sampling_mm,
        augment_multiscale_crop,
        retrieval_metrics,
    )
}
