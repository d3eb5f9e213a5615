"""Kernels: rows of the packet table -> live flows -> ended flows with their first packets.

How this works. A live flow is one FLOW_RECORD and two DIR rows (direction 0 is from endpoint ``a``,
the smaller one, so that the key has no direction); ``slots`` is an open-addressing table of a hash
tag and the record's row, at most half full, full keys compared. Packets come in batches of 128 in
three passes, so that memory is asked for before it is needed: key, hash and prefetch the slot;
prefetch the record; find or make the flow and update it. Which endpoint is the smaller one is
computed without a branch, as the processor would guess it wrong for every other packet.

The first packets of all flows are appended to one log (``kept``), and their first payload bytes to
one ``arena``: memory is written in order, and nothing is moved when a flow ends. Each row names the
flow's row before it. An ended flow is a copy of its record in ``ended``; ``gather`` makes FlowBatch
rows of it, with payload that stays where it is. When much of the log belongs to flows that are
gone, ``compact`` copies what lives into a new one.

The wrapper sees to it, before each call, that every array has room for whatever the call may add.
Indexes are unsigned: a signed one is first looked at for its sign.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier._jit import borrow, copy_bytes, inline, kernel, prefetch
from classifier.tables import NO_WRAPPING, PACKET_LIMIT

BATCH = 128

# Rows of ``state``
(
    N_LIVE,
    N_RECORDS,  # rows of ``records`` ever used
    N_FREE_RECORDS,
    N_KEPT,  # rows of ``kept`` in use
    ARENA_TOP,  # bytes of ``arena`` in use
    GONE_KEPT,  # rows of ``kept`` whose flows are gone
    GONE_BYTES,  # bytes of ``arena`` whose flows are gone
    N_ENDED,
    NEXT_FLOW_ID,
    NOW_NS,  # greatest time stamp seen
    SEED,
    FRAGMENTS,
    LATER_FRAGMENTS_ALONE,
    SWEEP_ROW,  # where a sweep goes on
    DUPLICATES,  # of ended flows, as the next two
    GAPS,
    MISSING_BYTES,
    N_STATE,
) = range(18)

MOST_KEPT = 1536
TCP_HEAD = 2048  # bytes of each direction's stream that are kept
TCP_LATER = 32  # of each later segment: the head of a frame that a tunnel puts into one write
DATAGRAMS_WHOLE = 2  # per direction, up to MOST_KEPT: client hellos in QUIC, key exchanges
DATAGRAM_LATER = 128

# Columns of ``keys``: the packets of a batch, endpoint ``a`` being the smaller one
A_HI, A_LO, B_HI, B_LO, PORTS, HASH, SWAPPED, N_KEY = 0, 1, 2, 3, 4, 5, 6, 8

# Bits of FLOW_RECORD.state
LIVE, ORIG_IS_B, SYN_SEEN, FIN_A, FIN_B, RESET, SEQ_A, SEQ_B = 1, 2, 4, 8, 16, 32, 64, 128

FIN, SYN, RST, ACK = 1, 2, 4, 16
TCP, SCTP = 6, 132
# Not SEED, which differs from run to run: which tombs or fragments collide may not
TOMB_SEED = np.uint64(0x9AE16A3B2F90404F)
TOMB_WAYS = 4
_EARLY = 3  # packets within which a SYN may come after what it began (reordering)
_NONE = np.uint64(NO_WRAPPING)
_SEQ_LIMIT = np.int64(1) << 31
_SEQ_MASK = (np.int64(1) << 32) - 1
_ONE = np.uint64(1)
_BIT_EACH = np.uint64(0x0001_0001_0001_0001)
_TOP_EACH = np.uint64(0x8000_8000_8000_8000)
_SPREAD = np.uint64(0x0000_2000_4000_8001)  # times four bits: one bit in each 16, with _BIT_EACH


@inline
def mix(h, word):
    h = (h ^ word) * np.uint64(0x9E3779B97F4A7C15)
    return h ^ (h >> np.uint64(29))


@inline
def hash_key(seed, a_hi, a_lo, b_hi, b_lo, ports_proto):
    h = mix(seed, (a_lo << np.uint64(32)) ^ b_lo)
    if (a_hi | b_hi) != np.uint64(0):
        h = mix(mix(mix(h, a_lo), a_hi), b_hi)
    h = mix(h, ports_proto)
    h = h * np.uint64(0xD6E8FEB86659FD93)
    return h ^ (h >> np.uint64(32))


@inline
def is_swapped(p):
    """Tell whether the source is endpoint ``b``, the greater one, without a branch."""
    by_port = (p.src_lo == p.dst_lo) & (p.src_port > p.dst_port)
    return (p.src_hi > p.dst_hi) | ((p.src_hi == p.dst_hi) & ((p.src_lo > p.dst_lo) | by_port))


@inline
def note_key(p, seed, key):
    """Write down the packet's key, its hash and whether it comes from endpoint ``b``."""
    swapped = np.uint64(is_swapped(p))
    hi = (p.src_hi ^ p.dst_hi) * swapped
    lo = (p.src_lo ^ p.dst_lo) * swapped
    port = (np.uint64(p.src_port) ^ np.uint64(p.dst_port)) * swapped
    ports = (np.uint64(p.proto) << np.uint64(40)) | (np.uint64(p.ip_version) << np.uint64(32))
    ports |= (np.uint64(p.src_port) ^ port) << np.uint64(16)
    ports |= np.uint64(p.dst_port) ^ port
    key[A_HI], key[A_LO] = p.src_hi ^ hi, p.src_lo ^ lo
    key[B_HI], key[B_LO] = p.dst_hi ^ hi, p.dst_lo ^ lo
    key[PORTS], key[SWAPPED] = ports, swapped
    key[HASH] = hash_key(seed, key[A_HI], key[A_LO], key[B_HI], key[B_LO], ports)


