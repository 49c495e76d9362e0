"""From a mask over a clip's cubes to the token numbers that the encoder sees and the decoder predicts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

# Axes: B batch, N tokens, V visible tokens, M masked tokens.


@dataclass(frozen=True)
class TokenSplit:
    """Token numbers of a batch, ascending in each row: the visible ones and the masked ones that are predicted.

    Without a decoder mask all masked ones are predicted.
    """

    visible: Int64[Tensor, "B V"]
    masked: Int64[Tensor, "B M"]


def split_tokens(
    mask: Bool[Tensor, "B N"],
    decoder_mask: Bool[Tensor, "B N"] | None = None,
    *,
    device: torch.device | None = None,
) -> TokenSplit:
    """List the visible and the masked tokens of every sample.

    The counts are read on the host. With masks that lie on the CPU this costs no wait for the accelerator, so a
    mask is best handed in from there, and ``device`` names where the token numbers are wanted.

    Args:
        mask: True where a token is hidden; every row hides the same number.
        decoder_mask: True where a hidden token is kept from the decoder too and not predicted (VideoMAE V2, arXiv
            2303.16727, section 3.2); its values at visible tokens count for nothing. Every row leaves the same number
            of hidden tokens to be predicted.
        device: Where the result goes; the mask's own device by default.

    Raises:
        ValueError: A mask is not boolean or not two-dimensional, rows hide different numbers of tokens or have
            different numbers predicted, or a row hides all of them.
    """
    counts = _require_mask(mask).sum(dim=1).tolist()
    masked = _one_count(counts, "hides", "hide")
    if masked == mask.shape[1]:
        raise ValueError(f"the mask hides all {masked} tokens: leave at least one visible")
    rank, predicted = mask.to(torch.uint8), masked
    if decoder_mask is not None:
        skipped = mask & _require_mask(decoder_mask, like=mask)
        predicted = _one_count((mask.sum(dim=1) - skipped.sum(dim=1)).tolist(), "leaves", "leave")
        if masked and not predicted:
            raise ValueError("the decoder mask hides every masked token: leave at least one to predict")
        rank = rank + skipped.to(torch.uint8)
    order = send(torch.argsort(rank, dim=1, stable=True), device or mask.device)
    visible = mask.shape[1] - masked
    return TokenSplit(visible=order[:, :visible], masked=order[:, visible : visible + predicted])


def _require_mask(mask: Tensor, like: Tensor | None = None) -> Tensor:
    if mask.dtype != torch.bool or mask.ndim != 2:  # noqa: PLR2004 - a mask has the two axes B and N
        raise ValueError(f"the mask is {mask.dtype} of shape {tuple(mask.shape)}: a boolean [B, N] is taken")
    if like is not None and (mask.shape != like.shape or mask.device != like.device):
        raise ValueError(
            f"the decoder mask has shape {tuple(mask.shape)} on {mask.device} and the mask {tuple(like.shape)} on "
            f"{like.device}: they must agree"
        )
    return mask


def _one_count(counts: list[int], one: str, all_of_them: str) -> int:
    count = counts[0] if counts else 0
    if any(other != count for other in counts):
        raise ValueError(
            f"the mask {one} between {min(counts)} and {max(counts)} tokens of a sample: "
            f"every sample of a batch must {all_of_them} the same number"
        )
    return count


def send(tensor: Int64[Tensor, "..."], device: torch.device) -> Int64[Tensor, "..."]:
    """Return a tensor on a device; on its way from the CPU to a GPU it is pinned, so that nothing waits for the GPU.

    A copy out of pageable memory may wait for the stream ("CUDA Runtime API", API synchronization behavior).
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
