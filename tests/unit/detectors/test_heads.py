"""The first bytes of flows as columns, and the choices that detectors share."""

import numpy as np
from build import TCP, UDP, F, P, batch
from hypothesis import given
from hypothesis import strategies as st

from classifier.detectors import run_detectors
from classifier.detectors._chains import _may_hold
from classifier.detectors._headless import in_blocks
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
        rows = first_bytes(np.frombuffer(data, np.uint8), start, kept, width)
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


def test_messages_in_whole_blocks_leave_one_rest():
    def sizes(*n: int) -> F:
        return F(UDP, [P(i % 2, bytes(size)) for i, size in enumerate(n)])

    heads = Heads(batch(sizes(20, 36, 52), sizes(20, 36, 53), sizes(28, 36), sizes()))
    every = np.ones(4, np.bool_)
    assert in_blocks(heads, every, 16).tolist() == [True, False, False, False]
    assert in_blocks(heads, every, 8).tolist() == [True, False, True, False]
    assert in_blocks(heads, ~every, 8).tolist() == [False] * 4


def test_acknowledgements_without_payload_have_no_part_in_blocks():
    heads = Heads(batch(F(UDP, [P(0, bytes(20)), P(1, b""), P(0, bytes(36))])))
    assert in_blocks(heads, np.ones(1, np.bool_), 16).tolist() == [True]


def test_only_heads_in_which_a_message_may_begin_are_searched_for_chains():
    place = b"\x01\x00\x48\x00"
    long = bytes([9]) * 60
    flows = [F(TCP, [P(0, long), P(1, long + place)]), F(TCP, [P(0, long)]), F(TCP, [P(0, place)])]
    assert _may_hold(batch(*flows), np.arange(3)).tolist() == [True, False, False]
    assert _may_hold(batch(*flows), np.arange(1, 3)).tolist() == [False, False]
