"""What a model of clips and texts is measured by: retrieval, zero-shot classes, choices, captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from model.generation import Generation
from model.video_text import VideoTextModel
from train.evaluate.accuracy import classification_accuracy
from train.evaluate.choices import choice_accuracy
from train.evaluate.columns import CAPTIONS, CLIP, cell_texts, distinct, every_caption
from train.evaluate.judging import JudgedDataset
from train.evaluate.labels import class_numbers
from train.evaluate.report import Figures
from train.evaluate.retrieval import retrieval_metrics
from train.evaluate.wording import caption_metrics, words_of
from train.evaluate.zero_shot import TEMPLATES, class_features


def retrieval(data: JudgedDataset, *, dual: bool = False) -> Figures:
    """Find clips by their captions and captions by their clips; samples with the same bytes are one clip.

    A clip that has several captions is looked for by each of them; one that has none can be found wrongly, but is no
    query.

    Args:
        data: The dataset; its captions are the texts.
        dual: Whether figures with dual softmax, which looks at all queries at once, are told as well.

    Raises:
        ValueError: The model reads no texts, or no clip has a caption.
    """
    towers, captions = _towers(data), _captions(data)
    found = data.videos()
    video, chosen = found.rows("video"), found.index.tolist()
    clips = distinct([captions.clips[place] for place in chosen])
    owned = [
        (text, owner)
        for place, owner in zip(chosen, clips.owner.tolist(), strict=True)
        for text in captions.texts[place]
    ]
    if not owned:
        raise ValueError(f"none of the {len(chosen)} clips of {data.url} that could be used has a caption")
    texts = data.judge.encode_texts([text for text, _ in owned])
    owners = torch.tensor([owner for _, owner in owned])
    similarity = towers.logit_scale.exp().float().cpu() * (texts @ video[clips.first].T)
    metrics: dict[str, Any] = asdict(retrieval_metrics(similarity, owners))
    if dual:
        metrics["with_dual_softmax_over_all_queries"] = asdict(retrieval_metrics(similarity, owners, dual=True))
    about = {
        "texts": len(texts),
        "videos": len(clips.first),
        "videos_without_text": len(clips.first) - len(set(owners.tolist())),
    }
    return Figures(metrics | about, len(chosen), found.unusable)


def zero_shot(
    data: JudgedDataset,
    *,
    label: str,
    classes: Sequence[str] | None = None,
    templates: Sequence[str] = TEMPLATES,
) -> Figures:
    """Classify clips by the likeness of class names in sentences.

    Args:
        data: The dataset.
        label: Column of the class: its name, or its number in ``classes``.
        classes: Names of the classes; None takes the different texts of the column, sorted.
        templates: Sentences with ``{}`` for the name.

    Raises:
        ValueError: The model reads no texts, or a label is no class.
    """
    _towers(data)
    truth = class_numbers(data.rows(label).values[label], classes, column=label)
    heads = class_features(data.judge.encode_texts, truth.named(), templates)
    found = data.videos()
    accuracy = classification_accuracy(found.rows("video") @ heads.T, truth.numbers[found.index])
    about = {"classes": len(heads), "templates": len(templates)}
    return Figures(asdict(accuracy) | about, len(found.index), found.unusable)


def choices(data: JudgedDataset, *, columns: Sequence[str], answer: str) -> Figures:
    """Choose one of several texts for each clip.

    Args:
        data: The dataset.
        columns: Columns of the candidates: one that holds lists, or one for each candidate.
        answer: Column of the right one: its number from 0, or its text.

    Raises:
        ValueError: The model reads no texts, or a cell does not fit.
    """
    _towers(data)
    rows, keys = data.rows(*columns, answer), list(data.order)
    told = [[rows.values[name][place] for name in columns] for place in range(len(keys))]
    candidates = [_candidates(cells, key) for cells, key in zip(told, keys, strict=True)]
    right = [_right(*about) for about in zip(rows.values[answer], candidates, keys, strict=True)]
    every = {text: number for number, text in enumerate(dict.fromkeys(text for few in candidates for text in few))}
    texts = data.judge.encode_texts(list(every))
    found = data.videos()
    most = max(map(len, candidates))
    scores = torch.full((len(found.index), most), -torch.inf)
    for row, (place, video) in enumerate(zip(found.index.tolist(), found.rows("video"), strict=True)):
        few = texts[[every[text] for text in candidates[place]]]
        scores[row, : len(few)] = few @ video
    metrics = choice_accuracy(scores, torch.tensor(right)[found.index])
    return Figures(asdict(metrics), len(found.index), found.unusable)


def captions(data: JudgedDataset, *, settings: Generation | None = None, shown: int = 3) -> Figures:
    """Write a caption for each clip and compare it with the dataset's; samples with the same bytes are one clip.

    Args:
        data: The dataset; all captions of a clip are its references.
        settings: How to write; None as ``Pretrained.caption`` does by itself.
        shown: How many captions are shown as examples.

    Raises:
        ValueError: The model writes no captions, or a clip has none to be compared with.
    """
    model = data.judge.model
    _towers(data)
    captions, keys = _captions(data), list(data.order)
    bare = [key for key, texts in zip(keys, captions.texts, strict=True) if not any(map(words_of, texts))]
    if bare:
        raise ValueError(
            f"{len(bare)} of the {len(keys)} clips of {data.url} have no caption with a word in it to compare with, "
            f"the first of them {bare[0]}: leave them out, as by --where 'caption_words > 0'"
        )
    generator = torch.Generator().manual_seed(0)
    found = data.run(lambda batch: {"caption": model.caption(batch.video, settings, generator=generator)})
    found.require_any()
    chosen = found.index.tolist()
    clips = distinct([captions.clips[place] for place in chosen])
    first = clips.first.tolist()
    references: list[list[str]] = [[] for _ in first]
    for number, place in zip(clips.owner.tolist(), chosen, strict=True):
        references[number] += captions.texts[place]
    written = [found.texts["caption"][row] for row in first]
    examples = [
        {"key": keys[chosen[row]], "caption": text, "references": given}
        for row, text, given in list(zip(first, written, references, strict=True))[:shown]
    ]
    metrics = asdict(caption_metrics(written, references))
    return Figures(metrics, len(chosen), found.unusable, examples)


@dataclass(frozen=True)
class _Captions:
    """What is told of each sample: its captions that are not blank, and the hash of its clip."""

    texts: list[list[str]]
    clips: list[str]


def _captions(data: JudgedDataset) -> _Captions:
    """Read the captions of all samples.

    Raises:
        ValueError: None has any.
    """
    rows = data.rows("caption", CAPTIONS, CLIP)
    texts = every_caption(rows)
    if not any(texts):
        raise ValueError(
            f"none of the {len(texts)} clips of {data.url} has a caption: there is nothing to compare with"
        )
    return _Captions(texts, rows.values[CLIP])


def _towers(data: JudgedDataset) -> VideoTextModel:
    network = data.judge.model.network
    if not isinstance(network, VideoTextModel):
        model = data.judge.model
        raise ValueError(f"{model.place} is a {model.kind}, which knows no texts; a mm_full does")  # noqa: TRY004 - a user's fault
    return network


def _candidates(cells: Sequence[object], key: str) -> list[str]:
    return (
        cell_texts(cells[0], key) if len(cells) == 1 else [text for cell in cells for text in cell_texts(cell, key)[:1]]
    )


def _right(value: object, candidates: Sequence[str], key: str) -> int:
    text = str(value).strip()
    if text in candidates:
        return candidates.index(text)
    if text.isdecimal() and int(text) < len(candidates):
        return int(text)
    raise ValueError(
        f"sample {key}: the right answer {value!r} is none of the {len(candidates)} candidates, and no number from 0 "
        f"to {len(candidates) - 1}"
    )
