"""``vidloom search``: the best rows, whatever the row groups, each clip once where asked, and the sheet."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from typer.testing import CliRunner

from shards.store import open_store
from tests.support.clip_datasets import build_clip_dataset
from tests.support.evaluated import save_model
from train.apply import embed_table
from train.apply.__main__ import app
from train.apply.embed_table import About, Embeddings, Piece, table_of, to_bytes, write_whole
from train.apply.search_sheet import Found, Look, _small, draw_sheet
from train.apply.search_table import Hit, find
from train.pretrained import load_model

TEXT = "a red dog runs"


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("vlc"), "mm_full")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    build_clip_dataset(open_store(folder), tmp_path_factory.mktemp("scratch"), counts=(2, 2), broken=(1,))
    return str(folder)


@pytest.fixture(scope="module")
def windows(dataset, towers, tmp_path_factory):
    out = str(tmp_path_factory.mktemp("out") / "windows.parquet")
    args = ["embed", dataset, out, "--model", towers, "--windows", "0.12", "--workers", "1", "--device", "cpu"]
    assert CliRunner().invoke(app, args).exit_code == 1
    return out


def search(*args):
    return CliRunner().invoke(app, ["search", *map(str, args), "--device", "cpu"])


def about(**changes):
    settings = {"of": "video", "space": "shared", "dim": 3, "kind": "mm_full", "weights": "0" * 64, "vocabulary": None}
    rest = {"dataset": "1" * 64, "clips": {}, "windows": None, "precision": "fp32"}
    return About(**settings | rest | changes)


def made_up(folder, features, keys=None, rows=4):
    """Write embeddings in row groups of ``rows``; None has none."""
    count = len(features)
    names = keys or [f"clip{number}" for number in range(count)]
    records = pa.table(
        {
            "key": names,
            "caption": [f"caption {number}" for number in range(count)],
            "source": ["video.mp4"] * count,
            "row": pa.array(range(count), pa.int64()),
            "clip": pa.array([0] * count, pa.int32()),
            "pts_start": [0.0] * count,
            "duration": [2.0] * count,
            "fps": [25.0] * count,
        }
    )
    pieces = [
        Piece(n, float(n), n + 1.0, None if each is None else np.asarray(each, np.float32), None if each else "broken")
        for n, each in enumerate(features)
    ]
    table = table_of(about(), "00000", records, pieces)
    write_whole(folder / "made.parquet", table.schema, table.to_batches(max_chunksize=rows))
    return Embeddings(str(folder / "made.parquet"))


@pytest.fixture
def small_groups(monkeypatch):
    monkeypatch.setattr(embed_table, "ROWS", 4)


def directions(count, seed=0):
    found = np.random.default_rng(seed).normal(size=(count, 3))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).tolist()


def test_the_best_rows_come_whatever_the_row_groups(tmp_path, small_groups):
    features = directions(31)
    table = made_up(tmp_path, features)
    query = np.array([0.6, 0.0, 0.8], np.float32)
    scores = np.array(features) @ query
    wanted = np.argsort(-scores)[:7]
    found = find(table, query, 7)
    assert [hit.key for hit in found] == [f"clip{number}" for number in wanted]
    assert [hit.score for hit in found] == pytest.approx(scores[wanted], abs=1e-6)
    assert [hit.start for hit in found] == wanted.tolist()
    assert max(map(len, table.batches())) == 4


def test_of_equals_the_first_comes_first_and_rows_without_an_embedding_never(tmp_path, small_groups):
    table = made_up(tmp_path, [None, [1, 0, 0], [0, 1, 0], None, None, [1, 0, 0], [0, 0, 1], [1, 0, 0]])
    found = find(table, np.array([1, 0, 0], np.float32), 9)
    assert [hit.key for hit in found] == ["clip1", "clip5", "clip7", "clip2", "clip6"]
    with pytest.raises(ValueError, match="no embedding that could be found"):
        find(made_up(tmp_path, [None, None]), np.array([1, 0, 0], np.float32), 3)


def test_each_clip_comes_once_with_its_best_row(tmp_path, small_groups):
    features = directions(40, seed=1)
    keys = [f"clip{number // 8}" for number in range(40)]
    query = np.array([0.0, 0.6, 0.8], np.float32)
    scores = (np.array(features) @ query).reshape(5, 8)
    order = np.argsort(-scores.max(axis=1))
    found = find(made_up(tmp_path, features, keys), query, 3, distinct=True)
    assert [hit.key for hit in found] == [f"clip{number}" for number in order[:3]]
    assert [hit.start for hit in found] == [8 * number + scores[number].argmax() for number in order[:3]]


def test_no_more_than_a_row_group_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(embed_table, "ROWS", 512)
    records = np.random.default_rng(2).normal(size=(16 * 512, 256)).astype(np.float32)
    schema = embed_table.schema_of(about(dim=256))
    columns = {"embedding": pa.FixedSizeListArray.from_arrays(pa.array(records.ravel()), 256)}
    blank = [columns.get(field.name, pa.nulls(len(records), field.type)) for field in schema]
    write_whole(tmp_path / "large.parquet", schema, [pa.RecordBatch.from_arrays(blank, schema=schema)])
    table, before = Embeddings(str(tmp_path / "large.parquet")), pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in table.batches("embedding")]
    assert len(held) == 16
    assert max(held) < 4 * 512 * 256 * 4


def test_all_of_it_works_in_a_bucket(dataset, towers, windows, object_store):
    url = object_store.make_bucket("use")
    here, there = open_store(dataset), open_store(f"{url}/set")
    for name in here.list():
        there.put(name, here.read(name))
    out, options = f"{url}/windows.parquet", ["--workers", "1", "--device", "cpu", "--npy", f"{url}/npy"]
    made = CliRunner().invoke(
        app, ["embed", f"{url}/set", out, "--model", towers, "--windows", "0.12", "--batch-size", "3", *options]
    )
    assert made.exit_code == 1
    store = open_store(url)
    names = {name for name in store.list() if not name.startswith("set/")}
    arrays = {f"npy/{row:09d}_00000.npy" for row in (0, 2, 3)}
    assert names == {"windows.parquet", "npy/features.json"} | arrays
    sheet = ["--dataset", f"{url}/set", "--sheet", f"{url}/sheet.png"]
    told = [
        json.loads(search(*args).stdout)["hits"]
        for args in ((out, TEXT, "--model", towers, "--json", *sheet), (windows, TEXT, "--model", towers, "--json"))
    ]
    assert [(hit["key"], hit["start"]) for hit in told[0]] == [(hit["key"], hit["start"]) for hit in told[1]]
    assert store.read("sheet.png").startswith(b"\x89PNG")


def test_a_damaged_page_is_named(tmp_path):
    made = made_up(tmp_path, directions(300), rows=300)
    data = bytearray((tmp_path / "made.parquet").read_bytes())
    data[100:2000] = bytes(1900)
    (tmp_path / "made.parquet").write_bytes(data)
    with pytest.raises(ValueError, match=r"made\.parquet is damaged"):
        find(made, np.array([1, 0, 0], np.float32), 3)


def test_moments_are_found_by_a_text_and_drawn(dataset, towers, windows, tmp_path):
    sheet = tmp_path / "sheet.png"
    options = ["--model", towers, "--top", 3, "--distinct", "--dataset", dataset, "--sheet", sheet, "--frames", 2]
    report = json.loads(search(windows, TEXT, *options, "--json").stdout)
    model = load_model(towers)
    query = model.encode_text([TEXT])[0].numpy()
    wanted = find(Embeddings(windows), query, 3, distinct=True)
    assert [hit["key"] for hit in report["hits"]] == [hit.key for hit in wanted]
    assert {hit["key"] for hit in report["hits"]} == {f"{row:09d}_00000" for row in (0, 2, 3)}
    picture = np.asarray(Image.open(sheet))
    assert picture.shape[1] >= 640
    for place, hit in enumerate(report["hits"]):
        top = 16 + 40 + place * (144 + 40 + 16) + 40
        grey = 20 + int(hit["key"][:9]) * 37 % 200
        inside = picture[top + 60 : top + 140, 20:140].astype(int)
        assert abs(inside.mean() - grey) < 12
        assert (picture[top : top + 144, 16 + 2 * 148 + 4 :] == 250).all()


def test_people_get_a_table(windows, towers):
    found = search(windows, TEXT, "--model", towers, "--top", 2)
    assert found.exit_code == 0
    assert "video" in found.stdout
    assert "to" in found.stdout


def test_a_clip_that_cannot_be_shown_says_so_and_long_captions_are_cut():
    hit = Hit(0.5, "000000001_00000", "00000", "v.mp4", "a long caption " * 40, 0.0, 1.0, 0.0)
    bare = draw_sheet("text", [Found(hit, ())], Look(height=60))
    told = draw_sheet("text", [Found(hit, (), "it is broken")], Look(height=60))
    assert bare.size == told.size == (640, 2 * 16 + 40 + 60 + 40 + 16)
    differs = np.argwhere((np.asarray(bare) != np.asarray(told)).any(axis=2))
    assert 16 + 40 + 40 <= differs[:, 0].min() < differs[:, 0].max() < 16 + 40 + 40 + 60
    assert (np.asarray(bare)[:, 640 - 16 :] == 250).all()


@pytest.mark.parametrize(
    ("changes", "message"), [({"space": "own", "of": "frames"}, "no text can be compared"), ({}, "other weights")]
)
def test_embeddings_that_do_not_fit_are_refused(tmp_path, towers, changes, message):
    file = tmp_path / "e.parquet"
    empty = pa.schema(embed_table.schema_of(about(**changes))).empty_table()
    file.write_bytes(to_bytes(empty))
    found = search(file, TEXT, "--model", towers)
    assert found.exit_code == 2
    assert message in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_other_files_and_another_dataset_are_refused(tmp_path, towers, windows):
    (tmp_path / "text.parquet").write_text("no parquet")
    (tmp_path / "plain.parquet").write_bytes(to_bytes(pa.table({"key": ["a"]})))
    build_clip_dataset(open_store(tmp_path / "set"), tmp_path / "s", counts=(1,))
    sheet = ["--sheet", tmp_path / "x.png"]
    for args, message in (
        ((tmp_path / "text.parquet", TEXT), "is damaged, or no Parquet file"),
        ((tmp_path / "plain.parquet", TEXT), "none of embeddings"),
        ((windows, " "), "is empty"),
        ((windows, TEXT, *sheet), "go together"),
        ((windows, TEXT, *sheet, "--dataset", tmp_path / "set"), "not the dataset that was embedded"),
    ):
        found = search(*args, "--model", towers)
        assert (found.exit_code, len(found.stderr.splitlines())) == (2, 1), found.stderr
        assert message in found.stderr
    assert not (tmp_path / "x.png").exists()


def test_a_frame_keeps_its_shape_up_to_a_point():
    assert _small(np.zeros((90, 160, 3), np.uint8), 45).size == (80, 45)
    assert _small(np.zeros((100, 1000, 3), np.uint8), 50).size == (120, 50)
