"""Parts of a capture that are read apart, as by several processes, and merged into one table.

::

    part = PartTable()                      table = FlowTable()
    for packets, buffer in later:           for packets, buffer in earlier:
        part.add(packets, buffer)               yield from table.add(packets, buffer)
    pickle.dump(part.finish(), pipe)  ->    yield from table.merge(pickle.load(pipe))
                                            yield from table.finish()

gives the rows of one table that all packets were added to: ``_merging_kernels`` says how, and why.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.errors import ClassifierError
from classifier.flows import _kernels as k
from classifier.flows import _merging_kernels as m
from classifier.flows.table import MOST_PACKETS, FlowTable, lateness
from classifier.tables import DIR, FLOW_RECORD, KEPT, PACKET

__all__ = ["Again", "Part", "PartError", "PartTable", "merge"]


@dataclass(frozen=True, slots=True)
class Again:
    """What the table before a part knows that the part must know to be merged.

    Attributes
    ----------
    keys : ndarray of uint64
        Hashes of the keys of flows to take apart.
    first_fragments : ndarray of uint64, shape (m, 3)
        Ports of first fragments by their hash.
    """

    keys: NDArray[np.uint64]
    first_fragments: NDArray[np.uint64]


class PartError(ClassifierError):
    """A part that cannot be merged exactly.

    Parameters
    ----------
    problem, remedy : str
    again : Again, optional
        For ``PartTable``, to make a part of the same packets that is not refused for this.
    """

    def __init__(
        self,
        problem: str,
        *,
        remedy: str = "add all packets to one table",
        again: Again | None = None,
    ) -> None:
        super().__init__(
            f"a part cannot be merged exactly: {problem}",
            remedy="make it again" if again else remedy,
        )
        self.again = again


@dataclass(frozen=True, slots=True)
class Part:
    """What a flow table needs to know of packets, to be as if they had been added to it.

    Attributes
    ----------
    pieces : ndarray of FLOW_RECORD, shape (n,)
        Flows, or what may be pieces of one, in the order of their first packets; ``flow_id`` of the
        packets that were added is the row.
    dirs, rows, payload : ndarray of DIR, KEPT, uint8
        What the pieces refer to.
    flow_ids : ndarray of int64, shape (n,)
        Numbers of the pieces' flows; -1 until the part is merged.
    first_fragments : ndarray of uint64, shape (m, 3)
        Ports of first fragments by their hash, and hashes of later ones that were alone.
    counts : ndarray of int64
        Packets by ``Reason``.
    packets, fragments, fragments_alone : int
    idle_ns, active_ns : int
        Timeouts; -1 for none.
    least_ns, now_ns, late_ns : int
        Least and greatest time stamp, and the most by which one runs back.
    """

    pieces: NDArray[np.void]
    dirs: NDArray[np.void]
    rows: NDArray[np.void]
    payload: NDArray[np.uint8]
    flow_ids: NDArray[np.int64]
    first_fragments: NDArray[np.uint64]
    counts: NDArray[np.int64]
    packets: int
    fragments: int
    fragments_alone: int
    idle_ns: int
    active_ns: int
    least_ns: int
    now_ns: int
    late_ns: int


class PartTable:
    """Groups packets into flows for a table that has those before them.

    Parameters
    ----------
    idle_timeout_s, active_timeout_s : float or None
        Those of the table.
    max_flows : int
        Flows that a part may have: it holds all of them until it is merged.
    again : Again, optional
        Of the error that an earlier part of the same packets was refused with.
    """

    def __init__(
        self,
        *,
        idle_timeout_s: float | None = 600,
        active_timeout_s: float | None = None,
        max_flows: int = 1_000_000,
        again: Again | None = None,
    ) -> None:
        self._table = FlowTable(
            idle_timeout_s=idle_timeout_s, active_timeout_s=active_timeout_s, max_flows=max_flows
        )
        self._table._state[k.PART] = 1
        self._max_flows = max_flows
        self._late_ns = 0
        if again is not None:
            self._table._fragments[:] = again.first_fragments
            self._table.bury(again.keys)

    def add(self, packets: NDArray[np.void], buffer: NDArray[np.uint8]) -> None:
        """Add packets.

        Parameters
        ----------
        packets : ndarray of PACKET, shape (n,)
            Their ``flow_id`` is written: a row of ``Part.pieces``, -1 where a packet is in no flow.
        buffer : ndarray of uint8
            What their payload fields index.

        Raises
        ------
        PartError
            If there are more flows than ``max_flows``; the table is of no use any more.
        """
        table = self._table
        self._late_ns = max(self._late_ns, lateness(packets, table.now_ns))
        table._add(packets, buffer)
        if table.flows > self._max_flows:
            raise PartError(f"it has more than {self._max_flows:,} flows")

    def finish(self) -> Part:
        """Return the part; the table is not to be used any more."""
        table, state = self._table, self._table._state
        live = table._records.array[: state[k.N_RECORDS]]
        pieces = np.concatenate([table._ended[: state[k.N_ENDED]], live])
        pieces = pieces[np.argsort(pieces["flow_id"])]
        rows = np.empty(state[k.N_KEPT], KEPT)
        payload = np.empty(state[k.ARENA_TOP], np.uint8)
        numbers = state.copy()
        numbers[k.N_RECORDS] = pieces.size
        k.compact(pieces, table._kept.array, table._arena.array, rows, payload, numbers)
        return Part(
            pieces=pieces,
            dirs=table._dirs.array[: state[k.N_DIRS]].copy(),
            rows=rows,
            payload=payload,
            flow_ids=np.full(pieces.size, -1, np.int64),
            first_fragments=table._fragments,
            counts=table.counts,
            packets=table._packets,
            fragments=table.fragments,
            fragments_alone=table.fragments_alone,
            idle_ns=table._idle_ns,
            active_ns=table._active_ns,
            least_ns=int(pieces["first_ns"].min(initial=np.iinfo(np.int64).max)),
            now_ns=table.now_ns,
            late_ns=self._late_ns,
        )


def merge(table: FlowTable, part: Part) -> None:
    """Add a part to a table; what ended stays there until it is flushed. See ``FlowTable.merge``."""
    sweeps = _check(table, part)
    n = part.pieces.size
    table._reserve(n, 2 * n, part.rows.size, part.payload.size)
    before, arrays = _copy(table), table._arrays()
    refused = np.empty(n, np.uint64)
    n_refused = m.merge(
        part.pieces,
        part.dirs,
        part.rows,
        part.payload,
        part.flow_ids,
        refused,
        np.zeros(1, PACKET),
        np.zeros(1, FLOW_RECORD),
        np.zeros(2, DIR),
        *arrays[:-3],
        arrays.state,
        table._idle_ns,
        table._active_ns,
    )
    if n_refused:
        for own, copy in before:
            own[:] = copy
        keys = np.unique(refused[:n_refused])
        raise PartError(
            f"{keys.size} flows go on in ways that their first packets do not show",
            again=_again(table, keys),
        )
    state = table._state
    state[k.NOW_NS] = max(table.now_ns, part.now_ns)
    state[k.FRAGMENTS] += part.fragments
    state[k.LATER_FRAGMENTS_ALONE] += part.fragments_alone
    seen = part.first_fragments[:, 0] != 0
    table._fragments[seen] = part.first_fragments[seen]
    table.counts += part.counts
    table._packets += part.packets
    table._merged |= sweeps


def _check(table: FlowTable, part: Part) -> bool:
    """Refuse a part, as far as can be told at once; return whether sweeps may have been due."""
    idle = table._idle_ns
    if (part.idle_ns, part.active_ns) != (idle, table._active_ns):
        raise PartError("it was made with other timeouts", remedy="give it the table's")
    if table.live + part.pieces.size > table._max_flows:
        raise PartError(f"there may be more than {table._max_flows:,} live flows")
    sweeps = table._packets + part.packets >= MOST_PACKETS
    late = max(part.late_ns, table.now_ns - part.least_ns)
    if sweeps and late > idle >= 0:
        raise PartError(f"time stamps run back by {late / 1e9:.0f} s, more than the idle timeout")
    known, alone = table._fragments[:, 0], part.first_fragments[:, 2]
    if np.any((alone != 0) & ((known == alone) | ((alone == k.SEVERAL) & (known != 0)))):
        raise PartError(
            "the first one of a fragment may be in an earlier part",
            again=_again(table, np.zeros(0, np.uint64)),
        )
    return sweeps


def _again(table: FlowTable, keys: NDArray[np.uint64]) -> Again:
    fragments = table._fragments.copy()
    fragments[:, 2] = 0  # those that were alone before the part say nothing of it
    return Again(keys, fragments)


def _copy(table: FlowTable) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Copy what the kernel changes other than by adding rows: pairs of array and copy."""
    state = table._state
    records = table._records.array[: state[k.N_RECORDS]]
    dirs = table._dirs.array[: state[k.N_DIRS]]
    changed = [records, dirs, table._slots.array, table._tombs, state]
    return [(array, array.copy()) for array in changed]
