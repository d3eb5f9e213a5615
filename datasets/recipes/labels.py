"""Turns what a recipe started into labels: one row per five-tuple that is in the capture.

The packets are read only for their five-tuples. Which of them is what comes from the lab's claims,
never from the payload; a five-tuple that nothing claims is an error of the recipe.
"""

import csv
import io
import ipaddress
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import dpkt
from netns import Claim, RecipeError

COLUMNS = ("path", "proto", "src", "sport", "dst", "dport", "is_vpn", "family", "application")
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 50: "esp", 51: "ah", 58: "icmp6"}
WITH_PORTS = (6, 17)


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


def five_tuples(capture: Path) -> Iterator[FiveTuple]:
    """Yield the five-tuple of each IP packet of a pcap or pcapng file."""
    with capture.open("rb") as file:
        for _, frame in dpkt.pcap.UniversalReader(file):
            offset = 12
            while frame[offset : offset + 2] in (b"\x81\x00", b"\x88\xa8"):
                offset += 4
            kind, packet = frame[offset : offset + 2], frame[offset + 2 :]
            if kind == b"\x08\x00":
                header = (packet[0] & 15) * 4
                proto, addresses, width = packet[9], packet[12:20], 4
            elif kind == b"\x86\xdd":
                header, proto, addresses, width = 40, packet[6], packet[8:40], 16
                if proto == 0:  # hop-by-hop options (multicast listener reports)
                    proto, header = packet[40], 48 + packet[41] * 8
            else:
                continue
            src, dst = (str(ipaddress.ip_address(addresses[i : i + width])) for i in (0, width))
            ports = [0, 0]
            if proto in WITH_PORTS:
                ports = [int.from_bytes(packet[header + i : header + i + 2]) for i in (0, 2)]
            yield FiveTuple(proto, src, ports[0], dst, ports[1])


def times(capture: Path) -> list[float]:
    """Return the time stamps of a capture in order, in seconds since 1970."""
    with capture.open("rb") as file:
        return sorted(float(seconds) for seconds, _ in dpkt.pcap.UniversalReader(file))


def rows(capture: Path, claims: Sequence[Claim]) -> list[tuple[object, ...]]:
    """Return the label rows of one capture, in order of first packet."""
    exact = {(claim.proto, claim.address, claim.port): claim for claim in claims}
    seen: set[FiveTuple] = set()
    out: list[tuple[object, ...]] = []
    for flow in five_tuples(capture):
        if flow in seen or flow.reversed() in seen:
            continue
        seen.add(flow)
        found = None
        for port_dst, port_src in ((flow.dport, flow.sport), (0, 0)):
            found = found or exact.get((flow.proto, flow.dst, port_dst))
            found = found or exact.get((flow.proto, flow.src, port_src))
        if found is None and flow.proto in (1, 58):
            found = Claim(flow.proto, flow.dst, 0, 0, "", PROTOCOLS[flow.proto])
        if found is None:
            raise RecipeError(f"{capture}: nothing was started at either end of {flow}")
        name = PROTOCOLS[flow.proto]
        endpoints = (flow.src, flow.sport, flow.dst, flow.dport)
        label = (found.is_vpn, found.family, found.application)
        out.append((capture.name, name, *endpoints, *label))
    return out


def text(table: Sequence[Sequence[object]], columns: Sequence[str] = COLUMNS) -> str:
    """Return the rows as CSV with a header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(table)
    return out.getvalue()
