"""The loaders of a run: what those of clips and of images are told, and opening them where a run goes on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.clip_config import VideoTextConfig
from model.config import VideoMAEConfig
from pipelines.loader import AnyLoader, build_loader, build_packed_loader
from pipelines.settings import LabelConfig, LoaderConfig, MaskConfig, PackConfig, TokenConfig
from train.clip_sources import clip_buckets, clip_sources, image_source
from train.config import RunConfig
from train.feeds import IMAGES, Feeds, image_state, require_same_feeds, video_state
from train.metrics import LogFolder, cut_drops, drop_log
from train.parallel import Ranks
from train.run_files import keep_run_files
from train.stages import classes_of
from train.state import TrainState


@contextmanager
def open_feeds(config: RunConfig, ranks: Ranks, folder: LogFolder, state: TrainState) -> Iterator[Feeds]:
    """Open the datasets of a run where its state left them, and keep their vocabulary and classes in the run's folder.

    They close at the end.

    Raises:
        ValueError: a dataset, its vocabulary or its classes do not suit the run, or a saved state does not fit.
        StoreError: a dataset cannot be read.
    """
    require_same_feeds(state.loader, images=config.data.images is not None)
    with ExitStack() as stack:

        def opened(told: LoaderConfig, where: Mapping[str, Any] | None, feed: str | None = None) -> AnyLoader:
            cut_drops(folder, ranks, 0 if where is None else int(where["samples"]), feed)
            told = replace(told, drop_log=str(folder.file(drop_log(ranks.rank, feed))))
            loader: AnyLoader
            loader = build_loader(told, where) if told.packing is None else build_packed_loader(told, where)
            stack.enter_context(loader)
            return loader

        told = clip_settings(config, ranks)
        video = opened(told, video_state(state.loader))
        require_classes(config, video)
        if ranks.first:
            keep_run_files(folder.store, tokenizer=video.tokenizer, classes=video.classes)
        images = None
        if config.data.images is not None:
            with vocabulary_of(video, config) as tokenizer:
                images = opened(image_settings(config, told, tokenizer), image_state(state.loader), IMAGES)
        yield Feeds(video, images, ratio=config.data.image_ratio, step=state.step)


def clip_settings(config: RunConfig, ranks: Ranks) -> LoaderConfig:
    """Return what the loader of clips is told: the run's data settings, this rank's place, what the stage needs."""
    data = config.data
    return LoaderConfig(
        source=clip_sources(config.data),
        batch_size=data.batch_size,
        seed=config.train.seed,
        lanes=data.lanes,
        window=data.window,
        frames=data.frames,
        stride=data.stride,
        size=data.size,
        sampling=data.sampling,  # type: ignore[arg-type] # DataConfig has checked it
        crop=data.crop,  # type: ignore[arg-type] # DataConfig has checked it
        crop_scale=data.crop_scale,
        crop_ratio=data.crop_ratio,
        flip=data.flip,
        colours=data.colours,  # type: ignore[arg-type] # DataConfig has checked it
        randaugment=data.randaugment,
        erasing=data.erasing,
        repeats=data.repeats,
        clips=data.clips,
        rate=data.rate,
        variable_rate=data.variable_rate,  # type: ignore[arg-type] # DataConfig has checked it
        resample=data.resample,  # type: ignore[arg-type] # DataConfig has checked it
        packing=_packing(config),
        buckets=clip_buckets(config.data),
        mix_by=data.mix_by,  # type: ignore[arg-type] # DataConfig has checked it
        whole_batches=data.whole_batches,
        mask=_masks(config),
        tokens=_tokens(config),
        label=_labels(config),
        decoder=data.decoder,  # type: ignore[arg-type] # DataConfig has checked it
        workers=data.workers,
        cache_dir=data.cache_dir,
        cache_bytes=data.cache_bytes,
        outage_seconds=data.outage_seconds,
        rank=ranks.rank,
        world=ranks.world,
        device=str(ranks.device),
    )


def image_settings(config: RunConfig, clips: LoaderConfig, tokenizer: str | None) -> LoaderConfig:
    """Return what the loader of images is told: what that of clips is, but for one frame, cut as images are."""
    data = config.data
    assert data.images is not None
    assert clips.tokens is not None
    return replace(
        clips,
        source=image_source(data),
        whole_batches=False,
        batch_size=data.image_batch,
        frames=1,
        crop=data.image_crop,  # type: ignore[arg-type] # DataConfig has checked it
        crop_scale=data.image_crop_scale,
        resample=data.image_resample or data.resample,  # type: ignore[arg-type] # DataConfig has checked it
        tokens=replace(clips.tokens, tokenizer=tokenizer),
    )


def require_classes(config: RunConfig, loader: AnyLoader) -> None:
    """Check that the network scores as many classes as the dataset names.

    Raises:
        ValueError: they differ.
    """
    if not config.rules.labels or loader.classes is None:
        return
    scored, there = classes_of(config.model), len(loader.classes)
    if scored.count != there:
        raise ValueError(
            f"{config.data.told} has {there} classes in {config.data.label}, and {scored.where}={scored.count}; give"
            f" {scored.where}={there}, or a list of the network's classes with data.classes"
        )


@contextmanager
def vocabulary_of(loader: AnyLoader, config: RunConfig) -> Iterator[str | None]:
    """Yield the place of the vocabulary that a loader has, for another one: that of the settings, or a copy of it."""
    if config.data.tokenizer is not None or loader.tokenizer is None:
        yield config.data.tokenizer
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        path.write_text(loader.tokenizer.to_json(), encoding="utf-8")
        yield str(path)


def _packing(config: RunConfig) -> PackConfig | None:
    if not config.data.packing:
        return None
    assert isinstance(config.model, VideoMAEConfig), "packing is of the stage that trains it"
    return PackConfig(config.model.tubelet, config.model.patch_size, config.data.pack_tokens)


def _masks(config: RunConfig) -> MaskConfig | None:
    if not isinstance(config.model, VideoMAEConfig):
        return None
    data = config.data
    return MaskConfig(
        ratio=data.mask_ratio,
        tubelet=config.model.tubelet,
        patch=config.model.patch_size,
        kind=data.mask_kind,  # type: ignore[arg-type] # DataConfig has checked it
        decoder_ratio=data.decoder_mask_ratio,
    )


def _tokens(config: RunConfig) -> TokenConfig | None:
    if not isinstance(config.model, VideoTextConfig):
        return None
    text = config.model.text
    return TokenConfig(tokenizer=config.data.tokenizer, context=text.context, vocabulary=text.vocabulary)


def _labels(config: RunConfig) -> LabelConfig | None:
    if not config.rules.labels:
        return None
    assert config.data.label is not None
    # A number that the network has no score for would end a GPU's run without a word about the clip.
    return LabelConfig(config.data.label, config.data.classes, limit=classes_of(config.model).count)
