"""Tests of the pass over packets: by the index it gives what FFmpeg's demuxer gives, damage and its name included."""

from __future__ import annotations

import io
import random
from types import SimpleNamespace

import av
import pytest

from tests.support.numbered_videos import Coding, encode_numbered
from tests.support.odd_videos import with_display_matrix, with_edits, with_sound
from tools.corpus import walk
from tools.corpus.held_media import HeldMedia
from tools.corpus.media_file import Limits, MediaError
from tools.corpus.probe import probe

PLAIN = {
    "no b-frames": Coding(options={"g": "10", "bf": "0"}),
    "b-frames": Coding(options={"g": "10", "bf": "2"}),
    "pyramid": Coding("libx264", "mov", options={"g": "10", "bf": "3", "x264-params": "b-pyramid=normal"}),
    "slices": Coding(options={"g": "10", "bf": "1", "x264-params": "slices=4"}),
}
ODD = {
    "gradual refresh": Coding(options={"g": "10", "x264-params": "intra-refresh=1"}),
    "open groups": Coding(options={"g": "10", "bf": "2", "x264-params": "open-gop=1"}),
    "other container": Coding("libx264", "matroska", options={"g": "10"}),
    "other codec": Coding("mpeg4"),
}
DAMAGES = 120


@pytest.fixture
def by_index(monkeypatch):
    """Note for each pass whether it went by the index."""
    seen, real = [], walk._walk_indexed

    def noted(*given):
        found = real(*given)
        seen.append(found is not None)
        return found

    monkeypatch.setattr(walk, "_walk_indexed", noted)
    return seen


def found_of(source, limits=None):
    """Return all that a probe says, and the packets that it keeps."""
    taken = limits or Limits()
    try:
        with HeldMedia(source, taken, keep_bytes=1 << 20) as media:
            found = probe(media, limits=taken)
            kept = [(p.pts, p.dts, p.duration, p.is_keyframe, p.time_base, bytes(p)) for p in media.kept.packets]
    except MediaError as error:
        return error.reason, str(error)
    packets, line = found.packets, found.timeline
    columns = [packets.pts, packets.dts, packets.size, packets.is_key, packets.is_shown, line.ticks]
    facts = [found.media, found.container, found.untimed, found.header_fault, found.first_pts, found.aspect]
    rest = [found.mirrored, found.changes_size, found.config, line.stop, line.base, found.media.rotation]
    return [column.tolist() for column in columns], facts, rest, kept


def both_ways(source, limits=None):
    """Return what is found by the index, if it may be, and what by the demuxer."""
    first = found_of(source, limits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "_walk_indexed", lambda *_: None)
        return first, found_of(source, limits)


@pytest.mark.parametrize("coding", PLAIN.values(), ids=PLAIN.keys())
def test_plain_files_are_read_by_their_index(coding, by_index):
    first, second = both_ways(encode_numbered(coding))
    assert first == second
    assert by_index == [True]


@pytest.mark.parametrize("coding", ODD.values(), ids=ODD.keys())
def test_odd_files_are_left_to_the_demuxer(coding, by_index):
    first, second = both_ways(encode_numbered(coding))
    assert first == second
    assert True not in by_index


def test_sound_beside_the_video_is_left_alone(by_index):
    first, second = both_ways(with_sound("mp4", "libx264", "aac"))
    assert first == second
    assert by_index == [True]


def test_edit_lists_that_leave_pictures_out_are_left_to_the_demuxer(by_index):
    source = encode_numbered(PLAIN["no b-frames"])
    for edits in ([(20, 10)], [(10, 0), (10, 20)], [(10, 0), (30, 10)], [(20, 0)]):
        first, second = both_ways(with_edits(source, edits))
        assert first == second
    assert True not in by_index


def test_turned_pictures_are_the_same(by_index):
    first, second = both_ways(with_display_matrix(encode_numbered(PLAIN["b-frames"]), 0, 1, -1, 0))
    assert first == second
    assert first[1][0].rotation
    assert by_index == [True]


def test_too_many_frames_are_refused(by_index):
    first, second = both_ways(encode_numbered(PLAIN["b-frames"]), Limits(max_frames=20))
    assert first == second
    assert "more than 20 frames" in first[1]
    assert by_index == [False]


@pytest.mark.parametrize("seed", [1, 2])
def test_damage_is_found_as_by_the_demuxer(seed, by_index):
    sources = [encode_numbered(PLAIN["b-frames"]), with_sound("mp4", "libx264", "aac")]
    chance = random.Random(seed)
    refused = 0
    for number in range(DAMAGES):
        first, second = both_ways(_damaged(sources[number % 2], chance))
        assert first == second
        refused += len(first) == 2
    assert 0 < refused < DAMAGES
    assert 0 < sum(by_index) < len(by_index)


@pytest.mark.parametrize(("number", "is_refused"), [(0, True), (1, False), (2, False)])
def test_no_picture_but_the_first_is_decoded(number, is_refused, by_index):
    source = encode_numbered(PLAIN["b-frames"])
    with av.open(io.BytesIO(source)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
        slice_data = packet.pos + packet.size * 2 // 3
        end = packet.pos + packet.size
    first, second = both_ways(source[:slice_data] + b"\xff" * (end - slice_data) + source[end:])
    assert first == second
    assert (len(first) == 2) is is_refused
    assert by_index == [not is_refused]


@pytest.mark.parametrize(
    ("is_key", "codec", "asked"),
    [(True, "h264", ["a", None, "flush", "a", "b"]), (False, "h264", "ab"), (True, "vp9", "ab")],
)
def test_packets_follow_where_asking_gives_no_picture(is_key, codec, asked):
    seen = []
    context = SimpleNamespace(name=codec, flush_buffers=lambda: seen.append("flush"))
    context.decode = lambda packet: (
        seen.append(packet and packet.name) or ["picture"] * (packet is not None and packet.name == "b")
    )
    first = walk.FirstFrame(SimpleNamespace(codec_context=context), Limits())
    for name in "abc":
        first.feed(SimpleNamespace(name=name, is_keyframe=is_key))
    assert seen == list(asked)
    assert not first.is_awaited


def _damaged(source, chance):
    """Return the file with a bit of its header or payload turned, bytes wiped out, or its end cut off."""
    file, header = bytearray(source), source.index(b"moov")
    kind = chance.choice(["bit", "byte", "table", "anywhere", "hole", "cut"])
    at = chance.randrange(len(file)) if kind in {"anywhere", "hole", "cut"} else chance.randrange(header, len(file))
    if kind == "table":
        name = chance.choice([b"stts", b"ctts", b"stsz", b"stsc", b"stco", b"stss", b"elst", b"mdhd", b"stsd"])
        at = max(file.find(name, header), header) + chance.randrange(32)
    if kind == "cut":
        return bytes(file[:at])
    if kind == "hole":
        file[at : at + 40] = bytes(len(file[at : at + 40]))
    else:
        file[at] = file[at] ^ 1 << chance.randrange(8) if kind != "byte" else chance.choice([0, 1, 255])
    return bytes(file)
