"""The filter language: what it means, what it refuses and where, and that rows and Arrow tables give the same."""

import math
import pickle
import struct

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shards.expression import ExpressionError, parse
from shards.expression_parser import LIST
from shards.expression_words import LONGEST
from shards.record import schema

ROWS = [
    {"duration": 1.0, "caption": "A dog", "row": 1, "ok": True, "d": {"a": True}, "k": [1]},
    {"duration": 2.5, "caption": "Ünï DOG", "row": 2, "ok": False, "d": {"a": False}, "k": [1, 2]},
    {"duration": None, "caption": None, "row": 3, "ok": None, "d": None, "k": None},
]
TABLE = pa.Table.from_pylist(ROWS)


def kept(text, rows=ROWS):
    """Return the numbers of the rows that are kept, after a look that tables keep the same ones."""
    expression = parse(text)
    found = [expression.holds(row) for row in rows]
    assert expression.mask(pa.Table.from_pylist(rows)).to_pylist() == found
    return [number for number, keep in enumerate(found) if keep]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("duration >= 2 and caption contains 'DOG'", [1]),
        ("duration >= 2 OR row = 1", [0, 1]),
        ("not (duration > 2)", [0]),  # null is neither
        ("2 < duration * 2 <= 5", [1]),
        ("row in [1, 3.0]", [0, 2]),
        ("row not in [1]", [1, 2]),
        ("duration not in [1]", [1]),
        ("caption in ['A dog']", [0]),
        ("caption like '_ %'", [0]),
        ("caption like '%D\\OG'", [1]),
        ("not caption like 'A%'", [1]),
        ("caption not like 'A%'", [1]),
        ("lower(caption) ends_with 'dog'", [0, 1]),
        ("lower(caption) starts_with 'ün'", [1]),
        ("caption matches '\\bdog\\b'", [0]),
        ("length(caption) = 7", [1]),
        ("length(k) > 1", [1]),
        ("duration is null or row == 2", [1, 2]),
        ("k is not null", [0, 1]),
        ("d.a", [0]),
        ("d is null", [2]),
        ("coalesce(duration, 0) = 0", [2]),
        ("row % 2 = 1", [0, 2]),
        ("-7 % row = 1", [1]),  # the sign is the divisor's
        ("row between 2 and 3", [1, 2]),
        ("row not between 2 and 3", [0]),
        ("-row < -1 - 1", [2]),
        ("10 - 2 - row = 5 and 2 + 3 * 2 = 8", [2]),
        ("duration / 0 is null", [0, 1, 2]),
        ("abs(row - 2) = 1", [0, 2]),
        ("true", [0, 1, 2]),
        ("ok and duration > 0 or not ok", [0, 1]),
        ("ok = false", [1]),
        ("`row` <> 2", [0, 2]),
        ("caption > 'B'", [1]),
        ("null_word is null", []),
    ],
)
def test_an_expression_keeps_the_rows_it_should(text, rows):
    if text.startswith("null_word"):
        with pytest.raises(ExpressionError, match="there is no column 'null_word'"):
            kept(text)
        return
    assert kept(text) == rows


def test_three_values_of_and_and_or():
    rows = [{"a": a, "b": b} for a in (True, False, None) for b in (True, False, None)]
    expression = parse("a and b")
    assert [expression.value(row) for row in rows] == [True, False, None, False, False, False, None, False, None]
    expression = parse("a or b")
    assert [expression.value(row) for row in rows] == [True, True, True, True, False, None, True, None, None]


def test_whole_numbers_compare_exactly_and_literals_keep_their_signs():
    big = 2**62 + 1
    rows = [{"id": big}, {"id": big - 1}, {"id": -big}]
    assert kept(f"id = {big}", rows) == [0]
    assert kept(f"id in [-{big}]", rows) == [2]
    assert kept(f"id = -{big}", rows) == [2]
    assert kept(f"id + 0 = {big}", rows) == [0, 1]  # arithmetic is done in doubles


def test_numbers_that_are_not_finite_are_null():
    rows = [{"x": math.nan}, {"x": math.inf}, {"x": -0.0}]
    assert kept("x is null", rows) == [0, 1]
    assert kept("x in [0]", rows) == [2]
    assert parse("x * 1e308 * 10 is null").holds({"x": 1.0})


def test_columns_of_every_arrow_type_are_read():
    batch = pa.record_batch(
        {
            "small": pa.array([1, 2], pa.int8()),
            "huge": pa.array([1, 2**64 - 1], pa.uint64()),
            "half": pa.array([0.5, None], pa.float32()),
            "words": pa.array(["a", "b"]).dictionary_encode(),
            "long": pa.array(["a", "B"], pa.large_string()),
            "none": pa.nulls(2),
            "when": pa.array([0, None], pa.timestamp("s")),
        }
    )
    text = "(small = 1 or huge > 5) and coalesce(half, 0) < 1 and words in ['a', 'b'] and none is null"
    assert parse(text).mask(batch).to_pylist() == [True, True]
    assert parse("lower(long) in ['b'] and when is null").mask(batch).to_pylist() == [False, True]
    assert parse("none > 3 or lower(words) = 'a'").mask(batch).to_pylist() == [True, False]
    with pytest.raises(ExpressionError, match="'>' takes number or text, and was given something"):
        parse("when > 3").mask(batch)


