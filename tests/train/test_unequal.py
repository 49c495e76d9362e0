"""Clips of unequal shapes, conditions and held-out parts in a run: settings, steps, evaluation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.objectives import MaskedVideoModelling
from pipelines.loader import build_loader, build_packed_loader
from pipelines.packed_batch import AnyBatch, PackedBatch
from pipelines.settings import BucketConfig, PackConfig, SourceConfig
from pipelines.split import SplitConfig
from shards.store import open_store
from tests.support.clip_datasets import build_clip_dataset, video_clip
from tests.support.run_config import made, tiny_config
from tests.support.stages import build_step
from train.bucket_config import Bucket
from train.clip_sources import image_source, judged_source
from train.config import RunConfig
from train.evaluate.in_training import evaluate
from train.evaluate.run_dataset import read_validation, validation_settings
from train.loaders import clip_settings
from train.mix_config import MixSource
from train.parallel import Ranks
from train.step import TrainStep
from train.throughput import masked_flops, training_flops

ONE = Ranks(0, 1, torch.device("cpu"))
SIZES = ((32, 32), (64, 32), (48, 48), (32, 64))
CLIPS, BROKEN = 9, 12
PACKED = {"data__packing": True, "data__pack_tokens": 24, "data__decoder_mask_ratio": 0.4}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Nine clips of four sizes, two of each video, one broken."""
    folder, scratch = (tmp_path_factory.mktemp(name) for name in ("set", "scratch"))

    def make(row: int):
        clip = video_clip(row, size=SIZES[row % 4], broken=row == BROKEN)
        return replace(clip, record=replace(clip.record, source=f"video {row // 2}"))

    build_clip_dataset(open_store(folder), scratch, counts=(4, 0, 5), make=make)
    return str(folder)


def run_of(dataset: str, out: object = "x", **settings: object) -> RunConfig:
    common = {"data__train": dataset, "data__workers": 0, "data__lanes": 1, "data__batch_size": CLIPS}
    return tiny_config(out, **common, **settings)


def first_batch(config: RunConfig) -> AnyBatch:
    told = clip_settings(config, ONE)
    build = build_loader if told.packing is None else build_packed_loader
    with build(told) as loader:
        return next(loader)


def stepped(config: RunConfig, batch: AnyBatch) -> tuple[TrainStep, float]:
    step = build_step(config, ONE)
    result = step(batch, 0, 1e-3)
    assert result.flops > 0
    return step, float(result.losses["reconstruction"])


