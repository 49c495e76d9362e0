"""Caption scores against formulas written out plainly, and against what must hold of any such score."""

from __future__ import annotations

import math

import numpy as np
import pytest

from train.evaluate.wording import caption_metrics, cider_d, words_of

CAPTIONS = [
    "A red square moves to the left.",
    "a man plays the guitar on a stage",
    "Two dogs run, two dogs run",
    "someone's hand",
]
REFERENCES = [
    ["a red square moves left", "the square that is red goes to the left"],
    ["a man is playing guitar on stage", "a person plays the guitar", "the guitarist on a stage"],
    ["two dogs are running over the grass"],
    ["the hand of someone writes", "someone's hand writes a word"],
]


def grams(words, size):
    return [" ".join(words[at : at + size]) for at in range(len(words) - size + 1)]


def plain_cider(captions, references):
    """CIDEr-D as vectors over all word groups that occur, one size after the other."""
    totals = np.zeros(len(captions))
    for size in (1, 2, 3, 4):
        every = sorted({g for texts in references for text in texts for g in grams(text, size)})
        every += sorted({g for text in captions for g in grams(text, size)} - set(every))
        held = [{g for text in texts for g in grams(text, size)} for texts in references]
        weight = np.array([math.log(len(references) / max(1, sum(g in each for each in held))) for g in every])

        def vector(words, size=size, every=every, weight=weight):
            found = grams(words, size)
            return np.array([found.count(g) for g in every]) * weight

        for number, (caption, texts) in enumerate(zip(captions, references, strict=True)):
            mine = vector(caption)
            for text in texts:
                theirs = vector(text)
                norm = np.linalg.norm(mine) * np.linalg.norm(theirs)
                penalty = math.exp(-((len(caption) - len(text)) ** 2) / 72)
                likeness = np.minimum(mine, theirs) @ theirs / norm if norm else 0.0
                totals[number] += 10 * penalty * likeness / len(texts) / 4
    return float(totals.mean())


def plain_bleu(captions, references, most):
    """BLEU of the set: clipped counts summed up, the nearest reference length (Papineni et al., 2002)."""
    logs = []
    for size in range(1, most + 1):
        right = whole = 0
        for caption, texts in zip(captions, references, strict=True):
            found = grams(caption, size)
            whole += len(found)
            right += sum(min(found.count(g), max(grams(text, size).count(g) for text in texts)) for g in set(found))
        if not right:
            return 0.0
        logs.append(math.log(right / whole))
    long = sum(len(caption) for caption in captions)
    near = sum(
        min((abs(len(text) - len(caption)), len(text)) for text in texts)[1]
        for caption, texts in zip(captions, references, strict=True)
    )
    return 100 * math.exp(sum(logs) / most) * min(1.0, math.exp(1 - near / long))


def plain_rouge(caption, text):
    table = np.zeros((len(caption) + 1, len(text) + 1), dtype=int)
    for i, left in enumerate(caption, start=1):
        for j, right in enumerate(text, start=1):
            table[i, j] = table[i - 1, j - 1] + 1 if left == right else max(table[i - 1, j], table[i, j - 1])
    common = table[-1, -1]
    return 2 * common / (len(caption) + len(text))


def cut(captions=CAPTIONS, references=REFERENCES):
    return [words_of(text) for text in captions], [[words_of(text) for text in texts] for texts in references]


def test_words_lose_case_and_punctuation():
    assert words_of("A man's dog, 2 CATS -- über!") == ["a", "man's", "dog", "2", "cats", "über"]
    assert words_of("...") == []
    assert words_of("一只dog's狗 かに、2只。") == ["一", "只", "dog's", "狗", "か", "に", "2", "只"]


def test_the_scores_are_those_of_the_formulas():
    found, (captions, references) = caption_metrics(CAPTIONS, REFERENCES), cut()
    assert found.cider == pytest.approx(plain_cider(captions, references), rel=1e-9)
    for most in (1, 2, 3, 4):
        assert found.bleu[most - 1] == pytest.approx(plain_bleu(captions, references, most), rel=1e-4)
    best = [
        max(plain_rouge(caption, text) for text in texts) for caption, texts in zip(captions, references, strict=True)
    ]
    assert found.rouge_l == pytest.approx(100 * np.mean(best), rel=1e-5)
    assert (found.clips, found.empty) == (4, 0)


def test_meteor_by_hand():
    """Six of seven words match in one run: P 6/7, R 6/6; F = 10PR/(R+9P); penalty 0.5 (1/6)^3."""
    found = caption_metrics(["the big cat sat on the mat"], [["the cat sat on the mat"]])
    precision, recall = 6 / 7, 1.0
    chunks = 2
    f_mean = 10 * precision * recall / (recall + 9 * precision)
    assert found.meteor == pytest.approx(100 * f_mean * (1 - 0.5 * (chunks / 6) ** 3), rel=1e-6)
    stems = caption_metrics(["dogs running"], [["dog runs"]])
    assert stems.meteor == pytest.approx(100 * (1 - 0.5 * (1 / 2) ** 3))
    synonyms = caption_metrics(["large"], [["big"]])
    assert synonyms.meteor == 0.0


def test_the_same_words_are_perfect():
    texts = [texts[0] for texts in REFERENCES]
    found = caption_metrics(texts, [[text] for text in texts])
    assert found.bleu == pytest.approx((100.0,) * 4)
    assert found.rouge_l == pytest.approx(100.0)
    assert found.cider == pytest.approx(10.0)
    assert found.meteor > 99


def test_words_of_every_alphabet_count():
    """The same figures for words of the same lengths and places, whatever letters they are of."""
    latin = caption_metrics(["a dog runs", "cats sit here"], [["a dog sits"], ["cats sit there"]])
    other = caption_metrics(["одна собака бежит", "кошки сидят тут"], [["одна собака сидит"], ["кошки сидят там"]])
    assert other.rouge_l == pytest.approx(latin.rouge_l)
    assert other.rouge_l == pytest.approx(100 * 2 / 3)
    assert other.bleu[:2] == pytest.approx(latin.bleu[:2])


def test_nothing_in_common_is_nothing():
    found = caption_metrics(["xa xb xc xd", "xe xf xg xh"], [["ya yb yc yd"], ["ye yf yg yh"]])
    assert (found.bleu, found.meteor, found.rouge_l, found.cider) == ((0.0,) * 4, 0.0, 0.0, 0.0)


def test_empty_captions_count_and_score_nothing():
    found = caption_metrics(["", "a dog runs on grass"], [["a cat"], ["a dog runs on grass"]])
    assert found.empty == 1
    assert found.meteor == pytest.approx(50, abs=0.5)
    assert found.cider == pytest.approx(5.0)


def test_one_clip_has_no_cider():
    assert caption_metrics(["a dog"], [["a dog"]]).cider is None


def test_repeating_a_rare_word_does_not_help():
    references = [[["a", "rare", "bird"]], [["a", "dog"]], [["a", "cat"]]]
    once = cider_d([["a", "rare", "bird"], ["a"], ["a"]], references)
    often = cider_d([["rare", "rare", "bird"], ["a"], ["a"]], references)
    assert often < once


@pytest.mark.parametrize(
    ("captions", "references", "message"),
    [
        ([], [], "0 captions"),
        (["a"], [], "0 lists of references"),
        (["a"], [[]], "clip 0 has no reference"),
        (["a", "b"], [["a"], ["!"]], "clip 1 has no reference"),
    ],
)
def test_what_cannot_be_measured_is_refused(captions, references, message):
    with pytest.raises(ValueError, match=message):
        caption_metrics(captions, references)
