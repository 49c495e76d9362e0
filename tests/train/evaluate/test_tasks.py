"""Each task on a dataset on disk, against the model used by hand on the loader's clips, on one rank and on two."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from model.answering import VideoQuestionAnswering
from model.kinds import find_kind
from pipelines.evaluation import evaluation_loader
from pipelines.part_settings import ViewConfig
from pipelines.split import SplitConfig
from pipelines.subset import SubsetConfig
from tests.support.evaluated import NAMES, ORIGINAL, ROWS, TWIN, build_evaluated, caption_of, save_model
from tests.support.saved_runs import tiny_words
from tests.support.tiny_networks import CONFIGS
from tests.support.video_text import build
from train.clip_features import clip_features
from train.evaluate import answering_task, class_tasks, language_tasks, probing_tasks
from train.evaluate.accuracy import classification_accuracy
from train.evaluate.attentive_probe import AttentiveSettings, fit_attentive_probe
from train.evaluate.judging import Judge, LoadSettings
from train.evaluate.knn import knn_scores
from train.evaluate.linear_probe import fit_linear_probe
from train.evaluate.retrieval import retrieval_metrics
from train.evaluate.tokens import clip_tokens
from train.evaluate.wording import caption_metrics
from train.evaluate.zero_shot import class_features
from train.parallel import Ranks
from train.pretrained import Pretrained, load_model

ONE = Ranks(0, 1, torch.device("cpu"))
LOADING = LoadSettings(batch_size=3, workers=0)
CLASSES = torch.tensor([row % 3 for row in ROWS])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    build_evaluated(folder, tmp_path_factory.mktemp("scratch"))
    return str(folder)


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("vlc"), "mm_full")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("sft"), "videomae_classifier", classes=NAMES)


def judged(place, dataset, ranks=ONE, loading=LOADING):
    return Judge(load_model(place), ranks, loading).dataset(dataset)


def clips_of(model, dataset, **changes):
    """All clips in one batch."""
    with evaluation_loader(model.loader_config(dataset, batch_size=99, **changes)) as batches:
        (batch,) = batches
    return batch.video


def test_retrieval_of_captions_and_clips(towers, dataset):
    figures = language_tasks.retrieval(judged(towers, dataset), dual=True)
    model = load_model(towers)
    video, text = model.encode_video(clips_of(model, dataset)), model.encode_text([caption_of(row) for row in ROWS])
    one_each = [place for place, row in enumerate(ROWS) if row != TWIN]
    owner = torch.tensor([one_each.index(ROWS.index(ORIGINAL if row == TWIN else row)) for row in ROWS])
    similarity = model.network.logit_scale.exp() * text @ video[one_each].T
    for name, dual in (("", False), ("with_dual_softmax_over_all_queries", True)):
        wanted = retrieval_metrics(similarity, owner, dual=dual)
        found = figures.metrics[name] if name else figures.metrics
        for way in ("text_to_video", "video_to_text"):
            assert found[way] == pytest.approx(vars(getattr(wanted, way)))
    counts = [figures.metrics[name] for name in ("texts", "videos", "videos_without_text")]
    assert (counts, figures.samples) == ([10, 9, 0], 10)
    assert "with_dual_softmax_over_all_queries" not in language_tasks.retrieval(judged(towers, dataset)).metrics


SEVERAL = {0: ("a red dog", "two dogs run", "sit"), ORIGINAL: ("runs", "a dog"), 12: ("", "two red dogs"), 14: ()}
"""Rows with several captions, the first of which may be blank, and one with none."""


@pytest.fixture(scope="module")
def told_often(tmp_path_factory):
    folder = tmp_path_factory.mktemp("often")
    build_evaluated(folder, tmp_path_factory.mktemp("scratch"), captions=SEVERAL)
    return str(folder)


def captions_by_clip():
    """All captions of each clip, in the dataset's order."""
    told = {row: [text for text in SEVERAL.get(row, (caption_of(row),)) if text] for row in ROWS}
    return {row: told[row] + (told[TWIN] if row == ORIGINAL else []) for row in ROWS if row != TWIN}


