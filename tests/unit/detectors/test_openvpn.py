"""OpenVPN over UDP and TCP, plain, with tls-auth and tls-crypt, and what only looks like it."""

import numpy as np
import pytest
from build import TCP, UDP, F, P, batch
from vpn_messages import framed, ovpn_control, ovpn_crypt, ovpn_data_v1, ovpn_data_v2, secret

from classifier.detectors.openvpn import DETECTOR, probe
from classifier.tables import Strength

CLIENT, SERVER = bytes.fromhex("a1b2c3d4e5f60718"), bytes.fromhex("8f9eadbccbdae9f7")


def found(*packets: P, proto: int = UDP, **flow):
    return DETECTOR.detect(batch(F(proto, list(packets), **flow)))


def kind(message: bytes, *, kept: int | None = None) -> int:
    data = np.frombuffer(message[:kept], np.uint8).copy()
    return probe(data, 0, data.size, len(message))


def resets(hmac: int = 0) -> tuple[bytes, bytes]:
    client = ovpn_control(7, CLIENT, hmac=hmac)
    return client, ovpn_control(8, SERVER, acks=(0,), peer=CLIENT, hmac=hmac)


@pytest.mark.parametrize("hmac", [0, 16, 20, 28, 32, 48, 64])
def test_server_reset_that_acknowledges_the_clients_session_id_is_proof(hmac):
    client, server = resets(hmac)
    (e,) = found(P(0, client), P(1, server))
    assert (e.strength, e.packet, e.starts) == (Strength.PROOF, 1, True)
    assert (f"HMAC of {hmac} bytes" if hmac else "no tls-auth") in e.detail
    assert len(server) == len(client) + 12


@pytest.mark.parametrize("hmac", [0, 20, 64])
def test_the_same_over_tcp_with_lengths_before_the_messages_is_proof(hmac):
    client, server = resets(hmac)
    (e,) = found(P(0, framed(client)), P(1, framed(server)), proto=TCP)
    assert (e.strength, e.packet, e.starts) == (Strength.PROOF, 1, True)


def test_messages_cut_anywhere_into_tcp_segments_are_proof_all_the_same():
    client, server = (framed(m) for m in resets(32))
    for at in range(1, len(client)):
        parts = [P(0, client[:at]), P(0, client[at:]), P(1, server)]
        assert found(*parts, proto=TCP)[0].strength is Strength.PROOF


def test_an_acknowledgement_in_mid_handshake_is_proof_without_the_resets():
    hello = ovpn_control(4, CLIENT, packet_id=1, body=secret(200))
    ack = ovpn_control(5, SERVER, acks=(1,), peer=CLIENT, packet_id=None)
    (e,) = found(P(0, hello), P(1, ack))
    assert (e.strength, e.starts) == (Strength.PROOF, False)


def test_acknowledgement_of_another_session_id_is_no_proof():
    client, _ = resets()
    server = ovpn_control(8, SERVER, acks=(0,), peer=SERVER)
    assert all(e.strength < Strength.PROOF for e in found(P(0, client), P(1, server)))


def test_acknowledgement_whose_length_disagrees_with_its_count_is_no_proof():
    hello = ovpn_control(4, CLIENT, packet_id=1, body=secret(200))
    ack = ovpn_control(5, SERVER, acks=(1,), peer=CLIENT, packet_id=None)
    assert found(P(0, hello), P(1, ack + b"junk")) == []


def test_two_tls_crypt_resets_are_strong():
    (e,) = found(P(0, ovpn_crypt(7, CLIENT, 1, 5)), P(1, ovpn_crypt(8, SERVER, 1, 17)))
    assert e.strength is Strength.STRONG
    assert "client reset then server reset 12 bytes longer" in e.detail


def test_tls_crypt_with_counting_replay_ids_on_both_sides_is_proof():
    (e,) = found(
        P(0, ovpn_crypt(7, CLIENT, 1, 5)),
        P(1, ovpn_crypt(8, SERVER, 1, 17)),
        P(0, ovpn_crypt(4, CLIENT, 2, 300)),
        P(1, ovpn_crypt(4, SERVER, 2, 900)),
    )
    assert (e.strength, e.packet) == (Strength.PROOF, 3)


