"""Messages of a TCP stream, each behind its length of two bytes, whoever put them into segments.

A message may end in the middle of a segment or go on over several; all that a flow kept of a segment
is its beginning, so the walk from length to length ends at the first length that was not kept, that
was lost, or that is none.
"""

from typing import NamedTuple

import numpy as np

from classifier.tables import FlowBatch

__all__ = ["LENGTH_BYTES", "Framed", "read_framed"]

LENGTH_BYTES = 2
SYN = 0x02
HALF, ALL = 1 << 31, (1 << 32) - 1


class Framed(NamedTuple):
    """A message behind its length: how long, what was kept of its first bytes, and in which row."""

    size: int
    head: bytes
    row: int


def read_framed(
    batch: FlowBatch, flow: int, direction: int, least: int, most: int, width: int
) -> list[Framed] | None:
    """Return the messages of one direction of a flow from its first byte on.

    Parameters
    ----------
    batch : FlowBatch
    flow, direction : int
    least, most : int
        What a length may be.
    width : int
        Bytes of each message to return, where they were kept.

    Returns
    -------
    list of Framed, or None
        None where a length is out of bounds: the stream is not of such messages.
    """
    start, stop = (int(batch.flows[name][flow]) for name in ("packets_start", "packets_stop"))
    rows = start + np.flatnonzero(batch.packets["direction"][start:stop] == direction)
    p = batch.packets[rows]
    if not p.size:
        return []
    opening = np.flatnonzero(p["tcp_flags"] & SYN)
    first = int(p["seq"][opening[0]]) + 1 if opening.size else int(p["seq"][0])
    offsets = (((p["seq"].astype(np.int64) - first) + HALF) & ALL) - HALF
    carries = np.flatnonzero((p["payload_bytes"] > 0) & (offsets >= 0))
    order = carries[np.argsort(offsets[carries], kind="stable")]
    at = begins = covered = 0  # where the next length stands; what of the stream was seen
    found = list[Framed]()
    for i in order.tolist():
        begins, size = int(offsets[i]), int(p["payload_bytes"][i])
        if begins > covered:
            break
        covered = max(covered, begins + size)
        kept = batch.payload[int(p["start"][i]) : int(p["stop"][i])]
        while begins <= at and at + LENGTH_BYTES <= begins + kept.size:
            here = at - begins
            length = int(kept[here]) << 8 | int(kept[here + 1])
            if not least <= length <= most:
                return None
            head = kept[here + LENGTH_BYTES : here + LENGTH_BYTES + min(width, length)]
            found.append(Framed(length, head.tobytes(), int(rows[i])))
            at += LENGTH_BYTES + length
        if at < covered:
            break  # what was not kept holds the next length
    return found
