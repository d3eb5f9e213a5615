"""How verdicts move when packets are changed: captures are judged again under perturbations.

How this works: a perturbation stands between capture and flow table. It takes rows of the packet
table with the bytes they point to and gives others, by numpy over columns; all that comes after does
what it always does. Draws come from a fixed seed, so the same captures give the same answer. Flows
are compared by their labels: a label counts as called where any flow of it is.

What a perturbation does is simple on purpose. It says how much a verdict hangs on a detail, not
how a tunnel would behave that was built with that detail otherwise.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from classifier.errors import CaptureError, ClassifierError
from classifier.evaluation import ORDINARY
from classifier.pipeline import Options, Reading
from classifier.report.labels import Labels, match_labels
from classifier.report.text import columns_text
from classifier.wire import Reassembly, Source

if TYPE_CHECKING:
    import pyarrow as pa

    from classifier.flows import FlowTable
    from classifier.tables import FlowBatch

__all__ = ["PERTURBATIONS", "Movement", "movements", "movements_text", "perturbation"]

Packets = NDArray[np.void]
Bytes = NDArray[np.uint8]
#: Takes packets and their buffer, returns others.
Change = Callable[[Packets, Bytes], tuple[Packets, Bytes]]

_TCP, _UDP = 6, 17
_SEED = 20161103
PAD_MOST = 64
JITTER_NS = 30_000_000
LOSS = 0.05
SNAPLEN, _LINK_BYTES = 96, 14
MISSED_PACKETS = 10
SEGMENT_BYTES = 536  # RFC 9293 3.7.1
PORT_SHIFT = 20_011
_PORTS = 65_535


class _Ends:
    """Numbers for directions of flows and for flows, the same ones over a whole capture."""

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}

    def of(self, packets: Packets, *, both: bool) -> NDArray[np.int64]:
        """Return a number for each packet's five-tuple; of both directions alike where wanted."""
        columns = ["src_hi", "src_lo", "src_port", "dst_hi", "dst_lo", "dst_port"]
        keys = np.zeros((packets.size, 7), np.uint64)
        for i, name in enumerate(columns):
            keys[:, i] = packets[name]
        keys[:, 6] = packets["proto"]
        if both:
            swap = np.zeros(packets.size, np.bool_)
            same = np.ones(packets.size, np.bool_)
            for i in range(3):
                swap |= same & (keys[:, i] > keys[:, 3 + i])
                same &= keys[:, i] == keys[:, 3 + i]
            keys[swap, :6] = keys[swap][:, [3, 4, 5, 0, 1, 2]]
        different, place = np.unique(keys, axis=0, return_inverse=True)
        numbers = [self._known.setdefault(key.tobytes(), len(self._known)) for key in different]
        return np.array(numbers, np.int64)[place.reshape(-1)]


