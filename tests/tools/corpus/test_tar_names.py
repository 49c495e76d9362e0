"""Names of members of tars: written and read back, and what is none."""

from __future__ import annotations

import pytest

from tools.corpus.tar_names import TarMember, find_member


@pytest.mark.parametrize("tar", ["a.tar", "s3://b/c d/00000.tar", "x#y@1+2.tar"])
@pytest.mark.parametrize("member", ["k.mp4", "a/b@c.1+2#.mp4", "x.tar#y", " "])
def test_names_come_back(tar, member):
    wanted = TarMember(tar, member, 1536, 70412)
    assert find_member(str(wanted)) == wanted


@pytest.mark.parametrize(
    "video",
    [
        *("", "a.mp4", "a.tar", "a.tar#k.mp4", "a.tar#@1+2", ".tar#k@1+2", "a.tgz#k@1+2", "a.tar#k@1+", "a.tar#k@1+2 "),
        *("a.tar#k@x+2", "a.tar#k@" + "1" * 19 + "+2"),
    ],
)
def test_other_names_are_whole_files(video):
    assert find_member(video) is None


def test_long_names_do_not_hold_the_reader_up():
    assert find_member(".tar#" * 1_000_000) is None
    assert find_member("a.tar#" * 1_000_000 + "@1-2") is None
