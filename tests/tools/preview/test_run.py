"""The command preview: what it writes and says, of a folder and of a bucket, stored clips and loaded ones."""

from __future__ import annotations

import json
import re

import pytest
from PIL import Image

from pipelines.loader import PackedLoader
from pipelines.randaugment import Operation
from pipelines.sources import open_sources
from shards.dataset import open_dataset
from shards.store import Store, open_store
from tests.support.clip_datasets import build_clip_dataset
from tools.__main__ import app
from tools.console import DONE, FALLS_SHORT, WRONG_USAGE
from tools.preview.loaded import LoadedRequest
from tools.preview.loaded_cards import spell_operation
from tools.preview.posters import PosterLook
from tools.preview.run import PreviewRequest, run_preview
from tools.preview.sampling import Located
from tools.preview.tiles import draw_tiles

LOADED = ("frames=2", "data.size=32", "stride=2", "repeats=2", "crop=center")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three shards of 3, 0 and 2 clips, rows 0 to 2, 6 and 7; row 1 cannot be decoded."""
    root = tmp_path_factory.mktemp("preview")
    extra = {"columns": {"score": "double"}, "values": lambda row: {"score": row / 2}}
    build_clip_dataset(open_store(root / "set"), root / "scratch", counts=(3, 0, 2), broken={1}, **extra)
    return root / "set"


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """Run the command in an empty folder; return its exit status and what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as ending:
            app(["preview", *map(str, arguments)], prog_name="vidloom")
        printed = capsys.readouterr()
        return ending.value.code, printed.out, printed.err

    return run


def test_a_page_of_all_clips_tells_of_the_broken_one(call, folder, tmp_path):
    out = tmp_path / "sheet.html"
    status, said, _ = call(folder, "--out", out)
    assert status == FALLS_SHORT
    lines = said.splitlines()
    assert lines[0].startswith(f"5 of 5 clips of {folder}: {out}, ")
    assert lines[1].startswith("000000001_00000: ")
    assert lines[-1] == "1 of 5 have no picture; the sheet says why"
    page = out.read_text(encoding="utf-8")
    assert page.count("data:image/webp;base64,") == 4
    assert all(f"video {row}<" in page for row in (0, 1, 2, 6, 7))
    assert "no picture" in page
    assert '<dt dir="auto">score</dt><dd dir="auto">3.5</dd>' in page
    again = tmp_path / "again.html"
    assert call(folder, "--out", again)[0] == FALLS_SHORT
    assert again.read_bytes() == out.read_bytes()


