"""The register's look-up as a linear scan: the slow twin of the prefix table.

Written from the contract, with the standard library alone: of the entries that apply in time, side
and scope the one with the longest prefix wins, then the narrower scope, then the earlier row.
"""

import ipaddress
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Entry:
    """A row of a register; None is any, or no end."""

    prefix: str
    side: str = "either"
    proto: int | None = None
    port: int | None = None
    from_ns: int = 0
    to_ns: int | None = None
    status: str = "active"


def plain(address: Address) -> Address:
    """Return an address, IPv4 where it maps one."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return a prefix, IPv4 where it maps one."""
    prefix = ipaddress.ip_network(text)
    if prefix.version == 6 and prefix.prefixlen >= 96:
        mapped = prefix.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.ip_network(f"{mapped}/{prefix.prefixlen - 96}")
    return prefix


def failures(
    entry: Entry, at: int | None, side: str | None, proto: int | None, port: int | None
) -> list[str]:
    """Return why an entry does not apply, in the order in which reasons are preferred."""
    found = []
    if at is not None and entry.to_ns is not None and at >= entry.to_ns:
        found.append("expired")
    if at is not None and at < entry.from_ns:
        found.append("not_yet")
    if side is not None and entry.side not in (side, "either"):
        found.append("wrong_side")
    wrong_proto = proto is not None and entry.proto is not None and entry.proto != proto
    wrong_port = port is not None and entry.port is not None and entry.port != port
    if wrong_proto or wrong_port:
        found.append("wrong_scope")
    if entry.status != "active":
        found.append("not_active")
    return found


def lookup(
    entries: list[Entry],
    address: Address,
    at: int | None = None,
    side: str | None = None,
    proto: int | None = None,
    port: int | None = None,
) -> int:
    """Return the row of the entry that wins, -1 for none."""
    best = None
    for row, entry in enumerate(entries):
        prefix = network(entry.prefix)
        if plain(address) in prefix and not failures(entry, at, side, proto, port):
            given = (entry.proto is not None) + (entry.port is not None)
            rank = (-prefix.prefixlen, -given, row)
            best = rank if best is None else min(best, rank)
    return -1 if best is None else best[2]


def near_miss(
    entries: list[Entry], client: Address, server: Address, at: int, proto: int, port: int
) -> str:
    """Return why no entry matches a flow, empty where none is near."""
    order = ["expired", "not_yet", "wrong_side", "wrong_scope", "not_active"]
    best = None
    for side, address in (("client", client), ("server", server)):
        for entry in entries:
            prefix = network(entry.prefix)
            if plain(address) in prefix:
                wrong = failures(entry, at, side, proto, port)
                if not wrong:
                    return ""
                rank = (len(wrong), -prefix.prefixlen, order.index(wrong[0]))
                best = rank if best is None else min(best, rank)
    return "" if best is None else order[best[2]]
