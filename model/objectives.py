"""Pretraining stages as modules: a network and its losses, from a batch's tensors to named sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn

from model.captioning_loss import caption_loss, counted_targets
from model.clip_config import VideoTextConfig
from model.colours import IMAGENET_MEAN, IMAGENET_STD
from model.config import VideoMAEConfig
from model.contrastive import CHUNK, Exchange, contrastive_loss
from model.losses import (
    RowLosses,
    blank_invalid,
    cube_targets,
    masked_mse,
    reconstruction_target,
    require_valid,
)
from model.masking import TokenSplit, send
from model.packing import PackedSplit, cut_packed
from model.video_text import VideoTextModel
from model.videomae import VideoMAEPretrain

# Axes: B batch, T frames, H rows and W columns of pixels, N tokens, M masked tokens, V values of a cube,
# L positions of a text.


@dataclass(frozen=True)
class ObjectiveOutput:
    """What a stage makes of a batch.

    Attributes:
        losses: Named **sums** over all values that count, with gradient; a mean is ``losses[n] / counts[n]``. Sums and
            counts of ranks add up to those of the whole batch, and so do those of micro-batches where the stage says
            ``parts_add_up``.
        counts: How many values each sum holds, int64.
        weights: What each mean weighs in the loss of the stage; 1 where nothing is said.
        rows: What each sample adds to the sums.
    """

    losses: dict[str, Float[Tensor, ""]]
    counts: dict[str, Int64[Tensor, ""]]
    weights: Mapping[str, float] = field(default_factory=dict, kw_only=True)
    rows: Mapping[str, RowLosses] = field(default_factory=dict, kw_only=True)

    def weighted_mean(self, counts: Mapping[str, Tensor] | None = None) -> Float[Tensor, ""]:
        """Return the value to minimise: the weighted sum of the means.

        Args:
            counts: The counts of the whole batch, over all ranks and parts; None takes this output's own. The values
                of ranks then add up to that of the batch. Where nothing counts, the mean is taken as 0.
        """
        whole = self.counts if counts is None else counts
        means = [self.weights.get(name, 1.0) * self.losses[name] / whole[name].clamp(min=1) for name in self.losses]
        return torch.stack(means).sum()

    def by_group(self, group: Int64[Tensor, "B"], groups: int) -> Float64[Tensor, "N 2 G"]:
        """Return, for each loss in the order of ``losses``, sum and count of the samples of each group, detached.

        Args:
            group: The group of each sample, from 0.
            groups: How many groups G there are.
        """
        both = torch.stack([torch.stack([self.rows[name].total, self.rows[name].count]) for name in self.losses])
        return both.new_zeros(*both.shape[:2], groups, dtype=torch.float64).index_add_(2, group, both.double())


@dataclass(frozen=True)
class MaskedOutput(ObjectiveOutput):
    """What masked modelling makes of a batch.

    Attributes:
        prediction: The decoder's output for the masked cubes, without gradient; of clips that are not valid it says
            nothing.
        tokens: Which tokens were visible and which masked.
    """

    prediction: Float[Tensor, "B M V"]
    tokens: TokenSplit


@dataclass(frozen=True)
class PackedMaskedOutput(ObjectiveOutput):
    """What masked modelling makes of packed clips.

    Attributes:
        predictions: For each clip, the decoder's output for its masked cubes, without gradient.
        tokens: Which tokens were visible and which masked.
    """

    predictions: list[Float[Tensor, "M V"]]
    tokens: PackedSplit


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

    def count(
        self,
        mask: Bool[Tensor, "B N"],
        valid: Bool[Tensor, "B"] | None = None,
        decoder_mask: Bool[Tensor, "B N"] | None = None,
    ) -> dict[str, Int64[Tensor, ""]]:
        """Return the counts that ``forward`` will return, without running the network.

        A training step needs the count of its whole batch, over all ranks and micro-batches, before the first backward.
        They are on the device of ``valid``, for which nothing waits while the mask is on the CPU.
        """
        hidden = (mask if decoder_mask is None else mask & ~decoder_mask).sum(dim=1)
        if valid is not None:
            hidden = torch.where(valid, send(hidden, valid.device), 0)
        return {"reconstruction": hidden.sum() * self.model.config.cube_values}

    def forward(
        self,
        video: Float[Tensor, "B 3 T H W"],
        mask: Bool[Tensor, "B N"],
        valid: Bool[Tensor, "B"] | None = None,
        decoder_mask: Bool[Tensor, "B N"] | None = None,
    ) -> MaskedOutput:
        """Predict the masked cubes and compare.

        Args:
            video: Normalised clips of the size that the model is built for.
            mask: True where a cube is hidden, the same number in every sample. It may stay on the CPU,
                which saves a wait.
            valid: False for samples that count for nothing and may hold anything, NaN too; None counts all.
            decoder_mask: True where a hidden cube is not predicted either, the same number in every sample; it lies
                where ``mask`` does. The loss is that of the predicted cubes.

        Raises:
            ValueError: Shapes that the model is not built for, ``valid`` is not one boolean per clip, or a mask that
                hides nothing, everything or unequal numbers.
        """
        video = blank_invalid(video, valid)
        tokens = self.model.split(mask, video.device, decoder_mask)
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
            rows={} if loss.rows is None else {"reconstruction": loss.rows},
            prediction=output.prediction.detach(),
            tokens=tokens,
        )

    def count_packed(
        self,
        masks: Sequence[Bool[Tensor, "N"]],
        valid: Bool[Tensor, "B"] | None = None,
        decoder_masks: Sequence[Bool[Tensor, "N"]] | None = None,
    ) -> dict[str, Int64[Tensor, ""]]:
        """Return the counts that ``forward_packed`` will return, without running the network."""
        hidden = masks if decoder_masks is None else [m & ~d for m, d in zip(masks, decoder_masks, strict=True)]
        numbers = torch.stack([mask.sum() for mask in hidden])
        if valid is not None:
            numbers = torch.where(valid, send(numbers, valid.device), 0)
        return {"reconstruction": numbers.sum() * self.model.config.cube_values}

    def forward_packed(
        self,
        clips: Sequence[Float[Tensor, "3 T H W"]],
        masks: Sequence[Bool[Tensor, "N"]],
        valid: Bool[Tensor, "B"] | None = None,
        decoder_masks: Sequence[Bool[Tensor, "N"]] | None = None,
    ) -> PackedMaskedOutput:
        """Do the same for clips of any lengths, sizes and mask ratios, packed without padding.

        Sums and counts are those of the clips one by one: every predicted value weighs the same.

        Args:
            clips: Normalised clips, multiples of the cube's frames and pixels.
            masks: For each clip, True where a cube is hidden; best on the CPU.
            valid: False for clips that count for nothing and may hold anything, NaN too; None counts all.
            decoder_masks: For each clip, True where a hidden cube is not predicted either.

        Raises:
            ValueError: A clip or mask that does not fit, or that hides nothing; its number is named. Or ``valid`` is
                not one boolean per clip.
        """
        for number, mask in enumerate(masks):
            if not mask.any():
                raise ValueError(f"the mask of clip {number} hides no token: there is nothing to predict")
        require_valid(valid, len(clips))
        if valid is not None:
            clips = [blank_invalid(clip[None], one)[0] for clip, one in zip(clips, torch.split(valid, 1), strict=True)]
        output = self.model.forward_packed(clips, masks, decoder_masks)
        config, tokens = self.model.config, output.tokens
        cubes = cut_packed(clips, tokens.predicted_tokens, tokens.predicted, config.tubelet, config.patch_size)
        target = cube_targets(cubes, mean=self.mean, std=self.std, normalized=self.normalize_target)
        owner = send(tokens.predicted.clip_numbers(), target.device)
        counts = None if valid is None else valid.to(target.device)[owner]
        # Each cube is a sample of its own here, so that it counts as its clip does.
        loss = masked_mse(output.prediction.transpose(0, 1), target.transpose(0, 1), counts)
        return PackedMaskedOutput(
            losses={"reconstruction": loss.total},
            counts={"reconstruction": loss.count},
            rows={} if loss.rows is None else {"reconstruction": loss.rows.gathered(owner, len(clips))},
            predictions=[prediction.detach() for prediction in output.predictions],
            tokens=tokens,
        )


@dataclass(frozen=True)
class VideoLanguageConfig:
    """Stage ``vlc``: the model and how its two losses are taken.

    Attributes:
        model: The towers; without ``model.captioner`` the stage is contrastive only.
        contrastive_weight: What the contrastive mean weighs.
        captioning_weight: What the captioning mean weighs.
        freeze_text: Leave the text tower as it is, as the public WebVid configurations do.
        chunk: Clips or texts whose similarities to the global batch are held at once.
    """

    model: VideoTextConfig = field(default_factory=VideoTextConfig)
    contrastive_weight: float = 1.0
    captioning_weight: float = 1.0
    freeze_text: bool = False
    chunk: int = CHUNK

    def __post_init__(self) -> None:
        """Refuse weights that train nothing.

        Raises:
            ValueError: A weight is not above 0, or the chunk is below 1.
        """
        for name in ("contrastive_weight", "captioning_weight"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(
                    f"{name} is {getattr(self, name)}: a number above 0 is taken; model.captioner=None leaves out "
                    "captioning"
                )
        if self.chunk < 1:
            raise ValueError(f"chunk is {self.chunk}: at least 1 is taken")


class VideoLanguage(nn.Module):
    """Stage ``vlc``: find each clip's text among those of the global batch and the other way round, and write it.

    Its losses are ``contrastive``, a sum over valid pairs, and ``captioning``, the cross-entropies of the tokens of
    valid texts (InternVideo, arXiv 2212.03191). Images are clips of one frame. Captioning is a mean over
    the tokens of the global batch; the public code averages ranks' means, so that short captions weigh more there.
    """

    parts_add_up: Final = False
    """A clip is told from the texts of its own part only: contrasting parts of a batch is not contrasting the batch, so
    gradient accumulation changes the loss. Parts would be as good as a smaller batch; recompute blocks instead."""

    def __init__(self, config: VideoLanguageConfig, *, exchange: Exchange | None = None) -> None:
        """Build the model.

        Args:
            config: Sizes, weights and switches.
            exchange: The other ranks, whose batches have as many samples each; None for a run of one.
        """
        super().__init__()
        self.config = config
        self.model = VideoTextModel(config.model)
        self.weights = {"contrastive": config.contrastive_weight, "captioning": config.captioning_weight}
        self._exchange = exchange
        # Nothing is hidden from the text tower here; a parameter without gradient would keep the ranks waiting for it.
        self.model.text.text_mask_embedding.requires_grad = False
        if config.model.captioner is None:
            self.model.video.visual.freeze_unread()
        if config.freeze_text:
            self.model.text.requires_grad_(requires_grad=False)

    def count(
        self, tokens: Int64[Tensor, "B L"], valid: Bool[Tensor, "B"] | None = None
    ) -> dict[str, Int64[Tensor, ""]]:
        """Return the counts that ``forward`` will return, without running the network.

        They are on the device of ``valid``, for which nothing waits while the tokens are on the CPU.

        Raises:
            ValueError: Tokens that are no [B, L], or ``valid`` is not one boolean per text.
        """
        if tokens.ndim != len("BL"):
            raise ValueError(f"the tokens have shape {tuple(tokens.shape)}: [B, L] is taken")
        require_valid(valid, len(tokens))
        if valid is None:
            valid = torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)
        counts = {"contrastive": valid.sum()}
        if self.model.captioner is not None:
            targets = counted_targets(tokens[:, 1:], padding_id=self.config.model.padding_id).sum(dim=1)
            counts["captioning"] = torch.where(valid, send(targets, valid.device), 0).sum()
        return counts

    def forward(
        self,
        video: Float[Tensor, "B 3 T H W"],
        tokens: Int64[Tensor, "B L"],
        valid: Bool[Tensor, "B"] | None = None,
    ) -> ObjectiveOutput:
        """Encode clips and texts, contrast them with those of all ranks, and score each next token.

        Every rank exchanges the same, also where none of its samples is valid.

        Args:
            video: Normalised clips, or images with T = 1.
            tokens: Token ids of each clip's text; best on the CPU, for captioning reads its targets there.
            valid: False for samples that are no rows, no columns and no targets; None counts all. Their clips may hold
                anything, NaN too; their texts are ids like others.

        Raises:
            ValueError: Clips or texts that the model does not take, or ``valid`` is not one boolean per clip.
        """
        features = self.model(blank_invalid(video, valid), send(tokens, video.device))
        contrast = contrastive_loss(
            features.video,
            features.text,
            self.model.logit_scale,
            valid=None if valid is None else send(valid, video.device),
            exchange=self._exchange,
            chunk=self.config.chunk,
        )
        found = {"contrastive": contrast}
        captioner = self.model.captioner
        if captioner is not None:
            written = captioner.decode(features.text_tokens[:, :-1], captioner.pool(features.video_tokens))
            padding = self.config.model.padding_id
            found["captioning"] = caption_loss(captioner, written, tokens[:, 1:], padding_id=padding, valid=valid)
        return ObjectiveOutput(
            losses={name: loss.total for name, loss in found.items()},
            counts={name: loss.count for name, loss in found.items()},
            weights=self.weights,
            rows={name: loss.rows for name, loss in found.items() if loss.rows is not None},
        )
