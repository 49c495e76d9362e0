"""Trained networks for use: load one by its place, encode clips and texts, write captions, score classes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import normalize

from model.entries import require_same_entries, shapes_of
from model.generation import Generation, generate
from model.kinds import build_network
from model.video_text import VideoTextModel
from pipelines.settings import LoaderConfig, TokenConfig
from pipelines.text import TextTokenizer
from pipelines.vocabulary import load_tokenizer
from train.clip_features import clip_features
from train.clip_needs import ClipNeeds
from train.run_files import TOKENIZER, read_classes
from train.sources import Source, open_source

# Axes: B clips or texts, T frames, H rows and W columns of pixels, E channels of a feature, C classes.

_CLASSIFIERS: Final = ("videomae_classifier", "uniformerv2", "coordination")
_BATCH: Final = 16
_SEED: Final = 0
"""What a published file lacks is drawn from this seed, so that it is the same each time."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A trained network with all that its use needs; nothing here learns.

    Clips are [B, 3, T, H, W], on any device: bytes as they are decoded, or floats that are normalised as
    ``settings.colours`` says, which is what a loader gives. What comes out lies on the network's device.

    Attributes:
        place: What was loaded.
        kind: Kind of the network, as ``model.kinds`` names it.
        network: The network, in eval mode.
        settings: The clips that it takes.
        tokenizer: The vocabulary of its texts, or None.
        classes: Names of its classes in order, or None.
        tokenizer_place: Where the vocabulary lies, or None.
    """

    place: str
    kind: str
    network: nn.Module
    settings: ClipNeeds
    tokenizer: TextTokenizer | None = None
    classes: tuple[str, ...] | None = None
    tokenizer_place: str | None = None

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return next(self.network.parameters()).device

    @torch.inference_mode()
    def encode_video(self, clips: Shaped[Tensor, "B 3 T H W"]) -> Float[Tensor, "B E"]:
        """Return a feature of length 1 for each clip; ``train.clip_features`` says which.

        Raises:
            ValueError: The network does not take such clips, or has no one feature of a clip.
        """
        return normalize(clip_features(self.network, self._ready(clips)).float(), dim=-1)

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> Float[Tensor, "B E"]:
        """Return a feature of length 1 for each text, in the space of the clips; texts that are too long are cut.

        Raises:
            ValueError: The network reads no texts, there are none, or its vocabulary is not known.
        """
        tokenizer = self._require_tokenizer()
        if isinstance(texts, str) or not texts:
            raise ValueError(f"texts are {texts!r}: a list of one text or more is taken")
        ids = torch.from_numpy(tokenizer.encode_rows(list(texts)).ids).to(self.device)
        return normalize(self._towers().text.embed(ids).float(), dim=-1)

    def caption(
        self,
        clips: Shaped[Tensor, "B 3 T H W"],
        settings: Generation | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> list[str]:
        """Write a caption for each clip.

        Args:
            clips: The clips.
            settings: How to write; None takes the likeliest token each time, at most 30. The ids in them are those of
                the network's vocabulary, whatever they say.
            generator: Where draws come from, for ``kind="nucleus"``.

        Raises:
            ValueError: The network writes no captions or does not take such clips, or its vocabulary is not known.
        """
        tokenizer, towers = self._require_tokenizer(), self._towers()
        most = towers.config.text.context - 1
        wanted = settings or Generation(max_tokens=min(Generation.max_tokens, most))
        own = replace(
            wanted,
            start_id=tokenizer.start_id,
            end_id=tokenizer.end_id,
            padding_id=tokenizer.padding_id,
            vocabulary=tokenizer.vocabulary,
        )
        with torch.inference_mode():
            tokens = towers.encode_video(self._ready(clips)).tokens.flatten(1, 2)
            written = generate(towers, tokens, own, generator)
        return [tokenizer.caption(ids) for ids in written.ids]

    @torch.inference_mode()
    def classify(self, clips: Shaped[Tensor, "B 3 T H W"]) -> Float[Tensor, "B C"]:
        """Score the classes of each clip, before softmax.

        Raises:
            ValueError: The network is no classifier, or does not take such clips.
        """
        if self.kind not in _CLASSIFIERS:
            raise ValueError(f"{self.place} is a {self.kind}, which scores no classes; {', '.join(_CLASSIFIERS)} do")
        found = self.network(self._ready(clips))
        scores: Tensor = found.scores if self.kind == "coordination" else found
        return scores.float()

    def loader_config(self, source: str, **changes: Any) -> LoaderConfig:  # noqa: ANN401 - the fields have many types; replace checks their names
        """Return settings that read a dataset as this network takes it, with nothing drawn: middle frames and crops.

        Args:
            source: The dataset's folder or URL.
            **changes: Fields of ``LoaderConfig`` with other values.

        Raises:
            ValueError: The network takes pictures that are no squares, or a value does not fit.
        """
        needs = self.settings
        if not isinstance(needs.size, int):
            raise ValueError(f"{self.place} takes pictures of {needs.size} pixels, and loaders give squares")  # noqa: TRY004 - a user's fault
        words = self.tokenizer
        tokens = None if words is None else TokenConfig(tokenizer=self.tokenizer_place, context=words.context)
        config = LoaderConfig(
            source=source,
            batch_size=_BATCH,
            lanes=1,
            frames=needs.frames,
            stride=needs.stride,
            size=needs.size,
            sampling=needs.sampling,  # type: ignore[arg-type]  # the loader checks it
            crop=needs.crop,  # type: ignore[arg-type]  # as above
            colours=needs.colours,  # type: ignore[arg-type]  # as above
            rate=needs.rate,
            resample=needs.resample,  # type: ignore[arg-type]  # as above
            tokens=tokens,
        )
        return replace(config.for_evaluation(), **changes)

    def _ready(self, clips: Tensor) -> Tensor:
        return self.settings.normalise(clips.to(self.device))

    def _towers(self) -> VideoTextModel:
        if not isinstance(self.network, VideoTextModel):
            raise ValueError(f"{self.place} is a {self.kind}, which knows no texts; a mm_full does")  # noqa: TRY004 - a user's fault
        return self.network

    def _require_tokenizer(self) -> TextTokenizer:
        self._towers()
        if self.tokenizer is None:
            raise ValueError(
                f"{self.place} comes with no vocabulary: give load_model(..., tokenizer=...) the tokenizer.json or the"
                " merge list that it was trained with"
            )
        return self.tokenizer


def load_model(
    place: str, *, device: str | torch.device = "cpu", tokenizer: str | None = None, trust: bool = False
) -> Pretrained:
    """Load a trained network.

    ``model = load_model("runs/vlc")``, then ``model.encode_video(clips) @ model.encode_text(["a dog"]).T``.

    Args:
        place: A run's ``out``, one of its checkpoints, an export (``OUT/final``), a weights file of ours or a published
            one whose layout is known; a path or ``s3://`` URL.
        device: Where the network goes.
        tokenizer: Vocabulary of its texts, a tokenizer.json or a merge list; None takes the one that lies there.
        trust: Run the code that a pickle or a TorchScript archive holds; it can do whatever the user can do.

    Raises:
        ValueError: There is no network of clips, or what is there is damaged.
        StoreError: It cannot be read.
    """
    source = open_source(place, trust=trust)
    if source.needs is None:
        raise ValueError(f"{source.place} is a {source.description.kind}, which takes no clips")
    words = tokenizer or _kept_tokenizer(source)
    return Pretrained(
        place=source.place,
        kind=source.description.kind,
        network=_build(source).to(device),
        settings=source.needs,
        tokenizer=None if words is None else load_tokenizer(words, context=_context(source)),
        classes=None if source.folder is None else read_classes(source.folder),
        tokenizer_place=words,
    )


def _build(source: Source) -> nn.Module:
    """Build the network; what a published file lacks is drawn, and named in the log."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        network = build_network(source.description.kind, source.description.config)
    if source.fresh:
        _log.warning("%s lacks %d weights, which are not trained: %s", source.place, len(source.fresh), source.fresh[0])
    own = network.state_dict()
    held = {name: value for name, value in own.items() if name not in source.fresh}
    fault = f"{source.place} does not hold the network that its settings describe"
    require_same_entries(shapes_of(source.weights), shapes_of(held), fault)
    network.load_state_dict({**own, **source.weights})
    return network.requires_grad_(requires_grad=False).eval()


def _kept_tokenizer(source: Source) -> str | None:
    folder = source.folder
    return f"{folder.url}/{TOKENIZER}" if folder is not None and folder.exists(TOKENIZER) else None


def _context(source: Source) -> int | None:
    text = getattr(source.description.config, "text", None)
    return None if text is None else text.context
