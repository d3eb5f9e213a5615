"""Tunnels in plain HTTP: httptunnel, and WebSockets of tunnels; ordinary ones are left alone."""

import pytest
from build import TCP, F, P, batch

from classifier.detectors import run_detectors
from classifier.detectors.http_tunnel import DETECTOR
from classifier.tables import Evidence, Strength

# As httptunnel 3.3 sends them
PATH = b" /index.html?crap=1795486663 HTTP/1.1\r\nHost: 192.0.2.110:8888\r\n"
GET = b"GET" + PATH + b"Connection: close\r\n\r\n"
POST = b"POST" + PATH + b"Content-Length: 102400\r\nConnection: close\r\n\r\n"
FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 102400\r\nConnection: close\r\n\r\n"
DATA = b"\2\0\5hello"
# RFC 6455 section 1.2
SOCKET = (
    b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
CHISEL = SOCKET + b"Sec-WebSocket-Protocol: chisel-v3\r\n\r\n"
WSTUNNEL = SOCKET.replace(b"GET / ", b"GET /v1/events ") + (
    b"Sec-WebSocket-Protocol: v1, authorization.bearer.eyJ0eXAi\r\n\r\n"
)
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
SSH = b"\x82\x1aSSH-2.0-chisel-v3-server\r\n"


def found(*packets: P) -> list[Evidence]:
    return run_detectors(batch(F(TCP, list(packets))), [DETECTOR])


def test_httptunnels_get_answered_with_its_frames_is_proof():
    (e,) = found(P(0, GET), P(1, FINE), P(1, DATA))
    assert (e.strength, e.family, e.packet) == (Strength.PROOF, "http-tunnel", 2)


def test_httptunnels_get_answered_without_its_body_is_strong():
    assert found(P(0, GET), P(1, FINE))[0].strength is Strength.STRONG


def test_httptunnels_post_with_its_opening_frame_is_strong():
    (e,) = found(P(0, POST), P(1, b""), P(0, b"\1"), P(0, b"\0\1\0"))
    assert e.strength is Strength.STRONG
    assert found(P(0, POST), P(1, b""))[0].strength is Strength.WEAK


def test_a_path_of_httptunnel_that_a_snaplen_cut_is_strong_where_its_answer_fits():
    for kept in range(len(GET)):
        evidence = found(P(0, GET[:kept], wire=len(GET)), P(1, FINE[:30], wire=len(FINE)))
        assert [e.strength for e in evidence] == ([Strength.STRONG] if kept >= 25 else [])
    (e,) = found(P(0, POST[:30], wire=len(POST)))
    assert (e.strength, e.packet) == (Strength.STRONG, 0)
    answer = b"HTTP/1.1 404 No\r\n\r\n"
    assert found(P(0, GET[:30], wire=len(GET)), P(1, answer))[0].strength is Strength.WEAK
    assert found(P(0, POST[:30], wire=len(POST)), P(1, FINE))[0].strength is Strength.WEAK
    assert found(P(0, GET[:30]), P(1, FINE)) == []


def test_the_same_path_with_another_body_is_nothing():
    assert found(P(0, GET), P(1, FINE), P(1, b"<html>")) == []
    assert found(P(0, POST), P(0, b"name=value")) == []


def test_httptunnels_get_answered_otherwise_is_weak():
    assert found(P(0, GET), P(1, b"HTTP/1.1 404 No\r\n\r\n"))[0].strength is Strength.WEAK


@pytest.mark.parametrize("request_", [CHISEL, WSTUNNEL])
def test_a_websocket_agreed_for_a_tunnel_is_proof(request_):
    (e,) = found(P(0, request_), P(1, SWITCHED))
    assert (e.strength, e.packet) == (Strength.PROOF, 1)


@pytest.mark.parametrize("request_", [CHISEL, WSTUNNEL])
def test_a_websocket_asked_for_alone_is_strong_and_refused_weak(request_):
    assert found(P(0, request_))[0].strength is Strength.STRONG
    (e,) = found(P(1, request_), P(0, b"HTTP/1.1 101"))  # cut, and begun by the server
    assert e.strength is Strength.WEAK


def test_ssh_in_any_websocket_is_proof():
    (e,) = found(P(0, SOCKET + b"\r\n"), P(1, SWITCHED + SSH))
    assert e.strength is Strength.PROOF
    assert e.detail.startswith("SSH in a WebSocket, ")


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        (SOCKET + b"\r\n", SWITCHED + b"\x81\x05hello"),
        (SOCKET + b"Sec-WebSocket-Protocol: binary\r\n\r\n", SWITCHED + b"\x82\x0cRFB 003.008\n"),
        (SOCKET + b"Sec-WebSocket-Protocol: chisel-vx\r\n\r\n", SWITCHED),
        (WSTUNNEL.replace(b"/v1/events", b"/chat"), SWITCHED),
        (b"GET /index.html?trap=1795486663 HTTP/1.1\r\n\r\n", FINE + DATA),
        (CHISEL.replace(b"Upgrade: websocket", b"Upgrade: h2c"), SWITCHED),
    ],
)
def test_near_misses_are_nothing(said, answered):
    assert found(P(0, said), P(1, answered)) == []


@pytest.mark.parametrize(("said", "answered"), [(GET, FINE + DATA), (CHISEL, SWITCHED + SSH)])
def test_every_truncation_is_less_but_never_an_error(said, answered):
    for n in range(len(said)):
        for e in found(P(0, said[:n], wire=len(said)), P(1, answered)):
            assert e.family == "http-tunnel"
    for n in range(1, len(answered)):
        found(P(0, said), P(1, answered[:n], wire=len(answered)))
