"""Kernels: ended flows -> FlowBatch rows; their chunks and payload blocks are freed.

``count`` says how much room the output needs, ``gather`` fills it. A TCP direction's head is put
together from the kept segments in sequence order: retransmissions add nothing, overlaps keep what
came first, and it ends at the first hole.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier._jit import borrow, inline, kernel
from classifier.flows._kernels import (
    CHUNK,
    N_FREE_CHUNKS,
    ORIG_IS_B,
    SYN,
    SYN_SEEN,
    TCP,
    free_block,
)

_SEQ_LIMIT = np.int64(1) << 31
_SEQ_MASK = (np.int64(1) << 32) - 1


@kernel
def count(
    records: NDArray[Any],
    rows: NDArray[Any],
    series: NDArray[Any],
    following: NDArray[Any],
) -> Any:
    """Return (packets, payload bytes) that ``gather`` of these rows needs at most."""
    n_packets = np.int64(0)
    n_bytes = np.int64(0)
    for i in range(rows.size):
        r = records[rows[i]]
        n_packets += np.int64(r.n_series)
        kept = np.int64(0)
        chunk = np.int64(r.head)
        for k in range(np.int64(r.n_series)):
            s = series[chunk * CHUNK + k % CHUNK]
            kept += s.stop - s.start
            if k % CHUNK == CHUNK - 1:
                chunk = np.int64(following[chunk])
        n_bytes += 2 * kept if r.proto == TCP else kept
    return n_packets, n_bytes


@inline
def stream_head(packets, start, stop, direction, payload, top):
    """Write the head of a TCP direction's stream at ``top``; return where it ends."""
    base = np.int64(-1)
    for k in range(start, stop):
        s = packets[k]
        if s.direction == direction and s.tcp_flags & SYN:
            base = (np.int64(s.seq) + 1) & _SEQ_MASK
            break
    if base < 0:
        for k in range(start, stop):
            s = packets[k]
            if s.direction == direction and s.payload_bytes > 0:
                base = np.int64(s.seq)
                break
    if base < 0:
        return top
    want = base
    for _ in range(stop - start):
        moved = False
        for k in range(start, stop):
            s = packets[k]
            if s.direction != direction or s.stop <= s.start:
                continue
            # A SYN that carries data (TCP Fast Open) counts itself first
            seq = np.int64(s.seq) + (1 if s.tcp_flags & SYN else 0)
            skip = (want - seq) & _SEQ_MASK
            if skip >= _SEQ_LIMIT or skip >= s.stop - s.start:
                continue
            for i in range(s.start + skip, s.stop):
                payload[top] = payload[i]
                top += 1
            want = (want + s.stop - s.start - skip) & _SEQ_MASK
            moved = True
        if not moved:
            break
    return top


