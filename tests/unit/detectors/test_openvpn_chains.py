"""OpenVPN over TCP where the capture begins inside a message, or in the middle of a handshake."""

import pytest
from build import TCP, UDP, F, P, batch
from vpn_messages import framed, ovpn_control, ovpn_data_v2, secret

from classifier.detectors.openvpn import DETECTOR
from classifier.tables import Strength

SESSION = bytes.fromhex("a1b2c3d4e5f60718")


def found(*packets: P, proto: int = TCP, **flow):
    return DETECTOR.detect(batch(F(proto, list(packets), **flow)))


def message(packet_id: int, size: int = 300, peer: bytes = b"\0\0\3", opcode: int = 0x48) -> bytes:
    return framed(bytes([opcode]) + peer + packet_id.to_bytes(4) + secret(size))


def inside(*messages: bytes, missing: int = 7) -> list[P]:
    stream = b"".join(messages)[missing:]
    return [P(0, stream[i : i + 500]) for i in range(0, len(stream), 500)]


@pytest.mark.parametrize("missing", [1, 7, 100, 301])
def test_two_messages_behind_a_part_of_another_are_strong(missing):
    (e,) = found(*inside(message(8), message(9), message(10), missing=missing))
    assert (e.strength, e.family, e.starts) == (Strength.STRONG, "openvpn", False)
    assert "one behind the other" in e.detail


def test_one_whole_message_behind_a_part_is_nothing():
    assert found(*inside(message(8), message(9))) == []


def test_packet_ids_that_fall_or_leap_are_nothing():
    assert found(*inside(message(1), message(9), message(8))) == []
    assert found(*inside(message(1), message(9), message(9))) == []
    assert found(*inside(message(1), message(9), message(900))) == []


def test_another_peer_key_or_opcode_is_nothing():
    assert found(*inside(message(8), message(9), message(10, peer=b"\0\0\4"))) == []
    assert found(*inside(message(8), message(9), message(10, opcode=0x49))) == []
    other = [message(n, opcode=0x38) for n in (8, 9, 10)]
    assert found(*inside(*other)) == []


def blocks(size: int, peer: bytes = b"\0\0\3") -> bytes:
    return framed(b"\x48" + peer + b"\x5a" + secret(size - 1))


def test_two_messages_in_whole_blocks_are_strong_without_packet_ids():
    (e,) = found(*inside(blocks(300), blocks(84), blocks(148)))
    assert (e.strength, e.family) == (Strength.STRONG, "openvpn")
    assert "in whole blocks" in e.detail


def test_blocks_with_another_rest_or_peer_are_nothing():
    assert found(*inside(blocks(300), blocks(84), blocks(149))) == []
    assert found(*inside(blocks(300), blocks(84), blocks(148, b"\0\0\4"))) == []
    assert found(*inside(blocks(300), blocks(31), blocks(31))) == []


def test_blocks_that_do_not_go_on_or_look_like_headers_of_tcp_are_nothing():
    other = blocks(300)[:2] + b"\x48\0\0\4" + blocks(300)[6:]
    assert found(*inside(blocks(300), blocks(84), blocks(148), other)) == []
    header = bytes.fromhex("ff005048148c8f00000000a002fff0b96a0000020404ec0402080aa4704e7100")
    some = [framed(b"\x49\0\1\xb2" + header + secret(68)) for _ in range(3)]
    assert found(*inside(*some)) == []


def test_four_messages_in_segments_of_their_own_among_parts_of_others_are_strong():
    def cut(data: bytes, side: int) -> P:
        return P(side, data[:60], wire=len(data))

    bulk = [P(1, secret(1400)) for _ in range(4)]
    alone = [cut(blocks(84 + 16 * n), n % 2) for n in range(4)]
    (e,) = found(bulk[0], *alone, *bulk[1:], start_seen=False)
    assert (e.strength, e.family) == (Strength.STRONG, "openvpn")
    assert "4 data messages" in e.detail
    assert e.detail.endswith("packets 2 and 5")
    assert found(bulk[0], *alone, *bulk[1:]) == []  # who opens a connection sends a reset first
    assert found(bulk[0], *alone[:3], *bulk[1:], start_seen=False) == []
    other = [cut(blocks(84 + 16 * n, peer=bytes([0, 0, n])), n % 2) for n in range(4)]
    assert found(bulk[0], *other, *bulk[1:], start_seen=False) == []


def test_messages_of_zeros_or_text_are_nothing():
    for content in (bytes(300), b"text " * 60):
        some = [framed(b"\x48\0\0\3" + n.to_bytes(4) + content) for n in (8, 9, 10)]
        assert found(*inside(*some)) == []


def test_a_flow_whose_beginning_was_captured_is_not_searched():
    packets = [P(0, b"", flags=0x02), *inside(message(8), message(9), message(10))]
    assert found(*packets) == []


def test_every_truncation_is_nothing_before_the_second_secret():
    stream = message(8, 40)[5:] + message(9, 40) + message(10, 40)
    ends = [n for n in range(1, len(stream) + 1) if found(P(0, stream[:n]))]
    assert ends
    assert ends[0] == 45 + 50 + 2 + 8 + 16


def test_data_of_either_side_among_parts_of_messages_are_strong():
    bulk = [P(1, secret(1400)) for _ in range(4)]
    alone = [P(0, message(n, 40)) for n in range(20, 24)]
    (e,) = found(*bulk, *alone)
    assert (e.strength, e.family) == (Strength.STRONG, "openvpn")


@pytest.mark.parametrize("proto", [TCP, UDP])
def test_data_after_the_end_of_a_handshake_are_strong(proto):
    last = ovpn_control(5, SESSION, acks=(3,), peer=SESSION[::-1], packet_id=None)
    data = [ovpn_data_v2(3, n) for n in range(1, 5)]
    packets = [P(0, framed(m) if proto == TCP else m) for m in (last, *data)]
    (e,) = found(*packets, proto=proto)
    assert (e.strength, e.detail.partition(",")[0][:15]) == (Strength.STRONG, "4 data messages")