def test_tls_crypt_v2_resets_are_strong_and_early_negotiation_is_understood():
    key = secret(288) + (290).to_bytes(2, "big")
    client = ovpn_crypt(10, CLIENT, 0x0F000001, 5) + key
    assert "wrapped key of 290 bytes" in found(P(0, client))[0].detail
    (e,) = found(P(0, client), P(1, ovpn_crypt(8, SERVER, 0x0F000001, 23)))
    assert (e.strength, e.packet) == (Strength.STRONG, 1)


def test_tls_crypt_v2_reset_with_a_wrong_key_length_is_nothing():
    client = ovpn_crypt(10, CLIENT, 1, 5) + secret(288) + (291).to_bytes(2, "big")
    assert found(P(0, client)) == []


def test_client_reset_with_replay_header_alone_is_strong():
    assert found(P(0, resets(20)[0]))[0].strength is Strength.STRONG
    assert found(P(0, ovpn_crypt(7, CLIENT, 1, 5)))[0].strength is Strength.STRONG


def test_plain_client_reset_alone_is_weak_over_udp_and_strong_over_tcp():
    assert found(P(0, resets()[0]))[0].strength is Strength.WEAK
    assert found(P(0, framed(resets()[0])), proto=TCP)[0].strength is Strength.STRONG


def test_one_side_of_a_handshake_alone_is_strong():
    server = [
        ovpn_control(8, SERVER, acks=(0,), peer=CLIENT),
        ovpn_control(4, SERVER, acks=(1,), peer=CLIENT, packet_id=1, body=secret(100)),
        ovpn_control(4, SERVER, packet_id=2, body=secret(100)),
    ]
    (e,) = found(*[P(0, m) for m in server])
    assert e.strength is Strength.STRONG


def test_resets_cut_by_a_snaplen_of_96_are_strong_by_their_lengths():
    client, server = resets(64)
    cut = [P(0, client[:54], wire=len(client)), P(1, server[:54], wire=len(server))]
    assert found(*cut) == []  # the replay header is beyond: the opcode alone says too little
    crypt = [ovpn_crypt(7, CLIENT, 1, 5), ovpn_crypt(8, SERVER, 1, 17)]
    cut = [P(d, m[:54], wire=len(m)) for d, m in enumerate(crypt)]
    assert found(*cut)[0].strength is Strength.STRONG


def test_data_v2_in_mid_conversation_is_strong():
    (e,) = found(*[P(0, ovpn_data_v2(3, 1000 + n)) for n in range(4)])
    assert e.strength is Strength.STRONG


def test_two_data_v2_of_each_side_with_the_same_peer_id_are_strong():
    packets = [P(d, ovpn_data_v2(3, 1000 * (d + 1) + n)) for n in range(2) for d in (0, 1)]
    (e,) = found(*packets)
    assert (e.strength, e.packet) == (Strength.STRONG, 3)
    assert found(*packets[:3]) == []
    assert found(*[P(d, ovpn_data_v2(3 + d, 1000 + n)) for n in range(2) for d in (0, 1)]) == []
    assert found(*[P(d, ovpn_data_v2(1 << 16, 9 + n)) for n in range(2) for d in (0, 1)]) == []


@pytest.mark.parametrize(
    ("word", "strong"), [(b"LIVE", False), (b"H264", False), (b"H\x0264", True), (b"LIV\0", True)]
)
def test_a_word_of_four_characters_before_a_counter_is_no_data(word, strong):
    packets = [word + (7 + n).to_bytes(4) + secret(80) for n in range(8)]
    assert bool(found(*[P(n % 2, m) for n, m in enumerate(packets)])) == strong


def test_data_v2_with_epoch_keys_is_strong():
    packets = [
        ovpn_data_v2(3, 0x00010000)[:8] + n.to_bytes(4, "big") + secret(90) for n in range(5)
    ]
    assert found(*[P(0, m) for m in packets])[0].strength is Strength.STRONG


