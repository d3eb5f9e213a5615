"""What kernels found -> evidence in words.

A kernel fills one row of ``hits`` for each flow that it recognises; ``collect`` calls it and turns
the rows into ``Evidence``. Python objects are made for those flows only.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.tables import Evidence, FlowBatch, Strength

__all__ = [
    "FIRST",
    "FLOW_ROW",
    "LAST",
    "MEANING",
    "STARTS",
    "VALUE",
    "Meaning",
    "collect",
    "find_hits",
    "of_rows",
    "worded",
]

# Columns of ``hits``: int64, shape (n_flows, 6)
FLOW_ROW = 0  # row of FlowBatch.flows
MEANING = 1  # key of the detector's table of meanings
FIRST = 2  # row of FlowBatch.packets where the observation began
LAST = 3  # row of FlowBatch.packets that completed it
STARTS = 4  # 1 where the flow's first packet is one that the protocol starts with
VALUE = 5  # a number for the text
_WIDTH = 6


class Meaning(NamedTuple):
    """How a kind of hit is reported; ``{value}`` in the text stands for the hit's number."""

    strength: Strength
    text: str
    family: str


def of_rows(evidence: Iterable[Evidence], rows: NDArray[np.int64]) -> list[Evidence]:
    """Return what was found in some flows of a batch, by their rows in the batch."""
    return [
        Evidence(
            *(int(rows[e.flow]), e.detector, e.strength, e.detail),
            *(e.packet, e.family, e.starts, e.known_ns),
        )
        for e in evidence
    ]


def collect(
    batch: FlowBatch,
    detector: str,
    scan: Callable[..., int],
    meanings: Mapping[int, Meaning],
) -> list[Evidence]:
    """Run a detector's kernel over a batch and report its hits.

    Parameters
    ----------
    batch : FlowBatch
    detector : str
        Name for the evidence.
    scan : callable
        ``scan(flows, packets, payload, hits) -> int``: fills ``hits`` from row 0, one row per
        recognised flow, and returns how many.
    meanings : mapping of int to Meaning

    Returns
    -------
    list of Evidence
        In the order of the flows.
    """
    return worded(batch, detector, find_hits(batch, scan), meanings)


def find_hits(batch: FlowBatch, scan: Callable[..., int]) -> NDArray[np.int64]:
    """Run a detector's kernel over a batch and return the rows that it filled, see ``collect``."""
    hits: NDArray[np.int64] = np.empty((batch.flows.size, _WIDTH), np.int64)
    return hits[: scan(batch.flows, batch.packets, batch.payload, hits)]


def worded(
    batch: FlowBatch, detector: str, hits: NDArray[np.int64], meanings: Mapping[int, Meaning]
) -> list[Evidence]:
    """Return evidence of a detector's hits, in words; see ``collect``."""
    found = []
    frames = batch.packets["frame"][hits[:, FIRST : LAST + 1]].tolist()
    for (flow, meaning, first, last, starts, value), (begun, done) in zip(
        hits.tolist(), frames, strict=True
    ):
        strength, text, family = meanings[meaning]
        place = f"packet {done}" if first == last else f"packets {begun} and {done}"
        found.append(
            Evidence(
                flow=flow,
                detector=detector,
                strength=strength,
                detail=f"{text.format(value=value)}, {place}",
                packet=last,
                family=family,
                starts=bool(starts),
            )
        )
    return found
