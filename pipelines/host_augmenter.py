"""The DALI graph that suits what was decoded on the host: for rows that are cut already, or for whole frames."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from pipelines.colours import COLOURS
from pipelines.dali import DaliAugmenter, FittedInput, FrameInput
from pipelines.dali_rows import RowAugmenter
from pipelines.settings import LoaderConfig

# G clips of one row each, T frames, S pixels of a side.


class HostAugmenter:
    """Makes normalised rows of clips that were decoded on the host, one row of each; not for several threads at once.

    Args:
        config: ``batch_size`` clips at most, of ``frames`` frames, ``size`` pixels square, on ``device``.
    """

    def __init__(self, config: LoaderConfig) -> None:
        scale, size, device = COLOURS[config.colours], config.batch_size, config.device
        self._fitted = RowAugmenter(size, scale, device=device, mirrors=config.flip > 0)
        self._whole = DaliAugmenter(
            size, config.frames, config.size, device=device, mean=scale.mean, std=scale.std, resample=config.resample
        )

    def run(self, inputs: list[FrameInput] | list[FittedInput]) -> Float[Tensor, "G 3 T S S"]:
        """Return the rows of some clips, all cut or all whole; see ``DaliAugmenter.run`` and ``RowAugmenter.run``."""
        fitted = [item for item in inputs if isinstance(item, FittedInput)]
        if fitted:
            return self._fitted.run(fitted)
        return self._whole.run([item for item in inputs if isinstance(item, FrameInput)])
