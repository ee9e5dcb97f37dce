"""Which addresses a stranger may make us call."""

import pytest

from raincheck.core.addresses import is_public, may_be_called


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
