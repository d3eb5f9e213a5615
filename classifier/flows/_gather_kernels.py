"""Kernels: ended flows -> FlowBatch rows, with payload of the batch's own.

Payload of a TCP flow is copied one direction after the other, so that segments that follow each
other lie side by side; the head of such a stream is that piece. Else it is put together behind
them in sequence order: retransmissions add nothing, overlaps keep what came first, and it ends at
the first hole.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier._jit import borrow, copy_bytes, inline, keep_alive, kernel, prefetch
from classifier.flows._kernels import (
    DUPLICATES,
    GAPS,
    GONE_BYTES,
    GONE_KEPT,
    MISSING_BYTES,
    N_FREE_DIRS,
    ORIG_IS_B,
    SYN,
    SYN_SEEN,
    TCP,
    add_first,
    clear_side,
    missing_bytes,
    parent_of,
    start_of,
)
from classifier.tables import PACKET_LIMIT

GROUP = 32  # flows whose rows are looked up side by side
_SEQ_LIMIT = np.int64(1) << 31
_TWO_64 = 18446744073709551616.0
_SEQ_MASK = (np.int64(1) << 32) - 1


@inline
def proto_of(r):
    return (r.ports >> np.uint64(40)) & np.uint64(0xFF)


@inline
def first_payload(packets, start, stop, direction):
    """Return where the first kept payload of a direction starts and stops."""
    for k in range(start, stop):
        s = packets[np.uint64(k)]
        if s.direction == direction and s.stop > s.start:
            return s.start, s.stop
    return np.int64(0), np.int64(0)


@inline
def stream_base(packets, start, stop, direction):
    """Return the sequence number of the first byte that a TCP direction is known to have sent."""
    base = np.int64(-1)
    for k in range(start, stop):
        s = packets[np.uint64(k)]
        if s.direction == direction:
            if s.tcp_flags & SYN:
                return (np.int64(s.seq) + 1) & _SEQ_MASK
            if base < 0 and s.payload_bytes > 0:
                base = np.int64(s.seq)
    return base


@inline
def stream_head(packets, start, stop, direction, base, payload, top, copy):
    """Find the head of a TCP direction's stream: (its start, its stop).

    With ``copy`` it is written at ``top``. Without, it must lie in one piece, else the start is -1.
    """
    want = base
    begin = end = top if copy else np.int64(0)
    behind = True  # a segment lies beyond a hole that another one may fill
    while behind:
        behind = moved = False
        for k in range(start, stop):
            s = packets[np.uint64(k)]
            size = s.stop - s.start
            if s.direction != direction or size <= 0:
                continue
            # A SYN that carries data (TCP Fast Open) counts itself first
            seq = np.int64(s.seq) + (1 if s.tcp_flags & SYN else 0)
            skip = (want - seq) & _SEQ_MASK
            if skip >= _SEQ_LIMIT:
                behind = True
                continue
            if skip >= size:
                continue
            if copy:
                copy_bytes(payload, s.start + skip, size - skip, payload, end)
                end += size - skip
            elif begin == end:
                begin, end = s.start + skip, s.stop
            elif s.start + skip == end:
                end = s.stop
            else:
                return np.int64(-1), end
            want = (want + size - skip) & _SEQ_MASK
            moved = True
        behind = behind and moved
    return begin, end


@inline
def head_of(packets, start, stop, direction, proto, payload, top):
    """Return where the head of what a direction sent starts and stops, and the new top."""
    if proto != TCP:
        begin, end = first_payload(packets, start, stop, direction)
        return begin, end, top
    base = stream_base(packets, start, stop, direction)
    begin, end = stream_head(packets, start, stop, direction, base, payload, np.int64(0), False)
    if begin < 0:
        begin, end = stream_head(packets, start, stop, direction, base, payload, top, True)
        top = end
    return begin, end, top


@inline
def place_payload(packets, start, stop, direction, arena, payload, top):
    """Copy the payload of a direction (of both where it is 2) to ``top``; return the new top.

    Until then ``start`` and ``stop`` of a packet are the place in the arena and the size.
    """
    for k in range(start, stop):
        s = packets[np.uint64(k)]
        if direction == 2 or s.direction == direction:
            size = s.stop
            if size > 0:
                copy_bytes(arena, s.start, size, payload, top)
            s.start = top
            top += size
            s.stop = top
    return top


@inline
def squares_of(r):
    """Return a sum of squares as the nearest number, the same whatever it was made of."""
    return np.float64(r.iat_sumsq_high) * _TWO_64 + np.float64(r.iat_sumsq)


@inline
def gather_flow(f, r, o, q, orig):
    """Write a flow's row but for its packets; ``o`` and ``q`` are its two sides."""
    low16 = np.uint64(0xFFFF)
    if orig:
        f.orig_hi, f.orig_lo, f.resp_hi, f.resp_lo = r.b_hi, r.b_lo, r.a_hi, r.a_lo
        f.orig_port, f.resp_port = r.ports & low16, (r.ports >> np.uint64(16)) & low16
    else:
        f.orig_hi, f.orig_lo, f.resp_hi, f.resp_lo = r.a_hi, r.a_lo, r.b_hi, r.b_lo
        f.orig_port, f.resp_port = (r.ports >> np.uint64(16)) & low16, r.ports & low16
    f.flow_id, f.parent_flow_id = r.flow_id, parent_of(r)
    f.first_ns, f.last_ns = r.first_ns, r.last_ns
    f.orig_packets, f.resp_packets = o.packets, q.packets
    f.orig_bytes, f.resp_bytes = o.bytes, q.bytes
    f.orig_payload_bytes, f.resp_payload_bytes = o.payload_bytes, q.payload_bytes
    f.orig_first_ns, f.resp_first_ns = o.first_ns, q.first_ns
    f.orig_last_ns, f.resp_last_ns = o.last_ns, q.last_ns
    f.orig_bytes_sumsq, f.resp_bytes_sumsq = o.bytes_sumsq, q.bytes_sumsq
    f.orig_iat_sumsq, f.resp_iat_sumsq = squares_of(o), squares_of(q)
    f.orig_iat_min, f.resp_iat_min = o.iat_min, q.iat_min
    f.orig_iat_max, f.resp_iat_max = o.iat_max, q.iat_max
    f.orig_payload_packets, f.resp_payload_packets = o.payload_packets, q.payload_packets
    f.orig_bytes_min, f.resp_bytes_min = o.bytes_min, q.bytes_min
    f.orig_bytes_max, f.resp_bytes_max = o.bytes_max, q.bytes_max
    f.orig_retransmissions, f.resp_retransmissions = o.retransmissions, q.retransmissions
    f.orig_gaps, f.resp_gaps = o.gaps, q.gaps
    f.orig_missing_bytes, f.resp_missing_bytes = missing_bytes(o), missing_bytes(q)
    for bit in range(4):
        shift = np.uint64(16 * bit)
        f.orig_flags[bit] = (o.flags_low >> shift) & low16
        f.resp_flags[bit] = (q.flags_low >> shift) & low16
        f.orig_flags[bit + 4] = (o.flags_high >> shift) & low16
        f.resp_flags[bit + 4] = (q.flags_high >> shift) & low16
    f.iat_min, f.iat_max, f.iat_sumsq = r.iat_min, r.iat_max, squares_of(r)
    f.duplicates, f.icmp, f.wrapping = r.duplicates, r.icmp, r.wrapping
    f.proto = proto_of(r)
    f.ip_version = (r.ports >> np.uint64(32)) & np.uint64(0xFF)
    f.start_seen = 1 if r.state & SYN_SEEN else 0