def test_a_condition_a_number_and_a_seed_choose(call, folder, tmp_path):
    out = tmp_path / "sheet.PNG"
    status, said, _ = call(
        folder, "--where", "score >= 1 and duration > 0", "--n", 2, "--seed", 4, "--out", out, "--json"
    )
    assert status == DONE
    told = json.loads(said)
    assert (told["cards"], told["title"], told["faults"]) == (2, f"2 of 3 clips of {folder}", [])
    assert told["bytes"] == out.stat().st_size
    with Image.open(out) as picture:
        assert picture.width == 1122


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "sheet.jpg"], "sheet.jpg is neither a page nor a picture"),
        (["--where", "score >"], "expression"),
        (["--where", "scores > 1"], "no column 'scores' (perhaps 'score'?)"),
        (["--where", "score > 99"], "no clip of which 'score > 99' is true"),
        (["frames=3"], "frames=3 is a setting of the loader, for --as-loaded"),
        (["--skip", "4"], "--skip 4 is a setting of the loader, for --as-loaded"),
        (["--as-loaded", "--frames", "3"], "with --as-loaded give frames=3"),
        (["--as-loaded", "frame=3"], "a loader has no setting 'frame'"),
        (["--as-loaded", "frames=3", "mask.ratio=0.9"], "frames 3 does not divide by mask.tubelet 2"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_line(call, folder, arguments, said, tmp_path):
    status, _, told = call(folder, *arguments)
    assert status == WRONG_USAGE
    assert said in told
    assert list(tmp_path.iterdir()) == []


def test_loaded_rows_are_drawn_with_what_was_drawn_for_them(call, folder, tmp_path):
    out = tmp_path / "loaded.html"
    status, said, _ = call(folder, *LOADED, "data.mask_ratio=0.5", "--as-loaded", "--out", out)
    assert status == FALLS_SHORT
    assert said.startswith(f"10 rows that the loader makes of 5 of 5 clips of {folder}: ")
    assert "BrokenClipError" in said
    page = out.read_text(encoding="utf-8")
    assert page.count("data:image/webp;base64,") == 4 * 2 * 3, "stored, loaded and masked of each row"
    assert page.count("what the encoder sees") == 8
    assert page.count("48 × 48 at 0, 0 of 48 × 48 pixels (center)") == 8  # noqa: RUF001 - the sign for by
    assert page.count("tube: 2 of 4 hidden, 1 × 2 × 2 cubes") == 8  # noqa: RUF001 - as above


def test_loaded_rows_may_be_chosen_augmented_and_drawn_as_a_picture(folder, tmp_path, capsys):
    chance = ("flip=1.0", "randaugment=rand-m9-n3-p1", "erasing=1.0", "tokens.vocabulary=515", "batch_size=1")
    more = ("mask.ratio=0.5", "mask.decoder_ratio=0.5", "mask.patch=8")
    request = PreviewRequest(
        str(folder), str(tmp_path / "x.png"), n=3, where="score != 0.5", settings=(*LOADED, *chance, *more)
    )
    assert run_preview(request) == DONE
    assert capsys.readouterr().out.startswith("6 rows that the loader makes of 3 of 4 clips")
    page = PreviewRequest(
        **{name: getattr(request, name) for name in ("dataset", "n", "where", "settings")}, out=str(tmp_path / "x.html")
    )
    assert run_preview(page) == DONE
    text = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert text.count("what is to be predicted") == 6
    for fact in ("operations", "erased", "tokens", "decoder mask"):
        assert text.count(f'<dt dir="auto">{fact}</dt>') == 6
    assert '<dt dir="auto">mirrored</dt><dd dir="auto">no' not in text


def test_packed_clips_and_later_batches_are_those_of_the_loader(call, folder, tmp_path):
    settings = ("frames=2", "size=32", "stride=2", "packing.patch=8", "mask.patch=8", "mask.ratio=0.5", "batch_size=2")
    out = tmp_path / "later.html"
    status, said, _ = call(folder, "--as-loaded", *settings, "--n", 2, "--skip", 3, "--out", out, "--where", "row != 1")
    assert (status, said[:36]) == (DONE, "2 rows that the loader makes of 2 of")
    page = out.read_text(encoding="utf-8")
    assert "from batch 1 on, seed 0" in page
    assert page.count("(packed)") == 2
    config = LoadedRequest(str(folder), 2, 0, "row != 1", settings).config()
    with PackedLoader(config, open_sources(config)) as loader:
        next(loader)
        keys = next(loader).keys
    assert re.findall(r"<h2[^>]*>(\d+_\d+)</h2>", page) == keys


def test_a_selected_dataset_is_drawn_from_the_tars_it_refers_to(call, folder, tmp_path):
    with pytest.raises(SystemExit) as ending:
        app(["select", str(folder), "row > 1", str(tmp_path / "part")], prog_name="vidloom")
    assert ending.value.code == DONE
    status, said, _ = call(tmp_path / "part", "--out", "part.html")
    assert (status, said.splitlines()[-1][:15]) == (DONE, "3 of 3 clips of")
    page = (tmp_path / "part.html").read_text(encoding="utf-8")
    assert page.count("data:image/webp;base64,") == 3


def test_settings_of_training_are_the_loaders():
    texts = ("data.frames=4", "data.size=32", "data.mask_kind=random", "data.decoder_mask_ratio=0.25", "mask.ratio=0.5")
    config = LoadedRequest("set", 3, 9, None, (*texts, "data.label=score", "data.tokenizer=t.json")).config()
    assert (config.frames, config.size, config.seed, config.batch_size) == (4, 32, 9, 3)
    assert (config.label.column, config.tokens.tokenizer) == ("score", "t.json")
    assert (config.mask.kind, config.mask.decoder_ratio, config.mask.ratio) == ("random", 0.25, 0.5)


def test_of_a_bucket_only_the_chosen_clips_are_read(folder, object_store, tmp_path, monkeypatch):
    url = object_store.make_bucket("preview")
    for path in folder.rglob("*"):
        if path.is_file():
            open_store(url).put(str(path.relative_to(folder)), path.read_bytes())
    store, manifest = open_dataset(url)
    read = []
    ranged, whole = Store.read_range, Store.read
    monkeypatch.setattr(
        Store,
        "read_range",
        lambda self, name, start, stop, **more: (
            read.append((name, stop - start)),
            ranged(self, name, start, stop, **more),
        )[1],
    )
    monkeypatch.setattr(Store, "read", lambda self, name: (read.append((name, None)), whole(self, name))[1])
    (tile,) = draw_tiles(store, manifest, [Located(2, "00002", 1)], PosterLook(frames=1))
    assert tile.key == "000000007_00000"
    assert {name for name, _ in read} == {"00002.parquet", "00002.tar"}
    assert [size for name, size in read if name == "00002.tar"] == [tile.record.bytes]
    monkeypatch.undo()
    assert run_preview(PreviewRequest(url, f"{url}/sheets/a.html", n=1, where="score = 3.5")) == DONE
    assert b"video 7" in open_store(url).read("sheets/a.html")


def test_operations_are_spelt():
    spelt = [spell_operation(operation) for operation in (Operation("invert"), Operation("solarize_add", 12.0))]
    assert spelt == ["invert", "solarize add 12"]
    assert spell_operation(Operation("warp", matrix=(1.0, 0.25, 0.0, 0.0, 1.0, 3.0))) == "warp [1 0.25 0 0 1 3]"
