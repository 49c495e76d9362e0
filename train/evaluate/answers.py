"""Accuracy of answers to questions about clips: the share that people agree with."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_ARTICLES: Final = re.compile(r"\b(?:a|an|the)\b")
_NO_WORD: Final = re.compile(r"[^\w\s']+")
_AGREE: Final = 3
"""People who have to agree with an answer for it to count in full."""


@dataclass(frozen=True)
class AnswerMetrics:
    """How many answers are right.

    Attributes:
        accuracy: Percentage, as ``answer_accuracy`` tells.
        common: What the commonest true answer would get, given to all questions, in percent, for comparison.
        questions: Number of questions, the denominator.
    """

    accuracy: float
    common: float
    questions: int


def answer_accuracy(answers: Sequence[str], truths: Sequence[Sequence[str]]) -> AnswerMetrics:
    """Compare answers with those of people.

    With one true answer it counts whether they are equal (open-ended MSR-VTT and MSVD, arXiv 1611.04021). With several
    an answer counts by how many people gave it: the mean, over leaving out each of them, of min(agreeing / 3, 1), as
    VQA has it for ten people (arXiv 1505.00468, section 5); with fewer than four people all of the others must agree.
    Before that texts lose case, punctuation and articles.

    Raises:
        ValueError: There are no answers, another number of truths, or a question without a true answer.
    """
    if not answers or len(answers) != len(truths):
        raise ValueError(
            f"{len(answers)} answers and {len(truths)} lists of true ones: as many, one or more, are taken"
        )
    open_ones = [number for number, people in enumerate(truths) if not people]
    if open_ones:
        raise ValueError(f"question {open_ones[0]} has no true answer: one or more per question are taken")
    people = [Counter(map(plain_answer, given)) for given in truths]
    worth = [_agreement(plain_answer(answer), given) for answer, given in zip(answers, people, strict=True)]
    usual = max(sum(people, Counter()).items(), key=lambda pair: (pair[1], pair[0]))[0]
    common = [_agreement(usual, given) for given in people]
    return AnswerMetrics(100.0 * sum(worth) / len(worth), 100.0 * sum(common) / len(common), len(worth))


def plain_answer(text: str) -> str:
    """Return an answer in lower case, without punctuation, articles and needless blanks."""
    return " ".join(_ARTICLES.sub(" ", _NO_WORD.sub(" ", text.lower())).split())


def _agreement(answer: str, people: Counter[str]) -> float:
    agreeing, others = people[answer], people.total() - 1
    if not others:
        return float(agreeing)
    needed = min(_AGREE, others)
    left_out = agreeing * min((agreeing - 1) / needed, 1.0) + (people.total() - agreeing) * min(agreeing / needed, 1.0)
    return left_out / people.total()
