"""Numbers as people read them: few digits, one unit a column, shares that do not round to what is not so."""

from __future__ import annotations

import math

import pytest

from tools.report.spelling import (
    NOTHING,
    Scale,
    shorten,
    spell_label,
    spell_large,
    spell_number,
    spell_quantity,
    spell_share,
    spell_total_length,
)


@pytest.mark.parametrize(
    ("value", "spelt"),
    [
        (0, "0"),
        (7, "7"),
        (1_234_567, "1,234,567"),
        (9.4412, "9.44"),
        (52.5, "52.5"),
        (117.04, "117"),
        (0.04421, "0.0442"),
    ],
)
def test_numbers_have_three_significant_digits_and_whole_ones_all(value, spelt):
    assert spell_number(value) == spelt


def test_odd_numbers_are_spelt_too():
    assert [spell_number(value) for value in (math.nan, math.inf)] == [NOTHING, NOTHING]
    assert spell_number(3.2e-7) == "3.2e-07"
    assert spell_number(-12.345) == "-12.3"
    assert spell_number(29.97, 4) == "29.97"


@pytest.mark.parametrize(
    ("value", "unit", "spelt"),
    [
        (90, "s", "90 s"),
        (200, "s", "3.33 min"),
        (3 * 3600, "s", "3 h"),
        (512, "bytes", "512 bytes"),
        (1536, "bytes", "1.50 KiB"),
        (5 << 40, "bytes", "5 TiB"),
        (2_500_000, "bit/s", "2.50 Mbit/s"),
        (29.97, "", "29.97"),
        (1080, "px", "1,080 px"),
        (25, "1/s", "25 fps"),
        (7, "words", "7"),
    ],
)
def test_quantities_take_the_unit_that_suits_them(value, unit, spelt):
    assert spell_quantity(value, unit) == spelt


def test_one_scale_serves_a_whole_column():
    scale = Scale.of("bytes", 3 << 20)
    assert [scale.number(value) for value in (1 << 20, 100 << 20, 1 << 15)] == ["1", "100", "0.0312"]


@pytest.mark.parametrize(
    ("part", "whole", "spelt"),
    [
        (1, 3, "33.3 %"),
        (3, 3, "100 %"),
        (0, 3, "0 %"),
        (1, 10**6, "< 0.1 %"),
        (10**6 - 1, 10**6, "> 99.9 %"),
        (0, 0, NOTHING),
    ],
)
def test_only_all_is_a_hundred_per_cent(part, whole, spelt):
    assert spell_share(part, whole) == spelt


def test_long_lengths_are_hours_and_large_counts_short():
    assert [spell_total_length(seconds) for seconds in (12.25, 3599, 3600, 188_999)] == [
        "12.2 s",
        "60.0 min",
        "1 h",
        "52.5 h",
    ]
    assert [spell_large(count) for count in (99_999_999, 123_456_789, 1_230_000_000)] == [
        "99,999,999",
        "123.5 M",
        "1.23 bn",
    ]


def test_columns_have_names_that_read():
    assert [spell_label(name) for name in ("pix_fmt", "caption_words")] == ["pixel format", "caption words"]


def test_long_text_ends_with_an_ellipsis():
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdefg", 6) == "abcde…"
