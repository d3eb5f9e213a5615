"""SoftEther behind a server that ends TLS, and in datagrams."""

import pytest
from build import UDP, F, P, batch
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
