"""Tables of JSON: an object a line, a list of objects, an object of objects, or lists that are joined by a name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

from shards.ledger import Reason
from tools.corpus.json_stream import JsonStream
from tools.corpus.literals import is_deep
from tools.corpus.tables import (
    BOM,
    JSON_DEPTH,
    LINE_BYTES,
    Fault,
    RawRow,
    Table,
    as_json,
    encoding_fault,
    is_unicode,
    reading,
)
from tools.corpus.tables_text import require_bytes, text_lines

JOINED_CHARACTERS: Final = 1 << 29
"""Longest JSON text whose lists can be joined: one of them is held in memory."""

KEY_COLUMN: Final = "video_id"
"""The column of the names in an object of objects."""

_SENTENCES: Final = ("sentences", "annotations")
_LOOKED_AT: Final = 64


class JsonlTable(Table):
    """A table of one JSON object a line; the columns are the names that the objects use."""

    def __init__(self, path: Path, *, zipped: bool) -> None:
        self._path, self._zipped = path, zipped
        with reading(path, zipped=zipped) as file:
            require_bytes(file, path.name)

    def items(self) -> Iterator[str | Fault]:
        """Yield the text of each line; blank lines are no rows."""
        with reading(self._path, zipped=self._zipped) as file:
            yield from text_lines(file)

    def parse(self, item: str | Fault) -> RawRow:
        """Read the object; what is no object, no JSON or no UTF-8 is a fault."""
        if isinstance(item, Fault):
            return RawRow({}, item)
        try:
            values = json.loads(item.removeprefix(BOM), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            return RawRow({}, Fault(Reason.BAD_ROW, f"the line is no JSON: {error}"))
        return checked(values, item, "the line")


@dataclass(frozen=True, slots=True)
class _Value:
    """A row of a JSON text: what it says, and the text that says it."""

    value: Any
    text: str


class JsonTable(Table):
    """A JSON text whose rows are objects in it, found as a stream.

    Args:
        path: the file.
        zipped: whether it is gzipped.
        key: the name under which the list of rows stands; None where the text itself is the list.
    """

    def __init__(self, path: Path, *, zipped: bool, key: str | None = None) -> None:
        self._path, self._zipped, self._key = path, zipped, key

    def items(self) -> Iterator[_Value | Fault]:
        """Yield each row."""
        with reading(self._path, zipped=self._zipped) as file, _named(self._path):
            stream = JsonStream(file)
            yield from self._rows(stream)
            stream.end()

    def parse(self, item: _Value | Fault) -> RawRow:
        """Check the row; what is no object or no UTF-8 is a fault."""
        return RawRow({}, item) if isinstance(item, Fault) else checked(item.value, item.text, "the entry")

    def _rows(self, stream: JsonStream) -> Iterator[_Value | Fault]:
        if self._key is None:
            yield from _elements(stream)
            return
        for key in stream.entries():
            if key == self._key:
                yield from _elements(stream)
            else:
                stream.skip()


class JsonMapping(JsonTable):
    """A JSON object of objects: each is a row, and its name there stands in the column ``KEY_COLUMN``."""

    def _rows(self, stream: JsonStream) -> Iterator[_Value | Fault]:
        for key in stream.entries():
            value = _value(stream)
            if isinstance(value, _Value) and isinstance(value.value, dict):
                value = _Value({KEY_COLUMN: key} | value.value, as_json(key) + value.text)
            yield value


class JoinedTable(JsonTable):
    """A JSON object with a list of videos and one of sentences, joined by ``video_id``: a row a video.

    The row has the video's own columns and ``caption``, the list of its sentences in the file's order. Videos that
    only the sentences name come last.
    """

    def _rows(self, stream: JsonStream) -> Iterator[_Value | Fault]:
        captions, named = self._captions(), set[str]()
        for key in stream.entries():
            if key != "videos":
                stream.skip()
                continue
            for video in _elements(stream):
                yield _joined(video, captions, named)
        for name, texts in captions.items():
            if name not in named:
                yield _with_captions({KEY_COLUMN: name}, texts, as_json(name))

    def _captions(self) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        with reading(self._path, zipped=self._zipped) as file, _named(self._path):
            stream = JsonStream(file)
            for key in stream.entries():
                if key not in _SENTENCES:
                    stream.skip()
                    continue
                for sentence in _elements(stream):
                    if stream.position > JOINED_CHARACTERS:
                        raise ValueError(f"it has more than {JOINED_CHARACTERS} characters; give one row a video")
                    _collect(sentence, found)
        return found


def open_json(path: Path, *, zipped: bool) -> Table:
    """Return the table of a JSON file, by what it holds: a list, an object, or an object a line.

    Raises:
        ValueError: it is none of these, or is UTF-16.
    """
    with reading(path, zipped=zipped) as file:
        require_bytes(file, path.name)
        if _is_jsonl(file):
            return JsonlTable(path, zipped=zipped)
    with reading(path, zipped=zipped) as file, _named(path):
        stream = JsonStream(file)
        first = stream.peek()
        if first == "[":
            return JsonTable(path, zipped=zipped)
        if first != "{":
            raise ValueError("it holds neither a list nor an object; taken are lists of objects, and an object a line")
        shapes = dict(islice(_shapes(stream), _LOOKED_AT))
    return _by_shapes(path, shapes, zipped=zipped)


def checked(values: object, text: str, what: str) -> RawRow:
    """Return the row of a JSON value that was read from ``text``, with its fault if it is none."""
    if text.count("{") + text.count("[") > JSON_DEPTH and is_deep(values, JSON_DEPTH):
        return RawRow({}, Fault(Reason.BAD_ROW, f"{what}'s values are nested more than {JSON_DEPTH} deep"))
    if not isinstance(values, dict):
        kind = "an array" if isinstance(values, list) else "a single value"
        return RawRow({}, Fault(Reason.BAD_ROW, f"{what} is no JSON object but {kind}"))
    if is_unicode(text) and "\\u" not in text:
        return RawRow(values)
    broken = [f"in column {name}" for name, value in values.items() if not is_unicode(as_json({name: value}))]
    return RawRow(values, encoding_fault(broken) if broken else None)


class _named:  # noqa: N801 - used like a function
    """Puts the file's name before what is wrong with its JSON."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if type(error) is ValueError and not str(error).startswith("input "):
            raise ValueError(f"input {self._path.name}: {error}") from error


