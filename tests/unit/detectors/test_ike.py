"""IKE versions 1 and 2 over UDP and TCP, with and without the non-ESP marker."""

import numpy as np
import pytest
from build import TCP, UDP, F, P, batch
from vpn_messages import esp, ike, secret

from classifier.detectors.ike import DETECTOR, probe
from classifier.tables import Strength

I, R = bytes.fromhex("c1d2e3f405162738"), bytes.fromhex("9182736455463728")
MARKER = bytes(4)


def found(*packets: P, proto: int = UDP, **flow):
    return DETECTOR.detect(batch(F(proto, list(packets), **flow)))


def kind(message: bytes, *, kept: int | None = None) -> int:
    data = np.frombuffer(message[:kept], np.uint8).copy()
    return probe(data, 0, data.size, len(message))


@pytest.mark.parametrize("marker", [b"", MARKER])
@pytest.mark.parametrize("port", [500, 4500, 33333])
def test_an_answer_with_the_same_initiator_spi_is_proof_on_any_port(marker, port):
    (e,) = found(P(0, marker + ike(I)), P(1, marker + ike(I, R, flags=0x20)), resp_port=port)
    assert (e.strength, e.packet, e.starts) == (Strength.PROOF, 1, True)
    assert e.detail.startswith("IKEv2 messages from both sides")


def test_version_1_main_mode_is_proof():
    v1 = {"version": 0x10, "exchange": 2, "flags": 0, "following": 1}
    (e,) = found(P(0, ike(I, **v1)), P(1, ike(I, R, **v1)))
    assert (e.strength, e.starts) == (Strength.PROOF, True)
    assert "IKEv1" in e.detail


def test_a_message_without_answer_is_strong():
    (e,) = found(P(0, ike(I)), P(0, ike(I)))
    assert (e.strength, e.starts) == (Strength.STRONG, True)


def test_an_answer_with_another_initiator_spi_is_no_proof():
    assert found(P(0, ike(I)), P(1, ike(R, I)))[0].strength is Strength.STRONG


def test_mid_conversation_behind_esp_is_proof_but_does_not_start_the_flow():
    info = {"exchange": 37, "message_id": 7, "following": 46}
    packets = [P(0, esp(0x1234, 9)), P(0, MARKER + ike(I, R, **info))]
    (e,) = found(*packets, P(1, MARKER + ike(I, R, **info | {"flags": 0x20})))
    assert (e.strength, e.starts) == (Strength.PROOF, False)


@pytest.mark.parametrize("exchange", [34, 35, 36, 37, 38, 43, 44])
def test_every_assigned_exchange_of_version_2_is_ike(exchange):
    assert kind(ike(I, R, exchange=exchange, message_id=1)) == 2


@pytest.mark.parametrize("exchange", [0, 33, 45, 255])
def test_exchanges_never_assigned_to_version_2_are_not_ike(exchange):
    assert kind(ike(I, R, exchange=exchange)) == 0


def test_reserved_flags_and_unknown_versions_and_payloads_are_not_ike():
    assert kind(ike(I, flags=0x09)) == 0
    assert kind(ike(I, flags=0x09, following=200)) == 0
    assert kind(ike(I, version=0x30)) == 0
    assert kind(ike(I, following=5)) == 0
    assert kind(ike(bytes(8))) == 0


def test_a_length_that_differs_from_the_datagrams_is_not_ike():
    assert kind(ike(I) + b"x") == 0


def test_an_empty_informational_message_is_ike():
    assert kind(ike(I, R, exchange=37, following=0, body=0)) == 2
    assert kind(ike(I, R, exchange=37, following=41, body=0)) == 0


def test_every_truncation_by_snaplen_cannot_be_told_until_the_header_is_whole():
    message = ike(I)
    for kept in range(len(message)):
        assert kind(message, kept=kept) == (2 if kept >= 28 else -1)


def test_every_truncation_on_the_wire_is_not_ours():
    message = ike(I)
    assert all(kind(message[:n]) in (0, -1) for n in range(len(message)))


def tcp_frame(content: bytes) -> bytes:
    return (len(content) + 2).to_bytes(2, "big") + content


def test_ike_over_tcp_with_its_prefix_is_proof():
    stream = b"IKETCP" + tcp_frame(MARKER + ike(I)) + tcp_frame(esp(0x12345, 1))
    assert found(P(0, stream), proto=TCP)[0].strength is Strength.PROOF
    answer = tcp_frame(MARKER + ike(I, R, flags=0x20))
    (e,) = found(P(0, stream), P(1, answer), proto=TCP)
    assert (e.strength, e.packet, e.starts) == (Strength.PROOF, 1, True)


def test_ike_over_tcp_is_known_at_the_answer_and_not_at_what_follows():
    later = [P(0, tcp_frame(MARKER + ike(I, R, exchange=35))), P(1, tcp_frame(MARKER + ike(I, R)))]
    opened = [P(0, b"IKETCP" + tcp_frame(MARKER + ike(I))), P(1, tcp_frame(MARKER + ike(I, R)))]
    (e,) = found(*opened, *later, proto=TCP)
    assert (e.packet, e.detail[-15:]) == (1, "packets 1 and 2")


def test_the_prefix_alone_is_weak_and_without_it_tcp_is_nothing():
    assert found(P(0, b"IKETCP" + secret(40)), proto=TCP)[0].strength is Strength.WEAK
    assert found(P(0, tcp_frame(MARKER + ike(I))), proto=TCP) == []


def test_every_truncation_of_a_tcp_stream_is_read_without_harm():
    stream = b"IKETCP" + tcp_frame(MARKER + ike(I))
    for n in range(len(stream)):
        assert bool(found(P(0, stream[:n]), proto=TCP)) == (n >= 6)


def test_a_zero_length_tcp_message_does_not_stop_the_reading():
    stream = b"IKETCP" + bytes(8) + tcp_frame(MARKER + ike(I))
    assert found(P(0, stream), proto=TCP)[0].strength is Strength.PROOF
