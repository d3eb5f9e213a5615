"""Packets through the box and over the link, and the load at which it collapses."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from classifier._jit import plain, spend
from classifier.errors import ClassifierError, must_be
from classifier.pipeline import Options, Reading, judged_rows
from classifier.registry import client_is_orig
from classifier.report.endpoints import endpoints
from classifier.simulate._kernels import hold_back, serve
from classifier.simulate.box import Box, ServiceTime, Throttle
from classifier.simulate.result import LOST, Simulation

if TYPE_CHECKING:
    import pyarrow as pa

    from classifier.wire import Source

__all__ = [
    "Packets",
    "check_settings",
    "client_numbers",
    "measured",
    "packet_columns",
    "simulate",
]

#: A box has collapsed when its queue loses more than this share of the packets ...
COLLAPSE_LOSS = 0.01
#: ... or holds one in a hundred up for longer than this.
COLLAPSE_DELAY_NS = 100e6

#: Loads at which the delay is computed, as shares of what the cores can do.
_LOADS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0, 1.1, 1.2)

#: Packets through a queue that take as long, in plain Python, as reading one.
_STEPS = 100

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Packets:
    """The packets of flows, in order of time.

    Attributes
    ----------
    ts_ns : ndarray of int64, shape (n_packets,)
    flow : ndarray of int64, shape (n_packets,)
        ``flow_id``.
    ip_bytes, payload_bytes : ndarray of int64, shape (n_packets,)
    sender : ndarray of uint64, shape (n_packets,)
        Differs between the two endpoints of a flow; says nothing else.
    """

    ts_ns: NDArray[np.int64]
    flow: NDArray[np.int64]
    ip_bytes: NDArray[np.int64]
    payload_bytes: NDArray[np.int64]
    sender: NDArray[np.uint64]


def packet_columns(sources: "list[Source]", options: Options) -> Packets:
    """Read the captures and return the packets that are in flows.

    Raises
    ------
    ClassifierError
        If the only capture cannot be read, or none holds a packet of a flow.
    """
    parts: list[list[NDArray[Any]]] = [[] for _ in range(5)]
    for packets, _ in Reading(list(sources), options).packets():
        kept = packets[packets["flow_id"] >= 0]
        sender = kept["src_hi"] * np.uint64(0x9E3779B97F4A7C15) ^ kept["src_lo"] << np.uint64(16)
        columns = (
            kept["ts_ns"],
            kept["flow_id"].astype(np.int32),
            kept["ip_bytes"],
            kept["payload_bytes"],
            sender ^ kept["src_port"],
        )
        for part, column in zip(parts, columns, strict=True):
            part.append(np.array(column))
    ts, flow, ip_bytes, payload, sender = (
        np.concatenate(part) if part else np.zeros(0, np.uint64) for part in parts
    )
    if not ts.size:
        raise ClassifierError(
            "the captures hold no packet of a flow", remedy="simulate captures with IP packets"
        )
    order = np.argsort(ts, kind="stable")
    return Packets(
        ts[order].astype(np.int64),
        flow[order].astype(np.int64),
        ip_bytes[order].astype(np.int64),
        payload[order].astype(np.int64),
        sender[order].astype(np.uint64),
    )


def measure_service(sources: "list[Source]", options: Options) -> ServiceTime:
    """Measure what this library needs on this machine: per packet to read, per flow to identify.

    Kernels are compiled before the clock starts. Time is that of the processor.
    """
    with plain(False):
        _cost(sources, options)
        packet_ns, flow_ns = _cost(sources, options)
    return ServiceTime("measured", packet_ns, flow_ns)


def _cost(sources: "list[Source]", options: Options) -> tuple[float, float]:
    reading = Reading(list(sources), options)
    in_flows = 0
    began = time.process_time_ns()
    for batch in reading.batches():
        before = time.process_time_ns()
        judged_rows(batch, reading.captures, options)
        in_flows += time.process_time_ns() - before
    spent = time.process_time_ns() - began - in_flows
    books = reading.accounting
    return spent / max(books["packets_read"], 1), in_flows / max(books["flows"], 1)


def client_numbers(flows: "pa.Table", local: "Sequence[str] | None") -> NDArray[np.int64]:
    """Return a number for the client address of each flow, the same for the same address.

    Returns
    -------
    ndarray of int64, shape (n_flows,)
    """
    parts = [np.zeros((0, 2), np.uint64)]
    for batch in flows.to_batches(max_chunksize=65536):
        rows = endpoints(batch)
        orig = client_is_orig(rows, local)[:, None]
        ends = (np.column_stack([rows[f"{end}_hi"], rows[f"{end}_lo"]]) for end in ("orig", "resp"))
        parts.append(np.where(orig, *ends))
    found = np.unique(np.concatenate(parts), axis=0, return_inverse=True)
    return found[1].reshape(-1).astype(np.int64)


def simulate(
    packets: Packets,
    flows: "pa.Table",
    box: Box,
    *,
    clients: NDArray[np.int64] | None = None,
    speed_up: float = 1.0,
    seed: int = 1,
) -> Simulation:
    """Send packets through a box.

    Parameters
    ----------
    packets : Packets
        Of `packet_columns`, read with the options of the run that gave ``flows``.
    flows : pyarrow.Table
        Judged rows, ``flow_id`` rising from 0.
    box : Box
    clients : ndarray of int64, shape (n_flows,), optional
        A number for each flow's client address, for a throttle per ``address``.
    speed_up : float
        How much faster than the capture's clock packets arrive.
    seed : int
        Of drawn service times.

    Returns
    -------
    Simulation

    Raises
    ------
    ClassifierError
        If the speed-up is not above 0, or packets and flows do not belong together.
    """
    check_settings(speed_up, seed)
    if packets.flow.size and int(packets.flow.max()) >= flows.num_rows:
        raise ClassifierError(
            "packets and flows do not belong together", remedy="read both with the same options"
        )
    service = box.service.draw(packets.ts_ns.size, seed)
    service[_firsts(packets.flow)] += box.service.flow_ns
    arrive = _arrivals(packets, speed_up)
    lost = np.zeros(arrive.size, np.uint8)

    leave = _through_cores(arrive, service, packets.flow, box)
    lost[leave < 0] = LOST.index("buffer")
    verdict = flows.column("verdict").to_numpy(zero_copy_only=False)[packets.flow]
    after = packets.ts_ns > _known_ns(flows)[packets.flow]
    lost[(lost == 0) & after & (verdict == "would_block")] = LOST.index("blocked")
    if box.throttle is not None:
        held = np.flatnonzero((lost == 0) & after & (verdict == "would_throttle"))
        bucket = _buckets(box.throttle, packets.flow, flows, clients)
        _throttled(leave, lost, held, packets.ip_bytes, bucket, box.throttle)
    _over_link(leave, lost, packets.ip_bytes, box)

    without, lost_without = arrive.copy(), np.zeros(arrive.size, np.uint8)
    _over_link(without, lost_without, packets.ip_bytes, box)
    return Simulation.of(
        packets,
        flows,
        box,
        arrive=arrive,
        delay_ns=np.where(lost == 0, leave - arrive, np.nan),
        delay_without_ns=np.where(lost_without == 0, without - arrive, np.nan),
        lost=lost,
        utilisation=_utilisation(arrive, service, box),
        curve=_load_curve(packets, service, box),
        speed_up=speed_up,
    )


def check_settings(speed_up: float, seed: int) -> None:
    """Refuse a speed-up that is not above 0, and what is no seed."""
    must_be("speed_up", speed_up, (int, float, np.number), "a factor above 0")
    must_be("seed", seed, (int, np.integer), "a whole number")
    if not 0 <= seed < 1 << 128:
        raise ClassifierError(f"a seed of {seed}", remedy="give a whole number from 0 up")
    if not 0 < speed_up < 1e9:
        raise ClassifierError(f"a speed-up of {speed_up}", remedy="give a factor above 0")


def _known_ns(flows: "pa.Table") -> NDArray[np.int64]:
    """Return from when a box acts on each flow: it was identified, or else its first packet."""
    decided, first = (flows.column(name).to_numpy() for name in ("decided_ns", "first_ns"))
    known: NDArray[np.int64] = np.where(decided > 0, decided, first)
    return known


def _firsts(flow: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of each flow's first packet."""
    return np.unique(flow, return_index=True)[1]


