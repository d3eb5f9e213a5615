"""Kernels: bytes of a pcap or pcapng file -> rows of the packet table.

How this works: Python fills a buffer and calls ``walk_pcap`` or ``walk_pcapng`` again and again.
A walk reads whole records from ``state[POSITION]`` on, one row each, and stops with a status:
more bytes are needed, the rows are full, more room for interfaces is needed, or the container is
damaged there. All that outlives a call is in ``state`` (int64) and ``interfaces``.

pcap: draft-ietf-opsawg-pcap; pcapng: draft-ietf-opsawg-pcapng.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier._jit import borrow, inline, kernel
from classifier.wire._packet_kernels import be32, byte, clear, dissect

# Rows of ``state``
(
    POSITION,  # of the next unread byte in the buffer
    STATUS,
    SWAPPED,  # 1 where the file is big-endian
    RECORD_HEADER,  # pcap: 16, or 24 for the "modified" variant
    NANOSECONDS,  # pcap: 1 where the second time field counts nanoseconds
    LINK,  # pcap
    FRAME,  # packets read so far in this file
    CAPTURE,  # row of this file in the list of captures
    DECAPSULATE,
    N_INTERFACES,  # pcapng, in this section
    SKIP,  # pcapng: bytes of a passed-over block that are still to come
    LAST_NS,  # time of the packet before, for packets without one
    CLAMPED,  # time stamps further from 1970 than MOST_SECONDS
    DAMAGE,  # which row of capture.DAMAGES
    FILLED,  # bytes of the buffer that hold file content
    PASSED,  # bytes of the (unpacked) file before the buffer
    LEFT_FROM,  # rows that were written and not handed out
    LEFT_TO,
    GOT,  # bytes that a kernel read from the file itself
    MOST_FILLED,  # bytes of the buffer that file content may take
    REASSEMBLED,  # fragments whose datagrams were put together before rows were handed out
    SECTION,  # pcapng: number of this section; its interfaces overwrite those of the one before
    N_STATE,
) = range(23)

NEED_BYTES, ROWS_FULL, NEED_INTERFACES, DAMAGED = 0, 1, 2, 3

# Columns of ``interfaces``
IF_LINK, IF_RESOLUTION, IF_OFFSET_S, IF_SNAPLEN, IF_COLUMNS = 0, 1, 2, 3, 4

# More is damage, not a packet: libpcap's MAXIMUM_SNAPLEN, and room for a block around it
MOST_CAPTURED = 262144
MOST_BLOCK = 393216

SHB, IDB, PB, SPB, EPB = 0x0A0D0D0A, 1, 2, 3, 6
OPT_END, OPT_TSRESOL, OPT_TSOFFSET = 0, 9, 14
BYTE_ORDER_MAGIC, BYTE_ORDER_SWAPPED = 0x1A2B3C4D, 0x4D3C2B1A

DAMAGE_RECORD, DAMAGE_BLOCK, DAMAGE_ORDER, DAMAGE_PACKET_BLOCK = 0, 1, 2, 3
UNSUPPORTED_LINK, UNKNOWN_INTERFACE, MALFORMED_RECORD = 8, 9, 10  # rows of Reason

SECOND = 1_000_000_000
# Half of what int64 nanoseconds hold, so that the difference of two stamps fits as well; year 2116
MOST_SECONDS = 4_611_686_018
FAR_SECONDS = 1 << 61  # two of these can be added


@inline
def u16(buf, i, swapped):
    low, high = byte(buf, i), byte(buf, i + 1)
    return (low << 8) | high if swapped else (high << 8) | low


@inline
def u32(buf, i, swapped):
    if swapped:
        return be32(buf, i)
    return (
        byte(buf, i) | (byte(buf, i + 1) << 8) | (byte(buf, i + 2) << 16) | (byte(buf, i + 3) << 24)
    )


@inline
def nanoseconds(seconds, nanosecond_part, state):
    """Combine to int64 nanoseconds; what does not fit becomes the nearest that does."""
    if seconds > MOST_SECONDS - 1:
        state[CLAMPED] += 1
        return np.int64(MOST_SECONDS * SECOND)
    if seconds < -MOST_SECONDS + 1:
        state[CLAMPED] += 1
        return np.int64(-MOST_SECONDS * SECOND)
    return np.int64(seconds) * SECOND + np.int64(nanosecond_part)


@inline
def shifted_seconds(whole, offset_s):
    """Add any int64 to any uint64; a sum that is far out of range is only as far as FAR_SECONDS."""
    far = np.uint64(FAR_SECONDS)
    if offset_s >= 0:
        return np.int64(min(whole, far)) + min(offset_s, FAR_SECONDS)
    back = np.uint64(-(offset_s + 1)) + np.uint64(1)
    if whole >= back:
        return np.int64(min(whole - back, far))
    return -np.int64(min(back - whole, far))


@inline
def interface_time(high, low, resolution, offset_s, state):
    """Turn a pcapng time stamp into nanoseconds; ``resolution`` is the option's byte."""
    ticks = (np.uint64(high) << np.uint64(32)) | np.uint64(low)
    exponent = resolution & 127
    whole, part = np.uint64(0), ticks
    if resolution & 128:  # negative power of two
        if exponent < 64:
            whole = ticks >> np.uint64(exponent)
            part = ticks & ((np.uint64(1) << np.uint64(exponent)) - np.uint64(1))
        if exponent <= 32:
            fraction = np.int64(part) * SECOND >> exponent
        else:  # the product has up to 94 bits
            low_bits = np.int64(part & np.uint64(0xFFFFFFFF)) * SECOND >> 32
            high_bits = np.int64(part >> np.uint64(32)) * SECOND
            fraction = (high_bits + low_bits) >> min(exponent - 32, 63)
    else:
        if exponent <= 19:
            unit = np.uint64(1)
            for _ in range(exponent):
                unit *= np.uint64(10)
            whole = ticks // unit
            part = ticks - whole * unit
        if exponent <= 9:
            for _ in range(9 - exponent):
                part *= np.uint64(10)
        else:
            for _ in range(exponent - 9):
                part //= np.uint64(10)
        fraction = np.int64(part)
    return nanoseconds(shifted_seconds(whole, offset_s), fraction, state)


