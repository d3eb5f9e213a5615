"""Captures read by threads, each as a part, and merged in their order."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from classifier.errors import CaptureError, ClassifierError
from classifier.flows.merging import Again, Part, PartError, PartTable
from classifier.flows.table import FlowTable
from classifier.wire import Capture, Held, Reassembly, Source, open_capture
from classifier.wire.fragments import MOST_ROWS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from classifier.tables import FlowBatch

__all__ = ["Merger", "PartRead"]

_UNKNOWN = 0xFFFF  # ``capture`` of packets until the number of theirs is known


@dataclass(slots=True)
class PartRead:
    """A capture that was read.

    Attributes
    ----------
    capture : Capture or None
        None where it could not be opened.
    error : CaptureError or None
        Why it could not be read to its end.
    part : Part or None
        None where there are more flows than a part may have.
    held : Held or None
        Packets at its end that may belong to fragments in the next capture.
    apart : bool
        Whether no fragment of it can belong to fragments in the capture before.
    reassembled : int
        Fragments whose datagram was put together.
    """

    capture: Capture | None = None
    error: CaptureError | None = None
    part: Part | None = None
    held: Held | None = None
    apart: bool = False
    reassembled: int = 0


class Merger:
    """The flows of all captures so far.

    Parameters
    ----------
    stop : threading.Event
        When set, no capture is read further.
    decapsulate : bool
        As for ``open_capture``.
    options
        As for ``FlowTable``.

    Attributes
    ----------
    table : FlowTable
    held : Held or None
        Packets at the end that may belong to fragments in the next capture.
    """

    def __init__(self, stop: threading.Event, *, decapsulate: bool, **options: Any) -> None:
        self.table = FlowTable(**options)
        self.held: Held | None = None
        self._decapsulate, self._options = decapsulate, options
        self._stop = stop

    def read(
        self,
        source: Source,
        index: int = _UNKNOWN,
        *,
        before: Held | None = None,
        again: Again | None = None,
    ) -> PartRead:
        """Read a capture as a part; threads may, as it needs nothing of the captures before.

        Parameters
        ----------
        source, index
            As for ``open_capture``.
        before : Held, optional
            Packets before those of the capture that shall be in the part, too.
        again : Again, optional
            As for ``PartTable``.
        """
        table: PartTable | None = PartTable(**self._options, again=again)

        def add(packets: "NDArray[np.void]", buffer: "NDArray[np.uint8]") -> None:
            nonlocal table
            try:
                if table is not None:
                    table.add(packets, buffer)
            except PartError:
                table = None

        read = self._read(source, index, before, add)
        read.part = table.finish() if table is not None else None
        return read

    def merge(
        self, source: Source, index: int, read: PartRead
    ) -> tuple[PartRead, list["FlowBatch"]]:
        """Add what was read to the flows before; return it and the flows that ended.

        Where that cannot be exact without what came before, the capture is read again.
        """
        batches: list[FlowBatch] = []
        before = self.held
        if before is not None and read.apart:
            for packets, buffer in self.closing().finish():
                batches += self.table.add(packets, buffer)
            before = None
        elif before is not None:
            read = self.read(source, index, before=before)
        again: Again | None = None
        while read.part is not None:
            _number(read, index)
            try:
                batches += self.table.merge(read.part)
                break
            except PartError as error:
                if error.again is None or (again is not None and again.keys.size):
                    read.part = None
                else:
                    again = error.again
                    read = self.read(source, index, before=before, again=again)
        if read.part is None:
            read = self._read(source, index, before, lambda *some: batches.extend(self._add(*some)))
        self.held = read.held
        return read, batches

    def closing(self) -> Reassembly:
        """Return what is to be finished when no more captures come."""
        return Reassembly(decapsulate=self._decapsulate, held=self.held)

    def _add(self, packets: "NDArray[np.void]", buffer: "NDArray[np.uint8]") -> list["FlowBatch"]:
        try:
            return list(self.table.add(packets, buffer))
        except ClassifierError as error:
            raise ClassifierError(error.problem, remedy="read in one thread") from error

    def _read(
        self,
        source: Source,
        index: int,
        before: Held | None,
        add: Callable[["NDArray[np.void]", "NDArray[np.uint8]"], None],
    ) -> PartRead:
        """Read a capture to its end, or as far as that is possible."""
        reassembly = Reassembly(decapsulate=self._decapsulate, held=before)
        read, n_packets, early = PartRead(), 0, False
        try:
            read.capture = open_capture(source, index=index, decapsulate=self._decapsulate)
            for packets, buffer in read.capture.batches():
                early |= bool(packets["fragment"][: max(MOST_ROWS - n_packets, 0)].any())
                n_packets += packets.size
                for settled in reassembly.settle(packets, buffer):
                    add(*settled)
                if self._stop.is_set():
                    break
        except CaptureError as error:
            read.error = error
        for settled in reassembly.hold():
            add(*settled)
        read.held, read.reassembled = reassembly.held, reassembly.reassembled
        read.apart = n_packets >= MOST_ROWS and not early
        return read


def _number(read: PartRead, index: int) -> None:
    """Give packets of an unknown capture the number of theirs."""
    tables = [read.part.rows] if read.part is not None else []
    tables += [read.held.packets] if read.held is not None else []
    for rows in tables:
        rows["capture"][rows["capture"] == _UNKNOWN] = index
