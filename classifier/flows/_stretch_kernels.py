"""Kernels: a stretch of a file -> live flows, in one call that needs nothing of Python.

How this works: it is the loop of ``Capture.batches`` and ``FlowTable.add`` for as long as nobody else
must look at a packet and every array has room. Whoever reads in a thread waits up to 5 ms for the
GIL after each call of a kernel, if another thread computes: three times for each MiB, without this.
Where it stops, ``state`` of the walk says how ``batches`` goes on, and rows that were not added lie
between LEFT_FROM and LEFT_TO. Where a datagram's last fragments are beyond the buffer, records from
its first one on are read again when more of the file is there.
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
    SEED,
    update,
)
from classifier.wire._container_kernels import (
    DECAPSULATE,
    FILLED,
    GOT,
    LEFT_FROM,
    LEFT_TO,
    MOST_FILLED,
    NEED_BYTES,
    PASSED,
    POSITION,
    REASSEMBLED,
    ROWS_FULL,
    SECTION,
    STATUS,
    walk_pcap,
    walk_pcapng,
)
from classifier.wire._container_kernels import N_STATE as N_WALK
from classifier.wire._fragment_kernels import assemble_whole

MOST_TRIES = 4  # to find rows before whose end no datagram is open


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
    while walk[FILLED] < walk[MOST_FILLED]:
        got = read_file(descriptor, buf, walk[FILLED], walk[MOST_FILLED] - walk[FILLED])
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
def copy_state(state, to):
    for row in range(N_WALK):
        to[row] = state[row]


def reader(walk_records: Any) -> Any:
    """Return the kernel for files whose records a walk reads."""

    @kernel
    def read_on(
        descriptor: int,
        buf: NDArray[Any],
        walk: NDArray[Any],
        interfaces: NDArray[Any],
        rows: NDArray[Any],
        spare: NDArray[Any],
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
        period: int,
        sweep_period: int,
        before: int,
        swept: int,
        swept_ns: int,
    ) -> Any:
        """Read a file on; stop where ``FlowTable`` or ``Capture`` has something to do.

        Parameters
        ----------
        descriptor, buf, walk, interfaces, rows, spare
            A ``Stretch``; walk is its state.
        records ... active
            As for ``update``.
        most_bytes : int, after which it stops
        most_ended, most_live : int, flows from which, and beyond which, it stops
        period, sweep_period : int, packets from one place where flows may be evicted, or swept, to the
            next; the second is a multiple of the first
        before, swept : int, packets that it had so far, and when it was last swept, at swept_ns

        Returns
        -------
        int : packets added
        """
        had = np.int64(before)
        walked = np.empty(N_WALK, np.int64)
        unread: Any = False
        while walk[GOT] < most_bytes:
            if unread or walk[STATUS] == NEED_BYTES:
                if not refill(descriptor, buf, walk):
                    break
            elif walk[STATUS] != ROWS_FULL:
                break
            if not has_room(rows.size, records, dirs, slots, kept, arena, ended, state):
                break
            copy_state(walk, walked)
            seed, decapsulate = state[SEED], walk[DECAPSULATE] != 0
            n = most = np.int64(rows.size - 1)
            made = np.int64(0)
            stop: Any = False
            unread = False
            # The second time as many records as can be added, to go on behind them
            for turn in range(2):
                to = rows if turn == 0 else spare
                n = np.int64(walk_records(buf, walk[FILLED], walk, interfaces, to[: most + 1]))
                if turn == 1:
                    break
                whole = n
                for _ in range(MOST_TRIES):
                    most = whole
                    made, whole = assemble_whole(
                        rows, most, spare, buf, walk[FILLED], decapsulate, seed
                    )
                    # Nor are records read again whose interfaces those of another section overwrote
                    if whole == most or whole == 0 or walk[SECTION] != walked[SECTION]:
                        break
                stop = whole < most  # who waits for the rest must look
                unread = most < n and not stop
                if not unread:
                    break
                copy_state(walked, walk)
            walk[REASSEMBLED] += made
            first = np.int64(0)
            while first < n and not stop:
                some = min(n - first, period - had % period)
                update(
                    rows[first : first + some],
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
                first += some
                had += some
                may_sweep = idle >= 0 and had % sweep_period == 0
                stop = (
                    state[N_ENDED] >= most_ended
                    or (state[N_LIVE] > most_live and had % period == 0)
                    or (
                        may_sweep
                        and 2 * (had - swept) >= state[N_RECORDS]
                        and state[NOW_NS] > swept_ns + idle // 2
                    )
                )
            if stop:
                walk[LEFT_FROM], walk[LEFT_TO] = first, n if first < n else 0
                break
        return had - before

    return read_on


read_pcap = reader(walk_pcap)
read_pcapng = reader(walk_pcapng)
