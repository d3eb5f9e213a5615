"""Reads what tcpdump wrote, and writes it as pcapng with a note on what it is.

tcpdump writes pcap alone. The rewriting needs no other program, and gives the same bytes for the
same packets: no comment names a clock or a machine.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from classifier.errors import LabError

__all__ = ["Record", "read_pcap", "write_pcapng"]

PCAP_NANO = 0xA1B23C4D  # little-endian on all machines that are supported
PCAP_HEADER, RECORD_HEADER = struct.Struct("<IHHiIII"), struct.Struct("<IIII")
LINKTYPE_ETHERNET = 1
SHB, IDB, EPB = 0x0A0D0D0A, 1, 6  # pcapng block types
BYTE_ORDER = 0x1A2B3C4D
OPT_COMMENT, OPT_IF_NAME, OPT_IF_TSRESOL = 1, 2, 9


class Record(NamedTuple):
    """One captured frame."""

    ts_ns: int
    frame: bytes
    wire_bytes: int


def read_pcap(path: Path) -> Iterator[Record]:
    """Yield the records of a nanosecond pcap file in this machine's byte order.

    Raises
    ------
    LabError
        If the file is none, or ends in the middle of a record.
    """
    content = path.read_bytes()
    if len(content) < PCAP_HEADER.size or PCAP_HEADER.unpack_from(content)[0] != PCAP_NANO:
        raise LabError("tcpdump wrote no capture", path=path.name)
    offset = PCAP_HEADER.size
    while offset < len(content):
        if offset + RECORD_HEADER.size > len(content):
            raise LabError("the file ends in the middle of a record", path=path.name, offset=offset)
        seconds, nanos, captured_bytes, wire_bytes = RECORD_HEADER.unpack_from(content, offset)
        start = offset + RECORD_HEADER.size
        offset = start + captured_bytes
        if offset > len(content):
            raise LabError("the file ends in the middle of a record", path=path.name, offset=start)
        yield Record(seconds * 1_000_000_000 + nanos, content[start:offset], wire_bytes)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _block(kind: int, body: bytes) -> bytes:
    size = len(body) + 12
    return struct.pack("<II", kind, size) + body + struct.pack("<I", size)


def write_pcapng(path: Path, records: list[Record], comment: str, snaplen: int = 0) -> None:
    """Write the records as one pcapng section with one Ethernet interface.

    Parameters
    ----------
    path : pathlib.Path
        File to write.
    records : list of Record
        In the order to be written.
    comment : str
        Of the section, such as the name of the run.
    snaplen : int
        Bytes kept of each packet; 0 where all were.
    """
    end = struct.pack("<I", 0)
    section = struct.pack("<IHHq", BYTE_ORDER, 1, 0, -1) + _option(OPT_COMMENT, comment.encode())
    interface = struct.pack("<HHI", LINKTYPE_ETHERNET, 0, snaplen)
    interface += _option(OPT_IF_NAME, b"tap") + _option(OPT_IF_TSRESOL, b"\x09")
    with path.open("wb") as file:
        file.write(_block(SHB, section + end) + _block(IDB, interface + end))
        for ts_ns, frame, wire_bytes in records:
            head = struct.pack("<IIIII", 0, ts_ns >> 32, ts_ns & 0xFFFFFFFF, len(frame), wire_bytes)
            file.write(_block(EPB, head + frame + bytes(-len(frame) % 4)))
