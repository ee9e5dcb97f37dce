"""A host and the address it leads to in, out whether a stranger may make this machine call it.

Whoever may name a URL that we fetch or post to can try to reach what only we can: other services on this machine, the
private net, the cloud's metadata. So only addresses of the public internet are called, unless the operator allowed
more. Both lists follow the registries of special-purpose addresses that IANA keeps (RFC 6890).
"""

import re
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from yarl import URL

MOST_URL = 2048
"""Characters of a webhook's URL."""
_NOT_PUBLIC_4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # behind a carrier's NAT; some clouds' metadata too
        "127.0.0.0/8",
        "168.63.129.16/32",  # looks public, and is how Azure's machines reach their host
        "169.254.0.0/16",  # link-local, with most clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_PUBLIC_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocols, Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4: wraps any IPv4 address, and nobody should still need it
        "3fff::/20",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_NAME = re.compile(r"(?=.{1,253}\.?$)(?!-)[a-z0-9_-]{1,63}(\.(?!-)[a-z0-9_-]{1,63})*\.?")
_NUMERIC = re.compile(r"([^.]*\.)*([0-9]+|0x[0-9a-f]*)\.?")
"""A host whose last label is a number: an address or nothing, as browsers and resolvers read it."""


class Refusal(NamedTuple):
    """Why nothing is sent to a URL: a word for programs, a sentence for people."""

    code: Literal["refused_url", "refused_address"]
    reason: str


def webhook_problem(url: str, allowed: Sequence[str] = ()) -> str | None:
    """Why nothing may be sent to a URL, as far as it says so itself; None when its host has to be looked up, or is
    good. `allowed` as in `may_be_called`; who is named there may also be called by plain http."""
    refusal = webhook_refusal(url, allowed)
    return refusal and refusal.reason


def webhook_refusal(url: str, allowed: Sequence[str] = ()) -> Refusal | None:
    """The same, with its code. The URL is read by the very library that will connect to it."""
    if len(url) > MOST_URL:
        return _bad_url(f"The URL has more than {MOST_URL} characters.")
    if not url.isprintable() or " " in url or "\\" in url:
        return _bad_url("The URL has a space, a backslash or a character that cannot be seen in it.")
    try:
        target, netloc = URL(url), urlsplit(url).netloc
        host, port = target.raw_host, target.port
    except ValueError:
        return _bad_url("The URL cannot be read.")
    if target.scheme not in ("http", "https"):
        return _bad_url("Webhooks are sent to https URLs.")
    if "@" in netloc:
        return _bad_url("The URL has a user name or a password in it; receivers know us by the signature.")
    if not host or not (":" in host or _NAME.fullmatch(host)):
        return _bad_url("The URL names no host.")
    if not port or not _plain_port(netloc):
        return _bad_url("The URL's port is none; it is a number from 1 to 65535.")
    return _host_refusal(host, allowed) or _scheme_refusal(target.scheme, host, allowed)


def not_public(host: str) -> str:
    """What is said of a host that must not be called. Where a name leads inside our net is nobody's business."""
    return f"{host} is not on the public internet; the operator can allow it with webhooks.allow."


def _host_refusal(host: str, allowed: Sequence[str]) -> Refusal | None:
    try:
        address = _literal(host)
    except ValueError:
        return _bad_url(f"{host} is neither an address nor the name of a host.")
    if address is None:
        return None
    if not may_be_called(host, address, allowed):
        meant = "" if address == host or not _NUMERIC.fullmatch(host) else f" (that is {address})"
        return Refusal("refused_address", not_public(host + meant))
    if address != host and _NUMERIC.fullmatch(host):
        return _bad_url(f"{host} is an unusual way to write {address}; write it like this.")
    return None


def _scheme_refusal(scheme: str, host: str, allowed: Sequence[str]) -> Refusal | None:
    if scheme == "https" or _is_named(host, _literal(host), allowed):
        return None
    return _bad_url(f"Webhooks are sent to https URLs; the operator can allow http to {host} with webhooks.allow.")


def _literal(host: str) -> str | None:
    """The address that a host is, in whatever notation; None for a name. Raises ValueError for what is neither."""
    if ":" in host:
        if "%" in host:
            raise ValueError("an address of one network card")
        return str(ip_address(host))
    if _NUMERIC.fullmatch(host):
        try:
            return socket.inet_ntoa(socket.inet_aton(host.removesuffix(".")))
        except OSError as error:
            raise ValueError("no address") from error
    return "127.0.0.1" if _is_localhost(host) else None


def _plain_port(netloc: str) -> bool:
    """Whether the port, if there is one, is written in plain digits: not every reader of URLs takes others alike."""
    _, colon, port = netloc.rpartition(":")
    return not colon or port.endswith("]") or re.fullmatch("[0-9]{0,5}", port) is not None


def _bad_url(reason: str) -> Refusal:
    return Refusal("refused_url", reason)


def may_be_called(host: str, address: str, allowed: Sequence[str] = ()) -> bool:
    """True when the address `host` resolved to is public, or the name or the address is allowed.

    `allowed` holds names, addresses and networks (`10.1.0.0/16`). A name allows whatever it leads to, an address or a
    network whatever leads there.
    """
    return is_public(address) or _is_named(host, address, allowed)


def callable_ones(host: str, addresses: Sequence[str], allowed: Sequence[str] = ()) -> Sequence[str]:
    """Of all the addresses that `host` resolved to those that may be called: all or none. One that must not be called
    condemns the name, for a decent one has no such neighbours; but `localhost` is 127.0.0.1 and ::1 at once, and who
    allows the one need not have thought of the other."""
    good = [address for address in addresses if may_be_called(host, address, allowed)]
    return good if len(good) == len(addresses) or _is_localhost(host) else ()


def is_public(address: str) -> bool:
    """True for an address on the public internet. What cannot be read as an address is none: raises ValueError."""
    match _unwrapped(ip_address(address)):
        case IPv4Address() as found:
            return not any(found in network for network in _NOT_PUBLIC_4)
        case IPv6Address() as found:
            return found in _PUBLIC_6 and not any(found in network for network in _NOT_PUBLIC_6)


def _is_named(host: str, address: str | None, allowed: Sequence[str]) -> bool:
    found = None if address is None else _unwrapped(ip_address(address))
    name = _bare(host)
    for entry in allowed:
        try:
            network = ip_network(entry.strip("[]"), strict=False)
        except ValueError:
            if _bare(entry) == name:
                return True
        else:
            if found is not None and found in network:
                return True
    return False


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address stands for where it does: what is connected to in the end."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _is_localhost(host: str) -> bool:
    return _bare(host) == "localhost" or _bare(host).endswith(".localhost")


def _bare(name: str) -> str:
    return name.lower().rstrip(".")
