"""Kernels: packets of flows -> the time features of windows of at most so many seconds.

How this works: each flow has a row of integers and a row of floats, which hold its present window.
Statistics are kept as ISCXFlowMeter keeps them (running mean and sum of squared deviations, sample
standard deviation), of whole microseconds. A window that ends is written out as one row.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier._jit import inline, kernel

__all__ = ["N_FLOATS", "N_INTS", "N_META", "N_VALUES", "close_windows", "cut_windows"]

# Integers of a flow
LIVE, WINDOW, START, LAST, FORWARD_LAST, BACKWARD_LAST, ACTIVE_START, ACTIVE_LAST = range(8)
FORWARD, BACKWARD, BYTES, STATS = range(8, 12)
# Statistics: count, least and greatest among the integers, mean and squares among the floats
FLOW_IAT, FORWARD_IAT, BACKWARD_IAT, ACTIVE, IDLE = range(5)
N_INTS = STATS + 3 * 5
N_FLOATS = 2 * 5

#: Columns of a written row: flow, window, first microsecond, packets.
N_META = 4
N_VALUES = 23

_FIN = 0x01


@inline
def add_value(ints, floats, f, which, value):
    """Add a value to one of a flow's statistics."""
    base = STATS + 3 * which
    n = ints[f, base] + 1
    ints[f, base] = n
    if n == 1 or value < ints[f, base + 1]:
        ints[f, base + 1] = value
    if n == 1 or value > ints[f, base + 2]:
        ints[f, base + 2] = value
    away = value - floats[f, 2 * which]
    floats[f, 2 * which] += away / n
    floats[f, 2 * which + 1] += away * (value - floats[f, 2 * which])


@inline
def open_window(ints, floats, f, t, size):
    """Begin a window with a packet, which counts as forward."""
    ints[f, LIVE] = 1
    for i in range(START, ACTIVE_LAST + 1):
        ints[f, i] = t
    ints[f, FORWARD] = 1
    ints[f, BACKWARD] = 0
    ints[f, BYTES] = size
    for i in range(STATS, N_INTS):
        ints[f, i] = 0
    for i in range(N_FLOATS):
        floats[f, i] = 0.0


@inline
def write_window(ints, floats, f, meta, values, row):
    """Write a flow's window as a row, and make ready for its next."""
    packets = ints[f, FORWARD] + ints[f, BACKWARD]
    duration = ints[f, LAST] - ints[f, START]
    meta[row, 0] = f
    meta[row, 1] = ints[f, WINDOW]
    meta[row, 2] = ints[f, START]
    meta[row, 3] = packets
    values[row, 0] = duration
    values[row, 9] = 0.0
    values[row, 10] = 0.0
    if duration > 0:
        values[row, 9] = packets / (duration / 1e6)
        values[row, 10] = ints[f, BYTES] / (duration / 1e6)
    for which in range(5):
        base = STATS + 3 * which
        n = ints[f, base]
        least, greatest, mean, deviation = np.int64(-1), np.int64(-1), 0.0, 0.0
        if n > 0:
            least = ints[f, base + 1]
            greatest = ints[f, base + 2]
            mean = floats[f, 2 * which]
        if n > 1:
            deviation = np.sqrt(floats[f, 2 * which + 1] / (n - 1))
        if which == 0:
            values[row, 11] = least
            values[row, 12] = greatest
            values[row, 13] = mean
            values[row, 14] = deviation
        elif which <= 2:
            values[row, which] = least
            values[row, 2 + which] = greatest
            values[row, 4 + which] = mean
            values[row, 6 + which] = deviation
        else:
            at = 15 + 4 * (which - 3)
            values[row, at] = least
            values[row, at + 1] = mean
            values[row, at + 2] = greatest
            values[row, at + 3] = deviation
    ints[f, WINDOW] += 1


@kernel
def cut_windows(
    packets: NDArray[Any],
    ints: NDArray[Any],
    floats: NDArray[Any],
    ends: NDArray[Any],
    meta: NDArray[Any],
    values: NDArray[Any],
    timeout_us: int,
    idle_us: int,
) -> int:
    """Add packets to the windows of their flows; write windows that end.

    Parameters
    ----------
    packets : PACKET (n,), read; those with ``flow_id`` -1 and other than TCP and UDP are left out
    ints : int64 (n_flows, N_INTS), read and written
    floats : float64 (n_flows, N_FLOATS), read and written
    ends : uint64 (n_flows, 3), read and written: who is forward, high and low bits and port
    meta : int64 (n, N_META), written
    values : float64 (n, N_VALUES), written
    timeout_us, idle_us : int

    Returns
    -------
    int
        Rows written.
    """
    rows = 0
    for p in range(packets.size):
        packet = packets[p]
        f = packet.flow_id
        if f < 0 or (packet.proto != 6 and packet.proto != 17):
            continue
        t = packet.ts_ns // 1000
        size = np.int64(packet.ip_bytes)
        fin = packet.proto == 6 and (packet.tcp_flags & 1) != 0
        if ints[f, LIVE] == 0:
            ends[f, 0] = packet.src_hi
            ends[f, 1] = packet.src_lo
            ends[f, 2] = packet.src_port
            open_window(ints, floats, f, t, size)
            continue
        if t - ints[f, START] > timeout_us and not fin:
            write_window(ints, floats, f, meta, values, rows)
            rows += 1
            open_window(ints, floats, f, t, size)
            continue
        if t - ints[f, ACTIVE_LAST] > idle_us:
            add_value(ints, floats, f, ACTIVE, t - ints[f, ACTIVE_START])
            add_value(ints, floats, f, IDLE, t - ints[f, ACTIVE_LAST])
            ints[f, ACTIVE_START] = t
        ints[f, ACTIVE_LAST] = t
        if (
            packet.src_lo == ends[f, 1]
            and packet.src_hi == ends[f, 0]
            and packet.src_port == ends[f, 2]
        ):
            ints[f, FORWARD] += 1
            if ints[f, FORWARD] > 1:
                add_value(ints, floats, f, FORWARD_IAT, t - ints[f, FORWARD_LAST])
            ints[f, FORWARD_LAST] = t
        else:
            ints[f, BACKWARD] += 1
            if ints[f, BACKWARD] > 1:
                add_value(ints, floats, f, BACKWARD_IAT, t - ints[f, BACKWARD_LAST])
            ints[f, BACKWARD_LAST] = t
        add_value(ints, floats, f, FLOW_IAT, t - ints[f, LAST])
        ints[f, LAST] = t
        ints[f, BYTES] += size
        if fin:
            write_window(ints, floats, f, meta, values, rows)
            rows += 1
            ints[f, LIVE] = 0
    return rows


@kernel
def close_windows(
    ints: NDArray[Any], floats: NDArray[Any], meta: NDArray[Any], values: NDArray[Any]
) -> int:
    """Write the windows that have not ended; parameters and result as of ``cut_windows``."""
    rows = 0
    for f in range(ints.shape[0]):
        if ints[f, LIVE] != 0:
            write_window(ints, floats, f, meta, values, rows)
            rows += 1
            ints[f, LIVE] = 0
    return rows
