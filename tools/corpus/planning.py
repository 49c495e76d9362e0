"""What a sharding run is asked to do, and the plan that it follows from: every setting that changes a byte."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from shards.errors import without_signature
from shards.layout import is_numbered_tar
from shards.plan import BlockPlan, read_plan, require_same_plan
from shards.store import Store, open_store, split_url
from tools.corpus.cut import CutSettings
from tools.corpus.ingest import Columns, InputRow, digest_table, read_rows, scan_table
from tools.corpus.pool import ROW_SECONDS
from tools.corpus.sizing import SAMPLE_ROWS, estimate_sizes, rows_per_block
from tools.corpus.sources import Sources
from tools.corpus.versions import library_versions
from tools.corpus.worker import ask

SHARD_BYTES: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ShardRequest:
    """One call of ``vidloom shard``.

    ``input`` is the path or URL of the table, ``out`` the folder or URL of the dataset, ``root`` the folder or URL that
    holds the videos (None: the table's). ``shard_bytes`` is the size that shards should come near; ``limit`` takes the
    first rows only; the bounds are seconds. ``workers`` and ``row_seconds`` change no byte.

    Raises:
        ValueError: a number is out of range.
    """

    input: str
    out: str
    root: str | None = None
    columns: Columns = field(default_factory=Columns)
    cut: CutSettings = field(default_factory=CutSettings)
    shard_bytes: int = SHARD_BYTES
    limit: int | None = None
    min_seconds: float | None = None
    max_seconds: float | None = None
    allow_outside: bool = False
    workers: int = 1
    row_seconds: float = ROW_SECONDS

    def __post_init__(self) -> None:
        for option, value, least in (
            ("--workers", self.workers, 1),
            ("--shard-size", self.shard_bytes, 1),
            ("--limit", self.limit, 1),
            ("--min-seconds", self.min_seconds, 0),
            ("--max-seconds", self.max_seconds, 0),
            ("--row-timeout", self.row_seconds, 1),
        ):
            if value is not None and not value >= least:
                raise ValueError(f"{option} is {value}; it must be at least {least}")
        if None not in (self.min_seconds, self.max_seconds) and not self.min_seconds <= self.max_seconds:  # type: ignore[operator]  # neither is None
            raise ValueError(f"--min-seconds {self.min_seconds} is more than --max-seconds {self.max_seconds}")

    @property
    def sources(self) -> Sources:
        """The videos that the table's rows may name."""
        root = split_url(self.input).parent if self.root is None else self.root
        return Sources.below(root, allow_outside=self.allow_outside)

    def settings(self) -> dict[str, Any]:
        """Return every setting that changes the bytes of the dataset, and the libraries that do."""
        return {
            "columns": asdict(self.columns),
            "cut": asdict(self.cut),
            "shard_bytes": self.shard_bytes,
            "limit": self.limit,
            "min_seconds": self.min_seconds,
            "max_seconds": self.max_seconds,
            "allow_outside": self.allow_outside,
            "versions": library_versions(),
        }


@contextlib.contextmanager
def local_table(url: str) -> Iterator[Path]:
    """Lend the table as a local file: itself, or a copy of a remote one that goes afterwards.

    Raises:
        StoreError: it cannot be copied.
        ValueError: the URL names no file.
    """
    parent, name = split_url(url)
    store = open_store(parent)
    if store.is_local:
        yield store.local_path(name)
        return
    with tempfile.TemporaryDirectory(prefix="vidloom-table-") as folder:
        copy = Path(folder) / name
        store.download(name, copy)
        yield copy


def make_plan(request: ShardRequest, table: Path, out: Store) -> BlockPlan:
    """Return the plan of a run: the one on disk where the dataset was begun already, else a new one.

    Raises:
        ValueError: the table is unfit, the output holds a dataset of another input or other settings, or shards that no
            plan explains.
        OSError: input, videos or output are out of reach.
    """
    digest = digest_table(table)
    old = read_plan(out)
    if old is not None:
        require_same_plan(old, replace(old, input_digest=digest, settings=request.settings()))
        return old
    strange = next((name for name in out.list(deep=False) if is_numbered_tar(name)), None)
    if strange is not None:
        raise ValueError(
            f"{out.url} holds shards ({strange}) but no plan of ours; give another output, so that none is overwritten"
        )
    info = scan_table(table, request.columns, limit=request.limit)
    per_block = _rows_per_block(request, table, info.extra)
    return BlockPlan(
        input_digest=digest,
        input_name=without_signature(split_url(request.input).name),
        rows=info.rows,
        rows_per_block=per_block,
        blocks=-(-info.rows // per_block),
        settings=request.settings(),
        extra=info.extra,
    )


def _rows_per_block(request: ShardRequest, table: Path, extra: Mapping[str, str]) -> int:
    first = list(islice(read_rows(table, request.columns, extra, limit=request.limit), SAMPLE_ROWS))
    # Headers are read in a process of their own: a file that kills its reader must not kill the run.
    sizes = ask(_try_sizes, first, request.sources, request.cut)
    if isinstance(sizes, OSError):
        raise sizes
    if sizes is None:
        sizes = estimate_sizes(first, request.sources, request.cut, headers=False)
    return rows_per_block(sizes, request.shard_bytes)


def _try_sizes(rows: Sequence[InputRow], sources: Sources, cut: CutSettings) -> list[int] | OSError:
    """Return the estimated sizes, or the error for the process that asked."""
    try:
        return estimate_sizes(rows, sources, cut)
    except OSError as error:
        return error
