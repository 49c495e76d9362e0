"""Inputs that are no tables, listed as one in a file of our own: a line a video, with what was found beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from shards.ledger import Reason
from shards.record import COLUMNS
from tools.corpus.tables import BOM, LINE_BYTES, Fault, RawRow
from tools.corpus.tables_json import JsonlTable

VIDEO: Final = "video"
CAPTION: Final = "caption"
START: Final = "start"
END: Final = "end"

_HALF: Final = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Halves of characters, as JSON may spell them; those from dc80 to dcff stand for bytes that are no UTF-8."""

_RENAMED: Final = "input_"
_OURS: Final = frozenset({VIDEO, CAPTION})


@dataclass(frozen=True, slots=True)
class Entry:
    """A video that was found, with its captions and other columns; ``segments`` are the times of as many captions."""

    video: str
    captions: Sequence[str] = ()
    own: Mapping[str, Any] = field(default_factory=dict)
    fault: Fault | None = None
    segments: Sequence[tuple[str, str]] = ()


class ListingTable(JsonlTable):
    """A listing as a table.

    Args:
        path: the file.
        timed: whether columns ``start`` and ``end`` are times in the video; they are not where it was cut already.
    """

    listed = True

    def __init__(self, path: Path, *, timed: bool) -> None:
        super().__init__(path, zipped=False)
        self.timed = timed

    def parse(self, item: str | Fault) -> RawRow:
        """Put the videos' own columns beside ours; those of our names are called ``input_...``.

        Those that an earlier run of ours has called so get one more ``input_``: their old names are taken again.
        """
        raw = super().parse(item)
        told = raw.values
        own = {_own_name(name): value for name, value in told.get("own", {}).items()}
        values = {**own, VIDEO: told.get("video"), CAPTION: told.get("caption")}
        if "segments" in told:
            values |= {START: [pair[0] for pair in told["segments"]], END: [pair[1] for pair in told["segments"]]}
        fault = Fault(Reason(told["fault"][0]), told["fault"][1]) if "fault" in told else raw.fault
        return RawRow(values, fault)


def _own_name(name: str) -> str:
    bare = name
    while bare.startswith(_RENAMED):
        bare = bare.removeprefix(_RENAMED)
    is_renamed = bare != name and bare in _OURS | COLUMNS
    return f"{_RENAMED}{name}" if is_renamed or name in _OURS else name


def write_listing(entries: Iterator[Entry], path: Path) -> None:
    """Write a listing; its bytes depend on what was found alone."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        file.writelines(_line(entry) for entry in entries)


def _line(entry: Entry) -> str:
    caption = entry.captions[0] if len(entry.captions) == 1 else list(entry.captions) or None
    told: dict[str, Any] = {"video": entry.video, "caption": caption}
    if entry.own:
        told["own"] = entry.own
    if entry.segments:
        told["segments"] = entry.segments
    if entry.fault is not None:
        told["fault"] = [entry.fault.reason.value, entry.fault.message]
    line = json.dumps(told, ensure_ascii=False, sort_keys=True)
    return _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", line) + "\n"


def parse_side_json(data: bytes) -> dict[str, Any]:
    """Return the object of a JSON file beside a video; numbers that JSON has not come as None.

    Raises:
        ValueError: it is no JSON object, or too long or too deep for one.
    """
    if len(data) > LINE_BYTES:
        raise ValueError(f"it has {len(data)} bytes, taken are {LINE_BYTES} at most")
    try:
        found = json.loads(data.decode("utf-8").removeprefix(BOM), parse_constant=lambda _: None)
    except RecursionError:
        raise ValueError("its values are nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - the file's fault
    return found
