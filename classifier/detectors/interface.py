"""What a detector is, and what naming the applications of flows gives."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifier.detectors.heads import Heads
from classifier.tables import Evidence, FlowBatch

__all__ = ["Detector", "Names"]


@dataclass(frozen=True, slots=True)
class Detector:
    """A protocol that can be recognised, and the function that does it.

    Parameters
    ----------
    name : str
        Lower case, unique; the ``detector`` field of its evidence.
    family : str
        The family that its evidence names (a key of ``tables.FAMILIES``), or empty.
    transport : tuple of int
        IP protocol numbers of the flows it looks at; a batch without any is not shown to it.
    payloads : int
        The most bytes of one payload that it reads.
    detect : callable
        ``detect(batch: FlowBatch) -> list[Evidence]``: pure, no I/O, no state.
    select : callable, optional
        ``select(heads: Heads) -> ndarray of bool, shape (n_flows,)``: the flows worth a look, by
        their first bytes; ``detect`` is then called with a batch of those flows alone, or not at
        all. Leave it out where a flow's first bytes say nothing.
    """

    name: str
    family: str
    transport: tuple[int, ...]
    payloads: int
    detect: Callable[[FlowBatch], list[Evidence]]
    select: Callable[[Heads], NDArray[np.bool_]] | None = None

    def section(self, title: str) -> str:
        """Return a section of the detector's module docstring, such as ``"Mistaken for"``.

        The text after ``title:`` or the block below a line ``title``, on one line; empty where the
        module has no such section.
        """
        module = sys.modules.get(getattr(self.detect, "__module__", ""))
        lines = ((module.__doc__ if module else "") or "").splitlines()
        found: list[str] = []
        inside = False
        for i, line in enumerate(lines):
            ruled = i + 1 < len(lines) and set(lines[i + 1].strip()) in ({"-"}, {"="})
            if line.strip() == title and ruled:
                inside = True
            elif inside and ruled:
                break
            elif inside and set(line.strip()) != {"-"}:
                found.append(line.strip())
        return " ".join(" ".join(found).split())


@dataclass(frozen=True, slots=True)
class Names:
    """What the flows of a batch are, apart from VPN evidence. All arrays have shape (n_flows,).

    Attributes
    ----------
    application : ndarray of object (str)
        ``tls``, ``dns`` ... or ``unknown``.
    server_name : ndarray of object (str)
        TLS or QUIC server name or HTTP host, empty where none.
    ja4 : ndarray of object (str)
    starts : ndarray of bool
        The first packet is one that the protocol starts with.
    """

    application: NDArray[np.object_]
    server_name: NDArray[np.object_]
    ja4: NDArray[np.object_]
    starts: NDArray[np.bool_]
