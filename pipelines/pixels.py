"""From an encoded clip to what DALI makes rows of: rows cut on the host, whole frames, or the clip as it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32

from pipelines.cutter import RowCutter
from pipelines.dali import EncodedInput, FittedInput, FrameInput
from pipelines.decode import OpenClip, RowClip, open_clip
from pipelines.draws import draw_takes
from pipelines.frame_draws import draw_frames, needs_times
from pipelines.meter import StageMeter
from pipelines.packing import ClipShape
from pipelines.plan import Slot
from pipelines.refusals import Refusals
from pipelines.settings import LoaderConfig
from shards.reader import EncodedClip
from shards.record import Media

# K windows of T frames of a clip.

_PICTURES: Final = frozenset({"jpg", "jpeg", "png", "webp"})
"""Extensions of members that are clips of one frame; DALI's video decoder takes none."""


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """What DALI makes a clip's rows from, and the times of its frames in seconds from the video's first."""

    source: FrameInput | FittedInput | EncodedInput
    times: Float32[np.ndarray, "K*T"]


class PixelMaker:
    """Decodes clips on the host or leaves them to DALI; safe in any thread.

    Args:
        meter: gets the time of decoding, and of a look at what DALI is left.
        refusals: what DALI is known to refuse, which is decoded on the host.
    """

    def __init__(self, meter: StageMeter, refusals: Refusals) -> None:
        self._meter, self._refusals = meter, refusals

    def make(self, config: LoaderConfig, slot: Slot, clip: EncodedClip, shape: ClipShape | None = None) -> Pixels:
        """Return what the rows of a slot are made from.

        Args:
            config: the settings of the slot's dataset.
            slot: the sample.
            clip: its clip.
            shape: of the rows, where clips are packed.

        Raises:
            BrokenClipError: its frames cannot be had.
        """
        media = clip.record.media
        for_dali = clip.ext not in _PICTURES and _dali_reads(config, media)
        if for_dali and not self._refusals.cover(slot.sample_id, media):
            return self._leave_to_dali(config, slot, clip, shape)
        return self.decode(config, slot, clip, shape)

    def decode(self, config: LoaderConfig, slot: Slot, clip: EncodedClip, shape: ClipShape | None = None) -> Pixels:
        """Decode a clip's frames on the host, and cut and resize them as they come.

        Whole frames are kept where operations change them before they are cut, and where a part of them cannot be cut
        exactly (see ``plan_fit``): then DALI does that.

        Raises:
            BrokenClipError: they cannot be had.
        """
        media, cutter = clip.record.media, RowCutter(config, slot, shape)
        with self._meter.stage("decode"), open_clip(clip.payload, expected=media) as video:
            found = video.pictures(choose_frames(config, slot, video, media), cutter)
        if isinstance(found, RowClip):
            return Pixels(FittedInput(found.rows, cutter.takes), found.times)
        return Pixels(FrameInput(found.frames, cutter.takes), found.times)

    def _leave_to_dali(self, config: LoaderConfig, slot: Slot, clip: EncodedClip, shape: ClipShape | None) -> Pixels:
        """Leave decoding to DALI, after a look at the packets: all there, and counted as DALI counts them."""
        media = clip.record.media
        with self._meter.stage("look"), open_clip(clip.payload, expected=media) as video:
            plain = video.counts_plainly
            ids = choose_frames(config, slot, video, media)
            times = video.times_of(ids)
        if not plain:
            return self.decode(config, slot, clip, shape)
        takes = draw_takes(config, slot, media.width, media.height, shape)
        return Pixels(EncodedInput(clip.payload, np.array(ids, dtype=np.int64), takes), times)


def choose_frames(config: LoaderConfig, slot: Slot, video: OpenClip, media: Media) -> list[int]:
    """Return which frames of an opened clip a slot takes, window after window."""
    times = video.times() if needs_times(config, media) else None
    ids: list[int] = draw_frames(config, slot, video.num_frames, times).tolist()
    return ids


def _dali_reads(config: LoaderConfig, media: Media) -> bool:
    """Tell whether DALI shall decode a clip: it knows the codec, and no player would turn the picture."""
    on_gpu = config.device != "cpu"
    if config.decoder == "host" or (config.decoder == "auto" and not on_gpu) or media.rotation:
        return False
    return media.decodable.nvdec if on_gpu else media.decodable.dali_cpu