@inline
def same_key(r, key):
    return (
        (r.a_lo ^ key[A_LO])
        | (r.b_lo ^ key[B_LO])
        | (r.ports ^ key[PORTS])
        | (r.a_hi ^ key[A_HI])
        | (r.b_hi ^ key[B_HI])
    ) == np.uint64(0)


@inline
def tag_of(h):
    """Slots hold tag << 32 | row + 1; an empty slot is 0."""
    return h & np.uint64(0xFFFFFFFF00000000)


@kernel
def rebuild(
    records: NDArray[Any],
    n_records: int,
    slots: NDArray[Any],
) -> None:
    """Enter all live records into ``slots`` (uint64, power of two, all zero)."""
    mask = np.int64(slots.size - 1)
    for row in range(n_records):
        if records[row].state & LIVE:
            h = records[row].hash
            at = np.int64(h & np.uint64(mask))
            while slots[at] != np.uint64(0):
                at = (at + 1) & mask
            slots[at] = tag_of(h) | np.uint64(row + 1)


@inline
def adopt_fragment(p, fragments, state):
    """Give a later fragment the ports of its first one, where that was seen before.

    Those that ``wire`` could give them have a value above 2 and bring their ports.
    """
    state[FRAGMENTS] += 1
    h = mix(mix(mix(TOMB_SEED, p.src_lo), p.dst_lo), p.src_hi ^ p.dst_hi)
    h = mix(h, (np.uint64(p.proto) << np.uint64(32)) | np.uint64(p.fragment_id))
    row = np.int64(h >> np.uint64(40)) & (fragments.shape[0] - 1)
    if p.fragment != 2:
        ports = (np.uint64(p.src_port) << np.uint64(16)) | np.uint64(p.dst_port)
        fragments[row, 0] = h
        fragments[row, 1] = ports
    elif fragments[row, 0] == h:
        p.src_port = fragments[row, 1] >> np.uint64(16)
        p.dst_port = fragments[row, 1] & np.uint64(0xFFFF)
    else:
        state[LATER_FRAGMENTS_ALONE] += 1


