"""Parity checks of the caption decoder."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from model.captioner import CaptionDecoder
from model.captioning_loss import caption_loss
from model.foreign import load_reference
from tests.support.parity_harness import Case, compare_if_present, compare_loss, record

IGNORED = -100


def caption_decoder(case: Case) -> None:
    network = load_reference("caption_decoder", case.config, case.under("state_dict"))
    tokens = case.tensors["input/image_feats"].permute(1, 2, 0, 3).flatten(1, 2)
    features = record(network)
    logits = network(tokens, case.tensors["input/text_embeds"])
    compare_features(case, features)
    compare_if_present(case, "output/logits", logits)
    if case.has("input/labels"):
        compare_caption_loss(case, network, logits, tokens)
    elif case.has("input/fake_target"):
        compare_loss(case, network, mse_loss(logits, case.tensors["input/fake_target"]))


def compare_features(case: Case, features: dict[str, Tensor]) -> None:
    sides = {"after_self": "0", "after_cross": "1"}
    for name in case.under("feature"):
        layer, _, side = name.removeprefix("layer.").partition(".")
        ours = {"pooled_visual": "visual_pooler_norm", "text_normed": "text_norm"}.get(name)
        ours = ours or f"multimodal_layers.{layer}.{sides.get(side, side)}"
        if ours in features:
            case.compare(f"feature/{name}", features[ours])


def compare_caption_loss(case: Case, network: CaptionDecoder, logits: Tensor, tokens: Tensor) -> None:
    """Compare our chunked loss, whose positions are few enough for several chunks, and its gradients."""
    labels = case.tensors["input/labels"]
    read = network.decode(case.tensors["input/text_embeds"], network.pool(tokens))
    loss = caption_loss(network, read, labels, padding_id=IGNORED, chunk=4)
    if not int(loss.count):
        # The reference's mean of nothing is not a number; our sum and gradients are zero.
        assert bool(case.tensors["output/loss"].isnan())
        assert float(loss.total.detach()) == 0.0
        case.compared.update(name for name in case.tensors if name.startswith(("output/loss", "grad/")))
        return
    plain = cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
    torch.testing.assert_close(loss.mean, plain, atol=1e-5, rtol=1e-5)
    compare_loss(case, network, loss.mean)


CHECKS: dict[str, Callable[[Case], None]] = {"caption_decoder": caption_decoder}
