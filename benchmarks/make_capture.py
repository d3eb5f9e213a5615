"""Make a big capture out of small ones: ``python benchmarks/make_capture.py OUT [SOURCE...]``.

The Ethernet/IPv4 packets of the sources are one template. It is repeated until there are ``--packets``
of them, with the addresses moved on, so that every copy of every source brings flows of its own; each
copy begins at another time, and packets are in the order of time, as on a busy link. Without sources,
the shipped demo capture is the template.
"""

import argparse
import struct
from pathlib import Path
from typing import NamedTuple

import dpkt
import numpy as np
from numpy.typing import NDArray

RECORD = np.dtype([("seconds", "<u4"), ("micros", "<u4"), ("captured", "<u4"), ("wire", "<u4")])
START_S = 1_700_000_000
MOST_GAP_S = 60.0  # between two packets of a source, so that a copy lasts minutes, not years
SPREAD_S = 60.0  # from the first copy's beginning to the last one's
AT_ONCE = 50_000  # packets that are put together before they are written


class Template(NamedTuple):
    """The packets of the sources in the order of time."""

    frames: list[bytes]
    wire: NDArray[np.int64]
    clock_s: NDArray[np.float64]
    source: NDArray[np.int64]


def template(sources: list[Path], snaplen: int) -> Template:
    """Read what the sources have."""
    records: list[tuple[float, bytes, int, int]] = []
    for source, path in enumerate(sources):
        try:
            reader = dpkt.pcap.UniversalReader(path.open("rb"))
            if reader.datalink() != dpkt.pcap.DLT_EN10MB:
                continue
            clock, before = 0.0, None
            for ts, frame in reader:
                clock += min(max(ts - before, 0.0), MOST_GAP_S) if before is not None else 0.0
                before = ts
                if len(frame) >= 34 and frame[12:14] == b"\x08\x00" and frame[14] == 0x45:
                    records.append((clock, frame[:snaplen], len(frame), source))
        except (ValueError, dpkt.dpkt.Error, struct.error):
            continue  # a malformed source lends what came before
    if not records:
        raise SystemExit("the sources hold no Ethernet/IPv4 packet: name others")
    records.sort(key=lambda r: r[0])
    clocks, frames, wire, source_of = zip(*records, strict=True)
    return Template(list(frames), np.array(wire), np.array(clocks), np.array(source_of))


def write(path: Path, packets: Template, wanted: int) -> None:
    """Write copies of the template, up to the time when there are enough packets."""
    size = len(packets.frames)
    copies = -(-wanted // size)
    row, copy = np.tile(np.arange(size), copies), np.repeat(np.arange(copies), size)
    start_s = np.random.default_rng(1).uniform(0, SPREAD_S, copies)
    time = packets.clock_s[row] + start_s[copy]
    order = np.argsort(time, kind="stable")[:wanted]
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        for first in range(0, order.size, AT_ONCE):
            some = order[first : first + AT_ONCE]
            file.write(records(packets, row[some], copy[some], time[some]))


def records(
    packets: Template, row: NDArray[np.int64], copy: NDArray[np.int64], time: NDArray[np.float64]
) -> bytes:
    """Return some packets as records of a pcap."""
    frames = [packets.frames[i] for i in row.tolist()]
    head = np.zeros(row.size, RECORD)
    head["captured"], head["wire"] = [len(frame) for frame in frames], packets.wire[row]
    head["seconds"], head["micros"] = START_S + time.astype(np.int64), time % 1 * 1e6
    raw = head.tobytes()
    parts = (part for i, f in enumerate(frames) for part in (raw[16 * i : 16 * i + 16], f))
    data = np.frombuffer(bytearray(b"".join(parts)), np.uint8)
    sizes = head["captured"].astype(np.int64) + RECORD.itemsize
    starts = np.cumsum(sizes) - sizes
    # A bijection of the address space for each copy of each source
    number = copy * (packets.source.max() + 1) + packets.source[row]
    mask = (number.astype(np.uint64) * 0x9E3779B1 & 0x00FFFFFF).astype(">u4").view(np.uint8)
    for place in (26, 30):
        data[starts[:, None] + RECORD.itemsize + place + np.arange(4)] ^= mask.reshape(-1, 4)
    return data.tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("sources", type=Path, nargs="*", help="captures or folders of captures")
    parser.add_argument("--packets", type=int, default=2_000_000)
    parser.add_argument("--snaplen", type=int, default=65535)
    options = parser.parse_args()
    if options.snaplen < 34:
        parser.error("addresses need 34 bytes of a packet")
    if not options.sources:
        from classifier.datasets import demo

        options.sources = [demo().capture]
    sources = []
    for source in options.sources:
        sources += (
            sorted(p for p in source.rglob("*") if p.is_file()) if source.is_dir() else [source]
        )
    write(options.out, template(sources, options.snaplen), options.packets)
    print(f"{options.out}: {options.out.stat().st_size / 2**20:,.0f} MiB")


if __name__ == "__main__":
    main()
