"""Classes: numbers as they stand, text through a list that is given or found; what has no class is dropped by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import LabelConfig, LoaderConfig, build_loader
from pipelines.labels import LabelError, Labels, open_labels
from shards.dataset import Dataset
from shards.manifest import open_manifest
from shards.store import NotFoundError, Store, open_store
from tests.support.clip_datasets import build_clip_dataset, video_clip

COLUMNS = {"kind": "string", "number": "int64", "weight": "double"}
KINDS = ("cat", "dog", None, "bee", "dog", "cat")


def values(row: int) -> dict[str, object]:
    return {"kind": KINDS[row], "number": row - 1, "weight": 0.5}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = open_store(tmp_path_factory.mktemp("dataset"))
    build_clip_dataset(store, tmp_path_factory.mktemp("s"), counts=(4, 2, 0), columns=COLUMNS, values=values)
    return store


def opened(dataset: Store, column: str, classes: str | None = None) -> Labels:
    return open_labels(LabelConfig(column, classes), [Dataset(dataset, open_manifest(dataset))])


def labels_of(dataset: Store, label: LabelConfig) -> dict[int, tuple[int, bool]]:
    config = LoaderConfig(dataset.url, batch_size=6, lanes=1, frames=2, size=16, label=label)
    with build_loader(config) as loader:
        batch = next(loader)
    assert batch.label is not None
    rows = [int(key[:9]) for key in batch.keys]
    return dict(zip(rows, zip(batch.label.tolist(), batch.valid.tolist(), strict=True), strict=True))


def test_text_gets_its_place_among_the_names_found(dataset: Store):
    assert opened(dataset, "kind").classes == ("bee", "cat", "dog")
    found = labels_of(dataset, LabelConfig("kind"))
    assert found == {0: (1, True), 1: (2, True), 2: (0, False), 3: (0, True), 4: (2, True), 5: (1, True)}


def test_numbers_are_classes_as_they_are(dataset: Store):
    assert opened(dataset, "number").classes is None
    found = labels_of(dataset, LabelConfig("number"))
    assert found == {0: (0, False)} | {row: (row - 1, True) for row in range(1, 6)}


def test_numbers_that_the_network_does_not_know_are_dropped(dataset: Store):
    found = labels_of(dataset, LabelConfig("number", limit=3))
    assert found == {0: (0, False), 1: (0, True), 2: (1, True), 3: (2, True), 4: (0, False), 5: (0, False)}


def test_a_list_of_names_decides_the_numbers(dataset: Store, tmp_path: Path):
    (tmp_path / "classes.txt").write_text("dog\n bee\r\nrare\n\n")
    found = labels_of(dataset, LabelConfig("kind", str(tmp_path / "classes.txt")))
    assert found == {0: (0, False), 1: (0, True), 2: (0, False), 3: (1, True), 4: (0, True), 5: (0, False)}
    assert opened(dataset, "kind", str(tmp_path / "classes.txt")).classes == ("dog", "bee", "rare")


@pytest.mark.parametrize(
    ("labels", "value", "message"),
    [
        (Labels("kind", ("a", "b")), None, "holds nothing"),
        (Labels("kind", ("a", "b")), "c", "'c', which is none of the 2 classes"),
        (Labels("kind", ("a", "b")), 2, "2, which is none of the 2 classes"),
        (Labels("kind"), -1, "none of the whole numbers"),
        (Labels("kind", limit=4), 4, "4, which is none of the whole numbers from 0 to 3"),
        (Labels("kind"), True, "True"),
        (Labels("kind"), 1.0, "1.0"),
    ],
)
def test_what_names_no_class_is_refused(labels: Labels, value: object, message: str):
    with pytest.raises(LabelError, match=message):
        labels.of(replace(video_clip(0).record, extra={"kind": value}))


def test_numbers_within_a_list_are_taken():
    assert Labels("kind", ("a", "b")).of(replace(video_clip(0).record, extra={"kind": 1})) == 1


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("colour", "no column of your own in .*; those are: kind, number, weight"),
        ("caption", "no column of your own"),
        ("weight", "holds double; classes are whole numbers or text"),
    ],
)
def test_columns_without_classes_are_named(dataset: Store, column: str, message: str):
    with pytest.raises(ValueError, match=message):
        opened(dataset, column)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a\n\nb\n", "line 2 of .* is empty"), ("a\nb\na\n", "names a class twice: a"), ("\n", "line 1|no class")],
)
def test_lists_that_are_none_are_named(dataset: Store, tmp_path: Path, text: str, message: str):
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        opened(dataset, "kind", str(tmp_path / "classes.txt"))
    with pytest.raises(NotFoundError):
        opened(dataset, "kind", str(tmp_path / "absent.txt"))


def test_a_damaged_table_is_named(dataset: Store, tmp_path: Path):
    copy = open_store(tmp_path / "copy")
    for name in dataset.list():
        copy.put(name, dataset.read(name))
    copy.put("00001.parquet", b"no table")
    with pytest.raises(ValueError, match=r"00001\.parquet is damaged"):
        opened(copy, "kind")


def test_a_state_goes_on_with_the_same_classes_only(dataset: Store, tmp_path: Path):
    (tmp_path / "same.txt").write_text("bee\ncat\ndog\n")
    (tmp_path / "other.txt").write_text("cat\nbee\ndog\n")
    config = LoaderConfig(dataset.url, batch_size=2, frames=2, size=16, label=LabelConfig("kind"))
    with build_loader(config) as loader:
        state = loader.state_dict()
    build_loader(replace(config, label=LabelConfig("kind", str(tmp_path / "same.txt"))), state).close()
    with pytest.raises(ValueError, match=r"settings\.label: "):
        build_loader(replace(config, label=LabelConfig("kind", str(tmp_path / "other.txt"))), state)
