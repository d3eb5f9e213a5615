"""Make a big capture out of small ones: ``python benchmarks/make_capture.py OUT [SOURCE...]``.

The Ethernet/IPv4 packets of the sources are one template; it is written again and again with the
addresses moved on, so that every copy brings new flows, until ``--packets`` is reached. All copies
start at the same time, as they would on a busy link. Without sources, the shipped demo capture is
the template.
"""

import argparse
import struct
from pathlib import Path

import dpkt
import numpy as np

RECORD = struct.Struct("<IIII")
START_S = 1_700_000_000
MOST_GAP_S = 60.0  # between two packets of a source, so that a copy lasts minutes, not years


def template(sources: list[Path], snaplen: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return (bytes of all records, offsets of the IPv4 source addresses, packets)."""
    records: list[tuple[float, bytes, int]] = []
    for path in sources:
        try:
            reader = dpkt.pcap.UniversalReader(path.open("rb"))
            if reader.datalink() != dpkt.pcap.DLT_EN10MB:
                continue
            clock, before = 0.0, None
            for ts, frame in reader:
                clock += min(max(ts - before, 0.0), MOST_GAP_S) if before is not None else 0.0
                before = ts
                if len(frame) >= 34 and frame[12:14] == b"\x08\x00" and frame[14] == 0x45:
                    records.append((clock, frame[:snaplen], len(frame)))
        except (ValueError, dpkt.dpkt.Error, struct.error):
            continue  # a malformed source lends what came before
    records.sort(key=lambda r: r[0])
    out, addresses = bytearray(), []
    for clock, frame, wire in records:
        seconds = int(clock)
        out += RECORD.pack(START_S + seconds, int((clock - seconds) * 1e6), len(frame), wire)
        addresses.append(len(out) + 26)
        out += frame
    return np.frombuffer(bytes(out), np.uint8).copy(), np.array(addresses), len(records)


def write(path: Path, data: np.ndarray, addresses: np.ndarray, per_copy: int, packets: int) -> int:
    """Write copies of the template until there are enough packets; return how many there are."""
    words = addresses[:, None] + np.arange(4)
    original = data.copy()
    written = 0
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        for copy in range(-(-packets // per_copy)):
            for side in (0, 4):  # a bijection of the address space for each copy
                address = original[words + side].view(">u4").astype(np.uint64).ravel()
                moved = (address ^ np.uint64(copy * 0x9E3779B1 & 0x00FFFFFF)).astype(">u4")
                data[words + side] = moved.view(np.uint8).reshape(-1, 4)
            file.write(data.tobytes())
            written += per_copy
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("sources", type=Path, nargs="*", help="captures or folders of captures")
    parser.add_argument("--packets", type=int, default=2_000_000)
    parser.add_argument("--snaplen", type=int, default=65535)
    options = parser.parse_args()
    if not options.sources:
        from classifier.datasets import demo

        options.sources = [demo().capture]
    sources = []
    for source in options.sources:
        sources += (
            sorted(p for p in source.rglob("*") if p.is_file()) if source.is_dir() else [source]
        )
    data, addresses, per_copy = template(sources, options.snaplen)
    n = write(options.out, data, addresses, per_copy, options.packets)
    print(f"{options.out}: {n} packets, {options.out.stat().st_size / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
