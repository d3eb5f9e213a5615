"""Turns what the laboratory started into labels: one row per five-tuple that is in the capture.

The packets are read only for their five-tuples. Which of them is what comes from the claims that
were made when programs were started, never from the payload and never from a detector; a five-tuple
that nothing claims is an error of the scenario.
"""

import csv
import io
import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from classifier.errors import LabError

__all__ = [
    "COLUMNS",
    "Claim",
    "FiveTuple",
    "Seen",
    "five_tuple",
    "five_tuples",
    "label",
    "rows",
    "survey",
    "text",
    "times",
]

COLUMNS = ("path", "proto", "src", "sport", "dst", "dport", "is_vpn", "family", "application")
ICMP, IGMP, TCP, UDP, ICMP6 = 1, 2, 6, 17, 58
PROTOCOLS = {ICMP: "icmp", IGMP: "igmp", TCP: "tcp", UDP: "udp", ICMP6: "icmp6"}
PROTOCOLS |= {4: "ipip", 41: "6in4", 47: "gre", 50: "esp", 51: "ah", 132: "sctp"}
CONTROL = (ICMP, IGMP, ICMP6)  # sent by the hosts' kernels, unless a scenario claims them
WITH_PORTS = (TCP, UDP, 132)
VLAN_TYPES = (b"\x81\x00", b"\x88\xa8")
HOP_BY_HOP, FRAGMENT = 0, 44  # IPv6 extension headers (RFC 8200)


class Claim(NamedTuple):
    """What the laboratory itself started at a server's transport address."""

    proto: int
    address: str
    port: int
    """0: any, for protocols without ports and for servers that choose."""
    is_vpn: int
    family: str
    application: str


class FiveTuple(NamedTuple):
    """Endpoints of one packet; ports 0 where the protocol has none."""

    proto: int
    src: str
    sport: int
    dst: str
    dport: int

    def reversed(self) -> "FiveTuple":
        """Return the same, seen from the other end."""
        return FiveTuple(self.proto, self.dst, self.dport, self.src, self.sport)


class Seen(NamedTuple):
    """What a capture holds of one flow."""

    packets: int
    wire_bytes: int
    """Frames as they were on the wire, with link headers."""


def five_tuple(frame: bytes) -> FiveTuple | None:
    """Return the five-tuple of an Ethernet frame; None where it is not IP, or a later fragment."""
    offset = 12
    while frame[offset : offset + 2] in VLAN_TYPES:
        offset += 4
    kind, packet = frame[offset : offset + 2], frame[offset + 2 :]
    if kind == b"\x08\x00" and len(packet) >= 20:
        header, proto, addresses, width = (packet[0] & 15) * 4, packet[9], packet[12:20], 4
        if int.from_bytes(packet[6:8]) & 0x1FFF:
            return None
    elif kind == b"\x86\xdd" and len(packet) >= 40:
        header, proto, addresses, width = 40, packet[6], packet[8:40], 16
        while proto in (HOP_BY_HOP, FRAGMENT) and len(packet) >= header + 8:
            if proto == FRAGMENT and int.from_bytes(packet[header + 2 : header + 4]) & 0xFFF8:
                return None
            extra = 0 if proto == FRAGMENT else packet[header + 1] * 8
            proto, header = packet[header], header + 8 + extra
    else:
        return None
    src, dst = (str(ipaddress.ip_address(addresses[i : i + width])) for i in (0, width))
    ports = [0, 0]
    if proto in WITH_PORTS:
        ports = [int.from_bytes(packet[header + i : header + i + 2]) for i in (0, 2)]
    return FiveTuple(proto, src, ports[0], dst, ports[1])


def _records(capture: Path) -> Iterator[tuple[float, bytes]]:
    import dpkt

    with capture.open("rb") as file:
        yield from dpkt.pcap.UniversalReader(file)


def five_tuples(capture: Path) -> Iterator[FiveTuple]:
    """Yield the five-tuple of each IP packet of a pcap or pcapng file."""
    for _, frame in _records(capture):
        found = five_tuple(frame)
        if found is not None:
            yield found


def times(capture: Path) -> list[float]:
    """Return the time stamps of a capture in order, in seconds since 1970."""
    return sorted(float(seconds) for seconds, _ in _records(capture))


def survey(frames: Iterable[tuple[bytes, int]]) -> dict[FiveTuple, Seen]:
    """Count packets and bytes of each flow, both directions together.

    Parameters
    ----------
    frames : iterable of (bytes, int)
        Captured bytes of each frame, and how many it had on the wire.

    Returns
    -------
    dict of FiveTuple to Seen
        In order of first packet, named as the first packet went.
    """
    found: dict[FiveTuple, Seen] = {}
    for frame, wire_bytes in frames:
        flow = five_tuple(frame)
        if flow is None:
            continue
        if flow not in found and flow.reversed() in found:
            flow = flow.reversed()
        before = found.get(flow, Seen(0, 0))
        found[flow] = Seen(before.packets + 1, before.wire_bytes + wire_bytes)
    return found


def label(flow: FiveTuple, claims: Sequence[Claim]) -> Claim | None:
    """Return the claim that explains a flow; None where nothing was started at either end.

    A claim of the exact port goes before one of any port, the destination before the source, and
    of two equal claims the later one. Control messages that nothing claims are ordinary.
    """
    exact = {(claim.proto, claim.address, claim.port): claim for claim in claims}
    for key in (
        (flow.proto, flow.dst, flow.dport),
        (flow.proto, flow.src, flow.sport),
        (flow.proto, flow.dst, 0),
        (flow.proto, flow.src, 0),
    ):
        if key in exact:
            return exact[key]
    if flow.proto in CONTROL:
        return Claim(flow.proto, flow.dst, 0, 0, "", PROTOCOLS[flow.proto])
    return None


def rows(
    name: str, flows: Iterable[FiveTuple], claims: Sequence[Claim]
) -> list[tuple[object, ...]]:
    """Return the label rows of one capture, one for each flow, in order of first packet.

    Parameters
    ----------
    name : str
        File name of the capture, for the column ``path``.
    flows : iterable of FiveTuple
        As the packets come; repetitions, in either direction, give one row.
    claims : sequence of Claim
        What was started.

    Raises
    ------
    LabError
        If nothing was started at either end of a flow.
    """
    seen: set[FiveTuple] = set()
    out: list[tuple[object, ...]] = []
    for flow in flows:
        if flow in seen or flow.reversed() in seen:
            continue
        seen.add(flow)
        found = label(flow, claims)
        if found is None:
            raise LabError(f"nothing was started at either end of {tuple(flow)}", path=name)
        proto = PROTOCOLS.get(flow.proto, str(flow.proto))
        endpoints = (flow.src, flow.sport, flow.dst, flow.dport)
        out.append((name, proto, *endpoints, found.is_vpn, found.family, found.application))
    return out


def text(table: Sequence[Sequence[object]], columns: Sequence[str] = COLUMNS) -> str:
    """Return the rows as CSV with a header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(table)
    return out.getvalue()
