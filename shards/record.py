"""One clip: its fields, their types and units, and the Parquet schema that holds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Final, Literal

import pyarrow as pa

from shards.layout import FORMAT_VERSION

Cut = Literal["verbatim", "packets", "encoded"]
"""How a payload was made: the source's own bytes, its packets in a new container, or newly encoded frames."""


@dataclass(frozen=True, slots=True)
class Member:
    """Where one file of a clip lies in the tar: extension without dot, byte offset of its payload, size in bytes."""

    ext: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Decodable:
    """Which decoders can read the payload, as the probe's codec, profile and pixel format tell."""

    pyav: bool
    dali_cpu: bool
    nvdec: bool


@dataclass(frozen=True, slots=True)
class Media:
    """What a probe says of one video payload.

    Times are seconds from the payload's first frame; ``width`` and ``height`` are pixels as stored, before
    ``rotation`` (degrees clockwise that a player turns the picture by: 0, 90, 180 or 270). ``fps`` is the mean rate.
    ``keyframes`` are frame numbers in presentation order; ``max_gop`` is the largest distance between two in frames.
    """

    duration: float
    num_frames: int
    fps: float
    is_vfr: bool
    width: int
    height: int
    rotation: int
    codec: str
    profile: str | None
    pix_fmt: str
    max_gop: int
    keyframes: tuple[int, ...]
    has_audio: bool
    decodable: Decodable


