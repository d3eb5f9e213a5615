"""Kernels: rows of the packet table -> live flows -> ended flows with their first packets.

How this works. A live flow is one FLOW_RECORD and a DIR row for each direction that had two packets
(direction 0 is from endpoint ``a``, the smaller one, so that the key has no direction); the
statistics of a single packet are in the log. ``slots`` is an open-addressing table, at most half
full: the record's row + 1 in as many bits as the table's size has, a hash tag in the others; full
keys are compared. Packets come in batches of 32 in four passes, so that memory is asked for before
it is needed: key, hash and prefetch the slot; prefetch the record; prefetch the direction; find or
make the flow and update it. Which endpoint is the smaller one is computed without a branch, as the
processor would guess it wrong for every other packet.

The first packets of all flows are appended to one log (``kept``), and their first payload bytes to
one ``arena``: memory is written in order, and nothing is moved when a flow ends. Each row names the
flow's row before it. An ended flow is a copy of its record in ``ended``; ``gather`` makes FlowBatch
rows of it, with payload that stays where it is, and gives its directions back. When much of the log
belongs to flows that are gone, ``compact`` copies what lives into a new one.

The wrapper sees to it, before each call, that every array has room for whatever the call may add.
Indexes are unsigned: a signed one is first looked at for its sign.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier._jit import borrow, copy_bytes, inline, keep_alive, kernel, prefetch
from classifier.tables import NO_WRAPPING, PACKET_LIMIT

BATCH = 32

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
    N_DIRS,  # rows of ``dirs`` ever used, with the first two, which are scratch
    N_FREE_DIRS,
    PART,  # 1: earlier packets may be in another table, see ``_merging_kernels``
    N_STATE,
) = range(21)

MOST_KEPT = 1536
TCP_HEAD = 2048  # bytes of each direction's stream that are kept
TCP_LATER = 32  # of each later segment: the head of a frame that a tunnel puts into one write
DATAGRAMS_WHOLE = 2  # per direction, up to MOST_KEPT: client hellos in QUIC, key exchanges
DATAGRAM_LATER = 128

# Columns of ``keys``: the packets of a batch, endpoint ``a`` being the smaller one
A_HI, A_LO, B_HI, B_LO, PORTS, HASH, SWAPPED, ROW, N_KEY = 0, 1, 2, 3, 4, 5, 6, 7, 8
SCRATCH_DIRS = 2
LATER_FRAGMENT = 2  # bit of KEPT.direction, as of PACKET.fragment

# Bits of FLOW_RECORD.state
LIVE, ORIG_IS_B, SYN_SEEN, FIN_A, FIN_B, RESET, SEQ_A, SEQ_B = 1, 2, 4, 8, 16, 32, 64, 128
# In a part: the flow may have begun before it; each packet shall be a flow of its own
UNSURE, APART = 256, 512

FIN, SYN, RST, ACK = 1, 2, 4, 16
TCP, SCTP = 6, 132
# Not SEED, which differs from run to run: which tombs or fragments collide may not
TOMB_SEED = np.uint64(0x9AE16A3B2F90404F)
TOMB_WAYS = 4
SEVERAL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
MOST_MISSING = (np.int64(1) << 48) - 1
_EARLY = 3  # packets within which a SYN may come after what it began (reordering)
_NONE = np.uint64(NO_WRAPPING)
_SEQ_LIMIT = np.int64(1) << 31
_SEQ_MASK = (np.int64(1) << 32) - 1
_ONE = np.uint64(1)
LOW32 = np.uint64(0xFFFFFFFF)
ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_KEYS_MASK = 4 * BATCH - 1
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
def has_tag(slot, h, mask):
    """Tell whether a slot is of this hash, as far as its tag says."""
    return ((slot ^ (h >> np.uint64(32))) & ~mask & LOW32) == np.uint64(0)


@inline
def likely_slot(h, slots):
    """Return the slot of the first flow that may have this hash; 0 where there is none."""
    mask = np.uint64(slots.size - 1)
    at = h & mask
    while slots[at] != 0 and not has_tag(np.uint64(slots[at]), h, mask):
        at = (at + _ONE) & mask
    return np.uint64(slots[at])


@inline
def slot_of(h, row, mask):
    """Return a slot: the row + 1 in the mask's bits, the tag above; an empty slot is 0."""
    return ((h >> np.uint64(32)) & ~mask) | np.uint64(row + 1)


