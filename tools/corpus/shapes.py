"""Rows of corpora whose cells need more than their columns' names: conversations, tokens in texts, names that tell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from shards.ledger import Reason
from tools.corpus.layouts import CellError, as_list

CAPTION: Final = "caption"
"""The column that shapes put a caption into where the table has none."""

_TURNS: Final = ("conversations", "messages")
_ANSWERS: Final = frozenset({"gpt", "assistant"})
_PLACEHOLDER: Final = re.compile(r"</?(?:video|image)>")
_DJ_TOKEN: Final = re.compile(r"<__dj__(video|image)>")
_DJ_END: Final = "<|__dj__eoc|>"
_CUT_NAME: Final = re.compile(r"(?:.*/)?([^/]+)_([0-9]+)_([0-9]+)(?:\.[A-Za-z0-9]+)?")
_LABEL: Final = re.compile(r"[\s,]([0-9]{1,18})$")
_NAME_CHARS: Final = 4096

Rows = Sequence[Mapping[str, Any]]


def conversation(values: Mapping[str, Any]) -> Rows:
    """Make the first answer of a conversation its video's caption; the turns stay as they are.

    Raises:
        CellError: the turns are no list of turns.
    """
    name = next((name for name in _TURNS if name in values), _TURNS[0])
    for turn in as_list(values.get(name), name):
        if not isinstance(turn, Mapping):
            raise CellError(Reason.BAD_ROW, f"column {name} lists what is no turn of a conversation")
        if turn.get("from", turn.get("role")) in _ANSWERS:
            return [{**values, CAPTION: _spoken(turn.get("value", turn.get("content")))}]
    return [{**values, CAPTION: None}]


def tokens_in_text(values: Mapping[str, Any]) -> Rows:
    """Give each of a sample's videos the text of the piece that its token stands in.

    Raises:
        CellError: there are as many tokens as videos, or none, in no well-formed sample.
    """
    column = "videos" if values.get("videos") else "images"
    videos, text = as_list(values.get(column), column), values.get("text")
    if not isinstance(text, str):
        raise CellError(Reason.BAD_ROW, "column text holds no text")
    pieces = [piece for piece in text.split(_DJ_END) if piece.strip()]
    plain = [" ".join(_DJ_TOKEN.sub(" ", piece).split()) for piece in pieces]
    counts = [len(_DJ_TOKEN.findall(piece)) for piece in pieces]
    texts = [piece for piece, count in zip(plain, counts, strict=True) for _ in range(count)]
    if not texts:
        texts = [" ".join(plain)] * len(videos)
    if len(texts) != len(videos):
        raise CellError(Reason.BAD_ROW, f"column text has {len(texts)} tokens for {len(videos)} videos")
    return [{**values, column: video, "text": piece} for video, piece in zip(videos, texts, strict=True)]


def name_tells_segment(values: Mapping[str, Any]) -> Rows:
    """Add what the name of a clip tells of where it was cut from: ``<id>_<start>_<end>.avi``."""
    video = values.get("video")
    found = _CUT_NAME.fullmatch(video) if isinstance(video, str) and len(video) <= _NAME_CHARS else None
    if found is None:
        return [values]
    return [{**values, "youtube_id": found[1], "source_start": int(found[2][:9]), "source_end": int(found[3][:9])}]


def label_behind_path(values: Mapping[str, Any]) -> Rows:
    """Take the number of a class off the end of a line: ``path 17`` or ``path,17``.

    Raises:
        CellError: no number stands there.
    """
    line = values.get("video")
    found = _LABEL.search(line[-_NAME_CHARS:]) if isinstance(line, str) else None
    if found is None or not isinstance(line, str):
        raise CellError(Reason.BAD_ROW, "the line does not end with the number of a class")
    return [{**values, "video": line[: -len(found[0])].rstrip(", \t"), "label": int(found[1])}]


def _spoken(value: Any) -> Any:  # noqa: ANN401 - a cell of any table
    """Return what a turn says, without the marks that stand for pictures."""
    if isinstance(value, list):
        parts = [part.get("text") for part in value if isinstance(part, Mapping)]
        value = "\n".join(part for part in parts if isinstance(part, str))
    return _PLACEHOLDER.sub("", value).strip() if isinstance(value, str) else value
