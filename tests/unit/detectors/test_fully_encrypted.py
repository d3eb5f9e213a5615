"""The published rule for fully encrypted traffic, exemption by exemption."""

import pytest
from build import TCP, UDP, F, P, batch
from hypothesis import given
from hypothesis import strategies as st
from reference import detectors as twin
from vpn_messages import secret

from classifier.detectors import run_detectors
from classifier.detectors.fully_encrypted import DETECTOR
from classifier.detectors.fully_encrypted import exemption as rule
from classifier.detectors.heads import Heads
from classifier.tables import Strength

BALANCED = bytes([0x0F, 0x87, 0xF0, 0x99]) * 16  # four bits of eight, none printable


def exemption(payload: bytes) -> int:
    return rule(payload, 0, len(payload))


def found(payload: bytes, **kwargs):
    packets = [P(0, payload, wire=kwargs.pop("wire", None)), P(1, b"answer")]
    return run_detectors(batch(F(kwargs.pop("proto", TCP), packets, **kwargs)), [DETECTOR])


def test_a_balanced_payload_meets_no_exemption_and_is_weak():
    (e,) = found(BALANCED)
    assert (e.strength, e.family, e.packet) == (Strength.WEAK, "fully-encrypted", 0)


@pytest.mark.parametrize(
    ("payload", "number"),
    [
        (b"\x80" * 40, 1),
        (b"\xff" * 40, 1),
        (b"SKUVMS" + BALANCED, 2),
        (BALANCED + b"SKUVM" * 14, 3),
        (BALANCED[:40] + b"SKUVM" * 5, 4),
        (b"\x17\x03\x03" + BALANCED, 5),
        (BALANCED, 0),
    ],
)
def test_each_exemption_has_the_number_of_the_paper(payload, number):
    assert exemption(payload) == number


@pytest.mark.parametrize("start", [b"GET ", b"PUT ", b"POST ", b"HEAD ", b"\x16\x03\x09"])
def test_what_begins_as_a_verb_or_a_record_is_known_and_a_part_of_it_is_not(start):
    assert exemption(start + BALANCED[:60]) == 5
    assert exemption(start[:-1] + b"\x99" + BALANCED[:60]) == 0


def test_twenty_printable_bytes_in_a_row_are_not_yet_an_exemption():
    assert exemption(BALANCED[:60] + b"SKUVM" * 4) == 0
    assert exemption(BALANCED[:60] + b"SKUVM" * 4 + b"S") == 4


def test_without_the_syn_over_udp_or_cut_nothing_is_said():
    assert found(BALANCED, start_seen=False) == []
    assert found(BALANCED, proto=UDP) == []
    assert found(BALANCED, wire=1000) == []


def test_every_truncation_can_be_read():
    for size in range(1, len(BALANCED)):
        assert exemption(BALANCED[:size]) in range(6)


def test_the_first_payload_counts_and_no_later_one():
    flow = F(TCP, [P(0, b"plain text first"), P(0, secret(300))])
    assert run_detectors(batch(flow), [DETECTOR]) == []


PIECES = (BALANCED[:7], b"GET ", b"POST", b" ", b"SKUVM" * 4, b"\x16\x03\x01", b"\x17\x03", b"\xff")


@given(st.lists(st.sampled_from(PIECES) | st.binary(min_size=1, max_size=9), min_size=1))
def test_the_rule_is_that_of_the_twin(pieces):
    payload = b"".join(pieces)
    number = twin.exemption(payload)
    assert exemption(payload) == number
    chosen = DETECTOR.select(Heads(batch(F(TCP, [P(0, payload)]))))[0]
    assert chosen or number > 0
    assert bool(found(payload)) == (number == 0)