@kernel
def rebuild(
    records: NDArray[Any],
    slots: NDArray[Any],
    state: NDArray[Any],
) -> None:
    """Enter all live records into ``slots`` (uint32, power of two, all zero)."""
    records, slots, state = borrow(records), borrow(slots), borrow(state)
    mask = np.uint64(slots.size - 1)
    seed = np.uint64(state[SEED])
    for row in range(state[N_RECORDS]):
        r = records[np.uint64(row)]
        if r.state & LIVE:
            h = hash_key(seed, r.a_hi, r.a_lo, r.b_hi, r.b_lo, r.ports)
            at = h & mask
            while slots[at] != 0:
                at = (at + _ONE) & mask
            slots[at] = slot_of(h, row, mask)


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
        if fragments[row, 0] == np.uint64(0):  # an earlier part may have seen the first one
            alone = fragments[row, 2]
            fragments[row, 2] = h if alone == np.uint64(0) or alone == h else SEVERAL


@inline
def bytes_to_keep(proto, captured, kept, payload_packets):
    """Say how many of a packet's captured payload bytes to keep.

    ``kept`` and ``payload_packets`` are those of the packets before it in its direction.
    """
    if proto == TCP:
        most = max(TCP_HEAD - kept, TCP_LATER)
    elif payload_packets < DATAGRAMS_WHOLE:
        most = MOST_KEPT
    else:
        most = DATAGRAM_LATER
    return min(captured, min(most, MOST_KEPT))


@inline
def start_of(s):
    """Return where a row's payload begins in the arena."""
    return (np.int64(s.start_high) << 32) | np.int64(s.start_low)


@inline
def put_start(s, at):
    s.start_low = at & 0xFFFFFFFF
    s.start_high = at >> 32


@inline
def append_packet(
    r, p, direction, digest, captured, before, payload_packets, buf, kept, arena, state
):
    """Write down one of the first packets of a flow; return the bytes kept.

    ``captured``, ``before`` and ``payload_packets`` are for ``bytes_to_keep``.
    """
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
    s.digest = digest
    s.capture = p.capture
    s.direction = direction | (p.fragment & LATER_FRAGMENT)
    s.tcp_flags = p.tcp_flags
    keep = bytes_to_keep(p.proto, captured, before, payload_packets) if captured > 0 else 0
    at = state[ARENA_TOP]
    put_start(s, at)
    s.kept = keep
    if keep > 0:
        copy_bytes(buf, np.int64(p.payload_start), keep, arena, at)
        state[ARENA_TOP] = at + keep
        r.kept += keep
    return keep


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
def missing_bytes(side):
    return (np.int64(side.missing_high) << 32) | np.int64(side.missing_low)


@inline
def put_missing(side, n):
    n = min(n, MOST_MISSING)
    side.missing_low = n & 0xFFFFFFFF
    side.missing_high = n >> 32


@inline
def update_tcp(r, side, p, from_b, later_fragment):
    """Sequence numbers and flag counts."""
    flags = np.int64(p.tcp_flags)
    side.flags_low = add_flags(side.flags_low, np.uint64(flags & 15))
    side.flags_high = add_flags(side.flags_high, np.uint64(flags >> 4))
    known = SEQ_B if from_b else SEQ_A
    if later_fragment:  # has no header of its own: the segment's first fragment counted as short
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
        put_missing(side, missing_bytes(side) + ahead)
    if length > 0 and ahead + length <= 0:
        side.retransmissions += 1
    elif length > 0 or ahead > 0:
        side.next_seq = (seq + length) & _SEQ_MASK


@inline
def clear_side(side):
    side.packets = side.bytes = side.payload_bytes = 0
    side.first_ns = side.last_ns = side.iat_min = side.iat_max = 0
    side.bytes_sumsq = side.missing_low = side.missing_high = side.flags_low = side.flags_high = 0
    side.iat_sumsq = side.iat_sumsq_high = 0
    side.payload_packets = side.bytes_min = side.bytes_max = 0
    side.next_seq = side.retransmissions = side.gaps = side.digest = side.kept = 0


