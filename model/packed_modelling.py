"""Masked modelling of clips that differ in length and size, as a stage of its own with the same weights."""

from __future__ import annotations

from collections.abc import Iterable

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from model.objectives import MaskedVideoModelling, PackedMaskedOutput

# Axes: B clips of a batch; of each clip T frames of H rows and W columns of pixels, and N tokens.


class PackedVideoModelling(MaskedVideoModelling):
    """Stage ``mvm`` for packed clips: ``MaskedVideoModelling`` whose ``forward`` is ``forward_packed``.

    Weights, loss and counts are the same, and so is the result of a clip, whatever stands beside it. A batch of clips
    of one shape is taken as well, whichever that is: it need not be the one that the network is built for.
    """

    def count(
        self,
        mask: Iterable[Bool[Tensor, "N"]],
        valid: Bool[Tensor, "B"] | None = None,
        decoder_mask: Iterable[Bool[Tensor, "N"]] | None = None,
    ) -> dict[str, Int64[Tensor, ""]]:
        """Return the counts that ``forward`` will return, without running the network."""
        return self.count_packed(list(mask), valid, None if decoder_mask is None else list(decoder_mask))

    def forward(  # type: ignore[override]  # its output differs, as clips do
        self,
        video: Iterable[Float[Tensor, "3 T H W"]],
        mask: Iterable[Bool[Tensor, "N"]],
        valid: Bool[Tensor, "B"] | None = None,
        decoder_mask: Iterable[Bool[Tensor, "N"]] | None = None,
    ) -> PackedMaskedOutput:
        """Predict the masked cubes of each clip and compare; see ``forward_packed``.

        Args:
            video: Normalised clips, multiples of the cube's frames and pixels.
            mask: For each clip, True where a cube is hidden; best on the CPU.
            valid: False for clips that count for nothing and may hold anything; None counts all.
            decoder_mask: For each clip, True where a hidden cube is not predicted either.

        Raises:
            ValueError: A clip or mask that does not fit; its number is named.
        """
        spared = None if decoder_mask is None else list(decoder_mask)
        return self.forward_packed(list(video), list(mask), valid, spared)
