"""A JSON text read piece by piece, so that lists and objects of any size are gone through in flat memory."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from tools.corpus.tables import BOM, LINE_BYTES

_CHUNK: Final = 1 << 18
_ENDS: Final = frozenset(" \t\r\n,:]}")
_BLANKS: Final = re.compile(r"[ \t\r\n]*")


class JsonStream:
    """Reads values in order; lists and objects may be entered in place of being read whole.

    ``text`` is what the last value was read from, ``odd`` the name of a number in it that JSON has not (NaN, Infinity).

    Args:
        file: the text, UTF-8; other bytes come as lone surrogates.

    Raises:
        ValueError: the text is no JSON at some character, or one value is longer than ``LINE_BYTES``.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._json = json.JSONDecoder(parse_constant=self._note)
        self._buffer, self._at, self._before, self._ended = "", 0, 0, False
        self.odd: str | None = None
        self.text = ""
        if self.peek() == BOM:
            self._at += 1

    @property
    def position(self) -> int:
        """How many characters were read."""
        return self._before + self._at

    def peek(self) -> str:
        """Return the next character that is not blank; none at the end."""
        while True:
            found = _BLANKS.match(self._buffer, self._at)
            self._at = self._at if found is None else found.end()
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if self._ended:
                return ""
            self._read()

    def value(self) -> Any:  # noqa: ANN401 - any JSON value
        """Return the next value whole."""
        self.peek()
        self.odd = None
        while True:
            try:
                value, end = self._json.raw_decode(self._buffer, self._at)
            except RecursionError:
                raise self._error("values are nested too deep") from None
            except ValueError as error:
                if self._ended or len(self._buffer) - self._at > LINE_BYTES:
                    raise self._error(self._told(error)) from None
            else:
                # Only a mark behind it proves that a number goes on no further, not even by a fraction.
                if self._ended or self._buffer[end : end + 1] in _ENDS or end - self._at > LINE_BYTES:
                    self.text = self._buffer[self._at : end]
                    self._at = end
                    return value
            self._read()

    def elements(self) -> Iterator[None]:
        """Enter the list that comes next; at each step the caller reads one element, by any of these methods."""
        self._take("[")
        if self._closes("]"):
            return
        while True:
            yield
            if self._closes("]"):
                return
            self._take(",")

    def entries(self) -> Iterator[str]:
        """Enter the object that comes next and yield its keys; at each the caller reads the value."""
        self._take("{")
        if self._closes("}"):
            return
        while True:
            if self.peek() != '"':
                raise self._error("a name in quotes is missing")
            key = self.value()
            self._take(":")
            yield key
            if self._closes("}"):
                return
            self._take(",")

    def skip(self) -> None:
        """Pass over the next value, a list element by element."""
        if self.peek() != "[":
            self.value()
            return
        for _ in self.elements():
            self.value()

    def end(self) -> None:
        """Check that nothing follows."""
        if self.peek():
            raise self._error("more stands behind the end")

    def _note(self, name: str) -> None:
        self.odd = name

    def _take(self, mark: str) -> None:
        if self.peek() != mark:
            raise self._error(f"{mark} is missing")
        self._at += 1

    def _closes(self, mark: str) -> bool:
        closes = self.peek() == mark
        self._at += closes
        return closes

    def _read(self) -> None:
        """Read as much again as lies there unread, so that a long value costs no more than twice its length."""
        rest = self._buffer[self._at :]
        self._before, self._at = self._before + self._at, 0
        data = self._file.read(max(_CHUNK, len(rest)))
        self._ended = not data
        self._buffer = rest + self._decoder.decode(data, final=self._ended)

    def _told(self, error: ValueError) -> str:
        if not self._ended:
            return f"this value is no JSON, or longer than {LINE_BYTES} characters"
        return error.msg if isinstance(error, json.JSONDecodeError) else str(error)

    def _error(self, what: str) -> ValueError:
        return ValueError(f"no JSON at character {self.position}: {what}")
