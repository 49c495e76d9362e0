"""Batches of samples: decoded on the host or by DALI, a refused clip found out, broken slots left empty."""

from __future__ import annotations

import logging
from dataclasses import replace
from threading import Event

import pytest
import torch

from pipelines import refusals
from pipelines.assemble import BatchMaker
from pipelines.dali import EncodedInput, FittedInput
from pipelines.drops import Failure
from pipelines.forms import Part, SquareForm
from pipelines.meter import StageMeter
from pipelines.plan import Slot
from pipelines.samples import Sample, SampleMaker
from pipelines.settings import LoaderConfig, MaskConfig
from pipelines.stream import ClipSource
from shards.store import StoreError, open_store
from tests.support.clip_datasets import build_clip_dataset

MJPEG = {0, 1, 2, 4, 5}
BROKEN = {1, 3}
ROWS = 6


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory):
    """One shard: rows 0, 2, 4, 5 are MJPEG, which DALI decodes on the CPU too; 1 (MJPEG) and 3 (H.264) are broken."""
    store = open_store(tmp_path_factory.mktemp("dataset"))
    manifest = build_clip_dataset(store, tmp_path_factory.mktemp("s"), counts=(ROWS,), mjpeg=MJPEG, broken=BROKEN)
    clips = ClipSource(store, manifest)
    yield clips
    clips.close(1)


def settings(**changes) -> LoaderConfig:
    defaults = {
        "batch_size": ROWS,
        "frames": 4,
        "stride": 2,
        "size": 32,
        "decoder": "dali",
        "mask": MaskConfig(0.5, 2, 16),
    }
    return LoaderConfig("unused", **{**defaults, **changes})


def make_samples(source: ClipSource, config: LoaderConfig, rows: list[int]) -> list[Sample]:
    maker = SampleMaker(config, source, StageMeter(), Event())
    return [maker.fetch_and_prepare(Slot(place, 0, 0, row, row)) for place, row in enumerate(rows)]


def batch_maker(source: ClipSource, config: LoaderConfig, meter: StageMeter | None = None) -> BatchMaker:
    meter = meter or StageMeter()
    return BatchMaker(config, SampleMaker(config, source, meter, Event()), meter, ROWS)


def test_each_clip_goes_to_the_decoder_that_reads_it(source: ClipSource):
    samples = make_samples(source, settings(), [0, 2, 3, 5])
    kinds = [type(s.pixels.source) if s.pixels else None for s in samples]
    assert kinds == [EncodedInput, EncodedInput, None, EncodedInput]
    hosted = make_samples(source, settings(decoder="auto"), [0, 2])
    assert [type(s.pixels.source) for s in hosted if s.pixels] == [FittedInput, FittedInput]


def test_a_clip_that_dali_refuses_is_found_out_and_named(source: ClipSource, caplog: pytest.LogCaptureFixture):
    config = settings()
    samples = make_samples(source, config, [0, 1, 2, 3, 4, 5])
    with caplog.at_level(logging.WARNING):
        delivery = batch_maker(source, config).make(samples)
    assert delivery.failure is None
    batch = delivery.batch
    assert batch is not None
    assert batch.valid.tolist() == [True, False, True, False, True, True]
    assert [drop and (drop.key, drop.reason) for drop in delivery.outcomes] == [
        None,
        ("000000001_00000", "BrokenClipError"),
        None,
        ("000000003_00000", "BrokenClipError"),
        None,
        None,
    ]
    assert caplog.text.count("sample 000000001_00000 of shard 00000 is decoded on the host") == 1
    assert "000000000_" not in caplog.text
    assert not batch.video[[1, 3]].any()
    assert not batch.frame_times[[1, 3]].any()
    assert batch.frame_times[[0, 2, 4, 5]].any(1).all()


def test_pixels_do_not_depend_on_the_neighbours(source: ClipSource):
    config = settings()
    together = batch_maker(source, config).make(make_samples(source, config, [0, 1, 2, 3, 4, 5])).batch
    assert together is not None
    for row in (0, 2, 4, 5):
        alone = batch_maker(source, config).make(make_samples(source, config, [row])).batch
        assert alone is not None
        assert torch.equal(alone.video[0], together.video[row])
        assert torch.equal(alone.frame_times[0], together.frame_times[row])


def test_a_clip_that_dali_refuses_and_the_host_reads_is_kept(source: ClipSource, caplog: pytest.LogCaptureFixture):
    config = settings()
    samples = make_samples(source, config, [0, 2])
    spoilt = samples[0].pixels
    assert spoilt is not None
    assert isinstance(spoilt.source, EncodedInput)
    samples[0] = replace(samples[0], pixels=replace(spoilt, source=replace(spoilt.source, payload=b"no video")))
    batch = batch_maker(source, config).make(samples).batch
    hosted = batch_maker(source, settings(decoder="host")).make(make_samples(source, settings(decoder="host"), [0, 2]))
    assert batch is not None
    assert hosted.batch is not None
    assert batch.valid.all()
    assert torch.equal(batch.video[0], hosted.batch.video[0])
    assert "000000000_00000" in caplog.text


def spoilt(samples: list[Sample]) -> list[Sample]:
    """Give DALI bytes that it cannot decode; the host still gets the clip."""
    found = []
    for sample in samples:
        assert sample.pixels is not None
        assert isinstance(sample.pixels.source, EncodedInput)
        source = replace(sample.pixels.source, payload=b"no video")
        found.append(replace(sample, pixels=replace(sample.pixels, source=source)))
    return found


