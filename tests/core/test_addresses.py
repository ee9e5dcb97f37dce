"""Which addresses a stranger may make us call."""

import re
import socket

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from raincheck.core.addresses import is_public, may_be_called, webhook_problem


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "192.0.2.1",
        "198.18.0.1",
        "198.51.100.7",
        "203.0.113.7",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "100::1",
        "5f00::1",
        "2001::1",
        "2001:db8::1",
        "3fff::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::8.8.8.8",
        "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    ],
)
def test_an_address_that_is_not_on_the_public_internet_is_refused(address: str) -> None:
    assert not is_public(address)
    assert not may_be_called("example.com", address)


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "172.15.255.255",
        "172.32.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2a00:1450::1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
    ],
)
def test_a_public_address_may_be_called(address: str) -> None:
    assert is_public(address)
    assert may_be_called("example.com", address)


def test_what_is_no_address_is_an_error_and_never_public() -> None:
    with pytest.raises(ValueError, match="does not appear"):
        is_public("127.1")


@pytest.mark.parametrize("entry", ["media.internal", "Media.Internal.", "10.1.2.3", "10.1.0.0/16", "10.1.2.3/16"])
def test_a_name_an_address_and_a_network_can_be_allowed(entry: str) -> None:
    assert may_be_called("media.internal", "10.1.2.3", [entry])
    assert may_be_called("MEDIA.internal.", "::ffff:10.1.2.3", [entry])
    assert not may_be_called("other.internal", "10.2.2.3", [entry])


@pytest.mark.parametrize("entry", ["::1", "[::1]", "::/64"])
def test_an_address_of_the_newer_kind_can_be_allowed(entry: str) -> None:
    assert may_be_called("::1", "::1", [entry])
    assert not may_be_called("127.0.0.1", "127.0.0.1", [entry])


def test_allowing_a_name_does_not_allow_names_below_or_beside_it() -> None:
    assert not may_be_called("x.media.internal", "10.1.2.3", ["media.internal"])
    assert not may_be_called("xmedia.internal", "10.1.2.3", ["media.internal"])


# --- the URLs of webhooks; tests/delivery/test_ssrf.py has the table of what is refused, and sends to each of them


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com/",
        "https://example.com:8443/hook?token=a%2Fb#part",
        "HTTPS://EXAMPLE.com./hook",
        "https://hooks-7.my_app.example/a/b@c",
        "https://bücher.example/straße?q=ä",
        "https://xn--bcher-kva.example/",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]:8443/",
        "https://[::ffff:8.8.8.8]/",
        "https://" + "a" * 63 + ".example/",
    ],
)
def test_a_webhook_may_go_to_the_public_internet_by_https(url: str) -> None:
    assert webhook_problem(url) is None


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://127.0.0.1:9000/hook", "127.0.0.1"),
        ("http://127.0.0.1:9000/hook", "127.0.0.0/8"),
        ("http://[::1]/", "::1"),
        ("http://localhost/", "localhost"),
        ("http://localhost/", "127.0.0.1"),
        ("https://localhost/", "localhost"),
        ("http://Hooks.Internal./", "hooks.internal"),
        ("https://10.1.2.3/", "10.0.0.0/8"),
    ],
)
def test_what_the_operator_allows_may_be_private_and_speak_plain_http(url: str, allowed: str) -> None:
    assert webhook_problem(url) is not None
    assert webhook_problem(url, ["elsewhere.example", allowed]) is None


@pytest.mark.parametrize("url", ["http://example.com/", "http://8.8.8.8/", "http://sub.hooks.internal/"])
def test_plain_http_is_for_those_alone(url: str) -> None:
    problem = webhook_problem(url, ["hooks.internal", "10.0.0.0/8"])
    assert problem is not None
    assert "the operator can allow http to" in problem


def test_an_odd_notation_stays_refused_even_where_its_address_is_allowed() -> None:
    problem = webhook_problem("http://127.1/", ["127.0.0.1"])
    assert problem == "127.1 is an unusual way to write 127.0.0.1; write it like this."


_octals = st.integers(0, 300).map(lambda number: f"0{number:o}")
_hosts = st.one_of(
    st.text(max_size=20),
    st.text(alphabet="0123456789abcdefx.:[]%@/\\?# ", max_size=20),
    st.integers(0, 2**33).map(str),
    st.integers(0, 2**33).map(hex),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.lists(_octals, min_size=1, max_size=5).map(".".join),
)


@given(_hosts, st.sampled_from(["", ":443", ":0", "/x", "@127.0.0.1", "?", "#"]))
@example("１27.0.0.1", "")
def test_whatever_is_written_what_passes_is_a_public_address_or_a_plain_name(host: str, rest: str) -> None:
    """As the library reads it that will connect to it."""
    url = f"https://{host}{rest}"
    if webhook_problem(url) is not None:
        return
    target = URL(url)
    found = target.raw_host or ""
    assert (target.scheme, target.user, target.password) == ("https", None, None)
    assert target.port
    if ":" in found or found.replace(".", "").isdigit():
        assert is_public(found)
    else:
        assert re.fullmatch("[a-z0-9._-]+", found)
        with pytest.raises(OSError, match="illegal"):
            socket.inet_aton(found)
