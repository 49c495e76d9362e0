"""A plain MP4 that is opened by its own index gives what FFmpeg's demuxer gives; other files are left to FFmpeg."""

from __future__ import annotations

import io
import struct
from contextlib import contextmanager, suppress

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace

from pipelines import opening
from pipelines.decode import BrokenClipError, decode_frames
from pipelines.opening import field_order, opened
from tests.support.numbered_videos import Coding, encode_numbered, picture

MANY = 1 << 26
PLAIN = Coding(options={"g": "12", "bf": "3"})
TIMES = [0, 4, 8, 30, 34, 38, 60, 61, 90, 94, 100, 104, 120, 124, 130, 141, 150, 154, 160, 166]


def in_bt709() -> bytes:
    """Return a clip whose container tells its colours."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=25, options={"g": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        context = stream.codec_context
        context.thread_count, context.colorspace, context.color_primaries, context.color_trc = (
            1,
            Colorspace.ITU709,
            1,
            1,
        )
        for number in range(8):
            frame = av.VideoFrame.from_ndarray(picture(number, 64, 48), format="rgb24")
            out.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace="itu709")))
        out.mux(stream.encode(None))
    return target.getvalue()


@contextmanager
def by_ffmpeg(monkeypatch: pytest.MonkeyPatch):
    """Open everything by FFmpeg's demuxers."""
    with monkeypatch.context() as patched:
        patched.setattr(opening, "_plain_index", lambda payload: None)
        yield


def uses_ffmpeg(payload: bytes, monkeypatch: pytest.MonkeyPatch) -> bool:
    seen = []
    whole = opening.demuxed
    monkeypatch.setattr(opening, "demuxed", lambda *given: (seen.append(given), whole(*given))[1])
    with suppress(BrokenClipError), opened(payload, MANY):
        pass
    return bool(seen)


CLIPS = {
    "pictures in another order": lambda: encode_numbered(PLAIN),
    "a pyramid": lambda: encode_numbered(Coding(options={"x264-params": "bframes=7:b-pyramid=normal:b-adapt=0"})),
    "an uneven rate": lambda: encode_numbered(PLAIN, 20, times=TIMES),
    "key frames alone": lambda: encode_numbered(Coding(options={"g": "1"}), 5),
    "colours of BT.709": in_bt709,
}


@pytest.mark.parametrize("name", CLIPS)
def test_the_index_and_the_demuxer_give_the_same_packets_and_pictures(name, monkeypatch):
    payload = CLIPS[name]()
    assert not uses_ffmpeg(payload, monkeypatch)
    ids = [4, 0, 3, 2]
    with opened(payload, MANY) as found:
        ours, held = found.table, found.context.reorder_depth
        clip = decode_frames(payload, ids)
    with by_ffmpeg(monkeypatch), opened(payload, MANY) as found:
        theirs, context = found.table, found.context
        for column in ("pts", "order", "rank", "is_key"):
            np.testing.assert_array_equal(getattr(ours, column), getattr(theirs, column))
        assert (ours.tick, ours.codec, ours.seekable, ours.nal) == (
            theirs.tick,
            theirs.codec,
            theirs.seekable,
            theirs.nal,
        )
        assert [bytes(packet) for packet in ours.packets[:]] == [bytes(packet) for packet in theirs.packets]
        assert held == context.reorder_depth
        reference = decode_frames(payload, ids)
    np.testing.assert_array_equal(clip.frames, reference.frames)
    np.testing.assert_array_equal(clip.times, reference.times)


def test_colours_that_only_the_container_tells_reach_the_decoder(monkeypatch):
    payload = in_bt709()
    at = payload.index(b"nclx") + 4
    others = payload[:at] + struct.pack(">HHHB", 6, 6, 6, 128) + payload[at + 7 :]
    with opened(others, MANY) as found:
        ours = found.context
        told = (ours.color_primaries, ours.color_trc, ours.colorspace, ours.color_range)
    with by_ffmpeg(monkeypatch), opened(others, MANY) as found:
        theirs = found.context
        assert told == (theirs.color_primaries, theirs.color_trc, theirs.colorspace, theirs.color_range) == (6, 6, 6, 2)


@pytest.mark.parametrize(
    ("box", "offset", "value"),
    [
        (b"tkhd", 40, 0),  # a matrix that turns
        (b"mvhd", 36, 0),
        (b"elst", 8, 100),  # an edit list that hides the last frames
        (b"stsd", 12, 0x68766331),  # hvc1
    ],
)
def test_an_mp4_of_another_kind_is_opened_by_ffmpeg(box, offset, value, monkeypatch):
    payload = encode_numbered(PLAIN, 8)
    at = payload.index(box) + 4 + offset
    changed = payload[:at] + struct.pack(">I", value) + payload[at + 4 :]
    assert uses_ffmpeg(changed, monkeypatch)


def in_moov(payload: bytes, name: bytes, offset: int, form: str, *values: int) -> bytes:
    """Return a clip with other numbers ``offset`` bytes into the contents of a box of its index."""
    at = payload.index(name, payload.index(b"moov")) + 4 + offset
    written = struct.pack(form, *values)
    return payload[:at] + written + payload[at + len(written) :]