def count_runs(maker: BatchMaker, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many encoded clips each run of DALI is given."""
    sizes: list[int] = []
    run = maker._run

    def noted(kind, places, samples):
        if kind is EncodedInput:
            sizes.append(len(places))
        return run(kind, places, samples)

    monkeypatch.setattr(maker, "_run", noted)
    return sizes


def test_what_dali_refused_is_not_tried_again(
    source: ClipSource, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    config = settings()
    maker = batch_maker(source, config)
    sizes = count_runs(maker, monkeypatch)
    samples = make_samples(source, config, [0, 2, 4, 5])
    samples = spoilt(samples[:2]) + samples[2:]
    first = maker.make(samples).batch
    assert sizes == [4, 2, 1, 1, 2]
    again = maker.make(samples).batch
    assert sizes[5:] == [2], "the two good ones together, the two others not at all"
    assert first is not None
    assert again is not None
    assert again.valid.all()
    assert torch.equal(first.video, again.video)
    assert caplog.text.count("is decoded on the host") == 1, "once for a kind"
    host = maker._maker.fetch_and_prepare(samples[0].slot)
    assert host.pixels is not None
    assert isinstance(host.pixels.source, FittedInput), "the next time it does not even get to DALI"


def test_where_dali_refuses_everything_the_host_takes_over_aloud(
    source: ClipSource, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(refusals, "ENOUGH", 3)
    config = settings()
    maker = batch_maker(source, config)
    sizes = count_runs(maker, monkeypatch)
    batch = maker.make(spoilt(make_samples(source, config, [0, 2, 4, 5]))).batch
    assert batch is not None
    assert batch.valid.all()
    assert sizes == [4, 2, 1, 1, 2, 1]
    loud = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(loud) == 1
    assert "DALI refused all of the first 3 clips" in loud[0].message
    maker.make(make_samples(source, config, [0, 2]))
    assert len(sizes) == 6
    assert isinstance(maker._maker.fetch_and_prepare(Slot(0, 0, 0, 5, 5)).pixels.source, FittedInput)


def test_the_machines_errors_end_the_run(source: ClipSource, monkeypatch: pytest.MonkeyPatch):
    config = settings()
    maker = batch_maker(source, config)

    def full(*_):
        raise MemoryError("the GPU is full")

    monkeypatch.setattr(maker, "_run", full)
    delivery = maker.make(make_samples(source, config, [0, 2]))
    assert delivery.failure is not None
    assert delivery.failure.ends_run


def test_the_mask_stays_on_the_cpu(source: ClipSource):
    config = settings()
    part = Part([0, 1], torch.zeros(2, 3, 4, 32, 32, device="meta"))
    batch = SquareForm(config, torch.device("meta"), 2).batch([part], make_samples(source, config, [0, 2]))
    assert batch.mask.device.type == "cpu"
    assert batch.valid.device.type == batch.frame_times.device.type == "meta"


@pytest.mark.parametrize("kind", ["running_cell", "random"])
def test_decoder_masks_are_batched_beside_the_masks(source: ClipSource, kind):
    config = settings(mask=MaskConfig(0.5, 2, 16, decoder_ratio=0.5, decoder_kind=kind))
    batch = batch_maker(source, config).make(make_samples(source, config, [0, 2, 4, 5])).batch
    assert batch.decoder_mask.shape == batch.mask.shape
    assert not (batch.decoder_mask & ~batch.mask).any()
    assert set((batch.mask & ~batch.decoder_mask).sum(dim=1).tolist()) == {2}
    assert batch_maker(source, settings()).make(make_samples(source, settings(), [0])).batch.decoder_mask is None


def test_dali_and_the_host_show_the_same_frames(source: ClipSource):
    batches = []
    for decoder in ("dali", "host"):
        config = settings(decoder=decoder, flip=0.5)
        batches.append(batch_maker(source, config).make(make_samples(source, config, [0, 2, 4, 5])).batch)
    one, other = batches
    assert one is not None
    assert other is not None
    assert torch.equal(one.frame_times, other.frame_times)
    assert (one.video - other.video).abs().mean() < 0.15
    assert torch.equal(one.mask, other.mask)


def test_a_batch_of_broken_clips_is_a_batch(source: ClipSource):
    config = settings()
    batch = batch_maker(source, config).make(make_samples(source, config, [3, 1])).batch
    assert batch is not None
    assert batch.video.shape == (2, 3, 4, 32, 32)
    assert not batch.valid.any()
    assert batch.captions == ["video 3", "video 1"]
    assert batch.sources == ["videos/3.mp4", "videos/1.mp4"]


def test_what_ends_the_run_is_delivered_as_a_value(source: ClipSource):
    config, meter = settings(batch_size=2), StageMeter()
    samples = make_samples(source, config, [0, 2])
    gone = Failure(StoreError("the store is gone"), ends_run=True)
    samples = [replace(sample, slot=replace(sample.slot, position=6 + n)) for n, sample in enumerate(samples)]
    samples[1] = replace(samples[1], failure=gone)
    delivery = batch_maker(source, config, meter).make(samples)
    assert delivery.failure is gone
    assert delivery.batch is None
    assert delivery.number == 3
    assert meter.snapshot().ready == 1


def test_an_error_of_our_own_ends_the_run(source: ClipSource, monkeypatch: pytest.MonkeyPatch):
    config = settings()
    maker = batch_maker(source, config)
    monkeypatch.setattr(maker, "_form", lambda *_: 1 / 0)
    delivery = maker.make(make_samples(source, config, [0]))
    assert delivery.failure is not None
    assert isinstance(delivery.failure.error, ZeroDivisionError)
