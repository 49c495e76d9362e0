"""The files that other readers want beside the shards (DALI, Energon, wids, open_clip), made from the records."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from shards import energon, layout
from shards.canonical import canonical_json, parse_versioned
from shards.dataset import Dataset, open_dataset
from shards.index import format_idx
from shards.json_fields import typed
from shards.manifest import FileEntry, Manifest, ShardEntry, describe
from shards.placed import PlacedShard, place_shard
from shards.store import NotFoundError, Store

KINDS: Final = ("dali", "energon", "wids", "open_clip")
"""What may be asked for, by the reader's name."""

INDEXES_NAME: Final = f"{layout.INTERNAL_DIR}/indexes.json"
WIDS_NAME: Final = "shardindex.json"
OPEN_CLIP_NAME: Final = "sizes.json"


@dataclass(frozen=True, slots=True)
class Indexes:
    """Which indexes a dataset has: their kinds, the manifest that they were made for, and their files."""

    manifest_digest: str
    kinds: Sequence[str]
    files: Mapping[str, Any]
    format: int = layout.FORMAT_VERSION

    def entries(self) -> dict[str, FileEntry]:
        """Return each file's length and hash by its name in the dataset."""
        return {name: FileEntry(**typed(entry, FileEntry)) for name, entry in self.files.items()}


@dataclass
class _Writer:
    """Publishes index files and keeps their entries; ``counts`` are the samples that the tars hold, by tar."""

    dataset: Dataset
    files: dict[str, FileEntry] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    excluded: list[str] = field(default_factory=list)

    def put(self, name: str, data: bytes) -> None:
        self.files[name] = describe(data)
        self.dataset.store.put(name, data)

    def put_file(self, name: str, path: Path) -> None:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.files[name] = FileEntry(path.stat().st_size, digest)
        self.dataset.store.put_file(name, path, move=True)


def parse_kinds(text: str | None) -> tuple[str, ...]:
    """Return the kinds that a comma list names, in the order of ``KINDS``.

    Raises:
        ValueError: one is none of ours.
    """
    named = [name.strip() for name in (text or "").replace("-", "_").split(",") if name.strip()]
    odd = next((name for name in named if name not in KINDS), None)
    if odd is not None:
        raise ValueError(f"--index {odd!r} is unknown; taken are {', '.join(KINDS)}")
    return tuple(kind for kind in KINDS if kind in named)


def write_indexes(
    store: Store,
    kinds: Sequence[str],
    *,
    on_shard: Callable[[ShardEntry], None] | None = None,
) -> Indexes:
    """Make and publish indexes of a finished dataset; those of other kinds that it has are made again with them.

    Each file appears whole; ``_vidloom/indexes.json``, written last, names them for ``verify``. Tars are not read, but
    for the headers of other tools' tars. Memory does not grow with the samples.

    Args:
        store: the dataset.
        kinds: some of ``KINDS``.
        on_shard: called after each shard, to show progress.

    Raises:
        NotFoundError: there is no finished dataset.
        ValueError: a reader cannot take the dataset as it is; the message says why.
        StoreError: a file cannot be read or written.
    """
    dataset = open_dataset(store)
    before = read_indexes(store)
    every = tuple(kind for kind in KINDS if kind in kinds or (before is not None and kind in before.kinds))
    places = {entry.stem: tar_place(entry) for entry in dataset.manifest.shards}
    require_own_folder(dataset.store.url, places, every)
    writer = _Writer(dataset)
    if "energon" in every:
        _write_energon(writer, on_shard)
    elif {"wids", "open_clip"}.intersection(every):
        writer.counts = {tar_place(entry): _count(dataset.store, entry) for entry in dataset.manifest.shards}
    if "dali" in every:
        _write_dali(dataset)
    if "wids" in every:
        writer.put(WIDS_NAME, _wids(dataset.manifest, writer.counts))
    if "open_clip" in every:
        writer.put(OPEN_CLIP_NAME, canonical_json(writer.counts))
    files = {name: asdict(entry) for name, entry in sorted(writer.files.items())}
    found = Indexes(dataset.manifest.digest, every, files)
    store.put(INDEXES_NAME, canonical_json(asdict(found)))
    return found


def update_indexes(store: Store, manifest: Manifest, kinds: Sequence[str]) -> Indexes | None:
    """Make the indexes that are asked for and not there yet, and those that are of an earlier state of the dataset.

    Returns:
        What the dataset has then, None where that is none.

    Raises:
        ValueError, StoreError: as ``write_indexes``.
    """
    found = read_indexes(store)
    known = found is not None and found.manifest_digest == manifest.digest and set(kinds) <= set(found.kinds)
    return found if known or (found is None and not kinds) else write_indexes(store, kinds)


