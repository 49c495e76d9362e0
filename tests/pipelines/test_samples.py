"""Samples: pure draws per slot, failures as values that name the sample, nothing done once closing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from threading import Event
from typing import get_args

import numpy as np
import pytest

from pipelines.augment import Region
from pipelines.dali import FittedInput, Take
from pipelines.draws import draw_flip, draw_masks, draw_region
from pipelines.frame_draws import draw_frames
from pipelines.meter import StageMeter
from pipelines.plan import Slot
from pipelines.samples import LoaderClosedError, SampleMaker
from pipelines.settings import LoaderConfig, MaskConfig, Sampling
from pipelines.stream import ClipSource
from shards.layout import tar_name
from shards.store import open_store
from tests.support.clip_datasets import FPS, HEIGHT, SHORTEST, WIDTH, build_clip_dataset

CONFIG = LoaderConfig("unused", batch_size=2, frames=4, stride=2, size=32, flip=0.5, mask=MaskConfig(0.75, 2, 8))


def slot_of(row: int, *, epoch: int = 0, shard: int = 0, position: int = 0) -> Slot:
    return Slot(position, epoch, shard, row, shard << 32 | row)


@pytest.fixture
def source(tmp_path) -> Iterator[ClipSource]:
    """Two shards; row 1 cannot be decoded, row 2's payload was changed after it was stored, shard 1 was cut."""
    store = open_store(tmp_path / "dataset")
    manifest = build_clip_dataset(store, tmp_path / "scratch", counts=(4, 2), broken={1})
    first = ClipSource(store, manifest)
    video = next(member for member in first.record(slot_of(2)).members if member.ext == "mp4")
    first.close(1)
    with store.local_path(tar_name("00000")).open("r+b") as file:
        file.seek(video.offset + 20)
        file.write(b"changed")
    store.put(tar_name("00001"), store.read(tar_name("00001"))[:-512])
    clips = ClipSource(store, manifest)
    yield clips
    clips.close(1)


def test_a_sample_holds_the_frames_that_were_drawn(source: ClipSource):
    meter = StageMeter()
    slot = slot_of(3, epoch=2)
    sample = SampleMaker(CONFIG, source, meter, Event()).fetch_and_prepare(slot)
    assert sample.pixels is not None
    assert isinstance(sample.pixels.source, FittedInput)
    ids = draw_frames(CONFIG, slot, SHORTEST + 3)
    assert sample.pixels.source.rows.shape == (1, 3, CONFIG.frames, CONFIG.size, CONFIG.size)
    np.testing.assert_allclose(sample.pixels.times, ids / FPS, atol=1e-6)
    assert sample.pixels.source.takes == (Take(draw_region(CONFIG, slot, WIDTH, HEIGHT), draw_flip(CONFIG, slot)),)
    assert sample.drop is None
    assert meter.snapshot().stage("decode").calls == 1


@pytest.mark.parametrize(("row", "reason"), [(1, "BrokenClipError"), (2, "DamagedSampleError")])
def test_a_sample_that_fails_is_named(source: ClipSource, row: int, reason: str):
    sample = SampleMaker(CONFIG, source, StageMeter(), Event()).fetch_and_prepare(slot_of(row, position=77, epoch=5))
    assert sample.pixels is None
    assert len(sample.masks) == 1
    drop = sample.drop
    assert drop is not None
    assert (drop.position, drop.epoch, drop.shard, drop.key) == (77, 5, "00000", f"{row:09d}_00000")
    assert drop.reason == reason
    assert drop.message
    assert not sample.failure.ends_run


def test_a_cut_shard_ends_the_run(source: ClipSource):
    sample = SampleMaker(CONFIG, source, StageMeter(), Event()).fetch_and_prepare(slot_of(0, shard=1))
    assert sample.failure is not None
    assert sample.failure.ends_run
    assert "00001.tar is damaged" in str(sample.failure.error)


def test_once_closing_nothing_is_done(source: ClipSource):
    closing, meter = Event(), StageMeter()
    maker = SampleMaker(CONFIG, source, meter, closing)
    fetched = maker.fetch(slot_of(0))
    closing.set()
    assert maker.prepare(fetched).pixels is None
    late = maker.fetch(slot_of(0))
    assert isinstance(late.failure.error, LoaderClosedError)
    assert not meter.snapshot().stages
    assert meter.snapshot().stage("decode").calls == 0


def test_draws_depend_on_seed_epoch_and_sample_alone():
    slots = [slot_of(0), slot_of(0, epoch=1), slot_of(1), slot_of(0, shard=1)]

    def draws(config: LoaderConfig, slot: Slot) -> tuple:
        mask = draw_masks(config, slot).encoder
        return draw_frames(config, slot, 500).tolist(), draw_region(config, slot, 640, 480), mask.tobytes()

    assert draws(CONFIG, slots[0]) == draws(replace(CONFIG, workers=7), slot_of(0, position=99))
    different = [draws(CONFIG, slot) for slot in slots] + [draws(replace(CONFIG, seed=1), slots[0])]
    for part in (0, 2):
        assert len({str(one[part]) for one in different}) == len(different)


def test_the_middle_is_the_middle_for_every_slot():
    config = replace(CONFIG, sampling="center", crop="center", flip=0.0)
    for row in range(5):
        assert draw_frames(config, slot_of(row), 100).tolist() == [46, 48, 51, 53]
        assert draw_region(config, slot_of(row), 64, 48) == Region(8, 0, 48, 48)
        assert not draw_flip(config, slot_of(row))


