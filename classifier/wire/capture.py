"""Opens captures and hands out their packets, a buffer at a time.

How this works: a source (path, bytes, file object, ``-``) becomes a byte stream, unpacked where its
first bytes say that it is compressed. The stream fills a 1 MiB buffer with ``readinto`` (faster
than a memory map for a serial walk, works for pipes and cannot die of a file that shrinks); a
kernel turns whole records into rows of the packet table; the rest moves to the front.
"""

import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier._jit import spend
from classifier.errors import CaptureError, CaptureFormatError, CaptureTruncatedError
from classifier.tables import PACKET
from classifier.wire.streams import Stream, open_stream

__all__ = ["Capture", "Source", "Stretch", "open_capture", "order_captures"]

Source = str | Path | bytes | bytearray | memoryview | BinaryIO

BUFFER_BYTES = 1024 * 1024
ROWS = 4096
MOST_INTERFACES = 1 << 16  # of a section; more is a file that only wants memory
LEAST_STRETCH = 8 * BUFFER_BYTES  # of a file that is left, for reading it by stretches

#: Link types that can be read; https://www.tcpdump.org/linktypes.html
LINKS = {
    0: "null/loopback",
    1: "Ethernet",
    9: "PPP",
    12: "raw IP",
    14: "raw IP",
    50: "PPP (HDLC)",
    51: "PPPoE",
    101: "raw IP",
    104: "Cisco HDLC",
    108: "OpenBSD loopback",
    113: "Linux cooked v1",
    192: "PPI",
    228: "raw IPv4",
    229: "raw IPv6",
    276: "Linux cooked v2",
}

# First four bytes, little-endian -> (big-endian, record header bytes, nanoseconds)
_MAGICS = {
    0xA1B2C3D4: (0, 16, 0),
    0xD4C3B2A1: (1, 16, 0),
    0xA1B23C4D: (0, 16, 1),
    0x4D3CB2A1: (1, 16, 1),
    0xA1B2CD34: (0, 24, 0),  # Kuznetzov's variant, with interface and protocol in each record
    0x34CDB2A1: (1, 24, 0),
    0x1C0001AC: (0, 16, 0),  # IXIA, by hardware and by software
    0xAC01001C: (1, 16, 0),
    0x1C0001AB: (0, 16, 0),
    0xAB01001C: (1, 16, 0),
}
_IXIA = (0x1C0001AC, 0xAC01001C, 0x1C0001AB, 0xAB01001C)
_PCAPNG = 0x0A0D0D0A

DAMAGES = (
    "a packet claims more than 262144 bytes",
    "a block is shorter than its own header",
    "a section header without byte-order mark",
    "a packet block of more than 393216 bytes",
)


class Stretch(NamedTuple):
    """What a kernel needs to read a file on by itself; ``state`` is of ``_container_kernels``."""

    descriptor: int
    buffer: NDArray[np.uint8]
    state: NDArray[np.int64]
    interfaces: NDArray[np.int64]
    rows: NDArray[np.void]
    spare: NDArray[np.void]


