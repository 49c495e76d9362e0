"""Where the things of a row stand, and a row taken apart into what is asked of each of its segments."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from shards.ledger import Reason
from tools.corpus.literals import parse_list
from tools.corpus.tables import Fault
from tools.corpus.times import Unit

PARTS: Final = 10_000
"""How many segments one row may ask for, and how many captions one segment may have."""

TABLE: Final = "__table__"
"""In a template: the name of the table's file without its endings."""

_FIELD: Final = re.compile(r"\{([^{}:]+)(?::0?([0-9]{1,2}))?\}")
_SPAN: Final = ("span", "segment", "timestamp")
_ENDS: Final = ("start", "end")
_TEXT_CHARS: Final = 4096


class CellError(ValueError):
    """A row's cells do not say what is to be cut; ``fault`` is what its ledger row says."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.fault = Fault(reason, message)


@dataclass(frozen=True, slots=True)
class Columns:
    """What the caller says of the table: its format and its columns; None leaves it to the format, or to the default.

    The defaults are ``video``, ``caption``, and ``start`` and ``end`` where the table has them. An empty ``caption``
    says that there are none. ``captions`` is a column that lists several captions, ``clips`` one that lists segments,
    ``template`` makes the video's name of several columns, ``unit`` is what bare numbers in times count.
    """

    video: str | None = None
    caption: str | None = None
    start: str | None = None
    end: str | None = None
    captions: str | None = None
    clips: str | None = None
    template: str | None = None
    unit: Unit | None = None
    format: str | None = None

    def as_settings(self) -> dict[str, str | None]:
        """Return what a plan keeps: as earlier versions did where nothing is asked for that these had not."""
        told = {"video": self.video, "caption": self.caption}
        if self.format is None:
            told = {"video": self.video or "video", "caption": "caption" if self.caption is None else self.caption}
        later = {name: getattr(self, name) for name in ("captions", "clips", "template", "unit", "format")}
        asked = {name: value for name, value in later.items() if value is not None}
        return {**told, "start": self.start, "end": self.end, **asked}


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns of a table hold what, and how their cells are to be read.

    ``video`` is the column of the video's name, or ``template`` makes the name of several, as in
    ``{page_dir}/{videoid}.mp4`` (``{start:06}`` pads a whole number with zeros). ``caption`` is None where there are
    no captions; ``several`` reads its cell as a list also where it is text. ``start`` and ``end`` are None for whole
    videos; ``clips`` is a column that lists the row's segments. Cells of the columns ``along`` list one value a
    segment. ``unit`` is what bare numbers count. ``shape`` first makes rows of a row whose cells need more than that.
    """

    video: str = "video"
    template: str | None = None
    caption: str | None = "caption"
    several: bool = False
    start: str | None = "start"
    end: str | None = "end"
    clips: str | None = None
    along: tuple[str, ...] = ()
    unit: Unit = "s"
    shape: Callable[[Mapping[str, Any]], Sequence[Mapping[str, Any]]] | None = None

    @property
    def named(self) -> dict[str, str]:
        """The columns that videos and captions need, by the option that names others; those of times may be absent."""
        needed = dict.fromkeys(template_fields(self.template), "--video-template")
        if self.template is None:
            needed[self.video] = "--video-col"
        if self.caption is not None:
            needed[self.caption] = "--captions-col" if self.several else "--caption-col"
        if self.clips is not None:
            needed[self.clips] = "--clips-col"
        return {name: option for name, option in needed.items() if name != TABLE}

    @property
    def used(self) -> frozenset[str]:
        """The columns that are not the user's own."""
        times = {self.clips} if self.clips is not None else {self.start, self.end}
        names = {self.caption, *times} | ({self.video} if self.template is None else set[str | None]())
        return frozenset(name for name in names if name is not None)


@dataclass(frozen=True, slots=True)
class Cut:
    """What a row asks of one segment, as its cells say it; ``own`` are the user's own columns."""

    video: Any
    caption: Any
    start: Any = None
    end: Any = None
    own: Mapping[str, Any] = field(default_factory=dict)


def template_fields(template: str | None) -> list[str]:
    """Return the names of the columns that a template takes.

    Raises:
        ValueError: it has none, or a brace of no column.
    """
    if template is None:
        return []
    found = _FIELD.findall(template)
    if not found or set(_FIELD.sub("", template)) & set("{}"):
        raise ValueError(f"--video-template {template!r}: write columns in braces, as in {{folder}}/{{id}}.mp4")
    return [name for name, _ in found]


def cuts(values: Mapping[str, Any], layout: Layout) -> Iterator[Cut]:
    """Yield what a row asks for, one for each segment of each of its videos.

    Args:
        values: the row's cells; with a template that needs it, the table's name under ``TABLE``.
        layout: where to look.

    Raises:
        CellError: the cells do not say it.
    """
    shaped = [values] if layout.shape is None else layout.shape(values)
    if not shaped:
        raise CellError(Reason.NO_VIDEO, f"column {layout.video} lists no video")
    for each in shaped:
        own = {name: value for name, value in each.items() if name not in layout.used and name != TABLE}
        caption = None if layout.caption is None else each.get(layout.caption)
        whole = Cut(_video(each, layout), caption, own=own)
        for video in _videos(whole.video):
            yield from _segments(each, layout, Cut(video, caption, own=own))


