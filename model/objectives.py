"""Pretraining stages as modules: a network and its losses, from a batch's tensors to named sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from model.config import VideoMAEConfig
from model.losses import IMAGENET_MEAN, IMAGENET_STD, masked_mse, reconstruction_target
from model.masking import TokenSplit, send
from model.videomae import VideoMAEPretrain

# Axes: B batch, T frames, H rows and W columns of pixels, N tokens, M masked tokens, V values of a cube.


@dataclass(frozen=True)
class ObjectiveOutput:
    """What a stage makes of a batch.

    Attributes:
        losses: Named **sums** over all values that count, with gradient; a mean is ``losses[n] / counts[n]``. Sums and
            counts of ranks add up to those of the whole batch, and so do those of micro-batches where the stage says
            ``parts_add_up``.
        counts: How many values each sum holds, int64.
    """

    losses: dict[str, Float[Tensor, ""]]
    counts: dict[str, Int64[Tensor, ""]]


@dataclass(frozen=True)
class MaskedOutput(ObjectiveOutput):
    """What masked modelling makes of a batch.

    Attributes:
        prediction: The decoder's output for the masked cubes, without gradient.
        tokens: Which tokens were visible and which masked.
    """

    prediction: Float[Tensor, "B M V"]
    tokens: TokenSplit


class MaskedVideoModelling(nn.Module):
    """Stage ``mvm``: predict the normalised pixels of masked cubes from the visible ones.

    Its only loss is ``reconstruction``, the squared error over the masked cubes of valid samples (VideoMAE,
    arXiv 2203.12602).
    """

    parts_add_up: Final = True
    """The loss of a batch is the sum over its parts, so that gradient accumulation is exact."""

    def __init__(
        self,
        config: VideoMAEConfig,
        *,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        normalize_target: bool = True,
    ) -> None:
        """Build the network and keep what the target needs.

        Args:
            config: The network's sizes.
            mean: Means of the colours that clips come normalised with.
            std: Standard deviations that clips come normalised with.
            normalize_target: Whether each cube is normalised by its own statistics before it is compared.
        """
        super().__init__()
        self.model = VideoMAEPretrain(config)
        self.mean = mean
        self.std = std
        self.normalize_target = normalize_target

    def count(self, mask: Bool[Tensor, "B N"], valid: Bool[Tensor, "B"] | None = None) -> dict[str, Int64[Tensor, ""]]:
        """Return the counts that ``forward`` will return, without running the network.

        A training step needs the count of its whole batch, over all ranks and micro-batches, before the first backward.
        They are on the device of ``valid``, for which nothing waits while the mask is on the CPU.
        """
        hidden = mask.sum(dim=1)
        if valid is not None:
            hidden = torch.where(valid, send(hidden, valid.device), 0)
        return {"reconstruction": hidden.sum() * self.model.config.cube_values}

    def forward(
        self,
        video: Float[Tensor, "B 3 T H W"],
        mask: Bool[Tensor, "B N"],
        valid: Bool[Tensor, "B"] | None = None,
    ) -> MaskedOutput:
        """Predict the masked cubes and compare.

        Args:
            video: Normalised clips of the size that the model is built for.
            mask: True where a cube is hidden, the same number in every sample. It may stay on the CPU,
                which saves a wait.
            valid: False for samples that count for nothing; None counts all.

        Raises:
            ValueError: Shapes that the model is not built for, or a mask that hides nothing, everything or unequal
                numbers.
        """
        tokens = self.model.split(mask, video.device)
        if not tokens.masked.shape[1]:
            raise ValueError("the mask hides no token: there is nothing to predict")
        output = self.model(video, tokens)
        config = self.model.config
        target = reconstruction_target(
            video,
            config.tubelet,
            config.patch_size,
            tokens.masked,
            mean=self.mean,
            std=self.std,
            normalized=self.normalize_target,
        )
        loss = masked_mse(output.prediction, target, None if valid is None else valid.to(video.device))
        return MaskedOutput(
            losses={"reconstruction": loss.total},
            counts={"reconstruction": loss.count},
            prediction=output.prediction.detach(),
            tokens=tokens,
        )
