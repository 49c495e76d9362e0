"""Parity checks of the whole contrastive and captioning model, on one rank and on several."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from model.captioning_loss import caption_loss, counted_targets
from model.contrastive import contrastive_loss, similarity
from model.foreign import load_reference, reference_name
from model.losses import MaskedLoss
from model.objectives import VideoLanguage, VideoLanguageConfig
from model.video_text import VideoTextFeatures, VideoTextModel
from tests.support.parity_harness import Case
from tests.support.ranks import on_ranks
from train.parallel import Ranks

ALONE = Ranks(0, 1, torch.device("cpu"))
IGNORED = -1
CHUNK = 2
"""Few enough for several chunks of the smallest batch."""


def mm_full(case: Case) -> None:
    if not case.has_outputs:
        run_where_the_reference_fails(case)
        return
    world = int(case.config.get("world_size") or 1)
    if world == 1:
        found = [run_rank(ALONE, case)]
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = on_ranks(world, run_rank, Path(folder), case)
    compare_outputs(case, [each["output"] for each in found])
    compare_gradients(case, [each["grad"] for each in found])
    for name in case.under("updated"):
        case.compare(f"updated/{name}", found[0]["state"][name], atol=5e-5, rtol=0.0)


def run_rank(ranks: Ranks, case: Case) -> dict[str, dict[str, Tensor]]:
    """Return outputs, this rank's own gradients and the state after its share of the case, by the reference's names."""
    model = load_reference("mm_full", case.config, case.under("state_dict"))
    inputs = share_of(case, ranks)
    losses = losses_of(case, model, ranks, **inputs)
    means = {"contrastive_loss": losses["contrastive"]}
    if "captioning" in losses:
        means["cap_loss"] = losses["captioning"]
    with torch.no_grad():
        features = model(inputs["video"], inputs["ids"], hidden=inputs["hidden"])
        output = outputs_of(model, ranks, features)
    wanted = {name: mean for name, mean in means.items() if case_speaks_of(case, name)} or means
    total = fake_loss(case, model, inputs) if case.has("input/fake_target") else sum(wanted.values())
    total.backward()
    output |= {name: value_of(mean, ranks, name) for name, mean in means.items()}
    output["total_loss"] = sum(output[name] for name in wanted)
    output["loss"] = total.detach()
    named = [(reference_name("mm_full", name), parameter) for name, parameter in model.named_parameters()]
    grad = {name: each.grad.clone() for name, each in named if each.grad is not None}
    return {"output": output, "grad": grad, "state": {name: each.detach() for name, each in named}}


def share_of(case: Case, ranks: Ranks) -> dict[str, Any]:
    """Return a rank's even share; in image mode the reference takes every frame for a sample of its own."""
    video = case.tensors["input/video" if case.has("input/video") else "input/image"]
    video = (video[:, None] if video.ndim == 4 else video).transpose(1, 2)
    if case.config.get("mode") == "image":
        video = video.transpose(1, 2).flatten(0, 1).unsqueeze(2)
    ids, hidden = case.tensors["input/ids"].long(), case.tensors.get("input/masked_indices")
    padding = case.tensors.get("input/special_tokens_mask", ids == 0).bool()
    rows = len(ids) // ranks.world
    mine = slice(ranks.rank * rows, (ranks.rank + 1) * rows)
    return {
        "video": video[mine],
        "ids": ids[mine],
        "padding": padding[mine],
        "hidden": None if hidden is None else hidden[mine].bool(),
    }


def losses_of(
    case: Case,
    model: VideoTextModel,
    ranks: Ranks,
    *,
    video: Tensor,
    ids: Tensor,
    padding: Tensor,
    hidden: Tensor | None,
) -> dict[str, Tensor]:
    """Return what the reference's rank sums up: its part of the global contrastive mean, its own captioning mean.

    The stage itself makes them, but for masked tokens and paddings of another kind, which it does not know.
    """
    known = bool((counted_targets(ids[:, 1:], padding_id=model.config.padding_id) == ~padding[:, 1:]).all())
    if hidden is None and known:
        stage = VideoLanguage(VideoLanguageConfig(model.config, chunk=CHUNK), exchange=ranks.exchange())
        stage.model = model
        output = stage(video, ids)
        found = {name: MaskedLoss(output.losses[name], output.counts[name]) for name in output.losses}
    else:
        found = losses_by_parts(model, ranks, video=video, ids=ids, padding=padding, hidden=hidden)
    contrast = found["contrastive"]
    whole = ranks.add_up(contrast.count.clone())
    means = {"contrastive": contrast.total * ranks.world / whole}
    return means | {name: loss.mean for name, loss in found.items() if name == "captioning"}


