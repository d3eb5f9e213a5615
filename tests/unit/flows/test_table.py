"""Flows out of packets: keys, direction, timeouts, TCP counters, first packets and payload."""

import mmap
from collections.abc import Iterator
from typing import Any

import frames as f
import numpy as np
import pytest
from reading import Outcome, plain, run

from classifier.errors import ClassifierError
from classifier.flows import FlowTable
from classifier.flows import _kernels as k_
from classifier.flows import table as table_
from classifier.tables import PACKET, FlowBatch
from classifier.wire import open_capture

A, B = 0x0A000001, 0x08080808
FIN, SYN, RST, PSH, ACK = f.FIN, f.SYN, f.RST, f.PSH, f.ACK


def there(payload: bytes = b"", *, seq: int = 0, flags: int = ACK, ident: int = 0) -> bytes:
    return f.ip4(f.tcp(1000, 80, payload, seq=seq, flags=flags), 6, A, B, ident=ident)


def back(payload: bytes = b"", *, seq: int = 0, flags: int = ACK, ident: int = 0) -> bytes:
    return f.ip4(f.tcp(80, 1000, payload, seq=seq, flags=flags), 6, B, A, ident=ident)


def ask(payload: bytes = b"q", *, sport: int = 1000) -> bytes:
    return f.ip4(f.udp(sport, 53, payload), 17, A, B)


def answer(payload: bytes = b"a") -> bytes:
    return f.ip4(f.udp(53, 1000, payload), 17, B, A)


def at(seconds: float, packet: bytes) -> f.Record:
    return f.Record(f.START + round(seconds * f.SECOND), packet)


def flows_of(*records: f.Record | bytes, **options: Any) -> Outcome:
    return run(f.pcap(records, link=f.RAW, nano=True), **options)


def only(outcome: Outcome) -> Any:
    [flow] = outcome.flows
    return flow


# --- keys and direction ---------------------------------------------------------------------------


