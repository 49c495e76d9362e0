"""Sizes and switches of cross-model attention over two or more frozen video classifiers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final, Literal

from model.clip_config import UNIFORMER_PRESETS, UniFormerClassifierConfig
from model.colours import IMAGENET_COLOURS, UNIFORMER_COLOURS, ClipFormat, Colours
from model.config import ClassifierConfig, require_divides, require_positive, require_rate

GateKind = Literal["scalar", "channel"]
_GATE_KINDS: Final = ("scalar", "channel")


@dataclass(frozen=True)
class CoordinationConfig:
    """A masked encoder and multimodal encoders, all frozen, with new modules between them.

    What the paper (InternVideo, arXiv 2212.03191) leaves open is chosen here; the reasons stand in
    docs/decisions/0008-cross-model-attention.md.

    Attributes:
        masked: The masked encoder's classification network; with mean pooling.
        multimodal: The multimodal encoders' classification networks, at least one, of the same classes.
        places: Blocks of the masked encoder after which a module runs, ascending. None spreads as many as the first
            multimodal encoder has global blocks evenly, the last one after the last block.
        sources: Blocks of a multimodal encoder whose tokens the module of each place looks at. None takes its global
            blocks, spread over the places.
        head_width: Channels of an attention head of the modules; they divide the width of every encoder.
        mlp_ratio: Hidden width of a module's feed-forward over its width, rounded down.
        gate: Whether a gate is one number or one per channel.
        dropout: Dropout before each classification layer, in place of the encoders' own.
        masked_colours: What the masked encoder's clips are normalised with.
        multimodal_colours: What the multimodal encoders' clips are normalised with.
    """

    masked: ClassifierConfig
    multimodal: tuple[UniFormerClassifierConfig, ...]
    places: tuple[int, ...] | None = None
    sources: tuple[int, ...] | None = None
    head_width: int = 64
    mlp_ratio: float = 4.0
    gate: GateKind = "scalar"
    dropout: float = 0.9
    masked_colours: Colours = IMAGENET_COLOURS
    multimodal_colours: Colours = UNIFORMER_COLOURS

    def __post_init__(self) -> None:
        """Refuse encoders and places that do not fit each other.

        Raises:
            ValueError: Two fields contradict each other, or one is out of its range; both are named.
        """
        if not self.multimodal:
            raise ValueError("multimodal is empty: at least one multimodal encoder is taken")
        if not self.masked.mean_pooling:
            raise ValueError("masked.mean_pooling is off: modules change all tokens, so all of them must be pooled")
        require_positive(self, "head_width")
        require_rate(self, "dropout")
        if int(self.mlp_ratio * min(self.widths)) < 1:
            raise ValueError(f"mlp_ratio is {self.mlp_ratio} and a width {min(self.widths)}: no channel is left")
        if self.gate not in _GATE_KINDS:
            raise ValueError(f"gate is {self.gate!r}: one of {', '.join(_GATE_KINDS)} is taken")
        for number, encoder in enumerate(self.multimodal):
            if encoder.classes != self.masked.classes:
                raise ValueError(
                    f"masked.classes is {self.masked.classes} and multimodal[{number}].classes {encoder.classes}: "
                    "they must agree"
                )
        for width in self.widths:
            require_divides(width, self.head_width, "an encoder's width", "head_width")
        self._check_places()

    def _check_places(self) -> None:
        places, depth = self.stage_places, self.masked.depth
        ascending = all(low < high for low, high in pairwise(places))
        if not places or not ascending or not 0 <= places[0] <= places[-1] < depth:
            raise ValueError(
                f"places is {places} and masked.depth {depth}: ascending blocks from 0 to {depth - 1} are taken"
            )
        for number, encoder in enumerate(self.multimodal):
            sources = self.stage_sources(number)
            if len(sources) != len(places) or not 0 <= min(sources) <= max(sources) < encoder.depth:
                raise ValueError(
                    f"sources is {sources} and places {places}: one block of multimodal[{number}], from 0 to "
                    f"{encoder.depth - 1}, is taken for each place"
                )

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of all encoders, the masked one first."""
        return (self.masked.width, *(encoder.width for encoder in self.multimodal))

    @property
    def stage_places(self) -> tuple[int, ...]:
        """Blocks of the masked encoder after which a module runs."""
        if self.places is not None:
            return self.places
        depth = self.masked.depth
        stages = min(len(self.multimodal[0].global_blocks), depth)
        return tuple((stage + 1) * depth // stages - 1 for stage in range(stages))

    def stage_sources(self, encoder: int) -> tuple[int, ...]:
        """Return the block of a multimodal encoder that each place looks at."""
        if self.sources is not None:
            return self.sources
        blocks, stages = self.multimodal[encoder].global_blocks, len(self.stage_places)
        return tuple(blocks[-(-(stage + 1) * len(blocks) // stages) - 1] for stage in range(stages))

    @property
    def formats(self) -> tuple[ClipFormat, ...]:
        """The clips that the encoders take, the masked one first."""
        masked = ClipFormat(self.masked.frames, self.masked.image_size, self.masked_colours)
        others = (ClipFormat(each.frames, each.image_size, self.multimodal_colours) for each in self.multimodal)
        return (masked, *others)


@dataclass(frozen=True)
class Additions:
    """What cross-model attention adds to the encoders.

    Attributes:
        parameters: New parameters; the encoders' classification layers and queries are not counted.
        multiply_accumulates: Of one forward pass of one clip, in matrix products and attention.
    """

    parameters: int
    multiply_accumulates: int


def count_additions(config: CoordinationConfig) -> Additions:
    """Count what is added to the encoders, for clips of the configured formats."""
    tokens = config.masked.grid.tokens
    parameters, work = len(config.widths), 0
    for encoder in config.multimodal:
        seen = encoder.grid.tokens + encoder.grid.slots
        forward, back = (config.masked.width, encoder.width), (encoder.width, config.masked.width)
        stages = len(config.stage_places)
        parameters += stages * _parameters(config, *forward) + _parameters(config, *back)
        work += stages * _work(config, tokens, seen, *forward) + _work(config, 1, tokens, *back)
    return Additions(parameters, work)


def _parameters(config: CoordinationConfig, width: int, context_width: int) -> int:
    hidden = int(width * config.mlp_ratio)
    norms = 4 * width + 2 * context_width
    attention = 2 * (width + 1) * width + 2 * (context_width + 1) * width
    mlp = (width + 1) * hidden + (hidden + 1) * width
    return norms + attention + mlp + 2 * (width if config.gate == "channel" else 1)


def _work(config: CoordinationConfig, queries: int, keys: int, width: int, context_width: int) -> int:
    maps = 2 * queries * width * width + 2 * keys * context_width * width
    return maps + 2 * queries * keys * width + 2 * queries * width * int(width * config.mlp_ratio)


_VIT_H: Final = ClassifierConfig(width=1280, depth=32, heads=16, classes=710)
_UNIFORMER_L: Final = replace(UNIFORMER_PRESETS["uniformer_l14"], classes=710)

COORDINATION_PRESETS: Final[dict[str, CoordinationConfig]] = {
    "coordination_tiny": CoordinationConfig(
        masked=ClassifierConfig(image_size=(112, 112), width=192, depth=4, heads=3, classes=10),
        multimodal=(
            UniFormerClassifierConfig(
                image_size=(112, 112), frames=4, width=192, depth=4, heads=3, global_blocks=(2, 3), classes=10
            ),
        ),
    ),
    "internvideo_d": CoordinationConfig(masked=_VIT_H, multimodal=(_UNIFORMER_L,)),
    "internvideo_t": CoordinationConfig(masked=_VIT_H, multimodal=(_UNIFORMER_L, _UNIFORMER_L)),
}
"""Coordinated classifiers by name.

InternVideo-D is ViT-H with UniFormerV2-L from CLIP, InternVideo-T adds UniFormerV2-L after multimodal pretraining
(arXiv 2212.03191), on Kinetics-710; tiny is our own, for demonstrations and tests on a CPU.
"""


def coordination_preset(name: str, **overrides: Any) -> CoordinationConfig:  # noqa: ANN401 - the fields have many types; replace checks their names
    """Return a named coordinated classifier, with some fields changed.

    Args:
        name: One of ``COORDINATION_PRESETS``.
        **overrides: Fields of ``CoordinationConfig`` with new values.

    Raises:
        ValueError: Unknown name, or values that do not fit each other.
        TypeError: An override that is no field.
    """
    if name not in COORDINATION_PRESETS:
        raise ValueError(f"unknown model {name!r}: known are {', '.join(COORDINATION_PRESETS)}")
    return replace(COORDINATION_PRESETS[name], **overrides)