def test_every_caption_of_a_clip_is_looked_for_and_a_clip_without_one_only_distracts(towers, told_often):
    figures = language_tasks.retrieval(judged(towers, told_often), dual=True)
    model, by_clip = load_model(towers), captions_by_clip()
    video = model.encode_video(clips_of(model, told_often))[[ROWS.index(row) for row in by_clip]]
    pairs = [(text, number) for number, texts in enumerate(by_clip.values()) for text in texts]
    similarity = model.network.logit_scale.exp() * model.encode_text([text for text, _ in pairs]) @ video.T
    wanted = retrieval_metrics(similarity, torch.tensor([number for _, number in pairs]))
    for way in ("text_to_video", "video_to_text"):
        assert figures.metrics[way] == pytest.approx(vars(getattr(wanted, way)))
    counts = [figures.metrics[name] for name in ("texts", "videos", "videos_without_text")]
    assert counts == [12, 9, 1]
    assert (figures.metrics["text_to_video"]["queries"], figures.metrics["video_to_text"]["queries"]) == (12, 8)


def test_every_caption_of_a_clip_is_a_reference(towers, told_often):
    data = judged(towers, told_often)
    with pytest.raises(ValueError, match=r"1 of the 10 clips .* the first of them 000000014_00000: leave them out"):
        language_tasks.captions(data)
    figures = language_tasks.captions(replace(data, subset=SubsetConfig("row < 14")))
    model = load_model(towers)
    written = dict(zip(ROWS, model.caption(clips_of(model, told_often)), strict=True))
    references = {row: texts for row, texts in captions_by_clip().items() if row != 14}
    assert figures.metrics == vars(caption_metrics([written[row] for row in references], list(references.values())))
    assert figures.examples[0]["references"] == list(SEVERAL[0])


def test_a_dataset_without_captions_is_refused_before_its_clips_are_read(towers, tmp_path, monkeypatch):
    build_evaluated(tmp_path / "mute", tmp_path / "scratch", captions=dict.fromkeys(ROWS, ()))
    data = judged(towers, str(tmp_path / "mute"))
    monkeypatch.setattr(type(data), "run", None)
    for task in (language_tasks.retrieval, language_tasks.captions):
        with pytest.raises(ValueError, match=r"none of the 10 clips of .* has a caption"):
            task(data)


@pytest.mark.parametrize(("column", "names"), [("action", None), ("number", NAMES)])
def test_zero_shot_classes(towers, dataset, column, names):
    templates = ["a {}", "see a dog {}"]
    figures = language_tasks.zero_shot(judged(towers, dataset), label=column, classes=names, templates=templates)
    model, order = load_model(towers), names or sorted(NAMES)
    heads = class_features(model.encode_text, order, templates)
    truth = torch.tensor([order.index(NAMES[row % 3]) for row in ROWS])
    wanted = classification_accuracy(model.encode_video(clips_of(model, dataset)) @ heads.T, truth)
    assert figures.metrics == vars(wanted) | {"classes": 3, "templates": 2}


@pytest.mark.parametrize(
    ("columns", "answer"), [(["options"], "right"), (["one", "two"], "one"), (["one", "two"], "two")]
)
def test_choices(towers, dataset, columns, answer):
    figures = language_tasks.choices(judged(towers, dataset), columns=columns, answer=answer)
    model, hits = load_model(towers), []
    for row, clip in zip(ROWS, clips_of(model, dataset), strict=True):
        texts = ["a red dog", "two dogs", "sit"] if row % 2 else ["sit", "runs"]
        texts = texts if columns == ["options"] else ["a red dog runs", f"two dogs sit {row}"]
        cosines = model.encode_text(texts) @ model.encode_video(clip[None])[0]
        right = row % 2 if answer == "right" else columns.index(answer)
        hits.append(int(cosines.argmax()) == right)
    assert figures.metrics["accuracy"] == pytest.approx(100 * sum(hits) / 10)
    assert figures.metrics["chance"] == pytest.approx(50 if columns != ["options"] else 100 * (6 / 2 + 4 / 3) / 10)


def test_captions(towers, dataset):
    figures = language_tasks.captions(judged(towers, dataset), shown=2)
    model = load_model(towers)
    written = dict(zip(ROWS, model.caption(clips_of(model, dataset)), strict=True))
    clips = [row for row in ROWS if row != TWIN]
    references = [[caption_of(row)] + ([caption_of(TWIN)] if row == ORIGINAL else []) for row in clips]
    assert figures.metrics == vars(caption_metrics([written[row] for row in clips], references))
    assert [example["caption"] for example in figures.examples] == [written[0], written[1]]
    assert figures.metrics["clips"] == 9