def with_box(payload: bytes, before: bytes, box: bytes, parents: tuple[bytes, ...]) -> bytes:
    """Return a clip, whose index comes last, with one more box in it."""
    at = payload.index(before, payload.index(b"moov")) - 4
    made = payload[:at] + struct.pack(">I", len(box) + 4) + box + payload[at:]
    for parent in parents:
        place = made.index(parent, made.index(b"moov")) - 4
        (size,) = struct.unpack_from(">I", made, place)
        made = made[:place] + struct.pack(">I", size + len(box) + 4) + made[place + 4 :]
    return made


STBL = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def in_colours(primaries: int, transfer: int, matrix: int) -> bytes:
    """Return a clip whose container alone tells its colours."""
    box = b"colr" + struct.pack(">4sHHHB", b"nclx", primaries, transfer, matrix, 0)
    return with_box(encode_numbered(PLAIN, 8), b"avcC", box, (*STBL, b"stsd", b"avc1"))


@pytest.mark.parametrize("cut", [(2, 4), (0, 8), (-4, -4), (20, 20), (128, 96)])
def test_the_container_cuts_off_what_pictures_are_padded_with(cut, monkeypatch):
    plain = encode_numbered(PLAIN, 8)
    payload = in_moov(plain, b"avc1", 24, ">HH", 128 - cut[0], 96 - cut[1])
    assert not uses_ffmpeg(payload, monkeypatch)
    ours = decode_frames(payload, [0, 7]).frames
    with by_ffmpeg(monkeypatch):
        np.testing.assert_array_equal(ours, decode_frames(payload, [0, 7]).frames)
    assert (ours.shape[1:3] == (96 - cut[1], 128 - cut[0])) == (0 <= max(cut) < 16)


@pytest.mark.parametrize("ticks", [0, 1 << 31])
@pytest.mark.parametrize("clock", [b"mdhd", b"mvhd"])
def test_a_clock_that_cannot_be_is_left_to_ffmpeg(clock, ticks, monkeypatch):
    assert uses_ffmpeg(in_moov(encode_numbered(PLAIN, 8), clock, 12, ">I", ticks), monkeypatch)


def test_more_pictures_out_of_order_than_decoders_bear_are_left_to_ffmpeg(monkeypatch):
    """FFmpeg's decoder of H.264 ends the process when it is told to hold back more than 16."""
    payload = encode_numbered(Coding(options={"g": "99", "bf": "0"}), 40)
    at = payload.index(b"stts", payload.index(b"moov"))
    (tick,) = struct.unpack_from(">I", payload, at + 16)
    late = b"".join(struct.pack(">Ii", 1, tick * (39 - 2 * number)) for number in range(40))
    backwards = with_box(payload, b"stsc", b"ctts" + struct.pack(">II", 0, 40) + late, STBL)
    assert uses_ffmpeg(backwards, monkeypatch)
    with opened(backwards, MANY) as found:
        assert found.table.held_back == 39
        assert found.context.reorder_depth <= 16


@pytest.mark.parametrize("numbers", [(300, 1, 1), (1, 300, 1), (1, 1, 200), (13, 1, 1)])
def test_colours_of_unknown_numbers_are_left_to_ffmpeg(numbers, monkeypatch):
    payload = in_colours(*numbers)
    assert uses_ffmpeg(payload, monkeypatch)
    assert decode_frames(payload, [0, 7]).frames.shape == (2, 96, 128, 3)


def test_colours_that_ffmpeg_cannot_turn_into_rgb_are_named():
    with pytest.raises(BrokenClipError, match=r"frame 7 has colours \(matrix 8\) that FFmpeg cannot turn into RGB"):
        decode_frames(in_colours(1, 1, 8), [7])


def test_a_file_of_two_indices_is_left_to_ffmpeg(monkeypatch):
    payload = encode_numbered(PLAIN, 8)
    at = payload.index(b"moov") - 4
    assert uses_ffmpeg(payload[:at] + payload[at:] * 2, monkeypatch)


def test_a_clip_that_was_cut_short_is_refused_by_ffmpeg():
    payload = encode_numbered(PLAIN, 8)
    with pytest.raises(BrokenClipError, match=r"is no video"):
        decode_frames(payload[:-200], [0])


def test_the_order_of_fields_is_told_of_what_the_index_opens():
    fields = Coding(options={"flags": "+ildct+ilme", "x264-params": "tff=1:keyint=12"})
    assert field_order(encode_numbered(PLAIN, 4), MANY) == 1
    assert field_order(encode_numbered(fields, 4), MANY) > 1


def test_a_damaged_index_gives_the_frames_that_ffmpeg_finds_by_it(monkeypatch):
    payload = encode_numbered(PLAIN, 12)
    rng = np.random.default_rng(0)
    places = rng.integers(payload.index(b"moov"), len(payload), 60)
    for place, value in zip(places.tolist(), rng.integers(0, 256, 60).tolist(), strict=True):
        damaged = payload[:place] + bytes([value]) + payload[place + 1 :]
        ours = _frames_or_none(damaged)
        with by_ffmpeg(monkeypatch):
            theirs = _frames_or_none(damaged)
        assert theirs is None or (ours is not None and np.array_equal(ours, theirs)), place


def _frames_or_none(payload: bytes) -> np.ndarray | None:
    try:
        return decode_frames(payload, [0, 7]).frames
    except (BrokenClipError, ValueError):
        return None