def test_data_v1_is_strong_when_both_sides_count():
    both = [P(d, ovpn_data_v1(70 + n)) for n in range(4) for d in (0, 1)]
    assert found(*both)[0].strength is Strength.STRONG
    assert found(*[p for p in both if p.direction == 0]) == []
    other = [P(d, bytes([m[0] + d]) + m[1:]) for d, m, *_ in both]
    assert found(*other) == [], "of another key"


def test_data_v2_over_tcp_is_strong():
    stream = framed(*[ovpn_data_v2(0, 40 + n, 60) for n in range(6)])
    assert found(P(0, stream), proto=TCP, start_seen=False)[0].strength is Strength.STRONG
    assert found(P(0, b"", flags=2), P(0, stream), proto=TCP) == [], "a reset comes first"


def test_data_of_changing_peer_or_jumping_packet_id_is_nothing():
    assert found(*[P(0, ovpn_data_v2(n, 1000 + n)) for n in range(8)]) == []
    assert found(*[P(0, ovpn_data_v2(3, 1000 * n)) for n in range(8)]) == []


@pytest.mark.parametrize(
    "message", [resets()[0], resets(20)[1], ovpn_crypt(7, CLIENT, 1, 5), ovpn_data_v2(1, 2)]
)
def test_every_truncation_by_snaplen_is_the_message_or_cannot_be_told(message):
    whole = kind(message)
    assert whole > 0
    for kept in range(len(message)):
        assert kind(message, kept=kept) == (whole if kept >= 9 else -1)


@pytest.mark.parametrize("hmac", [0, 20, 64])
def test_every_truncation_of_an_exchange_is_at_most_what_is_left(hmac):
    client, server = resets(hmac)
    for n in range(len(server)):
        for cut in (P(1, server[:n]), P(1, server[:n], wire=len(server))):
            for e in found(P(0, client), cut):
                assert e.strength < Strength.PROOF or n >= len(server) - 4


def test_every_truncation_of_a_tcp_exchange_is_read_without_harm():
    client, server = (framed(m) for m in resets(20))
    for n in range(len(server)):
        for e in found(P(0, client), P(1, server[:n]), proto=TCP):
            assert e.strength < Strength.PROOF or n >= len(server) - 4


def test_a_dns_query_with_a_resets_first_byte_is_not_openvpn():
    query = bytes.fromhex("38210100000100000000000003777777076578616d706c6503636f6d0000010001")
    assert found(P(0, query), P(1, query[:2] + b"\x81\x80" + query[4:])) == []


def test_gnutella_and_games_with_a_resets_opcode_are_not_openvpn():
    assert found(P(0, b"8" + secret(22))) == []
    assert found(P(0, bytes([0x38]) + secret(40)), P(1, bytes([0x40]) + secret(52))) == []


def test_gtp_u_is_not_openvpn_data():
    packets = [bytes([0x30, 255, 0, 60]) + bytes(3) + bytes([7]) + secret(60) for _ in range(9)]
    assert found(*[P(n & 1, m) for n, m in enumerate(packets)]) == []


def test_rtp_and_stun_and_dtls_are_not_openvpn():
    rtp = [bytes([0x80, 0x60, 0, n]) + secret(160) for n in range(9)]
    assert found(*[P(0, m) for m in rtp]) == []
    assert found(P(0, bytes.fromhex("000100002112a442") + secret(12))) == []
    assert found(P(0, bytes.fromhex("16fefd00000000000000000040") + secret(64))) == []


def test_tls_and_http_and_ssh_streams_are_not_openvpn():
    for stream in (
        b"\x16\x03\x01\x02\x00" + secret(512),
        b"GET / HTTP/1.1\r\n\r\n",
        b"SSH-2.0-x\r\n",
    ):
        assert found(P(0, stream), P(1, stream), proto=TCP) == []


def test_a_tcp_stream_whose_lengths_do_not_chain_is_not_openvpn():
    client, server = resets()
    assert found(P(0, framed(client) + b"\0\1\2\3"), P(1, framed(server)), proto=TCP) == []


