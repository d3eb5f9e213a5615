"""Pulse Connect Secure behind a server that ends TLS."""

import pytest
from build import TCP, UDP, F, P, batch

from classifier.detectors import run_detectors
from classifier.detectors.pulse import DETECTOR
from classifier.tables import Strength

REQUEST = b"GET / HTTP/1.1\r\nHost: vpn\r\nUpgrade: IF-T/TLS 1.0\r\n\r\n"
ANSWER = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
NEAR_MISS = b"GET / HTTP/1.1\r\nHost: vpn\r\nUpgrade: websocket\r\n\r\n"


def found(*packets: P, proto: int = TCP):
    return run_detectors(batch(F(proto, list(packets))), [DETECTOR])


def test_request_and_answer_are_proof_and_name_both_packets():
    (e,) = found(P(0, REQUEST), P(1, ANSWER), P(0, b"more"))
    assert (e.strength, e.family, e.packet, e.starts) == (Strength.PROOF, "pulse", 1, True)
    assert e.detail.endswith("packets 1 and 2")


def test_a_request_whose_answer_was_not_captured_is_strong():
    assert found(P(0, REQUEST))[0].strength is Strength.STRONG


def test_a_scan_that_a_web_server_refuses_is_weak():
    refusal = b"HTTP/1.1 404 Not Found\r\n\r\n"
    assert found(P(0, REQUEST), P(1, refusal))[0].strength is Strength.WEAK


def test_another_request_is_nothing():
    assert found(P(0, NEAR_MISS), P(1, ANSWER)) == []


def test_the_request_over_udp_is_nothing():
    assert found(P(0, REQUEST), P(1, ANSWER), proto=UDP) == []


@pytest.mark.parametrize("kept", range(REQUEST.index(b"\r\n") - 8))
def test_a_request_cut_inside_its_first_line_is_nothing(kept):
    assert found(P(0, REQUEST[:kept], wire=len(REQUEST)), P(1, ANSWER)) == []


def test_no_truncation_of_the_answer_makes_more_than_the_request_shows():
    for kept in range(len(ANSWER)):
        (e,) = found(P(0, REQUEST), P(1, ANSWER[:kept], wire=len(ANSWER)))
        assert e.strength is not Strength.NONE
