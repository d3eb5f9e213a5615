"""Queues and token buckets over columns of packets in order of time."""

import numpy as np
from numpy.typing import NDArray

from classifier._jit import inline, kernel

__all__ = ["hold_back", "serve"]

_F8 = NDArray[np.float64]
_I8 = NDArray[np.int64]
_I4 = NDArray[np.int32]


@inline
def first_free(free: _F8, queue: int) -> int:
    """Return the server of a queue that is free first."""
    best = 0
    for server in range(1, free.shape[1]):
        if free[queue, server] < free[queue, best]:
            best = server
    return best


@kernel
def serve(
    arrive: _F8,
    service: _F8,
    queue: _I4,
    free: _F8,
    starts: _F8,
    accepted: _I8,
    depart: _F8,
) -> None:
    """Serve packets first come, first served, each queue with its own servers and waiting room.

    The waiting room is full when the packet that was accepted ``size`` places before has not begun:
    starts follow the order of arrival.

    Parameters
    ----------
    arrive : float64, shape (n,), ns
        Not falling. Read.
    service : float64, shape (n,), ns
        Read.
    queue : int32, shape (n,)
        Rows of ``free``, checked by the caller. Read.
    free : float64, shape (n_queues, n_servers), ns
        When each server is free; 0 at first. Written.
    starts : float64, shape (n_queues, size), ns
        When the last packets began; no columns set no limit. Written.
    accepted : int64, shape (n_queues,)
        0 at first. Written.
    depart : float64, shape (n,), ns
        Written; -1 where a packet found the waiting room full.
    """
    size = starts.shape[1]
    for i in range(arrive.size):
        q = queue[i]
        server = first_free(free, q)
        start = max(arrive[i], free[q, server])
        if size > 0:
            slot = accepted[q] % size
            if accepted[q] >= size and starts[q, slot] > arrive[i]:
                depart[i] = -1.0
                continue
            starts[q, slot] = start
        accepted[q] += 1
        free[q, server] = start + service[i]
        depart[i] = start + service[i]


@kernel
def hold_back(
    arrive: _F8,
    sizes: _I8,
    bucket: _I4,
    rate: float,
    burst: float,
    most: float,
    tokens: _F8,
    since: _F8,
    depart: _F8,
) -> None:
    """Hold packets back until their token bucket has a token for each of their bytes.

    A packet larger than the bucket waits until the bucket would hold as many.

    Parameters
    ----------
    arrive : float64, shape (n,), ns
        Not falling. Read.
    sizes : int64, shape (n,), bytes
        Read.
    bucket : int32, shape (n,)
        Rows of ``tokens``, checked by the caller. Read.
    rate : float64, bytes per ns
    burst : float64, bytes
    most : float64, ns
        A packet that would wait longer is dropped.
    tokens : float64, shape (n_buckets,), bytes
        Full at first. Written.
    since : float64, shape (n_buckets,), ns
        When ``tokens`` was right; 0 at first. Written.
    depart : float64, shape (n,), ns
        Written; -1 where a packet was dropped.
    """
    for i in range(arrive.size):
        b = bucket[i]
        now = max(arrive[i], since[b])
        held = min(burst, tokens[b] + (now - since[b]) * rate)
        leave = now
        if held < sizes[i]:
            leave = now + (sizes[i] - held) / rate
        if leave - arrive[i] > most:
            depart[i] = -1.0
            continue
        tokens[b] = max(held - sizes[i], 0.0)
        since[b] = leave
        depart[i] = leave
