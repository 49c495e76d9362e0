"""What the rows of a slot cut out of its pictures while they are decoded."""

from __future__ import annotations

from pipelines.canvas import Cut
from pipelines.dali import Take
from pipelines.draws import draw_takes
from pipelines.fit import Fit, plan_fit
from pipelines.packing import ClipShape
from pipelines.plan import Slot
from pipelines.settings import LoaderConfig


class RowCutter:
    """Draws what rows take of a clip once the size of its pictures is known, and says what can be cut at once.

    Args:
        config: the settings of the slot's dataset.
        slot: the sample.
        shape: of the rows, where clips are packed.

    ``takes`` are there once it was called.
    """

    def __init__(self, config: LoaderConfig, slot: Slot, shape: ClipShape | None = None) -> None:
        self._config, self._slot, self._shape = config, slot, shape
        self.takes: tuple[Take, ...] = ()

    def __call__(self, width: int, height: int) -> Cut | None:
        """Return what is cut of pictures of this size, or None where DALI must do it."""
        self.takes = draw_takes(self._config, self._slot, width, height, self._shape)
        fits = [fit for take in self.takes if (fit := self._fit(take, width, height)) is not None]
        return Cut(tuple(fits), self._config.windows) if len(fits) == len(self.takes) else None

    def _fit(self, take: Take, width: int, height: int) -> Fit | None:
        if take.operations:
            return None
        config = self._config
        high, wide = (config.size, config.size) if take.size is None else take.size
        return plan_fit(
            take.region,
            (width, height),
            (wide, high),
            resized_first=self._shape is None and config.crop.startswith(("squash", "short")),
            resample=config.resample,
        )