def test_answers_of_a_question_answering_model(towers, dataset):
    words = tiny_words()
    given = CONFIGS["mm_vqa"]
    text, captioner = (replace(part, vocabulary=words.vocabulary) for part in (given.text, given.captioner))
    config = replace(given, text=text, captioner=captioner)
    network = build(VideoQuestionAnswering, config, answers=6)
    model = Pretrained("vqa", "mm_vqa", network, load_model(towers).settings, words)
    names = ["sits", "runs", "x", "y", "z", "w"]
    data = Judge(model, ONE, LOADING).dataset(dataset)
    figures = answering_task.answers(data, question="question", answer="reply", vocabulary=names)
    asked = torch.from_numpy(words.encode_rows([f"what does dog {row} do" for row in ROWS]).ids)
    with torch.no_grad():
        picked = [names[at] for at in network(clips_of(model, dataset), asked).argmax(dim=1)]
    # Of three people of whom two say runs: left out a runner, one of two agrees; left out the sitter, both.
    worth = {"runs": (0.5 + 0.5 + 1) / 3, "sits": (0.5 + 0.5 + 0) / 3}
    right = [worth.get(name, 0.0) if row % 2 else float(name == "sits") for row, name in zip(ROWS, picked, strict=True)]
    assert figures.metrics["accuracy"] == pytest.approx(10 * sum(right))
    with pytest.raises(ValueError, match="chooses among 6 answers and 2 are known"):
        answering_task.answers(data, question="question", answer="reply", vocabulary=names[:2])


def test_classification_over_views(classifier, dataset):
    """Three clips along time, of pictures that are square: the crops are the same."""
    data = judged(classifier, dataset)
    figures = class_tasks.classification(data, label="action", views=ViewConfig(3, 2))
    model = load_model(classifier)
    rows = model.classify(clips_of(model, dataset, views=ViewConfig(3, 2))).softmax(dim=1)
    assert len(rows) == 60
    wanted = classification_accuracy(rows.unflatten(0, (10, 6)).mean(dim=1), CLASSES)
    assert figures.metrics == pytest.approx(vars(wanted) | {"views": 6})
    single = class_tasks.classification(data, label="number").metrics
    plain = classification_accuracy(model.classify(clips_of(model, dataset)), CLASSES)
    assert single == pytest.approx(vars(plain) | {"views": 1})


@pytest.mark.parametrize("kind", ["videomae_classifier", "uniformerv2", "mm_full", "videomae_pretrain"])
def test_probes_of_every_encoder(kind, dataset, tmp_path):
    place = save_model(tmp_path, kind)
    data, model = judged(place, dataset), load_model(place)
    clips = clips_of(model, dataset)
    with torch.no_grad():
        features, tokens = clip_features(model.network, clips), clip_tokens(model.network, clips)
    assert tokens.ndim == 3
    near = probing_tasks.knn(data, data, label="action", neighbours=3, temperature=0.5).metrics
    order = torch.tensor([sorted(NAMES).index(NAMES[row % 3]) for row in ROWS])
    votes = knn_scores(features, features, order, classes=3, neighbours=3, temperature=0.5)
    assert near["top1"] == classification_accuracy(votes, order).top1
    line = probing_tasks.linear_probe(data, data, label="action", strengths=[0.1]).metrics
    fitted = fit_linear_probe(features, order, classes=3, strengths=[0.1]).scores(features)
    assert line["top1"] == classification_accuracy(fitted, order).top1
    assert (line["penalty"], line["training_clips"], line["classes"]) == (0.1, 10, 3)
    how = AttentiveSettings(epochs=2, batch_size=5)
    look = probing_tasks.attentive_probe(data, data, label="action", settings=how).metrics
    probe = fit_attentive_probe(tokens.half(), order, classes=3, settings=how)
    assert look["top1"] == classification_accuracy(probe.scores(tokens.half()), order).top1


def test_clips_that_are_also_learnt_from_are_counted(classifier, dataset, caplog):
    """Row 13 is the same clip as row 2, byte for byte, and stands in the other part."""
    data = judged(classifier, dataset)
    apart, twins, rest = (replace(data, subset=SubsetConfig(part)) for part in ("row < 2", "row >= 13", "row < 13"))
    found = probing_tasks.knn(twins, rest, label="number").metrics
    assert (found["samples"], found["also_in_training"]) == (2, 1)
    assert "1 of 2 clips to classify are among those that are learnt from" in caplog.text
    caplog.clear()
    assert probing_tasks.linear_probe(apart, twins, label="number", strengths=[0.1]).metrics["also_in_training"] == 0
    assert probing_tasks.knn(data, data, label="number").metrics["also_in_training"] == 10
    assert caplog.text.count("learnt from") == 1