@inline
def bytes_to_keep(proto, captured, side):
    """Say how many of a packet's captured payload bytes to keep."""
    if proto == TCP:
        most = max(TCP_HEAD - np.int64(side.kept), TCP_LATER)
    elif side.payload_packets < DATAGRAMS_WHOLE:
        most = MOST_KEPT
    else:
        most = DATAGRAM_LATER
    return min(captured, min(most, MOST_KEPT))


@inline
def append_packet(r, side, p, direction, buf, kept, arena, state):
    """Write down one of the first packets of a flow."""
    row = state[N_KEPT]
    state[N_KEPT] = row + 1
    s = kept[np.uint64(row)]
    s.before = r.tail
    r.tail = row
    r.n_series += 1
    s.ts_ns = p.ts_ns
    s.frame = p.frame
    s.ip_bytes = p.ip_bytes
    s.payload_bytes = p.payload_bytes
    s.seq = p.seq
    s.capture = p.capture
    s.direction = direction
    s.tcp_flags = p.tcp_flags
    start = np.int64(p.payload_start)
    captured = np.int64(p.payload_stop) - start if not p.fragment & 2 else 0
    keep = bytes_to_keep(p.proto, captured, side) if captured > 0 else 0
    at = state[ARENA_TOP]
    s.start, s.kept = at, keep
    if keep > 0:
        copy_bytes(buf, start, keep, arena, at)
        state[ARENA_TOP] = at + keep
        side.kept += keep


@inline
def add_flags(counts, bits):
    """Add one to each of four 16-bit counts whose bit is set; they stay at their greatest."""
    more = (bits * _SPREAD) & _BIT_EACH
    if counts & _TOP_EACH != np.uint64(0):
        for bit in range(4):
            count = (counts >> np.uint64(16 * bit)) & np.uint64(0xFFFF)
            if count == np.uint64(0xFFFF):
                more &= ~(_ONE << np.uint64(16 * bit))
    return counts + more


@inline
def update_tcp(r, side, p, from_b):
    """Sequence numbers, closing, and flag counts."""
    flags = np.int64(p.tcp_flags)
    side.flags_low = add_flags(side.flags_low, np.uint64(flags & 15))
    side.flags_high = add_flags(side.flags_high, np.uint64(flags >> 4))
    if flags & FIN:
        r.state |= FIN_B if from_b else FIN_A
    if flags & RST:
        r.state |= RESET
    known = SEQ_B if from_b else SEQ_A
    if p.fragment & 2:  # has no header of its own: the segment's first fragment counted as short
        if r.state & known:
            side.next_seq = (np.int64(side.next_seq) + np.int64(p.payload_bytes)) & _SEQ_MASK
        return
    length = np.int64(p.payload_bytes) + (1 if flags & SYN else 0) + (1 if flags & FIN else 0)
    seq = np.int64(p.seq)
    if not r.state & known:
        if not flags & RST:
            r.state |= known
            side.next_seq = (seq + length) & _SEQ_MASK
        return
    ahead = (seq - np.int64(side.next_seq)) & _SEQ_MASK
    if ahead >= _SEQ_LIMIT:
        ahead -= _SEQ_MASK + 1
    if flags & RST:
        return
    if ahead > 0 and not flags & SYN:
        side.gaps += 1
        side.missing_bytes += np.uint64(ahead)
    if length > 0 and ahead + length <= 0:
        side.retransmissions += 1
    elif length > 0 or ahead > 0:
        side.next_seq = (seq + length) & _SEQ_MASK


