"""Tars of other tools are listed as webdataset sees them, whatever their headers; damage is named."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest
from webdataset import tariterators

from shards.foreign import BadSampleError, ForeignMember, ForeignSample, ForeignTar, captions_of, parse_record, text_of


def tar_of(*names: str, form: int = tarfile.USTAR_FORMAT, mtime: float = 0) -> bytes:
    """Return a tar whose members hold their own names."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.mtime = mtime
            data = b"" if name.endswith("/") else name.encode("utf-8", "surrogateescape")
            info.type, info.size = (tarfile.DIRTYPE, 0) if name.endswith("/") else (tarfile.REGTYPE, len(data))
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def scan(data: bytes):
    tar = ForeignTar(io.BytesIO(data), size=len(data), name="x.tar")
    return tar, list(tar.samples())


def keys(data: bytes) -> list[str]:
    return [sample.key for sample in scan(data)[1]]


LONG = "folder/" * 20 + "y" * 120


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_keys_and_bytes_are_webdatasets(form):
    names = ["a b.mp4", "a b.txt", "dir/", "dir/c.d.mp4", "./e.jpg", "__meta__", ".hidden", "plain", "f.JSON"]
    names += [] if form == tarfile.USTAR_FORMAT else [f"{LONG}.mp4", f"{LONG}.txt"]
    data = tar_of(*names, form=form, mtime=1.5 if form == tarfile.PAX_FORMAT else 1)
    tar, samples = scan(data)
    files = tariterators.tar_file_expander([{"url": "x.tar", "stream": io.BytesIO(data)}])
    theirs = list(tariterators.group_by_keys(files))
    assert [sample.key for sample in samples] == [sample["__key__"] for sample in theirs]
    for ours, their in zip(samples, theirs, strict=True):
        found = {member.ext.lower(): data[member.offset : member.offset + member.size] for member in ours.members}
        assert found == {ext: value for ext, value in their.items() if not ext.startswith("__")}
    assert tar.damage is None
    assert tar.skipped == [".hidden", "plain"]


def test_starts_are_those_of_extended_headers():
    data = tar_of("a.mp4", "b.mp4", form=tarfile.PAX_FORMAT, mtime=1.5)
    tar, (first, second) = scan(data)
    assert first.start == 0
    assert first.members[0].offset > 512
    assert data[second.start + 156 : second.start + 157] == b"x"
    assert tar.content == second.members[0].offset + 512


@pytest.mark.parametrize(
    ("cut", "kept", "what"),
    [
        (700, 0, "runs past the end"),
        (1300, 1, "cannot be read|runs past|truncated"),
        (1024, 1, "end-of-archive blocks are missing"),
        (0, 0, "no readable tar"),
    ],
)
def test_cut_tar_keeps_the_samples_before_the_cut(cut, kept, what):
    data = bytearray(tar_of("a.mp4", "b.mp4"))
    if cut == 700:
        data[124:136] = b"00000003000\0"
        data[148:156] = b"%06o\0 " % (sum(data[:512]) - sum(data[148:156]) + 8 * 32)
    tar, samples = scan(bytes(data[:cut]))
    assert len(samples) == kept
    assert tar.damage is not None
    assert any(part in tar.damage.what for part in what.split("|")), tar.damage


def test_rubbish_in_the_middle_is_named():
    data = bytearray(tar_of("a.mp4", "b.mp4", "c.mp4"))
    data[1024:1536] = b"#" * 512
    tar, samples = scan(bytes(data))
    assert [sample.key for sample in samples] == ["a"]
    assert tar.damage is not None
    assert tar.damage.offset == 1024


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_claims_to_be_huge_is_damage_and_is_not_read(kind):
    huge = tarfile.TarInfo("x")
    huge.type, huge.size = kind, 1 << 30
    whole = tar_of("a.mp4")
    data = whole[: whole.rindex(b"ustar") - 257 + 1024] + huge.tobuf(tarfile.USTAR_FORMAT) + bytes(10240)
    tar = ForeignTar(io.BytesIO(data), size=1 << 31, name="t.tar")
    assert [sample.key for sample in tar.samples()] == ["a"]
    assert "a header claims 1073741824 bytes" in tar.damage.what


