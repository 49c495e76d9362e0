"""Policies are read as timm writes them, draws are spread as said, and magnitudes mean what they mean to timm."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from pipelines.augment import sample_rng
from pipelines.randaugment import NAMES, Operation, RandAugment, draw_operations, operation, parse_randaugment

SIZE = (340, 256)


def test_policies_are_read_as_timm_writes_them():
    assert parse_randaugment("rand-m7-n4-mstd0.5-inc1") == RandAugment(7.0, 4, 0.5, increasing=True)
    assert parse_randaugment("rand-n3-m9") == RandAugment(9.0, 3)
    assert parse_randaugment("rand-m5-p0.25-inc0").probability == 0.25


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("augmix-m3", "taken is a policy such as rand-m7"),
        ("rand-n4", "taken is a policy"),
        ("rand-m7-w0", "'w0' is not understood"),
        ("rand-m7-mstdinf", "'mstdinf' is not understood"),
        ("rand-m7-n1.5", "taken is a policy"),
        ("rand-m11", "magnitude 11.0 of randaugment is outside 0 to 10"),
        ("rand-m7-n0", "has 0 layers"),
        ("rand-m7-p1.5", "probability 1.5"),
    ],
)
def test_what_is_no_policy_is_named(text: str, message: str):
    with pytest.raises(ValueError, match=message):
        parse_randaugment(text)


@pytest.mark.parametrize(
    ("name", "sign", "wanted"),
    [
        ("posterize", 1, Operation("posterize", 0b11000000)),
        ("solarize", 1, Operation("solarize", 256 - 179)),
        ("solarize_add", -1, Operation("solarize_add", 77)),
        ("colour", 1, Operation("colour", 1.63)),
        ("contrast", -1, Operation("contrast", 0.37)),
        ("invert", 1, Operation("invert")),
        ("shear_x", -1, Operation("warp", matrix=(1, -0.21, 0, 0, 1, 0))),
        ("translate_x", 1, Operation("warp", matrix=(1, 0, 0.315 * 340, 0, 1, 0))),
        ("translate_y", -1, Operation("warp", matrix=(1, 0, 0, 0, 1, -0.315 * 256))),
    ],
)
def test_a_magnitude_of_seven_means_what_it_means_to_timm(name: str, sign: int, wanted: Operation):
    found = operation(name, 7.0, sign, SIZE, increasing=True)
    assert found.kind == wanted.kind
    assert found.value == pytest.approx(wanted.value)
    assert found.matrix == pytest.approx(wanted.matrix)


def test_without_increase_some_operations_work_the_other_way():
    assert operation("posterize", 8.0, 1, SIZE).value == 0b11100000
    assert operation("solarize", 7.0, 1, SIZE).value == 179
    assert operation("sharpness", 7.0, -1, SIZE).value == pytest.approx(1.36)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_turn_has_the_matrix_that_pillow_turns_by(sign: int):
    rows, columns = np.mgrid[0:40, 0:60]
    image = Image.fromarray((rows * 3 + columns * 2).astype(np.uint8))
    matrix = operation("rotate", 10.0, sign, image.size).matrix
    mine = image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    pillow = image.rotate(sign * 30, Image.Resampling.BILINEAR)
    assert np.abs(np.asarray(mine).astype(int) - np.asarray(pillow)).mean() < 0.1


def test_draws_are_spread_as_said():
    policy = parse_randaugment("rand-m7-n4-mstd0.5-inc1")
    drawn = [each for n in range(3000) for each in draw_operations(policy, *SIZE, sample_rng(0, 0, n))]
    applied = [each for each in drawn if each.kind != "identity"]
    assert 0.48 < len(applied) / len(drawn) < 0.52
    kinds = Counter(each.kind for each in applied)
    assert kinds["warp"] / len(applied) == pytest.approx(5 / 15, abs=0.03)
    for kind in set(kinds) - {"warp"}:
        assert kinds[kind] / len(applied) == pytest.approx(1 / 15, abs=0.02), kind
    factors = [each.value for each in applied if each.kind == "brightness"]
    away = np.abs(np.array(factors) - 1) / 0.09
    assert away.mean() == pytest.approx(7, abs=0.1)
    assert away.std() == pytest.approx(0.5, abs=0.08)
    assert 0.4 < np.mean([factor > 1 for factor in factors]) < 0.6


def test_draws_depend_on_their_generator_alone():
    policy = parse_randaugment("rand-m7-n4-mstd0.5-inc1")
    drawn = {draw_operations(policy, *SIZE, sample_rng(*key)) for key in np.ndindex(3, 3, 3)}
    assert len(drawn) > 24
    again = draw_operations(policy, *SIZE, sample_rng(1, 1, 1))
    assert again in drawn
    assert len(again) == 4


def test_a_magnitude_stays_within_its_scale():
    policy = RandAugment(10.0, layers=200, deviation=5.0, increasing=True, probability=1.0)
    drawn = draw_operations(policy, *SIZE, sample_rng(0, 0, 0))
    assert all(0 <= each.value <= 256 for each in drawn)
    assert max(abs(each.value - 1) for each in drawn if each.kind == "brightness") == pytest.approx(0.9)
    assert len(NAMES) == 15
