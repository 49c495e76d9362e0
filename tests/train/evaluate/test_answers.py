"""Answers of one and of many people, against the definition with its subsets written out."""

from __future__ import annotations

from itertools import combinations

import pytest

from train.evaluate.answers import answer_accuracy, plain_answer


def plain_worth(answer, people):
    """VQA: over all subsets of all people but one, min(agreeing / 3, 1)."""
    subsets = list(combinations(range(len(people)), len(people) - 1))
    needed = min(3, len(people) - 1)
    return sum(min(sum(people[at] == answer for at in each) / needed, 1.0) for each in subsets) / len(subsets)


@pytest.mark.parametrize("agreeing", range(11))
def test_ten_people(agreeing):
    people = ["dog"] * agreeing + ["cat"] * (10 - agreeing)
    found = answer_accuracy(["dog"], [people])
    assert found.accuracy == pytest.approx(100 * plain_worth("dog", people))


@pytest.mark.parametrize(
    "people", [["a1", "a1"], ["a1", "b1"], ["a1", "a1", "b1"], ["a1"] * 3, ["a1", "b1", "c1", "a1"]]
)
def test_few_people(people):
    assert answer_accuracy(["a1"], [people]).accuracy == pytest.approx(100 * plain_worth("a1", people))


def test_one_true_answer_is_right_or_wrong():
    found = answer_accuracy(["Dog", "a cat!", "bird"], [["dog"], ["the cat"], ["dog"]])
    assert found.accuracy == pytest.approx(100 * 2 / 3)
    assert found.common == pytest.approx(100 * 2 / 3)
    assert found.questions == 3


def test_agreement_of_all_is_full():
    assert answer_accuracy(["x"], [["x"] * 10]).accuracy == 100.0
    assert answer_accuracy(["x"], [["x"] * 2]).accuracy == 100.0


def test_texts_lose_what_does_not_matter():
    assert plain_answer("  The  man's   Dog, an animal ") == "man's dog animal"
    assert plain_answer("another theatre") == "another theatre"


@pytest.mark.parametrize(
    ("answers", "truths", "message"),
    [([], [], "0 answers"), (["a"], [], "0 lists"), (["a", "b"], [["a"], []], "question 1 has no true answer")],
)
def test_what_cannot_be_measured_is_refused(answers, truths, message):
    with pytest.raises(ValueError, match=message):
        answer_accuracy(answers, truths)