def test_both_directions_are_one_flow() -> None:
    flow = only(flows_of(at(0, ask(b"question")), at(0.5, answer(b"x" * 100)), at(1, ask())))
    assert (flow["orig_lo"], flow["orig_port"]) == (A, 1000)
    assert (flow["resp_lo"], flow["resp_port"]) == (B, 53)
    assert (flow["orig_packets"], flow["resp_packets"]) == (2, 1)
    assert (flow["orig_bytes"], flow["resp_bytes"]) == (36 + 29, 128)
    assert (flow["orig_payload_bytes"], flow["resp_payload_bytes"]) == (9, 100)
    assert (flow["first_ns"], flow["last_ns"]) == (f.START, f.START + f.SECOND)
    assert (flow["iat_min"], flow["iat_max"]) == (f.SECOND // 2, f.SECOND // 2)
    assert flow["orig_iat_max"] == f.SECOND
    assert flow["iat_sumsq"] == 2 * (f.SECOND // 2) ** 2


@pytest.mark.parametrize(
    "other",
    [
        f.ip4(f.udp(1001, 53), 17, A, B),
        f.ip4(f.udp(1000, 54), 17, A, B),
        f.ip4(f.udp(1000, 53), 17, A + 1, B),
        f.ip4(f.udp(1000, 53), 17, A, B + 1),
        f.ip4(f.udp(1000, 53), 136, A, B),
        f.ip6(f.udp(1000, 53), 17, A, B),
    ],
)
def test_each_part_of_the_five_tuple_tells_flows_apart(other: bytes) -> None:
    assert flows_of(ask(), other).flows.size == 2


def test_ipv6_addresses_differ_in_all_their_bits() -> None:
    base = 0x20010DB8 << 96
    packets = [f.ip6(f.udp(1, 2), 17, base | 1 << bit, base) for bit in range(96)]
    assert flows_of(*packets).flows.size == 96


def test_vlan_ids_are_not_part_of_the_key() -> None:
    frames = [f.eth(ask(), None, [(0x8100, 5)]), f.eth(answer())]
    flow = only(run(f.pcap(frames)))
    assert flow["wrapping"] & 0xFFF == 5


def test_icmp_echo_and_reply_are_one_flow_with_the_type_of_the_first() -> None:
    request = f.ip4(b"\x08\x00" + bytes(6), 1, A, B)
    reply = f.ip4(b"\x00\x00" + bytes(6), 1, B, A)
    flow = only(flows_of(request, reply))
    assert (flow["icmp"], flow["orig_packets"], flow["resp_packets"]) == (0x0800, 1, 1)


@pytest.mark.parametrize(
    ("packets", "seen"),
    [
        ([there(flags=SYN), back(flags=SYN | ACK)], True),
        ([back(flags=SYN | ACK), there(flags=SYN)], True),
        ([back(flags=SYN | ACK), there()], False),
        ([back(), back(), there(), there(flags=SYN)], True),
        ([there(), back()], False),
    ],
)
def test_originator_is_who_sent_the_syn(packets: list[bytes], seen: bool) -> None:
    flow = only(flows_of(*packets))
    assert (flow["orig_port"], flow["start_seen"]) == (1000, seen)


def test_a_syn_after_the_first_packets_does_not_turn_the_flow_round() -> None:
    flow = only(flows_of(back(), back(), back(), back(), there(flags=SYN)))
    assert (flow["orig_port"], flow["start_seen"]) == (80, 0)


def test_packets_show_their_direction_after_the_flow_was_turned_round() -> None:
    got = flows_of(back(b"late", seq=5, flags=SYN | ACK), there(flags=SYN), there(b"hi", seq=1))
    assert [int(d) for d in got.packets[0]["direction"]] == [1, 0, 0]


def test_a_flow_of_an_endpoint_with_itself_is_one_flow() -> None:
    flow = only(flows_of(*[f.ip4(f.udp(7, 7), 17, A, A)] * 3))
    assert flow["orig_packets"] + flow["resp_packets"] == 3


# --- ends ---------------------------------------------------------------------------------------


def test_a_flow_ends_after_the_idle_timeout_and_goes_on_as_a_child() -> None:
    got = flows_of(at(0, ask()), at(600, answer()), at(1200.000000001, answer()))
    assert got.flows["parent_flow_id"].tolist() == [-1, 0]
    assert got.flows["orig_port"].tolist() == [1000, 1000]
    assert got.flows["resp_packets"].tolist() == [1, 1]
    assert got.flow_ids == [0, 0, 1]


def test_a_flow_ends_by_the_active_timeout_and_keeps_its_direction() -> None:
    got = flows_of(*[at(i, answer() if i else ask()) for i in range(10)], active_timeout_s=3)
    assert got.flows["parent_flow_id"].tolist() == [-1, 0, 1]
    assert got.flows["orig_port"].tolist() == [1000] * 3


def test_without_timeouts_a_flow_lasts() -> None:
    got = flows_of(at(0, ask()), at(10**8, ask()), idle_timeout_s=None)
    assert got.flows.size == 1


@pytest.mark.parametrize("closing", [[there(flags=RST)], [back(flags=RST | ACK)],
                                     [there(flags=FIN | ACK), back(flags=FIN | ACK)]])  # fmt: skip
def test_a_syn_after_a_closed_connection_begins_a_flow_without_parent(closing: list[bytes]) -> None:
    got = flows_of(there(flags=SYN), *closing, there(), there(flags=SYN, seq=9))
    assert got.flows["parent_flow_id"].tolist() == [-1, -1]
    assert got.flows["orig_packets"].tolist()[1] == 1


@pytest.mark.parametrize("open_still", [[there(flags=FIN | ACK)], [there(), back()]])
def test_a_syn_in_an_open_connection_begins_no_flow(open_still: list[bytes]) -> None:
    assert flows_of(there(flags=SYN), *open_still, there(flags=SYN)).flows.size == 1


def test_a_syn_ack_after_a_closed_connection_begins_no_flow() -> None:
    assert flows_of(there(flags=RST), back(flags=SYN | ACK)).flows.size == 1


@pytest.mark.parametrize("step", [None, 1])
@pytest.mark.parametrize("wait", [700, 5000])
def test_a_syn_after_the_idle_timeout_has_no_parent_swept_or_not(
    step: int | None, wait: int
) -> None:
    got = flows_of(
        at(0, there(flags=SYN)), at(wait, ask()), at(wait + 1, there(flags=SYN)), step=step
    )
    assert got.flows["parent_flow_id"].tolist() == [-1, -1, -1]


@pytest.mark.parametrize("step", [None, 1])
@pytest.mark.parametrize("wait", [700, 5000])
def test_a_flow_goes_on_as_a_child_swept_or_not(step: int | None, wait: int) -> None:
    got = flows_of(at(0, there()), at(wait, ask()), at(wait + 1, back()), step=step)
    assert got.flows["parent_flow_id"].tolist() == [-1, -1, 0]
    assert got.flows["orig_port"].tolist() == [1000, 1000, 1000]


def test_ended_flows_leave_the_table() -> None:
    table = FlowTable(idle_timeout_s=10)
    records = [at(i, ask(sport=2000 + i)) for i in range(20000)]
    from classifier.wire import open_capture

    capture = open_capture(f.pcap(records, link=f.RAW))
    n = 0
    for rows, buffer in capture.batches():
        for first in range(0, rows.size, 64):
            n += sum(b.flows.size for b in table.add(rows[first : first + 64], buffer))
    assert table.live < 10000
    n += sum(b.flows.size for b in table.finish())
    assert (n, table.live, table.flows) == (20000, 0, 20000)


def test_where_time_runs_back_rows_do_not_depend_on_how_packets_were_cut() -> None:
    """Half of the flows are an hour late: sweeps end them, and they go on as children."""
    records = [at(40 * i - i % 2 * 3600, ask(sport=2000 + i % 10)) for i in range(20000)]
    whole = flows_of(*records)
    assert 10 < whole.flows.size < 50
    for step in (1, 100, 8191):
        assert plain(flows_of(*records, step=step)) == plain(whole)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e9])
