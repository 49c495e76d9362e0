"""What is told of a row's draws is what the loader made it with: frames, part, mirror and masks."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from model.pictures import true_colours
from pipelines.drawn import draw_clip
from pipelines.loader import Loader, LoaderConfig, MaskConfig, PackedLoader
from pipelines.meter import StageMeter
from pipelines.packing import PackConfig
from pipelines.sources import ClipSources, open_sources
from shards.store import open_store
from tests.support.clip_datasets import build_clip_dataset

SIZE = 32


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    build_clip_dataset(open_store(folder / "set"), folder / "scratch", counts=(3, 3), size=(96, 64))
    return str(folder / "set")


@pytest.mark.parametrize(
    "settings",
    [
        {"crop": "multiscale", "flip": 0.5, "repeats": 2, "mask": MaskConfig(0.5, patch=8, decoder_ratio=0.5)},
        {"crop": "random_resized", "sampling": "segment", "clips": 2, "flip": 0.5},
    ],
)
def test_rows_are_made_of_what_is_told(dataset, settings):
    config = LoaderConfig(
        dataset, 6, frames=2, stride=3, size=SIZE, decoder="host", workers=0, prefetch_batches=1, seed=3, **settings
    )
    sources = open_sources(config)
    clips = ClipSources(sources, config.source_names, None, StageMeter())
    with Loader(config, sources) as loader:
        batch = next(loader)
        slots = loader.order.share(0, rank=0, world=1)
    video = true_colours(batch.video).permute(0, 2, 3, 4, 1).numpy()
    mirrored = []
    for place, slot in enumerate(slots):
        drawn = draw_clip(config, slot, clips.fetch(slot))
        assert len(drawn.rows) == config.rows
        for number, row in enumerate(drawn.rows):
            at = place * config.rows + number
            np.testing.assert_array_equal(row.times, batch.frame_times[at].numpy())
            np.testing.assert_allclose(row.times, row.frames / 25, atol=1e-6)
            expected = np.stack([_taken(drawn.pictures[row.first + t], row.take) for t in range(config.frames)])
            assert np.abs(expected - video[at]).mean() < 0.02
            mirrored.append(row.take.mirror)
            if config.mask is None:
                assert row.masks is None
            else:
                np.testing.assert_array_equal(row.masks.encoder, batch.mask[at].numpy())
                np.testing.assert_array_equal(row.masks.decoder, batch.decoder_mask[at].numpy())
    assert {True, False} == set(mirrored), "both kinds are compared"
    clips.close(1.0)


def test_packed_rows_have_their_own_shapes(dataset):
    pack = {"packing": PackConfig(patch=8, max_tokens=24), "mask": MaskConfig(0.5, patch=8)}
    config = LoaderConfig(dataset, 6, frames=4, stride=3, size=SIZE, decoder="host", workers=0, **pack)
    sources = open_sources(config)
    clips = ClipSources(sources, config.source_names, None, StageMeter())
    with PackedLoader(config, sources) as loader:
        batch = next(loader)
        slots = loader.order.share(0, rank=0, world=1)
    lengths = set()
    for at, slot in enumerate(slots):
        (row,) = draw_clip(config, slot, clips.fetch(slot)).rows
        np.testing.assert_array_equal(row.times, batch.frame_times[at].numpy())
        np.testing.assert_array_equal(row.masks.encoder, batch.mask[at].numpy())
        assert row.take.size == tuple(batch.video[at].shape[2:])
        lengths.add(len(row.frames))
    assert lengths == {2, 4}, "clips of 9 to 11 frames have room for two or four"
    clips.close(1.0)


def _taken(picture, take):
    """Cut, resize and mirror a picture by other means."""
    region = take.region
    box = (region.x, region.y, region.x + region.width, region.y + region.height)
    small = np.asarray(Image.fromarray(picture).resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box)) / 255
    return small[:, ::-1] if take.mirror else small