def _is_jsonl(file: BinaryIO) -> bool:
    """Tell whether the first line is a whole object and the second, if it is not blank, begins another."""
    first, second = file.readline(LINE_BYTES), file.readline(_LOOKED_AT)
    try:
        found = json.loads(first.decode("utf-8", "surrogateescape").removeprefix(BOM))
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and second.lstrip().startswith(b"{")


def _shapes(stream: JsonStream) -> Iterator[tuple[str, str]]:
    """Yield the names of an object's values with the first character of each."""
    for key in stream.entries():
        shape = stream.peek()
        stream.skip()
        yield key, shape


def _by_shapes(path: Path, shapes: Mapping[str, str], *, zipped: bool) -> Table:
    lists = [key for key, shape in shapes.items() if shape == "["]
    if "videos" in lists and any(name in lists for name in _SENTENCES):
        return JoinedTable(path, zipped=zipped)
    if shapes and set(shapes.values()) == {"{"}:
        return JsonMapping(path, zipped=zipped)
    if len(lists) == 1 and not {"video", "video_id"} & shapes.keys():
        return JsonTable(path, zipped=zipped, key=lists[0])
    return JsonObject(path, zipped=zipped)


class JsonObject(JsonTable):
    """A JSON text that is one row."""

    def _rows(self, stream: JsonStream) -> Iterator[_Value | Fault]:
        yield _value(stream)


def _elements(stream: JsonStream) -> Iterator[_Value | Fault]:
    for _ in stream.elements():
        yield _value(stream)


def _value(stream: JsonStream) -> _Value | Fault:
    value, odd = stream.value(), stream.odd
    if odd is not None:
        return Fault(Reason.BAD_ROW, f"the entry is no JSON: {odd} is no JSON number")
    return _Value(value, stream.text)


def _collect(sentence: _Value | Fault, found: dict[str, list[Any]]) -> None:
    """Add a sentence to those of its video; one that names no video stands under an empty name."""
    told = sentence.value if isinstance(sentence, _Value) and isinstance(sentence.value, dict) else {}
    found.setdefault(_name(told) or "", []).append(told.get("caption"))


def _joined(video: _Value | Fault, captions: Mapping[str, list[Any]], named: set[str]) -> _Value | Fault:
    """Return a video with its captions, its name added to those that were ``named``."""
    if isinstance(video, Fault) or not isinstance(video.value, dict):
        return video
    name = _name(video.value)
    if name is None:
        return video
    named.add(name)
    return _with_captions(video.value, captions.get(name, []), video.text)


def _name(values: Mapping[str, Any]) -> str | None:
    """Return the name by which lists are joined, a whole number as its text; None where there is none."""
    name = values.get(KEY_COLUMN)
    return str(name) if isinstance(name, str | int) and not isinstance(name, bool) else None


def _with_captions(values: Mapping[str, Any], captions: list[Any], text: str) -> _Value:
    return _Value({**values, "caption": captions}, text + as_json(captions))


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON number")
