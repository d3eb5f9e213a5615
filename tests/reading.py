"""Runs captures through the library's engine, and compares the outcome with the reference twins."""

import itertools
import pickle
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from reference import containers, flows, fragments, packets

from classifier.flows import FlowTable, PartError, PartTable
from classifier.tables import FlowBatch
from classifier.wire import Capture, Reassembly, Source, open_capture

U64 = 2**64


def read_rows(
    source: Source, *, decapsulate: bool = False
) -> tuple[Capture, list[tuple[NDArray[np.void], list[bytes]]]]:
    """Read a capture; return it and its rows with the payload of each."""
    capture = open_capture(source, decapsulate=decapsulate)
    found = []
    for rows, buffer in capture.batches():
        data = buffer.tobytes()
        starts, stops = rows["payload_start"].tolist(), rows["payload_stop"].tolist()
        payloads = [data[a:b] for a, b in zip(starts, stops, strict=True)]
        found.append((rows.copy(), payloads))
    return capture, found


@dataclass
class Outcome:
    """What became of captures."""

    flows: NDArray[np.void]
    packets: list[NDArray[np.void]]  # of each flow
    payloads: list[list[bytes]]  # of each of these packets
    heads: list[tuple[bytes, bytes]]  # of each flow, originator's and responder's
    flow_ids: list[int]  # of each packet read
    table: FlowTable
    captures: list[Capture]
    packets_read: int
    reassembled: int

    @property
    def counts(self) -> list[int]:
        return [int(n) for n in self.table.counts]


def run(
    *sources: Source,
    decapsulate: bool = False,
    idle_timeout_s: float | None = 600,
    active_timeout_s: float | None = None,
    max_flows: int = 1_000_000,
    step: int | None = None,
    cut: int | None = None,
) -> Outcome:
    """Group the packets of captures into flows.

    ``cut`` feeds so many packets at a time to reassembly, ``step`` to the flow table.
    """
    table = FlowTable(
        idle_timeout_s=idle_timeout_s, active_timeout_s=active_timeout_s, max_flows=max_flows
    )
    reassembly = Reassembly(decapsulate=decapsulate)
    batches: list[FlowBatch] = []
    ids: list[int] = []
    captures = []

    def add(rows: NDArray[np.void], buffer: NDArray[np.uint8]) -> None:
        for first in range(0, rows.size, step or rows.size):
            batches.extend(table.add(rows[first : first + (step or rows.size)], buffer))
        ids.extend(rows["flow_id"].tolist())

    for index, source in enumerate(sources):
        capture = open_capture(source, index=index, decapsulate=decapsulate)
        captures.append(capture)
        for rows, buffer in capture.batches():
            for first in range(0, rows.size, cut or rows.size):
                for settled in reassembly.settle(rows[first : first + (cut or rows.size)], buffer):
                    add(*settled)
    for settled in reassembly.finish():
        add(*settled)
    batches.extend(table.finish())
    return collect(batches, ids, table, captures, reassembly.reassembled)


Settled = list[tuple[NDArray[np.void], NDArray[np.uint8]]]


def run_in_parts(
    source: Source, cuts: Iterable[int], *, decapsulate: bool = False, **timeouts: float | None
) -> tuple[Outcome, list[PartError]]:
    """Read a capture as ``run`` does, and group its packets as ``group_in_parts`` does."""
    capture = open_capture(source, decapsulate=decapsulate)
    reassembly = Reassembly(decapsulate=decapsulate)
    settled: Settled = []
    for rows, buffer in capture.batches():
        settled += [(r.copy(), b.copy()) for r, b in reassembly.settle(rows, buffer)]
    settled += [(r.copy(), b.copy()) for r, b in reassembly.finish()]
    got, refused = group_in_parts(settled, cuts, **timeouts)
    got.captures, got.packets_read = [capture], capture.packets_read
    got.reassembled = reassembly.reassembled
    return got, refused


def group_in_parts(
    settled: Settled, cuts: Iterable[int], **timeouts: float | None
) -> tuple[Outcome, list[PartError]]:
    """Make parts of packets, each without knowledge of the others, and merge them.

    Returns also why parts were refused. They were made again, as what they needed to know was told.
    """
    table = FlowTable(**timeouts)
    places = np.cumsum([0] + [rows.size for rows, _ in settled])
    edges = sorted({0, *(cut for cut in cuts if cut < places[-1]), int(places[-1])})
    batches: list[FlowBatch] = []
    ids: list[int] = []
    refused: list[PartError] = []
    for start, stop in itertools.pairwise(edges):
        again, merged = None, False
        while not merged:
            part_table, pieces = PartTable(again=again, **timeouts), []
            for (rows, buffer), first in zip(settled, places, strict=False):
                some = rows[max(start - first, 0) : max(stop - first, 0)]
                part_table.add(some, buffer)
                pieces.append(some["flow_id"].copy())
            part = pickle.loads(pickle.dumps(part_table.finish()))
            try:
                batches += table.merge(part)
                merged = True
            except PartError as error:
                refused.append(error)
                if error.again is None:
                    raise
                assert again is None or again.keys.size == 0, "taken apart, all can be merged"
                again = error.again
        ids += np.append(part.flow_ids, -1)[np.concatenate(pieces)].tolist()
    batches += table.finish()
    return collect(batches, ids, table, [], 0), refused


