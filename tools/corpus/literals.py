"""Lists in a cell of text, written as JSON or as Python prints them: read by a bounded parser, nothing is executed."""

from __future__ import annotations

import json
import re
from typing import Any, Final

DEPTH: Final = 32
"""How deep lists and mappings may lie in each other."""

ITEMS: Final = 1_000_000
"""How many values one cell may hold."""

_DIGITS: Final = 400
_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<text>[uU]?(?:'(?:[^'\\]++|\\.)*+'|"(?:[^"\\]++|\\.)*+"))
      | (?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?(?![\w.]))
      | (?P<word>[A-Za-z]+)
      | (?P<mark>[\[\](){},:])
    )""",
    re.VERBOSE | re.DOTALL,
)
_NOTHING: Final = ("None", "null", "nan", "NaN")
_WORDS: Final = dict.fromkeys(_NOTHING) | {"True": True, "true": True, "False": False, "false": False}
_ESCAPE: Final = re.compile(r"\\(\r\n|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|.)", re.DOTALL)
_SHORT: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "a": "\a", "\n": "", "\r\n": ""}
_CLOSING: Final = {"[": "]", "(": ")", "{": "}"}
_LARGEST: Final = 0x10FFFF


def parse_list(text: str) -> list[Any]:
    """Return the list that a cell's text says, as JSON or as Python prints lists and tuples.

    Mappings come as dicts; the words that stand for nothing come as None.

    Raises:
        ValueError: the text is no such list, or holds more or deeper values than are taken.
    """
    body = text.strip()
    if not body.startswith(("[", "(")):
        raise ValueError("it is no list: it starts with neither [ nor (")
    if body.count(",") > ITEMS:
        raise ValueError(f"it holds more than {ITEMS} values")
    try:
        found = json.loads(body, parse_constant=_WORDS.get)
    except (ValueError, RecursionError):
        found = _Parser(body).whole()
    if not isinstance(found, list) or is_deep(found, DEPTH):
        raise ValueError(f"it is no list, or holds some values more than {DEPTH} deep")
    return found


def is_deep(value: object, depth: int) -> bool:
    """Return whether objects and lists lie more than ``depth`` deep in each other."""
    level = [value]
    for _ in range(depth + 1):
        inside = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        level = [value for values in inside for value in values]
    return bool(level)


class _Parser:
    """Reads one value, token by token; ``ITEMS`` and ``DEPTH`` bound what it may hold."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._items = text, 0, 0

    def whole(self) -> Any:  # noqa: ANN401 - any value
        value = self._value(0)
        if self._text[self._at :].strip():
            raise ValueError(f"more stands behind its end, at character {self._at}")
        return value

    def _next(self) -> re.Match[str]:
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            raise ValueError(f"character {self._at} is neither the end nor a part of a list")
        self._at = found.end()
        return found

    def _closes(self, mark: str) -> bool:
        """Step over ``mark`` if it comes next."""
        found = _TOKEN.match(self._text, self._at)
        if found is None or found["mark"] != mark:
            return False
        self._at = found.end()
        return True

    def _value(self, depth: int) -> Any:  # noqa: ANN401 - any value
        self._items += 1
        if self._items > ITEMS or depth > DEPTH:
            raise ValueError(f"it holds more than {ITEMS} values, or some more than {DEPTH} deep")
        token = self._next()
        if token["text"] is not None:
            return _unquoted(token["text"])
        if token["number"] is not None:
            return _number(token["number"])
        if token["word"] is not None:
            if token["word"] not in _WORDS:
                raise ValueError(f"{token['word'][:40]!a} at character {token.start('word')} is no value")
            return _WORDS[token["word"]]
        if token["mark"] not in _CLOSING:
            raise ValueError(f"{token['mark']!a} at character {token.start('mark')} is out of place")
        return self._inside(token["mark"], depth)

    def _inside(self, opening: str, depth: int) -> list[Any] | dict[Any, Any]:
        items: list[Any] = []
        while not self._closes(_CLOSING[opening]):
            if items and not self._closes(","):
                raise ValueError(f"a comma or {_CLOSING[opening]} is missing at character {self._at}")
            if items and self._closes(_CLOSING[opening]):
                break
            items.append(self._pair(depth) if opening == "{" else self._value(depth + 1))
        return dict(items) if opening == "{" else items

    def _pair(self, depth: int) -> tuple[str, Any]:
        key = self._value(depth + 1)
        if not self._closes(":"):
            raise ValueError(f"a colon is missing at character {self._at}")
        return str(key), self._value(depth + 1)


def _number(text: str) -> int | float:
    if len(text) > _DIGITS:
        raise ValueError(f"a number of {len(text)} characters is too long")
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def _unquoted(text: str) -> str:
    body = text.lstrip("uU")[1:-1]
    return _ESCAPE.sub(_escaped, body) if "\\" in body else body


def _escaped(found: re.Match[str]) -> str:
    code = found[1]
    if code in _SHORT:
        return _SHORT[code]
    if code[0] in "xuU" and len(code) > 1:
        number = int(code[1:], 16)
    elif code[0] in "01234567":
        number = int(code, 8)
    else:
        return code if code in "\\'\"" else f"\\{code}"
    if number > _LARGEST:
        raise ValueError(f"\\{code} is no character")
    return chr(number)