@inline
def add_square(r, iat):
    """Add the square of a time to a sum of 96 bits, of which three days are the most."""
    time = np.uint64(iat)
    upper, lower = time >> np.uint64(32), time & LOW32
    square, middle = time * time, upper * lower
    high = upper * upper + (middle >> np.uint64(31)) + np.uint64(square < middle << np.uint64(33))
    low = np.uint64(r.iat_sumsq) + square
    high += np.uint64(r.iat_sumsq_high) + np.uint64(low < square)
    if high > LOW32:
        low, high = ALL, LOW32
    r.iat_sumsq, r.iat_sumsq_high = low, high


@inline
def update_side(side, p):
    ts, size = p.ts_ns, np.int64(p.ip_bytes)
    if side.packets == 0:
        side.first_ns = side.last_ns = ts
        side.bytes_min = side.bytes_max = p.ip_bytes
    else:
        iat = max(ts - side.last_ns, np.int64(0))
        add_square(side, iat)
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
def add_to_side(r, side, p, from_b, tcp, later_fragment, digest):
    """Add a packet (PACKET or KEPT) to the statistics of its direction."""
    if digest != np.uint32(0) and digest == side.digest:
        r.duplicates += 1
    side.digest = digest
    if tcp:
        update_tcp(r, side, p, from_b, later_fragment)
    update_side(side, p)


@inline
def add_first(r, side, s, tcp):
    """Make the statistics of a direction from its first packet, which is in the log."""
    clear_side(side)
    later_fragment = s.direction & LATER_FRAGMENT != 0
    add_to_side(r, side, s, s.direction & 1 != 0, tcp, later_fragment, s.digest)
    side.kept = s.kept


@inline
def new_dir(free_dirs, state):
    """Return a row for the statistics of a direction."""
    if state[N_FREE_DIRS] > 0:
        state[N_FREE_DIRS] -= 1
        return np.int64(free_dirs[np.uint64(state[N_FREE_DIRS])])
    state[N_DIRS] += 1
    return state[N_DIRS] - 1


@inline
def side_of(r, direction, dirs, free_dirs, kept, tcp, state):
    """Return the row of a direction's statistics, made from its first packet where it has none."""
    row = np.int64(r.side[np.uint64(direction)])
    if row > 0:
        return row
    made = new_dir(free_dirs, state)
    r.side[np.uint64(direction)] = made
    side = dirs[np.uint64(made)]
    if row < 0:
        add_first(r, side, kept[np.uint64(~row)], tcp)
    else:
        clear_side(side)
    return made


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
def mark_of(marks, h):
    """Return which bit of ``marks``, one of a word, says that a tomb may have this hash."""
    bit = (h >> np.uint64(32)) & np.uint64(64 * marks.size - 1)
    return bit >> np.uint64(6), _ONE << (bit & np.uint64(63))


@inline
def is_marked(marks, h):
    """Tell whether a tomb may have this hash: most flows are new, and need no look at the table."""
    word, bit = mark_of(marks, h)
    return marks[word] & bit != np.uint64(0)


@inline
def set_mark(marks, h):
    word, bit = mark_of(marks, h)
    marks[word] |= bit


@inline
def tomb_hash(key):
    return hash_key(TOMB_SEED, key[A_HI], key[A_LO], key[B_HI], key[B_LO], key[PORTS])


@inline
def remember(tombs, marks, r):
    """Note an ended flow, so that one that goes on after it can name it as its parent."""
    h = hash_key(TOMB_SEED, r.a_hi, r.a_lo, r.b_hi, r.b_lo, r.ports)
    set_mark(marks, h)
    row = find_tomb(tombs, h, True)
    tombs[row, 0] = h
    orig_is_b = np.uint64(1 if r.state & ORIG_IS_B else 0)
    tombs[row, 1] = (np.uint64(r.flow_id) << np.uint64(1)) | orig_is_b


@kernel
def move_tombs(tombs: NDArray[Any], to: NDArray[Any], marks: NDArray[Any]) -> None:
    """Enter all tombs into a larger table of them (uint64, (a power of two, 2)) and its marks.

    ``to`` and ``marks`` are all zero.
    """
    for old in range(tombs.shape[0]):
        if tombs[old, 0] != np.uint64(0):
            set_mark(marks, tombs[old, 0])
            row = find_tomb(to, tombs[old, 0], True)
            to[row, 0], to[row, 1] = tombs[old, 0], tombs[old, 1]


