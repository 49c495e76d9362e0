"""Embeddings of a shard: of its clips, of windows along them, of their frames, or of their captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from model.video_text import VideoTextModel
from pipelines.settings import LoaderConfig
from pipelines.time_windows import TimeWindows, WindowReader
from shards.manifest import Manifest
from shards.store import Store
from train.apply.embed_table import About, Of, Piece, weights_digest
from train.apply.shard_clips import ClipPass, Computing, blank_clip, part_of
from train.evaluate.tokens import frame_features
from train.pretrained import Pretrained

# Axes: B clips, T frames, S time slots, H rows and W columns of pixels, D channels.


@dataclass(frozen=True, slots=True)
class EmbedSettings:
    """What is embedded and how.

    Attributes:
        of: ``video``: a clip or a window of it; ``text``: its caption; ``frames``: each time slot of the network.
        windows: Windows along a clip, for ``video``; None embeds a clip once, as the network samples it.
        computing: How a rank computes.

    Raises:
        ValueError: Windows are asked for of something else than video.
    """

    of: Of = "video"
    windows: TimeWindows | None = None
    computing: Computing = field(default_factory=Computing)

    def __post_init__(self) -> None:
        if self.windows is not None and self.of != "video":
            raise ValueError(f"windows are of video, and --of is {self.of}: leave out --windows, or give --of video")


class Embedder:
    """Embeds shards of one dataset with one network.

    Args:
        model: The network.
        settings: What is embedded and how.
        store: The dataset.
        manifest: Its manifest.

    Raises:
        ValueError: The network has no such embeddings.
    """

    def __init__(self, model: Pretrained, settings: EmbedSettings, store: Store, manifest: Manifest) -> None:
        self._model, self._settings, self._store, self._manifest = model, settings, store, manifest
        words = model.tokenizer if settings.of == "text" else None
        windows = settings.windows
        self.about = About(
            of=settings.of,
            space="shared" if isinstance(model.network, VideoTextModel) and settings.of != "frames" else "own",
            dim=self._try(),
            kind=model.kind,
            weights=weights_digest(model.network),
            vocabulary=None if words is None else words.digest,
            dataset=manifest.digest,
            clips=model.settings.to_plain(),
            windows=None if windows is None else {"seconds": windows.seconds, "stride": windows.stride},
            precision=settings.computing.precision,
        )

    def pieces(self, number: int, records: pa.Table) -> list[Piece]:
        """Embed a shard; every record has a piece at least, in their order."""
        if not len(records):
            return []
        part = part_of(self._manifest, number)
        if self._settings.of == "text":
            found = list(self._texts(records["caption"].to_pylist()))
        elif self._settings.windows is None:
            found = list(self._clips(part, records["key"].to_pylist()))
        else:
            found = self._windows(part, self._settings.windows)
        return sorted(found, key=lambda piece: piece.record)

    def _try(self) -> int:
        """Embed nothing much, to know the embedding's size and that there is one."""
        if self._settings.of == "text":
            return self._model.encode_text(["a"]).shape[-1]
        return self._encode(blank_clip(self._model)).shape[-1]

    @torch.inference_mode()
    def _encode(self, video: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B S D"]:
        """Return embeddings of length 1 on the host: one of each clip, or one of each time slot."""
        model = self._model
        with self._settings.computing.casting(model.device):
            if self._settings.of == "frames":
                ready = model.settings.normalise(video.to(model.device))
                found = normalize(frame_features(model.network, ready).float(), dim=-1)
            else:
                found = model.encode_video(video).float()[:, None]
        return found.cpu()

    def _texts(self, captions: Sequence[str]) -> Iterator[Piece]:
        computing, device = self._settings.computing, self._model.device
        yield from (Piece(n, error="its caption is empty") for n, text in enumerate(captions) if not text.strip())
        given = [record for record, text in enumerate(captions) if text.strip()]
        for first in range(0, len(given), computing.batch_size):
            some = given[first : first + computing.batch_size]
            with computing.casting(device):
                found = self._model.encode_text([captions[record] for record in some]).float().cpu()
            yield from (_piece(record, None, None, feature) for record, feature in zip(some, found, strict=True))

    def _clips(self, part: Manifest, keys: Sequence[str]) -> Iterator[Piece]:
        place = {key: record for record, key in enumerate(keys)}
        batches = ClipPass(self._config(), self._store, part)
        for batch in batches:
            found, times = self._encode(batch.video), batch.frame_times.cpu()
            for row in batch.valid.nonzero()[:, 0].tolist():
                yield from _slots(place[batch.keys[row]], found[row], times[row])
        for key, error in batches.failures.items():
            yield Piece(place[key], error=error)

    def _windows(self, part: Manifest, windows: TimeWindows) -> list[Piece]:
        reader = WindowReader(self._config(), self._store, part, windows)
        found: list[Piece] = []
        for batch in reader:
            features = self._encode(batch.video)[:, 0]
            for record, span, feature in zip(batch.clips, batch.spans, features, strict=True):
                found.append(_piece(record, span.start, span.end, feature))
        whole = [piece for piece in found if piece.record not in reader.failures]
        failed = [Piece(record, error=f"{type(why).__name__}: {why}") for record, why in reader.failures.items()]
        return whole + failed

    def _config(self) -> LoaderConfig:
        return self._model.loader_config(self._store.url, **self._settings.computing.loading(self._model.device))


def _slots(record: int, found: Float[Tensor, "S D"], times: Float[Tensor, "T"]) -> Iterator[Piece]:
    """Yield the embeddings of a clip: of all its frames, or of those of each time slot."""
    size = len(times) // len(found)
    for feature, moment in zip(found, times.reshape(len(found), size), strict=True):
        yield _piece(record, float(moment.min()), float(moment.max()), feature)


def _piece(record: int, start: float | None, end: float | None, feature: Float[Tensor, "D"]) -> Piece:
    if not feature.isfinite().all():
        return Piece(record, start, end, error="the network gives numbers for it that are not finite")
    return Piece(record, start, end, feature.numpy())
