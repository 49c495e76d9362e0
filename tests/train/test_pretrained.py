"""A trained network in use: loaded by its place, it encodes, writes, classifies, and says what it cannot."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import normalize

from model.generation import Generation
from model.saved import describe
from model.video_text import VideoTextModel
from pipelines.weights import write_weights
from shards.store import open_store
from tests.support.saved_runs import save_run, tiny_words, towers_with_words
from tests.support.tiny_networks import tiny_entries, tiny_network
from tests.support.video_text import build
from train.export import export_run
from train.pretrained import load_model
from train.run_files import keep_run_files

CLIPS = torch.randn(3, 3, 4, 16, 16, generator=torch.Generator().manual_seed(3))
WIDE = torch.randn(2, 3, 4, 16, 24, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    """A run of the towers with its vocabulary, and the network."""
    run = tmp_path_factory.mktemp("vlc")
    network = build(VideoTextModel, towers_with_words())
    data = {"colours": "clip", "sampling": "bin", "crop": "squash"}
    save_run(run, "mm_full", towers_with_words(), weights=network.state_dict(), data=data)
    keep_run_files(open_store(run), tokenizer=tiny_words())
    export_run(str(run))
    return str(run), network


@pytest.mark.parametrize("place", ["", "/final", "/final/model.safetensors", "/checkpoints/step-00000003"])
def test_clips_and_texts_share_a_space(towers, place):
    run, network = towers
    model = load_model(run + place)
    assert not model.network.training
    video, text = model.encode_video(CLIPS), model.encode_text(["two dogs", "a red dog runs and sits"])
    ids = torch.from_numpy(tiny_words().encode_rows(["two dogs", "a red dog runs and sits"]).ids)
    with torch.no_grad():
        torch.testing.assert_close(video, normalize(network.video.embed(CLIPS), dim=-1))
        torch.testing.assert_close(text, normalize(network.text.embed(ids), dim=-1))
    assert (video @ text.T).shape == (3, 2)


def test_captions_are_written_with_the_network_s_own_ids(towers):
    run, network = towers
    model, words = load_model(run), tiny_words()
    captions = model.caption(CLIPS, Generation(kind="beam", beams=2, max_tokens=4))
    assert len(captions) == 3
    assert model.caption(CLIPS) == model.caption(CLIPS, Generation(max_tokens=7))  # what fits into the context
    with pytest.raises(ValueError, match="at most 7 is taken"):
        model.caption(CLIPS, Generation(max_tokens=8))
    drawn = [
        model.caption(CLIPS, Generation(kind="nucleus", max_tokens=4), generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    # The same words as step by step over the whole pass, at the first token.
    with torch.no_grad():
        seen = network.captioner.pool(network.encode_video(CLIPS).tokens.flatten(1, 2))
        start = network.text(torch.full((3, 1), words.start_id)).tokens
        scores = network.captioner.predict(network.captioner.decode(start, seen)[:, -1])
        scores[:, [words.start_id, words.padding_id]] = -torch.inf
        first = [words.caption([token]) for token in scores.argmax(dim=-1).tolist()]
    assert model.caption(CLIPS, Generation(max_tokens=1)) == first


def test_bytes_are_taken_in_the_network_s_colours(towers):
    model = load_model(towers[0])
    assert model.settings.colours == "clip"
    clips = torch.randint(0, 256, (2, 3, 4, 16, 16), dtype=torch.uint8)
    assert torch.equal(model.encode_video(clips), model.encode_video(model.settings.normalise(clips)))


@pytest.mark.parametrize(
    ("kind", "clips"), [("videomae_classifier", WIDE), ("uniformerv2", CLIPS), ("coordination", WIDE)]
)
def test_classifiers_score_their_classes(tmp_path, kind, clips):
    save_run(tmp_path, kind)
    keep_run_files(open_store(tmp_path), classes=tuple("abcde"))
    model = load_model(str(tmp_path))
    assert model.classes == tuple("abcde")
    with torch.no_grad():
        wanted = tiny_network(kind)(clips)
    assert torch.equal(model.classify(clips), wanted.scores if kind == "coordination" else wanted)
    if kind != "coordination":
        features = model.encode_video(clips)
        torch.testing.assert_close(features.norm(dim=-1), torch.ones(len(clips)))
        with torch.no_grad():
            torch.testing.assert_close(features, normalize(tiny_network(kind).features(clips), dim=-1))


def test_a_masked_autoencoder_averages_its_tokens(tmp_path):
    save_run(tmp_path, "videomae_pretrain")
    network = tiny_network("videomae_pretrain")
    with torch.no_grad():
        encoded = network(WIDE, torch.zeros(2, 12, dtype=torch.bool)).encoded.mean(dim=1)
    torch.testing.assert_close(load_model(str(tmp_path)).encode_video(WIDE), normalize(encoded, dim=-1))


def test_a_dataset_is_read_as_the_network_takes_it(towers, tmp_path):
    model = load_model(towers[0])
    config = model.loader_config("s3://corpus/val", batch_size=5)
    assert (config.source, config.batch_size, config.frames, config.stride, config.size) == (
        "s3://corpus/val",
        5,
        4,
        2,
        16,
    )
    assert (config.sampling, config.crop, config.colours, config.flip) == ("bin_center", "squash_center", "clip", 0.0)
    assert (config.tokens.tokenizer, config.tokens.context) == (f"{towers[0]}/final/tokenizer.json", 8)
    save_run(tmp_path, "videomae_classifier", data={"size": [16, 24]})
    with pytest.raises(ValueError, match="loaders give squares"):
        load_model(str(tmp_path)).loader_config("x")


def test_files_are_loaded_without_a_run(tmp_path):
    network = build(VideoTextModel, towers_with_words())
    write_weights(tmp_path / "towers.safetensors", network.state_dict(), describe(network).to_metadata())
    (tmp_path / "words.json").write_text(tiny_words().to_json())
    place = str(tmp_path / "towers.safetensors")
    with pytest.raises(ValueError, match=r"comes with no vocabulary: give load_model\(..., tokenizer=...\)"):
        load_model(place).encode_text(["a dog"])
    model = load_model(place, tokenizer=str(tmp_path / "words.json"))
    assert model.encode_text(["a dog"]).shape == (1, 24)
    assert (model.settings.colours, model.loader_config("x").sampling) == ("clip", "bin_center")


def test_what_a_published_file_lacks_is_said(tmp_path, caplog):
    entries = tiny_entries("clip", "mm_full", replace(towers_with_words(), captioner=None))
    save_file({name: value.contiguous() for name, value in entries.items()}, tmp_path / "clip.safetensors")
    first, second = (load_model(str(tmp_path / "clip.safetensors")) for _ in range(2))
    assert "weights, which are not trained" in caplog.text
    assert torch.equal(first.encode_video(CLIPS), second.encode_video(CLIPS))


def test_what_a_network_cannot_do_is_said(towers, tmp_path):
    model = load_model(towers[0])
    with pytest.raises(ValueError, match="is a mm_full, which scores no classes"):
        model.classify(CLIPS)
    for texts in ("a dog", []):
        with pytest.raises(ValueError, match="a list of one text or more is taken"):
            model.encode_text(texts)
    save_run(tmp_path, "coordination")
    other = load_model(str(tmp_path))
    with pytest.raises(ValueError, match="which knows no texts; a mm_full does"):
        other.caption(WIDE)
    with pytest.raises(ValueError, match="a CoordinatedClassifier has no one feature of a clip"):
        other.encode_video(WIDE)
    network = tiny_network("clip_text")
    write_weights(tmp_path / "text.safetensors", network.state_dict(), describe(network).to_metadata())
    with pytest.raises(ValueError, match="is a clip_text, which takes no clips"):
        load_model(str(tmp_path / "text.safetensors"))


def test_a_run_in_an_object_store_is_exported_and_loaded(object_store):
    run = object_store.make_bucket("models") + "/vlc"
    save_run(run, "mm_full", towers_with_words())
    keep_run_files(open_store(run), tokenizer=tiny_words())
    expected = load_model(run)
    assert export_run(run).place == f"{run}/final"
    for place in (run, f"{run}/final", f"{run}/final/model.safetensors"):
        model = load_model(place)
        assert model.place == f"{run}/final/model.safetensors"
        assert torch.equal(model.encode_video(CLIPS), expected.encode_video(CLIPS))
        assert torch.equal(model.encode_text(["a dog"]), expected.encode_text(["a dog"]))
