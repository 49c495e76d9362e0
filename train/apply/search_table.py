"""Search in a file of embeddings: the best rows by cosine similarity, holding no more than a row group at a time."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from jaxtyping import Float32
from rich.console import Console
from rich.table import Column, Table

from train.apply.console import printable
from train.apply.embed_table import Embeddings, weights_digest
from train.pretrained import Pretrained

# N rows, D channels.


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that was found.

    Attributes:
        score: Its cosine similarity.
        key: The clip.
        shard: The shard of the dataset that holds it.
        source: What the clip was cut from.
        caption: Its caption.
        start: Seconds from the clip's first frame to what was embedded; None for captions.
        end: And to its end.
        clip_start: Seconds from the source's first frame to the clip's.
    """

    score: float
    key: str
    shard: str
    source: str
    caption: str
    start: float | None
    end: float | None
    clip_start: float

    @property
    def seconds(self) -> str:
        """The seconds of the clip that it is about, for people."""
        return "" if self.start is None or self.end is None else f"{self.start:.1f} to {self.end:.1f} s"


@dataclass(frozen=True, slots=True)
class Hits:
    """What a search found, best first, and where its sheet was drawn."""

    text: str
    hits: Sequence[Hit]
    sheet: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return them as one JSON object."""
        return {"text": self.text, "sheet": self.sheet, "hits": [asdict(hit) for hit in self.hits]}

    def show(self, console: Console) -> None:
        """Write them as a table."""
        right = [Column(name, justify="right") for name in ("", "cosine")]
        table = Table(*right, "key", "seconds", "caption", title=printable(self.text))
        for rank, hit in enumerate(self.hits, start=1):
            table.add_row(str(rank), f"{hit.score:.3f}", hit.key, hit.seconds, printable(hit.caption))
        console.print(table)
        if self.sheet is not None:
            console.print(printable(f"drawn on {self.sheet}"), soft_wrap=True)


_COLUMNS: Final = tuple(name for name in Hit.__dataclass_fields__ if name != "score")


def require_searchable(place: str, model: Pretrained) -> Embeddings:
    """Open embeddings that can be compared with a network's embeddings of texts.

    Raises:
        ValueError: They are in another space, or another network made them.
    """
    found = Embeddings(place)
    about = found.about
    if about.space != "shared":
        raise ValueError(
            f"{place} holds embeddings of {about.of} by a {about.kind}, which no text can be compared with: search "
            "those of video or text by a mm_full"
        )
    if about.weights != weights_digest(model.network):
        raise ValueError(
            f"{place} was made by other weights (SHA-256 {about.weights[:12]}...) than those of {model.place}: search "
            "by the network that made it, or embed again"
        )
    return found


def find(table: Embeddings, query: Float32[np.ndarray, "D"], top: int, *, distinct: bool = False) -> list[Hit]:
    """Return the rows that are most like a query, best first; of equals the first in the file.

    Args:
        table: The embeddings.
        query: What they are compared with, of length 1.
        top: How many rows.
        distinct: Whether each clip counts once, with its best row.

    Raises:
        ValueError: The file is damaged, or no row has an embedding.
    """
    best: list[tuple[float, int, Hit]] = []
    first = 0
    for batch in table.batches(*_COLUMNS, "embedding"):
        scores = _scores(batch, query)
        keys = batch["key"].to_pylist() if distinct else range(len(batch))
        found = [(-float(scores[row]), first + row, _hit(batch, row, scores)) for row in _best_rows(scores, keys, top)]
        best = heapq.nsmallest(top, _once(best + found) if distinct else best + found, key=lambda each: each[:2])
        first += len(batch)
    if not best:
        raise ValueError(f"{table.place} holds no embedding that could be found")
    return [hit for _, _, hit in best]


def _scores(batch: pa.RecordBatch, query: Float32[np.ndarray, "D"]) -> Float32[np.ndarray, "N"]:
    """Return the cosine of each row; rows without an embedding get minus infinity."""
    column = batch["embedding"]
    values = column.fill_null([0.0] * len(query)).flatten().to_numpy(zero_copy_only=False).reshape(-1, len(query))
    scores: Float32[np.ndarray, "N"] = (values @ query).astype(np.float32)
    scores[column.is_null().to_numpy(zero_copy_only=False)] = -np.inf
    return scores


def _best_rows(scores: Float32[np.ndarray, "N"], names: Sequence[object], top: int) -> list[int]:
    """Return the best rows, best first, at most one of each name."""
    chosen: dict[object, int] = {}
    for row in np.argsort(-scores, kind="stable").tolist():
        if len(chosen) == top or not np.isfinite(scores[row]):
            break
        chosen.setdefault(names[row], row)
    return list(chosen.values())


def _once(found: Sequence[tuple[float, int, Hit]]) -> list[tuple[float, int, Hit]]:
    """Keep the best row of each clip."""
    ordered = sorted(found, key=lambda each: each[:2])
    return list({each[2].key: each for each in reversed(ordered)}.values())


def _hit(batch: pa.RecordBatch, row: int, scores: Float32[np.ndarray, "N"]) -> Hit:
    values = batch.select(list(_COLUMNS)).slice(row, 1).to_pylist()[0]
    return Hit(score=float(scores[row]), **values)