@inline
def parent_of(r):
    return ((np.int64(r.parent_high) << 32) | np.int64(r.parent_low)) - 1


@inline
def begin(r, p, key, flow_id, parent, orig_is_b, unsure):
    """Fill a record for a flow's first packet."""
    swapped = key[SWAPPED] != np.uint64(0)
    r.a_hi, r.a_lo, r.b_hi, r.b_lo = key[A_HI], key[A_LO], key[B_HI], key[B_LO]
    r.ports = key[PORTS]
    r.first_ns = r.last_ns = p.ts_ns
    r.flow_id = flow_id
    r.parent_low = (parent + 1) & 0xFFFFFFFF
    r.parent_high = (parent + 1) >> 32
    r.tail = -1
    r.n_series = r.duplicates = r.kept = 0
    r.side[0] = r.side[1] = 0
    r.icmp = p.icmp
    r.iat_min = r.iat_max = 0
    r.iat_sumsq = r.iat_sumsq_high = 0
    r.wrapping = p.wrapping
    state = LIVE | unsure
    if p.proto == TCP and p.tcp_flags & SYN:
        if p.tcp_flags & ACK:
            orig_is_b = not swapped
        else:
            orig_is_b = swapped
            state |= SYN_SEEN
    r.state = state | (ORIG_IS_B if orig_is_b else 0)


@inline
def end_flow(records, row, ended, state):
    ended[state[N_ENDED]] = records[row]
    state[N_ENDED] += 1


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
def is_closed(r):
    """Tell whether a SYN ends the flow, or in a part: may end it, by what came before."""
    fins = r.state & (FIN_A | FIN_B)
    if r.state & UNSURE and (fins or not r.state & SYN_SEEN):
        return True
    return r.state & RESET != 0 or fins == FIN_A | FIN_B


@inline
def is_over(r, p, idle, active):
    """Tell whether a flow ended before this packet, and whether the packet begins a new one."""
    syn = p.proto == TCP and p.tcp_flags & (SYN | ACK) == SYN
    late = (idle >= 0 and p.ts_ns - r.last_ns > idle) or (
        active >= 0 and p.ts_ns - r.first_ns > active
    )
    return late or r.state & APART != 0 or (syn and is_closed(r)), syn


@inline
def find(key, records, slots):
    """Return the row of the live flow with this key, or -1, and the slot where it is to be."""
    mask = np.uint64(slots.size - 1)
    h = key[HASH]
    at = h & mask
    if key[ROW] != np.uint64(0) and same_key(records[key[ROW] - _ONE], key):
        return np.int64(key[ROW]) - 1, at
    while slots[at] != 0:
        slot = np.uint64(slots[at])
        if has_tag(slot, h, mask):
            row = (slot & mask) - _ONE
            if same_key(records[row], key):
                return np.int64(row), at
        at = (at + _ONE) & mask
    return np.int64(-1), at


@inline
def find_or_make(p, key, records, slots, free_records, ended, tombs, marks, idle, active, state):
    """Return the row of the packet's flow, ending an older one on the same key where it must."""
    row, at = find(key, records, slots)
    if row >= 0:
        r = records[np.uint64(row)]
        over, syn = is_over(r, p, idle, active)
        if over:
            # A SYN begins anew; so it does where the old flow was swept away before
            parent = np.int64(-1) if syn else r.flow_id
            orig_is_b = r.state & ORIG_IS_B != 0
            unsure = r.state & (UNSURE | APART) if syn else r.state & APART
            end_flow(records, row, ended, state)
            flow_id = state[NEXT_FLOW_ID]
            state[NEXT_FLOW_ID] += 1
            begin(r, p, key, flow_id, parent, orig_is_b, unsure)
        return row
    if state[N_FREE_RECORDS] > 0:
        state[N_FREE_RECORDS] -= 1
        row = np.int64(free_records[state[N_FREE_RECORDS]])
    else:
        row = state[N_RECORDS]
        state[N_RECORDS] += 1
    state[N_LIVE] += 1
    slots[at] = slot_of(key[HASH], row, np.uint64(slots.size - 1))
    parent = np.int64(-1)
    orig_is_b = key[SWAPPED] != np.uint64(0)
    th = tomb_hash(key)
    tomb = find_tomb(tombs, th, False) if is_marked(marks, th) else np.int64(-1)
    unsure = state[PART] * UNSURE
    if tomb >= 0 and unsure:
        unsure |= APART  # tombs of a part are the keys that it shall take apart
    elif tomb >= 0:
        parent = np.int64(tombs[tomb, 1] >> np.uint64(1))
        orig_is_b = tombs[tomb, 1] & np.uint64(1) != np.uint64(0)
        tombs[tomb, 0] = tombs[tomb, 1] = 0
        if p.proto == TCP and p.tcp_flags & (SYN | ACK) == SYN:
            parent = np.int64(-1)
    flow_id = state[NEXT_FLOW_ID]
    state[NEXT_FLOW_ID] += 1
    begin(records[np.uint64(row)], p, key, flow_id, parent, orig_is_b, unsure)
    return row