def read_indexes(store: Store) -> Indexes | None:
    """Return which indexes a dataset has, or None where it has none.

    Raises:
        ValueError: the file that says so is damaged.
    """
    try:
        data = store.read(INDEXES_NAME)
    except NotFoundError:
        return None
    url = f"{store.url}/{INDEXES_NAME}"
    values = parse_versioned(data, url)
    try:
        found = Indexes(**typed(values, Indexes))
        found.entries()
    except (ValueError, TypeError) as error:
        raise ValueError(f"{url} is damaged: {error}; run 'vidloom index' with --index again") from error
    return found


def tar_place(entry: ShardEntry) -> str:
    """Return a shard's tar as other readers name it: from the dataset's folder where it lies there, else whole."""
    return entry.links.get("tar", layout.tar_name(entry.stem))


def _shards(dataset: Dataset, on_shard: Callable[[ShardEntry], None] | None) -> Iterator[PlacedShard]:
    for entry in dataset.manifest.shards:
        yield place_shard(dataset.store, entry, tar_place(entry))
        if on_shard is not None:
            on_shard(entry)


def require_own_folder(url: str, tars: Mapping[str, str], kinds: Sequence[str]) -> None:
    """Refuse readers that look for the tars in the folder that holds their index, where tars lie elsewhere.

    Args:
        url: the dataset's.
        tars: where each shard's tar lies, as ``tar_place`` tells, by its stem.
        kinds: some of ``KINDS``.

    Raises:
        ValueError: one of them is such a reader, and a tar lies elsewhere.
    """
    picky = [kind for kind in ("energon", "open_clip") if kind in kinds]
    for stem, place in tars.items() if picky else ():
        if "://" in place or place.startswith(("/", "../")):
            raise ValueError(
                f"{', '.join(picky)} finds tars in the dataset's own folder only, and shard {stem} of "
                f"{url} lies at {place}; make a copy that holds them ('vidloom select DATASET true OUT "
                "--copy'), or leave this index out",
            )


def _count(store: Store, entry: ShardEntry) -> int:
    """Return how many samples a reader finds in a shard's tar: in a foreign one, perhaps more than the records tell."""
    return len(place_shard(store, entry, tar_place(entry)).tar.samples) if entry.is_foreign else entry.clips


def _write_energon(writer: _Writer, on_shard: Callable[[ShardEntry], None] | None) -> None:
    def tars() -> Iterator[energon.PlacedTar]:
        for shard in _shards(writer.dataset, on_shard):
            tar = shard.tar
            writer.counts[tar.name] = len(tar.samples)
            writer.excluded += [f"{tar.name}/{key}" for key in shard.left_out]
            if tar.samples:
                writer.put(energon.tar_index_name(tar.name), energon.tar_index(tar))
                yield tar

    with tempfile.TemporaryDirectory(prefix="vidloom-energon-") as folder:
        path = Path(folder) / "index.sqlite"
        energon.write_samples(path, tars())
        writer.put_file(energon.SAMPLES_NAME, path)
    names = [name for name, count in writer.counts.items() if count]
    writer.put(energon.UUID_NAME, energon.index_uuid(writer.dataset.manifest.digest))
    writer.put(energon.SPLIT_NAME, energon.split_yaml(names, writer.excluded))
    writer.put(energon.DATASET_NAME, energon.dataset_yaml())
    writer.put(energon.INFO_NAME, energon.info_json(writer.counts))


def _write_dali(dataset: Dataset) -> None:
    """Put back the shards' own indexes that are gone or damaged; they belong to each shard anyway."""
    store = dataset.store
    for entry in dataset.manifest.shards:
        name = layout.idx_name(entry.stem)
        try:
            if describe(store.read(name)) == entry.idx:
                continue
        except NotFoundError:
            pass
        data = format_idx(place_shard(store, entry, tar_place(entry)).records())
        if describe(data) != entry.idx:
            raise ValueError(f"{store.url}/{name} is gone or damaged, and its records do not give the one it was")
        store.put(name, data)


def _wids(manifest: Manifest, counts: Mapping[str, int]) -> bytes:
    """Return the index of the webdataset package's ``wids``, version 1; shards without samples are left out."""
    shards = [
        {"url": tar_place(entry), "nsamples": counts[tar_place(entry)], "filesize": entry.tar.bytes}
        for entry in manifest.shards
        if counts[tar_place(entry)]
    ]
    return canonical_json({"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist": shards})
