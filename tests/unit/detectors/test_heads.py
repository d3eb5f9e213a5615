"""The first bytes of flows as columns, and the choices that detectors share."""

import numpy as np
import pytest
from build import TCP, UDP, F, P, batch
from hypothesis import example, given
from hypothesis import strategies as st
from reference import detectors as twin
from vpn_messages import secret

from classifier.detectors import run_detectors
from classifier.detectors._chains import may_hold
from classifier.detectors._columns import head
from classifier.detectors._headless import mark_headless
from classifier.detectors._messages import Messages, look_random
from classifier.detectors.heads import HEAD_BYTES, Heads, first_bytes
from classifier.detectors.interface import Detector
from classifier.tables import FlowBatch

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"


@given(st.binary(max_size=80), st.lists(st.tuples(st.integers(0, 80), st.integers(0, 80))))
def test_first_bytes_are_those_of_each_stretch_and_zeros_behind(data, cuts):
    spans = [sorted((min(a, len(data)), min(b, len(data)))) for a, b in cuts]
    start = np.array([a for a, _ in spans], np.int64)
    kept = np.array([b - a for a, b in spans], np.int64)
    for width in (0, 1, 7, HEAD_BYTES):
        rows = first_bytes(np.frombuffer(bytearray(data), np.uint8), start, kept, width)
        wanted = [data[a:b][:width].ljust(width, b"\0") for a, b in spans]
        assert rows.shape == (len(spans), width)
        assert [row.tobytes() for row in rows] == wanted


def test_heads_of_a_transport_are_those_of_its_flows():
    both = batch(F(UDP, [P(0, b"one")]), F(TCP, [P(0, GET), P(1, b"two")]), F(UDP, []))
    heads = Heads(both)
    udp = heads.of((UDP, 47))
    assert udp.rows.tolist() == [0, 2]
    assert udp is heads.of((47, UDP))
    assert udp.orig[0, :4].tobytes() == b"one\0"
    assert udp.column("proto").tolist() == udp.flows["proto"].tolist() == [UDP, UDP]
    assert heads.of((TCP,)).resp[0, :4].tobytes() == b"two\0"
    assert heads.of((TCP, UDP)) is heads
    assert heads.of((TCP,)).starts_with(GET).tolist() == [True]


def test_a_detector_selects_among_flows_of_its_transport_alone():
    seen = []

    def select(heads: Heads) -> np.ndarray:
        seen.append(heads.size)
        return heads.starts_with(b"x")

    def detect(some: FlowBatch) -> list:
        seen.append(some.flows["flow_id"].tolist())
        return []

    flows = batch(F(TCP, [P(0, b"x")]), F(UDP, [P(0, b"y")]), F(UDP, [P(0, b"x")]))
    run_detectors(flows, [Detector("mine", "", (UDP,), 1, detect, select)])
    assert seen == [2, [2]]


def test_a_word_is_found_in_the_heads_that_hold_it():
    flows = [F(TCP, [P(0, GET), P(1, b"no")]), F(TCP, [P(0, GET + b"word"), P(1, b"wo")])]
    heads = Heads(batch(*flows, F(TCP, [P(1, b"a word")]), F(TCP, [P(0, b"wo"), P(1, b"rd")])))
    every = np.ones(4, np.bool_)
    assert heads.holds(every, [b"none", b"word"], "orig").tolist() == [False, True, False, False]
    assert heads.holds(every, [b"word"], "orig", "resp").tolist() == [False, True, True, False]
    assert heads.holds(~every, [b"word"], "orig").tolist() == [False] * 4


def test_parts_of_heads_are_stretches_of_what_is_ordered_by_transport():
    flows = [F(TCP, [P(0, b"a")]), F(47, []), F(UDP, [P(1, b"b")]), F(TCP, [P(0, b"c")])]
    heads = Heads.by_transport(batch(*flows))
    assert heads.rows.tolist() == [2, 0, 3, 1]
    both = heads.of((TCP, UDP))
    assert both.rows.tolist() == [2, 0, 3]
    assert np.shares_memory(both.orig, heads.orig)
    assert both.orig[:, 0].tobytes() == b"\0ac"
    assert both.of((TCP,)) is heads.of((TCP,))
    apart = heads.of((UDP, 47))
    assert apart.rows.tolist() == [2, 1]
    assert apart.resp[:, 0].tobytes() == b"b\0"


def test_what_a_function_makes_of_a_batch_is_made_once():
    calls = []

    def ports(given: FlowBatch) -> np.ndarray:
        calls.append(1)
        return given.flows["flow_id"] * 10

    heads = Heads.by_transport(batch(F(TCP, []), F(UDP, []), F(TCP, [])))
    assert heads.of((TCP,)).shared(ports).tolist() == [0, 20]
    assert heads.of((UDP,)).shared(ports).tolist() == [10]
    assert len(calls) == 1


