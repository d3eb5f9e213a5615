"""What the other flows of the same two endpoints say, told while a capture is read.

How this works: the first packet of each flow is looked at as it comes, in the order of the capture.
What a flow is told depends on the packets before it and on nothing else: not on when flows end, nor
on how the capture was cut into buffers. ``features.pair_features`` gives the same of a table of
flows whose packets are not out of order.
"""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["PairBook"]

#: Pairs of endpoints that are remembered; with one more, all are forgotten.
MOST_PAIRS = 1 << 18

_TCP = 6
_WIDTH = 6
_FIRST = (0.0, *(math.nan,) * (_WIDTH - 1))


class _Pair:
    """The flows of two endpoints so far."""

    __slots__ = ("by_proto", "first_ns", "flows", "from_lower", "last_ns")

    def __init__(self, first_ns: int) -> None:
        self.flows = 0
        self.from_lower = 0
        self.by_proto: dict[int, int] = {}
        self.first_ns = self.last_ns = first_ns


class PairBook:
    """Remembers the flows of each pair of endpoints in the order in which they began."""

    def __init__(self) -> None:
        self._next = 0
        self._pairs: dict[tuple[int, int], _Pair] = {}
        self._told: dict[int, tuple[float, ...]] = {}

    def see(self, packets: NDArray[np.void], offset: int = 0) -> None:
        """Look at packets whose ``flow_id`` is set.

        Parameters
        ----------
        packets : ndarray of PACKET, shape (n,)
            In the order of the capture, each once.
        offset : int
            What is to be added to ``flow_id``.
        """
        ids = packets["flow_id"]
        new = np.flatnonzero(ids >= self._next - offset)
        if not new.size:
            return
        _, first = np.unique(ids[new], return_index=True)
        begun = packets[new[first]]
        names = ("flow_id", "ts_ns", "proto", "src_hi", "src_lo", "dst_hi", "dst_lo")
        for flow, ts_ns, proto, src_hi, src_lo, dst_hi, dst_lo in zip(
            *(begun[name].tolist() for name in names), strict=True
        ):
            source, target = src_hi << 64 | src_lo, dst_hi << 64 | dst_lo
            lower = source <= target
            key = (source, target) if lower else (target, source)
            pair = self._pairs.get(key)
            if pair is None:
                if len(self._pairs) >= MOST_PAIRS:
                    self._pairs.clear()
                pair = self._pairs[key] = _Pair(ts_ns)
            n = pair.flows
            told = _FIRST
            if n:
                told = (
                    n,
                    pair.by_proto.get(_TCP, 0) / n,
                    pair.by_proto.get(proto, 0) / n,
                    (pair.from_lower if lower else n - pair.from_lower) / n,
                    (ts_ns - pair.last_ns) / 1e9,
                    (ts_ns - pair.first_ns) / 1e9 / n,
                )
            self._told[flow + offset] = told
            pair.flows += 1
            pair.from_lower += lower
            pair.by_proto[proto] = pair.by_proto.get(proto, 0) + 1
            pair.last_ns = ts_ns
        self._next = int(begun["flow_id"][-1]) + offset + 1

    def forget(self) -> None:
        """Begin a capture that is kept apart: no flow of it knows those before."""
        self._pairs.clear()

    def take(self, flow_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what flows were told, each once.

        Parameters
        ----------
        flow_ids : ndarray of int64, shape (n,)

        Returns
        -------
        ndarray of float32, shape (n, 6)
            The block ``pairs`` of the features.
        """
        told = [self._told.pop(flow) for flow in flow_ids.tolist()]
        return np.array(told, np.float32).reshape(-1, _WIDTH)
