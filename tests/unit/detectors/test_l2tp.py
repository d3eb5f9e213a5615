"""L2TP: control messages, data of versions 2 and 3, and what only looks like it."""

import pytest
from build import UDP, F, P, batch
from overlay_messages import fastd_handshake, l2tp3_data, l2tp_control, l2tp_data, ppp
from vpn_messages import ethernet, ipv4, ipv6, secret

from classifier.detectors import run_detectors
from classifier.detectors.l2tp import DETECTOR
from classifier.tables import Strength

REQUEST, REPLY = l2tp_control(1, body=secret(60)), l2tp_control(2, 7, body=secret(60))
ECHO = bytes.fromhex("c021090100089a8b7c6d")  # link control: echo request, 8 bytes


def found(*packets: P, proto: int = UDP, **flow):
    return run_detectors(batch(F(proto, list(packets), **flow)), [DETECTOR])


def test_start_request_and_reply_are_proof_and_start_the_flow():
    (e,) = found(P(0, REQUEST), P(1, REPLY))
    assert (e.strength, e.packet, e.starts, e.family) == (Strength.PROOF, 1, True, "l2tp")
    assert e.detail == "L2TP control messages both ways, packets 1 and 2"


def test_an_acknowledgement_without_attributes_is_an_answer():
    (e,) = found(P(0, REQUEST), P(1, l2tp_control(0, 7)), resp_port=9999)
    assert e.strength is Strength.PROOF


def test_acknowledgements_alone_are_nothing():
    assert found(P(0, l2tp_control(0, 3)), P(1, l2tp_control(0, 7))) == []


def test_a_request_alone_is_strong():
    assert found(P(0, REQUEST))[0].strength is Strength.STRONG


def test_version_3_over_udp_and_over_ip_is_l2tp_too():
    request, reply = l2tp_control(1, version=3), l2tp_control(2, 9, version=3)
    assert found(P(0, request), P(1, reply))[0].strength is Strength.PROOF
    (e,) = found(P(0, bytes(4) + request), proto=115)
    assert (e.strength, e.family) == (Strength.PROOF, "l2tp")


@pytest.mark.parametrize(
    "frame",
    [
        ppp(ipv4()),
        ppp(ipv4())[2:],
        b"\x21" + ipv4(),
        ppp(ipv6(), 0x0057),
        b"\xff\x03" + ECHO,
        ppp(secret(40), 0x00FD),
    ],
    ids=["ipv4", "no address", "short protocol", "ipv6", "link control", "encrypted"],
)
@pytest.mark.parametrize("length", [False, True])
def test_data_both_ways_in_mid_conversation_is_proof(frame, length):
    packets = [P(d, l2tp_data(5 + d, 9, frame, length=length)) for _ in range(2) for d in (0, 1)]
    (e,) = found(*packets)
    assert (e.strength, e.starts) == (Strength.PROOF, False)


def test_three_data_messages_of_one_side_are_strong_and_two_nothing():
    packets = [P(0, l2tp_data(5, 9, ppp(ipv4())))] * 3
    assert found(*packets)[0].strength is Strength.STRONG
    assert found(*packets[:2]) == []


@pytest.mark.parametrize("cookie", [b"", secret(4), secret(8)])
def test_ethernet_frames_behind_a_session_of_version_3_are_proof_both_ways(cookie):
    frame = ethernet(ipv4())
    packets = [P(d, l2tp3_data(77 + d, frame, cookie)) for _ in range(2) for d in (0, 1)]
    assert found(*packets)[0].strength is Strength.PROOF


def test_sessions_of_version_3_over_ip_need_two_packets_each_way():
    packets = [P(d, bytes([0, 0, 1, d]) + secret(60)) for _ in range(2) for d in (0, 1)]
    assert found(*packets, proto=115)[0].strength is Strength.PROOF
    assert found(*packets[:2], proto=115) == []


def test_a_snaplen_of_96_leaves_enough():
    cut = [P(d, m[:54], wire=len(m)) for d, m in ((0, REQUEST), (1, REPLY))]
    assert found(*cut)[0].strength is Strength.PROOF


def test_every_truncation_on_the_wire_is_not_l2tp():
    for n in range(1, len(REQUEST)):
        assert found(P(0, REQUEST[:n])) == []


def test_every_truncation_by_snaplen_is_told_as_far_as_it_goes():
    for kept in range(len(REQUEST)):
        some = found(P(0, REQUEST[:kept], wire=len(REQUEST)))
        assert bool(some) == (kept >= 20)


def test_the_prefix_of_fastd_is_not_l2tp():
    assert found(P(0, fastd_handshake(1, prefix=True)), P(1, fastd_handshake(2, prefix=True))) == []


def test_a_tftp_write_request_is_not_l2tp():
    assert found(*[P(0, b"\x00\x02upload.bin\x00octet\x00" + bytes(20))] * 4) == []


def test_data_of_changing_sessions_is_nothing():
    assert found(*[P(0, l2tp_data(5, 9 + n, ppp(ipv4()))) for n in range(8)]) == []
