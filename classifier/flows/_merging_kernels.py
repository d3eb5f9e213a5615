"""Kernel: flows of a later part -> the live flows of all that came before it.

How this works. A part knows nothing of the packets before it. So it ends a flow wherever one may end
that began before it (at each SYN, while the flow is UNSURE), and what it has are *pieces* of flows in
the order of their first packets. To merge is to give the table piece after piece as if each were a
packet: the piece's first packet finds the flow of its key, ends it or goes on with it.

A piece that begins a flow is copied. One that goes on with a flow is *joined*: its first 32 packets,
which the part kept, are added as packets are, by the same code. So all is exact that depends on the
first packets, and the flow is now in the state in which it would be; if the piece *alone* is in the
same state after these 32 (time of the last packet, next sequence numbers), all later packets did to
it what they would have done to the flow: the difference between the piece in the end and after 32
packets is added. If not, nothing is guessed: the piece is refused, and the part is to be made again
with each packet of its key as a piece of its own, which has nothing but first packets.

What later packets depend on, and why it is then the same:

- the greatest time stamp so far, of the flow and of the direction: compared.
- next sequence numbers: compared. Digests: of the last packet of the direction, which is one of the
  piece's, as the part also keeps the first packet of a direction that comes after the 32.
- whether FIN and RST came: asked for at a SYN alone, and while it may matter none is inside a piece.
- first time stamp: asked for by the active timeout alone; what outlives it is refused.
- bytes kept: of the first 32 packets alone. A part keeps no fewer of any packet than the flow would:
  it counts from a later packet on, and ``bytes_to_keep`` falls with what was kept, by no more.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier._jit import borrow, copy_bytes, inline, keep_alive, kernel
from classifier.flows._kernels import (
    A_HI,
    A_LO,
    ALL,
    APART,
    ARENA_TOP,
    B_HI,
    B_LO,
    FIN_A,
    FIN_B,
    HASH,
    LATER_FRAGMENT,
    LOW32,
    MOST_MISSING,
    N_KEPT,
    N_KEY,
    NEXT_FLOW_ID,
    PORTS,
    RESET,
    ROW,
    SEED,
    SEQ_A,
    SEQ_B,
    SWAPPED,
    TCP,
    UNSURE,
    add_first,
    add_to_side,
    clear_side,
    find_or_make,
    hash_key,
    is_over,
    missing_bytes,
    new_dir,
    note_time,
    parent_of,
    put_missing,
    put_start,
    side_of,
    start_of,
    tomb_hash,
    update_flow,
)
from classifier.tables import PACKET_LIMIT

_CLOSING = FIN_A | FIN_B | RESET
_KNOWN = SEQ_A | SEQ_B
_LANE = np.uint64(0xFFFF)


@inline
def note_piece_key(f, s, seed, key):
    """Write down the key of a piece, whose first packet is ``s``, and its hash."""
    key[A_HI], key[A_LO], key[B_HI], key[B_LO] = f.a_hi, f.a_lo, f.b_hi, f.b_lo
    key[PORTS], key[SWAPPED], key[ROW] = f.ports, np.uint64(s.direction & 1), np.uint64(0)
    key[HASH] = hash_key(seed, f.a_hi, f.a_lo, f.b_hi, f.b_lo, f.ports)


@inline
def make_packet(p, f, s):
    """Make the packet (PACKET) that a kept row (KEPT) was, but for where its payload is."""
    p.ts_ns, p.frame, p.ip_bytes, p.payload_bytes = s.ts_ns, s.frame, s.ip_bytes, s.payload_bytes
    p.seq, p.capture, p.tcp_flags = s.seq, s.capture, s.tcp_flags
    p.fragment = s.direction & LATER_FRAGMENT
    p.payload_start, p.payload_stop = 0, s.kept
    p.proto = (f.ports >> np.uint64(40)) & np.uint64(0xFF)
    p.icmp, p.wrapping = f.icmp, f.wrapping


@inline
def adopt(f, r, f_dirs, rows, first, payload, dirs, free_dirs, kept, arena, state):
    """Make a flow that has just begun the piece: all but id, parent and, of a child, direction."""
    if parent_of(r) >= 0:
        r.state |= np.int64(f.state) & (_CLOSING | _KNOWN)
    else:
        r.state = np.int64(f.state) & ~(UNSURE | APART)
    r.first_ns, r.last_ns, r.duplicates, r.kept = f.first_ns, f.last_ns, f.duplicates, f.kept
    r.iat_min, r.iat_max = f.iat_min, f.iat_max
    r.iat_sumsq, r.iat_sumsq_high = f.iat_sumsq, f.iat_sumsq_high
    shown = min(np.int64(f.n_series), PACKET_LIMIT)
    at, top, base = np.int64(state[N_KEPT]), state[ARENA_TOP], start_of(rows[first])
    for k in range(shown):
        kept[at + k] = rows[first + k]
        s = kept[at + k]
        s.before = at + k - 1 if k > 0 else -1
        put_start(s, start_of(s) - base + top)
    copy_bytes(payload, base, np.int64(f.kept), arena, top)
    state[N_KEPT] += shown
    state[ARENA_TOP] += np.int64(f.kept)
    r.n_series, r.tail = shown, at + shown - 1
    for direction in range(2):
        row = np.int64(f.side[direction])
        only = ~row - first
        if row < 0 and only < shown:
            r.side[direction] = ~(at + only)
        elif row != 0:
            made = new_dir(free_dirs, state)
            r.side[direction] = made
            if row > 0:
                dirs[made] = f_dirs[row]
            else:
                tcp = (f.ports >> np.uint64(40)) & np.uint64(0xFF) == np.uint64(TCP)
                add_first(r, dirs[made], rows[~row], tcp)


@inline
def packets_of(f, f_dirs):
    """Count all packets of a piece."""
    n = np.int64(0)
    for direction in range(2):
        row = np.int64(f.side[direction])
        if row > 0:
            n += f_dirs[row].packets
        elif row < 0:
            n += 1
    return n


@inline
def add_lanes(counts, more, less):
    """Add the difference of each of four 16-bit counts that stay at their greatest."""
    total = np.uint64(0)
    for lane in range(4):
        shift = np.uint64(16 * lane)
        step = ((more >> shift) & _LANE) - ((less >> shift) & _LANE)
        total |= min(((counts >> shift) & _LANE) + step, _LANE) << shift
    return total


@inline
def hides_times(r, f, alone):
    """Tell whether the times between later packets are not known as far as needed.

    Their maximum is known together with that of the first packets, which may be one that the flow
    does not have: where time runs back at the border. The minimum is 0 then.
    """
    longest = f.iat_max == alone.iat_max and alone.iat_max > r.iat_max
    return longest or f.iat_sumsq_high == LOW32  # or the sum may have stayed at its greatest


@inline
def add_squares(r, more, less):
    """Add the difference of two sums of squares."""
    step = np.uint64(more.iat_sumsq) - np.uint64(less.iat_sumsq)
    high = np.uint64(more.iat_sumsq_high) - np.uint64(less.iat_sumsq_high)
    high -= np.uint64(step > np.uint64(more.iat_sumsq))
    low = np.uint64(r.iat_sumsq) + step
    high += np.uint64(r.iat_sumsq_high) + np.uint64(low < step)
    if high > LOW32:
        low, high = ALL, LOW32
    r.iat_sumsq, r.iat_sumsq_high = low, high


@inline
def add_times(r, f, alone):
    """Add the times of later packets; ``r`` and ``alone`` are of the same time now."""
    r.iat_min, r.iat_max = min(r.iat_min, f.iat_min), max(r.iat_max, f.iat_max)
    add_squares(r, f, alone)
    r.first_ns, r.last_ns = min(r.first_ns, f.first_ns), max(r.last_ns, f.last_ns)


@inline
def add_side(to, side, alone, same_seq):
    """Add what later packets did to a direction of a piece; tell whether it can be known."""
    if to.last_ns != alone.last_ns or not same_seq or missing_bytes(side) == MOST_MISSING:
        return False
    if to.packets == 1:  # no time between packets yet
        to.iat_min = side.iat_min
    if hides_times(to, side, alone):
        return False
    add_times(to, side, alone)
    to.packets += side.packets - alone.packets
    to.bytes += side.bytes - alone.bytes
    to.payload_bytes += side.payload_bytes - alone.payload_bytes
    to.bytes_sumsq += side.bytes_sumsq - alone.bytes_sumsq
    put_missing(to, missing_bytes(to) + missing_bytes(side) - missing_bytes(alone))
    to.payload_packets += np.int64(side.payload_packets) - np.int64(alone.payload_packets)
    to.retransmissions += np.int64(side.retransmissions) - np.int64(alone.retransmissions)
    to.gaps += np.int64(side.gaps) - np.int64(alone.gaps)
    to.bytes_min = min(to.bytes_min, side.bytes_min)
    to.bytes_max = max(to.bytes_max, side.bytes_max)
    to.flags_low = add_lanes(to.flags_low, side.flags_low, alone.flags_low)
    to.flags_high = add_lanes(to.flags_high, side.flags_high, alone.flags_high)
    to.next_seq, to.digest = side.next_seq, side.digest
    return True


@inline
def play_alone(alone, sides, rows, first, stop, tcp):
    """Give a scratch record the statistics that the piece alone had after its first packets."""
    alone.state = alone.duplicates = 0
    alone.first_ns = alone.last_ns = rows[first].ts_ns
    alone.iat_min = alone.iat_max = 0
    alone.iat_sumsq = alone.iat_sumsq_high = 0
    clear_side(sides[0])
    clear_side(sides[1])
    for row in range(first, stop):
        s = rows[row]
        if row > first:
            note_time(alone, s.ts_ns, row - first)
        play_side(alone, sides[s.direction & 1], s, tcp)


@inline
def play_side(r, side, s, tcp):
    """Add a kept row to the statistics of its direction."""
    later_fragment = s.direction & LATER_FRAGMENT != 0
    add_to_side(r, side, s, s.direction & 1 != 0, tcp, later_fragment, s.digest)


@inline
def join(
    f, r, p, f_dirs, rows, first, payload, alone, sides, dirs, free_dirs, kept, arena, state,
    idle, active,
):  # fmt: skip
    """Go on with a flow by a piece; tell whether that is exact."""
    n = np.int64(f.n_series)
    shown = min(n, PACKET_LIMIT)
    tcp = p.proto == TCP
    for k in range(shown):
        s = rows[first + k]
        make_packet(p, f, s)
        if k > 0:
            over, _ = is_over(r, p, idle, active)
            if over:  # the part would have had to keep more of the packets that follow
                return False
        start = start_of(s)
        own = payload[start : start + np.int64(s.kept)]
        direction = np.int64(s.direction & 1)
        update_flow(p, r, direction, s.digest, dirs, free_dirs, own, kept, arena, state)
    if packets_of(f, f_dirs) == shown:
        return True
    play_alone(alone, sides, rows, first, first + shown, tcp)
    for row in range(first + shown, first + n):  # the first packet of the other direction
        s = rows[row]
        side = side_of(r, np.int64(s.direction & 1), dirs, free_dirs, kept, tcp, state)
        play_side(r, dirs[side], s, tcp)
        play_side(alone, sides[s.direction & 1], s, tcp)
    if r.last_ns != alone.last_ns or hides_times(r, f, alone):
        return False
    closing = np.int64(f.state) & _CLOSING
    if f.state & UNSURE == 0 and np.int64(r.state) & _CLOSING & ~closing != 0:
        return False
    for direction in range(2):
        row = np.int64(f.side[direction])
        if row > 0 and f_dirs[row].packets > sides[direction].packets:
            known = SEQ_B if direction else SEQ_A
            to = dirs[side_of(r, np.int64(direction), dirs, free_dirs, kept, tcp, state)]
            same = (np.int64(r.state) ^ np.int64(alone.state)) & known == 0
            same &= to.next_seq == sides[direction].next_seq
            if not add_side(to, f_dirs[row], sides[direction], same):
                return False
    add_times(r, f, alone)
    r.duplicates += np.int64(f.duplicates) - np.int64(alone.duplicates)
    r.state |= closing | (np.int64(f.state) & _KNOWN)
    return active < 0 or r.last_ns - r.first_ns <= active


@kernel
def merge(
    pieces: NDArray[Any],
    f_dirs: NDArray[Any],
    rows: NDArray[Any],
    payload: NDArray[Any],
    ids: NDArray[Any],
    refused: NDArray[Any],
    packet: NDArray[Any],
    alone: NDArray[Any],
    sides: NDArray[Any],
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
    state: NDArray[Any],
    idle: int,
    active: int,
) -> int:
    """Add the pieces of a part to the flows before it; return how many are refused.

    Where any is, the flows are of no use any more.

    Parameters
    ----------
    pieces : FLOW_RECORD (n,), read: in the order of first packets, their kept rows side by side
    f_dirs, rows, payload : DIR, KEPT, uint8, read: what ``pieces`` refer to
    ids : int64 (n,), written: numbers of their flows
    refused : uint64 (n,), written: hashes of the keys of pieces that are refused
    packet, alone, sides : PACKET (1,), FLOW_RECORD (1,), DIR (2,), scratch
    records, dirs, slots, free_records, free_dirs : as for ``update``, with room for n flows more
    kept, arena, ended, tombs, marks, state, idle, active : as for ``update``; room for all of ``rows``
        and ``payload``, and n ended flows
    """
    pieces, f_dirs, rows, payload = borrow(pieces), borrow(f_dirs), borrow(rows), borrow(payload)
    records, dirs, slots = borrow(records), borrow(dirs), borrow(slots)
    free_records, free_dirs, kept = borrow(free_records), borrow(free_dirs), borrow(kept)
    arena, ended, tombs, marks = borrow(arena), borrow(ended), borrow(tombs), borrow(marks)
    packet, alone, sides, state = borrow(packet), borrow(alone), borrow(sides), borrow(state)
    own_key = np.empty(N_KEY, np.uint64)
    key = borrow(own_key)
    seed = np.uint64(state[SEED])
    p = packet[0]
    n_refused = 0
    for i in range(pieces.size):
        f = pieces[i]
        first = np.int64(f.tail) + 1 - np.int64(f.n_series)
        note_piece_key(f, rows[first], seed, key)
        make_packet(p, f, rows[first])
        began = state[NEXT_FLOW_ID]
        row = find_or_make(
            p, key, records, slots, free_records, ended, tombs, marks, idle, active, state
        )
        r = records[row]
        if r.flow_id == began:
            adopt(f, r, f_dirs, rows, first, payload, dirs, free_dirs, kept, arena, state)
        elif not join(
            f, r, p, f_dirs, rows, first, payload, alone[0], sides, dirs, free_dirs, kept, arena,
            state, idle, active,
        ):  # fmt: skip
            refused[n_refused] = tomb_hash(key)
            n_refused += 1
        ids[i] = r.flow_id
    keep_alive(own_key)
    return n_refused