@pytest.mark.parametrize("name", ["idle_timeout_s", "active_timeout_s"])
def test_a_timeout_that_is_none_is_refused(name: str, seconds: float) -> None:
    with pytest.raises(ClassifierError, match=f"{name}=.* is no timeout"):
        FlowTable(**{name: seconds})


# --- fragments ----------------------------------------------------------------------------------


def fragments(ident: int = 7) -> list[bytes]:
    datagram = f.udp(1000, 53, bytes(4000))
    return [
        f.ip4(datagram[i : i + 1480], 17, A, B, ident=ident, fragment=i // 8, more=i < 2960)
        for i in (0, 1480, 2960)
    ]


def test_later_fragments_adopt_the_ports_of_the_first() -> None:
    got = flows_of(*fragments())
    flow = only(got)
    assert (flow["orig_port"], flow["orig_packets"]) == (1000, 3)
    assert flow["orig_payload_bytes"] == 4000
    assert (got.table.fragments, got.table.fragments_alone) == (3, 0)


def test_later_fragments_without_their_first_are_a_flow_without_ports() -> None:
    _, second, third = fragments()
    got = flows_of(second, third)
    assert got.flows["orig_port"].tolist() == [0]
    assert (got.table.fragments, got.table.fragments_alone) == (2, 2)


def test_later_fragments_of_one_datagram_are_no_duplicates() -> None:
    """They differ in their offset alone: same identification, size and, usually, nothing else."""
    datagram = f.udp(1000, 53, bytes(7392))
    parts = [
        f.ip4(datagram[i : i + 1480], 17, A, B, ident=7, fragment=i // 8, more=True)
        for i in range(0, 7400, 1480)
    ]
    assert only(flows_of(*parts))["duplicates"] == 0


def test_fragments_of_a_tcp_segment_are_no_gap() -> None:
    segment = f.tcp(1000, 80, bytes(2000), seq=100, flags=PSH | ACK)
    first = f.ip4(segment[:1000], 6, A, B, ident=7, more=True)
    later = f.ip4(segment[1000:], 6, A, B, ident=7, fragment=125)
    flow = only(flows_of(there(seq=100), first, later, there(b"more", seq=2100)))
    assert (flow["orig_gaps"], flow["orig_missing_bytes"]) == (0, 0)
    assert flow["orig_retransmissions"] == 0
    assert flow["orig_payload_bytes"] == 2004


# --- counters -----------------------------------------------------------------------------------


def test_a_packet_captured_twice_in_a_row_is_a_duplicate() -> None:
    got = flows_of(there(b"x", seq=1, ident=9), there(b"x", seq=1, ident=9), there(seq=2, ident=10))
    assert only(got)["duplicates"] == 1
    assert got.table.duplicates == 1


def test_a_retransmission_is_no_duplicate() -> None:
    flow = only(flows_of(there(b"x", seq=1, ident=9), there(b"x", seq=1, ident=10)))
    assert (flow["duplicates"], flow["orig_retransmissions"]) == (0, 1)


def test_packets_whose_identification_and_checksum_differ_by_the_same_bits_are_no_duplicates() -> (
    None
):
    """A counter in the payload often goes up with the identification, and the checksum down."""
    pairs = [(4, 0x10), (5, 0x11), (6, 0x12), (7, 0x13)]
    packets = [
        f.ip4(f.udp(1000, 53, b"same", checksum=checksum), 17, A, B, ident=ident)
        for ident, checksum in pairs
    ]
    assert only(flows_of(*packets))["duplicates"] == 0


def test_retransmissions_and_gaps_are_counted_per_direction() -> None:
    flow = only(
        flows_of(
            there(seq=99, flags=SYN),
            back(seq=499, flags=SYN | ACK),
            there(b"a" * 10, seq=100),
            there(b"a" * 10, seq=100),  # again
            there(b"a" * 10, seq=105),  # half again: brings something
            there(b"b" * 10, seq=135),  # 20 bytes are missing
            back(b"c" * 5, seq=500),
            back(b"c" * 5, seq=500),
            back(b"c", seq=500, flags=RST),
        )
    )
    assert (flow["orig_retransmissions"], flow["resp_retransmissions"]) == (1, 1)
    assert (flow["orig_gaps"], flow["resp_gaps"]) == (1, 0)
    assert (flow["orig_missing_bytes"], flow["resp_missing_bytes"]) == (20, 0)
    assert flow["orig_flags"].tolist() == [0, 1, 0, 0, 4, 0, 0, 0]
    assert flow["resp_flags"].tolist() == [0, 1, 1, 0, 3, 0, 0, 0]


def test_flags_are_counted_by_name() -> None:
    flow = only(flows_of(there(flags=0b0101_0101), there(flags=0b1111_1101), back(flags=1)))
    assert flow["orig_flags"].tolist() == [2, 0, 2, 1, 2, 1, 2, 1]
    assert flow["resp_flags"].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]


def test_sequence_numbers_wrap() -> None:
    flow = only(flows_of(there(b"x" * 10, seq=2**32 - 5), there(b"y" * 10, seq=5)))
    assert (flow["orig_gaps"], flow["orig_retransmissions"]) == (0, 0)


def test_time_stamps_out_of_order_keep_first_and_last() -> None:
    flow = only(flows_of(at(5, ask()), at(2, ask()), at(9, answer()), at(7, answer())))
    assert (flow["first_ns"], flow["last_ns"]) == (f.START + 2 * f.SECOND, f.START + 9 * f.SECOND)
    assert flow["iat_max"] == 4 * f.SECOND
    assert flow["iat_min"] == 0


# --- first packets and payload --------------------------------------------------------------------


def test_the_first_32_packets_are_kept_in_order() -> None:
    got = flows_of(*[ask(bytes([i])) if i % 3 else answer(bytes([i])) for i in range(50)])
    [series], [payloads] = got.packets, got.payloads
    assert series["frame"].tolist() == list(range(1, 33))
    assert payloads == [bytes([i]) for i in range(32)]
    assert only(got)["orig_packets"] + only(got)["resp_packets"] == 50


def test_the_head_of_a_tcp_stream_is_put_in_order() -> None:
    got = flows_of(
        there(seq=99, flags=SYN),
        there(b"world", seq=106),
        there(b"hello ", seq=100),
        there(b"lo wor", seq=103),  # overlaps both
        there(b"!!", seq=112),  # after a hole of one byte
        back(b"yes", seq=500),
        back(b"no", seq=503),
    )
    assert got.heads == [(b"hello world", b"yesno")]


def test_the_head_of_a_tcp_stream_without_syn_begins_with_its_first_segment() -> None:
    got = flows_of(there(b"b", seq=101), there(b"c", seq=102), there(b"a", seq=100))
    assert got.heads == [(b"bc", b"")]


def test_data_in_a_syn_belongs_to_the_stream() -> None:
    """TCP Fast Open, RFC 7413: the SYN counts itself first."""
    got = flows_of(there(b"early ", seq=99, flags=SYN), there(b"data", seq=106))
    assert got.heads == [(b"early data", b"")]


def test_the_head_of_a_tcp_stream_goes_on_across_the_end_of_the_numbers() -> None:
    got = flows_of(
        there(seq=2**32 - 3, flags=SYN), there(b"wrapped", seq=2**32 - 2), there(b"!", seq=5)
    )
    assert got.heads == [(b"wrapped!", b"")]


def test_a_retransmission_adds_nothing_to_the_head() -> None:
    got = flows_of(there(b"once", seq=1), there(b"once", seq=1), there(b" more", seq=5))
    assert got.heads == [(b"once more", b"")]


def test_a_snaplen_ends_the_head() -> None:
    cut = f.Record(f.START, there(b"0123456789", seq=1)[:-6], 50)
    got = flows_of(cut, f.Record(f.START, there(b"abc", seq=11)))
    assert got.heads == [(b"0123", b"")]
    assert got.packets[0]["payload_bytes"].tolist() == [10, 3]


def test_the_head_of_datagrams_is_the_first_with_payload() -> None:
    got = flows_of(ask(b""), ask(b"first"), answer(b"reply"), ask(b"second"))
    assert got.heads == [(b"first", b"reply")]


def test_of_datagrams_two_are_kept_whole_and_of_later_ones_the_beginning() -> None:
    payload = bytes(range(256)) * 5
    got = flows_of(*[ask(payload)] * 4, answer(payload))
    assert [len(p) for p in got.payloads[0]] == [1280, 1280, 128, 128, 1280]
    assert all(p == payload[: len(p)] for p in got.payloads[0])


def test_of_a_large_packet_1536_bytes_are_kept() -> None:
    got = flows_of(ask(bytes(9000)), there(bytes(9000)))
    assert [len(p[0]) for p in got.payloads] == [1536, 1536]


def test_of_a_tcp_direction_2048_bytes_are_kept_and_32_of_each_later_segment() -> None:
    segments = [there(bytes([i]) * 1000, seq=1000 * i) for i in range(5)]
    got = flows_of(*segments, back(bytes(1000)))
    assert [len(p) for p in got.payloads[0]] == [1000, 1000, 48, 32, 32, 1000]
    assert len(got.heads[0][0]) == 2048


def in_rounds(rounds: int, *, size: int = 1000) -> tuple[FlowTable, list[FlowBatch], int]:
    """Feed short flows in rounds that each find the flows of the round before ended.

    One flow lives through all rounds. Returns the most bytes that the table kept, too.
    """
    table = FlowTable(idle_timeout_s=1)
    batches, most = [], 0
    for n in range(rounds):
        records = [at(10 * n + i / 4000, ask(bytes(size), sport=i)) for i in range(2, 1000)]
        lasting = [
            at(10 * n + i / 2, there(b"%02d%02d" % (n, i), seq=80 * n + 4 * i)) for i in range(20)
        ]
        capture = open_capture(f.pcap(sorted(records + lasting, key=lambda r: r.ts_ns), link=f.RAW))
        for rows, buffer in capture.batches():
            batches += table.add(rows, buffer)
            most = max(most, table.kept_bytes)
    batches += table.finish()
    return table, batches, most


def test_memory_of_ended_flows_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("classifier.flows.table.LEAST_GONE", 1 << 20)
    monkeypatch.setattr("classifier.flows.table.BATCH_FLOWS", 8192)
    _, batches, most = in_rounds(40)
    assert sum(int(b.flows.size) for b in batches) == 40 * 998 + 1
    assert most < 12 * 2**20  # a round keeps a megabyte, and thousands of flows end at once


def test_what_lives_stays_as_it_was_while_what_ended_is_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    for least in (1 << 40, 0):
        monkeypatch.setattr("classifier.flows.table.LEAST_GONE", least)
        monkeypatch.setattr("classifier.flows.table.BATCH_FLOWS", 50)
        seen.append([])
        for b in in_rounds(3)[1]:
            for flow in b.flows:
                packets = b.packets[flow["packets_start"] : flow["packets_stop"]]
                payload = [b.payload[p["start"] : p["stop"]].tobytes() for p in packets]
                head = b.payload[flow["orig_start"] : flow["orig_stop"]].tobytes()
                seen[-1].append((int(flow["flow_id"]), packets["frame"].tolist(), payload, head))
        seen[-1].sort()
    assert seen[0] == seen[1]
    lasting = max(seen[0], key=lambda flow: len(flow[1]))
    assert lasting[3] == b"".join(b"%02d%02d" % divmod(i, 20) for i in range(32))


def test_a_direction_that_is_first_heard_after_the_packets_shown_has_its_statistics() -> None:
    asked = [at(i, ask(b"x" * 10)) for i in range(32)]
    flow = only(flows_of(*asked, at(40, answer(b"late")), at(41.5, answer(b"later"))))
    assert (flow["resp_packets"], flow["resp_payload_bytes"]) == (2, 9)
    assert (flow["resp_first_ns"], flow["resp_iat_min"]) == (f.START + 40 * f.SECOND, 1.5e9)
    assert (flow["orig_packets"], flow["orig_payload_packets"]) == (32, 32)
    assert flow["packets_stop"] - flow["packets_start"] == 32


def test_single_packets_of_a_direction_have_no_statistics_rows_and_ended_flows_give_theirs_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("classifier.flows.table.BATCH_FLOWS", 50)
    table = FlowTable(idle_timeout_s=1)
    used, flows = [], []
    for n in range(6):
        times = 1 if n == 0 else 2  # packets of each flow
        records = [
            at(10 * n + i / 1000 + k / 5000, ask(b"%d" % k, sport=2000 + i))
            for i in range(300)
            for k in range(times)
        ]
        for rows, buffer in open_capture(f.pcap(records, link=f.RAW)).batches():
            for first in range(0, rows.size, 100):
                flows += [b.flows for b in table.add(rows[first : first + 100], buffer)]
        used.append(int(table._state[k_.N_DIRS]) - k_.SCRATCH_DIRS)
    flows += [b.flows for b in table.finish()]
    assert used[:2] == [0, 300]
    assert max(used) < 700  # of 1,500 flows with two packets: two rounds live, and a batch to end
    ended = np.sort(np.concatenate(flows), order="flow_id")
    assert ended["orig_packets"].tolist() == [1] * 300 + [2] * 1500
    assert ended["orig_payload_bytes"].tolist() == [1] * 300 + [2] * 1500
    assert (ended["orig_iat_max"][300:] == 200_000).all()
    assert (ended["resp_packets"] == 0).all()


@pytest.mark.parametrize("least", [1 << 40, 0])
def test_a_direction_goes_on_after_its_only_packet_was_copied(
    monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    monkeypatch.setattr("classifier.flows.table.LEAST_GONE", least)
    monkeypatch.setattr("classifier.flows.table.BATCH_FLOWS", 50)
    first = [at(0, there(b"abc", seq=10)), at(0.1, back(b"de", seq=70))]
    others = [at(0.2 + i / 1000, ask(b"y" * 500, sport=2000 + i)) for i in range(500)]
    others += [at(2000 + i / 1000, ask(b"z" * 500, sport=3000 + i)) for i in range(500)]
    between = [at(600, there(seq=13)), at(1200, there(seq=13)), at(1800, there(seq=13))]
    then = [at(2300, back(b"fgh", seq=70))]
    records = sorted(first + others + between + then, key=lambda r: r.ts_ns)
    flow = flows_of(*records, idle_timeout_s=601, step=64).flows[0]
    assert (flow["orig_packets"], flow["resp_packets"]) == (4, 2)
    assert (flow["resp_payload_bytes"], flow["resp_retransmissions"]) == (5, 0)
    assert (flow["resp_bytes_min"], flow["resp_bytes_max"]) == (42, 43)
    assert flow["resp_iat_max"] == round(2299.9 * f.SECOND)


def test_the_arrays_of_a_batch_belong_to_it() -> None:
    table = FlowTable()
    [(rows, buffer)] = list(open_capture(f.pcap([ask(b"keep")], link=f.RAW)).batches())
    list(table.add(rows, buffer))
    [batch] = list(table.finish())
    before = batch.payload.copy()
    buffer[:] = 0xFF
    list(table.add(rows, buffer))
    assert np.array_equal(batch.payload, before)


def test_batches_that_somebody_has_are_not_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    packets, buffer = begun_one_after_another(60_000)
    monkeypatch.setattr(table_, "BATCH_FLOWS", 300)
    table = FlowTable(idle_timeout_s=1e-5)
    had: list[tuple[np.ndarray, np.ndarray]] = []
    places = []

    def taken() -> Iterator[FlowBatch]:
        for first in range(0, packets.size, 4096):
            yield from table.add(packets[first : first + 4096], buffer)
        yield from table.finish()

    for n, batch in enumerate(taken()):
        places.append(batch.flows.ctypes.data)
        if n % 3 == 0:  # of some a column alone, which refers to all
            parts = [batch.flows["flow_id"], batch.packets[::7]["ts_ns"], batch.payload[5:]]
            had += [(part, part.copy()) for part in parts]
    assert len(places) > 40
    assert len(set(places)) < len(places)
    assert all(np.array_equal(part, before) for part, before in had)


def begun_one_after_another(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return packets with 100 bytes each, and their buffer: five of each flow, some much later."""
    rng = np.random.default_rng(5)
    packets = np.zeros(n, PACKET)
    flow = np.maximum(np.arange(n) // 5 - rng.choice([0, 0, 0, 1, 300, 20_000], n), 0)
    packets["src_lo"], packets["dst_lo"] = flow, 1 << 40
    packets["src_port"], packets["dst_port"] = 1, 2
    packets["proto"], packets["ip_version"] = 17, 4
    packets["ts_ns"] = np.arange(n)
    packets["frame"] = np.arange(n) + 1
    packets["ip_bytes"], packets["payload_bytes"] = 128, 100
    packets["payload_start"] = np.arange(n) % 5000
    packets["payload_stop"] = packets["payload_start"] + 100
    return packets, rng.integers(0, 256, 6000, np.uint8)


def test_memory_is_given_back_behind_flows_that_are_out_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packets, buffer = begun_one_after_another(300_000)
    monkeypatch.setattr(table_, "BATCH_FLOWS", 1000)

    def batches() -> tuple[list[FlowBatch], int]:
        table = FlowTable()
        for first in range(0, packets.size, 4096):
            assert not list(table.add(packets[first : first + 4096], buffer))
        log = table._kept
        return list(table.finish()), log._released

    found, released = batches()
    assert released > 8 << 20 or not hasattr(mmap, "MADV_HUGEPAGE")
    monkeypatch.setattr(table_.Pages, "release", lambda *_: None)
    expected, _ = batches()
    assert len(found) == len(expected) > 40
    for one, other in zip(found, expected, strict=True):
        for name in ("flows", "packets", "payload"):
            assert np.array_equal(getattr(one, name), getattr(other, name))
