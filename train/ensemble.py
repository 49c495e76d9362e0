"""Weight-space ensembles: the weights of a network and of what it was tuned from, averaged."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import nn

from model.class_rows import ClassLists
from model.kinds import build_network
from model.transfer import Transfer, transfer
from train.run_files import read_classes
from train.run_weights import RunWeights
from train.sources import open_source

SHARE: Final = 0.5
"""What the other network weighs where nobody says; InternVideo takes a half, and a quarter for MSVD."""

_log = logging.getLogger(__name__)


def ensemble_with(
    network: nn.Module,
    place: str,
    share: float = SHARE,
    *,
    trust: bool = False,
    classes: Sequence[str] | None = None,
) -> Transfer:
    """Average a network's weights with those of another that has parts of it, in place.

    Each weight that both have becomes ``(1 - share) * own + share * other``; the others stay, and so do whole numbers.
    WiSE-FT (arXiv 2109.01903) so joins a tuned model and the zero-shot one that it began as; InternVideo's public code
    joins its multimodal model and CLIP before zero-shot retrieval (``clip_wiseft_coef``), with a share of CLIP of 1/2.

    Args:
        network: The network; what is read must be of its kind, or one that its kind starts from.
        place: The other: a run's ``out``, an export, weights of ours or published ones.
        share: What the other weighs, from 0 to 1.
        trust: Run the code that a pickle or a TorchScript archive holds.
        classes: What the network's classes are, where it has some: rows of a head are averaged with those of the same
            class, and stay where the other does not name it.

    Returns:
        What was averaged, and what of the other was left out.

    Raises:
        ValueError: ``share`` is out of range, or nothing of the other fits; the message names the place.
        StoreError: It cannot be read.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the weight of the ensemble is {share}: 0 to 1 is taken, the share of {place}")
    try:
        source = open_source(place, trust=trust)
        known = None if source.folder is None else read_classes(source.folder)
        found = transfer(source.weights, source.description, network, classes=ClassLists(known, classes))
    except ValueError as error:
        raise ValueError(f"no ensemble with {place}: {error}") from error
    own = network.state_dict()
    with torch.no_grad():
        for name, other in found.weights.items():
            if other.is_floating_point():
                own[name].lerp_(other.to(own[name].device), share)
    _log.info("%d of %d weights are averaged with those of %s", len(found.weights), len(own), source.place)
    for note in found.notes:
        _log.warning("ensemble with %s: mind that %s", source.place, note)
    return found


def share_of(place: str | None, share: float | None) -> float:
    """Return what the other network weighs, ``SHARE`` where nobody says.

    Raises:
        ValueError: a weight is given, and no network that it is of.
    """
    if place is None and share is not None:
        raise ValueError(f"--ensemble-weight {share:g} is of another model: name it with --ensemble-with")
    return SHARE if share is None else share


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Other weights to average with: their place, what they weigh, whether pickles are run (see ``ensemble_with``)."""

    place: str
    share: float = SHARE
    trust: bool = False

    def of(self, found: RunWeights, classes: Sequence[str] | None = None) -> RunWeights:
        """Return a checkpoint's network, averaged with these, given its classes' names.

        Raises:
            ValueError: These do not fit.
        """
        network = build_network(found.description.kind, found.description.config)
        network.load_state_dict(dict(found.weights))
        ensemble_with(network, self.place, self.share, trust=self.trust, classes=classes)
        return replace(found, weights=network.state_dict(), joined=f"{self.share:g} of {self.place}")