@kernel
def walk_pcap(
    buf: NDArray[Any],
    filled: int,
    state: NDArray[Any],
    interfaces: NDArray[Any],
    packets: NDArray[Any],
) -> Any:
    """Read pcap records into rows.

    Parameters
    ----------
    buf : uint8 (n,), read
    filled : int, bytes of ``buf`` that hold file content
    state : int64 (N_STATE,), read and written
    interfaces : int64 (m, IF_COLUMNS), not used; the walks share one signature
    packets : PACKET (k,), written; the last row is scratch

    Returns
    -------
    int : rows written
    """
    buf, packets = borrow(buf), borrow(packets)
    state, interfaces = borrow(state), borrow(interfaces)
    at = state[POSITION]
    swapped = state[SWAPPED] != 0
    header = state[RECORD_HEADER]
    n = np.int64(0)  # a literal would compile all helpers twice
    state[STATUS] = NEED_BYTES
    while at + header <= filled:
        if n == packets.size - 1:
            state[STATUS] = ROWS_FULL
            break
        captured = u32(buf, at + 8, swapped)
        if captured > MOST_CAPTURED:
            state[STATUS], state[DAMAGE] = DAMAGED, DAMAGE_RECORD
            break
        start = at + header
        if start + captured > filled:
            break
        seconds, part = u32(buf, at, swapped), u32(buf, at + 4, swapped)
        if state[NANOSECONDS] == 0:
            part *= 1000
        state[FRAME] += 1
        p = packets[np.uint64(n)]
        p.frame = state[FRAME]
        p.ts_ns = nanoseconds(seconds, part, state)
        p.capture = state[CAPTURE]
        p.flow_id = -1
        wire = u32(buf, at + 12, swapped)
        dissect(
            buf, start, start + captured, wire, state[LINK], state[DECAPSULATE] != 0, packets, n
        )
        n += 1
        at = start + captured
    state[POSITION] = at
    return n


@inline
def read_interface(buf, at, length, state, interfaces):
    """Read an interface description block, section 4.2."""
    swapped = state[SWAPPED] != 0
    row = interfaces[state[N_INTERFACES]]
    row[IF_LINK], row[IF_SNAPLEN] = -1, 0
    row[IF_RESOLUTION], row[IF_OFFSET_S] = 6, 0  # microseconds unless told
    state[N_INTERFACES] += 1
    if length < 20:
        return
    row[IF_LINK] = u16(buf, at + 8, swapped)
    row[IF_SNAPLEN] = u32(buf, at + 12, swapped)
    option, end = at + 16, at + length - 4
    while option + 4 <= end:
        code, size = u16(buf, option, swapped), u16(buf, option + 2, swapped)
        if code == OPT_END or option + 4 + size > end:
            break
        if code == OPT_TSRESOL and size >= 1:
            row[IF_RESOLUTION] = byte(buf, option + 4)
        elif code == OPT_TSOFFSET and size >= 8:
            first, second = u32(buf, option + 4, swapped), u32(buf, option + 8, swapped)
            high, low = (first, second) if swapped else (second, first)
            row[IF_OFFSET_S] = np.int64((np.uint64(high) << np.uint64(32)) | np.uint64(low))
        option += 4 + (size + 3) // 4 * 4


