"""``vidloom embed``: what stands in the file, on one rank and on two, again after a crash, and what is refused."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.functional import normalize
from typer.testing import CliRunner

from pipelines.evaluation import evaluation_loader
from tests.support.evaluated import ROWS, build_evaluated, caption_of, save_model
from train.apply import embed_job
from train.apply.__main__ import app
from train.apply.embed_job import embed_dataset
from train.apply.embed_pieces import EmbedSettings
from train.apply.parts import Parts
from train.apply.shard_clips import Computing
from train.evaluate.tokens import frame_features
from train.parallel import Ranks
from train.pretrained import load_model

ONE = Ranks(0, 1, torch.device("cpu"))
BROKEN = 9
KEYS = [f"{row:09d}_00000" for row in ROWS]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    build_evaluated(folder, tmp_path_factory.mktemp("scratch"), broken=(BROKEN,))
    return str(folder)


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("vlc"), "mm_full")


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("mvm"), "videomae_pretrain")


def embed(*args):
    return CliRunner().invoke(app, ["embed", *map(str, args), "--workers", "1", "--device", "cpu"])


def clips_of(model, dataset):
    with evaluation_loader(model.loader_config(dataset, batch_size=99, tokens=None)) as batches:
        (batch,) = batches
    return batch


def rows_of(place):
    return pq.read_table(place).to_pylist()


def test_each_clip_has_a_row_and_one_that_is_broken_says_why(dataset, towers, tmp_path):
    found = embed(dataset, tmp_path / "out.parquet", "--model", towers, "--batch-size", 2, "--json")
    assert found.exit_code == 1
    report = json.loads(found.stdout)
    assert report["rows"] == 9
    assert [each["key"] for each in report["unusable"]] == [f"{BROKEN:09d}_00000"]
    rows, model = rows_of(tmp_path / "out.parquet"), load_model(towers)
    assert [row["key"] for row in rows] == KEYS
    assert [row["caption"] for row in rows] == [caption_of(row) for row in ROWS]
    batch = clips_of(model, dataset)
    wanted = model.encode_video(batch.video)
    for number, row in enumerate(rows):
        if not batch.valid[number]:
            assert row["embedding"] is None
            assert row["error"].startswith("BrokenClipError: ")
            continue
        assert row["embedding"] == pytest.approx(wanted[number].tolist(), abs=1e-5)
        assert (row["start"], row["end"]) == (batch.frame_times[number].min(), batch.frame_times[number].max())
        assert (row["row"], row["shard"], row["fps"], row["error"]) == (ROWS[number], row["shard"], 25.0, None)
    assert [row["shard"] for row in rows] == ["00000"] * 4 + ["00002"] * 3 + ["00003"] * 3
    assert not (tmp_path / "out.parquet.parts").exists()


def test_the_file_says_what_it_holds(dataset, towers, tmp_path):
    embed(dataset, tmp_path / "out.parquet", "--model", towers)
    schema = pq.read_schema(tmp_path / "out.parquet")
    about = json.loads(schema.metadata[b"vidloom"])
    assert (about["of"], about["space"], about["kind"], about["windows"]) == ("video", "shared", "mm_full", None)
    assert about["clips"]["frames"] == 4
    assert schema.field("embedding").type.list_size == about["dim"]
    assert len(about["weights"]) == len(about["dataset"]) == 64


def test_the_page_on_it_says_how_to_read_the_features_that_are_there(dataset, towers, tmp_path):
    embed(dataset, tmp_path / "webvid.parquet", "--model", towers)
    page = (Path(__file__).parents[3] / "docs/use.md").read_text(encoding="utf-8")
    (program,) = (code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "read_table" in code)
    script = f"{program}\nprint(*features.shape)"
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.split()[0] == "9"
    assert len(rows_of(tmp_path / "webvid.parquet")) == 10


def test_captions_are_embedded_where_clips_are_broken_too(dataset, towers, tmp_path):
    assert embed(dataset, tmp_path / "out.parquet", "--model", towers, "--of", "text").exit_code == 0
    rows = rows_of(tmp_path / "out.parquet")
    wanted = load_model(towers).encode_text([caption_of(row) for row in ROWS])
    assert [row["embedding"] for row in rows] == pytest.approx(wanted.numpy(), abs=1e-5)
    assert {(row["start"], row["end"]) for row in rows} == {(None, None)}


def test_frames_have_a_row_for_each_time_slot(dataset, masked, tmp_path):
    embed(dataset, tmp_path / "out.parquet", "--model", masked, "--of", "frames")
    rows, model = rows_of(tmp_path / "out.parquet"), load_model(masked)
    batch = clips_of(model, dataset)
    wanted = normalize(frame_features(model.network, batch.video), dim=-1)
    slots = wanted.shape[1]
    first = [row for row in rows if row["key"] == KEYS[0]]
    assert [row["embedding"] for row in first] == pytest.approx(wanted[0].numpy(), abs=1e-5)
    times = batch.frame_times[0].reshape(slots, -1)
    assert [row["start"] for row in first] == times.min(dim=1).values.tolist()
    assert [row["end"] for row in first] == times.max(dim=1).values.tolist()
    assert len(rows) == 9 * slots + 1


def test_windows_are_temporal_features_as_localisation_tools_take_them(dataset, masked, tmp_path):
    options = ["--model", masked, "--windows", 0.16, "--stride", 0.08, "--npy", tmp_path / "npy"]
    assert embed(dataset, tmp_path / "out.parquet", *options).exit_code == 1
    rows = [row for row in rows_of(tmp_path / "out.parquet") if row["key"] == KEYS[1]]
    assert [row["start"] for row in rows] == pytest.approx([0.0, 0.08, 0.16, 0.24])
    assert [row["end"] for row in rows] == pytest.approx([0.16, 0.24, 0.32, 0.4])
    features = np.load(tmp_path / "npy" / f"{KEYS[1]}.npy")
    assert features.dtype == np.float32
    assert features == pytest.approx(np.array([row["embedding"] for row in rows]))
    index = json.loads((tmp_path / "npy" / "features.json").read_text())
    told = index["clips"][KEYS[1]]
    assert (told["features"], told["fps"], told["num_frames"], told["feat_stride"]) == (4, 25.0, 4.0, 2.0)
    assert list(index["unusable"]) == [KEYS[ROWS.index(BROKEN)]]
    assert len(list((tmp_path / "npy").iterdir())) == 9 + 1
    by_source = embed(dataset, tmp_path / "out.parquet", *options, "--npy-names", "source")
    assert by_source.exit_code == 2
    assert "would both be 2.npy" in by_source.stderr


def settings():
    return EmbedSettings(computing=Computing(batch_size=2, workers=1))


DIES = """
import os, signal, sys, torch
from train.apply import parts
from train.apply.__main__ import app
torch.set_num_threads(1)
put, left = parts.Parts.put, [2]
def dying(self, entry, data):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    put(self, entry, data)
parts.Parts.put = dying
app(sys.argv[1:])
"""


def test_a_killed_run_keeps_what_it_did_and_ends_in_the_same_file(dataset, towers, tmp_path, monkeypatch):
    out = tmp_path / "out.parquet"
    args = ["embed", dataset, out, "--model", towers, "--workers", "1", "--device", "cpu"]
    killed = subprocess.run(
        [sys.executable, "-c", DIES, *map(str, args)],
        capture_output=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[3],
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not out.exists()
    kept = sorted(path.name for path in Path(f"{out}.parts").iterdir())
    assert kept == ["00000.parquet", "00001.parquet", "settings.json"]
    made = []
    monkeypatch.setattr(
        Parts, "put", lambda self, entry, data, put=Parts.put: made.append(entry.stem) or put(self, entry, data)
    )
    assert embed(dataset, out, "--model", towers).exit_code == 1
    assert made == ["00002", "00003"]
    embed(dataset, tmp_path / "other.parquet", "--model", towers)
    assert out.read_bytes() == (tmp_path / "other.parquet").read_bytes()


def test_parts_and_files_of_another_model_or_other_settings_are_refused(dataset, towers, masked, tmp_path):
    out = tmp_path / "out.parquet"
    Parts.of(str(out)).begin({"of": "text"})
    refused = embed(dataset, out, "--model", towers)
    assert refused.exit_code == 2
    assert 'of "text", now "video"' in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    embed(dataset, tmp_path / "done.parquet", "--model", towers)
    refused = embed(dataset, tmp_path / "done.parquet", "--model", masked)
    assert refused.exit_code == 2
    assert "weights" in refused.stderr


def test_a_finished_file_is_left_as_it_is(dataset, towers, tmp_path, monkeypatch):
    out = tmp_path / "out.parquet"
    embed(dataset, out, "--model", towers)
    before = out.stat().st_mtime_ns
    monkeypatch.setattr(embed_job, "table_of", None)
    again = embed(dataset, out, "--model", towers)
    assert again.exit_code == 1
    assert "9 embeddings of video" in again.stdout
    assert out.stat().st_mtime_ns == before
    assert not Path(f"{out}.parts").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stride", "1"], "--windows SECONDS"),
        (["--windows", "0"], "positive number of seconds"),
        (["--windows", "1", "--of", "text"], "leave out --windows"),
        (["--npy", "n", "--of", "text"], "captions have none"),
        (["--of", "text"], "which knows no texts"),
    ],
)
def test_a_fault_is_one_line_and_status_2(dataset, masked, tmp_path, options, message):
    found = embed(dataset, tmp_path / "out.parquet", "--model", masked, *options)
    assert found.exit_code == 2
    assert message in found.stderr
    assert len(found.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["o.csv", "o", "parquet"])
def test_a_file_of_another_name_than_parquet_is_refused(dataset, masked, tmp_path, name):
    found = embed(dataset, tmp_path / name, "--model", masked)
    assert found.exit_code == 2
    assert f"{name} does not end in .parquet" in found.stderr
    assert f"give {tmp_path / name}.parquet" in found.stderr
    assert not list(tmp_path.iterdir())


def test_numbers_that_are_not_finite_are_named(dataset, towers, tmp_path):
    model = load_model(towers)
    with torch.no_grad():
        next(model.network.video.parameters()).fill_(torch.nan)
    report = embed_dataset(model, dataset, str(tmp_path / "o.parquet"), settings(), ONE)
    assert report.rows == 0
    assert "not finite" in report.unusable[0]["error"]


def test_a_folder_without_a_dataset_is_refused(towers, tmp_path):
    missing = embed(tmp_path, tmp_path / "o.parquet", "--model", towers)
    assert missing.exit_code == 2
    assert len(missing.stderr.splitlines()) == 1
