"""Evaluation of a run while it trains: figures of its validation dataset, and nothing of the run changed."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from model.video_text import VideoTextModel
from pipelines.batch import VideoTextBatch
from pipelines.evaluation import EvaluationLoader, evaluation_loader
from pipelines.tokenizer import TextTokenizer
from train.config import RunConfig
from train.evaluate.accuracy import classification_accuracy
from train.evaluate.passes import Found, run_pass
from train.evaluate.resting import at_rest, filled
from train.evaluate.retrieval import retrieval_metrics
from train.evaluate.run_dataset import distinct, read_validation, validation_settings
from train.objectives import inputs_of
from train.parallel import Ranks, StopSignal, each_together

_log = logging.getLogger(__name__)
_SHOWN: Final = 5
"""How many samples a warning names."""
_READERS: Final = ("mm_full", "mm_vqa")
"""Networks that read texts."""
_DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16}


def evaluate(
    objective: nn.Module,
    config: RunConfig,
    ranks: Ranks,
    *,
    tokenizer: TextTokenizer | None = None,
    stop: StopSignal | None = None,
) -> dict[str, float]:
    """Measure a run's network on ``data.val`` or the held-out part; every rank calls it and gets the same figures.

    ====  =====================================================================================
    mvm   ``reconstruction``, the mean loss, with the masks of the first epoch
    vlc   ``text_to_video_r1``, ``_r5``, ``_r10``, ``_median_rank``, and ``video_to_text_...``
    sft   ``top1``, ``top5`` (of more than five classes), ``mean_class``, ``classification`` (loss)
    cma   the same
    ====  =====================================================================================

    With them come ``samples`` and ``unusable``, of which the log names some. What is drawn in training is taken in the
    middle. Modes of modules and torch's random state are afterwards what they were, so that the run goes on as without
    an evaluation.

    Args:
        objective: The stage's objective, on the ranks' device, its weights cut over ranks or not.
        config: The run's settings; they say what it is judged on.
        ranks: The ranks.
        tokenizer: The run's vocabulary, for ``vlc`` and for questions about clips.
        stop: Where signals are heard; from one batch to the next they end the evaluation.

    Raises:
        StopAskedError: A rank was told to stop; all ranks raise it.
        ValueError: The dataset does not suit the run, or no sample of it can be used.
        OSError: It cannot be read.
        PeerFailedError: Another rank is gone.
    """
    if config.model_kind in _READERS and tokenizer is None:
        raise ValueError(
            f"stage={config.stage} is evaluated with its vocabulary: hand in the tokenizer of the run's loader"
        )
    told = validation_settings(config, ranks)
    on_gpu = [ranks.device] if ranks.device.type == "cuda" else []
    dtype = _DTYPES[config.train.precision]
    casting = torch.autocast(ranks.device.type, dtype, enabled=dtype != torch.float32)
    with (
        ranks.exchanging(),
        torch.random.fork_rng(devices=on_gpu),
        at_rest(objective),
        ranks.whole(objective),
        evaluation_loader(told) as batches,
        casting,
    ):
        return _Evaluation(objective, config, ranks, batches, tokenizer).figures(stop or StopSignal())


class _Evaluation:
    """One evaluation under way."""

    def __init__(
        self,
        objective: nn.Module,
        config: RunConfig,
        ranks: Ranks,
        batches: EvaluationLoader,
        tokenizer: TextTokenizer | None,
    ) -> None:
        self._objective, self._config, self._ranks = objective, config, ranks
        self._batches, self._tokenizer = batches, tokenizer
        self._samples = read_validation(batches.config.sources[0])
        self._sums: dict[str, Tensor] = {}

    def figures(self, stop: StopSignal) -> dict[str, float]:
        """Run the network over all samples and measure."""
        work, measure = {
            "mvm": (self._reconstruct, self._nothing_more),
            "vlc": (self._encode, self._retrieval),
            "sft": (self._classify, self._accuracy),
            "cma": (self._classify, self._accuracy),
        }[self._config.stage]
        heard = each_together(self._batches, len(self._batches), self._ranks, stop)
        found = run_pass(heard, work, self._ranks, self._samples.order, fill=filled)
        found.require_any()
        self._name(found.unusable)
        figures = self._means() | measure(found)
        return figures | {"samples": float(len(found.index)), "unusable": float(len(found.unusable))}

    def _name(self, unusable: list[str]) -> None:
        """Tell of samples that could not be used; the first rank does it."""
        if unusable and self._ranks.first:
            more = f" and {len(unusable) - _SHOWN} more" if len(unusable) > _SHOWN else ""
            names = f"{', '.join(unusable[:_SHOWN])}{more}"
            _log.warning("%s could not be used for evaluation: %s", self._config.data.judged, names)

    def _reconstruct(self, batch: VideoTextBatch) -> dict[str, Tensor]:
        self._losses(batch)
        return {}

    def _classify(self, batch: VideoTextBatch) -> dict[str, Tensor]:
        assert batch.label is not None, "the loader was told of labels"
        scores: Tensor = self._losses(batch).scores
        return {"scores": scores.float(), "label": batch.label}

    def _encode(self, batch: VideoTextBatch) -> dict[str, Tensor]:
        assert self._tokenizer is not None, "a run of this stage has a vocabulary"
        ids = torch.from_numpy(self._tokenizer.encode_rows(batch.captions).ids).to(batch.video.device)
        towers = self._objective.get_submodule("model")
        assert isinstance(towers, VideoTextModel)
        # The blocks' own forward passes, which gather their weights where those are cut over ranks.
        video, text = towers.encode_video(batch.video).embedded, towers.encode_text(ids).embedded
        return {"video": video.float(), "text": text.float(), "ids": ids}

    def _losses(self, batch: VideoTextBatch) -> Any:  # noqa: ANN401 - an output of any stage's own type
        if self._config.model_kind in _READERS:
            assert self._tokenizer is not None, "what reads texts is evaluated with its vocabulary"
            batch = replace(batch, tokens=torch.from_numpy(self._tokenizer.encode_rows(batch.captions).ids))
        output = self._objective(**inputs_of(self._config.stage, batch))
        for name, total in output.losses.items():
            pair = torch.stack([total.detach().double(), output.counts[name].to(total.device).double()])
            self._sums[name] = self._sums.get(name, torch.zeros_like(pair)) + pair
        return output

    def _means(self) -> dict[str, float]:
        pairs = {name: self._ranks.add_up(pair) for name, pair in sorted(self._sums.items())}
        return {name: float(pair[0] / pair[1]) for name, pair in pairs.items()}

    def _nothing_more(self, _found: Found) -> dict[str, float]:
        return {}

    def _accuracy(self, found: Found) -> dict[str, float]:
        accuracy = classification_accuracy(found.rows("scores"), found.rows("label"))
        named = {"top1": accuracy.top1, "top5": accuracy.top5, "mean_class": accuracy.mean_class}
        return {name: value for name, value in named.items() if value is not None}

    def _retrieval(self, found: Found) -> dict[str, float]:
        text, video = (nn.functional.normalize(found.rows(name), dim=1) for name in ("text", "video"))
        clips, texts = self._samples.distinct(found.index), distinct([bytes(ids.numpy()) for ids in found.rows("ids")])
        text = text[texts.first][texts.owner]  # texts that are the same tie to the last bit
        metrics = retrieval_metrics(text @ video[clips.first].T, clips.owner)
        return {
            f"{way}_{name}": float(getattr(getattr(metrics, way), name))
            for way in ("text_to_video", "video_to_text")
            for name in ("r1", "r5", "r10", "median_rank")
        }
