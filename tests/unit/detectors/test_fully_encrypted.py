"""The published rule for fully encrypted traffic, exemption by exemption."""

import pytest
from build import TCP, UDP, F, P, batch
from vpn_messages import secret

from classifier.detectors import run_detectors
from classifier.detectors.fully_encrypted import DETECTOR, exemption
from classifier.tables import Strength

BALANCED = bytes([0x0F, 0x87, 0xF0, 0x99]) * 16  # four bits of eight, none printable


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