@given(
    st.lists(st.binary(min_size=40, max_size=40), min_size=1),
    st.lists(st.integers(0, 50), min_size=1),
    st.integers(0, 16),
    st.integers(0, 24),
)
def test_rows_look_random_where_the_twin_says_so(data, sizes, start, width):
    rows = np.frombuffer(b"".join(data), np.uint8).reshape(-1, 40)
    kept = np.resize(np.array(sizes, np.int64), len(data))
    found = look_random(np.array(rows, order="F"), kept, start, start + width)
    parts = [row[start : min(n, start + width)] for row, n in zip(data, kept, strict=True)]
    assert found.tolist() == [len(part) < 8 or twin.looks_random(part) for part in parts]


@given(st.lists(st.lists(st.tuples(st.integers(0, 1), st.binary(max_size=9)), max_size=5)))
def test_messages_are_the_packets_with_payload(flows):
    m = Messages(batch(*[F(UDP, [P(*packet) for packet in packets]) for packets in flows]), 4)
    rows = enumerate((f, d, data) for f, packets in enumerate(flows) for d, data in packets)
    wanted = [(f, row, d, len(data), data[:4]) for row, (f, d, data) in rows if data]
    columns = [m.flow, m.row, m.direction, m.wire, m.kept]
    found = list(zip(*(column.tolist() for column in columns), strict=True))
    assert found == [(f, row, d, size, size) for f, row, d, size, _ in wanted]
    assert [row.tobytes() for row in m.bytes] == [data.ljust(4, b"\0") for *_, data in wanted]


SECRETS = [secret(64) for n in range(12)]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.sampled_from([*SECRETS, b"", bytes(40), b"text " * 9, SECRETS[0][:15]]),
            st.sampled_from([0, 8, 16, 20, 36, 52, 60]),
        ),
        min_size=8,
        max_size=16,
    ),
    st.sampled_from([UDP, TCP, 47]),
)
@example([(n % 2, SECRETS[n], 16) for n in range(8)], UDP)
@example([(n % 2, SECRETS[n], 4 * (n % 3)) for n in range(8)], UDP)
@example([(n % 2, SECRETS[n], 8 * n) for n in range(8)], UDP)
@example([(n % 2, b"\1\2" + SECRETS[n], 0) for n in range(8)], TCP)
@example([(n % 2, b"\1\2" * (n % 2) + SECRETS[n], 0) for n in range(8)], TCP)
def test_flows_without_headers_are_those_of_the_twin(packets, proto):
    made = [P(d, data, wire=len(data) + more) for d, data, more in packets]
    some = batch(F(proto, made))
    found = np.zeros(1, np.uint8)
    mark_headless(some.flows, some.packets, some.payload, found)
    sides = [[(data, len(data) + more) for d, data, more in packets if d == n] for n in (0, 1)]
    streams = [head(some, 0, side) for side in ("orig", "resp")]
    wanted = twin.headless(sides) if proto == UDP else 0
    assert found[0] == (twin.headless_streams(sides, streams) if proto == TCP else wanted)


HEADER = b"\x00\x1d\x48\x00\x00\x03"


@pytest.mark.parametrize(
    ("stream", "wanted"),
    [
        (HEADER + bytes(25) + HEADER + bytes(20), True),
        (HEADER + bytes(25) + HEADER + bytes(19), False),
        (HEADER + bytes(25) + HEADER[:-1] + b"\x04" + bytes(20), False),
        (b"\x08" + HEADER[1:] + bytes(2100), False),
        (b"text" + HEADER + bytes(25) + HEADER + bytes(20), True),
    ],
)
def test_only_heads_with_two_headers_alike_are_looked_at_for_chains(stream, wanted):
    flows = [
        F(TCP, [P(0, b"x"), P(1, stream)]),
        F(UDP, [P(1, stream)]),
        F(TCP, [P(0, b"", flags=2), P(0, stream)]),
        F(TCP, []),
    ]
    found = np.ones(4, np.bool_)
    some = batch(*flows)
    may_hold(some.flows, some.packets, some.payload, found)
    assert twin.chained(stream) == wanted
    assert found.tolist() == [wanted, False, False, False]


@given(st.binary(max_size=90), st.sampled_from([HEADER, HEADER[:4], b"\x07\xff\x4f\0"]))
def test_headers_alike_are_found_where_the_twin_finds_them(data, header):
    stream = header + data + header + data
    some = batch(F(TCP, [P(0, stream)]))
    found = np.zeros(1, np.bool_)
    may_hold(some.flows, some.packets, some.payload, found)
    assert found[0] == twin.chained(stream)
