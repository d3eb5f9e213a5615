"""The same captures through the library and through dpkt: packets and five-tuples.

dpkt knows fewer links and gives up earlier, so what it cannot take apart is not compared; what it can
must be the same, or be in no flow for a counted reason.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import captures
import dpkt
import frames as f
import pytest
import strategies as own
from reading import read_rows

from classifier.errors import CaptureError
from classifier.wire import REASONS

FiveTuple = tuple[int, int, int, int, int]


def records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (link type, packet) as far as dpkt reads."""
    opener = dpkt.pcapng.Reader if data[:4] == b"\x0a\x0d\x0d\x0a" else dpkt.pcap.Reader
    reader = opener(io.BytesIO(data))
    for _, packet in reader:
        yield reader.datalink(), bytes(packet)


def five_tuple(link: int, packet: bytes) -> FiveTuple | None:
    """Return dpkt's five-tuple of TCP and UDP packets, None for all else."""
    layer: Any
    if link == 1:
        layer = dpkt.ethernet.Ethernet(packet).data
    elif link == 113:
        layer = dpkt.sll.SLL(packet).data
    elif link in (12, 14, 101) and packet:
        layer = (dpkt.ip.IP if packet[0] >> 4 == 4 else dpkt.ip6.IP6)(packet)
    elif link in (0, 108):
        layer = dpkt.loopback.Loopback(packet).data
    else:
        return None
    if not isinstance(layer, dpkt.ip.IP | dpkt.ip6.IP6):
        return None
    transport = layer.data
    if not isinstance(transport, dpkt.tcp.TCP | dpkt.udp.UDP):
        return None
    proto = 6 if isinstance(transport, dpkt.tcp.TCP) else 17
    source, target = int.from_bytes(layer.src, "big"), int.from_bytes(layer.dst, "big")
    return source, target, proto, transport.sport, transport.dport


def their_tuples(data: bytes) -> tuple[list[FiveTuple | None], bool]:
    """Return dpkt's five-tuples by packet, and whether it came to the end."""
    found: list[FiveTuple | None] = []
    try:
        for link, packet in records(data):
            try:
                found.append(five_tuple(link, packet))
            except (dpkt.Error, IndexError, ValueError, AttributeError, TypeError):
                found.append(None)
    except (dpkt.Error, IndexError, ValueError, OverflowError, OSError):
        return found, False
    return found, True


def compare(name: str, data: bytes) -> tuple[list[str], int]:
    """Return unexplained differences, and how many packets could be compared."""
    theirs, whole = their_tuples(data)
    try:
        capture, batches = read_rows(data)
    except CaptureError as error:
        return ([f"{name}: {error}"] if any(theirs) else []), 0
    found, compared = [], 0
    if whole and not capture.damage and capture.packets_read != len(theirs):
        found.append(f"{name}: dpkt reads {len(theirs)}, we {capture.packets_read} packets")
    rows = [row for some, _ in batches for row in some]
    for row, theirs_of_it in zip(rows, theirs, strict=False):
        if theirs_of_it is None:
            continue
        reason = REASONS[row["reason"]]
        place = f"{name}, frame {row['frame']}"
        if row["reason"]:
            if not reason.startswith(("malformed", "truncated")):
                found.append(f"{place}: {reason}, but {theirs_of_it} for dpkt")
            continue
        compared += 1
        ours = (
            int(row["src_hi"]) << 64 | int(row["src_lo"]),
            int(row["dst_hi"]) << 64 | int(row["dst_lo"]),
            int(row["proto"]),
            int(row["src_port"]),
            int(row["dst_port"]),
        )
        if ours != theirs_of_it:
            found.append(f"{place}: {ours}, but {theirs_of_it} for dpkt")
    return found, compared


@pytest.mark.parametrize("make", [f.pcap, f.pcapng])
@pytest.mark.parametrize("link", [f.ETHERNET, f.RAW, f.SLL, f.NULL])
def test_dpkt_sees_the_same_five_tuples_in_our_own_captures(link: int, make: Any) -> None:
    packets = [
        f.link(f.ip4(f.tcp(1000, 443, b"hello"), 6, options=bytes(8)), link),
        f.link(f.ip4(f.udp(5353, 53, b"question")), link),
        f.link(f.ip6(f.udp(5353, 53, b"question")), link),
        f.link(f.ip6(f.extension(6, f.tcp(1, 2)), 60), link),
    ]
    found, compared = compare("made", make(packets, link=link))
    assert not found
    assert compared == 4


def test_dpkt_reads_what_the_encapsulations_make() -> None:
    """The frames of tests are right, not merely read as they were written."""
    inner = f.ip4(f.udp(5353, 53, b"question"))
    for name, wrap in own.WRAPPERS.items():
        outer = dpkt.ethernet.Ethernet(f.eth(wrap(inner))).data
        assert isinstance(outer, dpkt.ip.IP | dpkt.ip6.IP6), name
    gre = dpkt.ip.IP(own.WRAPPERS["gre, all fields"](inner)).data
    assert isinstance(gre.data, dpkt.ip.IP)
    assert gre.data.data.dport == 53


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["malformed", "ordinary", "vpn"])
def test_dpkt_sees_the_same_five_tuples_in_shared_captures(kind: str) -> None:
    paths: list[Path] = captures.shared(kind)
    found, compared = [], 0
    for path in paths:
        problems, n = compare(path.name, path.read_bytes())
        compared += n
        found += problems
    assert not found, "\n".join(found[:100])
    assert compared > len(paths)
