"""Random erasing: how often, how large, what shape, and the noise."""

from __future__ import annotations

import numpy as np

from pipelines.augment import sample_rng
from pipelines.erasing import draw_erasure, normal


def test_rectangles_come_as_often_and_as_large_as_said():
    drawn = [draw_erasure(0.25, 1, 100, sample_rng(0, 0, n)) for n in range(2000)]
    found = [one for one in drawn if one is not None]
    assert 0.22 < len(found) / len(drawn) < 0.28
    sides = np.array([one.noise.shape[2:] for one in found])
    areas = sides.prod(axis=1) / 100**2
    assert 0.018 < areas.min() < 0.04
    assert 0.29 < areas.max() < 0.34
    assert 0.15 < areas.mean() < 0.19
    shapes = sides[:, 0] / sides[:, 1]
    assert 0.28 < shapes.min() < 0.4
    assert 2.5 < shapes.max() < 3.6
    assert 0.4 < (shapes > 1).mean() < 0.6
    for one in found:
        assert one.x >= 0
        assert one.y >= 0
        assert one.x + one.noise.shape[3] <= 100
        assert one.y + one.noise.shape[2] <= 100


def test_no_probability_gives_none_and_one_gives_all():
    assert all(draw_erasure(0.0, 1, 32, sample_rng(0, 0, n)) is None for n in range(50))
    assert all(draw_erasure(1.0, 1, 32, sample_rng(0, 0, n)) is not None for n in range(50))
    assert draw_erasure(1.0, 1, 1, sample_rng(0, 0, 0)) is None, "no rectangle fits a single pixel"


def test_every_frame_has_noise_of_its_own():
    noise = draw_erasure(1.0, 4, 64, sample_rng(0, 0, 1)).noise
    assert noise.shape[:2] == (3, 4)
    assert noise.dtype == np.float32
    assert len({noise[colour, frame].tobytes() for colour in range(3) for frame in range(4)}) == 12


def test_noise_is_normal():
    numbers = normal(sample_rng(0, 0, 0), 100_001)
    assert numbers.shape == (100_001,)
    assert np.isfinite(numbers).all()
    assert abs(numbers.mean()) < 0.01
    assert abs(numbers.std() - 1) < 0.01
    wanted = [-1.6449, -0.6745, 0.0, 0.6745, 1.6449]
    assert np.allclose(np.quantile(numbers, [0.05, 0.25, 0.5, 0.75, 0.95]), wanted, atol=0.03)
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.01
    halves = numbers[:50_000], numbers[50_001:]
    assert abs(np.corrcoef(*halves)[0, 1]) < 0.02
