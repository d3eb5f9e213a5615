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

from classifier._jit import kernel
from classifier.detectors._columns import head
from classifier.detectors._dialogue import SIDES, row_of_byte
from classifier.detectors._reading import be16, be32
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["find_chains", "may_hold"]

TCP, SYN = 6, 0x02
# A length below 2048, data v2 of any key, a peer id below 65536
MESSAGE = re.compile(rb"(?s)(?=[\x00-\x07].[\x48-\x4f]\x00)")
LENGTH_BYTES, HEADER_BYTES, PACKET_ID, SECRET, SECRET_BYTES = 2, 4, 4, 8, 16
LEAST_BYTES, STEP_MOST, DIFFERENT_LEAST = 25, 64, 10
LENGTH_MOST, OPCODES, OPCODE = 0x07, 0xF8, 0x48  # what MESSAGE says
BLOCK = 64  # places that are asked for a zero at once
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


@kernel
def may_hold(flows, packets, payload, found):
    """Tell which flows need a look: two headers alike in a head, one behind the other's length.

    Parameters
    ----------
    flows, packets, payload : ndarray of FLOW, SERIES, uint8, read
    found : ndarray of bool, shape (n_flows,), written
        True of TCP flows alone that begin without a SYN.
    """
    for f in range(flows.size):
        flow = flows[f]
        found[f] = False
        if flow.proto != TCP or flow.packets_start == flow.packets_stop:
            continue
        if packets[flow.packets_start].tcp_flags & SYN != 0:
            continue
        for side in range(2):
            start = flow.orig_start if side == 0 else flow.resp_start
            stop = flow.orig_stop if side == 0 else flow.resp_stop
            places = stop - (HEADER_BYTES - 1)
            for begin in range(start, places, BLOCK):
                end = min(begin + BLOCK, places)
                zeros = 0
                for i in range(begin, end):
                    zeros += payload[i + 3] == 0
                if zeros == 0:  # as in text, and in most ciphertext
                    continue
                for i in range(begin, end):
                    if payload[i + 3] != 0 or payload[i + 2] & OPCODES != OPCODE:
                        continue
                    if payload[i] > LENGTH_MOST:
                        continue
                    at = i + LENGTH_BYTES
                    after = at + be16(payload, i) + LENGTH_BYTES
                    if after + SECRET + SECRET_BYTES <= stop:
                        found[f] |= be32(payload, at) == be32(payload, after)


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
    evidence = []
    worth = np.empty(batch.flows.size, np.bool_)
    may_hold(batch.flows, batch.packets, batch.payload, worth)
    for flow in np.flatnonzero(worth).tolist():
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
