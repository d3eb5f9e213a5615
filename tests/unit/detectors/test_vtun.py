"""VTun: greetings in blocks of fifty bytes."""

import pytest
from build import TCP, UDP, F, P, batch
from overlay_messages import vtun
from vpn_messages import secret

from classifier.detectors import run_detectors
from classifier.detectors.vtun import DETECTOR
from classifier.tables import Strength

SERVER, CLIENT = vtun(b"VTUN server ver 3.X 01/01/2013"), vtun(b"HOST: office")


def found(*packets: P, proto: int = TCP, **flow):
    return run_detectors(batch(F(proto, list(packets), **flow)), [DETECTOR])


@pytest.mark.parametrize("client", [CLIENT, vtun(b"HOS2: office")])
def test_both_greetings_are_proof(client):
    (e,) = found(P(1, SERVER), P(0, client), resp_port=9999)
    assert (e.strength, e.packet, e.starts, e.family) == (Strength.PROOF, 1, True, "vtun")


def test_a_server_that_opened_the_flow_where_the_syn_was_not_seen_is_proof_too():
    assert found(P(0, SERVER), P(1, CLIENT))[0].strength is Strength.PROOF


def test_the_servers_greeting_alone_is_strong():
    assert found(P(1, SERVER))[0].strength is Strength.STRONG


def test_a_banner_without_its_block_is_nothing():
    assert found(P(1, SERVER.rstrip(b"\0")), P(0, CLIENT)) == []
    assert found(P(1, SERVER[:-1] + b"x"), P(0, CLIENT)) == []


def test_greetings_that_a_snaplen_cut_are_as_good():
    for kept in (16, 30, 49):
        cut = [P(1, SERVER[:kept], wire=50), P(0, CLIENT[:kept], wire=50)]
        assert found(*cut)[0].strength is Strength.PROOF
        assert found(cut[0])[0].strength is Strength.STRONG
    assert found(P(1, SERVER[:15], wire=50)) == []
    assert found(P(1, SERVER[:40] + b"x", wire=50)) == []


def test_the_clients_greeting_alone_is_nothing():
    assert found(P(0, CLIENT), P(1, b"HTTP/1.1 400 Bad Request\r\n\r\n")) == []


def test_every_truncation_is_nothing():
    for n in range(1, 50):
        assert found(P(1, SERVER[:n])) == []


ECHO_REQUEST, ECHO_REPLY = b"\x20\x00", b"\x40\x00"
SIZES = (80, 80, 144, 64, 80, 1296, 64, 144)


def frame(content: bytes) -> bytes:
    return len(content).to_bytes(2) + content


def ip_packet(size: int) -> bytes:
    return b"\x45\0" + size.to_bytes(2) + secret(4) + b"\x40\6" + secret(size - 10)


def encrypted(sizes=SIZES) -> list[P]:
    return [P(n % 2, frame(secret(size))) for n, size in enumerate(sizes)]


@pytest.mark.parametrize("proto", [TCP, UDP])
def test_frames_of_ip_packets_both_ways_are_proof(proto):
    packets = [P(n % 2, frame(ip_packet(size))) for n, size in enumerate((52, 60, 52, 400, 52, 90))]
    (e,) = found(*packets, proto=proto)
    assert (e.strength, e.family, e.packet, e.starts) == (Strength.PROOF, "vtun", 5, False)
    assert found(*packets[:5], proto=proto) == []


@pytest.mark.parametrize("proto", [TCP, UDP])
def test_encrypted_frames_both_ways_are_weak(proto):
    assert found(*encrypted(), proto=proto)[0].strength is Strength.WEAK
    assert found(*encrypted(SIZES[:6]), proto=proto) == []
    assert found(*encrypted((80, 144) * 8), proto=proto) == []


def test_an_echo_and_its_reply_make_them_strong():
    echo = [P(0, ECHO_REQUEST), P(1, ECHO_REPLY)]
    assert found(*echo, *encrypted(SIZES[:6]), proto=UDP)[0].strength is Strength.STRONG
    assert found(*echo, *encrypted(SIZES[:2]), proto=UDP) == []


def test_a_frame_of_another_length_or_no_whole_block_is_nothing():
    assert found(*encrypted(), P(0, frame(secret(80))[:-1]), proto=UDP) == []
    assert found(*encrypted(), P(0, frame(secret(81))), proto=UDP) == []


def test_a_header_behind_the_length_is_nothing():
    packets = [P(d, m[:2] + b"\x17\x03" + m[4:]) for d, m, *_ in encrypted()]
    assert found(*packets, proto=TCP) == []


def test_text_with_its_length_is_nothing():
    packets = [P(d, m[:2] + (b"no tunnel " * 200)[: len(m) - 2]) for d, m, *_ in encrypted()]
    assert found(*packets, proto=UDP) == []


def test_every_truncation_of_a_frame_is_nothing_but_by_a_snaplen():
    packets = encrypted()
    message = packets[3].payload
    for size in range(1, len(message)):
        assert found(*packets[:3], P(1, message[:size]), *packets[4:], proto=UDP) == []
        kept = found(*packets[:3], P(1, message[:size], wire=len(message)), *packets[4:], proto=UDP)
        assert bool(kept) == (size >= 18)


def test_over_tcp_an_echo_and_its_reply_make_encrypted_frames_strong():
    echo = [P(0, ECHO_REQUEST), P(1, ECHO_REPLY)]
    assert found(*echo, *encrypted(), proto=TCP)[0].strength is Strength.STRONG
