"""PPTP's control connection."""

import pytest
from build import TCP, UDP, F, P, batch
from overlay_messages import pptp_control

from classifier.detectors import run_detectors
from classifier.detectors.pptp import DETECTOR
from classifier.tables import Strength

REQUEST, REPLY = pptp_control(1), pptp_control(2)


def found(*packets: P, proto: int = TCP, **flow):
    return run_detectors(batch(F(proto, list(packets), **flow)), [DETECTOR])


def test_start_request_and_reply_are_proof_on_any_port():
    (e,) = found(P(0, REQUEST), P(1, REPLY), resp_port=4444)
    assert (e.strength, e.packet, e.starts, e.family) == (Strength.PROOF, 1, True, "pptp")


@pytest.mark.parametrize("kind", [5, 6, 7, 8])
def test_a_connection_joined_at_another_message_is_proof_too(kind):
    (e,) = found(P(0, pptp_control(kind)), P(1, pptp_control(6)))
    assert (e.strength, e.starts) == (Strength.PROOF, False)


def test_one_side_is_strong():
    assert found(P(1, REPLY))[0].strength is Strength.STRONG


def test_every_truncation_is_nothing_before_the_header_and_a_message_after():
    for kept in range(1, len(REQUEST)):
        assert bool(found(P(0, REQUEST[:kept], wire=len(REQUEST)))) == (kept >= 12)


def test_length_cookie_and_type_must_agree():
    for at in range(10):
        wrong = REQUEST[:at] + bytes([REQUEST[at] ^ 0x40]) + REQUEST[at + 1 :]
        assert found(P(0, wrong)) == []


def test_udp_is_not_looked_at():
    assert found(P(0, REQUEST), P(1, REPLY), proto=UDP) == []
