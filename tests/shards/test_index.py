"""A tar is listed exactly, DALI's index survives a round trip, and no cut or flipped header passes."""

from __future__ import annotations

import io
import pickle
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.index import DamagedShardError, TarSample, format_idx, parse_idx, scan_tar, tar_size
from shards.record import Member
from shards.store import open_store
from tests.support.datasets import build_dataset


@pytest.fixture(scope="module")
def tar(tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("tar")
    build_dataset(open_store(folder / "set"), folder / "scratch", counts=[4])
    return (folder / "set" / "00000.tar").read_bytes()


CHECKSUM_ENDS = (154, 155)
"""The two bytes of a header that may be blank or zero: those behind the checksum's digits."""


def scan(data: bytes, *, size: int | None = None) -> list[TarSample]:
    return scan_tar(io.BytesIO(data), size=len(data) if size is None else size, name="data/00000.tar")


def test_members_lie_where_pythons_tarfile_finds_them(tar):
    members = [(f"{sample.key}.{m.ext}", m.offset, m.size) for sample in scan(tar) for m in sample.members]
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        assert members == [(info.name, info.offset_data, info.size) for info in archive]


def test_a_tar_cut_at_every_block_is_refused_by_name(tar):
    assert len(scan(tar)) == 4
    for size in range(0, len(tar), 512):
        with pytest.raises(DamagedShardError, match=r"data/00000\.tar is damaged at byte \d+: ") as caught:
            scan(tar[:size])
        assert caught.value.name == "data/00000.tar"


@pytest.mark.parametrize("cut", [1, 100, 511, 513, 1000, 5001, -1, -511, -513, -1025])
def test_a_tar_cut_inside_a_block_is_refused(tar, cut):
    with pytest.raises(DamagedShardError):
        scan(tar[:cut])


def test_a_file_shorter_than_was_said_is_refused(tar):
    with pytest.raises(DamagedShardError):
        scan(tar[: len(tar) // 2], size=len(tar))


def test_a_tar_that_goes_on_is_refused(tar):
    for more in (bytes(512), bytes(10240), tar):
        with pytest.raises(DamagedShardError, match="a whole file has"):
            scan(tar + more)


def test_rubbish_behind_the_end_is_refused(tar):
    with pytest.raises(DamagedShardError, match="not all zeros"):
        scan(tar[:-1] + b"\1")


def test_every_flipped_byte_of_a_header_is_noticed(tar):
    for at in set(range(512)) - set(CHECKSUM_ENDS):
        changed = bytearray(tar)
        changed[at] ^= 0x20
        with pytest.raises(DamagedShardError) as caught:
            scan(bytes(changed))
        assert caught.value.offset == 0


def test_an_empty_tar_is_whole_and_zeros_alone_are_not_longer():
    stream = io.BytesIO()
    tarfile.open(fileobj=stream, mode="w").close()
    assert scan(stream.getvalue()) == []
    assert len(stream.getvalue()) == tar_size(0)
    with pytest.raises(DamagedShardError):
        scan(b"")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_a_member_that_is_no_file_is_refused(kind):
    info = tarfile.TarInfo("000000000_00000.mp4")
    info.type = kind
    with pytest.raises(DamagedShardError, match="no plain ustar file"):
        scan(archive_of([(info, b"")]))


def test_a_sample_or_member_that_comes_twice_is_refused():
    names = ["a.mp4", "b.mp4", "a.txt"]
    with pytest.raises(DamagedShardError, match="sample a comes twice"):
        scan(archive_of([(tarfile.TarInfo(name), b"") for name in names]))
    with pytest.raises(DamagedShardError, match=r"member a\.mp4 comes twice"):
        scan(archive_of([(tarfile.TarInfo("a.mp4"), b"")] * 2))


def test_long_names_are_put_together_from_their_two_fields():
    name = "folder/" * 14 + "000000000_00000.mp4"
    (sample,) = scan(archive_of([(tarfile.TarInfo(name), b"x")], tarfile.USTAR_FORMAT))
    assert f"{sample.key}.{sample.members[0].ext}" == name


def test_the_error_travels_between_processes():
    error = DamagedShardError("a.tar", "it is cut", 512)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.name, copy.what, copy.offset) == (str(error), "a.tar", "it is cut", 512)


def test_the_index_is_what_dali_documents():
    samples = [
        TarSample("k1", (Member("json", 512, 7), Member("mp4", 1536, 900))),
        TarSample("k2", (Member("mp4", 9, 1),)),
    ]
    assert format_idx(samples) == b"v1.2 2\njson 512 7 k1.json mp4 1536 900 k1.mp4\nmp4 9 1 k2.mp4\n"


names = st.text("abcdefghij0123456789_", min_size=1, max_size=12)
members = st.builds(Member, names, st.integers(0, 1 << 40), st.integers(0, 1 << 33))


@given(st.lists(st.builds(TarSample, names, st.lists(members, min_size=1, max_size=4).map(tuple)), max_size=8))
def test_any_index_survives_a_round_trip(samples):
    assert parse_idx(format_idx(samples)) == samples


@pytest.mark.parametrize(
    "data",
    [b"", b"v1.2\n", b"v1.0 0\n", b"v1.2 1\n", b"v1.2 1\nmp4 512 7\n", b"v1.2 1\nmp4 x 7 k.mp4\n", b"v1.2 0", b"\xff"],
)
def test_what_is_no_index_is_named(data):
    with pytest.raises(ValueError, match=r"^set/00000\.idx "):
        parse_idx(data, name="set/00000.idx")


def test_a_cut_index_is_refused(tar):
    data = format_idx(scan(tar))
    for size in range(len(data)):
        with pytest.raises(ValueError, match="index"):
            parse_idx(data[:size])


def archive_of(members: list[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.USTAR_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()