@dataclass(frozen=True, slots=True)
class Record:
    """One clip of a dataset: a row of the shard's Parquet and, as JSON, a member of its tar.

    ``row`` and ``clip`` number the input row and the clip within it, from 0. ``start`` and ``end`` are the requested
    seconds (None: the whole video), ``pts_start`` and ``pts_end`` the seconds that were cut, all counted from the
    source's first frame. ``cut_reason`` says why a clip is not a plain copy, or why its times differ from the request;
    ``bytes`` and ``sha256`` are the payload's. ``members`` is empty in the tar's JSON, which cannot know offsets.
    ``captions`` holds all captions where there are several; ``caption`` is the first of them. ``cuts`` are the seconds
    within the clip at which new shots begin, none in an empty tuple, None where nobody looked for them.
    """

    key: str
    caption: str
    source: str
    row: int
    clip: int
    start: float | None
    end: float | None
    pts_start: float
    pts_end: float
    media: Media
    bytes: int
    sha256: str
    cut: Cut
    cut_reason: str | None = None
    members: tuple[Member, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    status: str = "success"
    error_message: str | None = None
    captions: tuple[str, ...] = ()
    cuts: tuple[float, ...] | None = None

    def to_row(self) -> dict[str, Any]:
        """Return the record as one flat Parquet row (the fields of ``media`` and ``extra`` are columns)."""
        return self.own_cells() | dict(self.extra)

    def own_cells(self) -> dict[str, Any]:
        """Return the record as one flat Parquet row without the user's own columns."""
        media = self.media
        row: dict[str, Any] = dict(zip(_BEFORE_MEDIA, _before_media(self), strict=True))
        row |= zip(_MEDIA, _media(media), strict=True)
        row["keyframes"] = list(media.keyframes)
        row["decodable"] = dict(zip(_DECODABLE, _decodable(media.decodable), strict=True))
        row |= zip(_BEHIND_MEDIA, _behind_media(self), strict=True)
        row["members"] = member_cells(self.members)
        row["captions"] = list(self.captions) or None
        row["cuts"] = None if self.cuts is None else list(self.cuts)
        return row

    def to_json(self) -> dict[str, Any]:
        """Return what the tar's ``.json`` member holds: the row without ``members``.

        Columns of later versions are left out where they are null, so the bytes of such samples are as they were.
        """
        return json_cells(self.to_row())

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Record:
        """Rebuild a record from ``to_row`` (or ``to_json``); columns that are not ours become ``extra``.

        Raises:
            KeyError: a column of ours is missing.
        """
        decodable = Decodable(**row["decodable"])
        media_values = {f.name: row[f.name] for f in fields(Media)}
        media_values |= {"decodable": decodable, "keyframes": tuple(row["keyframes"])}
        own = {f.name: row[f.name] for f in fields(cls) if f.name not in {"media", "members", "extra"} | LATER_COLUMNS}
        extra = {name: value for name, value in row.items() if name not in COLUMNS}
        captions = row.get("captions")
        if isinstance(captions, str | bool | int | float):  # a user's column of a dataset older than ours of that name
            extra["captions"], captions = captions, None
        cuts = row.get("cuts")
        if isinstance(cuts, str | bool | int | float):  # as above
            extra["cuts"], cuts = cuts, None
        cuts = None if cuts is None else tuple(cuts)
        members = tuple(Member(**member) for member in row.get("members") or ())
        media = Media(**media_values)
        return cls(**own, media=media, members=members, extra=extra, captions=tuple(captions or ()), cuts=cuts)


def json_cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the tar's ``.json`` member holds of a Parquet row, as ``Record.to_json`` says."""
    return {
        name: value
        for name, value in row.items()
        if name != "members" and (value is not None or name not in LATER_COLUMNS)
    }


def member_cells(members: Iterable[Member]) -> list[dict[str, Any]]:
    """Return the cell of a Parquet row that says where a clip's files lie."""
    return [{"ext": each.ext, "offset": each.offset, "size": each.size} for each in members]


_OWN: Final = [item.name for item in fields(Record) if item.name != "extra"]
_BEFORE_MEDIA: Final = tuple(_OWN[: _OWN.index("media")])
_BEHIND_MEDIA: Final = tuple(_OWN[_OWN.index("media") + 1 :])
_MEDIA: Final = tuple(item.name for item in fields(Media))
_DECODABLE: Final = tuple(item.name for item in fields(Decodable))
_before_media, _behind_media = attrgetter(*_BEFORE_MEDIA), attrgetter(*_BEHIND_MEDIA)
_media, _decodable = attrgetter(*_MEDIA), attrgetter(*_DECODABLE)

_MEMBER_TYPE: Final = pa.struct([("ext", pa.string()), ("offset", pa.int64()), ("size", pa.int64())])
_DECODABLE_TYPE: Final = pa.struct([("pyav", pa.bool_()), ("dali_cpu", pa.bool_()), ("nvdec", pa.bool_())])

_FIELDS: Final = [
    pa.field("key", pa.string(), nullable=False),
    pa.field("caption", pa.string(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
    pa.field("row", pa.int64(), nullable=False),
    pa.field("clip", pa.int32(), nullable=False),
    pa.field("start", pa.float64()),
    pa.field("end", pa.float64()),
    pa.field("pts_start", pa.float64(), nullable=False),
    pa.field("pts_end", pa.float64(), nullable=False),
    pa.field("duration", pa.float64(), nullable=False),
    pa.field("num_frames", pa.int64(), nullable=False),
    pa.field("fps", pa.float64(), nullable=False),
    pa.field("is_vfr", pa.bool_(), nullable=False),
    pa.field("width", pa.int32(), nullable=False),
    pa.field("height", pa.int32(), nullable=False),
    pa.field("rotation", pa.int32(), nullable=False),
    pa.field("codec", pa.string(), nullable=False),
    pa.field("profile", pa.string()),
    pa.field("pix_fmt", pa.string(), nullable=False),
    pa.field("max_gop", pa.int32(), nullable=False),
    pa.field("keyframes", pa.list_(pa.int32()), nullable=False),
    pa.field("has_audio", pa.bool_(), nullable=False),
    pa.field("bytes", pa.int64(), nullable=False),
    pa.field("sha256", pa.string(), nullable=False),
    pa.field("cut", pa.string(), nullable=False),
    pa.field("cut_reason", pa.string()),
    pa.field("members", pa.list_(_MEMBER_TYPE), nullable=False),
    pa.field("decodable", _DECODABLE_TYPE, nullable=False),
    pa.field("status", pa.string(), nullable=False),
    pa.field("error_message", pa.string()),
    pa.field("captions", pa.list_(pa.string())),
    pa.field("cuts", pa.list_(pa.float64())),
]

COLUMNS: Final = frozenset(f.name for f in _FIELDS)
"""Names that belong to the format; an input column of the same name is stored as ``input_<name>``."""

LATER_COLUMNS: Final = frozenset({"captions", "cuts"})
"""Those that datasets of earlier versions have not; readers do without them, and the tar's JSON where they are null."""

EXTRA_TYPES: Final[Mapping[str, pa.DataType]] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
}
"""Types that the user's own columns may have, by the name that the plan stores; what is nested is kept as JSON text."""


def extra_name(column: str) -> str:
    """Return the name under which an input column is stored: its own, or ``input_<name>`` where ours stands already."""
    return f"input_{column}" if column in COLUMNS else column


def schema(extra: Mapping[str, str] | None = None) -> pa.Schema:
    """Return the Parquet schema of a shard whose user columns are ``extra``: stored name -> key of ``EXTRA_TYPES``.

    Raises:
        ValueError: a user column has a name of ours or an unknown type.
    """
    own: list[pa.Field] = []
    for name, kind in (extra or {}).items():
        if name in COLUMNS:
            raise ValueError(f"column {name!r} belongs to the format; store it as {extra_name(name)!r}")
        if kind not in EXTRA_TYPES:
            raise ValueError(f"column {name!r} has type {kind!r}; taken are {', '.join(EXTRA_TYPES)}")
        own.append(pa.field(name, EXTRA_TYPES[kind]))
    return pa.schema(_FIELDS + own, metadata={b"vidloom.format": str(FORMAT_VERSION).encode()})
