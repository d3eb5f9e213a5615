"""Nebula: handshakes, messages in the middle, and what only looks like it."""

import pytest
from build import UDP, F, P, batch
from overlay_messages import nebula
from vpn_messages import secret, wg_data

from classifier.detectors import run_detectors
from classifier.detectors.nebula import DETECTOR
from classifier.tables import Strength

A, B = 0x11223344, 0x55667788
FIRST, SECOND = nebula(0, 0, 1, 200), nebula(0, A, 2, 200)


def found(*packets: P, **flow):
    return run_detectors(batch(F(UDP, list(packets), **flow)), [DETECTOR])


def test_handshake_and_answer_are_proof_and_start_the_flow():
    (e,) = found(P(0, FIRST), P(1, SECOND), resp_port=443)
    assert (e.strength, e.packet, e.starts, e.family) == (Strength.PROOF, 1, True, "nebula")


def test_a_handshake_without_answer_is_strong():
    (e,) = found(P(0, FIRST))
    assert (e.strength, e.starts) == (Strength.STRONG, True)


def test_an_answer_by_the_same_side_is_no_proof():
    assert found(P(0, FIRST), P(0, SECOND))[0].strength is Strength.STRONG


def test_messages_both_ways_in_the_middle_are_proof():
    packets = [P(d, nebula(1, (A, B)[d], 900 + n)) for n in range(2) for d in (0, 1)]
    (e,) = found(*packets)
    assert (e.strength, e.starts) == (Strength.PROOF, False)


def test_relayed_messages_hold_a_header_instead_of_ciphertext():
    inner = nebula(1, 77, 5)
    packets = [
        P(d, nebula(1, (A, B)[d], 900 + n, 0, subtype=1) + inner) for n in range(2) for d in (0, 1)
    ]
    assert found(*packets)[0].strength is Strength.PROOF


def test_three_messages_of_one_side_are_strong_and_two_nothing():
    packets = [P(0, nebula(k, A, 9 + k)) for k in (1, 3, 4)]
    assert found(*packets)[0].strength is Strength.STRONG
    assert found(*packets[:2]) == []


def test_reordered_and_repeated_counters_do_not_matter():
    packets = [P(0, nebula(1, A, n)) for n in (5, 7, 6, 7, 8)]
    assert found(*packets)[0].detail.startswith("Nebula messages of one side, 3 with")


def test_one_index_both_ways_is_no_proof():
    packets = [P(d, nebula(1, A, 900 + n)) for n in range(3) for d in (0, 1)]
    assert found(*packets)[0].strength is Strength.STRONG


def test_a_snaplen_of_96_leaves_enough():
    cut = [P(d, m[:54], wire=len(m)) for d, m in ((0, FIRST), (1, SECOND))]
    assert found(*cut)[0].strength is Strength.PROOF


def test_every_truncation_is_nothing_before_the_header_ends():
    for kept in range(1, len(FIRST)):
        assert bool(found(P(0, FIRST[:kept], wire=len(FIRST)))) == (kept >= 16)
    for n in range(1, 64):
        assert found(P(0, FIRST[:n])) == []


@pytest.mark.parametrize(
    "message",
    [
        lambda n: nebula(1, A, n)[:16] + b"position=1,2,3;;" * 4,
        lambda n: nebula(1, A, 1000 * n),
        lambda n: nebula(1, A + n, n),
        lambda n: nebula(7, A, n),
        lambda n: wg_data(A, n),
        lambda n: nebula(1, 0, n),
    ],
    ids=["text", "jumps", "indexes", "type 7", "wireguard", "index 0"],
)
def test_near_misses_are_nothing(message):
    assert found(*[P(0, message(n)) for n in range(6)]) == []


def test_a_receive_error_alone_is_nothing():
    assert found(P(1, nebula(2, A, 0, 0)), P(1, secret(9))) == []
