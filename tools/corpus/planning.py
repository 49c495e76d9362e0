"""What a sharding run is asked to do, and the plan that it follows from: every setting that changes a byte."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from shards.layout import is_numbered_tar
from shards.plan import BlockPlan, read_plan, require_same_plan
from shards.store import Store
from tools.corpus.cut import CutSettings
from tools.corpus.executor import ExecutorChoice, ExecutorName
from tools.corpus.extending import digest_rows, extend
from tools.corpus.ingest import Columns, InputRow
from tools.corpus.input_files import shared_folder
from tools.corpus.inputs import Inputs
from tools.corpus.pool import ROW_SECONDS
from tools.corpus.shots import ShotSettings, detector_versions
from tools.corpus.sifting import Sifting
from tools.corpus.sizing import estimate_sizes, rows_per_block, sample_rows
from tools.corpus.sources import Fetching, Sources
from tools.corpus.versions import library_versions
from tools.corpus.worker import WORKER_MEMORY, ask

SHARD_BYTES: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ShardRequest:
    """One call of ``vidloom shard``.

    ``input`` names tables, tars, or a folder of videos, by paths, URLs or patterns; ``out`` is the folder or URL of the
    dataset, ``root`` the one that holds the videos (None: that of the input). ``shard_bytes`` is the size that shards
    should come near; ``limit`` takes the first rows only; the bounds are seconds. ``workers`` and ``row_seconds`` are
    without effect on any byte. ``retry`` holds the reasons for which rows are tried again (none: no row is); ``extend``
    takes an input that has grown at its end. With ``shots`` cuts are looked for; ``sift`` cleans captions and drops
    what filters do not keep, and duplicates.

    Raises:
        ValueError: a number is out of range.
    """

    input: str | tuple[str, ...]
    out: str
    root: str | None = None
    columns: Columns = field(default_factory=Columns)
    cut: CutSettings = field(default_factory=CutSettings)
    shard_bytes: int = SHARD_BYTES
    limit: int | None = None
    min_seconds: float | None = None
    max_seconds: float | None = None
    allow_outside: bool = False
    workers: int | None = 1
    row_seconds: float = ROW_SECONDS
    worker_memory: int = WORKER_MEMORY
    executor: ExecutorName = "local"
    ray_address: str | None = None
    retry: tuple[str, ...] = ()
    extend: bool = False
    fetching: Fetching = field(default_factory=Fetching)
    shots: ShotSettings | None = None
    sift: Sifting = field(default_factory=Sifting)

    def __post_init__(self) -> None:
        assert self.choice.memory > 0  # it checks its numbers
        for option, value, least in (
            ("--shard-size", self.shard_bytes, 1),
            ("--limit", self.limit, 1),
            ("--min-seconds", self.min_seconds, 0),
            ("--max-seconds", self.max_seconds, 0),
        ):
            if value is not None and not value >= least:
                raise ValueError(f"{option} is {value}; it must be at least {least}")
        if None not in (self.min_seconds, self.max_seconds) and not self.min_seconds <= self.max_seconds:  # type: ignore[operator]  # neither is None
            raise ValueError(f"--min-seconds {self.min_seconds} is more than --max-seconds {self.max_seconds}")

    @property
    def choice(self) -> ExecutorChoice:
        """Who does the work."""
        return ExecutorChoice(self.executor, self.workers, self.ray_address, self.row_seconds, self.worker_memory)

    @property
    def inputs(self) -> tuple[str, ...]:
        """What is named as input, one or several."""
        return (self.input,) if isinstance(self.input, str) else self.input

    @property
    def sources(self) -> Sources:
        """The videos that the table's rows may name."""
        root = shared_folder(self.input) if self.root is None else self.root
        return Sources.below(root, allow_outside=self.allow_outside, fetching=self.fetching)

    def settings(self) -> dict[str, Any]:
        """Return every setting that changes the bytes of the dataset, and the libraries that do."""
        versions = library_versions() | ({} if self.shots is None else detector_versions()) | self.sift.versions()
        return {
            "columns": self.columns.as_settings(),
            "cut": asdict(self.cut),
            "shard_bytes": self.shard_bytes,
            "limit": self.limit,
            "min_seconds": self.min_seconds,
            "max_seconds": self.max_seconds,
            "allow_outside": self.allow_outside,
            "versions": versions,
            **({} if self.shots is None else {"shots": asdict(self.shots)}),
            **self.sift.settings(),
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """The plan of a run, and the one that stood on disk when it was decided upon, if any."""

    plan: BlockPlan
    before: BlockPlan | None


def decide(request: ShardRequest, table: Inputs, out: Store) -> Decision:
    """Return the plan of a run: the one on disk where the dataset was begun already, perhaps extended, else a new one.

    Raises:
        ValueError: the table is unfit, the output holds a dataset of another input or other settings, or shards that no
            plan explains.
        OSError: input, videos or output are out of reach.
    """
    old = read_plan(out)
    if old is not None and request.extend:
        return Decision(extend(old, table, request.settings()), old)
    if old is not None:
        require_same_plan(old, replace(old, input_digest=table.digest, settings=request.settings()))
        return Decision(old, old)
    return Decision(_new_plan(request, table, out), None)


def _new_plan(request: ShardRequest, table: Inputs, out: Store) -> BlockPlan:
    strange = next((name for name in out.list(deep=False) if is_numbered_tar(name)), None)
    if strange is not None:
        raise ValueError(
            f"{out.url} holds shards ({strange}) but no plan of ours; give another output, so that none is overwritten"
        )
    info = table.scan(limit=request.limit)
    request.sift.check(info.extra)
    per_block = _rows_per_block(request, table, info.extra)
    return BlockPlan(
        input_digest=table.digest,
        input_name=table.name,
        rows=info.rows,
        rows_per_block=per_block,
        blocks=-(-info.rows // per_block),
        settings=request.settings(),
        extra=info.extra,
        rows_digest=digest_rows(table.rows(info.extra, limit=request.limit), info.rows).whole,
    )


def _rows_per_block(request: ShardRequest, table: Inputs, extra: Mapping[str, str]) -> int:
    first = sample_rows(table.rows(extra, limit=request.limit))
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
