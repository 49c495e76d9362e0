"""The tokeniser of a run: the file that is named, or one trained on the dataset once, kept, and shared."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import text
from pipelines.source_config import SourceConfig
from pipelines.split import SplitConfig
from pipelines.text import default_folder, open_tokenizer
from pipelines.text_training import dataset_captions, train_tokenizer
from shards.manifest import open_manifest
from shards.store import NotFoundError, open_store
from tests.support.captioned import build_captioned_dataset

ROOT = Path(__file__).parents[2]
SHARDS = [[f"a {colour} dog runs" for colour in ("red", "green")] * 3, [], ["two dogs run in the park"] * 2]
OPEN = """
import logging, sys
from pathlib import Path
from pipelines.text import open_tokenizer
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
print(open_tokenizer(None, sys.argv[1], vocabulary=600, folder=Path(sys.argv[2])).digest)
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    build_captioned_dataset(open_store(folder), tmp_path_factory.mktemp("scratch"), SHARDS)
    return str(folder)


def trained(dataset, **changes):
    store = open_store(dataset)
    return train_tokenizer(dataset_captions(store, open_manifest(store)), **changes)


def test_without_a_file_it_is_trained_once_and_kept(dataset, tmp_path, monkeypatch):
    first = open_tokenizer(None, dataset, vocabulary=600, folder=tmp_path)
    assert first.digest == trained(dataset, vocabulary=600).digest
    monkeypatch.setattr(text, "train_tokenizer", lambda *_, **__: pytest.fail("trained again"))
    assert open_tokenizer(None, dataset, vocabulary=600, folder=tmp_path).digest == first.digest
    assert open_tokenizer(None, dataset, vocabulary=600, folder=tmp_path, context=9).context == 9
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".json", ".lock"]


def test_other_settings_and_other_datasets_are_kept_apart(dataset, tmp_path):
    build_captioned_dataset(open_store(tmp_path / "other"), tmp_path / "scratch", [["a cat sleeps"] * 4])
    sources = [(dataset, 600), (dataset, 520), (str(tmp_path / "other"), 600)]
    found = {open_tokenizer(None, one, vocabulary=size, folder=tmp_path / "kept").digest for one, size in sources}
    assert len(found) == 3
    assert len(list((tmp_path / "kept").glob("*.json"))) == 3


def test_a_vocabulary_learns_of_the_clips_that_are_taken_alone(dataset, tmp_path):
    """Captions that are held out are not seen by training, nor by what training begins with."""
    part = SourceConfig(dataset, where="caption contains 'dogs'")
    learnt = open_tokenizer(None, [part], vocabulary=600, folder=tmp_path)
    assert learnt.digest == train_tokenizer(SHARDS[2], vocabulary=600).digest
    halves = [SourceConfig(dataset, split=SplitConfig(0.5, side, "key")) for side in ("train", "held_out")]
    whole, *sides = (
        open_tokenizer(None, each, vocabulary=600, folder=tmp_path) for each in (dataset, halves[:1], halves[1:])
    )
    assert len({whole.digest, *(side.digest for side in sides), learnt.digest}) == 4
    both = open_tokenizer(None, halves, vocabulary=600, folder=tmp_path)
    assert both.digest == whole.digest, "captions in another order"


def test_many_processes_train_it_once(dataset, tmp_path):
    command = [sys.executable, "-c", OPEN, dataset, str(tmp_path)]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=100)[0].splitlines() for process in processes]
    assert {lines[-1] for lines in said} == {trained(dataset, vocabulary=600).digest}
    assert sum("training a vocabulary" in line for lines in said for line in lines) == 1


def test_a_process_that_died_while_training_blocks_nobody(dataset, tmp_path):
    """Its lock died with it; the file that it was writing is no vocabulary yet."""
    kept = open_tokenizer(None, dataset, vocabulary=600, folder=tmp_path)
    (path,) = tmp_path.glob("*.json")
    path.unlink()
    (tmp_path / f".{path.name}.0.part").write_bytes(b"half")
    assert open_tokenizer(None, dataset, vocabulary=600, folder=tmp_path).digest == kept.digest


def test_a_named_file_is_taken_and_the_dataset_left_alone(dataset, tmp_path):
    (tmp_path / "t.json").write_text(trained(dataset, vocabulary=530, context=8).to_json())
    found = open_tokenizer(str(tmp_path / "t.json"), "s3://none/nowhere")
    assert (found.vocabulary, found.context) == (530, 8)


def test_without_a_folder_it_is_the_users_cache(dataset, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "vidloom" / "tokenizers"
    with caplog.at_level(logging.INFO):
        open_tokenizer(None, dataset)
    assert "'vidloom tokenizer' writes one" in caplog.text
    assert len(list(default_folder().glob("tokenizer-*.json"))) == 1
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == Path.home() / ".cache" / "vidloom" / "tokenizers"


def test_an_absent_dataset_is_named(tmp_path):
    with pytest.raises(NotFoundError, match="no dataset"):
        open_tokenizer(None, str(tmp_path), folder=tmp_path)
