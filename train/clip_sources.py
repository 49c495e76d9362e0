"""The datasets of a run's clips, and what is taken of them: to train on, or to judge the run on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipelines.settings import BucketConfig, SourceConfig, SplitConfig
from shards.store import open_store
from train.data_config import DataConfig
from train.mix_config import MixSource


def clip_sources(data: DataConfig) -> str | tuple[SourceConfig, ...]:
    """Return the datasets of clips that a run trains on: the one, or several, with what is taken of each."""
    if not (data.mix or data.where or data.holdout):
        return data.told
    return tuple(_source(one, data) for one in data.sources)


def image_source(data: DataConfig) -> str | tuple[SourceConfig, ...]:
    """Return the dataset of images; where clips are taken of it as well, without what is held out of them."""
    assert data.images is not None, "the settings name a dataset of images"
    if not data.holdout or not any(_is_same(data.images, one.source) for one in data.sources):
        return data.images
    return (SourceConfig(data.images, split=_split(data)),)


def clip_buckets(data: DataConfig) -> tuple[BucketConfig, ...]:
    """Return the kinds of clips that batches keep apart."""
    return tuple(BucketConfig(one.where, one.frames, one.stride, one.size, one.name) for one in data.buckets)


def judged_source(data: DataConfig) -> SourceConfig:
    """Return what a run is judged on: of a dataset that it trains on, the part that training leaves out.

    Of a dataset of ``data.mix`` that is listed once, the clips must meet its own condition, too.
    """
    assert data.judged is not None, "the settings say what to judge the run on"
    trained = [one for one in data.sources if _is_same(data.judged, one.source)]
    if not trained:
        return SourceConfig(data.judged)
    own = trained[0].where if len(trained) == 1 else None
    split = _split(data)
    return SourceConfig(data.judged, where=_both(own, data.where), split=split and replace(split, part="held_out"))


def _is_same(one: str, other: str) -> bool:
    """Tell whether two places are one dataset, however they are spelt."""
    return _place(one) == _place(other)


def _place(dataset: str) -> str:
    store = open_store(dataset)
    return str(Path(store.url).resolve()) if store.is_local else store.url


def _source(one: MixSource, data: DataConfig) -> SourceConfig:
    return SourceConfig(
        one.source,
        one.weight,
        one.epochs,
        name=one.name,
        where=_both(one.where, data.where),
        split=_split(data),
        frames=one.frames,
        stride=one.stride,
        size=one.size,
    )


def _both(first: str | None, second: str | None) -> str | None:
    return first or second if first is None or second is None else f"({first}) and ({second})"


def _split(data: DataConfig) -> SplitConfig | None:
    if not data.holdout:
        return None
    return SplitConfig(data.holdout, "train", data.holdout_by, data.holdout_salt)  # type: ignore[arg-type] # it has checked it
