"""Chosen frames are exactly those of decoding from the start, in every codec; damage is named."""

from __future__ import annotations

import io
import os
import re
from dataclasses import replace

import av
import numpy as np
import pytest

from pipelines import decode
from pipelines.decode import BrokenClipError, counts_plainly, decode_frames, frame_times
from shards.record import Decodable, Media
from tests.support.numbered_videos import HEIGHT, RATE, WIDTH, Coding, decode_all, encode_numbered
from tools.corpus.frame_number import read_frame_number

H264 = Coding(options={"g": "12", "bf": "3", "x264-params": "scenecut=0"})
X265 = {"open": "open-gop=1:keyint=12:bframes=4", "layers": "keyint=12:temporal-layers=3:b-pyramid=1:bframes=4"}
X265 = {name: {"preset": "ultrafast", "x265-params": f"{text}:log-level=none:pools=1"} for name, text in X265.items()}
VPX = {"g": "12", "deadline": "realtime", "cpu-used": "8", "lag-in-frames": "8", "auto-alt-ref": "1"}
CODINGS = [
    H264,
    Coding(options={"g": "12", "bf": "3", "x264-params": "open-gop=1:scenecut=0:b-adapt=0:ref=4:weightp=2"}),
    Coding(container="mpegts", options={"g": "12", "bf": "3", "x264-params": "open-gop=1:scenecut=0:b-adapt=0"}),
    Coding(container="matroska", options={"x264-params": "intra-refresh=1:keyint=12:bframes=2"}),
    Coding(options={"flags": "+ildct+ilme", "x264-params": "tff=1:keyint=12:bframes=3"}),
    Coding(container="avi", options={"g": "12", "bf": "3"}),
    Coding(container="h264", options={"g": "12", "bf": "3"}),
    Coding("libx265", options=X265["open"]),
    Coding("libx265", "mpegts", options=X265["layers"]),
    Coding("libvpx", "webm", options=VPX),
    Coding("libvpx-vp9", "webm", options=VPX),
    Coding("libsvtav1", options={"g": "12", "preset": "13"}),
    Coding("mpeg4", options={"g": "12", "bf": "2", "flags": "+qpel+mv4"}),
    Coding("mpeg4", "avi", options={"g": "12", "bf": "2"}),
    Coding("mpeg2video", "mpegts", options={"g": "12", "bf": "2"}),
    Coding("mpeg2video", "matroska", options={"g": "12", "bf": "2", "intra_matrix": ",".join(["16"] * 64)}),
    Coding("msmpeg4", "avi", options={"g": "12"}),
    Coding("wmv2", "asf", options={"g": "12"}),
    Coding("flv", "flv", options={"g": "12"}),
    Coding("h263p", "avi", options={"g": "12"}),  # this container calls every frame a key frame
    Coding("mjpeg", "mov", "yuvj422p"),
    Coding("ffv1", "matroska", options={"g": "12"}),
]


@pytest.mark.parametrize("coding", CODINGS, ids=str)
def test_every_frame_equals_decoding_from_the_start(coding):
    payload = encode_numbered(coding)
    reference = decode_all(payload)
    assert len(reference) == 40
    rng = np.random.default_rng(0)
    alone = [[index] for index in range(40)]
    for indices in alone + [rng.integers(0, 40, 5).tolist() for _ in range(10)]:
        clip = decode_frames(payload, indices)
        assert [read_frame_number(frame) for frame in clip.frames] == indices
        for index, frame in zip(indices, clip.frames, strict=True):
            np.testing.assert_array_equal(frame, reference[index])


@pytest.mark.slow
@pytest.mark.corpus
def test_real_videos_give_the_frames_of_decoding_from_the_start(corpus_dir):
    """Every third; all of them with VIDLOOM_WHOLE_CORPUS=1."""
    rng = np.random.default_rng(7)
    differing = []
    step = 1 if os.environ.get("VIDLOOM_WHOLE_CORPUS") == "1" else 3
    for path in sorted((corpus_dir / "videos").iterdir())[::step]:
        payload = path.read_bytes()
        last = min(_frame_count(payload), 260) - 1
        indices = [*rng.integers(0, last + 1, 5).tolist(), last]
        reference = decode_all(payload, last, only=indices)
        clip = decode_frames(payload, indices)
        if not all(np.array_equal(clip.frames[n], reference[index]) for n, index in enumerate(indices)):
            differing.append(path.name)
    assert differing == []


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("name", "shape", "frames"),
    [("mdx_ftyp3gp5.mp4", (1280, 720), 39), ("chrome-clip.mp4", (270, 480), 131), ("MVI_4823.AVI", (480, 640), 78)],
)
def test_real_videos_stand_upright_and_hide_what_the_edit_list_hides(corpus_dir, name, shape, frames):
    payload = (corpus_dir / "videos" / name).read_bytes()
    assert decode_frames(payload, [0]).frames.shape == (1, *shape, 3)
    assert _frame_count(payload) == frames


