"""Writing captions: greedy and drawn tokens, what is never written, who is left out, and when it stops."""

from __future__ import annotations

import math

import pytest
import torch

from model.captions import CaptionSteps, Generation
from model.generation import draw_from_nucleus, generate
from tests.support.tiny_captions import END, IDS, PADDING, START, log_probability, tiny_clips, tiny_model

KINDS = ("greedy", "beam", "nucleus")
MOST = 8


def settings(kind="greedy", **changes):
    return Generation(kind, **{"max_tokens": MOST, "beams": 3, **IDS, **changes})


def varied(**changes):
    """Return a model whose captions of six clips end after 1, 2, 3 tokens and not at all."""
    return tiny_model(9, **{"end_bias": 2.0, **changes})


def write(kind="greedy", *, model=None, clips=None, seed=0, valid=None, **changes):
    generator = torch.Generator().manual_seed(seed)
    clips = tiny_clips(6) if clips is None else clips
    return generate(model or varied(), clips, settings(kind, **changes), generator, valid=valid)


def plain_greedy(model, clip):
    """Take the likeliest allowed token after a whole forward pass over the text so far."""
    ids = [START]
    while len(ids) <= MOST:
        scores = model.captioner(clip[None], model.text(torch.tensor([ids])).tokens)[0, -1]
        scores[[START, PADDING]] = -math.inf
        ids.append(int(scores.argmax()))
        if ids[-1] == END:
            return ids[1:-1], True
    return ids[1:], False


@torch.no_grad()
@pytest.mark.parametrize("changes", [{}, {"end_bias": 0.0}, {"seed": 2, "end_bias": 0.0}, {"seed": 3, "spread": 0.6}])
def test_greedy_takes_the_likeliest_token_each_time(changes):
    model, clips = varied(**changes), tiny_clips(12)
    found = write(model=model, clips=clips)
    assert list(zip(found.ids, found.ended, strict=True)) == [plain_greedy(model, clip) for clip in clips]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("end_bias", "some_end"), [(-50.0, False), (2.0, True)])