@inline
def settled_side(r, direction, dirs, kept, tcp):
    """Return the row of a direction's statistics; of fewer than two packets they are made here."""
    row = np.int64(r.side[np.uint64(direction)])
    if row > 0:
        return row
    side = dirs[np.uint64(direction)]
    if row < 0:
        add_first(r, side, kept[np.uint64(~row)], tcp)
    else:
        clear_side(side)
    return np.int64(direction)


@inline
def give_back(r, free_dirs, state):
    """Let other flows have the rows of a flow's directions."""
    for direction in range(2):
        row = np.int64(r.side[np.uint64(direction)])
        if row > 0:
            free_dirs[np.uint64(state[N_FREE_DIRS])] = row
            state[N_FREE_DIRS] += 1


@kernel
def count(records: NDArray[Any], rows: NDArray[Any]) -> Any:
    """Return (packets, payload bytes) that ``gather`` of these rows needs at most."""
    n_packets, n_bytes = np.int64(0), np.int64(0)
    for i in range(rows.size):
        r = records[np.uint64(rows[np.uint64(i)])]
        n_packets += np.int64(r.n_series)
        kept = np.int64(r.kept)
        n_bytes += kept + (kept if proto_of(r) == TCP else 0)
    return n_packets, n_bytes


@kernel
def gather(
    records: NDArray[Any],
    dirs: NDArray[Any],
    free_dirs: NDArray[Any],
    rows: NDArray[Any],
    kept: NDArray[Any],
    arena: NDArray[Any],
    state: NDArray[Any],
    flows: NDArray[Any],
    packets: NDArray[Any],
    payload: NDArray[Any],
) -> Any:
    """Write ended flows down for the rooms above.

    Parameters
    ----------
    records, dirs : FLOW_RECORD, DIR, read; the first two of ``dirs`` are scratch
    free_dirs : int32 stack, written
    rows : int64 (n,), read: rows of ``records``
    kept, arena : KEPT, uint8, read
    state : int64 (N_STATE,)
    flows : FLOW (n,), written
    packets, payload : SERIES, uint8, written; as large as ``count`` said

    Returns
    -------
    int : bytes of ``payload`` in use
    """
    records, dirs, kept, arena = borrow(records), borrow(dirs), borrow(kept), borrow(arena)
    flows, packets, payload = borrow(flows), borrow(packets), borrow(payload)
    state, free_dirs = borrow(state), borrow(free_dirs)
    all_paths = np.empty((GROUP, PACKET_LIMIT), np.int64)
    all_cursors = np.empty(GROUP, np.int64)
    paths, cursors = borrow(all_paths), borrow(all_cursors)
    start, top = np.int64(0), np.int64(0)
    for first in range(0, rows.size, GROUP):
        size = min(GROUP, rows.size - first)
        for j in range(size):
            at = np.int64(records[np.uint64(rows[np.uint64(first + j)])].tail)
            cursors[np.uint64(j)] = at
            prefetch(kept, at, 0)
        # One flow's rows would each be waited for, as each names the one before it
        for k in range(PACKET_LIMIT):
            found = False
            for j in range(size):
                at = cursors[np.uint64(j)]
                if at >= 0:
                    found = True
                    paths[np.uint64(j), np.uint64(k)] = at
                    one = kept[np.uint64(at)]
                    prefetch(arena, start_of(one), 0)
                    at = np.int64(one.before)
                    cursors[np.uint64(j)] = at
                    prefetch(kept, at, 0)
            if not found:
                break
        for j in range(size):
            row = rows[np.uint64(first + j)]
            r = records[np.uint64(row)]
            f = flows[np.uint64(first + j)]
            orig = 1 if r.state & ORIG_IS_B else 0
            tcp = proto_of(r) == np.uint64(TCP)
            o = dirs[np.uint64(settled_side(r, orig, dirs, kept, tcp))]
            q = dirs[np.uint64(settled_side(r, 1 - orig, dirs, kept, tcp))]
            gather_flow(f, r, o, q, orig)
            n = np.int64(r.n_series)
            for k in range(n):
                one = kept[np.uint64(paths[np.uint64(j), np.uint64(n - 1 - k)])]
                s = packets[np.uint64(start + k)]
                s.ts_ns, s.frame = one.ts_ns, one.frame
                s.start, s.stop = start_of(one), np.int64(one.kept)
                s.ip_bytes, s.payload_bytes = one.ip_bytes, one.payload_bytes
                s.seq, s.capture, s.tcp_flags = one.seq, one.capture, one.tcp_flags
                s.direction = (np.int64(one.direction) & 1) ^ orig
            stop = start + n
            f.packets_start, f.packets_stop = start, stop
            f.frame, f.capture = packets[start].frame, packets[start].capture
            one_by_one = 2 if f.proto == TCP else 1
            for turn in range(one_by_one):
                which = turn if f.proto == TCP else 2
                top = place_payload(packets, start, stop, which, arena, payload, top)
            for direction in range(2):
                side = q if direction else o
                begin = end = np.int64(0)
                if side.kept > 0:
                    begin, end, top = head_of(
                        packets, start, stop, direction, f.proto, payload, top
                    )
                if direction:
                    f.resp_start, f.resp_stop = begin, end
                else:
                    f.orig_start, f.orig_stop = begin, end
            give_back(r, free_dirs, state)
            state[GONE_BYTES] += np.int64(r.kept)
            state[DUPLICATES] += np.int64(r.duplicates)
            state[GAPS] += np.int64(o.gaps) + np.int64(q.gaps)
            state[MISSING_BYTES] += missing_bytes(o) + missing_bytes(q)
            start = stop
    state[GONE_KEPT] += start
    keep_alive(all_paths)
    keep_alive(all_cursors)
    return top
