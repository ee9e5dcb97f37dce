"""A host and the address it leads to in, out whether a stranger may make this machine call it.

Whoever may name a URL that we fetch or post to can try to reach what only we can: other services on this machine, the
private net, the cloud's metadata. So only addresses of the public internet are called, unless the operator allowed
more. Both lists follow the registries of special-purpose addresses that IANA keeps (RFC 6890).
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

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


def may_be_called(host: str, address: str, allowed: Sequence[str] = ()) -> bool:
    """True when the address `host` resolved to is public, or the name or the address is allowed.

    `allowed` holds names, addresses and networks (`10.1.0.0/16`). A name allows whatever it leads to, an address or a
    network whatever leads there.
    """
    if is_public(address):
        return True
    found = _unwrapped(ip_address(address))
    name = _bare(host)
    for entry in allowed:
        try:
            network = ip_network(entry.strip("[]"), strict=False)
        except ValueError:
            if _bare(entry) == name:
                return True
        else:
            if found in network:
                return True
    return False


def is_public(address: str) -> bool:
    """True for an address on the public internet. What cannot be read as an address is none: raises ValueError."""
    match _unwrapped(ip_address(address)):
        case IPv4Address() as found:
            return not any(found in network for network in _NOT_PUBLIC_4)
        case IPv6Address() as found:
            return found in _PUBLIC_6 and not any(found in network for network in _NOT_PUBLIC_6)


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address stands for where it does: what is connected to in the end."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _bare(name: str) -> str:
    return name.lower().rstrip(".")
