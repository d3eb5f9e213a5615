"""ESP by itself and inside UDP."""

import numpy as np
from build import UDP, F, P, batch
from vpn_messages import esp, ike, secret

from classifier.detectors.esp import DETECTOR, probe
from classifier.tables import Strength

ESP = 50
X, Y = 0xC0FFEE01, 0xDECAFBAD


def found(*packets: P, proto: int = UDP, port: int = 4500):
    return DETECTOR.detect(batch(F(proto, list(packets), resp_port=port)))


def kind(message: bytes, *, kept: int | None = None) -> int:
    data = np.frombuffer(message[:kept], np.uint8).copy()
    return probe(data, 0, data.size, len(message))


def both_ways(n: int = 3) -> list[P]:
    return [P(d, esp((X, Y)[d], 20 + k)) for k in range(n) for d in (0, 1)]


def test_protocol_50_with_a_rising_sequence_is_proof():
    (e,) = found(P(0, esp(X, 1)), P(0, esp(X, 2)), proto=ESP)
    assert (e.strength, e.packet) == (Strength.PROOF, 1)
    assert "0xc0ffee01" in e.detail


def test_protocol_50_from_both_sides_is_proof_and_a_single_packet_strong():
    assert found(P(0, esp(X, 1)), P(1, esp(Y, 1)), proto=ESP)[0].strength is Strength.PROOF
    assert found(P(0, esp(X, 1)), proto=ESP)[0].strength is Strength.STRONG


def test_protocol_50_with_a_reserved_spi_or_a_length_out_of_step_is_nothing():
    assert found(P(0, esp(255, 1)), P(0, esp(255, 2)), proto=ESP) == []
    assert found(P(0, esp(X, 1, 81)), P(0, esp(X, 2, 81)), proto=ESP) == []


def test_udp_4500_both_ways_with_rising_sequences_is_strong():
    assert found(*both_ways())[0].strength is Strength.STRONG


def test_udp_4500_with_ike_and_keepalives_between_is_strong():
    extra = [P(0, b"\xff"), P(0, bytes(4) + ike(b"12345678"))]
    assert found(*extra, *both_ways())[0].strength is Strength.STRONG


def test_udp_4500_one_way_or_a_single_packet_is_weak():
    assert found(*[p for p in both_ways() if p.direction == 0])[0].strength is Strength.WEAK
    assert found(P(0, esp(X, 1)))[0].strength is Strength.WEAK


def test_a_keepalive_alone_is_weak_on_4500_and_nothing_elsewhere():
    assert found(P(0, b"\xff"))[0].strength is Strength.WEAK
    assert found(P(0, b"\xff"), port=9999) == []


def test_any_port_is_strong_with_three_packets_each_way_and_nothing_with_less():
    assert found(*both_ways(3), port=9999)[0].strength is Strength.STRONG
    assert found(*both_ways(2), port=9999) == []


def test_port_4500_alone_is_weak():
    assert found(*both_ways(2))[0].strength is Strength.WEAK


def test_one_direction_in_udp_is_weak_at_most_as_games_have_it_too():
    packets = [P(0, esp(X, 20 + k)) for k in range(9)]
    assert found(*packets)[0].strength is Strength.WEAK
    assert found(*packets, port=9999) == []


def test_content_that_is_not_random_is_weak_even_on_port_4500():
    text = [P(d, esp((X, Y)[d], 5 + k)[:8] + b"clear text!!" * 4) for k in range(5) for d in (0, 1)]
    assert found(*text)[0].strength is Strength.WEAK


def test_a_repeated_second_number_is_not_esp():
    # WireGuard on port 4500: its type is constant and so is the receiver behind it
    assert found(*[P(0, esp(0x04000000, X)) for _ in range(4)]) == []


def test_the_same_spi_both_ways_is_at_most_weak():
    packets = [P(d, esp(X, 20 + k)) for k in range(3) for d in (0, 1)]
    assert found(*packets)[0].strength is Strength.WEAK


def test_text_with_a_counter_on_another_port_is_not_esp():
    text = [
        P(d, esp((X, Y)[d], 5 + k)[:8] + b"position=1,2,3;;" * 4) for k in range(5) for d in (0, 1)
    ]
    assert found(*text, port=9999) == []


def test_anything_else_in_the_flow_is_not_esp():
    assert found(*both_ways(), P(0, secret(33))) == []


def test_every_truncation_is_told_as_far_as_it_goes():
    message = esp(X, 1)
    for kept in range(len(message)):
        assert kind(message, kept=kept) == (1 if kept >= 8 else -1)
    for n in range(2, 32):
        assert kind(message[:n]) == 0