def collect(
    batches: list[FlowBatch],
    ids: list[int],
    table: FlowTable,
    captures: list[Capture],
    reassembled: int,
) -> Outcome:
    rows, series, payloads, heads = [], [], [], []
    for batch in batches:
        data = batch.payload.tobytes()
        for f in batch.flows:
            mine = batch.packets[f["packets_start"] : f["packets_stop"]]
            rows.append(f)
            series.append(mine)
            payloads.append([data[s["start"] : s["stop"]] for s in mine])
            heads.append(
                (data[f["orig_start"] : f["orig_stop"]], data[f["resp_start"] : f["resp_stop"]])
            )
    order = sorted(range(len(rows)), key=lambda i: int(rows[i]["flow_id"]))
    return Outcome(
        flows=np.array([rows[i] for i in order], rows[0].dtype) if rows else np.zeros(0),
        packets=[series[i] for i in order],
        payloads=[payloads[i] for i in order],
        heads=[heads[i] for i in order],
        flow_ids=ids,
        table=table,
        captures=captures,
        packets_read=sum(c.packets_read for c in captures),
        reassembled=reassembled,
    )


#: Columns of FLOW that say where things lie in a batch, not what the flow was.
PLACES = tuple(f"{what}_{end}" for what in ("packets", "orig", "resp") for end in ("start", "stop"))


def plain(outcome: Outcome, *, without: tuple[str, ...] = ()) -> list[dict[str, object]]:
    """Everything about the flows as plain values, to compare two outcomes."""
    found: list[dict[str, object]] = []
    names = [] if outcome.flows.size == 0 else outcome.flows.dtype.names
    for f, series, payloads, heads in zip(
        outcome.flows, outcome.packets, outcome.payloads, outcome.heads, strict=True
    ):
        flow = {n: f[n].tolist() for n in names or () if n not in PLACES and n not in without}
        keep = [n for n in series.dtype.names or () if n not in ("start", "stop", *without)]
        flow["series"] = [{n: s[n].item() for n in keep} for s in series]
        flow["payloads"], flow["heads"] = payloads, heads
        found.append(flow)
    return found


# --- against the twins --------------------------------------------------------------------------


def twin_packets(
    data: bytes, *, decapsulate: bool = False
) -> tuple[containers.Container, list[packets.Packet]]:
    container = containers.read(data)
    rows = []
    for found in container.packets:
        if found.reason:
            rows.append(packets.Packet(reason=found.reason))
        else:
            rows.append(
                packets.dissect(found.data, found.wire_bytes, found.link, decapsulate=decapsulate)
            )
    return container, rows


_SAME_NAME = (
    "ip_version", "proto", "ip_bytes", "src_port", "dst_port", "payload_bytes", "seq",
    "tcp_flags", "checksum", "icmp", "fragment", "fragment_id", "truncated", "wrapping",
)  # fmt: skip


def twin_row(p: packets.Packet) -> dict[str, int]:
    row = {name: getattr(p, name) for name in _SAME_NAME}
    row |= {"src_hi": p.src >> 64, "src_lo": p.src % U64}
    return row | {"dst_hi": p.dst >> 64, "dst_lo": p.dst % U64}


def assert_same_packets(data: bytes, *, decapsulate: bool = False) -> None:
    """Kernel and twin see the same packets in a capture."""
    container, expected = twin_packets(data, decapsulate=decapsulate)
    capture, batches = read_rows(data, decapsulate=decapsulate)
    i = 0
    for rows, payloads in batches:
        assert i + rows.size <= len(expected)
        for row, payload in zip(rows, payloads, strict=True):
            found, p = container.packets[i], expected[i]
            assert row["frame"] == found.frame
            assert row["ts_ns"] == found.ts_ns, f"time of frame {found.frame}"
            assert row["reason"] == p.reason, f"frame {found.frame}: {found.data.hex()}"
            if not p.reason:
                want = twin_row(p)
                got = {name: int(row[name]) for name in want}
                assert got == want, f"frame {found.frame}: {found.data.hex()}"
                assert payload == p.payload, f"frame {found.frame}: {found.data.hex()}"
            i += 1
    assert i == len(expected)
    assert capture.packets_read == len(expected)
    assert capture.clamped == container.clamped
    assert bool(capture.damage) == (container.damaged or container.truncated)


