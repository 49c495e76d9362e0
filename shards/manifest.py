"""A finished dataset as a whole: its manifest, written last, and each shard's entry in it."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from os import PathLike
from typing import Any, Final

from shards import layout
from shards.canonical import canonical_json, parse_versioned
from shards.json_fields import typed
from shards.plan import BlockPlan, read_plan
from shards.store import NotFoundError, Store, open_store

_KINDS: Final = ("tar", "idx", "parquet", "stats", "ledger")
_COUNTS: Final = ("rows", "clips", "seconds", "frames", "status", "reasons")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Length in bytes and SHA-256 (hex) of one published file.

    Raises:
        ValueError: the length is negative or the hash is none.
    """

    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if self.bytes < 0 or not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"{self.bytes} bytes with hash {self.sha256!r} describe no file")


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One shard of a dataset: what it holds and its five files.

    ``rows`` counts the input rows of its block, ``clips`` the samples in the tar; ``seconds`` and ``frames`` are summed
    over the clips; ``status`` and ``reasons`` are the ledger's sums. ``links`` says where files lie that are not in the
    dataset's folder under their standard names: kind -> path from that folder, or URL. Where the tar has such a place
    it may be another tool's: with more in it than the records tell.

    Raises:
        ValueError: the stem is no shard number, or a link is of no kind or leads nowhere.
    """

    stem: str
    rows: int
    clips: int
    seconds: float
    frames: int
    tar: FileEntry
    idx: FileEntry
    parquet: FileEntry
    stats: FileEntry
    ledger: FileEntry
    status: Mapping[str, int]
    reasons: Mapping[str, int]
    links: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not layout.is_stem(self.stem):
            raise ValueError(f"shard stem {self.stem!r} is not a number of five digits or more")
        odd = [kind for kind, place in self.links.items() if kind not in _KINDS or not place]
        if odd:
            raise ValueError(f"shard {self.stem}: link {odd[0]!r} leads nowhere; links are {', '.join(_KINDS)}")

    @property
    def is_foreign(self) -> bool:
        """Whether the tar may hold more than the records tell, under names of another tool."""
        return "tar" in self.links

    def files(self) -> dict[str, FileEntry]:
        """Return the shard's files by name relative to the dataset, in the order in which they are published."""
        return {
            layout.tar_name(self.stem): self.tar,
            layout.idx_name(self.stem): self.idx,
            layout.parquet_name(self.stem): self.parquet,
            layout.stats_name(self.stem): self.stats,
            layout.ledger_name(self.stem): self.ledger,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ShardEntry:
        """Rebuild an entry from the manifest's JSON.

        Raises:
            ValueError: a field is missing, unknown or wrong; the message names it.
        """
        values = typed(data, cls)
        entries = {name: FileEntry(**typed(values[name], FileEntry)) for name in _KINDS}
        return cls(**{**values, **entries})


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all shards of a dataset; ``bytes`` counts all their files."""

    clips: int
    rows: int
    seconds: float
    frames: int
    bytes: int
    status: Mapping[str, int]
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Manifest:
    """A finished dataset: the settings it was made with, its shards in order, and their totals."""

    plan_digest: str
    settings: Mapping[str, Any]
    shards: tuple[ShardEntry, ...]
    totals: Totals
    format: int = layout.FORMAT_VERSION

    def to_bytes(self) -> bytes:
        """Return the manifest's canonical JSON, which is what stands on disk; links that are none are left out."""
        values = asdict(self)
        for entry in values["shards"]:
            if not entry["links"]:
                del entry["links"]
        return canonical_json(values)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the manifest's canonical JSON: two datasets with the same digest hold the same bytes."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def describe(data: bytes) -> FileEntry:
    """Return the entry of a file that holds ``data``."""
    return FileEntry(len(data), hashlib.sha256(data).hexdigest())


def make_manifest(plan: BlockPlan, shards: Iterable[ShardEntry]) -> Manifest:
    """Put the entries of all blocks of a plan together, in the order of their numbers.

    Raises:
        ValueError: a block is missing, comes twice, or does not belong to the plan; or the rows do not add up to the
            input's.
    """
    entries = tuple(sorted(shards, key=lambda entry: (len(entry.stem), entry.stem)))
    stems = [entry.stem for entry in entries]
    wanted = [layout.shard_stem(number) for number in range(plan.blocks)]
    if stems != wanted:
        odd = sorted(set(stems) ^ set(wanted)) or stems
        raise ValueError(f"the plan has {plan.blocks} blocks, given are {len(stems)}; look at {', '.join(odd[:5])}")
    totals = sum_up(entries)
    if totals.rows != plan.rows:
        raise ValueError(f"the shards account for {totals.rows} input rows, the plan for {plan.rows}")
    return Manifest(plan.digest, plan.settings, entries, totals)


def sum_up(shards: Iterable[ShardEntry]) -> Totals:
    """Return the totals of some shards; the order in which they come changes nothing."""
    entries = list(shards)
    status: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for entry in entries:
        status.update(entry.status)
        reasons.update(entry.reasons)
    return Totals(
        clips=sum(entry.clips for entry in entries),
        rows=sum(entry.rows for entry in entries),
        seconds=math.fsum(entry.seconds for entry in entries),
        frames=sum(entry.frames for entry in entries),
        bytes=sum(file.bytes for entry in entries for file in entry.files().values()),
        status=dict(sorted(status.items())),
        reasons=dict(sorted(reasons.items())),
    )


def open_manifest(dataset: Store | str | PathLike[str]) -> Manifest:
    """Read the manifest of a finished dataset, given as a store, a folder or a URL.

    Raises:
        NotFoundError: there is no manifest, so the dataset is unfinished or no dataset.
        ValueError: the file is no manifest, or of a format that this version does not know.
    """
    store = dataset if isinstance(dataset, Store) else open_store(dataset)
    url = f"{store.url}/{layout.MANIFEST_NAME}"
    try:
        data = store.read(layout.MANIFEST_NAME)
    except NotFoundError:
        raise NotFoundError(_unfinished(store)) from None
    values = parse_versioned(data, url)
    try:
        values = typed(values, Manifest)
        shards = tuple(ShardEntry.from_json(entry) for entry in values["shards"])
        manifest = Manifest(**{**values, "shards": shards, "totals": Totals(**typed(values["totals"], Totals))})
    except ValueError as error:
        raise ValueError(f"{url} is no manifest: {error}") from error
    if manifest.totals != sum_up(shards) or len({entry.stem for entry in shards}) != len(shards):
        raise ValueError(f"{url} is damaged: its totals are not the sums of its shards, or a shard stands there twice")
    return manifest


def write_manifest(store: Store, manifest: Manifest) -> None:
    """Publish the manifest, which is the last file of a dataset and makes it a finished one."""
    store.put(layout.MANIFEST_NAME, manifest.to_bytes())


def finished_entry(store: Store, stem: str) -> ShardEntry | None:
    """Return the entry of a block that is already published, or None where it must be made (again).

    The ledger is published last, so a block is finished where it exists; the entry comes from the block's summary.
    Files that are gone, or have another size than the summary says, make the block unfinished.
    """
    try:
        ledger = store.read(layout.ledger_name(stem))
        stats = store.read(layout.stats_name(stem))
        entry = entry_from_stats(stem, stats, describe(ledger))
        whole = all(store.stat(name).size == file.bytes for name, file in entry.files().items())
    except NotFoundError:
        return None
    except ValueError:
        return None
    return entry if whole else None


def entry_from_stats(stem: str, stats: bytes, ledger: FileEntry) -> ShardEntry:
    """Build a shard's entry from the bytes of its summary and the entry of its ledger.

    Raises:
        ValueError: the summary is none, or of an unknown format.
    """
    url = layout.stats_name(stem)
    values = parse_versioned(stats, url)
    if canonical_json(values) != stats:
        raise ValueError(f"{url} is not spelt as it is written: it was changed or cut")
    data: dict[str, Any] = {name: values[name] for name in _COUNTS if name in values}
    files = values.get("files")
    data |= files if isinstance(files, dict) else {}
    data |= {"stem": stem, "stats": asdict(describe(stats)), "ledger": asdict(ledger)}
    try:
        return ShardEntry.from_json(data)
    except ValueError as error:
        raise ValueError(f"{url} is no summary of a shard: {error}") from error


def _made_by(store: Store) -> str:
    """Return the command that a dataset is being made by, as its plan tells."""
    try:
        plan = read_plan(store)
    except ValueError:
        return "shard"
    return "shard" if plan is None else str(plan.settings.get("made_by", "shard"))


def _unfinished(store: Store) -> str:
    if store.exists(layout.JOURNAL_NAME):
        return (
            f"{store.url} has no {layout.MANIFEST_NAME} now: a retry was replacing its shards and did not come to its"
            " end; run the same 'vidloom shard' command again, which finishes it"
        )
    if store.exists(layout.PLAN_NAME):
        return (
            f"{store.url} is an unfinished dataset: it has a plan and no {layout.MANIFEST_NAME}; "
            f"run the same 'vidloom {_made_by(store)}' command again, which goes on where it stopped"
        )
    return (
        f"{store.url} is no dataset: it has no {layout.MANIFEST_NAME}; "
        "give the folder or URL that 'vidloom shard INPUT OUT' wrote"
    )