@inline
def update_side(side, p):
    ts, size = p.ts_ns, np.int64(p.ip_bytes)
    if side.packets == 0:
        side.first_ns = side.last_ns = ts
        side.bytes_min = side.bytes_max = p.ip_bytes
    else:
        iat = max(ts - side.last_ns, np.int64(0))
        side.iat_sumsq += np.float64(iat) * np.float64(iat)
        side.iat_min = iat if side.packets == 1 else min(side.iat_min, iat)
        side.iat_max = max(side.iat_max, iat)
        side.first_ns = min(side.first_ns, ts)
        side.last_ns = max(side.last_ns, ts)
        side.bytes_min = min(side.bytes_min, p.ip_bytes)
        side.bytes_max = max(side.bytes_max, p.ip_bytes)
    side.packets += 1
    side.bytes += size
    side.bytes_sumsq += np.uint64(size * size)
    side.payload_bytes += np.int64(p.payload_bytes)
    if p.payload_bytes > 0:
        side.payload_packets += 1


@inline
def first_tomb(tombs, h):
    """Return the first of the four rows, one cache line, in which this hash can be."""
    return np.int64(h & np.uint64(tombs.shape[0] - 1)) & ~(TOMB_WAYS - 1)


@inline
def find_tomb(tombs, h, make):
    """Return the row with this hash among the four it can be in, or -1.

    With ``make`` never -1, but else a free row or that of the flow that began first.
    """
    base = first_tomb(tombs, h)
    best = np.int64(-1)
    for row in range(base, base + TOMB_WAYS):
        if tombs[row, 0] == h:
            return row
        if make and (best < 0 or tombs[row, 1] < tombs[best, 1]):
            best = row
    return best


@inline
def remember(tombs, r):
    """Note an ended flow, so that one that goes on after it can name it as its parent."""
    h = hash_key(TOMB_SEED, r.a_hi, r.a_lo, r.b_hi, r.b_lo, r.ports)
    row = find_tomb(tombs, h, True)
    tombs[row, 0] = h
    orig_is_b = np.uint64(1 if r.state & ORIG_IS_B else 0)
    tombs[row, 1] = (np.uint64(r.flow_id) << np.uint64(1)) | orig_is_b


@kernel
def move_tombs(tombs: NDArray[Any], to: NDArray[Any]) -> None:
    """Enter all tombs into a larger table of them (uint64, (a power of two, 2), all zero)."""
    for old in range(tombs.shape[0]):
        if tombs[old, 0] != np.uint64(0):
            row = find_tomb(to, tombs[old, 0], True)
            to[row, 0], to[row, 1] = tombs[old, 0], tombs[old, 1]


@inline
def begin(r, dirs, row, p, key, flow_id, parent, orig_is_b):
    """Fill a record for a flow's first packet."""
    swapped = key[SWAPPED] != np.uint64(0)
    r.a_hi, r.a_lo, r.b_hi, r.b_lo = key[A_HI], key[A_LO], key[B_HI], key[B_LO]
    r.ports, r.hash = key[PORTS], key[HASH]
    r.first_ns = r.last_ns = p.ts_ns
    r.flow_id, r.parent = flow_id, parent
    r.tail = -1
    r.n_series = r.duplicates = 0
    r.icmp = p.icmp
    r.iat_min = r.iat_max = 0
    r.iat_sumsq = 0.0
    r.wrapping = p.wrapping
    state = LIVE
    if p.proto == TCP and p.tcp_flags & SYN:
        if p.tcp_flags & ACK:
            orig_is_b = not swapped
        else:
            orig_is_b = swapped
            state |= SYN_SEEN
    r.state = state | (ORIG_IS_B if orig_is_b else 0)
    for d in range(2):
        side = dirs[np.uint64(2 * row + d)]
        side.packets = side.bytes = side.payload_bytes = 0
        side.first_ns = side.last_ns = side.iat_min = side.iat_max = 0
        side.bytes_sumsq = side.missing_bytes = side.flags_low = side.flags_high = 0
        side.iat_sumsq = 0.0
        side.payload_packets = side.bytes_min = side.bytes_max = 0
        side.next_seq = side.retransmissions = side.gaps = side.digest = side.kept = 0