@dataclass(slots=True)
class Capture:
    """One capture being read.

    Attributes
    ----------
    name : str
        Base name of the file, or ``<bytes>``, ``<stream>``, ``<stdin>``.
    path : str
        Where it came from, for messages.
    index : int
        Row in the list of captures, written into ``PACKET.capture``.
    damage : list of CaptureError
        Why reading ended before the end of the file, if it did.
    watch : callable, optional
        Told, after each walk, the buffer, the bytes (start, stop) that it passed, and how many of
        them belong to a block that is passed over.
    """

    name: str
    path: str
    index: int
    stream: Stream
    decapsulate: bool = False
    damage: list[CaptureError] = field(default_factory=list)
    clamped: int = 0
    watch: Callable[[NDArray[np.uint8], int, int, int], None] | None = None
    _state: NDArray[np.int64] = field(init=False)
    _interfaces: NDArray[np.int64] = field(init=False)
    _buffer: NDArray[np.uint8] = field(init=False)
    _rows: NDArray[np.void] = field(init=False)
    _spare: NDArray[np.void] = field(init=False)
    is_pcapng: bool = field(default=False, init=False)
    _readable: bool = False  # a packet came from an interface whose link type can be read

    def __post_init__(self) -> None:
        """Read the file header."""
        from classifier.wire import _container_kernels as k

        self._state = np.zeros(k.N_STATE, np.int64)
        self._state[k.CAPTURE] = self.index
        self._state[k.DECAPSULATE] = self.decapsulate
        self._interfaces = np.zeros((16, k.IF_COLUMNS), np.int64)
        self._state[k.MOST_FILLED] = BUFFER_BYTES
        self._buffer = np.zeros(2 * BUFFER_BYTES, np.uint8)  # behind it, datagrams put together
        self._rows = np.zeros(ROWS + 1, PACKET)
        self._spare = np.zeros(ROWS + 1, PACKET)
        self._fill()
        head = self._buffer[: self._state[k.FILLED]]
        if head.size == 0:
            self.stream.close()
            raise CaptureFormatError(
                self.stream.failure or "the file is empty",
                path=self.path,
                offset=0,
                remedy="capture or copy it again",
            )
        magic = int.from_bytes(head[:4].tobytes(), "little")
        if magic == _PCAPNG and head.size >= 12:
            self.is_pcapng = True
        elif magic in _MAGICS:
            self._read_pcap_header(magic, head)
        else:
            self.stream.close()
            raise CaptureFormatError(
                f"not a capture (it begins with {head[:4].tobytes().hex(' ')})",
                path=self.path,
                offset=0,
                remedy="pcap and pcapng are read, also gzip, zstd, xz, bzip2 or lz4 compressed",
            )

    @property
    def packets_read(self) -> int:
        """Packets so far."""
        from classifier.wire import _container_kernels as k

        return int(self._state[k.FRAME])

    @property
    def position(self) -> int:
        """Bytes of the source, as it is stored, that were read so far."""
        from classifier.wire import _container_kernels as k

        return self.stream.position + int(self._state[k.GOT])

    @property
    def reassembled(self) -> int:
        """Fragments whose datagrams were put together by who read a stretch."""
        from classifier.wire import _container_kernels as k

        return int(self._state[k.REASSEMBLED])

    @property
    def record_header(self) -> int:
        """Bytes of a pcap record's header; 0 for pcapng."""
        from classifier.wire import _container_kernels as k

        return 0 if self.is_pcapng else int(self._state[k.RECORD_HEADER])

    @property
    def byte_order(self) -> Literal["big", "little"]:
        """Of a pcap's headers."""
        from classifier.wire import _container_kernels as k

        return "big" if self._state[k.SWAPPED] else "little"

    @property
    def link(self) -> int:
        """Link type of a pcap."""
        from classifier.wire import _container_kernels as k

        return int(self._state[k.LINK])

    def _read_pcap_header(self, magic: int, head: NDArray[np.uint8]) -> None:
        from classifier.wire import _container_kernels as k

        swapped, record_header, nano = _MAGICS[magic]
        size = 28 if magic in _IXIA else 24  # IXIA's ends with the bytes of all records
        if head.size < size:
            self.stream.close()
            raise CaptureFormatError(
                f"the file header ends after {head.size} of {size} bytes",
                path=self.path,
                offset=int(head.size),
                remedy="capture again",
            )
        order = "big" if swapped else "little"
        # The upper bits hold the length of a frame check sequence
        link = int.from_bytes(head[20:24].tobytes(), order) & 0x03FF_FFFF  # type: ignore[arg-type]
        if link not in LINKS:
            self.stream.close()
            raise unsupported_link(self.path, 20, link)
        self._state[k.SWAPPED], self._state[k.RECORD_HEADER] = swapped, record_header
        self._state[k.NANOSECONDS], self._state[k.LINK] = nano, link
        self._state[k.POSITION] = size

    def _fill(self) -> bool:
        """Read until the buffer is full or the stream ends; return whether anything came."""
        from classifier.wire import _container_kernels as k

        view, state = memoryview(self._buffer), self._state  # type: ignore[arg-type]
        before = int(state[k.FILLED])
        while state[k.FILLED] < BUFFER_BYTES:
            got = self.stream.readinto(view[state[k.FILLED] : BUFFER_BYTES])
            if got == 0:
                break
            state[k.FILLED] += got
        return bool(state[k.FILLED] > before)

    def batches(self) -> Iterator[tuple[NDArray[np.void], NDArray[np.uint8]]]:
        """Yield ``(packets, buffer)``: rows of PACKET and what their payload fields index.

        Both are overwritten by the next step. Damage ends the iteration and is noted in
        ``damage``; whatever was whole has been handed out by then. Between two steps a kernel may
        read a stretch of the file: what it left is handed out next.

        Raises
        ------
        CaptureFormatError
            If no packet can be used: all are of link types that cannot be read.
        """
        from classifier.wire import _container_kernels as k

        walk = k.walk_pcapng if self.is_pcapng else k.walk_pcap
        rows, state = self._rows, self._state
        try:
            while True:
                start, skip = int(state[k.POSITION]), int(state[k.SKIP])
                n = int(walk(self._buffer, int(state[k.FILLED]), state, self._interfaces, rows))
                if self.watch is not None:
                    self.watch(self._buffer, start, int(state[k.POSITION]), skip)
                first = 0
                while first < n:
                    some = rows[first:n]
                    spend(n - first)
                    if not self._readable:
                        self._readable = bool((some["reason"] != k.UNSUPPORTED_LINK).any())
                    yield some, self._buffer
                    first, n = int(state[k.LEFT_FROM]), int(state[k.LEFT_TO])
                    state[k.LEFT_TO] = 0
                if state[k.STATUS] == k.ROWS_FULL:
                    continue
                if state[k.STATUS] == k.NEED_INTERFACES:
                    if len(self._interfaces) >= MOST_INTERFACES:
                        self._note_damage(f"more than {MOST_INTERFACES} interfaces")
                        break
                    more = np.zeros_like(self._interfaces)
                    self._interfaces = np.concatenate([self._interfaces, more])
                    continue
                if state[k.STATUS] == k.DAMAGED:
                    self._note_damage(DAMAGES[state[k.DAMAGE]])
                    break
                position = int(state[k.POSITION])
                left = int(state[k.FILLED]) - position
                self._buffer[:left] = self._buffer[position : position + left].copy()
                state[k.PASSED] += position
                state[k.FILLED], state[k.POSITION] = left, 0
                if not self._fill():
                    self._note_end(left, int(state[k.SKIP]))
                    break
        finally:
            self.clamped = int(state[k.CLAMPED])
            self.stream.close()
        self._refuse_unreadable()

    def stretch(self) -> Stretch | None:
        """Return what a kernel may read on, between two steps of ``batches``; None: not now."""
        from classifier.wire import _container_kernels as k

        self.stream.passed(int(self._state[k.GOT]))
        self._state[k.GOT] = 0
        if (
            self.stream.left() < LEAST_STRETCH
            or self.watch is not None
            or not self._readable
            or self._state[k.LEFT_TO]
            or self._state[k.STATUS] not in (k.NEED_BYTES, k.ROWS_FULL)
        ):
            return None
        return Stretch(
            self.stream.descriptor,
            self._buffer,
            self._state,
            self._interfaces,
            self._rows,
            self._spare,
        )

    def _note_damage(self, problem: str) -> None:
        from classifier.wire import _container_kernels as k

        self.damage.append(
            CaptureFormatError(
                f"{problem}; {self.packets_read} packets before it were read",
                path=self.path,
                offset=int(self._state[k.PASSED] + self._state[k.POSITION]),
                remedy="capture or copy it again to get the rest",
            )
        )

    def _note_end(self, left: int, skip: int) -> None:
        from classifier.wire import _container_kernels as k

        offset = int(self._state[k.PASSED])
        if self.stream.failure:
            self.damage.append(
                CaptureTruncatedError(
                    f"{self.stream.failure}; {self.packets_read} packets before it were read",
                    path=self.path,
                    offset=offset + left,
                    remedy="copy the file again",
                )
            )
        elif left or skip:
            self.damage.append(
                CaptureTruncatedError(
                    f"the file ends in the middle of a record; {self.packets_read} packets before "
                    "it were read",
                    path=self.path,
                    offset=offset,
                    remedy="nothing needs to be done if the capture was still running",
                )
            )

    def _refuse_unreadable(self) -> None:
        """Raise where a pcapng has interfaces, but none whose link type can be read."""
        from classifier.wire import _container_kernels as k

        links = self._interfaces[: int(self._state[k.N_INTERFACES]), k.IF_LINK]
        if self._readable or not self.is_pcapng or not links.size:
            return
        if not any(int(link) in LINKS for link in links):
            raise unsupported_link(self.path, 0, int(links[0]))


