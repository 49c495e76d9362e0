"""How near written captions come to those of people: BLEU, METEOR, ROUGE-L and CIDEr-D."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import exp, log, sqrt
from typing import Final

from nltk.translate.meteor_score import meteor_score
from torchmetrics.functional.text import bleu_score, rouge_score

_SIGN: Final = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
"""Han signs and kana, which stand without blanks between words."""
_LETTERS: Final = rf"(?:(?!{_SIGN})\w)+"
_WORD: Final = re.compile(rf"{_SIGN}|{_LETTERS}(?:['\u2019]{_LETTERS})*")
_LONGEST: Final = 4
"""Words of the longest word group that BLEU and CIDEr-D count."""
_SPREAD: Final = 6.0
"""Standard deviation, in words, of CIDEr-D's penalty for another length."""


@dataclass(frozen=True)
class CaptionMetrics:
    """How near captions come to the references; higher is better.

    All are percentages but CIDEr-D, which goes from 0 to 10, in percent of which it is usually told: 1.0 is 100.

    Attributes:
        bleu: BLEU of the whole set for word groups of up to 1, 2, 3 and 4 words (torchmetrics).
        meteor: Mean METEOR of exact and stemmed matches (NLTK); synonyms, which need WordNet, do not match.
        rouge_l: Mean F-measure of the longest common subsequence with the best reference (torchmetrics).
        cider: CIDEr-D; None for fewer than two clips, which give no word a weight.
        clips: Number of clips.
        empty: Captions without a word, which score 0.
    """

    bleu: tuple[float, ...]
    meteor: float
    rouge_l: float
    cider: float | None
    clips: int
    empty: int


def caption_metrics(captions: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionMetrics:
    """Compare captions with the references of their clips.

    Texts are put into lower case and cut into words (letters, digits and inner apostrophes; punctuation is left out).
    The COCO tools cut by the rules of the Penn Treebank, so figures differ a little from theirs.

    Args:
        captions: One caption of each clip.
        references: The texts of people for each clip.

    Raises:
        ValueError: There are no captions, another number of references, or a clip without a reference.
    """
    if not captions or len(captions) != len(references):
        raise ValueError(
            f"{len(captions)} captions and {len(references)} lists of references: as many, one or more, are taken"
        )
    written = [words_of(text) for text in captions]
    wanted = [[words for words in map(words_of, texts) if words] for texts in references]
    bare = [number for number, texts in enumerate(wanted) if not texts]
    if bare:
        raise ValueError(
            f"clip {bare[0]} has no reference with a word in it: captions have nothing to be compared with"
        )
    lines = [" ".join(words) for words in written]
    targets = [[" ".join(words) for words in texts] for texts in wanted]
    # By itself it would cut texts at all letters but a to z, and find no word in most languages.
    rouge = rouge_score(lines, targets, rouge_keys=("rougeL",), accumulate="best", normalizer=str, tokenizer=str.split)
    return CaptionMetrics(
        bleu=tuple(100.0 * float(bleu_score(lines, targets, n_gram=most)) for most in range(1, _LONGEST + 1)),
        meteor=100.0 * sum(_meteor(*pair) for pair in zip(written, wanted, strict=True)) / len(written),
        rouge_l=100.0 * float(rouge["rougeL_fmeasure"]),
        cider=cider_d(written, wanted) if len(written) > 1 else None,
        clips=len(written),
        empty=sum(not words for words in written),
    )


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case; each Han sign or kana is one."""
    return _WORD.findall(text.lower())


def cider_d(captions: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> float:
    """Return CIDEr-D (Vedantam et al., arXiv 1411.5726, equation 5), from 0 to 10.

    Word groups weigh their count times the logarithm of clips over clips whose references hold them; the weights come
    from these references. The kept libraries that have it need Java, or networks for sound and sentences.

    Args:
        captions: The words of each clip's caption.
        references: The words of each clip's references; at least one each.
    """
    holders = [
        Counter(
            group for texts in references for group in set(chain.from_iterable(_groups(text, size) for text in texts))
        )
        for size in range(1, _LONGEST + 1)
    ]
    rarity = [{group: log(len(references) / count) for group, count in held.items()} for held in holders]
    common = log(len(references))
    scores = [
        sum(_likeness(caption, text, rarity, common) for text in texts) / len(texts)
        for caption, texts in zip(captions, references, strict=True)
    ]
    return 10.0 * sum(scores) / len(scores)


def _likeness(
    caption: Sequence[str], reference: Sequence[str], rarity: Sequence[dict[tuple[str, ...], float]], common: float
) -> float:
    """Return the mean over group sizes of the clipped cosine of two texts, less for another length."""
    total = 0.0
    for size, weights in enumerate(rarity, start=1):
        mine, theirs = (
            {group: count * weights.get(group, common) for group, count in Counter(_groups(words, size)).items()}
            for words in (caption, reference)
        )
        norm = sqrt(sum(value**2 for value in mine.values()) * sum(value**2 for value in theirs.values()))
        if norm:
            total += (
                sum(min(value, theirs.get(group, 0.0)) * theirs.get(group, 0.0) for group, value in mine.items()) / norm
            )
    return total / len(rarity) * exp(-((len(caption) - len(reference)) ** 2) / (2 * _SPREAD**2))


def _groups(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]


def _meteor(caption: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    return float(meteor_score(references, caption, wordnet=_NoSynonyms())) if caption else 0.0


class _NoSynonyms:
    """Stands where METEOR asks WordNet, whose data would have to be downloaded."""

    def synsets(self, word: str) -> tuple[()]:  # noqa: ARG002 - WordNet's signature
        """Return no meaning of any word."""
        return ()
