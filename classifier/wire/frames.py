"""The bytes of each frame of a capture, beside its row of the packet table.

How this works: ``Capture.batches`` walks a buffer in kernels and tells, where it is asked to, which
bytes a walk has passed. The same bytes are walked here once more, in plain Python, for what the packet
table does not hold: where each frame begins and ends, and its link type. Both walks see the same
records, so the n-th span belongs to the n-th row.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifier.wire.capture import Capture, Source, open_capture

__all__ = ["Frame", "frames"]

SHB, IDB, PB, SPB, EPB = 0x0A0D0D0A, 1, 2, 3, 6

#: Bytes of a link header, where a frame is not known to hold more headers than that.
_LINK_HEADERS = {0: 4, 1: 14, 9: 4, 50: 4, 51: 6, 104: 4, 108: 4, 113: 16, 276: 20}
_FLOW_FIELDS = ("frame", "ts_ns", "reason", "payload_start")


@dataclass(frozen=True, slots=True)
class Frame:
    """One captured frame.

    Attributes
    ----------
    number : int
        In its capture, from 1.
    ts_ns : int
    link : int
        Link type.
    data : bytes
        What the capture holds of it.
    wire_bytes : int
        What was on the wire.
    header_bytes : int
        How many bytes of ``data`` are headers: up to the payload of the transport, or the link
        header alone where the packet is in no flow.
    """

    number: int
    ts_ns: int
    link: int
    data: bytes
    wire_bytes: int
    header_bytes: int


class _Spans:
    """Where frames lie in the buffer: (start, stop, wire bytes, link) of each since the last yield."""

    def __init__(self, capture: Capture) -> None:
        self.found: list[tuple[int, int, int, int]] = []
        self._capture = capture
        self._big = False
        self._interfaces: list[tuple[int, int]] = []  # link type and snaplen

    def see(self, buffer: NDArray[np.uint8], start: int, stop: int, skip: int) -> None:
        if self._capture.record_header:
            self._see_pcap(buffer[start:stop].tobytes(), start)
        else:
            at = start + min(skip, stop - start)
            self._see_pcapng(buffer[at:stop].tobytes(), at)

    def _see_pcap(self, data: bytes, base: int) -> None:
        order, header = self._capture.byte_order, self._capture.record_header
        at = 0
        while at + header <= len(data):
            captured = int.from_bytes(data[at + 8 : at + 12], order)
            wire = int.from_bytes(data[at + 12 : at + 16], order)
            begin = base + at + header
            self.found.append((begin, begin + captured, wire, self._capture.link))
            at += header + captured

    def _see_pcapng(self, data: bytes, base: int) -> None:
        at = 0
        while at + 12 <= len(data):
            kind = self._number(data, at, 4)
            if kind == SHB:
                self._big = data[at + 8 : at + 12] == b"\x1a\x2b\x3c\x4d"
                self._interfaces = []
            length = (self._number(data, at + 4, 4) + 3) // 4 * 4
            if kind in (EPB, SPB, PB):
                self.found.append(self._span(data, at, length, kind, base))
            elif kind == IDB:
                known = length >= 20
                link = self._number(data, at + 8, 2) if known else -1
                self._interfaces.append((link, self._number(data, at + 12, 4) if known else 0))
            at += length

    def _span(
        self, data: bytes, at: int, length: int, kind: int, base: int
    ) -> tuple[int, int, int, int]:
        """Return the span of a packet block's frame; an empty one of a block that is no good."""
        head = 16 if kind == SPB else 32
        room, begin = length - head, base + at + head - 4
        if room < 0:
            return base + at, base + at, 0, -1
        if kind == SPB:
            wire, interface = self._number(data, at + 8, 4), 0
            captured = min(wire, room)
            if self._interfaces and self._interfaces[0][1]:
                captured = min(captured, self._interfaces[0][1])
        else:
            interface = self._number(data, at + 8, 4 if kind == EPB else 2)
            captured, wire = self._number(data, at + 20, 4), self._number(data, at + 24, 4)
        if captured > room or interface >= len(self._interfaces):
            return base + at, base + at, wire, -1
        return begin, begin + captured, wire, self._interfaces[interface][0]

    def _number(self, data: bytes, at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], "big" if self._big else "little")


def frames(source: Source, *, decapsulate: bool = False) -> Iterator[Frame]:
    """Yield the frames of a capture, as far as it can be read.

    Parameters
    ----------
    source : path, bytes or binary file object
    decapsulate : bool
        Count the headers inside encapsulations as headers.

    Raises
    ------
    CaptureError
        If it cannot be opened, or all of it cannot be read.
    """
    capture = open_capture(source, decapsulate=decapsulate)
    spans = _Spans(capture)
    capture.watch = spans.see
    for packets, buffer in capture.batches():
        kept = {name: packets[name].tolist() for name in _FLOW_FIELDS}
        for row, (start, stop, wire, link) in enumerate(spans.found):
            header = min(_LINK_HEADERS.get(link, 0), stop - start)
            if kept["reason"][row] == 0:
                header = min(max(kept["payload_start"][row] - start, header), stop - start)
            data = buffer[start:stop].tobytes()
            yield Frame(kept["frame"][row], kept["ts_ns"][row], link, data, wire, header)
        spans.found.clear()