def test_names_are_the_columns():
    expression = parse("decodable.nvdec and `odd name` > 1 or duration in [1]")
    assert expression.names == {"decodable", "odd name", "duration"}
    parse("decodable.nvdec and length(keyframes) > 1 and max_gop < 60").check(schema())
    with pytest.raises(ExpressionError, match=r"no column 'decodable\.nvdec'"):
        parse("`decodable.nvdec`").check(schema())


def test_an_expression_travels():
    expression = parse("duration > 2")
    assert pickle.loads(pickle.dumps(expression)) == expression
    error = ExpressionError("abc", 2, "so")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("", 1, "found the end, taken is a column"),
        ("duration >> 2", 11, "found '>', taken is a column"),
        ("duration > 2 width", 14, "found 'width', taken is an operator"),
        ("caption = null", 11, "write 'is null'"),
        ("caption = 'abc", 11, "has no end; close it with '"),
        ("caption matches '('", 17, "RE2 syntax"),
        ("caption matches 'a{1001}'", 17, "RE2 syntax"),
        ("caption like lower(caption)", 14, "taken is a text in quotes behind 'like'"),
        ("1 < row > 3", 9, "one way only"),
        ("1 != row != 3", 10, "one way only"),
        ("row in []", 9, "taken is a number or a text"),
        ("row in [1, 'a']", 8, "values of one kind"),
        ("row in [1] = true", 12, "put brackets around"),
        ("eval(row)", 1, "no function 'eval'; taken are abs"),
        ("length(row, 2)", 1, "length takes 1 values, and was given 2"),
        ("(row > 1", 9, "taken is ')'"),
        ("row > 1x", 8, "goes on with 'x'"),
        ("row + 'a' > 2", 7, "'+' takes number, and was given a text"),
        ("row > 1 and 2", 13, "'and' takes truth, and was given a number"),
        ("row is 3", 8, "taken is 'null'"),
        ("row not 3", 9, "taken is one of between"),
        ("row = '\udcff'", 8, "no UTF-8"),
        ("row @ 3", 5, "is no part of an expression"),
        ("row > " + "9" * 400, 7, "larger than any number"),
        ("(" * 200 + "true" + ")" * 200, 34, "more than 100 deep"),
        ("- " * 200 + "row > 1", 197, "more than 100 deep"),
        ("not " * 200 + "true", 393, "more than 100 deep"),
        ("row" + " + 1" * 100 + " > 1", 401, "more than 100 deep"),
        ("r" * (LONGEST + 1), LONGEST + 1, f"at most {LONGEST}"),
        ("row in [" + "1," * LIST + "1]", 8, f"more than {LIST}"),
    ],
)
def test_what_cannot_be_read_is_refused_at_its_place(text, position, says):
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert says in str(caught.value)
    assert caught.value.position == position
    assert f"character {position}:" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("durtion > 2", 1, "no column 'durtion' (perhaps 'duration'?); there are "),
        ("d.b", 1, "no column 'd.b'"),
        ("caption > 3", 11, "'>' was given a text and a number"),
        ("row > 1 and caption", 13, "'and' takes truth, and was given a text"),
        ("k = 1", 1, "was given a list"),
        ("row", 1, "the whole is no condition but a number"),
    ],
)
def test_what_does_not_fit_the_columns_is_refused_by_rows_and_tables(text, position, says):
    for ask in (lambda: parse(text).holds(ROWS[0]), lambda: parse(text).mask(TABLE)):
        with pytest.raises(ExpressionError) as caught:
            ask()
        assert says in str(caught.value)
        assert caught.value.position == position


def test_a_pattern_that_hangs_other_engines_is_quick():
    row = {"caption": "a" * 50_000 + "!"}
    assert not parse("caption matches '^(a+)+$'").holds(row)
    assert not parse("caption like '" + "%a" * 30 + "%b'").holds(row)


def test_names_of_files_that_are_no_utf8_harm_nothing():
    row = {"source": "v\udcff.mp4"}
    assert parse(r"source matches 'v.\.mp4' and source like 'v_.mp4' and length(source) = 6").holds(row)
    assert not parse("source contains 'w' or lower(source) = 'x'").holds(row)


def test_many_terms_are_no_depth():
    text = " or ".join(f"row = {number}" for number in range(500))
    assert kept(text) == [0, 1, 2]


def test_tables_of_no_rows_and_of_several_chunks():
    expression = parse("row > 1")
    assert len(expression.mask(TABLE.slice(0, 0))) == 0
    assert expression.mask(pa.concat_tables([TABLE, TABLE])).to_pylist() == [False, True, True] * 2


# Random expressions of the right kinds, over columns of every kind.

