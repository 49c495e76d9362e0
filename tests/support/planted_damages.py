"""Damages to a dataset on disk, of every kind that is met: each a name, what it does, and what a verification says."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from shards.canonical import canonical_json
from shards.layout import MANIFEST_NAME, PLAN_NAME
from shards.ledger import read_ledger, write_ledger
from shards.manifest import open_manifest, sum_up, write_manifest
from shards.plan import read_plan
from shards.store import open_store
from tests.support.datasets import fake_clip, write_shard

LEDGER = "_vidloom/ledger/00000.parquet"
FIRST, SECOND, THIRD = (f"00000000{row}_00000" for row in range(3))


@dataclass(frozen=True)
class Damage:
    """One damage to a copy of the dataset of ``tests.support.datasets.build_dataset``.

    ``files`` are those that a verification has to name, ``key`` is the sample that it has to name. ``mended`` tells
    whether a repair makes the dataset what it was.
    """

    name: str
    plant: Callable[[Path], None]
    files: Sequence[str]
    key: str | None = None
    mended: bool = True


def flip(name: str, at: int | bytes, by: int = 0) -> Callable[[Path], None]:
    """Change one bit at a byte of a file, or ``by`` bytes behind the first place of some of its bytes."""

    def plant(folder: Path) -> None:
        path = folder / name
        data = bytearray(path.read_bytes())
        data[data.index(at) + by if isinstance(at, bytes) else at] ^= 1
        path.write_bytes(data)

    return plant


def cut(name: str, size: int) -> Callable[[Path], None]:
    """Cut a file to a length; a negative one leaves out so many bytes."""

    def plant(folder: Path) -> None:
        path = folder / name
        os.truncate(path, size if size >= 0 else path.stat().st_size + size)

    return plant


def drop(*names: str) -> Callable[[Path], None]:
    """Remove files."""

    def plant(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return plant


def append(name: str, data: bytes) -> Callable[[Path], None]:
    """Put bytes behind a file."""
    return lambda folder: _write(folder / name, (folder / name).read_bytes() + data)


def add(name: str, data: bytes) -> Callable[[Path], None]:
    """Put a file where none is."""
    return lambda folder: _write(folder / name, data)


def swap(name: str, other: str) -> Callable[[Path], None]:
    """Let two files change places."""

    def plant(folder: Path) -> None:
        one, two = (folder / name).read_bytes(), (folder / other).read_bytes()
        _write(folder / name, two)
        _write(folder / other, one)

    return plant


def rename(name: str, to: str) -> Callable[[Path], None]:
    """Give a file another name."""

    def plant(folder: Path) -> None:
        (folder / name).rename(folder / to)

    return plant


def copy_over(name: str, to: str) -> Callable[[Path], None]:
    """Put a copy of a file over another."""
    return lambda folder: _write(folder / to, (folder / name).read_bytes())


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _tar_again(folder: Path, change: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]) -> None:
    """Write the first tar again with other members, whole in itself."""
    path = folder / "00000.tar"
    with tarfile.open(path) as tar:
        members = [(info.name, _content(tar, info)) for info in tar]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in change(members):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(info)
    assert file is not None
    return file.read()


def _cut_in_payload(folder: Path) -> None:
    path = folder / "00000.tar"
    os.truncate(path, path.read_bytes().index(fake_clip(2).payload) + 100)


def _lose_sample(folder: Path) -> None:
    _tar_again(folder, lambda members: [each for each in members if not each[0].startswith(SECOND)])


def _double_sample(folder: Path) -> None:
    _tar_again(folder, lambda members: members + members[:3])


def _swap_payloads(folder: Path) -> None:
    def change(members: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        data = dict(members)
        one, two = f"{FIRST}.mp4", f"{SECOND}.mp4"
        data[one], data[two] = data[two], data[one]
        return list(data.items())

    _tar_again(folder, change)


def _fewer_records(folder: Path) -> None:
    table = pq.ParquetFile(folder / "00000.parquet").read()
    pq.write_table(table.slice(0, 2), folder / "00000.parquet")


def _other_caption_in_table(folder: Path) -> None:
    table = pq.ParquetFile(folder / "00000.parquet").read()
    captions = ["another", *table["caption"].to_pylist()[1:]]
    at = table.schema.get_field_index("caption")
    pq.write_table(table.set_column(at, table.schema.field("caption"), pa.array(captions)), folder / "00000.parquet")


def _count_wrong(folder: Path) -> None:
    path = folder / "00000_stats.json"
    path.write_bytes(canonical_json(json.loads(path.read_bytes()) | {"frames": 7}))


def _index_wrong(folder: Path) -> None:
    path = folder / "00000.idx"
    head, first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([head, first.replace("512", "1024", 1), *rest]) + "\n")


def _manifest_sum_wrong(folder: Path) -> None:
    path = folder / MANIFEST_NAME
    values = json.loads(path.read_bytes())
    values["totals"]["clips"] += 1
    path.write_bytes(canonical_json(values))


def _manifest_figure_wrong(folder: Path) -> None:
    """Tell of more frames than there are, in a manifest that adds up."""
    store = open_store(folder)
    manifest = open_manifest(store)
    shards = (replace(manifest.shards[0], frames=1), *manifest.shards[1:])
    write_manifest(store, replace(manifest, shards=shards, totals=sum_up(shards)))


def _other_plan(folder: Path) -> None:
    plan = read_plan(open_store(folder))
    assert plan is not None
    (folder / PLAN_NAME).write_bytes(canonical_json(asdict(replace(plan, input_name="other.csv"))))


def _fate_lost(folder: Path) -> None:
    (folder / LEDGER).write_bytes(write_ledger(read_ledger(open_store(folder), "00000")[1:]))


def _shard_again(folder: Path) -> None:
    """Put a shard with clips of an earlier one in the place of another, and a manifest that knows it."""
    store = open_store(folder)
    entry = write_shard(store, 1, [fake_clip(2)], folder.parent / "again", first=2, rows=4)
    manifest = open_manifest(store)
    shards = (manifest.shards[0], entry, manifest.shards[2])
    write_manifest(store, replace(manifest, shards=shards, totals=sum_up(shards)))


DAMAGES: Sequence[Damage] = (
    Damage(
        "a flipped bit in a payload", flip("00000.tar", fake_clip(1).payload, 9), ["00000.tar"], SECOND, mended=False
    ),
    Damage("a flipped bit in a caption", flip("00000.tar", b"caption of row 1,"), ["00000.tar"], SECOND),
    Damage("a flipped bit in a record", flip("00000.tar", b'"fps":25.0', 8), ["00000.tar"], FIRST),
    Damage("a flipped bit in the first header", flip("00000.tar", 3), ["00000.tar"], FIRST),
    Damage("a flipped bit in a later header", flip("00000.tar", f"{THIRD}.json".encode(), 2), ["00000.tar"], THIRD),
    Damage("a flipped bit behind the last member", flip("00000.tar", -1), ["00000.tar"]),
    Damage("a flipped bit in an index", flip("00000.idx", 30), ["00000.idx"]),
    Damage("a flipped bit in a table", flip("00000.parquet", 700), ["00000.parquet"]),
    Damage("a flipped bit in a table's foot", flip("00000.parquet", -6), ["00000.parquet"]),
    Damage("a flipped bit in a summary", flip("00000_stats.json", 40), ["00000_stats.json"]),
    Damage("a flipped bit in a ledger", flip(LEDGER, 300), [LEDGER], mended=False),
    Damage("a flipped bit in the manifest", flip(MANIFEST_NAME, b'"seconds"', 1), [MANIFEST_NAME]),
    Damage("a flipped bit in the plan", flip(PLAN_NAME, b"table.csv"), [PLAN_NAME], mended=False),
    Damage("a missing tar", drop("00000.tar"), ["00000.tar"], mended=False),
    Damage("a missing tar without clips", drop("00001.tar"), ["00001.tar"]),
    Damage("a missing index", drop("00000.idx"), ["00000.idx"]),
    Damage("a missing table", drop("00000.parquet"), ["00000.parquet"]),
    Damage("a missing summary", drop("00000_stats.json"), ["00000_stats.json"]),
    Damage("a missing ledger", drop(LEDGER), [LEDGER], mended=False),
    Damage("a missing manifest", drop(MANIFEST_NAME), [MANIFEST_NAME]),
    Damage("a missing plan", drop(PLAN_NAME), [PLAN_NAME], mended=False),
    Damage("three files missing", drop("00000.idx", "00000.parquet", "00000_stats.json"), ["00000.idx"]),
    Damage("an extra tar", add("00003.tar", bytes(10240)), ["00003.tar"], mended=False),
    Damage(
        "an extra ledger", add("_vidloom/ledger/00009.parquet", b""), ["_vidloom/ledger/00009.parquet"], mended=False
    ),
    Damage("tars swapped", swap("00000.tar", "00002.tar"), ["00000.tar", "00002.tar"]),
    Damage("tables swapped", swap("00000.parquet", "00002.parquet"), ["00000.parquet", "00002.parquet"]),
    Damage("ledgers swapped", swap(LEDGER, "_vidloom/ledger/00002.parquet"), [LEDGER]),
    Damage("a tar renamed", rename("00000.tar", "00007.tar"), ["00000.tar", "00007.tar"]),
    Damage("a ledger renamed", rename(LEDGER, "_vidloom/ledger/00004.parquet"), [LEDGER]),
    Damage("a tar over another", copy_over("00000.tar", "00002.tar"), ["00002.tar"], "000000008_00000", mended=False),
    Damage("a tar cut in its last payload", _cut_in_payload, ["00000.tar"], THIRD, mended=False),
    Damage("a tar cut behind its last member", cut("00000.tar", -512), ["00000.tar"]),
    Damage("a tar cut to nothing", cut("00000.tar", 0), ["00000.tar"], FIRST, mended=False),
    Damage("a tar that goes on", append("00000.tar", b"x"), ["00000.tar"]),
    Damage("an index cut", cut("00000.idx", -3), ["00000.idx"]),
    Damage("a table cut", cut("00000.parquet", -100), ["00000.parquet"]),
    Damage("a manifest cut", cut(MANIFEST_NAME, 900), [MANIFEST_NAME]),
    Damage("a sample lost from a tar", _lose_sample, ["00000.tar"], SECOND, mended=False),
    Damage("a sample twice in a tar", _double_sample, ["00000.tar"], FIRST, mended=False),
    Damage("payloads swapped in a tar", _swap_payloads, ["00000.tar"], FIRST, mended=False),
    Damage("a table with fewer records", _fewer_records, ["00000.parquet"]),
    Damage("a table with another caption", _other_caption_in_table, ["00000.parquet"]),
    Damage("a wrong count in a summary", _count_wrong, ["00000_stats.json"]),
    Damage("a wrong offset in an index", _index_wrong, ["00000.idx"]),
    Damage("a wrong sum in the manifest", _manifest_sum_wrong, [MANIFEST_NAME]),
    Damage("a wrong figure in the manifest", _manifest_figure_wrong, [MANIFEST_NAME]),
    Damage("another plan", _other_plan, [PLAN_NAME], mended=False),
    Damage("a row lost from a ledger", _fate_lost, [LEDGER], mended=False),
    Damage("a shard with clips of another", _shard_again, ["00001.tar"], THIRD, mended=False),
)