def test_a_packed_step_is_that_of_the_clips_one_by_one(dataset: str):
    config = run_of(dataset, **PACKED)
    batch = first_batch(config)
    assert isinstance(batch, PackedBatch)
    assert len({clip.shape for clip in batch.video}) == 4
    together, loss = stepped(config, batch)
    alone, same = stepped(replace(config, train=replace(config.train, accumulate=CLIPS)), batch)
    assert loss == pytest.approx(same, rel=1e-5)
    for one, other in zip(together.objective.parameters(), alone.objective.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_a_packed_loss_is_the_sum_over_networks_built_for_each_clip(dataset: str):
    config = run_of(dataset, **PACKED)
    batch = first_batch(config)
    packed = build_step(config, ONE).objective
    model = replace(config.model, resize_positions=False)
    packed.model.config = packed.model.encoder.config = packed.model.decoder.config = model
    total, count = 0.0, 0
    assert batch.mask is not None
    assert batch.decoder_mask is not None
    for clip, mask, spared, valid in zip(batch.video, batch.mask, batch.decoder_mask, batch.valid, strict=True):
        fitting = replace(model, frames=clip.shape[1], image_size=tuple(clip.shape[2:]))
        alone = MaskedVideoModelling(fitting)
        alone.load_state_dict(packed.state_dict())
        output = alone(clip[None], mask[None], valid[None], spared[None])
        total += float(output.losses["reconstruction"])
        count += int(output.counts["reconstruction"])
    found = packed(batch.video, batch.mask, batch.valid, batch.decoder_mask)
    assert float(found.losses["reconstruction"]) == pytest.approx(total, rel=1e-4)
    assert (
        int(found.counts["reconstruction"])
        == count
        == int(packed.count(batch.mask, batch.valid, batch.decoder_mask)["reconstruction"])
    )


def test_buckets_train_one_network_on_batches_of_several_shapes(dataset: str):
    buckets = [Bucket("num_frames < 12", 2, size=48), Bucket()]
    config = run_of(dataset, data__buckets=buckets, data__mix_by="batch")
    told = clip_settings(config, ONE)
    assert told.buckets == (BucketConfig("num_frames < 12", 2, None, 48), BucketConfig())
    step, shapes = build_step(config, ONE), set()
    with build_loader(replace(told, batch_size=2)) as loader:
        for number in range(4):
            batch = next(loader)
            shapes.add(tuple(batch.video.shape[2:]))
            assert torch.isfinite(step(batch, number, 1e-3).grad_norm)
    assert shapes == {(2, 48, 48), (4, 32, 32)}


@pytest.mark.parametrize("mix", [[], ["films", "shorts"]])
def test_losses_are_told_by_bucket_of_each_dataset(dataset: str, mix: list[str]):
    """As passes are: a batch's numbers of datasets count buckets."""
    buckets = [Bucket("num_frames < 12", 2, size=48), Bucket(name="rest")]
    config = run_of(dataset, data__buckets=buckets, data__mix_by="batch")
    if mix:
        sources = [MixSource(dataset, name=name) for name in mix]
        config = replace(config, data=replace(config.data, train=None, mix=sources))
    step, found = build_step(config, ONE), torch.zeros(1)
    with build_loader(replace(clip_settings(config, ONE), batch_size=2)) as loader:
        for number in range(4 * len(loader.passes)):
            sums = step(next(loader), number, 1e-3).by_dataset
            assert sums is not None
            found = found + sums[0, 1]
        assert [name.rpartition("/")[2] for name in loader.passes] == ["0", "rest"] * (len(mix) or 1)
    assert len(found) == len(loader.passes)
    assert bool((found > 0).all())


def test_training_and_evaluation_share_the_dataset_between_them(dataset: str):
    config = run_of(dataset, data__holdout=0.4, data__where="num_frames > 9", train__eval_every=1)
    told = clip_settings(config, ONE)
    (source,), judged = told.sources, judged_source(config.data)
    assert (source.split, source.where) == (SplitConfig(0.4), "num_frames > 9")
    assert judged == replace(source, split=SplitConfig(0.4, "held_out"))
    assert validation_settings(config, ONE).sources == (judged,)
    kept = set(first_batch(replace(config, data=replace(config.data, batch_size=2))).keys)
    held = set(read_validation(judged).order)
    assert held
    assert not kept & held
    figures = evaluate(build_step(config, ONE).objective, config, ONE)
    assert figures["samples"] + figures["unusable"] == len(held)
    assert judged_source(replace(config.data, val="other")).split is None
    assert judged_source(replace(config.data, val=dataset)) == judged


def test_a_dataset_is_itself_however_it_is_spelt(tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    data = run_of(f"{tmp_path}/real", data__holdout=0.1).data
    for spelt in (f"{tmp_path}/real/", f"{tmp_path}/x/../real", f"file://{tmp_path}/real", f"{tmp_path}/link"):
        assert judged_source(replace(data, val=spelt)).split == SplitConfig(0.1, "held_out")
        assert image_source(replace(data, images=spelt)) == (SourceConfig(spelt, split=SplitConfig(0.1)),)
    remote = replace(data, train="s3://bucket/set", val="s3://bucket/set/")
    assert judged_source(remote).split == SplitConfig(0.1, "held_out")


def test_a_dataset_of_a_mix_is_judged_on_what_training_leaves_out_of_it():
    mix = [MixSource("a", where="fps > 9"), MixSource("b", where="fps > 8"), MixSource("b", where="fps < 3")]
    data = replace(run_of("x", data__holdout=0.1).data, train=None, mix=mix, where="width > 9")
    held = SplitConfig(0.1, "held_out")
    judged = {val: judged_source(replace(data, val=val)) for val in ("a", "b", "c")}
    assert judged["a"] == SourceConfig("a", where="(fps > 9) and (width > 9)", split=held)
    assert judged["b"] == SourceConfig("b", where="width > 9", split=held)
    assert judged["c"] == SourceConfig("c")


def test_images_of_the_same_dataset_leave_out_what_is_held_out():
    data = run_of("here", data__holdout=0.1).data
    assert image_source(replace(data, images="here")) == (SourceConfig("here", split=SplitConfig(0.1)),)
    assert image_source(replace(data, images="there")) == "there"
    assert image_source(replace(data, images="here", holdout=0.0)) == "here"


def test_a_packed_run_is_judged_on_clips_of_one_shape(dataset: str):
    config = run_of(dataset, data__val=dataset, **PACKED)
    assert validation_settings(config, ONE).packing is None
    assert evaluate(build_step(config, ONE).objective, config, ONE)["samples"] == CLIPS - 1


def test_settings_are_typed_and_checked():
    config = made("data.train=x", "data.buckets=[{where: 'duration < 4', frames: 8}, {size: 64}]", "data.mix_by=batch")
    assert config.data.buckets == [Bucket("duration < 4", 8), Bucket(size=64)]
    assert config.data.is_unequal
    mixed = made("data.mix=[{source: a, where: 'fps > 9'}, {source: b}]", "data.where='width > 9'", "data.holdout=0.1")
    told = clip_settings(mixed, ONE).sources
    assert [one.where for one in told] == ["(fps > 9) and (width > 9)", "width > 9"]
    assert {one.split for one in told} == {SplitConfig(0.1)}
    packed = made("data.train=x", "data.packing=true", "data.pack_tokens=400")
    assert clip_settings(packed, ONE).packing == PackConfig(2, 16, 400)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.holdout=1"], r"data\.holdout=1\.0 must be"),
        (["data.holdout_by=row"], r"data\.holdout_by=row must be one of source, key"),
        (["data.pack_tokens=9"], r"data\.packing is false"),
        (["data.packing=true", "data.buckets=[{frames: 8}]"], r"leave out data\.buckets"),
        (["data.buckets=[{frames: 0}]"], r"data\.buckets\.frames=0 must be"),
        (["data.where=' '"], r"data\.where"),
        (["train.eval_every=5"], r"needs data\.val.*data\.holdout"),
        (["stage=vlc", "model=video_text_tiny", "data.packing=true"], r"data\.packing.*stage=mvm"),
    ],
)
def test_what_does_not_go_together_is_refused(overrides: list[str], said: str):
    with pytest.raises(ValueError, match=said):
        made("data.train=x", *overrides)


def test_the_work_of_clips_of_one_shape_is_that_of_the_network():
    config = tiny_config("x", data__decoder_mask_ratio=0.5, data__mask_kind="random")
    mask = torch.tensor([True, False] * (config.model.grid.tokens // 2))
    spared = mask & (mask.cumsum(0) % 2 == 0)
    assert masked_flops(config, [mask, mask], [spared, spared]) == training_flops(config)
    larger = torch.cat([mask, mask])
    assert masked_flops(config, [mask, larger], None) > masked_flops(config, [mask, mask], None)
