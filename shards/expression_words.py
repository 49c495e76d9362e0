"""The words of an expression: names, numbers, texts and signs, each with its place; errors that point at a place."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final, Literal

LONGEST: Final = 10_000
"""Characters that an expression may have."""

KEYWORDS: Final = frozenset(
    {"and", "or", "not", "in", "between", "is", "null", "true", "false"}
    | {"like", "matches", "contains", "starts_with", "ends_with"}
)
"""Words with a meaning, in small or in capital letters; a column of such a name is written in backquotes."""

_WORD: Final = re.compile(
    r"""(?P<blank>\s+)
    |(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    |(?P<name>[^\W\d]\w*(?:\.[^\W\d]\w*)*)
    |(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<quoted>`[^`]+`)
    |(?P<sign><=|>=|==|!=|<>|[-+*/%<>=(),\[\]])""",
    re.VERBOSE | re.DOTALL,
)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_ESCAPE: Final = re.compile(r"\\([\"'\\])")
_SHOWN: Final = 30
_WHOLE: Final = range(2**63)
_SPELLINGS: Final = {"=": "==", "<>": "!="}

Sort = Literal["number", "name", "quoted", "keyword", "text", "sign", "end"]


class ExpressionError(ValueError):
    """An expression cannot be read, or does not fit the columns; ``position`` counts its characters from 1."""

    def __init__(self, text: str, position: int, problem: str) -> None:
        super().__init__(f"expression, character {position}: {problem}; in: {_pointed(text, position - 1)}")
        self.text, self.position, self.problem = text, position, problem

    def __reduce__(self) -> tuple[type[ExpressionError], tuple[str, int, str]]:
        return type(self), (self.text, self.position, self.problem)


@dataclass(frozen=True, slots=True)
class Word:
    """One word: its sort, what it says (a keyword in small letters, a number's value, a text's) and where it begins."""

    sort: Sort
    value: str | int | float
    at: int
    written: str


def split_words(text: str) -> list[Word]:
    """Return the words of an expression; the last one marks its end.

    Raises:
        ExpressionError: it is too long or no UTF-8, or something in it is no word.
    """
    if len(text) > LONGEST:
        raise ExpressionError(text, LONGEST + 1, f"it has {len(text)} characters; taken are at most {LONGEST}")
    if (odd := _SURROGATE.search(text)) is not None:
        raise ExpressionError(text, odd.start() + 1, "a byte here is no UTF-8")
    words: list[Word] = []
    at = 0
    while at < len(text):
        found = _WORD.match(text, at)
        if found is None:
            raise ExpressionError(text, at + 1, _unknown(text, at))
        if found.lastgroup != "blank":
            words.append(_word(text, found))
        at = found.end()
    return [*words, Word("end", "", len(text), "")]


def _word(text: str, found: re.Match[str]) -> Word:
    written, at = found[0], found.start()
    match found.lastgroup:
        case "number":
            return Word("number", _number(text, found), at, written)
        case "text":
            return Word("text", _ESCAPE.sub(r"\1", written[1:-1]), at, written)
        case "quoted":
            return Word("quoted", written[1:-1], at, written)
        case "name":
            small = written.lower()
            keyword = small in KEYWORDS and written in {small, written.upper()}
            return Word("keyword" if keyword else "name", small if keyword else written, at, written)
        case _:
            return Word("sign", _SPELLINGS.get(written, written), at, written)


def _number(text: str, found: re.Match[str]) -> int | float:
    """Return a whole number as it stands where 64 bits hold it, all others as the nearest double."""
    written, end = found[0], found.end()
    if end < len(text) and (text[end].isalnum() or text[end] in "_."):
        raise ExpressionError(text, end + 1, f"{written!r} goes on with {text[end]!r}; a number ends before a blank")
    if written.isdecimal() and len(written) < 20 and int(written) in _WHOLE:  # noqa: PLR2004 - digits of 2 ** 63
        return int(written)
    if not math.isfinite(value := float(written)):
        raise ExpressionError(text, found.start() + 1, f"{written[:_SHOWN]} is larger than any number that is held")
    return value


def _unknown(text: str, at: int) -> str:
    sign = text[at]
    if sign in "\"'`":
        return f"the text that begins with {sign} has no end; close it with {sign}"
    return f"{sign!a} is no part of an expression; texts stand in quotes, odd column names in backquotes"


def _pointed(text: str, at: int) -> str:
    """Return the text around a place, in one line of ASCII, with a mark before the place."""
    start, stop = max(0, at - _SHOWN), at + _SHOWN
    before = ("..." if start else "") + text[start:at]
    after = text[at:stop] + ("..." if stop < len(text) else "")
    return ascii(f"{before}[here]{after}")[1:-1]
