"""The same captures through the library and through tshark: each packet's outermost five-tuple."""

import importlib.util
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import captures
import pytest
from reading import read_rows

from classifier.errors import CaptureError
from classifier.tables import protocol_name
from classifier.wire import REASONS

_SPEC = importlib.util.spec_from_file_location("tshark", Path(__file__).with_name("tshark.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
tshark = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tshark)

pytestmark = [pytest.mark.tshark, pytest.mark.slow]

#: Captures where tshark goes where the library does not, and why.
BEYOND = {
    "tcpdump__icmp-icmp_print-oobr-2.pcap": "frame relay link",
    "tcpdump__vrrp-vrrp_print-oobr.pcap": "frame relay link",
    "tcpdump__icmp-rfc8335-missing-bytes.pcap": "IP inside unencrypted MACsec",
    "tcpdump__macsec-short-longer.pcap": "IP inside unencrypted MACsec",
    "tcpdump__macsec-short-shorter.pcap": "IP inside unencrypted MACsec",
    "tcpdump__macsec-short-valid.pcap": "IP inside unencrypted MACsec",
    "tcpdump__wb-oobr.pcap": "MPLS inside PPP",
    "nDPI__ajp.pcap": "Cisco FabricPath tag",
}
#: Captures that tshark refuses at a packet which the library counts and passes.
REFUSED = {
    "PcapPlusPlus__crash-pcapng-epb-unbounded-length": "packet larger than its block",
}


def explained(name: str, reason: str) -> bool:
    """Tell whether a packet that tshark sees IP in may be in no flow."""
    return reason.startswith(("malformed", "truncated")) or name in BEYOND


def difference(row: Any, seen: Any) -> str:
    """Return what differs between our row and what tshark shows."""
    if seen is None:
        return "tshark sees no IP"
    source = int(row["src_hi"]) << 64 | int(row["src_lo"])
    target = int(row["dst_hi"]) << 64 | int(row["dst_lo"])
    if (seen.ip_version, seen.src, seen.dst) != (row["ip_version"], source, target):
        return "addresses"
    if seen.proto not in (-1, row["proto"]):
        return "protocol"
    if seen.proto != -1 and seen.src_port == -1 and row["src_port"]:
        return "ports that tshark does not show"
    if seen.src_port != -1 and (seen.src_port, seen.dst_port) != (row["src_port"], row["dst_port"]):
        return "ports"
    return ""


def compare(path: Path, theirs: dict[int, Any]) -> list[str]:
    """Return the unexplained differences of a capture."""
    try:
        capture, batches = read_rows(path)
    except CaptureError as error:
        unseen = path.name in BEYOND or not any(theirs.values())
        return [] if unseen else [f"{path.name}: {error}"]
    found = []
    ours: Counter[str] = Counter()
    both: Counter[str] = Counter()
    flows: dict[str, set[object]] = {"ours": set(), "theirs": set()}
    for rows, _ in batches:
        for row in rows:
            frame = int(row["frame"])
            place = f"{path.name}, frame {frame}"
            if frame not in theirs:
                if path.name not in REFUSED:
                    found.append(f"{place}: not read by tshark")
                continue
            seen = theirs[frame]
            if row["reason"]:
                if seen is not None and not explained(path.name, REASONS[row["reason"]]):
                    found.append(f"{place}: {REASONS[row['reason']]}, but IP for tshark")
                continue
            problem = difference(row, seen)
            if problem:
                found.append(f"{place}: {problem}")
            elif seen.proto != -1:
                add_keys(row, seen, flows)
                ours[protocol_name(int(row["proto"]))] += 1
                both[protocol_name(seen.proto)] += 1
    if len(theirs) > capture.packets_read:
        found.append(f"{path.name}: tshark reads {len(theirs)}, we {capture.packets_read} packets")
    if len(flows["ours"]) != len(flows["theirs"]) or ours != both:
        found.append(f"{path.name}: {ours} packets per protocol, tshark {both}")
    return found


def add_keys(row: Any, seen: Any, flows: dict[str, set[object]]) -> None:
    """Note the direction-free five-tuples that both make of a packet."""
    a = (int(row["src_hi"]) << 64 | int(row["src_lo"]), int(row["src_port"]))
    b = (int(row["dst_hi"]) << 64 | int(row["dst_lo"]), int(row["dst_port"]))
    flows["ours"].add((frozenset((a, b)), int(row["proto"])))
    c, d = (seen.src, max(seen.src_port, 0)), (seen.dst, max(seen.dst_port, 0))
    flows["theirs"].add((frozenset((c, d)), seen.proto))


@pytest.mark.parametrize("kind", ["malformed", "ordinary", "vpn"])
def test_tshark_sees_the_same_five_tuples_in_shared_captures(kind: str) -> None:
    program = captures.program("tshark")
    paths = captures.shared(kind)
    found: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        answers = pool.map(lambda path: tshark.read(program, str(path)), paths)
        for path, theirs in zip(paths, answers, strict=True):
            found += compare(path, theirs)
    assert not found, "\n".join(found)
