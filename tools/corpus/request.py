"""What a sharding run is asked to do: input, output, and every setting that changes a byte or who does the work."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from tools.corpus.cut_options import CutOptions
from tools.corpus.cut_settings import CutSettings
from tools.corpus.executor import ExecutorChoice, ExecutorName
from tools.corpus.ingest import Columns
from tools.corpus.input_files import shared_folder
from tools.corpus.pool import ROW_SECONDS
from tools.corpus.shots import ShotSettings, detector_versions
from tools.corpus.sifting import Sifting
from tools.corpus.sources import Fetching, Sources
from tools.corpus.versions import library_versions
from tools.corpus.worker import WORKER_MEMORY

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

    def options(self, *, dry: bool = False) -> CutOptions:
        """Return how clips are made; ``dry`` makes none."""
        return CutOptions(
            self.sources,
            self.cut,
            self.min_seconds,
            self.max_seconds,
            self.shots,
            filters=self.sift.filters,
            dry=dry,
            captions=self.sift.captions,
            dedup=self.sift.dedup,
        )

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
        versions = library_versions() | self.cut.versions() | self.sift.versions()
        if self.shots is not None:
            versions |= detector_versions()
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