def unsupported_link(path: str, offset: int, link: int) -> CaptureFormatError:
    """Return the error for a link type that cannot be read."""
    return CaptureFormatError(
        f"link type {link} is not supported",
        path=path,
        offset=offset,
        remedy="re-capture as Ethernet, raw IP or Linux cooked",
    )


def open_capture(source: Source, *, index: int = 0, decapsulate: bool = False) -> Capture:
    """Open a capture and read its header.

    Parameters
    ----------
    source : str, pathlib.Path, bytes or binary file object
        ``"-"`` is standard input.
    index : int
        What ``PACKET.capture`` shall hold.
    decapsulate : bool
        Make rows of the inner packets of GRE, IPIP, 6in4, VXLAN, GENEVE, GTP-U, Teredo and L2TP.

    Returns
    -------
    Capture

    Raises
    ------
    CaptureFormatError
        If it is no capture, empty, or of a link type that cannot be read.
    CaptureError
        If it cannot be opened.
    """
    stream = open_stream(source)
    name = Path(stream.path).name if stream.is_file else stream.path
    return Capture(name, stream.path, index, stream, decapsulate)


def first_time(source: Source) -> int:
    """Return the time stamp of a capture's first packet, ns; 0 for one without packets."""
    capture = open_capture(source)
    for packets, _ in capture.batches():
        capture.stream.close()
        return int(packets["ts_ns"][0])
    return 0


def _is_read_once(source: Source) -> bool:
    """Return whether a source is a stream, or a pipe or device with a name, as ``<(zcat x)`` is."""
    if not isinstance(source, str | Path) or source == "-":
        return source == "-" or hasattr(source, "read")
    try:
        mode = Path(source).stat().st_mode
    except (OSError, ValueError):  # refused when it is opened
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def order_captures(sources: Sequence[Source]) -> list[Source]:
    """Return captures in the order of their first time stamps; unreadable ones come last.

    Streams and pipes cannot be looked into twice: with one among several, the order stays as given.
    """
    if len(sources) < 2 or any(map(_is_read_once, sources)):
        return list(sources)

    def key(source: Source) -> tuple[int, int]:
        try:
            return 0, first_time(source)
        except CaptureError:
            return 1, 0

    return sorted(sources, key=key)
