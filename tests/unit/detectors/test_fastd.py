"""fastd: handshakes, data in the middle, and what only looks like it."""

import pytest
from build import UDP, F, P, batch
from overlay_messages import fastd_data, fastd_handshake
from vpn_messages import secret

from classifier.detectors import run_detectors
from classifier.detectors.fastd import DETECTOR
from classifier.tables import Strength


def found(*packets: P, **flow):
    return run_detectors(batch(F(UDP, list(packets), **flow)), [DETECTOR])


def counting(n: int, *, old: bool = False, step: int = 2, other: int = 1) -> list[P]:
    return [P(d, fastd_data(40 + step * k + other * d, old=old)) for k in range(n) for d in (0, 1)]


@pytest.mark.parametrize("prefix", [False, True])
def test_handshakes_both_ways_are_proof_and_start_the_flow(prefix):
    (e,) = found(P(0, fastd_handshake(1, prefix=prefix)), P(1, fastd_handshake(2, prefix=prefix)))
    assert (e.strength, e.packet, e.starts, e.family) == (Strength.PROOF, 1, True, "fastd")


def test_a_handshake_without_answer_is_strong():
    assert found(P(0, fastd_handshake(1)))[0].strength is Strength.STRONG


def test_another_key_exchange_or_length_is_nothing():
    assert found(P(0, fastd_handshake(1, name=b"ec25519-fhmqvd"))) == []
    assert found(P(0, fastd_handshake(1) + b"x")) == []


@pytest.mark.parametrize("old", [False, True])
def test_data_both_ways_with_nonces_of_other_parity_are_strong(old):
    (e,) = found(*counting(3, old=old))
    assert (e.strength, e.starts) == (Strength.STRONG, False)
    assert found(*counting(2, old=old)) == []


def test_counters_of_the_same_parity_or_step_one_are_nothing():
    assert found(*counting(6, other=0)) == []
    assert found(*counting(6, step=1)) == []


def test_a_counter_with_text_behind_is_nothing():
    packets = [
        P(d, fastd_data(40 + 2 * k + d, 0) + b"x=1;y=2;" * 5) for k in range(6) for d in (0, 1)
    ]
    assert found(*packets) == []


def test_data_of_one_side_are_nothing():
    assert found(*[P(0, fastd_data(40 + 2 * k)) for k in range(9)]) == []


def test_every_truncation_of_a_handshake_is_nothing_before_the_name():
    message = fastd_handshake(1)
    name_ends = message.index(b"ec25519-fhmqvc") + 14
    for kept in range(1, len(message)):
        some = found(P(0, message[:kept], wire=len(message)))
        assert bool(some) == (kept >= name_ends)
    for n in range(1, len(message)):
        assert found(P(0, message[:n])) == []


def test_other_protocols_that_begin_with_one_and_zero_are_nothing():
    assert found(P(0, b"\x01\x00\x00\x10" + secret(16)), P(1, b"\x01\x01" + secret(18))) == []


def plain(size: int, ahead: bytes = b"") -> bytes:
    """IPv4 as fastd's method null sends it, ``ahead`` an Ethernet header."""
    return b"\0" + ahead + b"\x45\0" + size.to_bytes(2) + secret(size - 4)


ETHERNET = bytes.fromhex("020000000001020000000002") + b"\x08\0"


@pytest.mark.parametrize("ahead", [b"", ETHERNET])
def test_packets_in_clear_both_ways_are_strong(ahead):
    talk = [P(n % 2, plain(60 + 40 * n, ahead)) for n in range(4)]
    (e,) = found(*talk)
    assert (e.strength, e.packet, e.starts) == (Strength.STRONG, 3, False)
    assert found(*talk[:3]) == []


def test_packets_in_clear_of_another_length_are_nothing():
    assert found(*[P(n % 2, plain(60) + b"x") for n in range(6)]) == []
    assert found(*[P(n % 2, b"\1" + plain(60)[1:]) for n in range(6)]) == []
    for n in range(1, 61):
        assert found(*[P(d, plain(60)[:n]) for d in (0, 1, 0, 1)]) == []
