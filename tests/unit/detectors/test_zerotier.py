"""ZeroTier: HELLO, packets with addresses exchanged, and what only looks like it."""

import pytest
from build import UDP, F, P, batch
from overlay_messages import zerotier, zerotier_hello
from vpn_messages import secret

from classifier.detectors import run_detectors
from classifier.detectors.zerotier import DETECTOR
from classifier.tables import Strength

A, B, C = bytes.fromhex("8056c2e21c"), bytes.fromhex("1d719394a4"), bytes.fromhex("62f865ae71")


def found(*packets: P, **flow):
    return run_detectors(batch(F(UDP, list(packets), **flow)), [DETECTOR])


def test_hello_and_an_answer_to_its_sender_are_proof():
    (e,) = found(P(0, zerotier_hello(B, A)), P(1, zerotier(A, B)), resp_port=443)
    assert (e.strength, e.packet, e.starts, e.family) == (Strength.PROOF, 1, True, "zerotier")


def test_hello_without_answer_is_strong():
    (e,) = found(P(0, zerotier_hello(B, A)))
    assert (e.strength, e.starts) == (Strength.STRONG, True)


def test_hello_whose_identity_is_of_another_sender_is_nothing():
    message = zerotier_hello(B, A)
    assert found(P(0, message[:41] + C + message[46:])) == []


def test_packets_both_ways_in_the_middle_are_proof():
    packets = [P(0, zerotier(B, A)), P(1, zerotier(A, B)), P(0, zerotier(B, A))]
    (e,) = found(*packets)
    assert (e.strength, e.starts) == (Strength.PROOF, False)
    assert found(*packets[:2])[0].strength is Strength.STRONG


def test_packets_relayed_to_others_do_not_matter():
    packets = [
        *[P(0, zerotier_hello(B, A)), P(0, zerotier(C, A)), P(1, zerotier(A, C))],
        P(1, zerotier(A, B)),
    ]
    assert found(*packets)[0].strength is Strength.PROOF


def test_addresses_that_are_not_exchanged_are_nothing():
    assert found(*[P(d, zerotier(B, A)) for _ in range(3) for d in (0, 1)]) == []


def test_a_constant_packet_id_is_no_proof():
    same = [P(d, secret(8) + m[8:]) for d, m in ((0, zerotier(B, A)), (1, zerotier(A, B)))]
    assert found(*same, *same) == []


@pytest.mark.parametrize("address", [bytes(5), b"\xff" + A[1:], B])
def test_impossible_addresses_are_nothing(address):
    packets = [P(0, zerotier(B, address)), P(1, zerotier(address, B))] * 2
    assert found(*packets) == []


def test_every_truncation_of_hello_is_nothing_before_the_identity():
    message = zerotier_hello(B, A)
    for kept in range(1, len(message)):
        assert bool(found(P(0, message[:kept], wire=len(message)))) == (kept >= 47)
    for n in range(1, 111):
        assert found(P(0, message[:n])) == []