def as_list(value: Any, column: str) -> list[Any]:  # noqa: ANN401 - a cell of any table
    """Return a cell as a list: itself, or the one that its text says.

    Raises:
        CellError: it is neither.
    """
    if isinstance(value, list | tuple):
        return list(value)
    if not isinstance(value, str):
        what = "is empty" if value is None else f"holds a {type(value).__name__}, not a list"
        raise CellError(Reason.BAD_ROW, f"column {column} {what}")
    try:
        return parse_list(value)
    except ValueError as error:
        raise CellError(Reason.BAD_ROW, f"column {column} cannot be read as a list: {error}") from error


def _video(values: Mapping[str, Any], layout: Layout) -> Any:  # noqa: ANN401 - a cell of any table
    if layout.template is None:
        return values.get(layout.video)
    return _FIELD.sub(lambda found: _filled(values, found[1], found[2]), layout.template)


def _filled(values: Mapping[str, Any], name: str, digits: str | None) -> str:
    value = values.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        what = "is empty" if value is None else f"holds a {type(value).__name__}, not a name"
        raise CellError(Reason.NO_VIDEO, f"column {name} {what}")
    text = str(value).strip()
    if not text or len(text) > _TEXT_CHARS:
        raise CellError(Reason.NO_VIDEO, f"column {name} {'is empty' if not text else 'is too long for a name'}")
    if digits is None:
        return text
    whole = text.removesuffix(".0")
    if not whole.isdecimal():
        raise CellError(Reason.NO_VIDEO, f"column {name} holds {text[:40]!a}, no whole number for a name")
    return whole.zfill(int(digits))


def _videos(cell: Any) -> list[Any]:  # noqa: ANN401 - a cell of any table
    """Return the videos that a cell names: one, or those of a list."""
    if not isinstance(cell, list | tuple):
        return [cell]
    if not 1 <= len(cell) <= PARTS:
        raise CellError(Reason.NO_VIDEO, f"it lists {len(cell)} videos; taken are 1 to {PARTS}")
    return list(cell)


def _segments(values: Mapping[str, Any], layout: Layout, whole: Cut) -> Iterator[Cut]:
    start = None if layout.start is None else values.get(layout.start)
    end = None if layout.end is None else values.get(layout.end)
    if layout.clips is not None:
        clips = [_clip(clip, layout.clips) for clip in as_list(values.get(layout.clips), layout.clips)]
        place = layout.clips
    elif isinstance(start, list) and isinstance(end, list):
        if len(start) != len(end):
            raise CellError(Reason.BAD_SEGMENT, f"{len(start)} starts stand beside {len(end)} ends")
        clips = [_Clip(first, last, {}) for first, last in zip(start, end, strict=True)]
        place = str(layout.start)
    else:
        yield Cut(whole.video, whole.caption, start, end, whole.own)
        return
    if not 1 <= len(clips) <= PARTS:
        raise CellError(Reason.BAD_SEGMENT, f"column {place} lists {len(clips)} segments; taken are 1 to {PARTS}")
    own_names = whole.own.keys()
    captions = _captions_along(whole.caption, len(clips), layout)
    along = {name: _column_along(values[name], len(clips), name) for name in layout.along if name in own_names}
    for number, clip in enumerate(clips):
        own = {**whole.own, **{name: column[number] for name, column in along.items()}, **clip.own}
        yield Cut(whole.video, captions[number], clip.start, clip.end, own)


@dataclass(frozen=True, slots=True)
class _Clip:
    start: Any
    end: Any
    own: Mapping[str, Any]


def _clip(value: Any, column: str) -> _Clip:  # noqa: ANN401 - an entry of any list
    """Return one entry of a list of segments: a pair, or an object that holds one beside columns of its own."""
    own: Mapping[str, Any] = {}
    if isinstance(value, Mapping):
        name = next((name for name in _SPAN if name in value), None)
        used = _ENDS if name is None else (name,)
        own = {key: entry for key, entry in value.items() if key not in used}
        value = [value.get("start"), value.get("end")] if name is None else value[name]
    if not isinstance(value, list | tuple) or len(value) != len(_ENDS):
        raise CellError(Reason.BAD_SEGMENT, f"column {column} lists {str(value)[:40]!a}, which is no pair of times")
    return _Clip(value[0], value[1], own)


def _captions_along(cell: Any, count: int, layout: Layout) -> list[Any]:  # noqa: ANN401 - a cell of any table
    """Return the caption of each segment: those of a list as long, or the same one for all."""
    if layout.caption is None:
        return [None] * count
    listed = cell
    if isinstance(cell, str) and (layout.several or layout.caption in layout.along):
        listed = as_list(cell, layout.caption)
    if not isinstance(listed, list | tuple):
        return [cell] * count
    return _column_along(listed, count, layout.caption)


def _column_along(cell: Any, count: int, column: str) -> list[Any]:  # noqa: ANN401 - a cell of any table
    found = as_list(cell, column) if cell not in (None, "") else [None] * count
    if len(found) != count:
        raise CellError(Reason.BAD_ROW, f"column {column} lists {len(found)} values for {count} segments")
    return found