def assert_same_flows(
    data: bytes,
    *,
    idle_timeout_s: float | None = 600,
    active_timeout_s: float | None = None,
    step: int | None = None,
    cut: int | None = None,
    parts: Iterable[int] = (),
    decapsulate: bool = False,
) -> None:
    """Kernel and twin group a capture's packets into the same flows; or parts of it, cut there."""
    container, rows = twin_packets(data, decapsulate=decapsulate)
    times = [found.ts_ns for found in container.packets]
    rows, reassembled = fragments.reassemble(rows, times, decapsulate=decapsulate)
    grouping = flows.Grouping(_ns(idle_timeout_s), _ns(active_timeout_s))
    ids = [
        grouping.add(p, found.ts_ns, found.frame)
        for p, found in zip(rows, container.packets, strict=True)
    ]
    timeouts = {"idle_timeout_s": idle_timeout_s, "active_timeout_s": active_timeout_s}
    if parts:
        got, _ = run_in_parts(data, parts, decapsulate=decapsulate, **timeouts)
    else:
        got = run(data, step=step, cut=cut, decapsulate=decapsulate, **timeouts)
    assert got.reassembled == reassembled
    assert got.flow_ids == ids
    assert got.table.fragments == grouping.fragments
    assert got.table.fragments_alone == grouping.fragments_alone
    assert got.flows.size == len(grouping.flows)
    for i, flow in enumerate(grouping.flows):
        compare_flow(got, i, flow)


def _ns(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e9)


def compare_flow(got: Outcome, i: int, flow: flows.Flow) -> None:
    f = got.flows[i]
    place = f"flow {i} of frame {flow.frame}"
    want = {
        "flow_id": flow.flow_id,
        "parent_flow_id": flow.parent,
        "proto": flow.proto,
        "ip_version": flow.ip_version,
        "first_ns": min(flow.times),
        "last_ns": max(flow.times),
        "orig_hi": flow.orig[0] >> 64,
        "orig_lo": flow.orig[0] % U64,
        "resp_hi": flow.resp[0] >> 64,
        "resp_lo": flow.resp[0] % U64,
        "orig_port": flow.orig[1],
        "resp_port": flow.resp[1],
        "wrapping": flow.wrapping,
        "icmp": flow.icmp,
        "frame": flow.frame,
        "duplicates": flow.duplicates,
        "start_seen": int(flow.start_seen),
    } | _arrivals("", flow.times)
    assert {name: int(f[name]) for name in want} == want, place
    if flow.orig == flow.resp:  # who sends cannot be told: all packets are on one side
        assert f["orig_packets"] + f["resp_packets"] == len(flow.times)
        return
    for side, of, other in (("orig", flow.orig, flow.resp), ("resp", flow.resp, flow.orig)):
        want = _side(side, flow.of(of, other))
        assert {name: int(f[name]) for name in want} == want, f"{place}, {side}"
        assert f[f"{side}_flags"].tolist() == flow.of(of, other).flags, f"{place}, {side}"
    for row, payload, shown in zip(got.packets[i], got.payloads[i], flow.series, strict=True):
        for name in ("ts_ns", "frame", "ip_bytes", "payload_bytes", "seq", "tcp_flags"):
            assert row[name] == getattr(shown, name), f"{place}, {name}"
        assert row["direction"] == (shown.source != flow.orig), place
        assert payload == shown.kept, place
    for got_head, endpoint in zip(got.heads[i], (flow.orig, flow.resp), strict=True):
        want_head = flows.head(flow, endpoint)
        assert want_head is None or got_head == want_head, place


def _arrivals(prefix: str, times: list[int]) -> dict[str, int]:
    iats = flows.gaps_between(times) if times else []
    return {
        f"{prefix}iat_min": min(iats, default=0),
        f"{prefix}iat_max": max(iats, default=0),
    }


def _side(name: str, side: flows.Side) -> dict[str, int]:
    return {
        f"{name}_packets": side.packets,
        f"{name}_bytes": side.bytes,
        f"{name}_payload_bytes": side.payload_bytes,
        f"{name}_first_ns": min(side.times, default=0),
        f"{name}_last_ns": max(side.times, default=0),
        f"{name}_bytes_sumsq": sum(n * n for n in side.sizes) % U64,
        f"{name}_payload_packets": side.payload_packets,
        f"{name}_bytes_min": min(side.sizes, default=0),
        f"{name}_bytes_max": max(side.sizes, default=0),
        f"{name}_retransmissions": side.retransmissions,
        f"{name}_gaps": side.gaps,
        f"{name}_missing_bytes": side.missing_bytes,
    } | _arrivals(f"{name}_", side.times)
