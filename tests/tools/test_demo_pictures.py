"""The full demo's pictures: what is shown of found clips and of written captions."""

from __future__ import annotations

import json

import av
import numpy as np
import pytest
import torch

from model.clip_config import CaptionerConfig, TextConfig, VideoEncoderConfig, VideoTextConfig
from model.saved import describe
from model.video_text import VideoTextModel
from pipelines.text_training import train_tokenizer
from pipelines.weights import write_weights
from tests.support.tiny_networks import tiny_network
from tests.support.video_dataset import build_video_dataset
from tools import demo_pictures
from tools.demo_pictures import ShownClips, draw_captions, draw_retrieval, read_shown, score_clips, write_sheet


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    build_video_dataset(folder / "set", folder, clips=4, per_shard=2)
    return str(folder / "set")


@pytest.fixture
def clips():
    frames = np.stack([np.full((6, 10, 10, 3), value, np.uint8) for value in (10, 20, 30, 40)])
    return ShownClips(frames, ["k0", "k1", "k2", "k3"], ["one", "two", "three", "four"])


@pytest.fixture
def told(monkeypatch):
    """What sheets are made of: titles, and labels of strips with the value of their frames."""
    panels = []
    plain = demo_pictures.draw_sheet

    def draw_sheet(given, *, zoom):
        panels.extend((panel.title, [(s.label, int(s.frames[0, 0, 0, 0])) for s in panel.strips]) for panel in given)
        return plain(given, zoom=zoom)

    monkeypatch.setattr(demo_pictures, "draw_sheet", draw_sheet)
    return panels


def test_found_clips_stand_below_their_query_best_first(clips, told):
    scores = torch.tensor([[0.9, 0.1, 0.5, 0.2], [0.0] * 4, [0.0] * 4, [0.4, 0.1, 0.2, 0.3]])
    draw_retrieval(scores, clips, queries=2, top=2)
    assert told == [("one", [("1 correct", 10), ("2", 30)]), ("four", [("1", 10), ("2 correct", 40)])]


def test_more_clips_than_there_are_cannot_be_asked_for(clips, told):
    draw_retrieval(torch.eye(4), clips, queries=9, top=9)
    assert [(title, len(strips)) for title, strips in told] == [("one", 4), ("two", 4), ("three", 4), ("four", 4)]


def test_captions_stand_above_their_clips_with_the_truth_where_they_are_wrong(clips, told):
    examples = [
        {"key": "k2", "caption": "three", "references": ["three"]},
        {"key": "k0", "caption": "a cat", "references": ["one", "uno"]},
    ]
    draw_captions(examples, clips, shown=5)
    assert told == [("three", [("correct", 30)]), ("a cat\ntrue: one", [("wrong", 10)])]
    with pytest.raises(ValueError, match="no caption"):
        draw_captions([], clips, shown=5)


def test_every_clip_is_read_once_with_its_caption(dataset):
    shown = read_shown(dataset)
    assert shown.frames.shape == (4, 6, 111, 148, 3)
    assert len(set(shown.keys)) == len(shown.captions) == 4
    assert shown.frames.std() > 5


def export_of(folder, network, tokenizer=None):
    folder.mkdir()
    write_weights(folder / "model.safetensors", network.state_dict(), describe(network).to_metadata())
    needs = {"frames": 2, "stride": 1, "size": 32, "sampling": "bin", "crop": "squash", "colours": "half"}
    (folder / "data.json").write_text(json.dumps({"data": needs}))
    if tokenizer is not None:
        (folder / "tokenizer.json").write_text(tokenizer.to_json())
    return folder


def test_likeness_is_that_of_the_exported_model(tmp_path, dataset):
    tokenizer = train_tokenizer(["a clip of a thing"], vocabulary=600, context=12)
    torch.manual_seed(0)
    network = VideoTextModel(
        VideoTextConfig(
            video=VideoEncoderConfig(
                image_size=(32, 32), frames=2, patch_size=16, width=64, depth=1, heads=1, global_blocks=(0,),
                embed_width=16,
            ),
            text=TextConfig(vocabulary=600, context=12, width=64, depth=1, heads=1, embed_width=16),
            captioner=CaptionerConfig(vocabulary=600, width=64, heads=1, visual_width=64, depth=1, queries=2),
        )
    )  # fmt: skip
    export = export_of(tmp_path / "final", network, tokenizer)
    scores = score_clips(export, dataset)
    assert scores.shape == (4, 4)
    assert torch.equal(scores, score_clips(export, dataset)), "nothing is drawn"
    assert scores.T.unique(dim=0).shape[0] == 4, "each clip has its own"


def test_a_model_without_texts_finds_nothing(tmp_path, dataset):
    export = export_of(tmp_path / "final", tiny_network("videomae_pretrain"))
    with pytest.raises(ValueError, match="holds a VideoMAEPretrain"):
        score_clips(export, dataset)


def test_sheets_are_pngs(tmp_path, clips):
    path = write_sheet(tmp_path / "sheet.png", draw_retrieval(torch.eye(4), clips, queries=1, top=1))
    with av.open(str(path)) as container:
        (frame,) = container.decode(video=0)
    assert frame.width > 6 * 10