@inline
def end_flow(records, dirs, row, ended, ended_dirs, state):
    k = state[N_ENDED]
    ended[k] = records[row]
    ended_dirs[2 * k] = dirs[2 * row]
    ended_dirs[2 * k + 1] = dirs[2 * row + 1]
    state[N_ENDED] = k + 1


@inline
def digest_of(p):
    """Return a non-zero digest of what tells one IPv4 packet from the next, else 0."""
    # Later fragments of one datagram differ in their offset alone, which the row does not hold
    if p.ip_version != 4 or p.fragment_id == 0 or p.fragment & 2:
        return np.uint32(0)
    # Side by side, as id and checksum often differ by the same bits
    word = (np.uint64(p.seq) << np.uint64(16)) | np.uint64(p.checksum)
    h = mix(TOMB_SEED, (np.uint64(p.fragment_id) << np.uint64(48)) | word)
    h = mix(h, (np.uint64(p.ip_bytes) << np.uint64(8)) | np.uint64(p.tcp_flags))
    return np.uint32(h >> np.uint64(32)) | np.uint32(1)


@inline
def find_or_make(
    p, key, records, dirs, slots, free_records, ended, ended_dirs, tombs, idle, active, state
):
    """Return the row of the packet's flow, ending an older one on the same key where it must."""
    mask = np.uint64(slots.size - 1)
    h = key[HASH]
    at = h & mask
    while slots[at] != np.uint64(0):
        if tag_of(h) == tag_of(slots[at]):
            row = np.int64(slots[at] & np.uint64(0xFFFFFFFF)) - 1
            r = records[np.uint64(row)]
            if same_key(r, key):
                syn = p.proto == TCP and p.tcp_flags & (SYN | ACK) == SYN
                closed = r.state & RESET or (r.state & FIN_A and r.state & FIN_B)
                fresh = syn and closed
                late = (idle >= 0 and p.ts_ns - r.last_ns > idle) or (
                    active >= 0 and p.ts_ns - r.first_ns > active
                )
                if fresh or late:
                    # A SYN begins anew; so it does where the old flow was swept away before
                    parent = np.int64(-1) if syn else r.flow_id
                    orig_is_b = r.state & ORIG_IS_B != 0
                    end_flow(records, dirs, row, ended, ended_dirs, state)
                    flow_id = state[NEXT_FLOW_ID]
                    state[NEXT_FLOW_ID] += 1
                    begin(r, dirs, row, p, key, flow_id, parent, orig_is_b)
                return row
        at = (at + _ONE) & mask
    if state[N_FREE_RECORDS] > 0:
        state[N_FREE_RECORDS] -= 1
        row = np.int64(free_records[state[N_FREE_RECORDS]])
    else:
        row = state[N_RECORDS]
        state[N_RECORDS] += 1
    state[N_LIVE] += 1
    slots[at] = tag_of(h) | np.uint64(row + 1)
    parent = np.int64(-1)
    orig_is_b = key[SWAPPED] != np.uint64(0)
    th = hash_key(TOMB_SEED, key[A_HI], key[A_LO], key[B_HI], key[B_LO], key[PORTS])
    tomb = find_tomb(tombs, th, False)
    if tomb >= 0:
        parent = np.int64(tombs[tomb, 1] >> np.uint64(1))
        orig_is_b = tombs[tomb, 1] & np.uint64(1) != np.uint64(0)
        tombs[tomb, 0] = tombs[tomb, 1] = 0
        if p.proto == TCP and p.tcp_flags & (SYN | ACK) == SYN:
            parent = np.int64(-1)
    flow_id = state[NEXT_FLOW_ID]
    state[NEXT_FLOW_ID] += 1
    begin(records[np.uint64(row)], dirs, row, p, key, flow_id, parent, orig_is_b)
    return row


