"""SoftEther behind a server that ends TLS, and in datagrams."""

import pytest
from build import TCP, UDP, F, P, batch
from exchanges import ExchangeTests
from vpn_messages import secret

from classifier.detectors import run_detectors
from classifier.detectors.softether import DETECTOR
from classifier.tables import Strength


class TestSoftEther(ExchangeTests):
    detector = DETECTOR
    request = b"POST /vpnsvc/connect.cgi HTTP/1.1\r\nContent-Length: 10\r\n\r\nVPNCONNECT"
    answer = b"HTTP/1.1 200 OK\r\n\r\n\0\0\0\2\0\0\0\6hello\0\0\0\2\0\0\0\7random\0\0\0\1"
    near_miss = b"POST /vpnsvc/other.cgi HTTP/1.1\r\n\r\n"


NAME = b"\x08191c9c83\0"


def question(size: int = 39, name: bytes = NAME, kind: int = 48) -> bytes:
    """Return what SoftEther 4 sent in the laboratory, with other encrypted bytes."""
    head = bytes.fromhex("bd1201000001000000000001") + name + kind.to_bytes(2) + b"\0\1"
    return head + bytes.fromhex("000029100000008000") + size.to_bytes(2) + secret(size)


def answer(size: int = 60) -> bytes:
    head = bytes.fromhex("bd1281800001000100000000") + NAME + bytes.fromhex("00300001c00c00300001")
    return head + bytes(4) + (size + 4).to_bytes(2) + bytes.fromhex("01000308") + secret(size)


def pack(name: bytes = b"opcode", kind: int = 2, count: int = 3) -> bytes:
    size = (len(name) + 1).to_bytes(4)
    return count.to_bytes(4) + size + name + kind.to_bytes(4) + (1).to_bytes(4) + b"\0\0\0\3get"


def found(*packets: P):
    return run_detectors(batch(F(UDP, list(packets))), [DETECTOR])


def test_question_and_answer_over_dns_are_proof_and_one_alone_strong():
    (e,) = found(P(0, question()), P(1, answer()))
    assert (e.strength, e.family, e.packet, e.starts) == (Strength.PROOF, "softether", 1, True)
    for message in (question(), answer()):
        assert found(P(0, message))[0].strength is Strength.STRONG


def test_options_that_are_not_random_are_no_secret():
    asked, told = question(), answer()
    assert found(P(0, asked[:-39] + b"\0\1\0\4abcd" * 4 + bytes(7))) == []
    assert found(P(1, told[:-60] + bytes(60))) == []


def test_ordinary_questions_for_keys_are_nothing():
    for other in (
        question(0),
        question(kind=1),
        question()[:-1],
        question(name=b"\x08example1\0"),
        question(name=b"\x071234567\0"),
        answer()[:-1],
    ):
        assert found(P(0, other)) == []


def test_a_pack_of_both_sides_is_proof_and_of_one_strong():
    assert found(P(0, pack()), P(1, pack(b"ok")))[0].strength is Strength.PROOF
    assert found(P(0, pack()))[0].strength is Strength.STRONG


@pytest.mark.parametrize(
    "other", [pack(b"op-code"), pack(kind=5), pack(count=65), pack(count=0), pack()[:20]]
)
def test_what_is_no_pack_is_nothing(other):
    assert found(P(0, other), P(1, other)) == []


def test_where_am_i_and_its_answer_are_strong():
    place = b"IP=192.0.2.1,PORT=40000"
    assert found(P(0, b"A"), P(1, place))[0].strength is Strength.STRONG
    assert found(P(0, b"B"), P(1, place)) == []
    assert found(P(0, b"A"), P(1, place[:-5])) == []


def test_every_truncation_of_a_datagram_is_nothing_but_by_a_snaplen():
    for message, least in ((question(), 37), (answer(), 42)):
        for kept in range(len(message)):
            assert found(P(0, message[:kept])) == []
            assert bool(found(P(0, message[:kept], wire=len(message)))) == (kept >= least)


HELLO = bytes.fromhex("16030100c8010000c40303")
MINUTE = 60_000_000_000
DNS = F(UDP, [P(0, question(), 0)], 50001, 53)
TLS = F(TCP, [P(0, HELLO, -MINUTE // 2), P(1, HELLO, 1000), P(0, b"\x17\3\3", 2000)], 50002, 443)


def beside(*flows: F):
    """Return evidence of the flows behind the question over DNS."""
    found = run_detectors(batch(DNS, *flows), [DETECTOR])
    return [(e.flow, e.strength, e.packet) for e in found if e.flow > 0]


def test_tls_to_the_server_that_was_asked_over_dns_is_strong():
    assert beside(TLS) == [(1, Strength.STRONG, 2)]
    (e,) = (e for e in run_detectors(batch(DNS, TLS), [DETECTOR]) if e.flow == 1)
    assert e.detail.endswith("asked by SoftEther's VPN over DNS (packet 1), packet 3")


def test_another_connection_counts_only_at_a_port_that_was_in_use_then():
    late = [p._replace(ts_ns=p.ts_ns + 5 * MINUTE) for p in TLS.packets]
    assert beside(TLS._replace(packets=late)) == []
    assert [found[0] for found in beside(TLS, TLS._replace(packets=late))] == [1, 2]
    assert [found[0] for found in beside(TLS, TLS._replace(packets=late, resp_port=444))] == [1]


@pytest.mark.parametrize(
    "other",
    [
        TLS._replace(orig=0x0A000002),
        TLS._replace(resp=0xC6336402),
        F(TCP, [P(0, b"GET / HTTP/1.1\r\n\r\n"), P(1, b"HTTP/1.1 200 OK\r\n\r\n")], 50002, 443),
    ],
)
def test_other_hosts_and_other_protocols_beside_the_question_are_nothing(other):
    assert beside(other) == []


def test_random_datagrams_are_acceleration_only_beside_such_tls():
    packets = [P(n % 2, secret(60 + n), 1000 * n) for n in range(4)]
    fast = F(UDP, packets, 50003, 40000)
    assert [found[:2] for found in beside(TLS, fast)] == [
        (1, Strength.STRONG),
        (2, Strength.STRONG),
    ]
    assert beside(fast) == []
    for worse in (packets[:3], [*packets, P(0, bytes(60), 9000)], [*packets, P(0, b"short", 9000)]):
        assert [found[0] for found in beside(TLS, fast._replace(packets=worse))] == [1]
