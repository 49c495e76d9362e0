"""Distributions: exact where values repeat, close where they do not, whatever the pieces they come in."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tools.distribution import Distribution


def spread(*pieces):
    found = Distribution()
    for piece in pieces:
        found.add(np.asarray(piece, dtype=np.float64))
    return found.spread()


def test_nothing_has_no_spread():
    assert spread() is None
    assert spread([], [math.nan, math.inf]) is None


def test_values_that_repeat_come_out_unchanged():
    found = spread([640.0] * 90, [1280.0] * 10)
    assert (found.count, found.min, found.p50, found.p95, found.max) == (100, 640.0, 640.0, 1280.0, 1280.0)
    assert found.mean == pytest.approx(704.0)


def test_zero_and_what_is_not_finite():
    found = spread([0.0, 0.0, 1.0, math.nan])
    assert (found.count, found.min, found.p50, found.max) == (3, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e9])
def test_quantiles_are_near_the_exact_ones(scale):
    values = np.random.default_rng(0).lognormal(size=20_000) * scale
    found = spread(*np.array_split(values, 7))
    ordered = np.sort(values)
    assert found.p50 == pytest.approx(ordered[9_999], rel=2e-3)
    assert found.p95 == pytest.approx(ordered[18_999], rel=2e-3)
    assert found.mean == pytest.approx(values.mean(), rel=1e-9)
    assert (found.min, found.max) == (values.min(), values.max())


def test_the_pieces_change_nothing():
    values = np.random.default_rng(1).uniform(0, 100, 1000)
    one, other = spread(values), spread(*np.array_split(values, 13))
    assert (one.p50, one.p95) == pytest.approx((other.p50, other.p95), rel=1e-12)
