"""Small moving pictures with captions that are true of them: coloured shapes that move, grow and turn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tools.corpus.frame_number import STRIP, paint_frame_number

COLOURS: Final = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (40, 80, 220),
    "yellow": (235, 215, 50),
    "purple": (150, 50, 180),
    "orange": (240, 140, 30),
}
GROUNDS: Final = {
    "black": (16, 16, 16),
    "white": (240, 240, 240),
    "grey": (128, 128, 128),
    "brown": (110, 70, 40),
    "pink": (245, 180, 200),
}
DARK_GROUNDS: Final = {
    "black": GROUNDS["black"],
    "navy": (20, 24, 76),
    "maroon": (76, 14, 28),
}
"""Grounds on which shapes of any colour are the brighter part, so that small networks find them soon."""
_PLAIN_COLOURS: Final = ("red", "green", "blue", "yellow")
SHAPES: Final = ("circle", "square", "triangle")
MOTIONS: Final = ("moves left", "moves right", "moves up", "moves down", "grows", "shrinks", "turns")
_UNSEEN: Final = ("circle", "turns")


@dataclass(frozen=True, slots=True)
class Look:
    """What differs between two videos of a scene: the shape's place and size, and how far it is turned.

    ``x`` and ``y`` are added to its centre, as shares of the picture; ``radius`` multiplies its radius; ``angle`` is in
    radians.
    """

    x: float = 0.0
    y: float = 0.0
    radius: float = 1.0
    angle: float = 0.3


@dataclass(frozen=True, slots=True)
class Scene:
    """One shape of one colour that does one thing on one ground; names are those of the tables above."""

    shape: str
    colour: str
    ground: str
    motion: str
    look: Look = Look()

    @property
    def caption(self) -> str:
        """Return an English sentence that tells this scene from every other."""
        return f"{_with_article(self.colour)} {self.shape} {self.motion} on {_with_article(self.ground)} ground"

    @property
    def action(self) -> str:
        """Return which shape does what, for a class of actions: ``circle grows``."""
        return f"{self.shape} {self.motion}"


def _with_article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


@dataclass(frozen=True, slots=True)
class SceneSplit:
    """Scenes to learn from, and others to be judged by, of which no combination is among the first."""

    train: tuple[Scene, ...]
    held_out: tuple[Scene, ...]


@dataclass(frozen=True, slots=True)
class _Pose:
    """Where the shape is: centre as a share of the picture, radius as a share of its height, angle in radians."""

    x: float
    y: float
    radius: float
    angle: float


def every_scene() -> tuple[Scene, ...]:
    """Return every combination of shape, plain colour, dark ground and motion; no circle turns: nobody could see it.

    Colours and grounds are few, so that what a shape does is most of what tells scenes apart.
    """
    return tuple(
        Scene(shape, colour, ground, motion)
        for shape, colour, ground, motion in product(SHAPES, _PLAIN_COLOURS, DARK_GROUNDS, MOTIONS)
        if (shape, motion) != _UNSEEN
    )


def split_scenes(rng: np.random.Generator, held_out: int) -> SceneSplit:
    """Hold out as many combinations as told, drawn from all of them; both parts come in a random order.

    Raises:
        ValueError: no combination would be held out, or none be left to learn from.
    """
    every = every_scene()
    if not 0 < held_out < len(every):
        raise ValueError(f"held_out={held_out}: take 1 to {len(every) - 1} of the {len(every)} combinations")
    order = [every[index] for index in rng.permutation(len(every))]
    return SceneSplit(train=tuple(order[held_out:]), held_out=tuple(order[:held_out]))


def draw_scenes(rng: np.random.Generator) -> Iterator[Scene]:
    """Yield scenes for ever, in a random order that shows every motion of every shape and colour before repeating."""
    every = [
        (shape, colour, motion)
        for shape, colour, motion in product(SHAPES, COLOURS, MOTIONS)
        if (shape, motion) != _UNSEEN
    ]
    grounds = tuple(GROUNDS)
    while True:
        for index in rng.permutation(len(every)):
            shape, colour, motion = every[index]
            yield Scene(shape, colour, grounds[int(rng.integers(len(grounds)))], motion)


def draw_look(rng: np.random.Generator) -> Look:
    """Draw a look that leaves a scene what its caption says."""
    x, y = rng.uniform(-0.08, 0.08, size=2).tolist()
    return Look(x, y, radius=float(rng.uniform(0.85, 1.0)), angle=float(rng.uniform(0.2, 0.4)))


def draw_frame(scene: Scene, share: float, width: int, height: int, number: int | None) -> NDArray[np.uint8]:
    """Return the RGB frame [H, W, 3] of a scene at ``share`` of its length (0 to 1), with ``number`` painted on top."""
    pose = _pose(scene.motion, share, scene.look)
    top = 0 if number is None else height / STRIP
    yy, xx = np.mgrid[0:height, 0:width].astype(np.float32)
    dx = xx + 0.5 - pose.x * width
    dy = yy + 0.5 - (top + pose.y * (height - top))
    inside = _coverage(scene.shape, dx, dy, pose.radius * (height - top), pose.angle)[..., None]
    ground = np.asarray((GROUNDS | DARK_GROUNDS)[scene.ground], np.float32)
    colour = np.asarray(COLOURS[scene.colour], np.float32)
    frame = np.asarray(np.rint(ground + (colour - ground) * inside), np.uint8)
    if number is not None:
        paint_frame_number(frame, number)
    return frame


def _pose(motion: str, share: float, look: Look) -> _Pose:
    """Return the pose of a motion at ``share`` of its way."""
    along, middle = 0.25 + 0.5 * share, 0.5
    x, y, radius, turn = {
        "moves left": (1 - along, middle, 0.3, 0.0),
        "moves right": (along, middle, 0.3, 0.0),
        "moves up": (middle, 1 - along, 0.3, 0.0),
        "moves down": (middle, along, 0.3, 0.0),
        "grows": (middle, middle, 0.12 + 0.34 * share, 0.0),
        "shrinks": (middle, middle, 0.46 - 0.34 * share, 0.0),
        "turns": (middle, middle, 0.4, 2 * math.pi * share),
    }[motion]
    return _Pose(x + look.x, y + look.y, radius * look.radius, turn + look.angle)


def _coverage(
    shape: str,
    dx: NDArray[np.float32],
    dy: NDArray[np.float32],
    radius: float,
    angle: float,
) -> NDArray[np.float32]:
    """Return how much of each pixel [H, W] the shape covers, 0 to 1, from its distance to the shape's edge."""
    if shape == "circle":
        distance = np.hypot(dx, dy) - radius
    else:
        sides = 4 if shape == "square" else 3
        apothem = radius * math.cos(math.pi / sides)
        turns = [angle + 2 * math.pi * side / sides for side in range(sides)]
        distance = np.max([dx * math.cos(turn) + dy * math.sin(turn) for turn in turns], axis=0) - apothem
    return np.asarray(np.clip(0.5 - distance, 0, 1), np.float32)