def test_clips_that_cannot_be_used_are_named_and_count_for_nothing(towers, classifier, tmp_path):
    build_evaluated(tmp_path / "set", tmp_path / "scratch", broken=(1, 9))
    figures = class_tasks.classification(judged(classifier, tmp_path / "set"), label="number")
    assert figures.samples == 8
    assert figures.unusable == ["000000001_00000", "000000009_00000"]
    found = language_tasks.retrieval(judged(towers, tmp_path / "set"))
    assert (found.metrics["texts"], found.metrics["videos"]) == (8, 7)
    build_evaluated(tmp_path / "none", tmp_path / "scratch", broken=ROWS)
    with pytest.raises(ValueError, match="none of the 10 samples could be used"):
        language_tasks.retrieval(judged(towers, tmp_path / "none"))


def test_tokens_that_do_not_fit_into_memory_are_refused_at_once(classifier, dataset):
    data = judged(classifier, dataset)
    with pytest.raises(ValueError, match=r"20 clips with .* tokens of .* channels take 0.0 GiB"):
        probing_tasks.attentive_probe(data, data, label="action", memory=100)


def test_models_that_cannot_do_a_task_are_refused(towers, classifier, dataset):
    language, classes = judged(towers, dataset), judged(classifier, dataset)
    for task in (language_tasks.retrieval, language_tasks.captions):
        with pytest.raises(ValueError, match="is a videomae_classifier, which knows no texts"):
            task(classes)
    with pytest.raises(ValueError, match="is a mm_full, which scores no classes"):
        class_tasks.classification(language, label="number")
    with pytest.raises(ValueError, match="a VideoTextModel answers no questions"):
        answering_task.answers(language, question="question", answer="reply")
    with pytest.raises(ValueError, match="has no column 'colour'; those of its own are action, number"):
        language_tasks.zero_shot(language, label="colour")
    with pytest.raises(ValueError, match=r"sample 000000000_00000: the right answer 'Sits.' is none of the 2"):
        language_tasks.choices(language, columns=["options"], answer="reply")
    with pytest.raises(ValueError, match="precision is 'fp64'"):
        Judge(load_model(towers), ONE, precision="fp64")


def test_names_that_are_not_the_model_s_are_refused(classifier, dataset, tmp_path):
    """The names of a dataset, sorted, need not be the model's in their order: that would be silently wrong."""
    bare = save_model(tmp_path, "videomae_classifier")
    with pytest.raises(ValueError, match=r"column 'action' holds names and .* knows none of its classes"):
        class_tasks.classification(judged(bare, dataset), label="action")
    with pytest.raises(ValueError, match="scores 3 classes and 4 are named"):
        class_tasks.classification(judged(classifier, dataset), label="action", classes=[*NAMES, "fly"])


def test_half_precision_is_near(towers, dataset):
    data = Judge(load_model(towers), ONE, LOADING, precision="bf16").dataset(dataset)
    coarse = data.videos().rows("video")
    fine = judged(towers, dataset).videos().rows("video")
    assert not torch.equal(coarse, fine)
    torch.testing.assert_close(normalize(coarse, dim=1), fine, atol=0.05, rtol=0)
    assert find_kind("mm_full").network is type(data.judge.model.network)


def test_a_part_of_a_dataset_is_measured_and_a_probe_learns_from_the_rest(towers, dataset):
    judge = Judge(load_model(towers), ONE, LOADING)
    whole = judge.dataset(dataset)
    part = judge.dataset(dataset, SubsetConfig("number < 2", SplitConfig(0.5, "held_out")))
    rest = part.labelled(dataset)
    assert len(part.order)
    assert len(rest.order)
    assert not set(part.order) & set(rest.order)
    assert len(part.order) + len(rest.order) == sum(row % 3 < 2 for row in ROWS)
    found, every = part.videos(), whole.videos()
    places = [whole.order[key] for key in part.order]
    torch.testing.assert_close(found.rows("video"), every.rows("video")[places])
    assert part.labelled(f"{dataset}/").order == rest.order
    assert whole.labelled(dataset).order == whole.order
