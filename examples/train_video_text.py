"""Train the contrastive and captioning model with plain PyTorch, then measure retrieval and write captions.

Run ``python examples/train_video_text.py DATASET [STEPS]``. It needs no GPU: the model is tiny, its clips are 4 frames.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import torch

from model.clip_config import video_text_preset
from model.contrastive import similarity
from model.generation import Generation, generate
from model.objectives import VideoLanguage, VideoLanguageConfig
from model.video_text import VideoTextModel
from pipelines import LoaderConfig, build_loader
from pipelines.batch import VideoTextBatch
from pipelines.settings import TokenConfig
from pipelines.tokenizer import TextTokenizer
from train.evaluate.retrieval import retrieval_metrics

BATCH = 8


def train(stage: VideoLanguage, batches: Iterator[VideoTextBatch], steps: int) -> VideoTextBatch:
    """Take optimiser steps, and return the last batch."""
    optimizer = torch.optim.AdamW(stage.parameters(), lr=3e-4, betas=(0.9, 0.98), weight_decay=0.2)
    for step, batch in enumerate(islice(batches, steps), start=1):
        assert batch.tokens is not None
        output = stage(batch.video, batch.tokens, batch.valid)
        output.weighted_mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 0 or step == steps:
            means = {name: float(total.detach() / output.counts[name]) for name, total in output.losses.items()}
            print(f"step {step:4d}  " + "  ".join(f"{name} {mean:.3f}" for name, mean in means.items()))
    return batch


@torch.no_grad()
def show(model: VideoTextModel, tokenizer: TextTokenizer, batch: VideoTextBatch) -> None:
    """Find the batch's clips by their captions, and write captions for two of them."""
    model.eval()
    assert batch.tokens is not None
    videos, texts = model.encode_video(batch.video), model.encode_text(batch.tokens)
    scores = similarity(videos.embedded, texts.embedded, model.logit_scale).T
    found = retrieval_metrics(scores)
    print(f"text to video among {len(batch)} clips seen in training: R@1 {found.text_to_video.r1:.0f} %")
    settings = Generation(
        kind="beam",
        max_tokens=model.text.config.context - 1,
        start_id=tokenizer.start_id,
        end_id=tokenizer.end_id,
        padding_id=tokenizer.padding_id,
        vocabulary=tokenizer.vocabulary,
    )
    written = generate(model, videos.tokens[:2].flatten(1, 2), settings)
    for ids, caption in zip(written.ids, batch.captions, strict=False):
        print(f"written: {tokenizer.caption(ids)}\n  given: {caption}")


def main(dataset: str, steps: int) -> None:
    """Build loader and model, train, and show."""
    config = video_text_preset("video_text_tiny")
    settings = LoaderConfig(
        source=dataset,
        batch_size=BATCH,
        frames=config.video.frames,
        size=config.video.image_size[0],
        sampling="segment",
        tokens=TokenConfig(context=config.text.context, vocabulary=config.text.vocabulary),
    )
    with build_loader(settings) as loader:
        assert loader.tokenizer is not None
        torch.manual_seed(0)
        # A vocabulary trained on this dataset's captions: its padding is no target of captioning.
        stage = VideoLanguage(VideoLanguageConfig(model=replace(config, padding_id=loader.tokenizer.padding_id)))
        print(f"{sum(p.numel() for p in stage.parameters()) / 1e6:.1f} M parameters, {loader.tokenizer.vocabulary} ids")
        show(stage.model, loader.tokenizer, train(stage, iter(loader), steps))


if __name__ == "__main__":
    if len(sys.argv) < 2:  # noqa: PLR2004 - the dataset
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 60)  # noqa: PLR2004 - dataset and steps