@inline
def read_block(buf, at, length, kind, state, interfaces, packets, n):
    """Read an enhanced, simple or obsolete packet block into row ``n``."""
    swapped = state[SWAPPED] != 0
    p = packets[np.uint64(n)]
    state[FRAME] += 1
    p.frame = state[FRAME]
    p.capture = state[CAPTURE]
    p.flow_id = -1
    p.ts_ns = state[LAST_NS]
    head = 16 if kind == SPB else 32
    if length < head:
        clear(p)
        p.reason = MALFORMED_RECORD
        return
    start = at + head - 4
    room = length - head
    interface = 0
    if kind == SPB:
        wire = u32(buf, at + 8, swapped)
        captured = min(wire, room)
        if state[N_INTERFACES] > 0 and interfaces[0, IF_SNAPLEN] > 0:
            captured = min(captured, interfaces[0, IF_SNAPLEN])
    else:
        interface = u32(buf, at + 8, swapped) if kind == EPB else u16(buf, at + 8, swapped)
        captured = u32(buf, at + 20, swapped)
        wire = u32(buf, at + 24, swapped)
    if captured > room:
        clear(p)
        p.reason = MALFORMED_RECORD
        return
    if interface >= state[N_INTERFACES]:
        clear(p)
        p.reason = UNKNOWN_INTERFACE
        return
    row = interfaces[interface]
    if kind != SPB:
        high, low = u32(buf, at + 12, swapped), u32(buf, at + 16, swapped)
        p.ts_ns = interface_time(high, low, row[IF_RESOLUTION], row[IF_OFFSET_S], state)
        state[LAST_NS] = p.ts_ns
    dissect(buf, start, start + captured, wire, row[IF_LINK], state[DECAPSULATE] != 0, packets, n)


@kernel
def walk_pcapng(
    buf: NDArray[Any],
    filled: int,
    state: NDArray[Any],
    interfaces: NDArray[Any],
    packets: NDArray[Any],
) -> Any:
    """Read pcapng blocks into rows; parameters as for ``walk_pcap``, ``interfaces`` written."""
    buf, packets = borrow(buf), borrow(packets)
    state, interfaces = borrow(state), borrow(interfaces)
    at = state[POSITION]
    n = np.int64(0)  # a literal would compile all helpers twice
    state[STATUS] = NEED_BYTES
    while True:
        if state[SKIP] > 0:
            step = min(state[SKIP], filled - at)
            at += step
            state[SKIP] -= step
        if state[SKIP] > 0 or at + 12 > filled:
            break
        kind = u32(buf, at, state[SWAPPED] != 0)
        if kind == SHB:  # reads the same in both orders
            magic = u32(buf, at + 8, np.bool_(False))
            if magic != BYTE_ORDER_MAGIC and magic != BYTE_ORDER_SWAPPED:
                state[STATUS], state[DAMAGE] = DAMAGED, DAMAGE_ORDER
                break
            state[SWAPPED] = 1 if magic == BYTE_ORDER_SWAPPED else 0
            state[N_INTERFACES] = 0
            state[SECTION] += 1
        length = u32(buf, at + 4, state[SWAPPED] != 0)
        if length < 12:
            state[STATUS], state[DAMAGE] = DAMAGED, DAMAGE_BLOCK
            break
        length = (length + 3) // 4 * 4  # some writers forget the padding in the length
        if kind == EPB or kind == SPB or kind == PB:
            if length > MOST_BLOCK:
                state[STATUS], state[DAMAGE] = DAMAGED, DAMAGE_PACKET_BLOCK
                break
            if n == packets.size - 1:
                state[STATUS] = ROWS_FULL
                break
            if at + length > filled:
                break
            read_block(buf, at, length, kind, state, interfaces, packets, n)
            n += 1
            at += length
        elif kind == IDB and length <= MOST_BLOCK:
            if state[N_INTERFACES] == interfaces.shape[0]:
                state[STATUS] = NEED_INTERFACES
                break
            if at + length > filled:
                break
            read_interface(buf, at, length, state, interfaces)
            at += length
        else:  # statistics, names, secrets, custom and unknown blocks
            state[SKIP] = length
    state[POSITION] = at
    return n
