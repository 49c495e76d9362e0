"""URLs are read as people write them, never to another host or scheme than they show, and hosts are told apart."""

from __future__ import annotations

import string
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.web_address import is_web, join_name, network_of, parse_address, unsigned

MARKS = string.ascii_letters + string.digits + " /?#%&=:@+~-._\\\"'<>{}|^`[]()*!$,;äß漢\t\r\n\x00\udcff"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://host/a.mp4", "http://host/a.mp4"),
        (" https://Host:443/a b.mp4 \n", "https://host/a%20b.mp4"),
        ("HTTP://host:80", "http://host/"),
        ("http://host:8080/a%20b.mp4?x=%2F&y=a/b#t=10", "http://host:8080/a%20b.mp4?x=%2F&y=a/b"),
        ("https://host/100%.mp4", "https://host/100%25.mp4"),
        ("https://bücher.example/ü.mp4?ü", "https://xn--bcher-kva.example/%C3%BC.mp4?%C3%BC"),
        ("https://user:pass@host/a", "https://host/a"),
        ("http://[::1]:8000/a", "http://[::1]:8000/a"),
        ("http://host/a/../b//c", "http://host/a/../b//c"),
    ],
)
def test_urls_are_made_ready(text, url):
    assert parse_address(text).url == url
    assert parse_address(url).url == url


@pytest.mark.parametrize(
    "text",
    [
        "http://",
        "http:///a",
        "https://host:port/a",
        "https://host:99999/a",
        "http://host:0/",
        "ftp://host/a",
        "file:///etc/passwd",
        "http://a b/c",
        "http://evil.example\\@host/a",
        "http://[::1/a",
        "http://[fe80::xyz]/",
        "http://a..b/",
        "http://" + "a" * 64 + ".example/",
        "host/a.mp4",
        "",
    ],
)
def test_what_is_no_url_of_a_web_server_is_refused_without_showing_it(text):
    with pytest.raises(ValueError, match=r"it is no URL|its scheme|no host") as caught:
        parse_address(text.replace("//", "//geheim:pw@", 1) if "host" in text else text)
    assert "geheim" not in str(caught.value)


@given(st.text(MARKS, max_size=40), st.text(MARKS, max_size=20))
def test_any_path_and_query_stay_at_their_host(path, query):
    address = parse_address(f"http://host:81/{path}?{query}")
    assert address.origin == ("http", "host", 81)
    assert address.target.isascii()
    assert address.target.startswith("/")
    assert not set(address.target) & set(' \t\r\n\x00#"<>\\^`{}')
    assert parse_address(address.url) == address


@given(st.text(MARKS, max_size=30))
def test_any_text_is_an_address_or_a_value_error(text):
    try:
        address = parse_address(f"http://{text}")
    except ValueError:
        return
    assert urlsplit(address.url).hostname == address.host
    assert is_web(address.url)


@given(st.text(string.ascii_letters + " %?äß.-", min_size=1, max_size=20).filter(lambda name: name.strip(". ") == name))
def test_names_below_a_folder_are_found_there(name):
    address = parse_address(join_name("https://host/videos?sig=x", name))
    assert address.target.startswith("/videos/")
    plain = name.partition("?")[0]
    if "%" not in plain:
        assert unquote(address.target.partition("?")[0]) == f"/videos/{plain}"


def test_a_user_is_sent_and_never_shown():
    address = parse_address("https://me:p%40ss@host/a")
    assert address.user == "me:p@ss"
    assert "p@ss" not in repr(address) + address.url


@pytest.mark.parametrize(
    ("location", "url", "user"),
    [
        ("/b?x=1", "https://host/b?x=1", "u:p"),
        ("b", "https://host/v/b", "u:p"),
        ("?x", "https://host/v/a?x", "u:p"),
        ("//other/b", "https://other/b", None),
        ("http://host/b", "http://host/b", None),
        ("https://host:444/b", "https://host:444/b", None),
        ("https://evil:pw@other/b", "https://other/b", None),
    ],
)
def test_redirects_lead_on_and_only_the_same_origin_hears_of_the_user(location, url, user):
    there = parse_address("https://u:p@host/v/a").follow(location)
    assert (there.url, there.user) == (url, user)


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://host/a", "data:video/mp4,x", "s3://bucket/a", "http://"]
)
def test_redirects_off_the_web_are_refused(location):
    with pytest.raises(ValueError, match=r"its scheme|no host"):
        parse_address("https://host/a").follow(location)


@pytest.mark.parametrize(
    ("ip", "network"),
    [
        ("93.184.216.34", "public"),
        ("2606:2800:220:1:248:1893:25c8:1946", "public"),
        ("127.0.0.1", "private"),
        ("10.1.2.3", "private"),
        ("100.64.0.1", "private"),
        ("0.0.0.0", "private"),
        ("::1", "private"),
        ("fd12::1", "private"),
        ("::ffff:192.168.0.1", "private"),
        ("64:ff9b::7f00:1", "private"),
        ("2002:7f00:1::", "private"),
        ("169.254.169.254", "never"),
        ("::ffff:169.254.169.254", "never"),
        ("fe80::1%eth0", "never"),
        ("fd00:ec2::254", "never"),
        ("168.63.129.16", "never"),
        ("224.0.0.1", "never"),
    ],
)
def test_networks_are_told_apart(ip, network):
    assert network_of(ip) == network


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://b/a.mp4?X-Amz-Credential=k%2F1&X-Amz-Date=1&X-Amz-Expires=9&X-Amz-Signature=s", "https://b/a.mp4"),
        ("https://b/a.mp4?v=2&Expires=1&Signature=s&Key-Pair-Id=K", "https://b/a.mp4?v=2"),
        ("https://b/c/a.mp4?sv=2024&se=2026-01-01&sr=b&sp=r&sig=ab%3D", "https://b/c/a.mp4"),
        ("https://b/a.mp4?id=7&token=t", "https://b/a.mp4?id=7"),
        ("https://b/a.mp4?sv=1&Expires=2", "https://b/a.mp4?sv=1&Expires=2"),
        ("https://me:pw@b/a.mp4", "https://b/a.mp4"),
        ("clips/a?b&c.mp4", "clips/a?b&c.mp4"),
    ],
)
def test_a_signed_url_names_its_file_whenever_it_was_signed(url, name):
    assert unsigned(url) == name