def _arrivals(packets: Packets, speed_up: float) -> FloatArray:
    ns: FloatArray = (packets.ts_ns - packets.ts_ns[0]) / speed_up
    return ns


def _utilisation(arrive: FloatArray, service: FloatArray, box: Box) -> float:
    return float(service.sum() / box.cores / max(arrive[-1], 1.0))


def _through_cores(
    arrive: FloatArray, service: FloatArray, flow: NDArray[np.int64], box: Box
) -> FloatArray:
    """Return when packets leave the cores, ns; -1 where the buffer was full."""
    queues, servers = (1, box.cores) if box.dispatch == "shared" else (box.cores, 1)
    # Fibonacci hashing spreads neighbouring flow ids as a network card's hash spreads addresses
    mixed = (flow.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
    queue = (mixed % np.uint64(queues)).astype(np.int32)
    return _served(arrive, service, queue, queues, servers, box.buffer)


def _served(
    arrive: FloatArray,
    service: FloatArray,
    queue: NDArray[np.int32],
    queues: int,
    servers: int,
    buffer: int | None,
) -> FloatArray:
    depart = np.empty(arrive.size)
    spend(arrive.size // _STEPS)
    serve(
        arrive,
        service,
        queue,
        np.zeros((queues, servers)),
        np.zeros((queues, buffer or 0)),
        np.zeros(queues, np.int64),
        depart,
    )
    return depart


def _buckets(
    throttle: Throttle,
    flow: NDArray[np.int64],
    flows: "pa.Table",
    clients: NDArray[np.int64] | None,
) -> NDArray[np.int32]:
    if throttle.per == "flow":
        return flow.astype(np.int32)
    if throttle.per == "class":
        classes = flows.column("service").combine_chunks().dictionary_encode().indices
        return np.asarray(classes, np.int32)[flow]
    if clients is None:
        raise ClassifierError("a throttle per address", remedy="give the clients of the flows")
    return clients[flow].astype(np.int32)


def _throttled(
    leave: FloatArray,
    lost: NDArray[np.uint8],
    held: NDArray[np.intp],
    sizes: NDArray[np.int64],
    bucket: NDArray[np.int32],
    throttle: Throttle,
) -> None:
    """Pass the rows ``held`` through their buckets, in the order in which they left the cores."""
    order = held[np.argsort(leave[held], kind="stable")]
    depart = np.empty(order.size)
    n_buckets = int(bucket[order].max(initial=0)) + 1
    spend(order.size // _STEPS)
    hold_back(
        leave[order],
        sizes[order],
        bucket[order],
        throttle.rate_bps / 8e9,
        float(throttle.burst_bytes),
        throttle.most_ms * 1e6,
        np.full(n_buckets, float(throttle.burst_bytes)),
        np.zeros(n_buckets),
        depart,
    )
    leave[order] = depart
    lost[order[depart < 0]] = LOST.index("throttled")


def _over_link(
    leave: FloatArray, lost: NDArray[np.uint8], sizes: NDArray[np.int64], box: Box
) -> None:
    """Serialise what has left onto the link."""
    if box.link_bps is None:
        return
    there = np.flatnonzero(lost == 0)
    order = there[np.argsort(leave[there], kind="stable")]
    times = sizes[order].astype(np.float64) * (8e9 / box.link_bps)
    depart = _served(leave[order], times, np.zeros(order.size, np.int32), 1, 1, box.buffer)
    leave[order] = depart
    lost[order[depart < 0]] = LOST.index("link")


def _load_curve(packets: Packets, service: FloatArray, box: Box) -> NDArray[np.void]:
    """Return delay and loss in the cores' queues over load, and where they collapse.

    Returns
    -------
    structured ndarray with ``load``, ``speed_up``, ``p50_ns``, ``p99_ns``, ``loss``, ``collapsed``
        Loads of `_LOADS`, then the greatest load that holds and the least that does not, found by
        bisection to 1 %.
    """
    arrive = _arrivals(packets, 1.0)
    base = _utilisation(arrive, service, box)
    if base <= 0:
        return np.zeros(0, _CURVE)
    rows = [_at_load(arrive, service, packets.flow, box, load, base) for load in _LOADS]
    fine = [float(row["load"]) for row in rows if not row["collapsed"]]
    broken = [float(row["load"]) for row in rows if row["collapsed"]]
    if not broken:
        return np.array(rows, _CURVE)
    high = min(broken)
    low = max((load for load in fine if load < high), default=0.0)
    # Packets that arrive in one instant overrun a buffer at any load: the search must end
    least = min(1e-4, base / 100)
    while high > low * 1.01 and high > least:
        middle = (low + high) / 2
        row = _at_load(arrive, service, packets.flow, box, middle, base)
        rows.append(row)
        low, high = (low, middle) if row["collapsed"] else (middle, high)
    found = np.array(rows, _CURVE)
    return found[np.argsort(found["load"], kind="stable")]


_CURVE = np.dtype(
    [
        ("load", "f8"),
        ("speed_up", "f8"),
        ("p50_ns", "f8"),
        ("p99_ns", "f8"),
        ("loss", "f8"),
        ("collapsed", "?"),
    ]
)


def _at_load(
    arrive: FloatArray,
    service: FloatArray,
    flow: NDArray[np.int64],
    box: Box,
    load: float,
    base: float,
) -> NDArray[np.void]:
    faster = load / base
    at = arrive / faster
    leave = _through_cores(at, service, flow, box)
    passed = leave >= 0
    delays = (leave - at)[passed]
    p50, p99 = np.quantile(delays, [0.5, 0.99]) if delays.size else (np.inf, np.inf)
    loss = 1 - float(passed.mean())
    collapsed = loss > COLLAPSE_LOSS or p99 > COLLAPSE_DELAY_NS
    return np.array((load, faster, p50, p99, loss, collapsed), _CURVE)[()]


def measured(box: Box, sources: "list[Source]", options: Options) -> Box:
    """Return the box with ``measured`` service times filled in."""
    if box.service.kind != "measured" or box.service.packet_ns > 0:
        return box
    return replace(box, service=measure_service(sources, options))
