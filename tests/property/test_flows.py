"""What holds for the flow table whatever the packets are."""

from pathlib import Path

import frames as f
import numpy as np
import pytest
import strategies as own
from hypothesis import given
from hypothesis import strategies as st
from reading import Outcome, assert_same_flows, plain, run

PLACE_IN_FILE = ("capture", "frame")
timeouts = st.sampled_from([None, 1e-6, 0.5, 300.0, 600.0])


def raw(records: list[f.Record]) -> bytes:
    return f.pcap(records, link=f.RAW, nano=True)


def assert_whole(got: Outcome) -> None:
    """No packet is lost: each is in a flow, or counted with its reason."""
    sides = got.flows["orig_packets"] + got.flows["resp_packets"]
    assert sides.sum() == got.counts[0]
    assert sum(got.counts) == got.packets_read == len(got.flow_ids)
    per_flow = np.bincount(np.array(got.flow_ids), minlength=got.flows.size)
    assert per_flow.tolist() == sides.tolist()
    assert got.flows["flow_id"].tolist() == list(range(got.flows.size))
    shown = [len(p) for p in got.packets]
    assert shown == np.minimum(sides, 32).tolist()


@given(own.conversations(), timeouts, timeouts, st.sampled_from([None, 1, 7]))
def test_flow_table_equals_its_twin(
    records: list[f.Record], idle: float | None, active: float | None, step: int | None
) -> None:
    assert_same_flows(raw(records), idle_timeout_s=idle, active_timeout_s=active, step=step)


@given(own.captures(), st.booleans())
def test_flow_table_equals_its_twin_on_any_packets(data: bytes, decapsulate: bool) -> None:
    assert_same_flows(data, idle_timeout_s=None, decapsulate=decapsulate)


@given(own.conversations(), timeouts, timeouts)
def test_no_packet_is_lost_and_every_flow_has_its_first_packets(
    records: list[f.Record], idle: float | None, active: float | None
) -> None:
    assert_whole(run(raw(records), idle_timeout_s=idle, active_timeout_s=active))


def exchanged(packet: bytes) -> bytes:
    """The same IPv4 packet between exchanged endpoints."""
    out = bytearray(packet)
    out[12:16], out[16:20] = packet[16:20], packet[12:16]
    later = int.from_bytes(packet[6:8], "big") & 0x1FFF
    if packet[9] in (6, 17) and not later:
        out[20:22], out[22:24] = packet[22:24], packet[20:22]
    return bytes(out)


@given(own.conversations(), timeouts)
def test_exchanging_the_endpoints_exchanges_them_and_nothing_else(
    records: list[f.Record], idle: float | None
) -> None:
    there = run(raw(records), idle_timeout_s=idle)
    back = run(raw([r._replace(data=exchanged(r.data)) for r in records]), idle_timeout_s=idle)
    ends = ("orig_hi", "orig_lo", "orig_port", "resp_hi", "resp_lo", "resp_port")
    assert plain(there, without=ends) == plain(back, without=ends)
    for a, b in (("orig", "resp"), ("resp", "orig")):
        for what in ("hi", "lo", "port"):
            assert np.array_equal(there.flows[f"{a}_{what}"], back.flows[f"{b}_{what}"])


@given(own.conversations(), st.integers(0, 60), timeouts, timeouts)
def test_a_capture_cut_in_two_gives_the_same_flows(
    records: list[f.Record], cut: int, idle: float | None, active: float | None
) -> None:
    whole = run(raw(records), idle_timeout_s=idle, active_timeout_s=active)
    parts = run(
        raw(records[:cut]), raw(records[cut:]), idle_timeout_s=idle, active_timeout_s=active
    )
    assert plain(whole, without=PLACE_IN_FILE) == plain(parts, without=PLACE_IN_FILE)
    assert whole.flow_ids == parts.flow_ids


@given(own.conversations(), st.integers(1, 5))
def test_a_cap_on_live_flows_loses_no_packet(records: list[f.Record], most: int) -> None:
    got = run(raw(records), max_flows=most)
    assert_whole(got)
    everything = run(raw(records))
    if everything.flows.size > got.flows.size:
        pytest.fail("a cap can only divide flows")
    if got.table.evicted == 0:
        assert plain(got) == plain(everything)


