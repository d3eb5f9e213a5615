"""AH: IP protocol 51."""

import numpy as np
import pytest
from build import F, P, batch
from vpn_messages import ah

from classifier.detectors.ah import DETECTOR, probe
from classifier.tables import Strength

AH = 51


def found(*packets: P):
    return DETECTOR.detect(batch(F(AH, list(packets))))


def kind(message: bytes, *, kept: int | None = None) -> int:
    data = np.frombuffer(message[:kept], np.uint8).copy()
    return probe(data, 0, data.size, len(message))


def test_a_rising_sequence_is_proof():
    assert found(P(0, ah(5000, 1)), P(0, ah(5000, 2)))[0].strength is Strength.PROOF


def test_both_sides_are_proof_and_a_single_packet_strong():
    assert found(P(0, ah(5000, 1)), P(1, ah(6000, 1)))[0].strength is Strength.PROOF
    assert found(P(0, ah(5000, 1)))[0].strength is Strength.STRONG


def test_a_sequence_that_stands_still_is_no_proof():
    assert found(P(0, ah(5000, 1)), P(0, ah(5000, 1)))[0].strength is Strength.STRONG


@pytest.mark.parametrize("carried", [89, 103, 112], ids=["ospf", "pim", "vrrp"])
def test_headers_before_routing_protocols_are_nothing(carried):
    message = bytes([carried]) + ah(5000, 1)[1:]
    assert kind(message) == 0
    assert found(P(0, message), P(1, message)) == []


def test_reserved_bits_and_spis_and_wrong_lengths_are_not_ah():
    good = ah(5000, 1)
    assert kind(good) == 1
    assert kind(ah(255, 1)) == 0
    assert kind(good[:2] + b"\1" + good[3:]) == 0
    assert kind(good[:1] + b"\xf0" + good[2:]) == 0


def test_every_truncation_is_told_as_far_as_it_goes():
    good = ah(5000, 1)
    for kept in range(len(good)):
        assert kind(good, kept=kept) == (1 if kept >= 12 else -1)
    for n in range(24):
        assert kind(good[:n]) == 0
