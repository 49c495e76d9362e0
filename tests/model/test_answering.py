"""Answers to questions about clips: what the classifier reads, where, what is trained, and the choice by likeness."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cosine_similarity

from model.answering import VideoQuestionAnswering, choose
from model.video_text import VideoTextModel
from tests.support.video_text import END, START, TINY, build, texts

UNREAD = {"video.visual_proj", "text.text_projection", "text.text_mask_embedding"}


def answering(config=TINY, **options):
    return build(VideoQuestionAnswering, config, answers=7, **options)


def clips(count=3, frames=3, height=16, width=16):
    return torch.randn(count, 3, frames, height, width, generator=torch.Generator().manual_seed(2))


def plain_features(network, video, ids):
    """Read each clip and question by itself, the question cut behind its end token."""
    rows = []
    for clip, text in zip(video, ids, strict=True):
        end = text.tolist().index(END)
        seen, read = network.video(clip[None]), network.text(text[None, : end + 1])
        fused = network.captioner.decode(read.tokens, network.captioner.pool(seen.tokens.flatten(1, 2)))
        rows.append(torch.cat([fused[0, end], seen.pooled[0], read.tokens[0, end]]))
    return torch.stack(rows)


def test_three_features_are_read_side_by_side():
    network, video, ids = answering(), clips(), texts(3)
    features = network.features(video, ids)
    assert features.shape == (3, 24 + 2 * 16)
    torch.testing.assert_close(features, plain_features(network, video, ids), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network(video, ids), network.vqa_classifier(features))
    assert network(video, ids).shape == (3, 7)


def test_an_end_token_at_the_last_position_of_the_context_is_read():
    """The public code drops that position before it looks there, and fails."""
    network, ids = answering(), texts(1)
    assert ids[0, -1] == END
    assert ids.shape[1] == TINY.text.context
    torch.testing.assert_close(
        network.features(clips(1), ids), plain_features(network, clips(1), ids), atol=1e-5, rtol=1e-5
    )


def test_feature_at_the_end_is_the_published_one_where_that_exists():
    """There, the decoder reads all positions but the last."""
    network, video, ids = answering(), clips(), texts(3)[1:].repeat(2, 1)[:3]
    pooled = network.captioner.pool(network.video(video).tokens.flatten(1, 2))
    fused = network.captioner.decode(network.text(ids).tokens[:, :-1], pooled)
    torch.testing.assert_close(
        network.features(video, ids)[:, :16], fused[torch.arange(3), ids.argmax(dim=1)], atol=1e-5, rtol=1e-5
    )


def test_padding_does_not_matter_and_is_not_computed():
    network, video, seen = answering(), clips(2), []
    ids = torch.tensor([[START, 4, 5, END, 0, 0, 0, 0], [START, 6, END, 0, 0, 0, 0, 0]])
    network.captioner.text_norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    whole = network(video, ids)
    torch.testing.assert_close(network(video, ids[:, :4]), whole)
    assert seen == [4, 4]


def test_clip_question_and_both_together_matter():
    network, video, ids = answering(), clips(), texts(3)
    features = network.features(video, ids)
    other_clip = network.features(video.flip(0), ids)
    other_text = network.features(video, ids[[1, 0, 2]])
    changed = [(features - other)[0].abs() > 1e-4 for other in (other_clip, other_text)]
    at_end, pooled, read = slice(0, 16), slice(16, 40), slice(40, 56)
    assert bool(changed[0][at_end].any() and changed[0][pooled].any() and not changed[0][read].any())
    assert bool(changed[1][at_end].any() and not changed[1][pooled].any() and changed[1][read].any())


def test_names_are_the_towers_and_the_published_classifiers():
    names = set(answering().state_dict())
    towers = {name for name in VideoTextModel(TINY).state_dict() if not name.startswith("captioner.predictor.")}
    classifier = {f"vqa_classifier.{number}.{kind}" for number in (1, 2, 5) for kind in ("weight", "bias")}
    assert names == (towers - {"logit_scale"}) | classifier


def test_towers_come_from_the_pretrained_model():
    pretrained, network = build(VideoTextModel, seed=5), answering()
    network.load_towers(pretrained.state_dict())
    video, ids = clips(), texts(3)
    torch.testing.assert_close(network.features(video, ids)[:, 16:40], pretrained.encode_video(video).pooled)
    torch.testing.assert_close(network.features(video, ids)[:, 40:], pretrained.encode_text(ids).pooled)
    for name, value in pretrained.captioner.state_dict().items():
        if not name.startswith("predictor."):
            assert torch.equal(network.captioner.state_dict()[name], value), name


def without(weights, name):
    return {key: value for key, value in weights.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: without(w, "text.ln_final.weight"), r"1 missing \(text\.ln_final\.weight"),
        (lambda w: {**w, "head.weight": torch.zeros(2)}, r"1 unknown \(head\.weight"),
        (lambda w: {**w, "text.ln_final.weight": torch.zeros(3)}, r"text\.ln_final\.weight is \[3\] and should be"),
    ],
)
def test_other_weights_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        answering().load_towers(change(build(VideoTextModel).state_dict()))


def test_all_that_is_trained_has_a_gradient():
    network = answering(dropout=0.0)
    network(clips(), texts(3)).square().sum().backward()
    without_gradient = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert without_gradient == frozen == UNREAD


def test_first_weights_of_the_classifier_are_those_of_the_table():
    torch.manual_seed(0)
    first, norm, last = (VideoQuestionAnswering(TINY, 300).vqa_classifier[number] for number in (1, 2, 5))
    for linear in (first, last):
        assert float(linear.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
        assert not linear.bias.any()
    assert bool((norm.weight == 1).all())
    assert norm.eps == 1e-5
    assert (first.out_features, last.out_features) == (2 * first.in_features, 300)


def test_dropout_is_before_both_maps_and_only_in_training():
    network, video, ids = answering(dropout=0.9), clips(), texts(3)
    assert torch.equal(network(video, ids), network(video, ids))
    assert [network.vqa_classifier[number].p for number in (0, 4)] == [0.9, 0.9]
    network.train()
    assert not torch.equal(network(video, ids), network(video, ids))


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 16, 16), (5, 16, 16), (2, 24, 16)])
def test_images_and_clips_of_other_lengths_and_shapes(frames, height, width):
    assert answering()(clips(2, frames, height, width), texts(2)).shape == (2, 7)


def test_lower_precision_runs():
    network = answering()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = network(clips(), texts(3))
    scores.float().sum().backward()
    assert bool(network.vqa_classifier[1].weight.grad.isfinite().all())


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (replace(TINY, captioner=None), {"answers": 7}, "captioner is None"),
        (TINY, {"answers": 0}, "answers is 0"),
        (TINY, {"answers": 7, "dropout": 1.5}, "dropout is 1.5"),
    ],
)
def test_a_network_that_cannot_be_is_refused(config, options, message):
    with pytest.raises(ValueError, match=message):
        VideoQuestionAnswering(config, **options)


def test_as_many_questions_as_clips_are_taken():
    with pytest.raises(ValueError, match="3 clips and 2 questions"):
        answering()(clips(), texts(2))


def test_the_candidate_most_like_the_clip_is_chosen_whatever_the_lengths():
    video = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    candidates = torch.tensor([[[0.9, 0.5], [9.0, 9.0], [0.1, 0.0]], [[5.0, 5.0], [-1.0, 9.0], [0.0, -1.0]]])
    choice = choose(video, candidates)
    assert choice.picked.tolist() == [2, 1]
    torch.testing.assert_close(choice.cosines, cosine_similarity(video[:, None], candidates, dim=-1))
    assert torch.equal(choose(video * 7, candidates * 0.1).picked, choice.picked)


def test_of_equal_candidates_the_first_is_chosen_and_cosines_stay_exact_in_lower_precision():
    torch.manual_seed(0)
    video, candidates = torch.randn(4, 6), torch.randn(4, 3, 6)
    assert choose(video, video[:, None].expand(-1, 3, -1)).picked.tolist() == [0] * 4
    plain = choose(video, candidates).cosines
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(choose(video, candidates).cosines, plain)


@pytest.mark.parametrize(
    ("video", "candidates"), [((2, 4), (2, 4)), ((2, 4), (2, 0, 4)), ((2, 4), (3, 5, 4)), ((2, 4), (2, 5, 3))]
)
def test_candidates_that_do_not_fit_are_refused(video, candidates):
    with pytest.raises(ValueError, match=r"\[B, E\] and \[B, K, E\] with K >= 1"):
        choose(torch.zeros(video), torch.zeros(candidates))
