"""Which clips are kept: a condition on what is known of a segment before it is cut, and no still or black pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from shards.derived import derived_row
from shards.expression import Expression, parse
from shards.ledger import Reason
from shards.record import EXTRA_TYPES
from tools.corpus.ingest import InputRow
from tools.corpus.probe import Probe
from tools.corpus.tables import Fault
from tools.corpus.timeline import Span

STATIC_MOTION: Final = 1.0
"""Pictures that change by less than this stand still: encoded stills reach 0.64, slow bubbles in a glass 1.3."""

BLACK_PEAK: Final = 24.0
"""Pictures whose brightest cell is darker than this are black: a stadium at night with far lights has 53."""

_FULL: Final = 255.0
_MEASURED: Final = ("motion", "luma", "luma_peak")

_VALUES: Final = pa.schema(
    {
        "source": pa.string(),
        "caption": pa.string(),
        "row": pa.int64(),
        "start": pa.float64(),
        "end": pa.float64(),
        "duration": pa.float64(),
        "num_frames": pa.int64(),
        "fps": pa.float64(),
        "is_vfr": pa.bool_(),
        "width": pa.int64(),
        "height": pa.int64(),
        "rotation": pa.int64(),
        "codec": pa.string(),
        "profile": pa.string(),
        "pix_fmt": pa.string(),
        "max_gop": pa.int64(),
        "has_audio": pa.bool_(),
        "short_side": pa.int64(),
        "long_side": pa.int64(),
        "aspect": pa.float64(),
        "caption_words": pa.int64(),
        "caption_chars": pa.int64(),
        **dict.fromkeys(_MEASURED, pa.float64()),
    }
)
"""What a filter may ask of a segment, besides the user's own columns."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What a segment has to be like to be kept.

    ``static`` and ``black`` are the bounds on the scale of brightness, 0 to 255, below which a segment's pictures count
    as still and as black; None keeps such segments.

    Raises:
        ValueError: a bound is out of range.
    """

    expression: Expression | None = None
    static: float | None = None
    black: float | None = None

    def __post_init__(self) -> None:
        for option, bound in (("--static-below", self.static), ("--black-below", self.black)):
            if bound is not None and not 0 < bound <= _FULL:
                raise ValueError(f"{option} is {bound:g}; taken is a brightness above 0, and at most {_FULL:g}")

    @classmethod
    def parse(
        cls,
        text: str | None,
        *,
        drop_static: bool = False,
        drop_black: bool = False,
        static_below: float = STATIC_MOTION,
        black_below: float = BLACK_PEAK,
    ) -> Filters | None:
        """Return the filters that the options of a run ask for; None where they keep everything.

        Raises:
            ValueError: the condition cannot be read, or a bound is out of range.
        """
        expression = parse(text) if text else None
        static, black = static_below if drop_static else None, black_below if drop_black else None
        filters = cls(expression, static, black)
        return None if filters == cls() else filters

    @property
    def needs_pictures(self) -> bool:
        """Whether a segment's pictures have to be looked at."""
        asked = self.expression is not None and not self.expression.names.isdisjoint(_MEASURED)
        return asked or self.static is not None or self.black is not None

    @property
    def settings(self) -> dict[str, Any]:
        """What stands in the plan of a run."""
        text = None if self.expression is None else self.expression.text
        return {"expression": text, "static": self.static, "black": self.black}

    def check(self, extra: Mapping[str, str]) -> None:
        """Make sure that the condition fits the values there will be; ``extra`` are the user's columns and their types.

        Raises:
            ExpressionError: it asks for something unknown, or an operation is given what it cannot take.
        """
        if self.expression is not None:
            columns = {field.name: field.type for field in _VALUES}
            columns |= {name: EXTRA_TYPES[kind] for name, kind in extra.items() if name not in _MEASURED}
            self.expression.check(pa.schema(columns))

    def judge(self, values: Mapping[str, Any]) -> Fault | None:
        """Return why a segment is sorted out, or None.

        ``values`` are what ``record_values`` gives, and where ``needs_pictures`` what ``measure_pictures`` gives, too.
        A segment of one frame, such as a picture, is never still.
        """
        if self.black is not None and values["luma_peak"] < self.black:
            message = (
                f"the brightest place of its pictures is {values['luma_peak']:g} of 255; below {self.black:g} is black"
            )
            return Fault(Reason.BLACK, message, "filtered")
        if self.static is not None and values["motion"] < self.static and values["num_frames"] > 1:
            message = f"its pictures change by {values['motion']:g} of 255; below {self.static:g} they stand still"
            return Fault(Reason.STATIC, message, "filtered")
        if self.expression is not None and not self.expression.holds(values):
            return Fault(Reason.FILTER_EXPRESSION, f"not true of it: {self._said(values)}", "filtered")
        return None

    def _said(self, values: Mapping[str, Any]) -> str:
        """Return the condition with the values that it speaks of."""
        assert self.expression is not None
        said = (f"{name} is {_short(values.get(name))}" for name in sorted(self.expression.names))
        return f"{self.expression.text}; {', '.join(said)}" if self.expression.names else self.expression.text


def record_values(row: InputRow, found: Probe, span: Span) -> dict[str, Any]:
    """Return what a filter may ask of a segment: facts of the source, lengths of the segment, the user's columns.

    A column of the user's own goes before a derived value of the same name (``aspect``, ``short_side`` ...).
    """
    media = found.media
    seconds = found.timeline.at(span.stop) - found.timeline.at(span.first)
    values = {
        "source": row.video,
        "caption": row.caption,
        "row": row.row,
        "start": row.start,
        "end": row.end,
        "duration": float(seconds),
        "num_frames": span.count,
        "fps": media.fps,
        "is_vfr": media.is_vfr,
        "width": media.width,
        "height": media.height,
        "rotation": media.rotation,
        "codec": media.codec,
        "profile": media.profile,
        "pix_fmt": media.pix_fmt,
        "max_gop": media.max_gop,
        "has_audio": media.has_audio,
    }
    return derived_row(values) | dict(row.extra) | values


def _short(value: object) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return ascii(text if len(text) <= 40 else text[:40] + "...")[1:-1]  # noqa: PLR2004 - a message is one line
