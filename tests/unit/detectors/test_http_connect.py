"""HTTP CONNECT: agreed, refused, unanswered, and other requests."""

import pytest
from build import TCP, F, P, batch

from classifier.detectors import run_detectors
from classifier.detectors.http_connect import DETECTOR
from classifier.tables import Evidence, Strength

# RFC 9110 section 9.3.6
REQUEST = b"CONNECT server.example.com:443 HTTP/1.1\r\nHost: server.example.com:443\r\n\r\n"
AGREED = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n"
ASKED = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno"
HELLO = bytes.fromhex("16030100c8010000c40303")


def found(*packets: P) -> list[Evidence]:
    return run_detectors(batch(F(TCP, list(packets))), [DETECTOR])


def test_request_agreement_and_data_behind_them_are_proof():
    (e,) = found(P(0, REQUEST), P(1, AGREED), P(0, HELLO))
    assert (e.strength, e.family, e.packet, e.starts) == (Strength.PROOF, "http-connect", 1, True)
    assert e.detail.endswith("answer 200, data behind them, packets 1 and 2")


def test_any_answer_of_2xx_and_data_of_the_server_alone_will_do():
    (e,) = found(P(0, REQUEST), P(1, b"HTTP/1.0 204 Go\r\n\r\n"), P(1, b"SSH-2.0-x\r\n"))
    assert e.strength is Strength.PROOF


def test_agreement_without_data_behind_it_is_strong():
    assert found(P(0, REQUEST), P(1, AGREED))[0].strength is Strength.STRONG


def test_ipv6_and_a_bare_line_feed_are_read():
    request = b"CONNECT [2001:db8::1]:443 HTTP/1.0\n\n"
    (e,) = found(P(0, request), P(1, b"HTTP/1.0 200 ok\r\n\r\n"), P(0, HELLO))
    assert e.strength is Strength.PROOF


@pytest.mark.parametrize("code", [b"407", b"502", b"504"])
def test_a_refusal_of_a_proxy_is_strong(code):
    (e,) = found(P(0, REQUEST), P(1, b"HTTP/1.1 " + code + b" No\r\n\r\n"))
    assert (e.strength, e.packet) == (Strength.STRONG, 1)
    assert e.detail == f"CONNECT request, answered {code.decode()}, packets 1 and 2"


@pytest.mark.parametrize("code", [b"403", b"500", b"503"])
@pytest.mark.parametrize(
    ("field", "strength"),
    [
        (b"Server: tinyproxy/1.11.1", Strength.STRONG),
        (b"Server: squid/5.7\r\nX-Squid-Error: ERR_ACCESS_DENIED 0", Strength.STRONG),
        (b"proxy-connection: close", Strength.STRONG),
        (b"Server: nginx", Strength.WEAK),
        (b"Via: 1.1 cdn.example.net\r\nX-Cache: Error", Strength.WEAK),
        (b"Content-Length: 14\r\n\r\nServer: squid/", Strength.WEAK),  # not in the header
    ],
)
def test_a_refusal_that_any_server_may_send_is_strong_where_a_proxy_says_so(code, field, strength):
    (e,) = found(P(0, REQUEST), P(1, b"HTTP/1.1 " + code + b" No\r\n" + field + b"\r\n\r\n"))
    assert e.strength is strength


@pytest.mark.parametrize("code", [b"301", b"400", b"404", b"405", b"501", b"505"])
def test_an_answer_of_a_server_that_is_no_proxy_is_weak(code):
    (e,) = found(P(0, REQUEST), P(1, b"HTTP/1.1 " + code + b" No\r\n\r\n"))
    assert e.strength is Strength.WEAK


def test_a_request_repeated_after_407_counts_as_the_first():
    again = REQUEST.replace(b"\r\n\r\n", b"\r\nProxy-Authorization: Basic eA==\r\n\r\n")
    talk = [P(0, REQUEST), P(1, ASKED), P(0, again), P(1, AGREED), P(0, HELLO)]
    (e,) = found(*talk)
    assert (e.strength, e.packet) == (Strength.PROOF, 3)


def test_without_the_servers_direction_it_is_strong_and_with_its_silence_weak():
    assert found(P(0, REQUEST), P(0, HELLO))[0].strength is Strength.STRONG
    assert found(P(0, REQUEST), P(1, b""))[0].strength is Strength.WEAK


