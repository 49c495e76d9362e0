"""The captioning loss: plain cross-entropy in any chunk size, what counts, and how many scores are held."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from model.captioner import CaptionDecoder
from model.captioning_loss import caption_loss, counted_targets
from model.clip_config import CaptionerConfig

PADDING = 0
VOCABULARY = 50


def decoder():
    torch.manual_seed(0)
    network = CaptionDecoder(
        CaptionerConfig(vocabulary=VOCABULARY, width=16, heads=2, visual_width=8, depth=1, queries=3)
    )
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


def features(batch=3, length=6):
    return torch.randn(batch, length, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()


def targets():
    """Three texts of 6, 4 and 1 tokens; in the second one token has the padding's id."""
    return torch.tensor([[7, 3, 9, 9, 12, 49], [5, 0, 8, 49, 0, 0], [49, 0, 0, 0, 0, 0]])


WORDS = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0]], dtype=torch.bool)


def compare(network, ours, plain, read):
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
    inputs = [read, *network.predictor.parameters()]
    theirs = torch.autograd.grad(plain, inputs, retain_graph=True)
    for mine, other in zip(torch.autograd.grad(ours, inputs), theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("chunk", [1, 2, 4, 11, 1000])
@pytest.mark.parametrize("valid", [None, [True, True, True], [True, False, True], [False, True, False]])
def test_loss_is_plain_cross_entropy_with_its_gradients(chunk, valid):
    network, read = decoder(), features()
    on = None if valid is None else torch.tensor(valid)
    loss = caption_loss(network, read, targets(), padding_id=PADDING, valid=on, chunk=chunk)
    counted = WORDS if on is None else WORDS & on[:, None]
    plain = cross_entropy(network.predict(read)[counted], targets()[counted], reduction="sum")
    compare(network, loss.total, plain, read)
    assert int(loss.count) == int(counted.sum())
    assert loss.count.dtype == torch.int64


def test_its_mean_is_the_published_loss():
    """There, padding is -100 and the mean goes over the tokens that are left."""
    network, read = decoder(), features()
    loss = caption_loss(network, read, targets(), padding_id=PADDING)
    labels = targets().masked_fill(~WORDS, -100)
    torch.testing.assert_close(
        loss.mean, cross_entropy(network.predict(read).flatten(0, 1), labels.flatten(), ignore_index=-100)
    )


@pytest.mark.parametrize("nothing", ["invalid", "padding"])
def test_where_nothing_counts_all_is_zero(nothing):
    network, read = decoder(), features()
    ids = torch.zeros_like(targets()) if nothing == "padding" else targets()
    valid = torch.zeros(3, dtype=torch.bool) if nothing == "invalid" else None
    loss = caption_loss(network, read, ids, padding_id=PADDING, valid=valid)
    assert (float(loss.total.detach()), int(loss.count)) == (0.0, 0)
    loss.total.backward()
    for value in (read, *network.predictor.parameters()):
        assert value.grad is not None
        assert not value.grad.any()


def test_parts_of_a_batch_add_up():
    network, read, ids = decoder(), features(), targets()
    whole = caption_loss(network, read, ids, padding_id=PADDING)
    parts = [caption_loss(network, read[rows], ids[rows], padding_id=PADDING) for rows in (slice(1), slice(1, 3))]
    torch.testing.assert_close(parts[0].total + parts[1].total, whole.total)
    assert int(parts[0].count + parts[1].count) == int(whole.count)


def test_invalid_rows_do_not_matter_whatever_they_hold():
    network, read = decoder(), features()
    valid = torch.tensor([True, False, True])
    plain = caption_loss(network, read, targets(), padding_id=PADDING, valid=valid)
    broken = read.detach().clone()
    broken[1] = torch.nan
    broken.requires_grad_()
    loss = caption_loss(network, broken, targets(), padding_id=PADDING, valid=valid)
    torch.testing.assert_close(loss.total, plain.total)
    loss.total.backward()
    assert not broken.grad[1].any()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in network.predictor.parameters())


class Spy(nn.Module):
    """A predictor that notes how many positions it is asked for, and by whom: forward or backward."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.asked = []

    def predict(self, rows):
        self.asked.append(rows.numel() // rows.shape[-1])
        return self.network.predict(rows)


@pytest.mark.parametrize("chunk", [3, 4])
def test_scores_are_made_for_counted_positions_a_chunk_at_a_time_and_again_backward(chunk):
    spy = Spy(decoder())
    loss = caption_loss(spy, features(), targets(), padding_id=PADDING, chunk=chunk)
    forward = list(spy.asked)
    assert sum(forward) == int(WORDS.sum())
    assert max(forward) == chunk
    loss.total.backward()
    assert sorted(spy.asked[len(forward) :]) == sorted(forward)


def test_no_scores_are_kept_for_the_backward_pass():
    network, kept = decoder(), []

    def note(value):
        kept.append(tuple(value.shape))
        return value

    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        caption_loss(network, features(), targets(), padding_id=PADDING, chunk=4)
    assert not [shape for shape in kept if shape[-1:] == (VOCABULARY,)]


def test_padding_is_the_run_at_the_end_and_negative_ids_never_count():
    ids = torch.tensor([[0, 4, 0, 9, 0, 0], [-100, 4, -100, 9, 0, 0], [0, 0, 0, 0, 0, 0]])
    expected = torch.tensor([[1, 1, 1, 1, 0, 0], [0, 1, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0]], dtype=torch.bool)
    assert torch.equal(counted_targets(ids, padding_id=0), expected)
    valid = torch.tensor([False, True, True])
    assert torch.equal(counted_targets(ids, padding_id=0, valid=valid), expected & valid[:, None])


def test_lower_precision_runs_with_sums_in_float32():
    network, read = decoder(), features()
    plain = caption_loss(network, read, targets(), padding_id=PADDING)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = caption_loss(network, read, targets(), padding_id=PADDING, chunk=4)
    assert loss.total.dtype == torch.float32
    torch.testing.assert_close(loss.total, plain.total, atol=0.0, rtol=0.05)
    loss.total.backward()
    assert bool(read.grad.isfinite().all())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": torch.zeros(3, 7, dtype=torch.int64)}, r"features have shape \(3, 6, 16\), targets \(3, 7\)"),
        ({"chunk": 0}, "the chunk is 0"),
        ({"valid": torch.ones(2, dtype=torch.bool)}, r"targets have shape \(3, 6\) and valid \(2,\)"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        caption_loss(decoder(), features(), **{"targets": targets(), "padding_id": PADDING, **changes})


def test_one_text_alone_is_no_batch():
    with pytest.raises(ValueError, match=r"targets have shape \(4,\)"):
        counted_targets(torch.zeros(4, dtype=torch.int64), padding_id=0)
