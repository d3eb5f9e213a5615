"""Asks tshark for the outermost five-tuple of each packet of a capture."""

import ipaddress
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

_FIELDS = [
    "frame.number",
    "frame.protocols",
    "ip.src",
    "ip.dst",
    "ip.proto",
    "ip.frag_offset",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.nxt",
    "ipv6.fraghdr.offset",
    "tcp.srcport",
    "tcp.dstport",
    "udp.srcport",
    "udp.dstport",
    "sctp.srcport",
    "sctp.dstport",
    "dccp.srcport",
    "dccp.dstport",
]
_TRANSPORTS = {6: "tcp", 17: "udp", 136: "udp", 132: "sctp", 33: "dccp"}
_EXTENSIONS = (0, 43, 44, 60, 135, 139, 140)
_USAGE_ERROR = 1


class Seen(NamedTuple):
    """A packet's outermost IP layer."""

    ip_version: int
    src: int
    dst: int
    proto: int  # -1 where an extension header comes first
    src_port: int  # -1 where tshark shows none
    dst_port: int
    outer: tuple[str, ...] = ()  # the layers around it


def command(program: str, path: str) -> list[str]:
    """Build the call: no look-ups, nothing put together."""
    out = [program, "-n", "-r", path]
    for option in (
        "ip.defragment:FALSE",
        "ip.tso_support:TRUE",
        "ipv6.defragment:FALSE",
        "tcp.desegment_tcp_streams:FALSE",
        "tcp.analyze_sequence_numbers:FALSE",
    ):
        out += ["-o", option]
    out += ["-T", "fields", "-E", "occurrence=f", "-E", "separator=|"]
    for name in _FIELDS:
        out += ["-e", name]
    return out


def read(program: str, path: str) -> dict[int, Seen | None]:
    """Return what tshark sees by frame number; None for a frame without IP."""
    done = subprocess.run(
        command(program, path), capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode == _USAGE_ERROR and "Usage:" in done.stderr:
        raise RuntimeError(done.stderr)
    return dict(rows(done.stdout))


def rows(text: str) -> Iterator[tuple[int, Seen | None]]:
    for line in text.splitlines():
        values = dict(zip(_FIELDS, line.split("|"), strict=True))
        yield int(values["frame.number"]), _seen(values)


def _number(values: dict[str, str], name: str) -> int:
    return int(values[name], 0) if values[name] else -1


def _seen(values: dict[str, str]) -> Seen | None:
    layers = values["frame.protocols"].split(":")
    name = next((n for n in layers if n in ("ip", "ipv6")), "")
    if not name or not values[f"{name}.src"] or not values[f"{name}.dst"]:
        return None
    proto = _number(values, "ip.proto" if name == "ip" else "ipv6.nxt")
    offset = "ip.frag_offset" if name == "ip" else "ipv6.fraghdr.offset"
    ports = (-1, -1)
    if proto in _TRANSPORTS and _number(values, offset) <= 0:
        transport = _TRANSPORTS[proto]
        ports = (_number(values, f"{transport}.srcport"), _number(values, f"{transport}.dstport"))
    return Seen(
        4 if name == "ip" else 6,
        int(ipaddress.ip_address(values[f"{name}.src"])),
        int(ipaddress.ip_address(values[f"{name}.dst"])),
        -1 if name == "ipv6" and proto in _EXTENSIONS else proto,
        *ports,
        tuple(layers[: layers.index(name)]),
    )