@pytest.mark.parametrize("words", [{"GNU.sparse.size": "many"}, {"GNU.sparse.map": "0,x"}, {"size": "-5"}])
def test_extended_headers_with_numbers_that_are_none_are_damage(words):
    odd = tarfile.TarInfo("b.mp4")
    odd.size, odd.pax_headers = 4, words
    whole = tar_of("a.mp4")
    data = whole[: whole.rindex(b"ustar") - 257 + 1024] + odd.tobuf(tarfile.PAX_FORMAT) + bytes(10240)
    tar, samples = scan(data)
    assert [sample.key for sample in samples] == ["a"]
    assert tar.damage is not None
    assert "no readable tar goes on here" in tar.damage.what
    assert tar.damage.offset == 1024


def test_samples_of_very_many_members_are_named_in_few_words():
    members = tuple(ForeignMember(f"k.{n}.txt", "k", f"{n}.txt", 0, 0, 0) for n in range(100_000))
    with pytest.raises(BadSampleError) as caught:
        ForeignSample("k", members).media()
    assert len(str(caught.value)) < 300


def test_empty_tar_is_whole_and_a_compressed_one_is_named():
    assert scan(tar_of())[0].damage is None
    tar, samples = scan(gzip.compress(tar_of("a.mp4")))
    assert not samples
    assert "gzip" in str(tar.damage)


def test_key_that_comes_again_is_another_sample():
    assert keys(tar_of("a.mp4", "b.mp4", "a.txt")) == ["a", "b", "a"]


@pytest.mark.parametrize(
    ("names", "ext"),
    [
        (["a.mp4", "a.jpg", "a.txt"], "mp4"),
        (["a.720p.MP4", "a.txt"], "720p.MP4"),
        (["a.jpg", "a.seg.png"], "jpg"),
        (["a.webp"], "webp"),
    ],
)
def test_the_clip_of_a_sample(names, ext):
    (sample,) = scan(tar_of(*names))[1]
    assert sample.media().ext == ext


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["a.txt", "a.json"], "no video and no picture: .txt, .json"),
        (["a.001.mp4", "a.002.mp4"], "several videos or pictures: .001.mp4, .002.mp4"),
        (["a.jpg", "a.png"], "several"),
        (["a.mp4", "a.mp4"], "comes twice"),
    ],
)
def test_what_is_no_clip_is_named(names, what):
    (sample,) = scan(tar_of(*names))[1]
    with pytest.raises(BadSampleError, match=what):
        sample.media()


def test_clip_may_be_chosen_by_extension():
    (sample,) = scan(tar_of("a.left.mp4", "a.right.mp4"))[1]
    assert sample.media("right.mp4").name == "a.right.mp4"
    with pytest.raises(BadSampleError, match="no video"):
        sample.media("middle.mp4")


def test_captions_come_from_text_then_from_the_record():
    (sample,) = scan(tar_of("a.mp4", "a.cap.txt", "a.txt"))[1]
    assert text_of(sample).name == "a.txt"
    assert captions_of(b"\xef\xbb\xbf hello \n", {"caption": "no"}) == ("hello",)
    assert captions_of(None, {"title": "t", "caption": "c"}) == ("c",)
    assert captions_of(None, {"caption": "", "captions": ["a", " ", 3, "b"]}) == ("a", "b")
    assert captions_of(None, {"alt": "x"}, ["alt"]) == ("x",)
    assert captions_of(None, {}) == ()
    with pytest.raises(UnicodeDecodeError):
        captions_of(b"\xff", {})


def test_records_that_are_no_objects_are_empty():
    assert parse_record(b'{"a": 1}') == {"a": 1}
    assert parse_record(b"[1]") == parse_record(None) == {}
    with pytest.raises(ValueError, match="Expecting"):
        parse_record(b"{")
    with pytest.raises(ValueError, match="nested too deep"):
        parse_record(b"[" * 200_000)


@pytest.mark.parametrize(
    "data", [b'{"a \\ud83d": ["b \\ud83d\\ude00 \\uDE00"]}', b'{"a \xed\xa0\xbd": ["b \\ud83d\\ude00 \xed\xb8\x80"]}']
)
def test_halves_of_characters_in_records_are_replaced(data):
    assert parse_record(data) == {"a \ufffd": ["b \U0001f600 \ufffd"]}