@given(own.conversations(most=200), st.integers(1, 40), st.integers(1, 50))
def test_whom_a_cap_ends_does_not_depend_on_how_packets_were_cut(
    records: list[f.Record], most: int, step: int
) -> None:
    whole = run(raw(records), max_flows=most)
    cut = run(raw(records), max_flows=most, step=step)
    assert plain(cut) == plain(whole)
    assert cut.flow_ids == whole.flow_ids
    assert cut.table.evicted == whole.table.evicted


def test_evictions_are_counted_and_the_rest_goes_on_as_a_child() -> None:
    packets = [f.ip4(f.udp(port, 53, b"x")) for port in range(1000, 1100)]
    got = run(f.pcap(packets + packets[:1], link=f.RAW), max_flows=50)
    assert_whole(got)
    assert got.table.evicted > 0
    assert got.flows.size == 101
    last = got.flows[-1]
    assert last["orig_port"] == 1000
    assert last["parent_flow_id"] == 0


@given(own.conversations())
def test_without_timeouts_a_udp_flow_never_ends(records: list[f.Record]) -> None:
    got = run(raw(records), idle_timeout_s=None)
    datagrams = got.flows[got.flows["proto"] != 6]
    keys = {
        (frozenset([(r["orig_lo"], r["orig_port"]), (r["resp_lo"], r["resp_port"])]), r["proto"])
        for r in datagrams.tolist() and datagrams
    }
    assert len(keys) == datagrams.size
    assert (datagrams["parent_flow_id"] == -1).all()


@given(st.lists(st.integers(0, 100), min_size=2, max_size=40), st.booleans())
def test_active_timeout_keeps_direction_and_names_the_parent(
    seconds: list[int], answers: bool
) -> None:
    """The responder may speak first after the timeout; it stays the responder."""
    times = np.cumsum(seconds)
    there, back = f.ip4(f.udp(5000, 53)), f.ip4(f.udp(53, 5000), 17, 0x0A000002, 0x0A000001)
    records = [
        f.Record(f.START + int(t) * f.SECOND, back if answers and i else there)
        for i, t in enumerate(times)
    ]
    got = run(raw(records), active_timeout_s=60)
    assert set(got.flows["orig_port"].tolist()) == {5000}
    assert got.flows["parent_flow_id"].tolist() == list(range(-1, got.flows.size - 1))
    assert (got.flows["last_ns"] - got.flows["first_ns"] <= 60 * f.SECOND).all()


def many_flows(n: int) -> bytes:
    """Flows that come and go over hours, so that the table sweeps and goes on."""
    records = []
    for i in range(n):
        port = 1024 + i * 7919 % 3000
        packet = f.ip4(f.udp(port, 53, bytes(20)), 17, 0x0A000001 + i % 5, 0x08080808)
        records.append(f.Record(f.START + i * f.SECOND, packet))
    return raw(records)


@pytest.mark.parametrize("step", [None, 1, 100])
def test_swept_flows_name_their_parents_like_those_still_in_the_table(step: int | None) -> None:
    assert_same_flows(many_flows(9000), idle_timeout_s=30, step=step)


def test_a_file_read_in_parts_through_the_pipeline_gives_the_same_flows(tmp_path: Path) -> None:
    from classifier.pipeline import Options, Reading

    records = [
        f.Record(f.START + i * f.SECOND, f.ip4(f.udp(1000 + i % 7, 53, bytes(i % 90))))
        for i in range(400)
    ]
    whole, first, second = tmp_path / "whole.pcap", tmp_path / "z.pcap", tmp_path / "a.pcap"
    whole.write_bytes(raw(records))
    first.write_bytes(raw(records[:123]))
    second.write_bytes(raw(records[123:]))

    def rows(*paths: Path) -> list[dict[str, object]]:
        reading = Reading([str(path) for path in paths], Options())
        found = [
            {n: row[n].tolist() for n in ("flow_id", "first_ns", "last_ns", "orig_port",
                                          "orig_bytes", "orig_packets")}
            for batch in reading.batches()
            for row in batch.flows
        ]  # fmt: skip
        assert reading.accounting.balanced
        return sorted(found, key=lambda row: row["flow_id"])

    assert rows(whole) == rows(second, first), "files are ordered by time, not by name"
