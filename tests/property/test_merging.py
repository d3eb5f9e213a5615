"""Parts of a capture, made apart and merged, give the flows of the whole."""

import frames as f
import numpy as np
import strategies as own
from frames import ACK, FIN, RST, SYN
from hypothesis import event, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reading import (
    Outcome,
    assert_same_flows,
    collect,
    group_in_parts,
    plain,
    run,
    run_in_parts,
)

from classifier import _jit
from classifier.errors import CaptureError
from classifier.flows import FlowTable
from classifier.tables import NO_WRAPPING, PACKET

idle_timeouts = st.sampled_from([None, 1e-6, 0.5, 300.0, 600.0])
active_timeouts = st.sampled_from([None, None, 1e-3, 30.0, 1000.0])
cuts = st.lists(st.integers(0, 400), min_size=1, max_size=4)
traffic = st.one_of(own.bursts(), own.bursts(), own.conversations())


def raw(records: list[f.Record]) -> bytes:
    return f.pcap(records, link=f.RAW, nano=True)


def numbers(outcome: Outcome) -> dict[str, object]:
    names = ("duplicates", "gaps", "missing_bytes", "fragments", "fragments_alone", "flows", "live")
    found: dict[str, object] = {name: getattr(outcome.table, name) for name in names}
    return found | {"counts": outcome.counts}


def assert_the_same(parts: Outcome, whole: Outcome) -> None:
    assert plain(parts) == plain(whole)
    assert parts.flow_ids == whole.flow_ids
    assert numbers(parts) == numbers(whole)


@settings(max_examples=300)
@given(traffic, cuts, idle_timeouts, active_timeouts)
def test_parts_of_a_capture_merged_give_the_flows_of_the_whole(
    records: list[f.Record], cuts: list[int], idle: float | None, active: float | None
) -> None:
    data = raw(records)
    parts, refused = run_in_parts(data, cuts, idle_timeout_s=idle, active_timeout_s=active)
    event("made again" if refused else "merged at once")
    assert_the_same(parts, run(data, idle_timeout_s=idle, active_timeout_s=active))


@given(traffic, cuts, idle_timeouts, active_timeouts)
def test_merged_parts_equal_the_twin(
    records: list[f.Record], cuts: list[int], idle: float | None, active: float | None
) -> None:
    assert_same_flows(raw(records), idle_timeout_s=idle, active_timeout_s=active, parts=cuts)


def packets(random: np.random.Generator, n: int) -> NDArray[np.void]:
    """Rows of the packet table: long flows that go on, lag behind, leap, end and begin anew."""
    rows = np.zeros(n, PACKET)
    rows["proto"], rows["ip_version"], rows["tcp_flags"] = 6, 4, ACK
    rows["wrapping"], rows["frame"] = NO_WRAPPING, np.arange(n) + 1
    following = random.integers(0, 2**32, (2, 2))
    now, at = f.START, 0
    while at < n:
        run = rows[at : at + random.choice([1, 2, 3, 10, 32, 33, 40, 100])]
        key, share = random.integers(2), random.choice([0, 0, 0.1, 0.5, 0.5, 1])
        size = random.choice([0, 0, 1, 30, 1400])
        gaps = np.full(run.size, random.choice([0, 1, 1000, 10**6, 10**9]))
        if random.random() < 0.3:
            gaps[random.integers(run.size)] -= random.choice([5000, 10**9, 10**11])
        gaps[0] += random.choice([0, 0, 1, 10**9, 10**11, 601 * 10**9])
        run["ts_ns"] = now + np.cumsum(gaps)
        now = int(run["ts_ns"][-1])
        back = random.random(run.size) < share
        run["src_lo"], run["dst_lo"] = np.where(back, 2, 1), np.where(back, 1, 2)
        run["src_port"], run["dst_port"] = np.where(back, 53 + key, 9), np.where(back, 9, 53 + key)
        run["fragment_id"] = random.choice([0, 7])
        run["ip_bytes"], run["payload_bytes"] = 40 + size, size
        run["payload_start"] = random.integers(0, 100, run.size)
        run["payload_stop"] = run["payload_start"] + min(size, 1000)
        if random.random() < 0.3:
            run["tcp_flags"][0] = random.choice([SYN, SYN, SYN | ACK, FIN | ACK, FIN | ACK, RST])
        if random.random() < 0.1:
            run["tcp_flags"][random.integers(run.size)] = random.choice([SYN, FIN, RST])
        if random.random() < 0.05:
            run["fragment"][random.integers(run.size)] = 3
        if random.random() < 0.2:
            run["proto"] = 17
        for side in (0, 1):
            mine = np.flatnonzero(back == side)
            if random.random() < 0.3:
                leaps = [-1, -1, -1000, -(10**5), 5000, 2**31 + 5, 12345678]
                following[key, side] += random.choice(leaps)
            seq = following[key, side] + size * np.arange(mine.size + 1)
            run["seq"][mine] = seq[:-1] % 2**32
            following[key, side] = seq[-1]
        at += run.size
    return rows


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.integers(1, 4), idle_timeouts, active_timeouts)
def test_parts_of_long_flows_merged_give_the_flows_of_the_whole(
    seed: int, n_cuts: int, idle: float | None, active: float | None
) -> None:
    """Ten times as many packets as a capture for hypothesis could have: all of one seed."""
    random = np.random.default_rng(seed)
    rows, buffer = packets(random, 400), random.integers(0, 256, 1500).astype(np.uint8)
    cuts = random.integers(0, 400, n_cuts).tolist()
    timeouts = {"idle_timeout_s": idle, "active_timeout_s": active}
    parts, refused = group_in_parts([(rows.copy(), buffer)], cuts, **timeouts)
    event("made again" if refused else "merged at once")
    whole = FlowTable(**timeouts)
    batches = [*whole.add(rows, buffer), *whole.finish()]
    assert_the_same(parts, collect(batches, rows["flow_id"].tolist(), whole, [], 0))


@given(own.captures(), cuts, st.booleans())
def test_parts_of_any_packets_merged_give_the_flows_of_the_whole(
    data: bytes, cuts: list[int], decapsulate: bool
) -> None:
    try:
        whole = run(data, decapsulate=decapsulate)
    except CaptureError:
        return
    assert_the_same(run_in_parts(data, cuts, decapsulate=decapsulate)[0], whole)


@settings(max_examples=8)
@given(traffic, cuts, idle_timeouts, active_timeouts)
def test_parts_are_merged_in_plain_python_as_compiled(
    records: list[f.Record], cuts: list[int], idle: float | None, active: float | None
) -> None:
    data = raw(records)
    compiled, refused = run_in_parts(data, cuts, idle_timeout_s=idle, active_timeout_s=active)
    with _jit.plain(True):
        slow, also = run_in_parts(data, cuts, idle_timeout_s=idle, active_timeout_s=active)
    assert [str(error) for error in refused] == [str(error) for error in also]
    assert_the_same(slow, compiled)