def test_scores_are_log_probabilities_of_what_was_written(kind, end_bias, some_end):
    model, clips = varied(end_bias=end_bias), tiny_clips(6)
    found = write(kind, model=model, clips=clips, temperature=1.5)
    assert any(found.ended) == some_end
    for clip, ids, score, ended in zip(clips, found.ids, found.scores, found.ended, strict=True):
        assert score == pytest.approx(log_probability(model, clip, ids, ended=ended), abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_start_end_and_padding_are_never_written_however_likely(kind):
    model = tiny_model(9)
    with torch.no_grad():
        model.captioner.predictor[-1].bias[[START, PADDING]] += 50.0
    found = write(kind, model=model, clips=tiny_clips(12), top_p=1.0, temperature=3.0)
    assert any(found.ids)
    assert not {START, PADDING, END} & {token for ids in found.ids for token in ids}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("most", [1, 3])
def test_no_caption_is_longer_than_asked(kind, most):
    model = tiny_model(9)
    with torch.no_grad():
        model.captioner.predictor[-1].bias[END] = -50.0
    found = write(kind, model=model, max_tokens=most)
    assert [len(ids) for ids in found.ids] == [most] * 6
    assert not any(found.ended)


@pytest.mark.parametrize("kind", KINDS)
def test_all_of_the_context_can_be_written(kind):
    model = tiny_model(9, context=6)
    with torch.no_grad():
        model.captioner.predictor[-1].bias[END] = -50.0
    assert [len(ids) for ids in write(kind, model=model, max_tokens=5).ids] == [5] * 6


@pytest.mark.parametrize("kind", KINDS)
def test_it_stops_when_all_have_ended(kind, monkeypatch):
    model, rows = tiny_model(9), []
    with torch.no_grad():
        model.captioner.predictor[-1].bias[END] = 50.0
    plain = CaptionSteps.advance
    monkeypatch.setattr(CaptionSteps, "advance", lambda steps, ids: rows.append(len(ids)) or plain(steps, ids))
    found = write(kind, model=model)
    assert found.ids == [[]] * 6
    assert all(found.ended)
    assert rows == [6]


@pytest.mark.parametrize("kind", ["greedy", "nucleus"])
def test_ended_clips_are_computed_no_further(kind, monkeypatch):
    rows, plain = [], CaptionSteps.advance
    monkeypatch.setattr(CaptionSteps, "advance", lambda steps, ids: rows.append(len(ids)) or plain(steps, ids))
    found = write(kind, clips=tiny_clips(12))
    lengths = [len(ids) + ended for ids, ended in zip(found.ids, found.ended, strict=True)]
    assert rows == [sum(length > step for length in lengths) for step in range(max(lengths))]
    assert len(set(lengths)) > 1, "all ended at once: this shows nothing"


@pytest.mark.parametrize("kind", KINDS)
def test_clips_left_out_are_empty_and_change_nothing_for_the_others(kind, monkeypatch):
    valid = torch.tensor([True, False, True, True, False, True])
    every = write(kind)
    pooled = []
    plain = CaptionSteps.__init__
    monkeypatch.setattr(
        CaptionSteps,
        "__init__",
        lambda steps, model, tokens, s: pooled.append(len(tokens)) or plain(steps, model, tokens, s),
    )
    some = write(kind, valid=valid)
    assert pooled == [4]
    for number, on in enumerate(valid.tolist()):
        assert some.ids[number] == (every.ids[number] if on else [])
        assert some.ended[number] == (every.ended[number] and on)
        assert some.scores[number] == (pytest.approx(every.scores[number], abs=1e-4) if on else -math.inf)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_computed_for_no_clips(kind):
    found = write(kind, valid=torch.zeros(6, dtype=torch.bool), clips=torch.full((6, 7, 8), torch.nan))
    assert found.ids == [[]] * 6
    assert found.scores == [-math.inf] * 6
    assert write(kind, clips=torch.zeros(0, 7, 8)).ids == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_writes_the_same(kind):
    assert write(kind, seed=3) == write(kind, seed=3)


def test_another_seed_draws_others_and_a_clips_draws_depend_on_no_other_clip():
    clips = tiny_clips(6)
    found = write("nucleus", clips=clips, top_p=1.0, temperature=2.0)
    assert found.ids != write("nucleus", clips=clips, top_p=1.0, temperature=2.0, seed=1).ids
    changed = clips.clone()
    changed[1:] = tiny_clips(5, seed=9)
    assert write("nucleus", clips=changed, top_p=1.0, temperature=2.0).ids[0] == found.ids[0]


def test_a_narrow_nucleus_and_a_low_temperature_are_greedy():
    greedy = write()
    assert write("nucleus", top_p=1e-6).ids == greedy.ids
    assert write("nucleus", temperature=1e-3).ids == greedy.ids


def test_no_gradient_is_kept():
    model = tiny_model(9)
    write(model=model)
    assert all(parameter.grad is None for parameter in model.captioner.parameters())


CHANCES = torch.tensor([[0.05, 0.4, 0.0, 0.3, 0.25]], dtype=torch.float64)


def drawn_ids(count, top_p, temperature=1.0, chances=CHANCES):
    """Draw with numbers spread evenly over [0, 1): the share of an id is then its probability up to 1 / count."""
    even = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return draw_from_nucleus(chances.log().expand(count, -1), even, top_p, temperature)


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.3, [1]), (0.4, [1]), (0.41, [1, 3]), (0.7, [1, 3]), (0.71, [1, 3, 4]), (0.95, [1, 3, 4]), (1.0, [0, 1, 3, 4])],
)
def test_ids_are_drawn_from_the_nucleus_in_their_proportions(top_p, kept):
    shares = torch.bincount(drawn_ids(4000, top_p), minlength=5) / 4000
    expected = torch.zeros(5, dtype=torch.float64)
    expected[kept] = CHANCES[0, kept] / CHANCES[0, kept].sum()
    torch.testing.assert_close(shares.double(), expected, atol=5e-4, rtol=0.0)
    assert shares.nonzero()[:, 0].tolist() == kept


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_bends_the_proportions_before_the_nucleus_is_cut(temperature):
    bent = CHANCES[0] ** (1 / temperature)
    bent = bent / bent.sum()
    shares = torch.bincount(drawn_ids(4000, 1.0, temperature), minlength=5) / 4000
    torch.testing.assert_close(shares.double(), bent, atol=5e-4, rtol=0.0)
    kept = drawn_ids(4000, 0.6, temperature).unique().tolist()
    order = bent.argsort(descending=True)
    count = int((bent[order].cumsum(0) < 0.6).sum()) + 1
    assert kept == sorted(order[:count].tolist())


