"""From an expression's words to its tree: a parser by binding powers, bounded in depth."""

from __future__ import annotations

from typing import Final, NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from shards.expression_tree import DEPTH, FUNCTIONS, Apply, Constant, Name, Node, Value, constant_kind, kind_of
from shards.expression_words import ExpressionError, Word, split_words

LIST: Final = 1000
"""Values that the list behind ``in`` may have."""

_OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _MINUS = range(1, 8)
_JOINS: Final = {"or": _OR, "and": _AND}
_ARITHMETIC: Final = {"+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "%": _PRODUCT}
_COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">="})
_RISING: Final = frozenset({"<", "<=", "=="})
_FALLING: Final = frozenset({">", ">=", "=="})
_PATTERNS: Final = frozenset({"like", "matches", "contains", "starts_with", "ends_with"})
_NEGATABLE: Final = _PATTERNS | {"in", "between"}
_VALUE: Final = "a column, a number, a text in quotes, true, false, a function or a bracket"


def read_tree(text: str) -> Node:
    """Return the tree of an expression.

    Raises:
        ExpressionError: it cannot be read, or an operation is given what it cannot take.
    """
    node = _Parser(text).whole()
    kind_of(node, text)
    return node


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._words = split_words(text)
        self._at = 0
        self._depth = 0

    def whole(self) -> Node:
        node = self._expression(_OR)
        if self._word.sort != "end":
            self._refuse("an operator such as 'and', or the end")
        return node

    @property
    def _word(self) -> Word:
        return self._words[self._at]

    def _is(self, *values: str) -> bool:
        return self._word.sort in {"sign", "keyword"} and self._word.value in values

    def _next(self) -> Word:
        self._at += 1
        return self._words[self._at - 1]

    def _take(self, value: str) -> Word:
        if not self._is(value):
            self._refuse(repr(value))
        return self._next()

    def _refuse(self, taken: str) -> NoReturn:
        found = "the end" if self._word.sort == "end" else ascii(self._word.written)
        raise ExpressionError(self._text, self._word.at + 1, f"found {found}, taken is {taken}")

    def _fail(self, at: int, problem: str) -> NoReturn:
        raise ExpressionError(self._text, at + 1, problem)

    def _apply(self, operation: str, operands: tuple[Node, ...], at: int) -> Apply:
        made = Apply(operation, operands, at)
        if made.depth > DEPTH:
            self._fail(at, f"its parts lie more than {DEPTH} deep in each other; write it in a simpler way")
        return made

    def _expression(self, power: int) -> Node:
        """Read everything that binds at least as tightly as ``power``."""
        self._depth += 1
        if self._depth > DEPTH:
            self._fail(self._word.at, f"its parts lie more than {DEPTH} deep in each other; write it in a simpler way")
        node = self._joined(power) if power <= _AND else self._bound(power)
        self._depth -= 1
        return node

    def _joined(self, power: int) -> Node:
        """Read operands of ``or`` (or of ``and``), however many, into one node."""
        join = "or" if power == _OR else "and"
        operands = [self._expression(power + 1)]
        at = self._word.at
        while self._is(join):
            self._next()
            operands.append(self._expression(power + 1))
        return operands[0] if len(operands) == 1 else self._apply(join, tuple(operands), at)

    def _bound(self, power: int) -> Node:
        if self._is("not") and power <= _NOT:
            word = self._next()
            return self._apply("not", (self._expression(_NOT),), word.at)
        node = self._sum(self._value(), power)
        return self._compared(node) if power <= _COMPARE else node

    def _sum(self, left: Node, power: int) -> Node:
        while self._word.sort == "sign" and (own := _ARITHMETIC.get(str(self._word.value), 0)) >= max(power, _SUM):
            word = self._next()
            right = self._expression(own + 1)
            left = self._apply(str(word.value), (left, right), word.at)
        return left

    def _compared(self, left: Node) -> Node:
        """Read the one comparison, or the chain of comparisons, that follows a value."""
        word = self._word
        if self._is(*_COMPARISONS):
            node = self._chain(left)
        elif self._is("is"):
            node = self._null_test(left)
        elif self._is("not") or self._is(*_NEGATABLE):
            node = self._tested(left)
        else:
            return left
        if self._is("is", "not", *_COMPARISONS, *_NEGATABLE):
            self._fail(self._word.at, f"{word.written!r} is not followed by another test; put brackets around one")
        return node

    def _chain(self, left: Node) -> Node:
        tests: list[Node] = []
        signs: set[str] = set()
        at = self._word.at
        while self._is(*_COMPARISONS):
            word = self._next()
            signs.add(str(word.value))
            if len(signs) + len(tests) > 1 and not (signs <= _RISING or signs <= _FALLING):
                self._fail(word.at, "a chain goes one way only (< <= ==, or > >= ==); join other tests by 'and'")
            right = self._operand()
            tests.append(self._apply(str(word.value), (left, right), word.at))
            left = right
        return tests[0] if len(tests) == 1 else self._apply("and", tuple(tests), at)

    def _operand(self) -> Node:
        if self._is("null"):
            self._fail(self._word.at, "a comparison with null is never true; write 'is null' or 'is not null'")
        return self._expression(_SUM)

    def _null_test(self, left: Node) -> Node:
        word = self._take("is")
        negated = self._is("not")
        if negated:
            self._next()
        self._take("null")
        test = self._apply("is null", (left,), word.at)
        return self._apply("not", (test,), word.at) if negated else test

    def _tested(self, left: Node) -> Node:
        negated = self._is("not")
        at = self._next().at if negated else self._word.at
        if not self._is(*_NEGATABLE):
            self._refuse("one of " + ", ".join(sorted(_NEGATABLE)))
        word = self._next()
        if word.value == "in":
            test = self._apply("in", (left, self._list()), word.at)
        elif word.value == "between":
            low = self._operand()
            self._take("and")
            bounds = (self._apply(">=", (left, low), word.at), self._apply("<=", (left, self._operand()), word.at))
            test = self._apply("and", bounds, word.at)
        else:
            test = self._apply(str(word.value), (left, self._pattern(str(word.value))), word.at)
        return self._apply("not", (test,), at) if negated else test

    def _pattern(self, operation: str) -> Constant:
        word = self._word
        if word.sort != "text":
            self._refuse(f"a text in quotes behind {operation!r}")
        self._next()
        if operation in {"matches", "like"}:
            pattern = str(word.value) if operation == "matches" else like_pattern(str(word.value))
            try:
                pc.match_substring_regex(pa.scalar(""), pattern)
            except pa.ArrowInvalid as error:
                reason = str(error).removeprefix("Invalid regular expression: ")
                self._fail(word.at, f"no regular expression that is taken (RE2 syntax): {reason}")
            return Constant(pattern, word.at)
        return Constant(str(word.value), word.at)

    def _list(self) -> Constant:
        at = self._take("[").at
        values: list[Value] = []
        while not values or self._is(","):
            if values:
                self._next()
            values.append(self._list_value())
            if len(values) > LIST:
                self._fail(at, f"the list has more than {LIST} values")
        self._take("]")
        if any(constant_kind(value) != constant_kind(values[0]) for value in values):
            self._fail(at, "the list has numbers and texts; taken are values of one kind")
        if any(isinstance(value, float) for value in values):
            values = [float(value) for value in values]  # type: ignore[arg-type]  # all are numbers
        return Constant(tuple(values), at)

    def _list_value(self) -> Value:
        minus = self._is("-")
        if minus:
            self._next()
        word = self._word
        if word.sort not in ({"number"} if minus else {"number", "text"}):
            self._refuse("a number or a text in quotes")
        self._next()
        return -word.value if minus else word.value  # type: ignore[operator]  # a number where there is a minus

    def _value(self) -> Node:
        """Read one value: what stands between operators."""
        word = self._word
        if self._is("-"):
            return self._negative()
        if self._is("("):
            self._next()
            node = self._expression(_OR)
            self._take(")")
            return node
        if self._is("true", "false"):
            self._next()
            return Constant(word.value == "true", word.at)
        if word.sort in {"number", "text"}:
            self._next()
            return Constant(word.value, word.at)
        return self._named()

    def _negative(self) -> Node:
        word = self._next()
        if self._word.sort == "number":
            return Constant(-self._next().value, word.at)  # type: ignore[operator]  # a number
        return self._apply("negative", (self._expression(_MINUS),), word.at)

    def _named(self) -> Node:
        word = self._word
        if word.sort not in {"name", "quoted"}:
            self._refuse(_VALUE)
        self._next()
        if word.sort == "quoted":
            return Name((str(word.value),), word.at)
        return self._call(word) if self._is("(") else Name(tuple(str(word.value).split(".")), word.at)

    def _call(self, word: Word) -> Node:
        name = str(word.value)
        if name not in FUNCTIONS:
            self._fail(word.at, f"there is no function {name!a}; taken are {', '.join(sorted(FUNCTIONS))}")
        self._take("(")
        operands = [self._expression(_OR)]
        while self._is(","):
            self._next()
            operands.append(self._expression(_OR))
        self._take(")")
        if len(operands) != FUNCTIONS[name]:
            self._fail(word.at, f"{name} takes {FUNCTIONS[name]} values, and was given {len(operands)}")
        return self._apply(name, tuple(operands), word.at)


def like_pattern(pattern: str) -> str:
    r"""Return the regular expression of a ``like`` pattern.

    ``%`` stands for any text and ``_`` for any one character; behind ``\`` the next one stands for itself.
    """
    parts: list[str] = []
    signs = iter(pattern)
    for sign in signs:
        if sign == "\\":
            parts.append(_literal(next(signs, "\\")))
        else:
            parts.append({"%": ".*", "_": "."}.get(sign) or _literal(sign))
    return r"(?s)\A" + "".join(parts) + r"\z"


def _literal(sign: str) -> str:
    return sign if sign.isalnum() or ord(sign) > 127 or sign == "_" else f"\\x{ord(sign):02x}"  # noqa: PLR2004 - ASCII