@inline
def note_time(r, ts, count):
    """Add a time stamp to those of a flow of ``count`` packets."""
    iat = max(ts - r.last_ns, np.int64(0))
    r.iat_min = iat if count == 1 else min(r.iat_min, iat)
    r.iat_max = max(r.iat_max, iat)
    add_square(r, iat)
    r.first_ns = min(r.first_ns, ts)
    r.last_ns = max(r.last_ns, ts)


@inline
def update_flow(p, r, direction, digest, dirs, free_dirs, buf, kept, arena, state):
    """Add a packet to its flow."""
    p.flow_id = r.flow_id
    count = np.int64(r.n_series)  # all packets, as far as it matters here
    if count > 0:
        note_time(r, p.ts_ns, count)
    tcp = p.proto == TCP
    if tcp:
        flags = p.tcp_flags
        if (
            flags & (SYN | ACK) == SYN
            and not r.state & SYN_SEEN
            and parent_of(r) < 0
            and count <= _EARLY
        ):
            r.state = (r.state & ~ORIG_IS_B) | SYN_SEEN | (ORIG_IS_B if direction else 0)
        if flags & FIN:
            r.state |= FIN_B if direction else FIN_A
        if flags & RST:
            r.state |= RESET
    captured = np.int64(p.payload_stop) - np.int64(p.payload_start)
    if p.fragment & LATER_FRAGMENT or count >= PACKET_LIMIT:
        captured = np.int64(0)
    # A part writes down the first packet of each direction, however late
    if count < PACKET_LIMIT + state[PART] and r.side[np.uint64(direction)] == 0:
        no = np.int64(0)
        append_packet(r, p, direction, digest, captured, no, no, buf, kept, arena, state)
        r.side[np.uint64(direction)] = ~np.int64(r.tail)
        return
    side = dirs[np.uint64(side_of(r, direction, dirs, free_dirs, kept, tcp, state))]
    if count < PACKET_LIMIT:
        before, packets = np.int64(side.kept), np.int64(side.payload_packets)
        side.kept += append_packet(
            r, p, direction, digest, captured, before, packets, buf, kept, arena, state
        )
    add_to_side(r, side, p, direction == 1, tcp, p.fragment & LATER_FRAGMENT != 0, digest)


