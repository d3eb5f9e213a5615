"""Kernels: a stretch of a file -> live flows, in one call that needs nothing of Python.

How this works: it is the loop of ``Capture.batches`` and ``FlowTable.add`` for as long as nobody else
must look at a packet and every array has room. Whoever reads in a thread waits up to 5 ms for the
GIL after each call of a kernel, if another thread computes: three times for each MiB, without this.
Where it stops, ``state`` of the walk says how ``batches`` goes on, and rows that were not added are
counted in PENDING.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier._jit import copy_bytes, inline, kernel, read_file
from classifier.flows._kernels import (
    ARENA_TOP,
    MOST_KEPT,
    N_DIRS,
    N_ENDED,
    N_KEPT,
    N_LIVE,
    N_RECORDS,
    NOW_NS,
    update,
)
from classifier.wire._container_kernels import (
    FILLED,
    GOT,
    NEED_BYTES,
    PASSED,
    PENDING,
    POSITION,
    ROWS_FULL,
    STATUS,
    walk_pcap,
    walk_pcapng,
)


@inline
def refill(descriptor, buf, walk):
    """Move what is left to the front of the buffer and fill it; return whether anything came."""
    position = walk[POSITION]
    left = walk[FILLED] - position
    if left > position:  # the two would overlap
        return False
    copy_bytes(buf, position, left, buf, np.int64(0))
    walk[PASSED] += position
    walk[FILLED], walk[POSITION] = left, 0
    while walk[FILLED] < buf.size:
        got = read_file(descriptor, buf, walk[FILLED], buf.size - walk[FILLED])
        if got <= 0:
            break
        walk[FILLED] += got
        walk[GOT] += got
    if walk[FILLED] == left:
        return False
    walk[STATUS] = ROWS_FULL  # there are more records to be walked
    return True


@inline
def has_room(n, records, dirs, slots, kept, arena, ended, state):
    """Tell whether ``update`` may be given so many packets."""
    return (
        state[N_RECORDS] + n <= records.size
        and state[N_DIRS] + n <= dirs.size
        and 2 * (state[N_LIVE] + n) <= slots.size
        and state[N_KEPT] + n <= kept.size
        and state[ARENA_TOP] + n * MOST_KEPT <= arena.size
        and state[N_ENDED] + n <= ended.size
    )


@inline
def has_fragment(packets, n):
    found = np.int64(0)
    for k in range(n):
        found |= packets[np.uint64(k)].fragment
    return found != 0


@kernel
def read_on(
    pcapng: bool,
    descriptor: int,
    buf: NDArray[Any],
    walk: NDArray[Any],
    interfaces: NDArray[Any],
    rows: NDArray[Any],
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
    most_bytes: int,
    most_ended: int,
    most_live: int,
    since_sweep: int,
    swept_ns: int,
) -> Any:
    """Read a file on; stop where ``FlowTable`` or ``Capture`` has something to do.

    Parameters
    ----------
    pcapng, descriptor, buf, walk, interfaces, rows
        A ``Stretch``; walk is its state.
    records ... active
        As for ``update``.
    most_bytes : int, after which it stops
    most_ended, most_live : int, flows from which, and beyond which, it stops
    since_sweep : int, packets since the table was last swept, at swept_ns

    Returns
    -------
    int : packets added
    """
    added = np.int64(0)
    while walk[GOT] < most_bytes:
        if walk[STATUS] == NEED_BYTES:
            if not refill(descriptor, buf, walk):
                break
        elif walk[STATUS] != ROWS_FULL:
            break
        if not has_room(rows.size, records, dirs, slots, kept, arena, ended, state):
            break
        filled = walk[FILLED]
        if pcapng:
            n = np.int64(walk_pcapng(buf, filled, walk, interfaces, rows))
        else:
            n = np.int64(walk_pcap(buf, filled, walk, interfaces, rows))
        if has_fragment(rows, n):
            walk[PENDING] = n
            break
        update(
            rows[:n],
            buf,
            records,
            dirs,
            slots,
            free_records,
            free_dirs,
            kept,
            arena,
            ended,
            tombs,
            marks,
            fragments,
            counts,
            state,
            idle,
            active,
        )
        added += n
        if state[N_ENDED] >= most_ended or state[N_LIVE] > most_live:
            break
        may_sweep = idle >= 0 and 2 * (since_sweep + added) >= state[N_RECORDS]
        if may_sweep and state[NOW_NS] > swept_ns + idle // 2:
            break
    return added
