"""Kernels: rows of IP fragments -> their datagrams, put together where all pieces came.

How this works: ``assemble`` goes once over rows in the order of the capture. A hash table finds the
datagram that a fragment belongs to (a group); its pieces hang on it as a list sorted by offset. When
they cover it from its beginning to its last byte, their payload is copied to the end of the buffer
and the row that came last is read again as the whole datagram. A group ends when it is whole, or when
its first row is too far back; every row of an ended group is settled (``flow_id`` -1). Rows from the
first one on that is not settled yet are kept by the caller and looked at again with the rows after
them, so nothing here outlives a call and the outcome does not depend on how rows were cut into calls.

Pieces that overlap are never put together, as RFC 5722 has it for IPv6 and Linux does for IPv4: which
of two contents the receiver believed cannot be known. A piece that came twice counts once.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier._jit import borrow, inline, kernel
from classifier.wire._packet_kernels import byte, open_layers, read_transport
from classifier.wire.fragments import MOST_ROWS

# A group ends MOST_ROWS rows or so many bytes after its first row, and has no piece so much later
MOST_BYTES = 4 << 20
MOST_NS = 30_000_000_000  # within RFC 791's 15 s and RFC 8200's 60 s; what Linux takes
MOST_PIECES = 128  # a datagram of 64 KiB in pieces for the least MTU that IPv4 hosts use, 576 bytes
MOST_DATAGRAM = 65535
MOST_NESTING = 4

# Columns of ``groups``
FIRST, HEAD, SPARE, COUNT, COVERED, GREATEST, TOTAL, ZERO, STATUS, G_COLUMNS = range(10)
OPEN, BAD, DONE = 0, 1, 2

# Values of PACKET.fragment beyond 2
PIECE, WHOLE = 3, 4

P_TCP = 6


@inline
def copy_bytes(source, start, target, top, n):
    # Unsigned: a signed index is looked at for its sign, byte by byte (1,100 to 260 ns per packet)
    for i in range(np.uint64(max(n, 0))):
        target[np.uint64(top) + i] = source[np.uint64(start) + i]


@inline
def piece_start(p):
    return np.int64(p.flow_id) >> 30


@inline
def piece_bytes(p):
    return np.int64(p.flow_id) >> 14 & 0xFFFF


@inline
def piece_at(p):
    return (np.int64(p.flow_id) >> 1 & 0x1FFF) * 8


@inline
def piece_more(p):
    return np.int64(p.flow_id) & 1


@inline
def datagram_hash(p, seed):
    h = np.uint64(seed) ^ np.uint64(p.fragment_id)
    h = (h ^ np.uint64(p.src_lo)) * np.uint64(0x9E3779B97F4A7C15)
    h = (h ^ (h >> np.uint64(29)) ^ np.uint64(p.dst_lo)) * np.uint64(0x9E3779B97F4A7C15)
    h = (h ^ (h >> np.uint64(29)) ^ np.uint64(p.src_hi)) * np.uint64(0x9E3779B97F4A7C15)
    h = (h ^ (h >> np.uint64(29)) ^ np.uint64(p.dst_hi)) * np.uint64(0x9E3779B97F4A7C15)
    h = (h ^ (h >> np.uint64(29)) ^ np.uint64(p.wrapping)) * np.uint64(0x9E3779B97F4A7C15)
    return h >> np.uint64(32)


@inline
def same_datagram(p, q):
    """RFC 791 section 3.2; of IPv6 the next header is no part of it, RFC 8200 section 4.5."""
    return (
        p.fragment_id == q.fragment_id
        and p.src_lo == q.src_lo
        and p.dst_lo == q.dst_lo
        and p.src_hi == q.src_hi
        and p.dst_hi == q.dst_hi
        and p.ip_version == q.ip_version
        and p.wrapping == q.wrapping
        and (p.ip_version == 6 or p.proto == q.proto)
    )


@inline
def is_over(first, row, position):
    """Tell whether a group that began at row ``first`` has ended by ``row``."""
    return row - first >= MOST_ROWS or position[row] - position[first] > MOST_BYTES


@inline
def close_group(group, packets, following):
    """Settle the pieces of a datagram that stays in pieces; give them the ports of the first."""
    zero = group[ZERO]
    for column in (HEAD, SPARE):
        row = group[column]
        while row >= 0:
            p = packets[row]
            if zero >= 0 and p.fragment == 2:
                q = packets[zero]
                p.src_port, p.dst_port, p.proto = q.src_port, q.dst_port, q.proto
                p.fragment = PIECE
            p.flow_id = -1
            row = np.int64(following[row])
    group[STATUS] = DONE


@inline
def add_piece(row, group, packets, following):
    """Hang a row on its datagram; the group becomes BAD where pieces do not fit together."""
    p = packets[row]
    at, size, more = piece_at(p), piece_bytes(p), piece_more(p)
    end = at + size
    bad = (
        group[STATUS] == BAD
        or size == 0
        or end > MOST_DATAGRAM
        or (more != 0 and size % 8 != 0)
        or (group[TOTAL] >= 0 and end > group[TOTAL])
        or (more == 0 and (end < group[GREATEST] or (group[TOTAL] >= 0 and end != group[TOTAL])))
    )
    before, after = np.int64(-1), np.int64(group[HEAD])
    spare = bad
    if not bad:
        while after >= 0 and piece_at(packets[after]) < at:
            before, after = after, np.int64(following[after])
        if after >= 0 and piece_at(packets[after]) == at:
            spare = True
            bad = piece_bytes(packets[after]) != size or piece_more(packets[after]) != more
        elif (
            (before >= 0 and piece_at(packets[before]) + piece_bytes(packets[before]) > at)
            or (after >= 0 and end > piece_at(packets[after]))
            or group[COUNT] == MOST_PIECES
        ):
            spare = bad = True
    if bad:
        group[STATUS] = BAD
    if p.fragment == 1 and group[ZERO] < 0:
        group[ZERO] = row
    if spare:
        following[row] = group[SPARE]
        group[SPARE] = row
        return
    following[row] = after
    if before >= 0:
        following[before] = row
    else:
        group[HEAD] = row
    group[COUNT] += 1
    group[COVERED] += size
    group[GREATEST] = max(group[GREATEST], end)
    if more == 0:
        group[TOTAL] = end


@inline
def skip_extensions(buf, at, stop, following):
    """Pass IPv6 extension headers inside a fragmented part: (offset, protocol)."""
    for _ in range(16):
        if not (
            following == 0
            or following == 43
            or following == 60
            or following == 135
            or following == 139
            or following == 140
        ):
            break
        if at + 8 > stop:
            return stop, following
        following = byte(buf, at)
        at += (byte(buf, at + 1) + 1) * 8
    return min(at, stop), following


@inline
def copy_datagram(group, packets, following, buf, top):
    """Copy the captured payload of all pieces to ``top``, up to what a snaplen cut; its end."""
    row = group[HEAD]
    while row >= 0:
        p = packets[row]
        start, size = piece_start(p), piece_bytes(p)
        captured = max(min(size, np.int64(p.payload_stop) - start), np.int64(0))
        copy_bytes(buf, start, buf, top, captured)
        top += captured
        if captured < size:
            break
        row = np.int64(following[row])
    return top


@inline
def blank_pieces(group, last, packets, following):
    """Make pieces of all rows but the last: sizes stay, payload goes to it; return how many."""
    zero = packets[group[ZERO]]
    src_port, dst_port, proto, icmp = zero.src_port, zero.dst_port, zero.proto, zero.icmp
    n = 1
    for column in (HEAD, SPARE):
        row = group[column]
        while row >= 0:
            p = packets[row]
            if row != last:
                p.src_port, p.dst_port, p.proto, p.icmp = src_port, dst_port, proto, icmp
                p.seq = p.checksum = p.tcp_flags = 0
                p.payload_start = p.payload_stop = p.payload_bytes = 0
                p.fragment = PIECE
                p.flow_id = -1
                n += 1
            row = np.int64(following[row])
    return n


@inline
def make_whole(group, last, packets, following, buf, top, decapsulate):
    """Make the row that came last the datagram: (rows that it was made of, end of the buffer)."""
    p = packets[last]
    stop = copy_datagram(group, packets, following, buf, top)
    wire_stop = top + group[TOTAL]
    # The first header of the fragmented part is what all pieces but the first were read as
    row, proto = group[HEAD], np.int64(packets[group[ZERO]].proto)
    if p.ip_version == 6:
        while row >= 0:
            if packets[row].fragment == 2:
                proto = np.int64(packets[row].proto)
            row = np.int64(following[row])
    n = blank_pieces(group, last, packets, following)
    at = top
    if p.ip_version == 6:
        at, proto = skip_extensions(buf, at, stop, proto)
    p.proto = proto
    p.src_port = p.dst_port = p.seq = p.checksum = p.icmp = p.tcp_flags = 0
    p.truncated = 1 if stop < wire_stop else 0
    p.fragment = 0
    p.flow_id = -1
    if read_transport(buf, at, stop, wire_stop, p) != 0:
        p.payload_start = p.payload_stop = stop
        p.payload_bytes = wire_stop - at
    if decapsulate:
        open_layers(buf, packets, last)
    if p.fragment == 0:
        p.fragment = WHOLE
    group[STATUS] = DONE
    return n, stop


@inline
def find_group(row, packets, slots, groups, n_groups, position, following, seed):
    """Find the group of a fragment or begin one: (its row, groups in use)."""
    p = packets[row]
    mask = np.int64(slots.size - 1)
    at = np.int64(datagram_hash(p, seed)) & mask
    while slots[at] != 0:
        found = np.int64(slots[at]) - 1
        first = groups[found, FIRST]
        if same_datagram(p, packets[first]):
            if groups[found, STATUS] != DONE:
                apart = abs(np.int64(p.ts_ns) - np.int64(packets[first].ts_ns))
                if apart <= MOST_NS and not is_over(first, row, position):
                    return found, n_groups
                close_group(groups[found], packets, following)
            break
        at = (at + 1) & mask
    group = groups[n_groups]
    group[FIRST] = row
    group[HEAD] = group[SPARE] = group[TOTAL] = group[ZERO] = -1
    group[COUNT] = group[COVERED] = group[GREATEST] = 0
    group[STATUS] = OPEN
    slots[at] = n_groups + 1
    return n_groups, n_groups + 1


@kernel
def assemble(
    packets: NDArray[Any],
    start: int,
    stop: int,
    buf: NDArray[Any],
    top: int,
    position: NDArray[Any],
    following: NDArray[Any],
    groups: NDArray[Any],
    slots: NDArray[Any],
    seed: int,
    decapsulate: bool,
    final: bool,
) -> Any:
    """Settle fragments: make datagrams of those that are whole.

    Parameters
    ----------
    packets : PACKET (n,), read and written; the last row is scratch
    start, stop : int64, rows that are looked at
    buf : uint8, read; written from ``top`` on, with room for all captured bytes of fragments for
        each level of nesting
    top : int64, bytes of ``buf`` in use
    position : int64 (stop,), read: captured bytes up to each row
    following : int32 (stop,), written
    groups : int64 (m, G_COLUMNS), written; a row for each fragment at each level of nesting
    slots : int32, a power of two above twice the groups, all zero
    seed : int64, of the hash
    decapsulate : whether whole datagrams shall be opened
    final : whether no rows come after these

    Returns
    -------
    (int, int, int) : rows that are settled, bytes of ``buf`` in use, rows put together
    """
    packets, buf, groups, slots = borrow(packets), borrow(buf), borrow(groups), borrow(slots)
    position, following = borrow(position), borrow(following)
    n_groups = made = np.int64(0)
    for row in range(start, stop):
        p = packets[row]
        for _ in range(MOST_NESTING):  # what a whole datagram carries can be a fragment again
            if p.flow_id < 0:
                break
            g, n_groups = find_group(
                row, packets, slots, groups, n_groups, position, following, seed
            )
            group = groups[g]
            add_piece(row, group, packets, following)
            if group[STATUS] != OPEN or group[COVERED] != group[TOTAL]:
                break
            more, top = make_whole(group, row, packets, following, buf, top, decapsulate)
            made += more
    settled = np.int64(stop)
    for g in range(n_groups):
        group = groups[g]
        if group[STATUS] == DONE:
            continue
        if final or is_over(group[FIRST], stop - 1, position):
            close_group(group, packets, following)
        else:
            settled = min(settled, group[FIRST])
    return settled, top, made


@inline
def fragments_among(packets, n):
    """Return the first fragment, the row behind the last, how many wait and bytes captured of them."""
    first = stop = count = n_bytes = np.int64(0)
    for row in range(n):
        p = packets[np.uint64(row)]
        if p.fragment != 0:
            if stop == 0:
                first = np.int64(row)
            stop = np.int64(row) + 1
            count, n_bytes = count_piece(p, count, n_bytes)
    return first, stop, count, n_bytes


@inline
def assemble_whole(packets, n, spare, buf, top, decapsulate, seed):
    """Put datagrams together, if all fragments of each are among ``n`` rows.

    Returns how many rows became datagrams, and ``n``; else rows are as they were, and the second number is
    the first row whose datagram may go on. ``spare`` is as large as ``packets``, whose last row is
    scratch; ``buf`` may be written from ``top`` on.
    """
    first, stop, count, n_bytes = fragments_among(packets, n)
    if count == 0:
        return np.int64(0), n
    levels = MOST_NESTING if decapsulate else 1
    if levels * n_bytes > buf.size - top:
        return np.int64(0), first
    n_groups = levels * count + 1
    n_slots = np.int64(2)
    while n_slots <= 2 * n_groups:
        n_slots *= 2
    groups, slots = np.empty((n_groups, G_COLUMNS), np.int64), np.zeros(n_slots, np.int32)
    position, following = np.empty(stop, np.int64), np.empty(stop, np.int32)
    total = np.int64(0)
    for row in range(first, stop):
        p = packets[row]
        spare[row] = p
        total += np.int64(p.payload_stop) - np.int64(p.payload_start)
        position[row] = total
    settled, _, made = assemble(
        packets,
        first,
        stop,
        buf,
        top,
        position,
        following,
        groups,
        slots,
        seed,
        decapsulate,
        np.bool_(False),
    )
    if settled == stop:
        return made, n
    for row in range(first, stop):
        packets[row] = spare[row]
    return np.int64(0), settled


@inline
def count_piece(p, count, n_bytes):
    """Count a row that waits for the rest of its datagram, and what was captured of it."""
    if p.flow_id < 0:
        return count, n_bytes
    return count + 1, n_bytes + max(np.int64(p.payload_stop) - piece_start(p), np.int64(0))


@kernel
def hold(
    packets: NDArray[Any],
    buf: NDArray[Any],
    first: int,
    rows: NDArray[Any],
    position: NDArray[Any],
    n: int,
    held: NDArray[Any],
    top: int,
) -> Any:
    """Copy rows behind those that are kept, with the part of their buffer that they are in.

    Parameters
    ----------
    packets : PACKET (m,), read
    buf : uint8, read from ``first`` on
    rows : PACKET, written from row ``n`` on
    position : int64, written likewise: captured bytes up to each row
    held : uint8, written from ``top`` on

    Returns
    -------
    (int, int, int) : bytes of ``held`` in use, fragments that wait, bytes captured of them
    """
    packets, buf, rows = borrow(packets), borrow(buf), borrow(rows)
    position, held = borrow(position), borrow(held)
    total = position[n - 1] if n > 0 else np.int64(0)
    count, n_bytes, stop = np.int64(0), np.int64(0), np.int64(first)
    for i in range(packets.size):
        p = packets[np.uint64(i)]
        count, n_bytes = count_piece(p, count, n_bytes)
        rows[np.uint64(n + i)] = p
        q = rows[np.uint64(n + i)]
        stop = max(stop, np.int64(p.payload_stop))
        total += np.int64(p.payload_stop) - np.int64(p.payload_start)
        position[n + i] = total
        # A row without payload may have 0 there
        q.payload_start = top + max(np.int64(p.payload_start) - first, np.int64(0))
        q.payload_stop = top + max(np.int64(p.payload_stop) - first, np.int64(0))
        if p.flow_id >= 0:
            q.flow_id = np.int64(p.flow_id) + ((top - first) << 30)
    copy_bytes(buf, first, held, top, stop - first)
    return top + stop - first, count, n_bytes


@kernel
def keep(
    packets: NDArray[Any],
    buf: NDArray[Any],
    kept: NDArray[Any],
    kept_buf: NDArray[Any],
) -> Any:
    """Copy rows and what was captured of their payload.

    Parameters
    ----------
    packets : PACKET (n,), read
    buf : uint8, read: what their payload fields index
    kept : PACKET (n,), written
    kept_buf : uint8, written; with room for it all

    Returns
    -------
    (int, int, int) : as of ``hold``
    """
    packets, buf, kept, kept_buf = borrow(packets), borrow(buf), borrow(kept), borrow(kept_buf)
    top, count, n_bytes = np.int64(0), np.int64(0), np.int64(0)
    for i in range(packets.size):
        kept[i] = packets[i]
        p = kept[i]
        count, n_bytes = count_piece(p, count, n_bytes)
        start, stop = np.int64(p.payload_start), np.int64(p.payload_stop)
        begin = start
        if p.flow_id >= 0:
            begin = min(piece_start(p), start)
            p.flow_id = top << 30 | np.int64(p.flow_id) & ((1 << 30) - 1)
        copy_bytes(buf, begin, kept_buf, top, stop - begin)
        p.payload_start = top + start - begin
        top += max(stop - begin, np.int64(0))
        p.payload_stop = top
    return top, count, n_bytes
