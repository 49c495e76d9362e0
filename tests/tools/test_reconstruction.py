"""The picture of rebuilt clips: masks as the run drew them, the target that it learnt, runs that it takes."""

from __future__ import annotations

import json

import av
import numpy as np
import pytest
import torch

from model.config import VideoMAEConfig
from model.saved import describe
from model.videomae import VideoMAEPretrain
from pipelines.augment import Grid, running_cells
from pipelines.weights import write_weights
from tests.support.video_dataset import build_video_dataset
from tools import reconstruction
from tools.reconstruction import draw_reconstructions

MODEL = VideoMAEConfig(
    image_size=(32, 32), frames=8, patch_size=8, width=24, depth=1, heads=2, decoder_width=12, decoder_depth=1,
    decoder_heads=2,
)  # fmt: skip
SLOTS, PLACES = 4, 16


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    build_video_dataset(folder / "set", folder, clips=4, per_shard=2)
    return str(folder / "set")


def run_of(folder, *, stage="mvm", normalize_target=True, **data):
    torch.manual_seed(0)
    (folder / "final").mkdir(parents=True)
    network = VideoMAEPretrain(MODEL)
    write_weights(folder / "final" / "model.safetensors", network.state_dict(), describe(network).to_metadata())
    settings = {
        "stage": stage,
        "objective": {"normalize_target": normalize_target},
        "data": {
            "frames": 8,
            "stride": 1,
            "size": 32,
            "sampling": "dense",
            "crop": "multiscale",
            "mask_ratio": 0.5,
            "mask_kind": "tube",
            **data,
        },
    }
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture
def shown(monkeypatch):
    """What the picture's rows are made of: the masks, and whether cubes count as normalised."""
    seen = {}
    plain = reconstruction.reconstruct

    def reconstruct(video, mask, prediction, *, normalized, **sizes):
        seen.update(mask=mask, normalized=normalized)
        return plain(video, mask, prediction, normalized=normalized, **sizes)

    monkeypatch.setattr(reconstruction, "reconstruct", reconstruct)
    return seen


def slots(seen):
    return seen["mask"].view(-1, SLOTS, PLACES)


def test_tubes_are_drawn_for_a_run_that_drew_them(tmp_path, dataset, shown):
    draw_reconstructions(run_of(tmp_path / "run"), dataset, tmp_path / "picture.png", clips=2)
    masks = slots(shown)
    assert len(masks) == 2
    assert torch.equal(masks, masks[:, :1].expand_as(masks))
    assert masks.sum(dim=2).unique().tolist() == [8]
    with av.open(str(tmp_path / "picture.png")) as container:
        (frame,) = container.decode(video=0)
    assert frame.width > 8 * 32
    assert frame.height > 2 * 3 * 32


def test_random_masks_are_drawn_for_a_run_that_drew_them(tmp_path, dataset, shown):
    run = run_of(tmp_path / "run", mask_kind="random", mask_ratio=0.75)
    draw_reconstructions(run, dataset, tmp_path / "picture.png", clips=2)
    masks = slots(shown)
    assert masks.flatten(1).sum(dim=1).tolist() == [48, 48]
    assert not torch.equal(masks, masks[:, :1].expand_as(masks))


def test_running_cells_are_drawn_and_all_their_cubes_rebuilt(tmp_path, dataset, shown):
    run = run_of(tmp_path / "run", mask_kind="running_cell", mask_ratio=0.75, decoder_mask_ratio=0.5)
    draw_reconstructions(run, dataset, tmp_path / "picture.png", clips=3)
    possible = [running_cells(Grid(SLOTS, 4, 4), 3, start) for start in range(4)]
    assert len(shown["mask"]) == 3
    for mask in shown["mask"].numpy():
        assert any(np.array_equal(mask, cells) for cells in possible)


@pytest.mark.parametrize("normalized", [True, False])
def test_cubes_are_put_back_as_the_run_learnt_them(tmp_path, dataset, shown, normalized):
    run = run_of(tmp_path / "run", normalize_target=normalized)
    draw_reconstructions(run, dataset, tmp_path / "picture.png", clips=1)
    assert shown["normalized"] is normalized


def test_a_run_of_another_stage_is_refused(tmp_path, dataset):
    run = run_of(tmp_path / "run", stage="vlc")
    with pytest.raises(ValueError, match="run of stage vlc: one of mvm is taken"):
        draw_reconstructions(run, dataset, tmp_path / "picture.png", clips=1)
    assert not (tmp_path / "picture.png").exists()
