"""Lists as cells of text: what Python and JSON print is read back, nothing is run, all is bounded."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus.literals import DEPTH, parse_list

plain = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
lists = st.lists(
    st.recursive(
        plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_size=4,
)


@given(lists)
def test_lists_as_python_and_json_print_them(value):
    assert parse_list(repr(value)) == value
    assert parse_list(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[['0:00:00.000', '0:00:15.982']]", [["0:00:00.000", "0:00:15.982"]]),
        ("""['A man.', "The man's dog"]""", ["A man.", "The man's dog"]),
        ("(1, (2,), {'a': [True, None]},)", [1, [2], {"a": [True, None]}]),
        ("[NaN, nan, null, .5, 1e3]", [None, None, None, 0.5, 1000.0]),
        (r"['\x41\u00e9\U0001f600\n\'\q']", ["Aé\U0001f600\n'\\q"]),
        ("[]", []),
        ("[1,\n 2]", [1, 2]),
    ],
)
def test_spellings(text, value):
    assert parse_list(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "a",
            "{}",
            "'a'",
            "[",
            "[1",
            "[1 2]",
            "[1,,2]",
            "[,]",
            "[1]x",
            "[a]",
            "[f()]",
            "['a' 'b']",
            "['a]",
            "[1:2]",
        ),
        *("[__import__('os').system('true')]", "[1+1]", "[[i for i in ()]]", r"['\U00110000']", "[1_0]", "{'a': 1]"),
    ],
)
def test_what_is_no_list_is_refused_in_one_line(text):
    with pytest.raises(ValueError, match=r".") as caught:
        parse_list(text)
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", ["deep", "a little deep", "a long number", "a long escape", "many items"])
def test_lists_beyond_the_bounds_are_refused(case):
    texts = {
        "deep": "[" * 100_000,
        "a little deep": "[" * (DEPTH + 2) + "]" * (DEPTH + 2),
        "a long number": "[" + "9" * 5000 + "]",
        "a long escape": "['" + "\\" * 100_001,
        "many items": "[" + "1," * 1_000_001 + "]",
    }
    test_what_is_no_list_is_refused_in_one_line(texts[case])


def test_a_long_text_is_read_in_a_few_times_its_size():
    """A place to come back to at every character would be a hundred times the text."""
    text = "['" + "x" * (2 << 20) + "']"
    tracemalloc.start()
    assert [len(each) for each in parse_list(text)] == [2 << 20]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * len(text)
