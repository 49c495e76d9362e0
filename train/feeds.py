"""What a run is fed: batches of clips, and of images in turns with them, as one stream that a checkpoint can hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from math import ceil
from typing import Any, Final, Self

from pipelines.loader import AnyLoader
from pipelines.packed_batch import AnyBatch

VIDEO: Final = "video"
IMAGES: Final = "images"


class Turns:
    """Which steps take images: ``ratio`` batches of images for each batch of clips, spread evenly over all steps.

    After n steps, n * ratio / (1 + ratio) of them, rounded to the nearest, a half down, were of images. It hangs on the
    step alone, so that a run that goes on anywhere takes the turns that it would have taken. A ratio of 1 alternates
    and begins with clips, as the public code does (InternVideo, multimodal branch).
    """

    def __init__(self, ratio: float) -> None:
        exact = Fraction(str(ratio))
        self._share = exact / (1 + exact)

    def images_before(self, steps: int) -> int:
        """Return how many of the first ``steps`` steps take images."""
        return ceil(steps * self._share - Fraction(1, 2))

    def of(self, step: int) -> str:
        """Return what the step of this number, counted from 0, takes: ``VIDEO`` or ``IMAGES``."""
        return IMAGES if self.images_before(step + 1) > self.images_before(step) else VIDEO

    def steps_for(self, videos: int) -> int:
        """Return how many steps it takes until so many batches of clips were taken, and no step more."""
        steps = int(videos / (1 - self._share))
        while steps and steps - self.images_before(steps) >= videos:
            steps -= 1
        while steps - self.images_before(steps) < videos:
            steps += 1
        return steps


class Feeds(Iterator[AnyBatch]):
    """Iterates without end over this rank's shares of the batches that steps take, clips alone or images in turns.

    Args:
        video: the loader of clips.
        images: the loader of images, or None.
        ratio: batches of images for each batch of clips.
        step: the step that the run goes on with, from 0; the loaders stand where it left them.

    Raises:
        ValueError: the loaders are not where a run of so many steps leaves them.
    """

    def __init__(self, video: AnyLoader, images: AnyLoader | None = None, *, ratio: float = 1.0, step: int = 0) -> None:
        self.video = video
        self.images = images
        self._turns = None if images is None else Turns(ratio)
        self._step = step
        self._loaders = {VIDEO: video} if images is None else {VIDEO: video, IMAGES: images}
        self._streams: dict[str, Iterator[AnyBatch]] = {}

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> AnyBatch:
        """Return the batch of the next step.

        Raises:
            ValueError, OSError: as the loader whose turn it is; asked again, it is the same one's turn.
        """
        turn = self.turn
        if turn not in self._streams:
            self._streams[turn] = iter(self._loaders[turn])
        batch = next(self._streams[turn])
        self._step += 1
        return batch

    @property
    def loaders(self) -> Mapping[str, AnyLoader]:
        """The loaders by name."""
        return dict(self._loaders)

    @property
    def turn(self) -> str:
        """What the next step takes: ``VIDEO`` or ``IMAGES``."""
        return VIDEO if self._turns is None else self._turns.of(self._step)

    @property
    def samples(self) -> int:
        """How many samples the consumers of all ranks have received together, clips and images."""
        return sum(loader.samples for loader in self._loaders.values())

    @property
    def epoch_samples(self) -> int:
        """How many samples are taken while each clip is seen once, of clips and of the images between them."""
        clips = self.video.order.samples_per_epoch
        if self.images is None or self._turns is None:
            return clips
        steps = self._turns.steps_for(self.video.batches_per_epoch)
        images = self._turns.images_before(steps) * self.images.config.batch_size
        return clips + round(clips * images / (self.video.batches_per_epoch * self.video.config.batch_size))

    def steps_of(self, epochs: int) -> int:
        """Return how many steps it takes to see each clip so many times; no more than there are batches for."""
        steps = self._steps_for(epochs * self.video.batches_per_epoch)
        return steps if self.most_steps is None else min(steps, self.most_steps)

    @property
    def most_steps(self) -> int | None:
        """How many steps the run can have, those that it took counted in; None where the clips have no end."""
        if self.video.batches is None:
            return None
        left = self.video.batches - self.video.samples // self.video.config.batch_size
        taken = self._step - (0 if self._turns is None else self._turns.images_before(self._step))
        return self._steps_for(taken + left)

    def require_steps(self, steps: int) -> None:
        """Check that there are batches for so many steps.

        Raises:
            ValueError: the passes over all datasets are counted, and end before.
        """
        if self.most_steps is not None and steps > self.most_steps:
            raise ValueError(
                f"{steps} steps are asked for, and the datasets of data.mix end after {self.most_steps}: raise their"
                " epochs, leave those of one out, or lower train.max_steps"
            )

    def _steps_for(self, videos: int) -> int:
        return videos if self._turns is None else self._turns.steps_for(videos)

    def state_dict(self) -> dict[str, Any]:
        """Return, as JSON values, where the loaders are: that of clips as it is, or both by name."""
        if self.images is None:
            return self.video.state_dict()
        return {name: loader.state_dict() for name, loader in self._loaders.items()}


def video_state(state: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the part of a saved state that the loader of clips wrote."""
    return state if state is None or not _has_images(state) else state[VIDEO]


def image_state(state: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the part of a saved state that the loader of images wrote; None where there was none."""
    return None if state is None or not _has_images(state) else state[IMAGES]


def require_same_feeds(state: Mapping[str, Any] | None, *, images: bool) -> None:
    """Check that a saved state is of a run that took images, or that took none.

    Raises:
        ValueError: it is of the other sort.
    """
    if state is not None and _has_images(state) != images:
        was, now = ("clips and images", "clips only") if not images else ("clips only", "clips and images")
        raise ValueError(
            f"the run took {was} before, and {now} now: give data.images as it was, or another out for a new run"
        )


def _has_images(state: Mapping[str, Any]) -> bool:
    return set(state) == {VIDEO, IMAGES}
