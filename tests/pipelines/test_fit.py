"""Parts of pictures cut and resized on the host: as torch and DALI resize them, within one level of 255."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from pipelines.augment import Region, centre_crop, multiscale_crop, sample_rng
from pipelines.dali import DaliAugmenter, FrameInput, Take
from pipelines.fit import Fit, fit_picture, plan_fit
from pipelines.regions import along_long_side, random_resized_crop, short_side_crop, squashed_crop

NOISE = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
PICTURE = np.asarray(
    functional.interpolate(torch.from_numpy(NOISE[::5, ::5].copy()).permute(2, 0, 1)[None].float(), (90, 130))
    .permute(0, 2, 3, 1)[0]
    .round()
    .to(torch.uint8)
)
OUT = 28
MOST = 1.3
"""Levels of 255 by which bytes, rounded after each axis, differ from exact numbers."""


def planned(region: Region, out: tuple[int, int] = (OUT, OUT), **changes: object) -> Fit:
    fit = plan_fit(region, (130, 90), out, **changes)
    assert fit is not None
    return fit


def by_dali(region: Region, resample: str = "bilinear") -> np.ndarray:
    """Return what DALI makes of a region, in levels of 255."""
    augmenter = DaliAugmenter(1, 1, OUT, mean=(0, 0, 0), std=(1, 1, 1), threads=1, resample=resample)
    return augmenter.run([FrameInput(PICTURE[None], (Take(region),))])[0, :, 0].numpy() * 255


@pytest.mark.parametrize("region", [Region(11, 7, 19, 31), Region(0, 0, 130, 90), Region(51, 20, 28, 28)])
def test_a_part_of_whole_pixels_is_cut_and_then_resized(region: Region):
    found = fit_picture(PICTURE, planned(region))
    cut = PICTURE[region.y : region.y + region.height, region.x : region.x + region.width]
    tensor = torch.from_numpy(cut.copy()).permute(2, 0, 1)[None].float()
    exact = functional.interpolate(tensor, (OUT, OUT), mode="bilinear", antialias=True)[0]
    assert np.abs(found - exact.numpy()).max() <= MOST
    inner = (slice(None), slice(3, -3), slice(3, -3))
    assert np.abs(found - by_dali(region))[inner].max() <= MOST


def test_a_bicubic_resize_is_that_of_pillow():
    region = Region(11, 7, 59, 61)
    found = fit_picture(PICTURE, planned(region, resample="bicubic"))
    cut = Image.fromarray(PICTURE[7:68, 11:70]).resize((OUT, OUT), Image.Resampling.BICUBIC)
    assert np.abs(found - np.asarray(cut).transpose(2, 0, 1).astype(float)).max() <= 2
    assert np.abs(found - by_dali(region, "bicubic"))[:, 3:-3, 3:-3].mean() < 0.8
    assert np.abs(found - fit_picture(PICTURE, planned(region)).astype(float)).mean() > 2


@pytest.mark.parametrize("crop", [squashed_crop, short_side_crop])
def test_a_part_of_a_resized_picture_counts_what_lies_beside_it(crop):
    for number in range(12):
        region = crop(130, 90, OUT, sample_rng(0, 0, number))
        found = fit_picture(PICTURE, planned(region, resized_first=True))
        assert found.shape == (3, OUT, OUT)
        assert np.abs(found - by_dali(region)).max() <= MOST, "up to its edges"


def test_every_crop_of_training_can_be_cut():
    rng = sample_rng(1, 2, 3)
    for width, height in ((130, 90), (341, 256), (177, 144), (1280, 720), (53, 97)):
        for _ in range(20):
            for region in (
                multiscale_crop(width, height, 24, rng),
                random_resized_crop(width, height, (0.08, 1.0), (0.75, 1.3333), rng),
                centre_crop(width, height),
            ):
                assert plan_fit(region, (width, height), (24, 24)) is not None
            for crop in (squashed_crop, short_side_crop):
                region = crop(width, height, 24, rng)
                assert plan_fit(region, (width, height), (24, 24), resized_first=True) is not None


def test_what_cannot_be_cut_exactly_is_left_to_dali():
    view = along_long_side(short_side_crop(131, 93, OUT, None), 131, 93, 1, 3)
    assert plan_fit(view, (131, 93), (OUT, OUT), resized_first=True) is None
    assert plan_fit(Region(0.5, 0, 20, 20), (130, 90), (OUT, OUT)) is None
    assert plan_fit(Region(120, 0, 20, 20), (130, 90), (OUT, OUT)) is None


def test_a_result_may_have_any_shape():
    found = fit_picture(PICTURE, planned(Region(10, 0, 60, 90), (16, 48)))
    assert found.shape == (3, 48, 16)
    flat = np.full((90, 130, 3), (3, 130, 251), dtype=np.uint8)
    for changes in ({}, {"resized_first": True}, {"resample": "bicubic"}):
        result = fit_picture(flat, planned(Region(0, 0, 65, 45), **changes))
        assert (result == np.array([3, 130, 251]).reshape(3, 1, 1)).all()


def test_pictures_that_were_turned_and_cuts_of_them_are_taken():
    turned = np.rot90(PICTURE)
    fit = plan_fit(Region(5, 9, 40, 60), (90, 130), (OUT, OUT))
    assert fit is not None
    np.testing.assert_array_equal(fit_picture(turned, fit), fit_picture(np.ascontiguousarray(turned), fit))


def test_pixels_are_pinned():
    """As torch makes them with AVX-512, AVX2 and neither (ATEN_CPU_CAPABILITY): a run may move between machines."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 340, 3), dtype=np.uint8)
    digest = hashlib.sha256()
    for region in (Region(74, 32, 192, 192), Region(3, 5, 300, 250), Region(0, 0, 340, 256), Region(100, 100, 61, 47)):
        for resample in ("bilinear", "bicubic"):
            fit = plan_fit(region, (340, 256), (224, 224), resample=resample)
            assert fit is not None
            digest.update(fit_picture(noise, fit).tobytes())
    assert digest.hexdigest()[:16] == "c472585f50a4dd80"


def test_threads_that_decode_start_no_others():
    fit = plan_fit(Region(0, 0, 900, 900), (1000, 900), (224, 224))
    assert fit is not None
    large = np.zeros((900, 1000, 3), dtype=np.uint8)
    counts = []

    def work() -> None:
        counts.extend([_threads(), fit_picture(large, fit).shape[0], _threads()])

    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        torch.set_num_threads(threads)
    assert counts[0] == counts[2], "torch's threads would take the cores of those that decode"


def _threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))
