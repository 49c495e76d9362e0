"""Questions about clips, answered by a model of question answering out of a fixed list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import torch
from torch import Tensor, nn

from model.answering import VideoQuestionAnswering
from pipelines.batch import VideoTextBatch
from train.evaluate.answers import answer_accuracy
from train.evaluate.columns import cell_texts
from train.evaluate.judging import JudgedDataset
from train.evaluate.report import Figures


def answers(data: JudgedDataset, *, question: str, answer: str, vocabulary: Sequence[str] | None = None) -> Figures:
    """Answer questions about clips by a model of question answering.

    Args:
        data: The dataset.
        question: Column of the question.
        answer: Column of the true answer, or of a list of what several people answered.
        vocabulary: The answers that the model chooses among, in its order; None takes the model's own list.

    Raises:
        ValueError: The model answers no questions, its answers are not known, or a cell does not fit.
    """
    model = data.judge.model
    network, known = _answering(model.network), list(vocabulary or model.classes or ())
    outputs = network.vqa_classifier[-1].out_features
    if model.tokenizer is None or len(known) != outputs:
        raise ValueError(
            f"{model.place} chooses among {outputs} answers and {len(known)} are known: "
            "give --answers a file with one on each line, and --tokenizer its vocabulary"
        )
    rows, keys, tokenizer = data.rows(question, answer), data.order, model.tokenizer
    truths = [cell_texts(value, key) for value, key in zip(rows.values[answer], keys, strict=True)]

    def score(batch: VideoTextBatch) -> Mapping[str, Tensor]:
        asked = [str(rows.values[question][keys[key]] or "") for key in batch.keys]
        ids = torch.from_numpy(tokenizer.encode_rows(asked).ids).to(batch.video.device)
        return {"picked": network(batch.video, ids).argmax(dim=1)}

    found = data.run(score)
    picked = [known[number] for number in found.rows("picked").tolist()]
    metrics = answer_accuracy(picked, [truths[place] for place in found.index.tolist()])
    return Figures(asdict(metrics), len(picked), found.unusable)


def _answering(network: nn.Module) -> VideoQuestionAnswering:
    if not isinstance(network, VideoQuestionAnswering):
        raise ValueError(  # noqa: TRY004 - a user's fault
            f"a {type(network).__name__} answers no questions: a mm_vqa does; with other models of clips and texts the "
            "task choices chooses among texts"
        )
    return network
