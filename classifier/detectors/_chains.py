"""OpenVPN's data where a TCP capture begins inside a message: two messages, one behind the other.

The length of one message leads to the next, which has the same opcode, key and peer id, and a packet
id a little higher; or, where a cipher in CBC mode hides packet ids, whole blocks behind the same rest.
Chance would bring that once in 2**58 places (CBC: 2**53); a head has some two thousand.
Offsets are of the first message found, whose length (2 bytes, big-endian) stands before it::

    0    1   opcode 9, key id
    1    3   peer id, below 65536
    4    4   packet id         with CBC: HMAC, of 16 bytes and more
    8   16   tag, ciphertext   with CBC: the same, then IV and whole blocks of 8 or 16
    n    2   length of the next message, with the same first four bytes
"""

import re
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._columns import head
from classifier.detectors._dialogue import SIDES, row_of_byte
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["find_chains"]

TCP, SYN = 6, 0x02
# A length below 2048, data v2 of any key, a peer id below 65536
MESSAGE = re.compile(rb"(?s)(?=[\x00-\x07].[\x48-\x4f]\x00)")
LENGTH_BYTES, HEADER_BYTES, PACKET_ID, SECRET, SECRET_BYTES = 2, 4, 4, 8, 16
LEAST_BYTES, STEP_MOST, DIFFERENT_LEAST = 25, 64, 10
HEAD_LEAST = LENGTH_BYTES + LEAST_BYTES + LENGTH_BYTES + SECRET + SECRET_BYTES
ENDS = ("start", "stop")
CBC_LEAST, CBC_BLOCK = 36, 8  # header, MAC of 16, IV and a block of 8
DULL_MOST = 8  # one byte of so many may be zero or repeat the one before
RISING, BLOCKS = "packet ids rising", "in whole blocks"


def _is_secret(data: bytes, at: int) -> bool:
    """Tell whether bytes may be a MAC, a tag or ciphertext."""
    return len(set(data[at : at + SECRET_BYTES])) >= DIFFERENT_LEAST


def _is_mac(data: bytes, at: int) -> bool:
    """Tell whether MAC and IV stand behind a header, and no packet id or header of IP and TCP."""
    secret = data[at + HEADER_BYTES : at + CBC_LEAST]
    dull = sum(byte == 0 or byte == before for before, byte in pairwise(b"\0" + secret))
    sound = secret[0] != 0 and max(secret) >= 0x80 and len(secret) >= SECRET_BYTES
    return sound and DULL_MOST * dull <= len(secret)


def _chain(data: bytes) -> tuple[int, str]:
    """Return where two data messages that follow each other end, and how alike they are."""
    for found in MESSAGE.finditer(data):
        at = found.start() + LENGTH_BYTES
        size = int.from_bytes(data[found.start() : at], "big")
        after = at + size + LENGTH_BYTES
        end = after + SECRET + SECRET_BYTES
        if size < LEAST_BYTES or end > len(data):
            continue
        if data[at : at + HEADER_BYTES] != data[after : after + HEADER_BYTES]:
            continue
        if not (_is_secret(data, at + SECRET) and _is_secret(data, after + SECRET)):
            continue
        one, other = (int.from_bytes(data[i + PACKET_ID : i + SECRET], "big") for i in (at, after))
        if 0 < other - one <= STEP_MOST:
            return end, RISING
        next_size = int.from_bytes(data[after - LENGTH_BYTES : after], "big")
        blocks = min(size, next_size) >= CBC_LEAST and (size - next_size) % CBC_BLOCK == 0
        third = after + next_size + LENGTH_BYTES
        goes_on = data[third : third + HEADER_BYTES] or data[at : at + HEADER_BYTES]
        blocks &= data[at : at + HEADER_BYTES].startswith(goes_on)
        if blocks and _is_mac(data, at) and _is_mac(data, after):
            return end, BLOCKS
    return 0, ""


def _may_hold(batch: FlowBatch, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which of the flows ``rows`` have a place in a head where ``MESSAGE`` matches."""
    ends = [np.concatenate([batch.flows[f"{s}_{end}"][rows] for s in SIDES]) for end in ENDS]
    sides = np.flatnonzero(ends[1] - ends[0] >= HEAD_LEAST)
    start, stop = (end[sides] for end in ends)
    view = batch.payload.data
    spans = zip(start.tolist(), stop.tolist(), strict=True)
    heads = np.frombuffer(b"".join([view[first:last] for first, last in spans]), np.uint8)
    at = np.flatnonzero((heads[3:] == 0) & (heads[2:-1] & 0xF8 == 0x48))
    at = at[heads[at] < 8]
    found = np.zeros(rows.size, np.bool_)
    found[sides[np.searchsorted(np.cumsum(stop - start), at, side="right")] % rows.size] = True
    return found


def find_chains(batch: FlowBatch, known: set[int]) -> list[Evidence]:
    """Find pairs of data messages in TCP flows whose beginning was not captured.

    Parameters
    ----------
    batch : FlowBatch
    known : set of int
        Rows of flows that need no look.

    Returns
    -------
    list of Evidence
        Strong, one for each flow.
    """
    flows, evidence = batch.flows, []
    some = flows["packets_stop"] > flows["packets_start"]
    rows = np.flatnonzero((flows["proto"] == TCP) & some)
    late = batch.packets["tcp_flags"][flows["packets_start"][rows]] & SYN == 0
    rows = rows[late]
    for flow in rows[_may_hold(batch, rows)].tolist():
        if flow in known:
            continue
        for direction, side in enumerate(SIDES):
            end, how = _chain(head(batch, flow, side))
            if end == 0:
                continue
            row = row_of_byte(batch, flow, direction, end - 1)
            text = f"data messages one behind the other, same peer id, {how}"
            frame = int(batch.packets["frame"][row])
            evidence.append(
                Evidence(
                    flow=flow,
                    detector="openvpn",
                    strength=Strength.STRONG,
                    detail=f"{text}, packet {frame}",
                    packet=row,
                    family="openvpn",
                    starts=False,
                )
            )
            break
    return evidence
