"""Connections to the public internet alone: each address is checked after a name was resolved, and that one is used.

A site could else name this machine, its network or a cloud's metadata, at once, by a redirect, or with a DNS that
answers differently the second time.
"""

import ipaddress
import socket
from collections.abc import Callable

from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult

Permits = Callable[[str], bool]
_NOT_PUBLIC = [  # though Python's table has them as global, or does not know them
    ipaddress.ip_network("192.0.0.0/24"),  # of the IETF's protocols
    ipaddress.ip_network("168.63.129.16/32"),  # a cloud's metadata
    ipaddress.ip_network("fec0::/10"),  # a site's own, as it was
    ipaddress.ip_network("3fff::/20"),  # for documentation
]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class PrivateAddressError(Exception):
    """A host that is not on the public internet."""


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet; one inside an IPv6 address counts as well."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found in _NAT64:
            return _is_public(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
        if found.ipv4_mapped is not None:
            return _is_public(found.ipv4_mapped)
        tunnelled = [one for one in (found.sixtofour, *(found.teredo or ())) if one is not None]
        return _is_public(found) and all(map(_is_public, tunnelled))
    return _is_public(found)


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def is_any(_: str) -> bool:
    """Whether an address may be connected to where private ones are allowed: always."""
    return True


class CheckedResolver(AbstractResolver):
    """Resolves a name and gives its addresses where all of them are permitted; PrivateAddressError else."""

    def __init__(self, inner: AbstractResolver, permits: Permits) -> None:
        self._inner, self._permits = inner, permits

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host; the connection that asks for them uses these and asks nobody again."""
        found = await self._inner.resolve(host, port, family)
        for one in found:
            check_address(host, one["host"], self._permits)
        return found

    async def close(self) -> None:
        """Close what it asks."""
        await self._inner.close()


def checked_socket(permits: Permits) -> Callable[[AddrInfoType], socket.socket]:
    """What opens a socket for an address right before it is connected to: the last gate, of literal addresses too."""

    def opened(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, place = info
        check_address(str(place[0]), str(place[0]), permits)
        return socket.socket(family, kind, protocol)

    return opened


def check_address(host: str, address: str, permits: Permits) -> None:
    """PrivateAddressError where an address of a host is not permitted."""
    if not permits(address):
        raise PrivateAddressError(
            f"{host} is {address}, which is not on the public internet (crawl.fetch.allow_private)"
        )
