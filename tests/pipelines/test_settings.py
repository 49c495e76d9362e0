"""The loader's settings: wrong ones are named before anything starts, and a state sees those that shape a sample."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import get_args

import pytest

from pipelines.settings import COLOURS, Colours, LabelConfig, LoaderConfig, MaskConfig, TokenConfig, ViewConfig

MACHINERY = {
    *("source", "batch_size", "seed", "lanes", "window"),
    *("decoder", "workers", "prefetch_batches", "cache_dir", "cache_bytes", "outage_seconds"),
    *("rank", "world", "device"),
    *("drop_log", "drops", "tokens", "label", "views", "mix_by", "whole_batches", "last_batch"),
    *("buckets", "packing"),
}
"""Fields that change no sample, or that the state holds beside the settings (of tokens, the vocabulary itself).

Packing does not go with all others, and is tested with itself."""


LATER = {
    "colours": "clip",
    "crop_scale": (0.5, 1.0),
    "crop_ratio": (1.0, 1.0),
    "repeats": 2,
    "randaugment": "rand-m7-n4",
    "erasing": 0.25,
    "captions": "first",
    "clips": 2,
    "rate": 4.0,
    "variable_rate": "frames",
    "resample": "bicubic",
}
"""Fields that earlier versions had not, each with a value that changes the samples."""


@pytest.mark.parametrize(
    ("named", "change"),
    [
        ("frames", {"frames": 0}),
        ("stride", {"stride": 0}),
        ("size", {"size": -1}),
        ("prefetch_batches", {"prefetch_batches": 0}),
        ("cache_bytes", {"cache_bytes": -1}),
        ("outage_seconds", {"outage_seconds": -1}),
        ("workers", {"workers": -1}),
        ("flip", {"flip": 1.5}),
        ("sampling is 'anywhere'; taken are dense, span, center, segment", {"sampling": "anywhere"}),
        ("crop", {"crop": "middle"}),
        ("colours", {"colours": "grey"}),
        ("crop_scale", {"crop_scale": (0.5, 1.5)}),
        ("crop_scale", {"crop_scale": (0.0, 1.0)}),
        ("crop_ratio", {"crop_ratio": (2.0, 1.0)}),
        ("repeats", {"repeats": 0}),
        ("erasing", {"erasing": 1.5}),
        ("randaugment is 'rand'", {"randaugment": "rand"}),
        ("repeats 2 and views", {"repeats": 2, "views": ViewConfig()}),
        (r"views\.clips is 2, but sampling 'even'", {"sampling": "even", "views": ViewConfig(2, 3)}),
        ("decoder", {"decoder": "gpu"}),
        ("device is 'tpu'", {"device": "tpu"}),
        ("device is 'cuda:'", {"device": "cuda:"}),
        ("device is 'cuda:1,2'", {"device": "cuda:1,2"}),
        ("cache_dir", {"cache_dir": "s3://bucket/cache"}),
        ("drop_log", {"drop_log": "s3://bucket/log"}),
        ("batch_size", {"batch_size": 0}),
        ("lanes", {"lanes": 0}),
        ("seed", {"seed": -1}),
        ("rank 2, world 2", {"rank": 2, "world": 2}),
        ("rank 0, world 5, batch_size 4", {"world": 5}),
        ("frames 15 does not divide by mask.tubelet 2", {"frames": 15, "mask": MaskConfig()}),
        ("size 100 does not divide by mask.patch 16", {"size": 100, "mask": MaskConfig()}),
    ],
)
def test_wrong_settings_are_named(named: str, change: dict):
    with pytest.raises(ValueError, match=f"^{named}"):
        LoaderConfig("folder", **{"batch_size": 4, **change})


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0", "cuda:11"])
def test_devices_that_dali_runs_on_are_taken(device: str):
    assert LoaderConfig("folder", batch_size=4, device=device).device == device


@pytest.mark.parametrize(
    ("named", "change"),
    [
        *(("ratio", {"ratio": 1.0}), ("tubelet", {"tubelet": 0}), ("patch", {"patch": 0}), ("kind", {"kind": "block"})),
        *(("ratio 0.9 does not suit", {"kind": "running_cell"}), ("decoder_ratio", {"decoder_ratio": 1.0})),
        ("decoder_kind", {"decoder_kind": "tube"}),
    ],
)
def test_wrong_masks_are_named(named: str, change: dict):
    with pytest.raises(ValueError, match=rf"^mask\.{named}"):
        MaskConfig(**change)


@pytest.mark.parametrize("named", ["context", "vocabulary"])
def test_wrong_tokens_are_named(named: str):
    with pytest.raises(ValueError, match=rf"^tokens\.{named} is 0"):
        TokenConfig(**{named: 0})


def test_every_field_that_shapes_a_sample_is_in_the_state():
    config = LoaderConfig("folder", batch_size=4, mask=MaskConfig(kind="random"))
    names = {field.name for field in fields(config)} - MACHINERY
    assert set(config.sample_settings()) == names - set(LATER), "a state of an earlier version stays good"
    changed = replace(config, crop="random_resized", sampling="fps", **LATER)
    assert set(changed.sample_settings()) == names
    assert json.loads(json.dumps(changed.sample_settings())) == changed.sample_settings()
    assert json.loads(json.dumps(config.sample_settings())) == config.sample_settings()
    assert LoaderConfig("folder", batch_size=4).sample_settings()["mask"] is None


def test_a_state_knows_of_decoder_masks_only_where_there_are_some():
    """States from before there were any stay good."""
    assert set(MaskConfig().as_settings()) == {"ratio", "tubelet", "patch", "kind"}
    assert MaskConfig(decoder_ratio=0.5).as_settings() == asdict(MaskConfig(decoder_ratio=0.5))
    assert "decoder_kind" in MaskConfig(decoder_ratio=0.5).as_settings()


def test_a_setting_that_changes_nothing_is_not_in_the_state():
    assert "crop_scale" not in LoaderConfig("folder", batch_size=4, crop_scale=(0.5, 1.0)).sample_settings()


def test_every_name_of_colours_has_its_scale():
    assert set(COLOURS) == set(get_args(Colours))
    assert COLOURS["half"].mean == (0.45, 0.45, 0.45)


def test_a_label_needs_a_column():
    with pytest.raises(ValueError, match=r"label\.column is empty"):
        LabelConfig("")


def test_parts_are_handed_on():
    config = LoaderConfig("folder", batch_size=4, seed=5, lanes=3, window=2, cache_dir="cache", cache_bytes=10)
    assert (config.order.seed, config.order.batch_size, config.order.lanes, config.order.window) == (5, 4, 3, 2)
    assert config.cache is not None
    assert (config.cache.folder, config.cache.budget_bytes) == (Path("cache"), 10)
    assert LoaderConfig("folder", batch_size=4).cache is None
    assert MaskConfig().grid(16, 224) == MaskConfig(ratio=0.5).grid(16, 224)
    grid = MaskConfig(tubelet=4, patch=8).grid(8, 32)
    assert (grid.t, grid.h, grid.w) == (2, 4, 4)