def test_a_client_that_did_not_send_the_first_packet_is_found():
    (e,) = found(P(1, REQUEST), P(0, AGREED), P(1, HELLO))
    assert e.strength is Strength.PROOF


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        (b"CONNECT /path HTTP/1.1\r\n\r\n", AGREED),
        (b"CONNECT host HTTP/1.1\r\n\r\n", AGREED),
        (b'CONNECT {"verbose":false}\r\n', b"PING\r\n"),  # NATS
        (b"CONNECT\naccept-version:1.2\n\n\0", b"CONNECTED\n\n\0"),  # STOMP
        (b"GET http://example.com/ HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
        (REQUEST, b"220 mail.example.com ESMTP\r\n"),
    ],
)
def test_near_misses_are_nothing(said, answered):
    assert found(P(0, said), P(1, answered), P(0, HELLO)) == []


def test_every_truncation_is_less_but_never_an_error():
    line = REQUEST.index(b"\n") + 1
    for n in range(1, len(REQUEST)):
        some = found(P(0, REQUEST[:n], wire=len(REQUEST)), P(1, AGREED))
        assert [e.strength for e in some] == ([Strength.STRONG] if n >= min(line, 9) else [])
        assert bool(found(P(0, REQUEST[:n]), P(1, AGREED))) == (n >= line)
    for n in range(1, len(AGREED)):
        for e in found(P(0, REQUEST), P(1, AGREED[:n], wire=len(AGREED))):
            assert e.strength is Strength.STRONG


def test_a_request_that_a_snaplen_cut_is_judged_by_its_answer():
    refused = b"HTTP/1.1 502 No route\r\n\r\n"
    for answer, strength in (
        (AGREED, Strength.STRONG),
        (refused, Strength.STRONG),
        (refused.replace(b"502", b"405"), Strength.WEAK),
    ):
        (e,) = found(P(0, REQUEST[:30], wire=len(REQUEST)), P(1, answer[:30], wire=len(answer)))
        assert (e.strength, e.packet) == (strength, 1)
    # All that 96 bytes a frame hold behind Ethernet, IPv6 and TCP with time stamps
    for answer, strength in ((AGREED, Strength.STRONG), (refused, Strength.WEAK)):
        (e,) = found(P(0, REQUEST[:10], wire=len(REQUEST)), P(1, answer[:10], wire=len(answer)))
        assert e.strength is strength
    assert found(P(0, REQUEST[:10], wire=len(REQUEST)), P(1, b"HTTP/1.1 ", wire=40)) == []
    path = b"CONNECT /CSCOSSLC/tunnel HTTP/1.1\r\n\r\n"  # no authority
    for other in (path, b"CONNECT server example.com:443 HTTP/1.1\r\n\r\n"):
        assert found(P(0, other[:30], wire=len(other)), P(1, AGREED)) == []
    assert found(P(0, REQUEST[:30], wire=len(REQUEST))) == []


@pytest.mark.parametrize("side", [0, 1])
def test_the_servers_direction_alone_is_strong_by_its_words(side):
    said = b"HTTP/1.0 200 Connection established\r\nProxy-agent: tinyproxy/1.11.1\r\n\r\n"
    (e,) = found(P(side, said), P(side, b"\x16\3\3"))
    assert (e.strength, e.packet, e.starts) == (Strength.STRONG, 0, False)
    assert found(P(side, said.replace(b"established", b"Established")))
    for other in (said[:36], said.replace(b"200", b"201"), b"HTTP/1.1 200 OK\r\n\r\n"):
        assert found(P(side, other)) == []
    assert found(P(1 - side, HELLO), P(side, said)) == []


def test_an_agreement_behind_a_refusal_too_long_to_be_kept_counts():
    again = REQUEST.replace(b"\r\n\r\n", b"\r\nProxy-Authorization: Basic eA==\r\n\r\n")
    page = (
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 3000\r\n\r\n" + b"x" * 3000
    )
    parts = [P(1, page[i : i + 1400]) for i in range(0, len(page), 1400)]
    talk = [P(0, REQUEST), *parts, P(0, again), P(1, AGREED), P(0, HELLO)]
    (e,) = found(*talk)
    assert "answer 200" in e.detail
    assert "answered 407" in found(*talk[:-3])[0].detail