def test_an_id_is_drawn_by_the_numbers_from_where_the_likelier_ones_end():
    numbers = torch.tensor([0.0, 0.25, 0.5, 0.75], dtype=torch.float64)
    assert draw_from_nucleus(torch.zeros(4, 4), numbers, 1.0).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("number", [0.0, 1.0 - 2**-53, 1.0])
@pytest.mark.parametrize("top_p", [0.5, 1.0])
def test_the_ends_of_the_unit_interval_stay_inside_the_nucleus(number, top_p):
    """Rounding must not push a draw past the last id, nor onto one of probability 0."""
    generator = torch.Generator().manual_seed(0)
    gains = torch.randn(50, 3000, generator=generator).log_softmax(dim=-1)
    gains[:, 1000:] = -torch.inf
    picked = draw_from_nucleus(gains, torch.full((50,), number, dtype=torch.float64), top_p)
    assert bool((picked < 1000).all())
    if number == 0.0:
        assert torch.equal(picked, gains.argmax(dim=-1))


def test_written_tokens_follow_the_models_probabilities():
    """Chi-square of the first token of 3000 captions of a clip, at a fixed seed; 16.3 is the 0.1 % point for three."""
    model, count = tiny_model(6), 3000
    clip = tiny_clips(1)
    with torch.no_grad():
        scores = model.captioner(clip, model.text(torch.tensor([[START]])).tokens)[0, -1]
    allowed = [2, 3, END, 5]
    chances = scores[allowed].softmax(dim=-1)
    found = write("nucleus", model=model, clips=clip.expand(count, -1, -1), top_p=1.0, max_tokens=1)
    firsts = torch.tensor([ids[0] if ids else END for ids in found.ids])
    seen = torch.tensor([int((firsts == token).sum()) for token in allowed])
    assert int(seen.sum()) == count
    assert float(((seen - count * chances) ** 2 / (count * chances)).sum()) < 16.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"valid": torch.ones(2, dtype=torch.bool)}, r"valid has shape \(2,\) and there are 6 clips"),
        ({"max_tokens": 12}, "max_tokens is 12"),
        ({"clips": torch.zeros(6, 7, 4)}, r"tokens have shape \(6, 7, 4\)"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_fit_is_refused(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        write(kind, **arguments)


def test_draws_without_a_generator_are_refused():
    with pytest.raises(ValueError, match=r"hand in a torch\.Generator"):
        generate(tiny_model(9), tiny_clips(), settings("nucleus"))
    assert generate(tiny_model(9), tiny_clips(), settings()).ids


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_clips_that_are_not_finite_are_refused_unless_left_out(kind, value):
    clips, kept = tiny_clips(3), torch.tensor([True, False, True])
    expected = write(kind, clips=clips, valid=kept)
    clips[1, 2, 3] = value
    with pytest.raises(ValueError, match=r"clips \[1\] of 3 that are written about are NaN once pooled"):
        write(kind, clips=clips)
    assert write(kind, clips=clips, valid=kept) == expected
