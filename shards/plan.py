"""What is decided before the first shard: the input, its cut into blocks, and every setting that changes a byte."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final

from shards import layout
from shards.canonical import canonical_json, parse_versioned
from shards.json_fields import typed
from shards.store import NotFoundError, Store

_LATER: Final[Mapping[str, object]] = {"rows_digest": None, "sections": ()}
"""Fields that plans of earlier versions have not, with what they hold there; so they are not written where they do."""

_ABSENT: Final = "(absent)"


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """The plan of a dataset.

    ``input_digest`` is the SHA-256 (hex) of the input, ``input_name`` its base name; ``blocks`` blocks of
    ``rows_per_block`` consecutive rows hold its ``rows`` rows. ``extra`` maps the user's own columns to their types.
    ``rows_digest`` is the SHA-256 of the rows as they were understood, by which an input that has grown is known again.
    ``sections`` are the numbers of rows that the dataset had before each extension: a block never spans two of them.
    """

    input_digest: str
    input_name: str
    rows: int
    rows_per_block: int
    blocks: int
    settings: Mapping[str, Any]
    extra: Mapping[str, str]
    format: int = layout.FORMAT_VERSION
    rows_digest: str | None = None
    sections: Sequence[int] = ()

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the plan's canonical JSON."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """Return the plan's canonical JSON, which is what stands on disk."""
        return canonical_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the plan as it is written: fields that say no more than their absence are left out."""
        values = asdict(self)
        return {name: value for name, value in values.items() if name not in _LATER or value != _LATER[name]}

    def block_rows(self, number: int) -> range:
        """Return the input rows of a block."""
        first = 0
        for start, end in self._sections():
            count = -(-(end - start) // self.rows_per_block)
            if number < first + count:
                begin = start + (number - first) * self.rows_per_block
                return range(begin, min(begin + self.rows_per_block, end))
            first += count
        raise IndexError(f"the plan has blocks 0 to {self.blocks - 1}, asked for was {number}")

    def block_of(self, row: int) -> int:
        """Return the block of an input row."""
        first = 0
        for start, end in self._sections():
            if row < end:
                return first + (row - start) // self.rows_per_block
            first += -(-(end - start) // self.rows_per_block)
        raise IndexError(f"the plan has rows 0 to {self.rows - 1}, asked for was {row}")

    def _sections(self) -> Iterator[tuple[int, int]]:
        return pairwise((0, *self.sections, self.rows))


def count_blocks(rows: int, rows_per_block: int, sections: Sequence[int] = ()) -> int:
    """Return how many blocks hold ``rows`` rows, of which sections end at the given numbers."""
    return sum(-(-(end - start) // rows_per_block) for start, end in pairwise((0, *sections, rows)))


def write_plan(store: Store, plan: BlockPlan) -> None:
    """Publish the plan, which is the first file of a dataset."""
    store.put(layout.PLAN_NAME, plan.to_bytes())


def read_plan(store: Store) -> BlockPlan | None:
    """Return the plan of a dataset, or None where there is none yet.

    Raises:
        ValueError: the file is no plan, or of a format that this version does not know.
    """
    try:
        data = store.read(layout.PLAN_NAME)
    except NotFoundError:
        return None
    url = f"{store.url}/{layout.PLAN_NAME}"
    values = parse_versioned(data, url)
    try:
        values = typed(values, BlockPlan)
        return BlockPlan(**{**values, "sections": tuple(values.get("sections", ()))})
    except ValueError as error:
        raise ValueError(f"{url} is no plan: {error}") from error


def require_same_plan(old: BlockPlan, new: BlockPlan) -> None:
    """Check that a dataset begun with ``old`` may be continued with ``new``.

    Raises:
        ValueError: they differ; every differing field is named with both its values.
    """
    before, now = _flat(old.to_json()), _flat(new.to_json())
    odd = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    if not odd:
        return
    lines = [f"  {name}: {before.get(name, _ABSENT)} on disk, {now.get(name, _ABSENT)} given" for name in odd]
    hint = "; where rows were added at the input's end only, --extend takes them" if odd == ["input_digest"] else ""
    if odd == ["settings.allow_outside"]:
        hint = "; one dataset is of one root throughout, so that videos outside it need an output folder of their own"
    raise ValueError(
        "the output folder holds a dataset made from another input or with other settings:\n"
        + "\n".join(lines)
        + f"\ngive the same input and settings again, or another output folder{hint}",
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Spell nested settings as dotted names and JSON texts, so that both sides of a difference can be shown."""
    out: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            out |= _flat(value, f"{prefix}{name}.")
        else:
            out[prefix + name] = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return out