@kernel
def update(
    packets: NDArray[Any],
    buf: NDArray[Any],
    records: NDArray[Any],
    dirs: NDArray[Any],
    slots: NDArray[Any],
    free_records: NDArray[Any],
    free_dirs: NDArray[Any],
    kept: NDArray[Any],
    arena: NDArray[Any],
    ended: NDArray[Any],
    tombs: NDArray[Any],
    marks: NDArray[Any],
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
    records, dirs : FLOW_RECORD, DIR, read and written; room for n more of each
    slots : uint32, a power of two, less than half full with n more
    free_records, free_dirs : int32 stacks, read
    kept : KEPT, written; room for n more
    arena : uint8, written; room for MOST_KEPT bytes of each
    ended : FLOW_RECORD, written; room for n more
    tombs, fragments : uint64 (t, 2) and (t, 3), powers of two, read and written
    marks : uint64, a power of two, read: bits that ``remember`` set
    counts : int64, by Reason, added to
    state : int64 (N_STATE,)
    idle, active : int64, ns; negative = no such timeout
    """
    packets, buf, records, dirs = borrow(packets), borrow(buf), borrow(records), borrow(dirs)
    slots, free_records, free_dirs = borrow(slots), borrow(free_records), borrow(free_dirs)
    kept, arena, ended = borrow(kept), borrow(arena), borrow(ended)
    tombs, marks = borrow(tombs), borrow(marks)
    fragments, state = borrow(fragments), borrow(state)
    n = packets.size
    all_keys = np.empty((4 * BATCH, N_KEY), np.uint64)  # of four batches, used in turn
    keys = borrow(all_keys)
    seed = np.uint64(state[SEED])
    mask = np.uint64(slots.size - 1)
    now = state[NOW_NS]
    for ahead in range(0, n + 3 * BATCH, BATCH):
        for k in range(ahead, min(ahead + BATCH, n)):
            p = packets[np.uint64(k)]
            key = keys[np.uint64(k & _KEYS_MASK)]
            if p.reason == 0:
                if p.fragment != 0:
                    adopt_fragment(p, fragments, state)
                note_key(p, seed, key)
                prefetch(slots, np.int64(key[HASH] & mask), 0)
        for k in range(max(ahead - BATCH, 0), min(ahead, n)):
            key = keys[np.uint64(k & _KEYS_MASK)]
            key[ROW] = 0
            if packets[np.uint64(k)].reason == 0:
                slot = likely_slot(key[HASH], slots)
                if slot == np.uint64(0):  # a new flow: it may go on after one that was swept away
                    th = tomb_hash(key)
                    if is_marked(marks, th):
                        prefetch(tombs, 2 * first_tomb(tombs, th), 0)
                else:
                    key[ROW] = slot & mask
                    row = np.int64(slot & mask) - 1
                    prefetch(records, row, 0)
                    prefetch(records, row, 1)
        for k in range(max(ahead - 2 * BATCH, 0), min(ahead - BATCH, n)):
            key = keys[np.uint64(k & _KEYS_MASK)]
            if key[ROW] != np.uint64(0):
                side_row = np.int64(records[key[ROW] - _ONE].side[key[SWAPPED]])
                if side_row > 0:
                    prefetch(dirs, side_row, 0)
                    prefetch(dirs, side_row, 1)
                elif side_row < 0:
                    prefetch(kept, ~side_row, 0)
        for k in range(max(ahead - 3 * BATCH, 0), min(ahead - 2 * BATCH, n)):
            p = packets[np.uint64(k)]
            counts[p.reason] += 1
            if p.reason != 0:
                continue
            key = keys[np.uint64(k & _KEYS_MASK)]
            row = find_or_make(
                p, key, records, slots, free_records, ended, tombs, marks, idle, active, state
            )
            now = max(now, p.ts_ns)
            direction = np.int64(key[SWAPPED])
            r = records[np.uint64(row)]
            digest = digest_of(p)
            update_flow(p, r, direction, digest, dirs, free_dirs, buf, kept, arena, state)
    state[NOW_NS] = now
    keep_alive(all_keys)


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
    records : FLOW_RECORD, read; ``tail`` and ``side`` written
    kept, arena : KEPT, uint8, read
    kept_to, arena_to : KEPT, uint8, written; room for what is not gone
    state : int64 (N_STATE,)
    """
    kept, kept_to, arena, arena_to = borrow(kept), borrow(kept_to), borrow(arena), borrow(arena_to)
    path = np.empty(PACKET_LIMIT + 1, np.int64)
    top, size = np.int64(0), np.int64(0)
    for row in range(state[N_RECORDS]):
        r = records[np.uint64(row)]
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
            direction = np.uint64(s.direction & 1)
            if r.side[direction] < 0:
                r.side[direction] = ~top
            copy_bytes(arena, start_of(s), np.int64(s.kept), arena_to, size)
            put_start(s, size)
            size += np.int64(s.kept)
            top += 1
        r.tail = top - 1
    state[N_KEPT], state[ARENA_TOP] = top, size
    state[GONE_KEPT] = state[GONE_BYTES] = 0


@kernel
def sweep(
    records: NDArray[Any],
    before_ns: int,
    free_records: NDArray[Any],
    ended: NDArray[Any],
    tombs: NDArray[Any],
    marks: NDArray[Any],
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
            remember(tombs, marks, r)
            end_flow(records, row, ended, state)
            r.state = 0
            free_records[state[N_FREE_RECORDS]] = row
            state[N_FREE_RECORDS] += 1
            state[N_LIVE] -= 1
            found += 1
        row += 1
    state[SWEEP_ROW] = -1
    return found
