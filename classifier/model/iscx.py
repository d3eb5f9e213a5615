"""The 23 time features of ISCXVPN2016, for any capture.

What the published table holds was read from its rows, as its paper gives names alone and the tool
that made it was not published (its successors ISCXFlowMeter and CICFlowMeter were). Each of these
statements holds for every row of the files of 15, 30 and 60 s, but for means of ten seconds and
more, which a spreadsheet rounded to three digits:

- Times are whole microseconds. Without a value, least and greatest are -1, mean and deviation 0.
  Deviations are of the sample (n - 1).
- The names in the files of 15, 30 and 120 s are wrong for eight columns: ``total min max mean`` of
  ``fiat`` and ``biat`` hold ``min max mean std``, as the file of 60 s names them. They are used here.
- A gap of more than 1 s is idle time (CICFlowMeter's later default is 5 s). An active time lasts
  from its first packet to the first packet after the gap, so it holds the gap: least, mean and
  greatest active time are never below those of idle time.
- Bytes are IP total lengths (flows of 40 bytes a packet, and never fewer than 28).
- Flows of one packet have rows: duration 0, rates 0.
- Rows that last longer than the window are flows with one long gap near their end: a FIN belongs to
  its flow however late it comes, and ends it.

From the code of ISCXFlowMeter, as rows cannot tell: a packet later than the window after the
flow's first one begins another; forward is who sent a flow's first packet, and remains so in windows
that follow a timeout, of which the first packet counts as forward in any case.

Sources
-------
G. Draper-Gil et al., "Characterization of Encrypted and VPN Traffic Using Time-Related Features",
ICISSP 2016, table 2; the table itself; ISCXFlowMeter (``BasicFlow``, ``FlowGenerator``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from classifier.errors import ClassifierError
from classifier.flows import FlowTable
from classifier.model import _iscx_kernels as k
from classifier.wire import Reassembly, Source, open_capture, order_captures

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ISCX_FEATURES", "ISCX_WINDOWS_S", "IscxFeature", "iscx_features"]

#: Windows of the published tables.
ISCX_WINDOWS_S = (15, 30, 60, 120)


@dataclass(frozen=True, slots=True)
class IscxFeature:
    """A column of the table.

    Attributes
    ----------
    name : str
        What it holds; the name in the file of 60 s.
    published : str
        The name in the files of 15, 30 and 120 s.
    unit : str
    formula : str
    """

    name: str
    published: str
    unit: str
    formula: str


_WORDS = {"min": "least", "max": "greatest", "mean": "mean", "std": "standard deviation of the"}
_TIMES = {
    "fiat": "time between forward packets",
    "biat": "time between backward packets",
    "flowiat": "time between packets",
    "active": "time from a first packet to the first after the next gap of more than 1 s",
    "idle": "gap of more than 1 s",
}


def _iscx() -> tuple[IscxFeature, ...]:
    def of(kind: str, what: str, published: str | None = None) -> IscxFeature:
        name = f"{kind}_{what}"
        return IscxFeature(name, published or name, "us", f"{_WORDS[kind]} {_TIMES[what]}")

    wrong = {"min": "total", "max": "min", "mean": "max", "std": "mean"}
    return (
        IscxFeature("duration", "duration", "us", "last less first packet"),
        *(
            of(kind, what, f"{wrong[kind]}_{what}")
            for kind in ("min", "max", "mean", "std")
            for what in ("fiat", "biat")
        ),
        IscxFeature("flowPktsPerSecond", "flowPktsPerSecond", "1/s", "packets / duration"),
        IscxFeature("flowBytesPerSecond", "flowBytesPerSecond", "B/s", "IP bytes / duration"),
        *(of(kind, "flowiat") for kind in ("min", "max", "mean", "std")),
        *(of(kind, what) for what in ("active", "idle") for kind in ("min", "mean", "max", "std")),
    )


#: The columns, in the order of the table.
ISCX_FEATURES: tuple[IscxFeature, ...] = _iscx()


class _Windows:
    """The present window of each flow of a capture, and the rows of those that ended."""

    def __init__(self, timeout_us: int, idle_us: int) -> None:
        self._times = (timeout_us, idle_us)
        self._ints = np.zeros((0, k.N_INTS), np.int64)
        self._floats = np.zeros((0, k.N_FLOATS))
        self._ends = np.zeros((0, 3), np.uint64)
        self._rows: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []

    def add(self, packets: NDArray[np.void], flows: int) -> None:
        """Add packets with ``flow_id`` below ``flows``."""
        if flows > len(self._ints):
            size = max(flows, 2 * len(self._ints), 64)
            self._ints = _taller(self._ints, size)
            self._floats = _taller(self._floats, size)
            self._ends = _taller(self._ends, size)
        meta, values = (
            np.zeros((packets.size, k.N_META), np.int64),
            np.zeros((packets.size, k.N_VALUES)),
        )
        n = k.cut_windows(packets, self._ints, self._floats, self._ends, meta, values, *self._times)
        self._rows.append((meta[:n].copy(), values[:n].copy()))

    def finish(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """End all windows; return all rows by flow and window."""
        n = len(self._ints)
        meta, values = np.zeros((n, k.N_META), np.int64), np.zeros((n, k.N_VALUES))
        n = k.close_windows(self._ints, self._floats, meta, values)
        self._rows.append((meta[:n], values[:n]))
        meta, values = (np.concatenate(part) for part in zip(*self._rows, strict=True))
        order = np.lexsort((meta[:, 1], meta[:, 0]))
        return meta[order], values[order]


def _taller(array: NDArray[Any], size: int) -> NDArray[Any]:
    taller = np.zeros((size, array.shape[1]), array.dtype)
    taller[: len(array)] = array
    return taller


def iscx_features(
    captures: Source | Sequence[Source],
    timeout_s: float = 15,
    *,
    idle_s: float = 1,
    published_names: bool = False,
) -> "pd.DataFrame":
    """Compute the time features of ISCXVPN2016 for windows of the flows of captures.

    Parameters
    ----------
    captures : path, bytes or binary file object, or a sequence of them
    timeout_s : float
        Length of a window; the tables have 15, 30, 60 and 120.
    idle_s : float
        A longer gap is idle time. 1 as in the tables.
    published_names : bool
        Name the columns as the files of 15, 30 and 120 s do, of which eight say something else than
        they hold: for models that were trained on such a file.

    Returns
    -------
    pandas.DataFrame
        A row for each window: ``flow_id`` as in ``Run.flows`` of the same captures, ``window`` from 0,
        ``first_us``, ``packets``, and the 23 features in the order of the table, microseconds.

    Raises
    ------
    ClassifierError
        If a capture cannot be read, or a time is not above 0.

    Notes
    -----
    Flows of TCP and UDP alone, as in the tables. Takes 300 bytes for each flow and 220 for each
    window.

    References
    ----------
    G. Draper-Gil et al., ICISSP 2016, table 2. The module's text says what the tables show.

    Examples
    --------
    >>> from classifier import datasets
    >>> iscx_features(datasets.demo().capture, 15).shape[1]
    27
    """
    import pandas as pd

    for name, seconds in (("timeout_s", timeout_s), ("idle_s", idle_s)):
        if not 0 < seconds < 1e9:
            raise ClassifierError(f"{name}={seconds} is no time", remedy="give seconds above 0")
    windows = _Windows(round(timeout_s * 1e6), round(idle_s * 1e6))
    sources: list[Source]
    if isinstance(captures, Sequence) and not isinstance(
        captures, str | bytes | bytearray | memoryview
    ):
        sources = order_captures(list(captures))
    else:
        sources = [captures]
    table, reassembly = FlowTable(), Reassembly(decapsulate=False)
    for index, source in enumerate(sources):
        capture = open_capture(source, index=index)
        for packets, buffer in capture.batches():
            for some, its_buffer in reassembly.settle(packets, buffer):
                _add(table, windows, some, its_buffer)
    for some, its_buffer in reassembly.finish():
        _add(table, windows, some, its_buffer)
    meta, values = windows.finish()
    frame = pd.DataFrame(meta, columns=["flow_id", "window", "first_us", "packets"])
    names = [f.published if published_names else f.name for f in ISCX_FEATURES]
    return pd.concat([frame, pd.DataFrame(values, columns=names)], axis=1)


def _add(
    table: FlowTable, windows: _Windows, packets: NDArray[np.void], buffer: NDArray[np.uint8]
) -> None:
    for _ in table.add(packets, buffer):
        pass  # the flows themselves are not wanted
    windows.add(packets, table.flows)