def test_a_sampling_is_random_or_the_same_for_every_slot():
    times = np.arange(101) / 25
    drawn = {
        sampling: {
            tuple(draw_frames(replace(CONFIG, sampling=sampling), slot_of(row), 101, times)) for row in range(20)
        }
        for sampling in get_args(Sampling)
    }
    assert drawn["segment_center"] == {(12, 37, 62, 87)}
    assert drawn["bin_center"] == {(12, 37, 62, 87)}
    assert drawn["even"] == {(0, 33, 66, 100)}
    assert {sampling for sampling, frames in drawn.items() if len(frames) > 15} == {
        *("dense", "span", "segment", "bin", "fps")
    }
    assert all(20 <= frames[1] <= 55 for frames in drawn["segment"] | drawn["bin"])


def test_every_sampling_fills_the_clip_of_a_short_video():
    for sampling in get_args(Sampling):
        for length in (1, 2, 3):
            ids = draw_frames(replace(CONFIG, sampling=sampling), slot_of(0), length, np.arange(length) / 25)
            assert ids.shape == (CONFIG.frames,)
            assert set(ids.tolist()) <= set(range(length))


CROPS = {
    "squash": {"width": 640 * 28 / 32, "height": 480 * 28 / 32},
    "short": {"width": 480 * 28 / 32, "height": 480 * 28 / 32},
}


@pytest.mark.parametrize("crop", CROPS)
def test_crops_of_a_resized_picture_are_random_or_in_the_middle(crop: str):
    config = replace(CONFIG, size=28, crop=crop, mask=None)
    drawn = [draw_region(config, slot_of(row), 640, 480) for row in range(60)]
    assert {(one.width, one.height) for one in drawn} == {tuple(CROPS[crop].values())}
    assert len({one.x for one in drawn}) > 4
    assert {one.y for one in drawn} == {480 / 32 * place for place in range(5)}
    assert all(one.x >= 0 and one.x + one.width <= 640 for one in drawn)
    middle = {draw_region(replace(config, crop=f"{crop}_center"), slot_of(row), 640, 480) for row in range(5)}
    width, height = CROPS[crop].values()
    assert middle == {Region((640 - width) / 2 - (crop == "short") * 5, (480 - height) / 2, width, height)}


def test_resized_crops_are_as_large_as_said():
    config = replace(CONFIG, crop="random_resized", crop_scale=(0.25, 0.5))
    drawn = [draw_region(config, slot_of(row), 640, 480) for row in range(100)]
    assert len(set(drawn)) == 100
    assert all(0.24 < one.width * one.height / (640 * 480) < 0.51 for one in drawn)


def test_flips_come_as_often_as_said():
    flips = [draw_flip(CONFIG, slot_of(row)) for row in range(2000)]
    assert 900 < sum(flips) < 1100


def test_masks_have_their_kind():
    slot = slot_of(4)
    tube = draw_masks(CONFIG, slot).encoder.reshape(2, 16)
    assert (tube[0] == tube[1]).all()
    loose = draw_masks(replace(CONFIG, mask=MaskConfig(0.75, 2, 8, "random")), slot).encoder.reshape(2, 16)
    assert (loose[0] != loose[1]).any()
    assert loose.sum() == tube.sum() == 24
    assert draw_masks(replace(CONFIG, mask=None), slot) is None
    cells = draw_masks(replace(CONFIG, mask=MaskConfig(0.75, 2, 8, "running_cell")), slot).encoder.reshape(2, 4, 4)
    assert (cells.reshape(2, 2, 2, 2, 2).sum(axis=(2, 4)) == 3).all()


@pytest.mark.parametrize("kind", ["running_cell", "random"])
def test_decoder_masks_choose_among_the_masked_cubes_and_change_no_other_draw(kind):
    slot = Slot(0, 0, 0, 0, 3)
    plain = draw_masks(CONFIG, slot)
    both = draw_masks(replace(CONFIG, mask=replace(CONFIG.mask, decoder_ratio=0.5, decoder_kind=kind)), slot)
    assert plain.decoder is None
    assert np.array_equal(plain.encoder, both.encoder)
    assert not (both.decoder & ~both.encoder).any()
    assert both.decoder.sum() == 12, "half of the 24 masked cubes of 32"
    again = draw_masks(replace(CONFIG, mask=replace(CONFIG.mask, decoder_ratio=0.5, decoder_kind=kind)), slot)
    assert np.array_equal(again.decoder, both.decoder)


@pytest.mark.parametrize("kind", ["running_cell", "random"])
def test_decoder_masks_depend_on_seed_epoch_and_sample_alone(kind):
    mask = MaskConfig(0.75, 2, 4, "random", 0.5, kind)
    config = replace(CONFIG, mask=mask)

    def drawn(config, slot):
        return draw_masks(config, slot).decoder.tobytes()

    assert drawn(config, slot_of(0)) == drawn(replace(config, workers=7), slot_of(0, position=99))
    slots = [slot_of(0), slot_of(0, epoch=1), slot_of(1), slot_of(0, shard=1)]
    different = {drawn(config, slot) for slot in slots} | {drawn(replace(config, seed=1), slot_of(0))}
    assert len(different) == 5


def test_the_decoder_mask_takes_numbers_of_its_own():
    """Its cells begin at any place, whatever the encoder's cells began at."""
    config = replace(CONFIG, mask=MaskConfig(0.5, 2, 8, "running_cell", 0.5))
    pairs = [draw_masks(config, slot_of(row)) for row in range(400)]
    assert len({(pair.encoder.tobytes(), pair.decoder.tobytes()) for pair in pairs}) > 4 * 3
    assert {int(pair.decoder.sum()) for pair in pairs} == {8}
