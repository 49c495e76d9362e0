"""Energon's files are those that its own preparation makes, and its reader finds the manifest's ids through them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from megatron.energon import (
    Cooker,
    DefaultTaskEncoder,
    TextSample,
    WorkerConfig,
    basic_sample_keys,
    get_loader,
    get_val_dataset,
    stateless,
)
from megatron.energon.epathlib import EPath
from megatron.energon.flavors.webdataset.prepare import WebdatasetPreparator

from shards.dataset import open_dataset
from shards.energon import DuplicateKeyError, PlacedSample, PlacedTar, collapse, write_samples
from shards.indexes import write_indexes
from shards.placed import read_keys
from shards.record import Member
from shards.store import open_store
from tests.support.datasets import build_dataset

TABLES = ("samples", "sample_parts")


@stateless
def cook(sample):
    return TextSample(**basic_sample_keys(sample), text=sample["txt"].decode())


class Captions(DefaultTaskEncoder):
    """Takes the captions of samples as they lie in the tars."""

    decoder = None
    cookers = (Cooker(cook),)


def rows(path: Path) -> dict[str, list]:
    """Return the tables of an index of Energon's, and what they and their indexes are."""
    with closing(sqlite3.connect(path)) as database:
        tables = {name: database.execute(f"SELECT * FROM {name} ORDER BY 1, 2, 3").fetchall() for name in TABLES}
        made = database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return tables | {"made": sorted("".join(text.split()) for (text,) in made)}


@pytest.mark.filterwarnings("ignore:.pin_memory. argument is set as true")  # there is no GPU
@pytest.mark.filterwarnings("ignore:Using fork:DeprecationWarning")  # of eventlet, where a test before ran Swift
def test_energon_reads_the_manifests_ids_and_would_have_made_the_same_files(tmp_path):
    made, own = tmp_path / "set", tmp_path / "theirs"
    build_dataset(open_store(made), tmp_path / "scratch", counts=(3, 0, 2, 1))
    write_indexes(open_store(made), ["energon"])
    own.mkdir()
    tars = [name for name in ("00000.tar", "00002.tar", "00003.tar") if shutil.copy(made / name, own)]
    split = [("train", 1.0), ("val", 0.0), ("test", 0.0)]
    WebdatasetPreparator.prepare_dataset(EPath(own), tars, split_parts_ratio=split, shuffle_seed=None, workers=1)
    theirs, ours = own / ".nv-meta", made / ".nv-meta"
    assert rows(theirs / "index.sqlite") == rows(ours / "index.sqlite")
    assert json.loads((theirs / ".info.json").read_text()) == json.loads((ours / ".info.json").read_text())
    assert all((own / f"{tar}.idx").read_bytes() == (made / f"{tar}.idx").read_bytes() for tar in tars)

    config = WorkerConfig(rank=0, world_size=1, num_workers=0)
    dataset = get_val_dataset(
        made,
        split_part="train",
        worker_config=config,
        batch_size=None,
        task_encoder=Captions(),
        max_samples_per_sequence=None,
    )
    found = list(get_loader(dataset))
    assert all(sample.text.startswith("caption of row") for sample in found)
    found = [sample.__key__.rpartition("/")[2] for sample in found]
    store, manifest = open_dataset(made)
    assert found == [key for entry in manifest.shards for key in read_keys(store, f"{entry.stem}.parquet")]


def test_keys_that_come_twice_are_refused_by_name(tmp_path):
    tars = [PlacedTar(name, [PlacedSample("k", 0, (Member("mp4", 512, 3),))], 1024) for name in ("a.tar", "b.tar")]
    with pytest.raises(DuplicateKeyError, match=r"'k' of b\.tar comes twice"):
        write_samples(tmp_path / "x.sqlite", tars)


@pytest.mark.parametrize(
    ("names", "collapsed"),
    [
        (["00000.tar", "00001.tar", "00002.tar"], ["{00000..00002}.tar"]),
        (["00000.tar", "00002.tar", "00003.tar"], ["00000.tar", "{00002..00003}.tar"]),
        (["99999.tar", "100000.tar"], ["99999.tar", "100000.tar"]),
        (["b.tar", "a.tar", "00007.tar"], ["b.tar", "a.tar", "00007.tar"]),
        ([], []),
    ],
)
def test_runs_of_tars_are_one_name(names, collapsed):
    assert collapse(names) == collapsed
