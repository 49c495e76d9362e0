"""Types of the user's own columns: the narrowest that holds every cell, and cells that survive it."""

from __future__ import annotations

from datetime import date, time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus.columns import convert, join_kinds, value_kind


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("", None),
        ("7", "int64"),
        ("-7", "int64"),
        ("007", "string"),
        ("9223372036854775807", "int64"),
        ("9223372036854775808", "string"),
        ("1.50", "double"),
        ("1e3", "int64"),
        ("25.0", "int64"),
        ("9007199254740993.0", "double"),
        ("1e999", "string"),
        ("nan", "string"),
        ("true", "bool"),
        ("False", "bool"),
        ("yes", "string"),
        (" 7", "string"),
        ("\u0667", "string"),
    ],
)
def test_kind_of_a_text_cell(cell, kind):
    # 9223372036854775808 is beyond int64, and as a double it would lose its last digit.
    assert value_kind(cell) == kind


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, None),
        (True, "bool"),
        (7, "int64"),
        (2**63, "string"),
        (0.5, "double"),
        (2.0, "int64"),
        (2.0**60, "double"),
        (float("nan"), None),
        ("x", "string"),
        ("7", "int64"),
        ([1], "string"),
    ],
)
def test_kind_of_a_json_value(value, kind):
    assert value_kind(value) == kind


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (None, None, None),
        (None, "bool", "bool"),
        ("int64", None, "int64"),
        ("int64", "double", "double"),
        ("double", "int64", "double"),
        ("bool", "int64", "string"),
        ("string", "double", "string"),
    ],
)
def test_join_of_kinds(one, other, both):
    assert join_kinds(one, other) == both


@pytest.mark.parametrize(
    ("value", "kind", "stored"),
    [
        ("", "int64", None),
        (None, "string", None),
        ("12", "int64", 12),
        ("12.0", "int64", 12),
        (12.0, "int64", 12),
        ("12", "double", 12.0),
        ("true", "bool", True),
        (False, "bool", False),
        (float("nan"), "double", None),
        ({"b": 1, "a": "é"}, "string", '{"a": "é", "b": 1}'),
        (True, "string", "true"),
        (7, "string", "7"),
        (2**64 - 1, "string", "18446744073709551615"),
        (date(2024, 1, 2), "string", "2024-01-02"),
        (time(1, 2, 3), "string", "01:02:03"),
        (Decimal("1.50"), "string", "1.50"),
        (b"\xff\x00a", "string", "/wBh"),
        ([b"\xff", date(2024, 1, 2)], "string", '["/w==", "2024-01-02"]'),
        ([("k", 1)], "string", '[["k", 1]]'),
    ],
)
def test_convert(value, kind, stored):
    assert convert(value, kind) == stored
    assert type(convert(value, kind)) is type(stored)


@pytest.mark.parametrize(("value", "kind"), [("x", "int64"), ("x", "double"), ("x", "bool"), (1.5, "int64")])
def test_convert_refuses_another_kind(value, kind):
    with pytest.raises(ValueError, match=r"x|1\.5"):
        convert(value, kind)


@given(st.lists(st.one_of(st.text(max_size=6), st.integers().map(str), st.floats().map(repr), st.just("true"))))
def test_every_cell_converts_to_the_joined_kind(cells):
    kind = None
    for cell in cells:
        kind = join_kinds(kind, value_kind(cell))
    for cell in cells:
        value = convert(cell, kind or "string")
        assert (value is None) == (cell == "")
