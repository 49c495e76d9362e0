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
from tests.support.parity_harness import Case, compare_if_present
from train.evaluate import retrieval


def sampling_videomae_pretrain(case: Case) -> None:
    for wanted in case.about["expected"]:
        video = (wanted["num_frames"], wanted["clip_len"], wanted["stride"])
        starts = clips.dense_starts(*video)
        assert starts == wanted["n_possible_starts"]
        assert clips.dense_frames(*video, wanted["offset_one_based"] - 1).tolist() == wanted["frame_ids"]
        draws = [clips.dense_frames(*video, augment.sample_rng(0, 0, sample)) for sample in range(50)]
        assert all(0 <= ids[0] < starts and ids[-1] < video[0] for ids in draws)


def sampling_videomae_eval(case: Case) -> None:
    for wanted in case.about["expected"]:
        frames, clip_len, stride = wanted["num_frames"], wanted["clip_len"], wanted["stride"]
        views = wanted["test_num_segment"]
        if wanted["kind"] == "test_dense":
            assert clips.dense_views(frames, clip_len, stride, views).tolist() == wanted["views"]
        elif wanted["kind"] == "test_sparse":
            assert clips.sparse_views(frames, wanted["num_segment"], views).tolist() == wanted["views"]
        elif wanted["kind"] == "validation":
            assert clips.centred_frames(frames, clip_len, stride).tolist() == wanted["fetched_frames"]
        else:
            pytest.fail(f"no frame choice is known as {wanted['kind']!r}")


def sampling_uniformerv2(case: Case) -> None:
    for wanted in case.about["expected"]:
        length, clip_len = wanted["video_len"], wanted["num_frames"]
        clip, views = wanted["clip_idx"], wanted["num_clips"]
        reference = _reference_frames(wanted)
        if clip >= 0:
            ours = clips.segment_views(length, clip_len, views)[clip].tolist()
            assert ours == (_inside(ours, length, clip_len) if reference is None else reference)
            continue
        ends = [round((length - 1) / clip_len * border) for border in range(clip_len + 1)]
        intervals = list(pairwise(ends))
        _require_random(lambda rng, v=(length, clip_len): clips.segment_frames(*v, rng), intervals, reference)


def sampling_mm(case: Case) -> None:
    for wanted in case.about["expected"]:
        length, clip_len, mode = wanted["video_len"], wanted["num_frames"], wanted["mode"]
        assert mode in {"rand", "uniform"}, f"no frame choice is known as {mode!r}"
        reference = _reference_frames(wanted)
        if mode == "uniform":
            ours = clips.bin_frames(length, clip_len, None).tolist()
            assert ours == (_inside(ours, length, clip_len) if reference is None else reference)
            continue
        bounds = [int(bound) for bound in np.linspace(0, length, min(length, clip_len) + 1)]
        intervals = [(low, max(low, high - 2)) for low, high in pairwise(bounds)]
        _require_random(lambda rng, v=(length, clip_len): clips.bin_frames(*v, rng), intervals, reference)


def _reference_frames(wanted: dict[str, Any]) -> list[int] | None:
    """Return the reference's frames, or None where it raises."""
    frames = wanted.get("frame_ids")
    return frames if isinstance(frames, list) else None


def _inside(frames: list[int], length: int, clip_len: int) -> list[int]:
    """Return a clip's frames after asserting that they are a clip's."""
    assert 1 <= len(frames) <= clip_len
    assert 0 <= frames[0] <= frames[-1] < length
    assert frames == sorted(frames)
    return frames


def _require_random(
    draw: Callable[[np.random.Generator], np.ndarray], intervals: list[tuple[int, int]], reference: list[int] | None
) -> None:
    """Assert that each frame, ours and the reference's, lies in its interval, and that ours reach both its ends."""
    lows, highs = (np.array(ends) for ends in zip(*intervals, strict=True))
    draws = np.stack([draw(augment.sample_rng(0, 0, sample)) for sample in range(50)])
    for ids in draws if reference is None else [*draws, np.array(reference)]:
        assert ((lows <= ids) & (ids <= highs)).all(), (ids, intervals)
    narrow = highs - lows < 4
    assert (draws.min(axis=0) == lows)[narrow].all()
    assert (draws.max(axis=0) == highs)[narrow].all()


def retrieval_metrics(case: Case) -> None:
    sim = case.tensors["input/sim"]
    plain, dual = retrieval.retrieval_metrics(sim), retrieval.retrieval_metrics(sim, dual=True)
    for name, texts_first in (("t2v", sim), ("v2t", sim.T)):
        weighted = retrieval.dual_softmax(texts_first)
        compare_if_present(case, f"output/sim_dsl_{name}", weighted)
        for key, matrix, metrics in ((name, texts_first, plain), (f"{name}_dsl", weighted, dual)):
            ours = metrics.text_to_video if name == "t2v" else metrics.video_to_text
            reference = case.about["expected"].get(key)
            _require_retrieval(ours, matrix, reference if isinstance(reference, dict) else {})


def _require_retrieval(ours: retrieval.RankMetrics, sim: Tensor, reference: dict[str, float]) -> None:
    """Assert the reference's figures where no tie makes them ill-defined, else that ours are what ties allow."""
    pairs = min(sim.shape)
    own = sim.diagonal()[:, None]
    better, equal = (sim[:pairs] > own).sum(1), (sim[:pairs] == own).sum(1)
    figures = {"R1": ours.r1, "R5": ours.r5, "R10": ours.r10, "MR": ours.median_rank, "MeanR": ours.mean_rank}
    assert ours.queries == pairs
    if int(equal.max()) == 1:
        for name in figures.keys() & reference.keys():
            assert figures[name] == pytest.approx(reference[name], abs=1e-5), name
        return
    best, worst = (1 + better).double(), (better + equal).double()
    assert float(best.mean()) <= ours.mean_rank <= float(worst.mean())
    assert float(best.quantile(0.5)) <= ours.median_rank <= float(worst.quantile(0.5))
    for name, top in (("R1", 1), ("R5", 5), ("R10", 10)):
        lowest, highest = (100 * float((ranks <= top).double().mean()) for ranks in (worst, best))
        assert lowest - 1e-9 <= figures[name] <= highest + 1e-9


def augment_multiscale_crop(case: Case) -> None:
    for wanted in case.about["expected"]:
        width, height = wanted["image_wh"]
        ours = augment.multiscale_crops(width, height, wanted["out"])
        reference = [
            (x, y, wide, high)
            for wide, high in wanted["crop_wh_candidates"]
            for x, y in wanted["offsets"][f"{wide}x{high}"]
        ]
        assert Counter((crop.x, crop.y, crop.width, crop.height) for crop in ours) == Counter(reference)
        drawn = augment.multiscale_crop(width, height, wanted["out"], augment.sample_rng(0, 0, 0))
        assert (drawn.x, drawn.y, drawn.width, drawn.height) in reference


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