def _seen_before(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each element how many equal ones stand before it."""
    order = np.argsort(numbers, kind="stable")
    new = np.diff(numbers[order], prepend=-1) != 0
    place = np.arange(numbers.size)
    begins = np.maximum.accumulate(np.where(new, place, 0))
    counts = np.empty(numbers.size, np.int64)
    counts[order] = place - begins
    return counts


class _Counts:
    """Running totals by number, over all packets so far."""

    def __init__(self) -> None:
        self._totals = np.zeros(0, np.int64)

    def before(self, numbers: NDArray[np.int64], amounts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Add amounts; return the total of each element's number before it."""
        if not numbers.size:
            return np.zeros(0, np.int64)
        size = int(numbers.max()) + 1
        if size > self._totals.size:
            self._totals = np.concatenate((self._totals, np.zeros(size, np.int64)))
        order = np.argsort(numbers, kind="stable")
        sums = np.cumsum(amounts[order]) - amounts[order]
        new = np.diff(numbers[order], prepend=-1) != 0
        begins = np.flatnonzero(new)
        sums -= np.repeat(sums[begins], np.diff(begins, append=numbers.size))
        out = np.empty(numbers.size, np.int64)
        out[order] = sums + self._totals[numbers[order]]
        np.add.at(self._totals, numbers, amounts)
        return out


def _padding(rng: np.random.Generator) -> Change:
    ends, moved = _Ends(), _Counts()

    def change(packets: Packets, buffer: Bytes) -> tuple[Packets, Bytes]:
        out = packets.copy()
        filled = (packets["payload_bytes"] > 0) & np.isin(packets["proto"], (_TCP, _UDP))
        pad = np.where(filled, rng.integers(1, PAD_MOST + 1, packets.size), 0)
        # What the capture cut off stays cut off: there is no place behind it to see a pad
        start = packets["payload_start"].astype(np.int64)
        kept = packets["payload_stop"].astype(np.int64) - start
        shown = np.where(kept == packets["payload_bytes"], pad, 0)
        begins = np.cumsum(kept + shown) - (kept + shown)
        data = rng.integers(0, 256, int((kept + shown).sum()), dtype=np.uint8)
        data[_spans(begins, kept)] = buffer[_spans(start, kept)]
        shift = moved.before(ends.of(packets, both=False), pad)
        tcp = packets["proto"] == _TCP
        out["seq"] = np.where(tcp, packets["seq"] + shift & 0xFFFFFFFF, packets["seq"])
        out["payload_bytes"] += pad.astype(np.uint32)
        out["ip_bytes"] += pad.astype(np.uint32)
        out["payload_start"] = begins
        out["payload_stop"] = begins + kept + shown
        return out, data

    return change


def _spans(start: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indexes of ``start[i] : start[i] + sizes[i]``, one after another."""
    begins = np.cumsum(sizes) - sizes
    spans: NDArray[np.int64] = np.arange(int(sizes.sum())) + np.repeat(start - begins, sizes)
    return spans


def _jitter(rng: np.random.Generator) -> Change:
    ends = _Ends()

    def change(packets: Packets, buffer: Bytes) -> tuple[Packets, Bytes]:
        out = packets.copy()
        delayed = packets["ts_ns"] + rng.exponential(JITTER_NS, packets.size).astype(np.int64)
        numbers = ends.of(packets, both=False)
        for number in np.unique(numbers):  # no packet overtakes another of its direction
            rows = np.flatnonzero(numbers == number)
            delayed[rows] = np.maximum.accumulate(delayed[rows])
        out["ts_ns"] = delayed
        return out[np.argsort(delayed, kind="stable")], buffer

    return change


def _loss(rng: np.random.Generator) -> Change:
    def change(packets: Packets, buffer: Bytes) -> tuple[Packets, Bytes]:
        return packets[rng.random(packets.size) >= LOSS], buffer

    return change


def _truncation(_: np.random.Generator) -> Change:
    def change(packets: Packets, buffer: Bytes) -> tuple[Packets, Bytes]:
        out = packets.copy()
        headers = packets["ip_bytes"].astype(np.int64) - packets["payload_bytes"]
        room = np.maximum(SNAPLEN - _LINK_BYTES - headers, 0)
        kept = packets["payload_stop"].astype(np.int64) - packets["payload_start"]
        out["payload_stop"] = packets["payload_start"] + np.minimum(kept, room)
        out["truncated"] |= kept > room
        return out, buffer

    return change


def _midflow(_: np.random.Generator) -> Change:
    ends, seen = _Ends(), _Counts()

    def change(packets: Packets, buffer: Bytes) -> tuple[Packets, Bytes]:
        numbers = ends.of(packets, both=True)
        return packets[seen.before(numbers, np.ones_like(numbers)) >= MISSED_PACKETS], buffer

    return change


def _mtu(_: np.random.Generator) -> Change:
    def change(packets: Packets, buffer: Bytes) -> tuple[Packets, Bytes]:
        size = packets["payload_bytes"].astype(np.int64)
        pieces = np.where(packets["proto"] == _TCP, -(-size // SEGMENT_BYTES), 1)
        pieces = np.maximum(pieces, 1)
        out = np.repeat(packets, pieces)
        split = np.repeat(pieces > 1, pieces)
        at = _seen_before(np.repeat(np.arange(packets.size), pieces)) * SEGMENT_BYTES
        size = np.repeat(size, pieces)
        part = np.where(split, np.minimum(size - at, SEGMENT_BYTES), size)
        stop = out["payload_stop"].astype(np.int64)
        start = np.minimum(out["payload_start"] + at, stop)
        out["payload_start"] = start
        out["payload_stop"] = np.minimum(start + part, stop)
        out["ip_bytes"] = out["ip_bytes"] - size + part
        out["payload_bytes"] = part
        out["seq"] = np.where(split, out["seq"] + at & 0xFFFFFFFF, out["seq"])
        return out, buffer

    return change


def _shifted(ports: NDArray[np.int64], by: int) -> NDArray[np.int64]:
    """Exchange ports for others, one for one; 0 means that there is none."""
    moved: NDArray[np.int64] = np.where(ports > 0, (ports - 1 + by) % _PORTS + 1, 0)
    return moved


def _ports(_: np.random.Generator) -> Change:
    def change(packets: Packets, buffer: Bytes) -> tuple[Packets, Bytes]:
        out = packets.copy()
        for name in ("src_port", "dst_port"):
            out[name] = _shifted(packets[name].astype(np.int64), PORT_SHIFT)
        return out, buffer

    return change


_MAKERS: dict[str, Callable[[np.random.Generator], Change]] = {
    "padding": _padding,
    "jitter": _jitter,
    "loss": _loss,
    "truncation": _truncation,
    "midflow": _midflow,
    "mtu": _mtu,
    "ports": _ports,
}

#: Name -> what it does.
PERTURBATIONS: Mapping[str, str] = {
    "padding": f"1 to {PAD_MOST} random bytes behind each payload of TCP and UDP",
    "jitter": f"each packet later by {JITTER_NS // 1_000_000} ms on average, none overtakes",
    "loss": f"{LOSS:.0%} of the packets are not in the capture",
    "truncation": f"the capture holds {SNAPLEN} bytes of each frame",
    "midflow": f"the first {MISSED_PACKETS} packets of each flow are not in the capture",
    "mtu": f"TCP segments of {SEGMENT_BYTES} bytes at most",
    "ports": "each port is exchanged for another one",
}


def perturbation(name: str) -> Change:
    """Return a perturbation in the state in which a capture begins.

    Raises
    ------
    ClassifierError
        If there is none of that name.
    """
    if name not in _MAKERS:
        raise ClassifierError(
            f"there is no perturbation {name!r}", remedy=f"choose from {', '.join(_MAKERS)}"
        )
    return _MAKERS[name](np.random.default_rng(_SEED))


@dataclass(slots=True)
class _Perturbed(Reading):
    """A reading whose packets are changed before flows are made of them."""

    change: str = ""
    _current: Change | None = None

    def _packets(self, source: Source, reassembly: Reassembly) -> Iterator[tuple[Packets, Bytes]]:
        if self._current is None or self.options.separate:
            self._current = perturbation(self.change)
        yield from Reading._packets(self, source, reassembly)

    def _ended(
        self, table: "FlowTable", packets: Packets, buffer: Bytes, offset: int
    ) -> Iterator["FlowBatch"]:
        # Here and not in _packets: what waits for a fragment leaves when the capture ends
        assert self._current is not None
        packets, buffer = self._current(packets, buffer)
        if packets.size:
            yield from Reading._ended(self, table, packets, buffer, offset)


@dataclass(frozen=True, slots=True)
class Movement:
    """What a perturbation did to the verdicts on one family.

    Attributes
    ----------
    perturbation, family : str
        ``ordinary`` for flows whose label says that they are no VPN.
    labels : int
        Labels of the family that had a flow before.
    called_before, called_after : int
        Labels called a VPN.
    named_before, named_after : int
        Labels of which a flow has the right family; 0 for ordinary ones.
    lost, gained : int
        Labels called a VPN before and not after, and the other way.
    gone : int
        Labels of which no packet is left.
    probability_change : float
        Mean of ``vpn_probability`` after less before, over labels that are not gone; 0 of none.
    """

    perturbation: str
    family: str
    labels: int
    called_before: int
    called_after: int
    named_before: int
    named_after: int
    lost: int
    gained: int
    gone: int
    probability_change: float

    def to_json(self) -> dict[str, object]:
        """Return the attributes by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class _Calls:
    """What was said about each label; arrays have shape (n_labels,)."""

    seen: NDArray[np.bool_]
    called: NDArray[np.bool_]
    named: NDArray[np.bool_]
    probability: NDArray[np.float64]


def _calls(table: "pa.Table", labels: Labels) -> _Calls:
    n = len(labels.is_vpn)
    rows = match_labels(table, labels)
    known = rows >= 0
    label = rows[known]
    called, named, seen = np.zeros((3, n), np.bool_)
    probability = np.zeros(n)
    seen[label] = True
    np.logical_or.at(called, label, table.column("is_vpn").to_numpy()[known])
    families = np.array(table.column("family").to_pylist(), object)[known]
    right = families == np.array([*labels.family, ""], object)[label]
    np.logical_or.at(named, label, right & (families != ""))
    np.maximum.at(probability, label, table.column("vpn_probability").to_numpy()[known])
    return _Calls(seen, called, named, probability)


def movements(
    table: "pa.Table",
    labels: Labels,
    sources: Sequence[Source],
    options: Options,
    names: Sequence[str],
) -> list[Movement]:
    """Judge captures under perturbations and compare with what was said without.

    Parameters
    ----------
    table : pyarrow.Table
        Flow rows of the captures as they are.
    labels : Labels
    sources : sequence of path or bytes
        The captures; they are read once for each perturbation.
    options : Options
    names : sequence of str
        Keys of ``PERTURBATIONS``.

    Returns
    -------
    list of Movement
        By perturbation, then by family, ordinary flows last.

    Raises
    ------
    ClassifierError
        If there is no such perturbation, or a capture cannot be read again.
    """
    import pyarrow as pa

    from classifier.report.columns import SCHEMA

    for name in names:
        perturbation(name)
    if any(source == "-" or hasattr(source, "read") for source in sources):
        raise CaptureError(
            "a stream cannot be read once for each perturbation", remedy="give files"
        )
    before = _calls(table, labels)
    family = np.array(
        [
            (family or "vpn") if is_vpn else ORDINARY
            for family, is_vpn in zip(labels.family, labels.is_vpn, strict=True)
        ],
        object,
    )
    found = sorted(set(family[before.seen]), key=lambda text: (text == ORDINARY, text))
    moved = []
    for name in names:
        reading = _Perturbed(list(sources), options, change=name)
        changed = pa.Table.from_batches(reading.rows(), schema=SCHEMA)
        if name == "ports":
            changed = _ports_again(changed)
        after = _calls(changed, labels)
        moved += [_movement(name, text, before, after, family == text) for text in found]
    return moved


def _ports_again(table: "pa.Table") -> "pa.Table":
    """Return rows with the ports that they had, for comparing with labels."""
    import pyarrow as pa

    for name in ("orig_port", "resp_port"):
        at = table.schema.get_field_index(name)
        ports = _shifted(table.column(name).to_numpy(), -PORT_SHIFT)
        table = table.set_column(at, table.schema.field(at), pa.array(ports, pa.int64()))
    return table


def _movement(
    name: str, family: str, before: _Calls, after: _Calls, mine: NDArray[np.bool_]
) -> Movement:
    mine = mine & before.seen
    left = mine & after.seen
    change = (after.probability - before.probability)[left]
    named = family != ORDINARY
    return Movement(
        perturbation=name,
        family=family,
        labels=int(mine.sum()),
        called_before=int((before.called & mine).sum()),
        called_after=int((after.called & mine).sum()),
        named_before=int((before.named & mine).sum()) if named else 0,
        named_after=int((after.named & mine).sum()) if named else 0,
        lost=int((mine & before.called & ~after.called).sum()),
        gained=int((mine & ~before.called & after.called).sum()),
        gone=int((mine & ~after.seen).sum()),
        probability_change=round(float(change.mean()), 6) if change.size else 0.0,
    )


_HEADER = ("family", "labels", "called", "after", "lost", "gained", "named", "after", "gone", "p")


def movements_text(moved: Sequence[Movement]) -> str:
    """Return a table for each perturbation; families whose verdicts stay are in its last line."""
    blocks = []
    for name in dict.fromkeys(m.perturbation for m in moved):
        mine = [m for m in moved if m.perturbation == name]
        still = [m for m in mine if (m.lost, m.gained, m.gone) == (0, 0, 0)]
        still = [m for m in still if m.named_before == m.named_after]
        rows = [
            [
                *(m.family, m.labels, m.called_before, m.called_after, m.lost, m.gained),
                *(m.named_before, m.named_after, m.gone, f"{m.probability_change:+.3f}"),
            ]
            for m in mine
            if m not in still
        ]
        block = f"{name}: {PERTURBATIONS[name]}\n"
        if rows:
            block += columns_text(_HEADER, rows, width=110, right=_HEADER[1:]) + "\n"
        if still:
            block += f"unmoved: {', '.join(f'{m.family} ({m.labels})' for m in still)}\n"
        blocks.append(block)
    return "\n".join(blocks)