NUMBERS = st.one_of(
    st.none(),
    st.integers(-5, 5),
    st.sampled_from([2**53, 2**53 + 1, -(2**63), 2**63 - 1]),
)
DOUBLES = st.one_of(st.none(), st.floats(), st.sampled_from([0.0, -0.0, 0.5, 2.0**53, 3.0]))
TEXTS = st.one_of(
    st.none(), st.text(st.characters(codec="utf-8"), max_size=6), st.sampled_from(["ab", "AB", "ΑΣ", "İ"])
)
TRUTHS = st.sampled_from([None, True, False])
RANDOM_ROWS = st.lists(
    st.fixed_dictionaries({"i": NUMBERS, "x": DOUBLES, "s": TEXTS, "t": TRUTHS, "u": TEXTS}), min_size=1, max_size=6
)
SCHEMA = pa.schema({"i": pa.int64(), "x": pa.float64(), "s": pa.string(), "t": pa.bool_(), "u": pa.large_string()})


def _quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


LITERAL_TEXTS = st.text(st.characters(codec="utf-8"), max_size=3).map(_quoted)
LITERAL_NUMBERS = st.sampled_from(["0", "1", "-2", "0.5", "3", "1e300", "9007199254740993", "2.5e-3"])
SIGNS = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])


@st.composite
def numbers(draw, depth):
    if depth == 0 or draw(st.booleans()):
        return draw(st.sampled_from(["i", "x"]) | LITERAL_NUMBERS)
    one = draw(numbers(depth - 1))
    choice = draw(st.sampled_from(["+", "-", "*", "/", "%", "minus", "abs", "coalesce", "length"]))
    if choice == "length":
        return f"length({draw(texts(depth - 1))})"
    if choice in {"abs", "minus"}:
        return f"abs({one})" if choice == "abs" else f"-({one})"
    other = draw(numbers(depth - 1))
    return f"coalesce({one}, {other})" if choice == "coalesce" else f"({one} {choice} {other})"


@st.composite
def texts(draw, depth):
    one = draw(st.sampled_from(["s", "u"]) | LITERAL_TEXTS)
    if depth == 0 or draw(st.booleans()):
        return one
    return f"lower({one})" if draw(st.booleans()) else f"coalesce({one}, {draw(LITERAL_TEXTS)})"


@st.composite
def truths(draw, depth):
    if depth == 0:
        return draw(st.sampled_from(["t", "true", "false"]))
    negated = draw(st.sampled_from(["", "not "]))
    one, other, third = (draw(numbers(depth - 1)) for _ in range(3))
    text = draw(texts(depth - 1))
    literals = ", ".join(draw(st.lists(LITERAL_NUMBERS, min_size=1, max_size=3)))
    test = draw(st.sampled_from(["contains", "starts_with", "ends_with", "like"]))
    return draw(
        st.one_of(
            st.builds("({} {} {})".format, truths(depth - 1), st.sampled_from(["and", "or"]), truths(depth - 1)),
            st.builds("not {}".format, truths(depth - 1)),
            st.builds("{} {} {}".format, st.just(one), SIGNS, st.just(other)),
            st.builds("{} {} {}".format, st.just(text), SIGNS, texts(depth - 1)),
            st.just(f"{one} {negated}in [{literals}]"),
            LITERAL_TEXTS.map(lambda part: f"{text} {negated}{test} {part}"),
            st.just(f"{one} < {other} <= {third}"),
            st.just(f"{one} {negated}between {other} and {third}"),
            st.sampled_from([f"({one}) is {negated}null", f"({text}) is {negated}null"]),
        )
    )


def same(one, other):
    if isinstance(one, float) and isinstance(other, float):
        return struct.pack("d", one) == struct.pack("d", other) or one == other == 0
    return type(one) is type(other) and one == other


@settings(max_examples=50, deadline=None)
@given(text=truths(3), rows=RANDOM_ROWS)
@example(
    text="coalesce(i, 0.5) == 9007199254740993", rows=[{"i": 2**53 + 1, "x": None, "s": None, "t": None, "u": None}]
)
def test_rows_and_tables_agree_on_conditions(text, rows):
    expression = parse(text)
    batch = pa.RecordBatch.from_pylist(rows, SCHEMA)
    assert expression.array(batch).to_pylist() == [expression.value(row) for row in rows], text
    assert expression.mask(batch).to_pylist() == [expression.holds(row) for row in rows], text


@settings(max_examples=30, deadline=None)
@given(text=st.one_of(numbers(3), texts(2)), rows=RANDOM_ROWS)
def test_rows_and_tables_agree_on_values(text, rows):
    expression = parse(text)
    found = expression.array(pa.RecordBatch.from_pylist(rows, SCHEMA)).to_pylist()
    for value, row in zip(found, rows, strict=True):
        assert same(value, expression.value(row)), (text, row)


def refusal(text):
    try:
        parse(text)
    except ExpressionError as error:
        return error
    return None


WORDS = ["(", ")", "[", "]", ",", "row", "and", "or", "not", "in", "is", "null", "1", "'a'", "<", "-", "+", "like"]


@settings(max_examples=30, deadline=None)
@given(text=st.text(max_size=30) | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_any_text_is_read_or_refused_with_a_place(text):
    problem = refusal(text)
    assert problem is None or 1 <= problem.position <= len(text) + 1
    assert "\n" not in str(problem)
