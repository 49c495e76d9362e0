"""Tests of packets out of an index: the demuxer's packets, and stretches of the file that hold them."""

from __future__ import annotations

import io
import struct
from types import SimpleNamespace

import av
import pytest

from tests.support.numbered_videos import Coding, encode_numbered
from tests.support.odd_videos import with_sound
from tools.corpus import sample_index
from tools.corpus.container import IsoFile
from tools.corpus.sample_index import indexed_samples

CODING = Coding(options={"g": "10", "bf": "2"})


def samples_of(file, source=None):
    with av.open(io.BytesIO(file)) as container:
        return indexed_samples(container, container.streams.video[0], IsoFile(file if source is None else source))


@pytest.mark.parametrize("file", [encode_numbered(CODING), with_sound("mp4", "libx264", "aac")], ids=["alone", "sound"])
def test_packets_are_those_of_the_demuxer(file):
    found = samples_of(file)
    with av.open(io.BytesIO(file)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    wanted = [(p.pts, p.dts, p.duration, p.time_base, p.is_keyframe, bytes(p)) for p in packets]
    assert [(p.pts, p.dts, p.duration, p.time_base, p.is_keyframe, bytes(p)) for p in found] == wanted
    assert found.offsets.tolist() == [packet.pos for packet in packets]
    assert [bytes(p) for p in found[3:5]] == [bytes(p) for p in packets[3:5]]
    assert b"".join(found.stretches(2, 20)) == b"".join(bytes(p) for p in packets[2:21])


def test_packets_that_lie_together_are_one_stretch():
    assert len(list(samples_of(encode_numbered(CODING)).stretches(0, 9))) == 1


def test_stretches_leave_out_what_lies_between():
    found = samples_of(with_sound("mp4", "libx264", "aac"))
    count = len(found)
    assert len(list(found.stretches(0, count - 1))) > 1
    for first in range(0, count, 3):
        for last in range(first, count, 4):
            assert b"".join(found.stretches(first, last)) == b"".join(map(bytes, found[first : last + 1]))


@pytest.mark.parametrize(
    ("entries", "is_plain"),
    [
        ([], True),
        ([(0, 10), (90, 10)], True),
        ([(0, 10), (91, 10)], False),
        ([(-1, 10)], False),
        ([(5, 0), (0, 1)], False),
        ([((1 << 63) - 5, 10), (0, 1)], False),
    ],
)
def test_sound_must_lie_in_the_file(entries, is_plain):
    rows = [SimpleNamespace(pos=pos, size=size) for pos, size in entries]
    for kind, codec in (("audio", SimpleNamespace(name="aac")), ("data", None)):
        stream = SimpleNamespace(type=kind, codec_context=codec, index_entries=rows)
        assert sample_index._is_left_alone(stream, 100) is is_plain


@pytest.mark.parametrize(("kind", "codec"), [("audio", "mp3float"), ("audio", None), ("subtitle", "mov_text")])
def test_other_streams_are_not_left_alone(kind, codec):
    context = None if codec is None else SimpleNamespace(name=codec)
    assert not sample_index._is_left_alone(SimpleNamespace(type=kind, codec_context=context, index_entries=[]), 100)


def test_nothing_is_said_of_other_files():
    file = encode_numbered(CODING)
    assert samples_of(file, source=file + b"\0") is None


@pytest.mark.parametrize(("name", "other"), [(b"mvhd", b"abcd"), (b"udta", b"mvex")])
def test_nothing_is_said_of_files_whose_length_is_told_elsewhere(name, other):
    file = encode_numbered(CODING)
    assert file.count(name) == 1
    assert samples_of(file, source=file.replace(name, b"free" if name == b"udta" else name)) is not None
    assert samples_of(file, source=file.replace(name, other)) is None


@pytest.mark.parametrize("name", [b"stts", b"ctts", b"stsz", b"stsc"])
def test_tables_that_ffmpeg_reads_otherwise_are_not_trusted(name):
    file = encode_numbered(CODING)
    other = file.replace(name, b"abcd")
    assert samples_of(file, source=other) is None
    at = file.index(name) + 8
    assert samples_of(file, source=file[:at] + b"\0\0\0\7" + file[at + 4 :]) is None


def test_groups_of_samples_say_nothing_but_unknown_tables_might():
    file = encode_numbered(CODING)
    groups = [struct.pack(">I4sI4sI", 20, name, 0, b"roll", 0) for name in (b"sbgp", b"sgpd")]
    found, wanted = samples_of(with_tables(file, b"".join(groups))), samples_of(file)
    assert found.pts.tolist() == wanted.pts.tolist()
    assert found.is_key.tolist() == wanted.is_key.tolist()
    assert samples_of(with_tables(file, groups[0].replace(b"sbgp", b"abcd"))) is None


def with_tables(file, tables):
    """Return a file of one track, whose header comes last, with more tables of samples."""
    held = bytearray(file)
    behind = file.index(b"stbl") - 4 + int.from_bytes(file[file.index(b"stbl") - 4 :][:4], "big")
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        at = file.index(name) - 4
        held[at : at + 4] = (int.from_bytes(held[at : at + 4], "big") + len(tables)).to_bytes(4, "big")
    held[behind:behind] = tables
    return bytes(held)


def test_a_delay_is_read_from_the_file_and_marks_are_told():
    file = encode_numbered(CODING)
    found = samples_of(file)
    assert (found.pts >= found.dts).all()
    assert (found.pts > found.dts).any()
    assert not found.is_marked.any()
