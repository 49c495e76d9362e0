"""The page: escaped, closed to the network, below its size for the largest corpus, written whole."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tests.support.invented_report import number_facts, report, section, shard_facts, value_facts
from tests.support.invented_tiles import HOSTILE, hostile_tiles, invented_poster, invented_tile
from tools.report.page import LIMIT, json_text, render_report, write_report
from tools.statistics.model import Estimate, Group, Grouping, Outlier, Repeated, Term

_SPITEFUL = "\u2028<&>\"'" * 60
"""Text that takes six times its length and more when it is escaped."""


class Outline(HTMLParser):
    """Collects what a page has: its elements, its scripts, and every address in it."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags, self.addresses, self.ids, self.scripts = [], [], [], []
        self._script = None
        self.feed(page.decode())

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        self.ids.append(values.get("id"))
        self.addresses += [values[name] for name in ("src", "href", "srcset", "action") if name in values]
        if tag == "script":
            self._script = values

    def handle_data(self, data):
        if self._script is not None:
            self.scripts.append((self._script, data))
            self._script = None


@pytest.fixture(scope="module")
def page():
    return render_report(report(where="duration > 2"), hostile_tiles())


@pytest.fixture(scope="module")
def outline(page):
    return Outline(page)


def test_nothing_in_the_page_leads_out_of_it(outline):
    assert all(address.startswith(("#", "data:")) for address in outline.addresses)
    assert not {"iframe", "object", "embed", "link", "form", "base"} & (set(outline.tags) - {"link"})
    assert outline.addresses.count("data:,") == 1


def test_only_scripts_of_ours_may_run(page, outline):
    policy = re.search(rb'Content-Security-Policy" content="([^"]*)"', page)[1].decode().replace("&#39;", "'")
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    running = [text for attributes, text in outline.scripts if attributes.get("type") != "application/json"]
    hashes = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in running}
    assert set(re.findall(r"sha256-([^']*)", policy)) == hashes
    assert len(running) == 5


def test_captions_are_text(page, outline):
    assert HOSTILE.encode() not in page
    assert b"&lt;script&gt;document.title" in page
    assert outline.tags.count("script") == len(outline.scripts)
    assert outline.tags.count("figure") == 16
    assert b"frames &lt;b&gt;7&lt;/b&gt; and on" in page


def test_sections_are_there_with_what_they_tell(outline):
    named = [name for name in outline.ids if name]
    wanted = "summary samples distributions formats captions duplicates fates groups comparison outliers shards"
    assert [name for name in named if name in wanted.split()] == wanted.split()
    assert [f"#{name}" for name in wanted.split()[1:]] == [
        link for link in outline.addresses if link in {f"#{name}" for name in named} - {"#top"}
    ]


def test_a_corpus_with_nothing_to_tell_makes_a_page():
    empty = replace(
        section(10),
        clips=0,
        seconds=0.0,
        frames=0,
        bytes=0,
        numbers={},
        values={},
        decodable={},
        outliers=(),
        costs=None,
    )
    nothing = report(whole=empty, shards=0, grouped=False, compared=False)
    found = Outline(render_report(nothing))
    assert "distributions" not in found.ids
    assert "shards" not in found.ids
    assert len(found.scripts) == 3


def test_json_in_a_script_cannot_end_it():
    value = {"</script>": "<!-- & \u2028 \u2029"}
    text = json_text(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text([float("nan")])


def test_the_largest_corpus_stays_below_the_limit():
    text = _SPITEFUL
    whole = section(500)
    terms = tuple(Term(f"{text}{number}", Estimate(10**12, 10**9)) for number in range(200))
    repeated = tuple(Repeated(text, 10**9, text, text, 0) for _ in range(50))
    repeats = replace(whole.duplicates.captions, largest=repeated)
    whole = replace(
        whole,
        numbers={f"{text}{number}": number_facts([0.1, 2e9 / 3], log=True) for number in range(80)},
        values={f"{text}{number}": value_facts({f"{text}{each}": 5 for each in range(50)}) for number in range(80)},
        captions=replace(whole.captions, words=terms, pairs=terms, triples=terms),
        duplicates=replace(whole.duplicates, captions=repeats, payloads=repeats, sources=repeats),
        outliers=tuple(Outlier(text, 0, text, text, 1 / 3, "high", text) for _ in range(3_000)),
    )
    group = Group(text, whole)
    huge = report(
        whole=whole,
        shards=0,
        title=text,
        where=text * 10,
        compared=True,
        grouping=Grouping(text, (group,) * 90, whole, Estimate(10**9)),
    )
    shards = [replace(shard_facts(number), reasons={"r" * 40: 3}, status={"failed": 3}) for number in range(25_000)]
    huge = replace(huge, shards=tuple(shards), datasets=(replace(huge.datasets[0], url=text * 9),) * 200)
    tiles = [invented_tile(row, text * 30, invented_poster(row, data=b"x" * 48_000)) for row in range(300)]
    made = render_report(huge, tiles)
    assert 5_000_000 < len(made) <= LIMIT
    assert re.search(rb"of 300 are shown", made)
    assert re.search(rb"[\d,]+ of 25,000 are in this page: those with most failures", made)


def test_ten_thousand_shards_are_all_in_the_page():
    made = report(whole=section(100), shards=10_000, grouped=False, compared=False)
    (table,) = [
        json.loads(text)
        for attributes, text in Outline(render_report(made)).scripts
        if attributes.get("id") == "shards-data"
    ]
    assert table["total"] == len(table["columns"][0]["cells"]) == 10_000


def test_a_report_is_written_in_place_of_the_last(tmp_path):
    small = report(whole=section(20), shards=2, grouped=False, compared=False)
    target = tmp_path / "new" / "report.html"
    write_report(small, str(target))
    first = target.read_bytes()
    write_report(replace(small, title="another"), str(target))
    assert first != target.read_bytes()
    assert b"another" in target.read_bytes()
    assert [path.name for path in target.parent.iterdir()] == ["report.html"]


def test_the_same_report_is_the_same_page(page):
    assert render_report(report(where="duration > 2"), hostile_tiles()) == page
