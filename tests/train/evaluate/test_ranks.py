"""Evaluations on two ranks against one: the same figures on both, each sample once, weights cut over ranks too."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipelines.part_settings import ViewConfig
from shards.store import open_store
from tests.support.evaluated import NAMES, build_evaluated, save_model
from tests.support.fake_loader import fake_batch
from tests.support.ranks import on_ranks
from tests.support.saved_runs import tiny_words
from tests.support.stages import randomise, stage_config
from tests.support.video_text import TINY
from train.evaluate import class_tasks, language_tasks, probing_tasks
from train.evaluate.gathering import gather_rows, gather_values
from train.evaluate.in_training import evaluate
from train.evaluate.judging import Judge, LoadSettings
from train.evaluate.passes import run_pass
from train.objectives import build_objective
from train.parallel import Ranks
from train.pretrained import load_model
from train.run_files import keep_run_files

ONE = Ranks(0, 1, torch.device("cpu"))
STAGES = ("mvm", "vlc", "sft", "cma")
WORDS = tiny_words()


def tasks(ranks, dataset, towers, classifier):
    loading = LoadSettings(batch_size=3, workers=0)
    language, classes = (Judge(load_model(at), ranks, loading).dataset(dataset) for at in (towers, classifier))
    return [
        language_tasks.retrieval(language, dual=True),
        language_tasks.zero_shot(language, label="action"),
        language_tasks.choices(language, columns=["options"], answer="right"),
        language_tasks.captions(language),
        class_tasks.classification(classes, label="action", views=ViewConfig(2, 1)),
        probing_tasks.linear_probe(classes, classes, label="action", strengths=[0.1]),
    ]


def in_training(ranks, dataset, out, strategy="ddp", stages=STAGES):
    return [_judge(ranks, stage, dataset, out, strategy) for stage in stages]


def _judge(ranks, stage, dataset, out, strategy):
    config = stage_config(stage, out, data__val=dataset, data__batch_size=3, data__workers=0)
    if stage == "vlc":
        text, captioner = (replace(part, vocabulary=WORDS.vocabulary) for part in (TINY.text, TINY.captioner))
        config = replace(config, model=replace(TINY, text=text, captioner=captioner))
    if config.rules.labels:
        config = replace(config, data=replace(config.data, label="action"))
    torch.manual_seed(0)
    objective = build_objective(config, ranks, WORDS if stage == "vlc" else None)
    randomise(objective)
    ranks.wrap(objective.train(), strategy)  # and no pass before, as where a run that goes on makes up for one
    return evaluate(objective, config, ranks, tokenizer=WORDS if stage == "vlc" else None)


def gathered(ranks):
    rows = None if ranks.rank == 1 else torch.arange(2).reshape(-1, 1).half()
    batches = [[fake_batch([4, 1]), fake_batch([0], broken={0})], []][ranks.rank]
    order = {f"{position:09d}_00000": place for place, position in enumerate((0, 1, 4))}
    found = run_pass(batches, lambda batch: {"x": batch.video[:, 0, 0, 0, 0]}, ranks, order)
    values = gather_values(ranks, ["x"] * ranks.rank)
    return [gather_rows(ranks, rows), gather_rows(ranks, None), found.rows("x"), found.unusable, values]


def everything(ranks, dataset, towers, classifier, out):
    cut = in_training(ranks, dataset, out, "fsdp", STAGES[:3])
    return gathered(ranks), tasks(ranks, dataset, towers, classifier), in_training(ranks, dataset, out), cut


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A dataset of ten clips, one broken, of which batches of three leave one for the last; models; a run's folder."""
    folder, out, towers, classifier = (tmp_path_factory.mktemp(name) for name in ("set", "run", "vlc", "sft"))
    build_evaluated(folder, tmp_path_factory.mktemp("scratch"), broken=(9,))
    keep_run_files(open_store(out), classes=[*NAMES, "x", "y"])
    classes = save_model(classifier, "videomae_classifier", classes=NAMES)
    return str(folder), save_model(towers, "mm_full"), classes, str(out)


@pytest.fixture(scope="module")
def both(places, tmp_path_factory):
    """What each of two ranks found."""
    return on_ranks(2, everything, tmp_path_factory.mktemp("ranks"), *places)


def flat(metrics, prefix=""):
    """Return nested figures by their dotted names; -1 where there is none."""
    found = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, tuple):
            found |= {f"{prefix}{name}.{place}": each for place, each in enumerate(value)}
        else:
            found[prefix + name] = -1 if value is None else value
    return found


def test_rows_and_values_come_to_all_ranks(both):
    wanted = [fake_batch([position]).video[0, 0, 0, 0, 0] for position in (1, 4)]
    for rows, nothing, found, unusable, values in (rank[0] for rank in both):
        assert (rows.tolist(), rows.dtype, nothing) == ([[0], [1]], torch.float16, None)
        assert found.tolist() == wanted
        assert (unusable, values) == (["000000000_00000"], ["x"])


def test_tasks_find_the_same_on_two_ranks(both, places):
    dataset, towers, classifier, _ = places
    assert both[0][1] == both[1][1]
    for mine, alone in zip(both[0][1], tasks(ONE, dataset, towers, classifier), strict=True):
        assert (mine.samples, mine.unusable, mine.examples) == (
            9,
            ["000000009_00000"] * len(mine.unusable),
            alone.examples,
        )
        assert mine.unusable == alone.unusable
        assert flat(mine.metrics) == pytest.approx(flat(alone.metrics), rel=1e-4)


def test_runs_in_training_find_the_same_on_two_ranks_and_with_cut_weights(both, places):
    alone = in_training(ONE, places[0], places[3])
    for rank in both:
        for mine, wanted in zip([*rank[2], *rank[3]], [*alone, *alone[:3]], strict=True):
            assert mine == pytest.approx(wanted, rel=1e-4)
            assert (mine["samples"], mine["unusable"]) == (9, 1)