@pytest.mark.corpus
def test_frames_of_an_old_444_stream_are_clean_without_its_first_packet(corpus_dir):
    payload = (corpus_dir / "videos/imageio_cockatoo.mp4").read_bytes()
    late = decode_frames(payload, [150]).frames[0]
    assert np.array_equal(late, decode_all(payload, 150)[150])


def _frame_count(payload: bytes) -> int:
    with pytest.raises(ValueError, match="the clip has frames") as caught:
        decode_frames(payload, [10**9])
    return int(re.findall(r"0 to (\d+)$", str(caught.value))[0]) + 1


def test_frames_come_in_the_order_asked_for_with_repeats_and_times():
    clip = decode_frames(encode_numbered(H264), [30, 2, 30, 0])
    assert [read_frame_number(frame) for frame in clip.frames] == [30, 2, 30, 0]
    assert clip.frames.shape == (4, HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(clip.times, np.array([30, 2, 30, 0]) / RATE, rtol=1e-6)
    assert clip.times.dtype == np.float32


def test_times_of_uneven_frames_are_the_containers_own():
    times = [0, 3, 4, 10, 20, 21, 22, 40, 41, 50]
    payload = encode_numbered(replace(H264, container="matroska"), 10, times=times)
    np.testing.assert_allclose(decode_frames(payload, range(10)).times, np.array(times) / 100, atol=1e-3)
    np.testing.assert_array_equal(frame_times(payload, [3, 3, 9]), decode_frames(payload, [3, 3, 9]).times)


def test_times_count_from_the_first_frame_wherever_it_lies():
    payload = encode_numbered(replace(H264, container="mpegts"), first_time=30)
    np.testing.assert_allclose(decode_frames(payload, [0, 5]).times, [0, 5 / RATE], atol=1e-4)


def test_only_the_packets_that_a_frame_needs_reach_the_decoder(monkeypatch):
    payload = encode_numbered(H264)
    sent: list[int | None] = []
    send = decode._Player._send
    monkeypatch.setattr(decode._Player, "_send", lambda self, number: (sent.append(number), send(self, number))[1])
    decode_frames(payload, [25])
    assert min(n for n in sent if n is not None) == 24
    assert len(sent) <= 6


def test_a_picture_that_a_container_hides_is_not_counted():
    coding = Coding(options={"g": "12", "bf": "0"})
    payload = encode_numbered(coding, first_time=0)
    hidden = _with_edit_list(payload, 5)
    assert [read_frame_number(f) for f in decode_frames(hidden, [0, 10, 34]).frames] == [5, 15, 39]
    assert (counts_plainly(payload), counts_plainly(hidden)) == (True, False)
    np.testing.assert_allclose(frame_times(hidden, [0, 1]), [0, 1 / RATE], atol=1e-6)


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_interlaced_clips_do_not_count_plainly(container):
    fields = Coding(container=container, options={"flags": "+ildct+ilme", "x264-params": "tff=1:keyint=12"})
    assert not counts_plainly(encode_numbered(fields, 8))
    assert counts_plainly(encode_numbered(Coding(container=container), 8))


def _with_edit_list(payload: bytes, frames: int) -> bytes:
    """Let the edit list of an MP4 begin ``frames`` later."""
    at = payload.index(b"elst") + 4
    begin = at + 4 + 4 + 4  # version and flags, count, duration of the segment
    with av.open(io.BytesIO(payload)) as container:
        tick = container.streams.video[0].time_base
    media_time = int(frames / RATE / tick)
    return payload[:begin] + media_time.to_bytes(4) + payload[begin + 4 :]


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_rotated_clips_come_upright(angle):
    payload = _rotated(encode_numbered(Coding(options={"bf": "0"}), 3), angle)
    plain = decode_frames(encode_numbered(Coding(options={"bf": "0"}), 3), [1]).frames[0]
    turned = decode_frames(payload, [1]).frames[0]
    np.testing.assert_array_equal(turned, np.rot90(plain, -angle // 90))


def _rotated(payload: bytes, clockwise: int) -> bytes:
    """Put a turn into the track header of an MP4."""
    cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[clockwise]
    one = 1 << 16
    matrix = [cosine * one, sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 1 << 30]
    at = payload.index(b"tkhd") + 4 + 40
    return payload[:at] + b"".join(v.to_bytes(4, signed=True) for v in matrix) + payload[at + 36 :]


def media(frames: int) -> Media:
    return Media(
        duration=1.6,
        num_frames=frames,
        fps=25.0,
        is_vfr=False,
        width=WIDTH,
        height=HEIGHT,
        rotation=0,
        codec="h264",
        profile="High",
        pix_fmt="yuv420p",
        max_gop=12,
        keyframes=(0, 12, 24, 36),
        has_audio=False,
        decodable=Decodable(pyav=True, dali_cpu=False, nvdec=True),
    )


def test_a_record_that_does_not_fit_the_clip_is_named():
    payload = encode_numbered(H264)
    decode_frames(payload, [0], expected=media(40))
    with pytest.raises(BrokenClipError, match="has 40 frames where its record says 50"):
        decode_frames(payload, [0], expected=media(50))
    with pytest.raises(BrokenClipError, match="has 40 frames where its record says 50"):
        frame_times(payload, [0], expected=media(50))


@pytest.mark.parametrize("indices", [[-1], [40], [0, 400]])
def test_frames_that_a_clip_does_not_have_are_named(indices):
    with pytest.raises(ValueError, match=rf"frame {indices[-1]} was asked for; the clip has frames 0 to 39"):
        decode_frames(encode_numbered(H264), indices)


def test_no_frames_at_all_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        decode_frames(b"", [])


@pytest.mark.parametrize("payload", [b"", b"no video at all " * 40, bytes(4000)])
def test_bytes_that_are_no_video_are_named(payload):
    with pytest.raises(BrokenClipError, match=rf"{len(payload)} bytes"):
        decode_frames(payload, [0])


def test_a_playlist_cannot_make_the_decoder_open_other_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.mp4").write_bytes(encode_numbered(H264, 3))
    playlist = b"ffconcat version 1.0\nfile secret.mp4\n"
    with pytest.raises(BrokenClipError, match="is no video"):
        decode_frames(playlist, [0])


def test_damage_is_named_with_its_frame_and_spares_other_groups():
    payload = encode_numbered(H264)
    with av.open(io.BytesIO(payload)) as container:
        packet = next(p for n, p in enumerate(container.demux(video=0)) if n == 24)
        begin, size = packet.pos, packet.size
    broken = payload[: begin + 12] + b"\xff" * (size - 12) + payload[begin + size :]
    with pytest.raises(BrokenClipError, match=r"frame 24 of 40 \(at 0\.960 s\)"):
        decode_frames(broken, [26])
    assert [read_frame_number(f) for f in decode_frames(broken, [3, 38]).frames] == [3, 38]


def test_a_missing_end_is_named():
    payload = encode_numbered(replace(H264, container="matroska"))
    cut = payload[: len(payload) // 2]
    with pytest.raises(BrokenClipError, match="where its record says 40"):
        decode_frames(cut, [0], expected=media(40))


def test_pictures_beyond_the_bound_are_refused():
    payload = encode_numbered(Coding("libvpx", "webm", options={"deadline": "realtime"}), 2)
    with pytest.raises(BrokenClipError, match="pictures above 5000 pixels are refused"):
        decode_frames(payload, [0], max_pixels=5000)


def test_results_beyond_the_bound_are_refused():
    with pytest.raises(BrokenClipError, match="more than the 100000 bytes"):
        decode_frames(encode_numbered(H264), [0, 1, 2], max_bytes=100_000)


def test_a_change_of_size_is_named():
    coding = Coding(container="h264", options={"bf": "0"})
    payload = encode_numbered(coding, 3) + encode_numbered(coding, 3, size=(96, 64))
    with pytest.raises(BrokenClipError, match="frame 4 is 96x64 pixels, the others 128x96"):
        decode_frames(payload, [0, 4])


def test_a_cover_picture_is_not_the_video_and_sound_alone_is_none():
    with pytest.raises(BrokenClipError, match="no video stream"):
        decode_frames(_sound(), [0])


def _sound() -> bytes:
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return target.getvalue()
