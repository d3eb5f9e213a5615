"""Queues and token buckets event by event: the slow twin of the box's kernels.

Written from the description: packets in order of arrival; each queue has its servers and a waiting
room; a packet that finds the room full is lost. Times in exact fractions.
"""

import heapq
from collections.abc import Sequence
from fractions import Fraction


def serve(
    arrive: Sequence[Fraction],
    service: Sequence[Fraction],
    queue: Sequence[int],
    servers: int,
    room: int | None,
) -> list[Fraction | None]:
    """Return when each packet leaves, None where the waiting room was full."""
    busy: dict[int, list[Fraction]] = {}  # when the servers that work will be free
    begins: dict[int, list[Fraction]] = {}  # of packets accepted so far
    leave: list[Fraction | None] = []
    for at, takes, q in zip(arrive, service, queue, strict=True):
        working = busy.setdefault(q, [])
        waiting = [begin for begin in begins.setdefault(q, []) if begin > at]
        if room is not None and len(waiting) >= room:
            leave.append(None)
            continue
        begin = at if len(working) < servers else max(at, heapq.heappop(working))
        heapq.heappush(working, begin + takes)
        begins[q].append(begin)
        leave.append(begin + takes)
    return leave


def hold_back(
    arrive: Sequence[Fraction],
    sizes: Sequence[int],
    bucket: Sequence[int],
    rate: Fraction,
    burst: int,
    most: Fraction,
) -> list[Fraction | None]:
    """Return when each packet has its tokens, None where it would wait longer than ``most``."""
    held: dict[int, tuple[Fraction, Fraction]] = {}  # tokens, and when
    leave: list[Fraction | None] = []
    for at, size, b in zip(arrive, sizes, bucket, strict=True):
        tokens, since = held.get(b, (Fraction(burst), Fraction(0)))
        now = max(at, since)
        tokens = min(Fraction(burst), tokens + (now - since) * rate)
        go = now if tokens >= size else now + (size - tokens) / rate
        if go - at > most:
            leave.append(None)
            continue
        held[b] = (max(tokens + (go - now) * rate - size, Fraction(0)), go)
        leave.append(go)
    return leave