@inline
def update_flow(p, r, side, swapped, buf, kept, arena, state):
    """Add a packet to its flow."""
    direction = 1 if swapped else 0
    p.flow_id = r.flow_id
    ts = p.ts_ns
    count = np.int64(r.n_series)  # all packets, as far as it matters here
    if count > 0:
        iat = max(ts - r.last_ns, np.int64(0))
        r.iat_min = iat if count == 1 else min(r.iat_min, iat)
        r.iat_max = max(r.iat_max, iat)
        r.iat_sumsq += np.float64(iat) * np.float64(iat)
        r.first_ns = min(r.first_ns, ts)
        r.last_ns = max(r.last_ns, ts)
    digest = digest_of(p)
    if digest != np.uint32(0) and digest == side.digest:
        r.duplicates += 1
    side.digest = digest
    if p.proto == TCP:
        if (
            p.tcp_flags & (SYN | ACK) == SYN
            and not r.state & SYN_SEEN
            and r.parent < 0
            and count <= _EARLY
        ):
            r.state = (r.state & ~ORIG_IS_B) | SYN_SEEN | (ORIG_IS_B if swapped else 0)
        update_tcp(r, side, p, swapped)
    if count < PACKET_LIMIT:
        append_packet(r, side, p, direction, buf, kept, arena, state)
    update_side(side, p)


@kernel
def update(
    packets: NDArray[Any],
    buf: NDArray[Any],
    records: NDArray[Any],
    dirs: NDArray[Any],
    slots: NDArray[Any],
    free_records: NDArray[Any],
    kept: NDArray[Any],
    arena: NDArray[Any],
    ended: NDArray[Any],
    ended_dirs: NDArray[Any],
    tombs: NDArray[Any],
    fragments: NDArray[Any],
    counts: NDArray[Any],
    state: NDArray[Any],
    idle: int,
    active: int,
) -> None:
    """Add packets to their flows.

    Parameters
    ----------
    packets : PACKET (n,), read; ``flow_id`` and the ports of later fragments written
    buf : uint8, read: what their payload fields index
    records, dirs : FLOW_RECORD (m,), DIR (2 m,), read and written; room for n more records
    slots : uint64, a power of two, less than half full with n more
    free_records : int32 stack, read
    kept : KEPT, written; room for n more
    arena : uint8, written; room for MOST_KEPT bytes of each
    ended, ended_dirs : FLOW_RECORD, DIR, written; room for n more
    tombs, fragments : uint64 (t, 2), powers of two, read and written
    counts : int64, by Reason, added to
    state : int64 (N_STATE,)
    idle, active : int64, ns; negative = no such timeout
    """
    packets, buf, records, dirs = borrow(packets), borrow(buf), borrow(records), borrow(dirs)
    slots, free_records, kept = borrow(slots), borrow(free_records), borrow(kept)
    arena, ended, ended_dirs = borrow(arena), borrow(ended), borrow(ended_dirs)
    tombs, fragments, state = borrow(tombs), borrow(fragments), borrow(state)
    n = packets.size
    all_keys = np.empty((BATCH, N_KEY), np.uint64)
    keys = borrow(all_keys)
    seed = np.uint64(state[SEED])
    mask = np.uint64(slots.size - 1)
    for first in range(0, n, BATCH):
        size = min(BATCH, n - first)
        for k in range(size):
            p = packets[np.uint64(first + k)]
            key = keys[np.uint64(k)]
            if p.reason == 0:
                if p.fragment != 0:
                    adopt_fragment(p, fragments, state)
                note_key(p, seed, key)
                prefetch(slots, np.int64(key[HASH] & mask), 0)
        for k in range(size):
            if packets[np.uint64(first + k)].reason == 0:
                key = keys[np.uint64(k)]
                slot = slots[key[HASH] & mask]
                if slot == np.uint64(0):  # a new flow: it may go on after one that was swept away
                    th = hash_key(TOMB_SEED, key[A_HI], key[A_LO], key[B_HI], key[B_LO], key[PORTS])
                    prefetch(tombs, 2 * first_tomb(tombs, th), 0)
                elif tag_of(slot) == tag_of(key[HASH]):
                    row = np.int64(slot & np.uint64(0xFFFFFFFF)) - 1
                    side = 2 * row + np.int64(key[SWAPPED])
                    for line in range(2):
                        prefetch(records, row, line)
                        prefetch(dirs, side, line)
        for k in range(size):
            p = packets[np.uint64(first + k)]
            counts[p.reason] += 1
            if p.reason != 0:
                continue
            key = keys[np.uint64(k)]
            row = find_or_make(
                p,
                key,
                records,
                dirs,
                slots,
                free_records,
                ended,
                ended_dirs,
                tombs,
                idle,
                active,
                state,
            )
            state[NOW_NS] = max(state[NOW_NS], p.ts_ns)
            swapped = key[SWAPPED] != np.uint64(0)
            r = records[np.uint64(row)]
            side_row = dirs[np.uint64(2 * row + np.int64(key[SWAPPED]))]
            update_flow(p, r, side_row, swapped, buf, kept, arena, state)