def losses_by_parts(
    model: VideoTextModel, ranks: Ranks, *, video: Tensor, ids: Tensor, padding: Tensor, hidden: Tensor | None
) -> dict[str, MaskedLoss]:
    features = model(video, ids, hidden=hidden)
    exchange = ranks.exchange()
    found = {
        "contrastive": contrastive_loss(
            features.video, features.text, model.logit_scale, exchange=exchange, chunk=CHUNK
        )
    }
    if model.captioner is not None:
        written = model.captioner.decode(features.text_tokens[:, :-1], model.captioner.pool(features.video_tokens))
        targets = torch.where(padding, IGNORED, ids)[:, 1:]
        found["captioning"] = caption_loss(model.captioner, written, targets, padding_id=IGNORED)
    return found


def outputs_of(model: VideoTextModel, ranks: Ranks, features: VideoTextFeatures) -> dict[str, Tensor]:
    exchange = ranks.exchange()
    logits = similarity(exchange.gather(features.video), exchange.gather(features.text), model.logit_scale)
    output = {
        "video_feats": features.video,
        "text_feats": features.text,
        "contrastive_logits": logits,
        "logit_scale_after": model.logit_scale.detach().clone(),
    }
    if model.captioner is not None:
        output["text_all_feats"] = features.text_tokens
        output["cap_logits"] = model.captioner(features.video_tokens, features.text_tokens[:, :-1])
    return output


def value_of(mean: Tensor, ranks: Ranks, name: str) -> Tensor:
    """Return the value that the reference reports: contrastive over the global batch, captioning over the rank's."""
    value = mean.detach().clone()
    return ranks.add_up(value) / ranks.world if name == "contrastive_loss" else value


def fake_loss(case: Case, model: VideoTextModel, inputs: dict[str, Any]) -> Tensor:
    """Return the squared error to a target that stands for a real one: of what has its shape."""
    target = case.tensors["input/fake_target"]
    features = model(inputs["video"], inputs["ids"], hidden=inputs["hidden"])
    found = [features.video, features.text]
    if model.captioner is not None:
        found.append(model.captioner(features.video_tokens, features.text_tokens[:, :-1]))
    return mse_loss(next(each for each in found if each.shape == target.shape), target)


def case_speaks_of(case: Case, name: str) -> bool:
    return any(stored.startswith(f"output/{name}") for stored in case.tensors)


def compare_outputs(case: Case, found: list[dict[str, Tensor]]) -> None:
    """Compare each rank's outputs and those of the global batch."""
    for name in found[0]:
        values = [each[name] for each in found]
        ranks = {f"output/{name}.{rank}": value for rank, value in enumerate(values)}
        for stored, value in {**ranks, f"output/{name}": joined(name, values)}.items():
            if case.has(stored):
                case.compare(stored, value)


def joined(name: str, values: list[Tensor]) -> Tensor:
    """Return the global batch's value: rows end to end, the mean of means; the similarities are so already."""
    if name == "contrastive_logits":
        return values[0]
    return torch.cat(values) if values[0].ndim else torch.stack(values).mean(dim=0)


def compare_gradients(case: Case, found: list[dict[str, Tensor]]) -> None:
    """Compare each rank's own gradients and their mean, within 1e-4 of the largest value plus 1e-6."""
    sources = {f"local.{rank}.": grad for rank, grad in enumerate(found)}
    sources[""] = {name: sum(grad[name] for grad in found) / len(found) for name in found[0]}
    for name, reference in case.under("grad").items():
        home = next(prefix for prefix in sources if name.startswith(prefix))
        ours = sources[home].get(name.removeprefix(home))
        assert ours is not None, f"{case.name}: {name} has no gradient"
        case.compare(f"grad/{name}", ours, atol=1e-4 * float(reference.abs().max()) + 1e-6, rtol=0.0)


def run_where_the_reference_fails(case: Case) -> None:
    """Ours gives a result for every sample, or says what it takes."""
    try:
        output = run_rank(ALONE, case)["output"]
    except ValueError:
        return
    assert all(bool(each.isfinite().all()) for each in output.values())


CHECKS: dict[str, Callable[[Case], None]] = {"mm_full": mm_full}
