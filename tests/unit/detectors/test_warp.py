"""WARP: WireGuard with an identifier in the reserved bytes."""

import pytest
from build import UDP, F, P, batch
from overlay_messages import warp
from vpn_messages import secret, wg_data, wg_initiation, wg_response

from classifier.detectors import run_detectors
from classifier.detectors.warp import DETECTOR
from classifier.tables import Strength

A, B, ID = 0x11223344, 0x55667788, bytes.fromhex("b91981")


def found(*packets: P, **flow):
    return run_detectors(batch(F(UDP, list(packets), **flow)), [DETECTOR])


@pytest.mark.parametrize("back", [ID, bytes(3)])
def test_a_handshake_with_its_index_returned_is_proof(back):
    (e,) = found(P(0, warp(wg_initiation(A), ID)), P(1, warp(wg_response(B, A), back)))
    assert (e.strength, e.packet, e.starts, e.family) == (Strength.PROOF, 1, True, "warp")


def test_a_response_to_another_index_is_weak():
    packets = [P(0, warp(wg_initiation(A), ID)), P(1, warp(wg_response(B, A + 1), ID))]
    assert found(*packets)[0].strength is Strength.WEAK


def test_data_both_ways_in_the_middle_are_proof():
    packets = [P(d, warp(wg_data((A, B)[d], 9 + n), ID)) for n in range(2) for d in (0, 1)]
    assert found(*packets)[0].strength is Strength.PROOF


def test_three_data_messages_of_one_side_are_strong_and_two_nothing():
    packets = [P(0, warp(wg_data(A, 9 + n), ID)) for n in range(3)]
    assert found(*packets)[0].strength is Strength.STRONG
    assert found(*packets[:2]) == []


def test_wireguard_itself_is_left_to_its_detector():
    packets = [P(0, wg_initiation(A)), P(1, wg_response(B, A)), P(0, wg_data(B, 0))]
    assert found(*packets) == []


def test_changing_identifiers_are_nothing():
    packets = [P(0, warp(wg_data(A, 9 + n), bytes([1, 2, n + 1]))) for n in range(9)]
    assert found(*packets) == []


def test_random_bytes_behind_a_type_are_nothing():
    assert found(*[P(d, b"\x04" + secret(63)) for _ in range(9) for d in (0, 1)]) == []


def test_every_truncation_is_nothing_on_the_wire():
    message = warp(wg_initiation(A), ID)
    for n in range(1, len(message)):
        assert found(P(0, message[:n])) == []
    for kept in range(1, len(message)):
        assert bool(found(P(0, message[:kept], wire=len(message)))) == (kept >= 16)
