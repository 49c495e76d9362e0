"""From a mask over a clip's cubes to the token numbers that the encoder sees and the decoder predicts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

# Axes: B batch, N tokens, V visible tokens, M masked tokens.


@dataclass(frozen=True)
class TokenSplit:
    """Token numbers of a batch, ascending in each row: the visible ones and the masked ones."""

    visible: Int64[Tensor, "B V"]
    masked: Int64[Tensor, "B M"]


def split_tokens(mask: Bool[Tensor, "B N"], *, device: torch.device | None = None) -> TokenSplit:
    """List the visible and the masked tokens of every sample.

    The counts are read on the host. With a mask that lies on the CPU this costs no wait for the accelerator, so a
    mask is best handed in from there, and ``device`` names where the token numbers are wanted.

    Args:
        mask: True where a token is hidden; every row hides the same number.
        device: Where the result goes; the mask's own device by default.

    Raises:
        ValueError: The mask is not boolean or not two-dimensional, rows hide different numbers of tokens, or a row
            hides all of them.
    """
    if mask.dtype != torch.bool or mask.ndim != 2:  # noqa: PLR2004 - a mask has the two axes B and N
        raise ValueError(f"the mask is {mask.dtype} of shape {tuple(mask.shape)}: a boolean [B, N] is taken")
    counts = mask.sum(dim=1).tolist()
    masked = counts[0] if counts else 0
    if any(count != masked for count in counts):
        raise ValueError(
            f"the mask hides between {min(counts)} and {max(counts)} tokens of a sample: "
            "every sample of a batch must hide the same number"
        )
    if masked == mask.shape[1]:
        raise ValueError(f"the mask hides all {masked} tokens: leave at least one visible")
    order = send(torch.argsort(mask.to(torch.uint8), dim=1, stable=True), device or mask.device)
    return TokenSplit(visible=order[:, : mask.shape[1] - masked], masked=order[:, mask.shape[1] - masked :])


def send(tensor: Int64[Tensor, "..."], device: torch.device) -> Int64[Tensor, "..."]:
    """Return a tensor on a device; on its way from the CPU to a GPU it is pinned, so that nothing waits for the GPU.

    A copy out of pageable memory may wait for the stream ("CUDA Runtime API", API synchronization behavior).
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
