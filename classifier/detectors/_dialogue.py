"""The heads of both streams of a flow as bytes, for handshakes that are read one flow at a time.

For the flows alone that a detector's ``select`` chose: it costs some 20 microseconds a flow.
"""

from dataclasses import dataclass

import numpy as np

from classifier.detectors._columns import head, row_of_payload
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["Dialogue", "report", "row_of_byte"]

SYN = 0x02
SIDES = ("orig", "resp")


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What client and server of a flow said first.

    Attributes
    ----------
    batch : FlowBatch
    flow : int
        Row of ``batch.flows``.
    client_side : int
        Direction of the client's packets.
    client, server : bytes
        Their streams up to the first hole, or first datagrams, as far as they were kept.
    """

    batch: FlowBatch
    flow: int
    client_side: int
    client: bytes
    server: bytes

    @classmethod
    def of(cls, batch: FlowBatch, flow: int, client_side: int = 0) -> "Dialogue":
        """Return a flow's dialogue, the client being the originator or (1) the responder."""
        heads = [head(batch, flow, side) for side in SIDES]
        return cls(batch, flow, client_side, heads[client_side], heads[1 - client_side])

    def packets_of_server(self) -> int:
        """Return how many packets the server sent: none in a capture of one direction."""
        return int(self.batch.flows[f"{SIDES[1 - self.client_side]}_packets"][self.flow])

    def is_cut(self) -> bool:
        """Tell whether a snaplen took the end of the client's first payload."""
        row = row_of_payload(self.batch, self.flow, self.client_side)
        p = self.batch.packets[row]
        return int(p["stop"] - p["start"]) < int(p["payload_bytes"])

    def more(self, said: int, answered: int) -> bool:
        """Tell whether either side sent more than that many bytes."""
        f = self.batch.flows[self.flow]
        sent = [int(f[f"{side}_payload_bytes"]) for side in SIDES]
        return sent[self.client_side] > said or sent[1 - self.client_side] > answered


def report(
    dialogue: Dialogue,
    detector: str,
    strength: Strength,
    text: str,
    *,
    said: int,
    answered: int = 0,
) -> Evidence:
    """Return evidence of a handshake.

    Parameters
    ----------
    dialogue : Dialogue
    detector : str
        Its name, which is the family's too.
    strength : Strength
    text : str
    said, answered : int
        Bytes of the client's and of the server's stream that were read for it; 0 for none.
    """
    batch, flow, side = dialogue.batch, dialogue.flow, dialogue.client_side
    rows = [
        row_of_byte(batch, flow, direction, read - 1)
        for direction, read in ((side, said), (1 - side, answered))
        if read > 0
    ]
    frames = sorted({int(batch.packets["frame"][row]) for row in rows})
    place = f"packet{'s' if len(frames) > 1 else ''} {' and '.join(map(str, frames))}"
    return Evidence(
        flow=flow,
        detector=detector,
        strength=strength,
        detail=f"{text}, {place}",
        packet=max(rows),
        family=detector,
        starts=side == 0 and said > 0,
    )


def row_of_byte(batch: FlowBatch, flow: int, direction: int, offset: int) -> int:
    """Return the row of the packet that brought byte ``offset`` of a direction's stream.

    The direction's first packet with payload where none of the kept packets did.
    """
    start, stop = (int(batch.flows[name][flow]) for name in ("packets_start", "packets_stop"))
    some = batch.packets[start:stop]
    mine = some["direction"] == direction
    loaded = np.flatnonzero(mine & (some["payload_bytes"] > 0))
    if loaded.size == 0:
        return start
    seq = some["seq"].astype(np.int64)
    begins = np.flatnonzero(mine & (some["tcp_flags"] & SYN > 0))
    base = int(seq[begins[0]]) + 1 if begins.size else int(seq[loaded[0]])
    at = (seq[loaded] - base) & 0xFFFFFFFF
    found = loaded[(at <= offset) & (offset < at + some["payload_bytes"][loaded])]
    return start + int(found[0] if found.size else loaded[0])
