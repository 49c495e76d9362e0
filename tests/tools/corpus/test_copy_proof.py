"""Tests of proving copies by their index: records are those of opening the copy, and what proves nothing is refused."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from tests.support.numbered_videos import Coding, encode_numbered
from tools.corpus import cut
from tools.corpus.copy_proof import proven_media
from tools.corpus.cut import CutSettings, cut_video
from tools.corpus.media_file import Limits
from tools.corpus.probe import probe
from tools.corpus.remux import NotCopyableError, Run, copy_packets, packet_run, require_same
from tools.corpus.timeline import Span

GOP10 = {"g": "10", "bf": "2"}
SPAN = Span(10, 20)


class Copy:
    """A source, its probe, and the copy of one span."""

    def __init__(self, coding, span=SPAN, times=None):
        self.found = probe(payload := encode_numbered(coding, times=times))
        self.span, self.run = span, packet_run(self.found, span)
        self.payload = copy_packets(payload, self.found, self.run, Limits())

    def proven(self, payload=None, **changes):
        return proven_media(payload or self.payload, replace(self.found, **changes), self.run, self.span)


@pytest.fixture(scope="module")
def plain():
    return Copy(Coding(options=GOP10))


@pytest.mark.parametrize(
    ("coding", "times"),
    [
        (Coding(options=GOP10), None),
        (Coding(options=GOP10), [number * number for number in range(40)]),
        (Coding("libx264", "matroska", options={"g": "10", "bf": "0"}), None),
        (Coding("libx264", "mov", options=GOP10), None),
    ],
    ids=str,
)
def test_records_are_those_of_opening_the_copy(coding, times):
    for span in (SPAN, Span(0, 10), Span(30, 40)):
        made = Copy(coding, span, times)
        assert made.proven() == require_same(made.payload, made.found, span, Limits()).media


def test_copies_are_opened_only_where_their_index_does_not_prove_them(monkeypatch):
    opened = []
    monkeypatch.setattr(cut, "require_same", lambda *given: opened.append(given) or require_same(*given))
    for coding, count in ((Coding(options=GOP10), 0), (Coding("libvpx", "webm", options={"g": "10"}), 2)):
        payload = encode_numbered(coding)
        keys = [float(probe(payload).timeline.at(key)) for key in probe(payload).media.keyframes[:3]]
        pieces = cut_video(payload, [(keys[0], keys[1]), (keys[1], keys[2])], CutSettings())
        assert [piece.cut for piece in pieces] == ["packets"] * 2
        assert len(opened) == count


def test_parameter_sets_among_the_packets_prove_nothing(plain):
    repeated = {"g": "10", "bf": "0", "x264-params": "repeat-headers=1"}
    assert probe(encode_numbered(Coding("libx264", "matroska", options=repeated))).config is None
    assert plain.found.config is not None
    assert plain.proven(config=None) is None
    assert plain.proven(config=plain.found.config[:-1]) is None


def test_a_start_that_is_no_idr_picture_proves_nothing():
    gradual = {"x264-params": "intra-refresh=1:keyint=10:bframes=0:scenecut=0"}
    payload = encode_numbered(Coding(options=gradual), 40)
    found = probe(payload)
    keys = found.packets.is_key.copy()
    keys[10] = True
    liar = replace(found, media=replace(found.media, keyframes=(0, 10)), packets=replace(found.packets, is_key=keys))
    run = packet_run(liar, Span(10, 20))
    made = copy_packets(payload, liar, run, Limits())
    assert proven_media(made, liar, run, Span(10, 20)) is None
    with pytest.raises(NotCopyableError):
        require_same(made, liar, Span(10, 20), Limits())


def test_other_frames_prove_nothing(plain):
    table = plain.found.packets
    for changes in ({"size": table.size + 1}, {"is_key": ~table.is_key}):
        assert plain.proven(packets=replace(table, **changes)) is None
    line = plain.found.timeline
    assert plain.proven(timeline=replace(line, ticks=line.ticks * 2)) is None
    assert proven_media(plain.payload, plain.found, plain.run, Span(10, 21)) is None
    assert proven_media(plain.payload, plain.found, Run(0, 9, 0, "mp4"), Span(0, 10)) is None


def test_a_shortened_edit_list_proves_nothing(plain):
    at = plain.payload.index(b"elst") + 12
    (length,) = struct.unpack_from(">I", plain.payload, at)
    assert plain.proven(plain.payload[:at] + struct.pack(">I", length) + plain.payload[at + 4 :]) is not None
    assert plain.proven(plain.payload[:at] + struct.pack(">I", length // 2) + plain.payload[at + 4 :]) is None


def test_turned_and_broken_copies_prove_nothing(plain):
    assert plain.proven(plain.payload[:-1]) is None
    at = plain.payload.index(b"tkhd") + 44
    assert plain.proven(plain.payload[:at] + bytes(4) + plain.payload[at + 4 :]) is None
    assert plain.proven(media=replace(plain.found.media, rotation=90)) is None