def cbc(peer_id: int, blocks: int, mac: int = 20, block: int = 16) -> bytes:
    return (9 << 27 | peer_id).to_bytes(4, "big") + secret(mac + block + block * blocks)


@pytest.mark.parametrize(("mac", "block"), [(20, 16), (32, 16), (64, 16), (20, 8)])
def test_cbc_data_with_the_same_peer_id_both_ways_is_strong(mac, block):
    packets = [P(d, cbc(5, 2 + n + d, mac, block)) for n in range(4) for d in (0, 1)]
    (e,) = found(*packets)
    assert (e.strength, e.detail.split(",")[0]) == (
        Strength.STRONG,
        "8 data messages with the same peer id both ways",
    )


def test_cbc_data_of_one_side_or_fewer_messages_is_nothing():
    assert found(*[P(0, cbc(5, 2 + n)) for n in range(9)]) == []
    assert found(*[P(d, cbc(5, 2 + n)) for n in range(3) for d in (0, 1)]) == []


def test_a_download_of_cbc_data_needs_two_messages_of_the_other_side_and_two_sizes():
    full = [P(1, cbc(0, 90)) for _ in range(6)]
    assert found(*full, P(0, cbc(0, 4)), P(0, cbc(0, 4)))[0].strength is Strength.STRONG
    assert found(*full, P(1, cbc(0, 90)), P(0, cbc(0, 4))) == []
    assert found(*full, P(0, cbc(0, 90)), P(0, cbc(0, 90))) == []


def test_cbc_data_of_other_peers_sizes_or_a_huge_peer_id_is_nothing():
    other = [P(d, cbc(5 + d, 2)) for n in range(5) for d in (0, 1)]
    uneven = [P(d, cbc(5, 2) + secret(n)) for n in range(5) for d in (0, 1)]
    huge = [P(d, cbc(0x0A0B0C, 2)) for n in range(5) for d in (0, 1)]
    for packets in (other, uneven, huge):
        assert found(*packets) == []


def test_tcp_segments_of_one_message_each_serve_where_the_head_is_cut():
    # A snaplen of 96 keeps 30 bytes of each; the stream has a hole after the first
    messages = [
        P(0, framed(ovpn_control(7, CLIENT, hmac=20))),
        P(0, framed(ovpn_control(4, CLIENT, hmac=20, body=secret(200)))),
        P(0, framed(ovpn_control(5, CLIENT, hmac=20, packet_id=None))),
        P(0, framed(ovpn_control(4, CLIENT, hmac=20, body=secret(90)))),
    ]
    cut = [P(p.direction, p.payload[:30], wire=len(p.payload)) for p in messages]
    (e,) = found(*cut, proto=TCP)
    assert e.strength is Strength.STRONG


def test_tcp_segments_that_are_mostly_no_message_are_nothing():
    data = [P(0, framed(ovpn_data_v2(0, 40 + n))[:30], wire=106) for n in range(5)]
    other = [P(0, secret(90)) for _ in range(4)]
    assert found(*[p for pair in zip(other, data, strict=False) for p in pair], proto=TCP) == []


@pytest.mark.parametrize("kept", range(3, 11))
def test_lengths_of_two_resets_over_tcp_are_strong_where_no_session_id_was_kept(kept):
    # As a snaplen of 96 does over IPv6 with TCP's time stamps
    for client, server in (
        resets(),
        resets(64),
        (secret(54), secret(66)),
        (secret(54), secret(90)),
    ):
        said = [framed(b"\x38" + client[1:]), framed(b"\x40" + server[1:])]
        cut = [P(d, m[:kept], wire=len(m)) for d, m in enumerate(said)]
        (e,) = found(*cut, proto=TCP)
        assert (e.strength, e.packet, e.starts) == (Strength.STRONG, 1, True)
        assert found(cut[0], P(0, *cut[1][1:2], wire=cut[1].wire), proto=TCP) == []
        assert found(cut[0], P(1, cut[1].payload, wire=len(said[1]) + 1), proto=TCP) == []
