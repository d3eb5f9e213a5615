"""Bytes at fixed places of many flows at once, by numpy: for rules that need no kernel.

Everything is over the heads of streams (``orig_start`` to ``orig_stop`` in ``FLOW``, likewise
``resp``): TCP in sequence order up to the first hole, else the first datagram that was kept.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.detectors.heads import Heads
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["Exchange", "begins_exchange", "find_exchanges", "head", "row_of_payload", "window"]


def window(batch: FlowBatch, side: str, offset: int, width: int) -> NDArray[np.int64]:
    """Return ``width`` bytes from ``offset`` of the heads, -1 where nothing was kept.

    Parameters
    ----------
    batch : FlowBatch
    side : str
        ``orig`` or ``resp``.
    offset, width : int

    Returns
    -------
    ndarray of int64, shape (n_flows, width)
    """
    at = batch.flows[f"{side}_start"][:, None] + offset + np.arange(width)
    inside = at < batch.flows[f"{side}_stop"][:, None]
    values = np.full(at.shape, -1, np.int64)
    values[inside] = batch.payload[at[inside]]
    return values


def head(batch: FlowBatch, flow: int, side: str) -> bytes:
    """Return what was kept of a direction's head."""
    f = batch.flows[flow]
    return batch.payload[f[f"{side}_start"] : f[f"{side}_stop"]].tobytes()


def row_of_payload(batch: FlowBatch, flow: int, direction: int) -> int:
    """Return the row of the first packet with payload in a direction, else of the first packet."""
    start, stop = (int(batch.flows[name][flow]) for name in ("packets_start", "packets_stop"))
    some = batch.packets[start:stop]
    found = np.flatnonzero((some["direction"] == direction) & (some["payload_bytes"] > 0))
    return start + int(found[0]) if found.size else start


class Exchange(NamedTuple):
    """A request in clear text, and its answer.

    Attributes
    ----------
    begins : bytes
        First bytes of the originator's stream; 32 at most.
    request, answer : compiled pattern of bytes
        What the heads of both streams must match from their first byte. Patterns take linear time.
    text : str
        What was seen, in words.
    holds : bytes
        What every such request holds somewhere, where many others begin as it does.
    """

    begins: bytes
    request: re.Pattern[bytes]
    answer: re.Pattern[bytes]
    text: str
    holds: bytes = b""


def begins_exchange(heads: Heads, exchanges: Sequence[Exchange]) -> NDArray[np.bool_]:
    """Return a mask of the flows that begin as one of the requests, shape (n_flows,)."""
    found = np.zeros(heads.size, np.bool_)
    for exchange in exchanges:
        begun = heads.starts_with(exchange.begins)
        found |= heads.holds(begun, [exchange.holds], "orig") if exchange.holds else begun
    return found


def find_exchanges(
    batch: FlowBatch, detector: str, family: str, exchanges: Sequence[Exchange]
) -> list[Evidence]:
    """Report flows that begin with a request.

    Proof where its answer is seen, strong where no answer was captured, weak after another answer:
    anyone can ask, but only a server of the protocol agrees.
    """
    found = []
    for flow in range(batch.flows.size):
        request = head(batch, flow, "orig")
        for exchange in exchanges:
            if not exchange.request.match(request):
                continue
            answer = head(batch, flow, "resp")
            rows = [row_of_payload(batch, flow, 0)]
            strength, ending = Strength.STRONG, ", no answer captured"
            if exchange.answer.match(answer):
                strength, ending = Strength.PROOF, " and its answer"
                rows.append(row_of_payload(batch, flow, 1))
            elif answer:
                strength, ending = Strength.WEAK, ", answered otherwise"
            frames = " and ".join(str(int(batch.packets["frame"][row])) for row in rows)
            place = f"packet{'s' if len(rows) > 1 else ''} {frames}"
            detail = f"{exchange.text}{ending}, {place}"
            found.append(Evidence(flow, detector, strength, detail, max(rows), family, starts=True))
            break
    return found