@kernel
def compact(
    records: NDArray[Any],
    kept: NDArray[Any],
    arena: NDArray[Any],
    kept_to: NDArray[Any],
    arena_to: NDArray[Any],
    state: NDArray[Any],
) -> None:
    """Copy what live flows keep into another log; ``ended`` must be empty.

    Parameters
    ----------
    records : FLOW_RECORD, read; ``tail`` written
    kept, arena : KEPT, uint8, read
    kept_to, arena_to : KEPT, uint8, written; room for what is not gone
    state : int64 (N_STATE,)
    """
    kept, kept_to, arena, arena_to = borrow(kept), borrow(kept_to), borrow(arena), borrow(arena_to)
    path = np.empty(PACKET_LIMIT, np.int64)
    top, size = np.int64(0), np.int64(0)
    for row in range(state[N_RECORDS]):
        r = records[row]
        if not r.state & LIVE:
            continue
        n = np.int64(r.n_series)
        at = np.int64(r.tail)
        for k in range(n):
            path[n - 1 - k] = at
            at = np.int64(kept[at].before)
        for k in range(n):
            kept_to[top] = kept[path[k]]
            s = kept_to[top]
            s.before = top - 1 if k > 0 else -1
            copy_bytes(arena, s.start, s.kept, arena_to, size)
            s.start = size
            size += np.int64(s.kept)
            top += 1
        r.tail = top - 1
    state[N_KEPT], state[ARENA_TOP] = top, size
    state[GONE_KEPT] = state[GONE_BYTES] = 0


@kernel
def sweep(
    records: NDArray[Any],
    dirs: NDArray[Any],
    before_ns: int,
    free_records: NDArray[Any],
    ended: NDArray[Any],
    ended_dirs: NDArray[Any],
    tombs: NDArray[Any],
    state: NDArray[Any],
) -> int:
    """End live flows without a packet since ``before_ns``; return how many, resumable.

    ``state[SWEEP_ROW]`` is where to go on; it is -1 when all records were looked at. Stops early
    when ``ended`` is full.
    """
    row = state[SWEEP_ROW]
    found = 0
    while row < state[N_RECORDS]:
        r = records[row]
        if r.state & LIVE and r.last_ns < before_ns:
            if state[N_ENDED] == ended.size:
                state[SWEEP_ROW] = row
                return found
            remember(tombs, r)
            end_flow(records, dirs, row, ended, ended_dirs, state)
            r.state = 0
            free_records[state[N_FREE_RECORDS]] = row
            state[N_FREE_RECORDS] += 1
            state[N_LIVE] -= 1
            found += 1
        row += 1
    state[SWEEP_ROW] = -1
    return found
