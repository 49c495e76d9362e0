"""Parity checks of frame choice, crops and evaluation figures."""

from __future__ import annotations

from collections import Counter

import pytest

from pipelines import augment, clips
from tests.support.parity_harness import Case


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
    check.__name__: check for check in (sampling_videomae_pretrain, sampling_videomae_eval, augment_multiscale_crop)
}
