"""kcptun with readable headers: KCP of kcp-go with smux or snappy; bare KCP is weak, others nothing."""

import struct
import zlib

import pytest
from build import UDP, F, P, batch

from classifier.detectors import run_detectors
from classifier.detectors.kcptun import DETECTOR
from classifier.tables import Evidence, Strength

PUSH, ACK = 81, 82
CONV = 0x12345678
SNAPPY = b"\xff\x06\x00\x00sNaPpY\x01\x0c\0\0abcd"
SMUX = b"\1\0\0\0\3\0\0\0"


def segment(cmd: int, body: bytes = b"", *, sn: int = 0, conv: int = CONV) -> bytes:
    return struct.pack("<IBBHIIII", conv, cmd, 0, 512, 1000, sn, 0, len(body)) + body


def corrected(data: bytes, kind: int = 0xF1) -> bytes:
    return struct.pack("<IHH", 0, kind, len(data) + 2) + data


def checked(data: bytes) -> bytes:
    return bytes(range(16)) + struct.pack("<I", zlib.crc32(data)) + data


def found(*packets: P) -> list[Evidence]:
    return run_detectors(batch(F(UDP, list(packets))), [DETECTOR])


@pytest.mark.parametrize("body", [SNAPPY, SMUX])
@pytest.mark.parametrize("frame", [bytes, corrected, checked, lambda d: checked(corrected(d))])
def test_an_opening_answered_in_its_conversation_is_proof(frame, body: bytes) -> None:
    said, answered = frame(segment(PUSH, body)), frame(segment(ACK))
    (e,) = found(P(0, said), P(1, answered))
    assert (e.strength, e.family, e.packet, e.starts) == (Strength.PROOF, "kcptun", 1, True)
    assert "0x12345678" in e.detail


def test_an_opening_without_an_answer_is_strong() -> None:
    assert found(P(0, segment(PUSH, SNAPPY)))[0].strength is Strength.STRONG
    other = segment(ACK, conv=CONV + 1)
    assert found(P(0, segment(PUSH, SNAPPY)), P(1, other))[0].strength is Strength.STRONG


def test_conversations_in_frames_of_kcp_go_are_strong_and_bare_ones_weak() -> None:
    said, answered = segment(PUSH, b"game state"), segment(ACK)
    assert found(P(0, corrected(said)), P(1, corrected(answered)))[0].strength is Strength.STRONG
    assert found(P(0, said), P(1, answered))[0].strength is Strength.WEAK
    assert found(P(0, said)) == []


def test_several_segments_in_a_datagram_are_read_to_their_end() -> None:
    said = segment(ACK) + segment(PUSH, b"abc", sn=3)
    assert found(P(0, said), P(1, segment(ACK) * 3))[0].strength is Strength.WEAK
    assert found(P(0, said + b"x"), P(1, segment(ACK))) == []


@pytest.mark.parametrize(
    "wrong",
    [
        segment(80),  # no command
        segment(ACK, b"data"),  # an acknowledgement with data
        segment(PUSH),  # data without data
        segment(ACK, conv=CONV + 1),  # another conversation
        segment(PUSH, b"abcd")[:-1],  # shorter than it says
        corrected(segment(ACK), kind=0xF2),  # parity
        checked(segment(ACK))[:-1] + b"\1",  # a checksum that is wrong
    ],
)
def test_what_is_no_segment_of_the_conversation_is_not_counted(wrong: bytes) -> None:
    assert found(P(0, segment(PUSH, b"abcd")), P(1, wrong)) == []


def test_every_truncation_of_an_opening_is_at_most_what_the_whole_is() -> None:
    whole = segment(PUSH, SNAPPY)
    for size in range(len(whole)):
        assert found(P(0, whole[:size])) == []  # shorter on the wire: no segment
        (*cut,) = found(P(0, whole[:size], wire=len(whole)))
        assert all(e.strength <= Strength.STRONG for e in cut)
        assert size >= 34 or not cut