@kernel
def gather(
    records: NDArray[Any],
    dirs: NDArray[Any],
    rows: NDArray[Any],
    series: NDArray[Any],
    following: NDArray[Any],
    free_chunks: NDArray[Any],
    arena: NDArray[Any],
    arena64: NDArray[Any],
    state: NDArray[Any],
    flows: NDArray[Any],
    packets: NDArray[Any],
    payload: NDArray[Any],
) -> Any:
    """Copy ended flows out and free what they held.

    Parameters
    ----------
    records, dirs : FLOW_RECORD, DIR, read
    rows : int64 (n,), read: rows of ``records``
    series, following, free_chunks, arena, arena64, state : the flow table's, read and freed into
    flows : FLOW (n,), written
    packets : SERIES, written; as large as ``count`` said
    payload : uint8, written; as large as ``count`` said

    Returns
    -------
    int : bytes of ``payload`` in use
    """
    packets, payload, series = borrow(packets), borrow(payload), borrow(series)
    arena64, state = borrow(arena64), borrow(state)
    n_packets = np.int64(0)
    top = np.int64(0)
    for i in range(rows.size):
        r = records[rows[i]]
        f = flows[i]
        orig = 1 if r.state & ORIG_IS_B else 0
        o = dirs[2 * rows[i] + orig]
        q = dirs[2 * rows[i] + 1 - orig]
        f.flow_id, f.parent_flow_id = r.flow_id, r.parent
        f.first_ns, f.last_ns = r.first_ns, r.last_ns
        if orig:
            f.orig_hi, f.orig_lo, f.resp_hi, f.resp_lo = r.b_hi, r.b_lo, r.a_hi, r.a_lo
            f.orig_port, f.resp_port = r.b_port, r.a_port
        else:
            f.orig_hi, f.orig_lo, f.resp_hi, f.resp_lo = r.a_hi, r.a_lo, r.b_hi, r.b_lo
            f.orig_port, f.resp_port = r.a_port, r.b_port
        f.orig_packets, f.resp_packets = o.packets, q.packets
        f.orig_bytes, f.resp_bytes = o.bytes, q.bytes
        f.orig_payload_bytes, f.resp_payload_bytes = o.payload_bytes, q.payload_bytes
        f.orig_first_ns, f.resp_first_ns = o.first_ns, q.first_ns
        f.orig_last_ns, f.resp_last_ns = o.last_ns, q.last_ns
        f.orig_bytes_sumsq, f.resp_bytes_sumsq = o.bytes_sumsq, q.bytes_sumsq
        f.orig_iat_sumsq, f.resp_iat_sumsq = o.iat_sumsq, q.iat_sumsq
        f.orig_iat_min, f.resp_iat_min = o.iat_min, q.iat_min
        f.orig_iat_max, f.resp_iat_max = o.iat_max, q.iat_max
        f.orig_payload_packets, f.resp_payload_packets = o.payload_packets, q.payload_packets
        f.orig_bytes_min, f.resp_bytes_min = o.bytes_min, q.bytes_min
        f.orig_bytes_max, f.resp_bytes_max = o.bytes_max, q.bytes_max
        f.orig_retransmissions, f.resp_retransmissions = o.retransmissions, q.retransmissions
        f.orig_gaps, f.resp_gaps = o.gaps, q.gaps
        f.orig_missing_bytes, f.resp_missing_bytes = o.missing_bytes, q.missing_bytes
        for bit in range(8):
            f.orig_flags[bit] = o.flag_counts[bit]
            f.resp_flags[bit] = q.flag_counts[bit]
        f.iat_min, f.iat_max, f.iat_sumsq = r.iat_min, r.iat_max, r.iat_sumsq
        f.duplicates = r.duplicates
        f.icmp, f.wrapping = r.icmp, r.wrapping
        f.proto, f.ip_version = r.proto, r.ip_version
        f.start_seen = 1 if r.state & SYN_SEEN else 0
        start = n_packets
        chunk = np.int64(r.head)
        for k in range(np.int64(r.n_series)):
            at = chunk * CHUNK + k % CHUNK
            packets[n_packets] = series[at]
            s = packets[n_packets]
            if orig:
                s.direction = 1 - s.direction
            size = s.stop - s.start
            if size > 0:
                for j in range(size):
                    payload[top + j] = arena[s.start + j]
                free_block(s.start, size, arena64, state)
            s.start, s.stop = top, top + size
            top += size
            n_packets += 1
            if k % CHUNK == CHUNK - 1 or k + 1 == r.n_series:
                after = np.int64(following[chunk])
                free_chunks[state[N_FREE_CHUNKS]] = chunk
                state[N_FREE_CHUNKS] += 1
                chunk = after
        f.packets_start, f.packets_stop = start, n_packets
        if n_packets > start:
            f.frame, f.capture = packets[start].frame, packets[start].capture
        if r.proto == TCP:
            f.orig_start = top
            top = stream_head(packets, start, n_packets, np.int64(0), payload, top)
            f.orig_stop = f.resp_start = top
            top = stream_head(packets, start, n_packets, np.int64(1), payload, top)
            f.resp_stop = top
        else:
            f.orig_start = f.orig_stop = f.resp_start = f.resp_stop = 0
            for k in range(n_packets - 1, start - 1, -1):
                s = packets[k]
                if s.stop > s.start:
                    if s.direction == 0:
                        f.orig_start, f.orig_stop = s.start, s.stop
                    else:
                        f.resp_start, f.resp_stop = s.start, s.stop
    return top
