"""Tunnels in ICMP echoes: known headers, IP packets inside, replies unlike requests; pings are not."""

import struct

import pytest
from build import F, P, batch

from classifier.detectors import run_detectors
from classifier.detectors.icmp_tunnel import DETECTOR
from classifier.tables import Evidence, Strength

ICMP, ICMP6 = 1, 58
CLIENT, PROXY = 0x40000000, 0x80000000


def ptunnel(state: int, data: bytes = b"", *, magic: int = 0xD5200880) -> bytes:
    head = struct.pack(">I4sIIIIHH", magic, bytes([192, 0, 2, 1]), 22, state, 0, len(data), 1, 2)
    return head + data + bytes(len(data) % 2)


def ip_packet(source: int, target: int, size: int = 60) -> bytes:
    return struct.pack(">BBHHHBBHII", 0x45, 0, size, 1, 0, 64, 17, 0, source, target) + bytes(
        size - 20
    )


def found(*packets: P, proto: int = ICMP) -> list[Evidence]:
    return run_detectors(batch(F(proto, list(packets), 0, 0)), [DETECTOR])


@pytest.mark.parametrize("magic", [0xD5200880, 0xDEADC0DE, 0x12345678])
def test_ptunnels_client_and_proxy_are_proof_with_any_magic(magic: int) -> None:
    start, reply = ptunnel(CLIENT, magic=magic), ptunnel(PROXY | 2, b"SSH-2.0", magic=magic)
    (e,) = found(P(0, start), P(1, reply))
    assert (e.strength, e.family, e.packet, e.starts) == (Strength.PROOF, "icmp-tunnel", 1, True)


def test_ptunnels_client_echoed_by_a_host_is_strong_with_its_magic_alone() -> None:
    start = ptunnel(CLIENT)
    assert found(P(0, start), P(1, start))[0].strength is Strength.STRONG
    other = ptunnel(CLIENT, magic=0x12345678)
    assert found(P(0, other), P(1, other)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        ptunnel(CLIENT | 6),  # no such state
        ptunnel(CLIENT | PROXY),  # both sides
        ptunnel(CLIENT) + b"more",  # longer than it says
    ],
)
def test_a_header_that_does_not_agree_is_not_ptunnels(wrong: bytes) -> None:
    assert found(P(0, wrong), P(1, ptunnel(PROXY, magic=0x12345678))) == []


@pytest.mark.parametrize(
    ("client", "server"), [(b"hanc\x05data", b"hans\x06data"), (b"LNUT\0\1dd", b"TUNL\0\2dd")]
)
def test_known_magics_of_client_and_server_are_proof(client: bytes, server: bytes) -> None:
    assert found(P(0, client), P(1, server))[0].strength is Strength.PROOF
    assert found(P(0, client), P(1, client))[0].strength is Strength.STRONG
    assert found(P(0, client[:4] + b"\xff\xffdd"), P(1, server[:4] + b"\xff\xffdd")) == []


def test_ip_packets_of_other_hosts_both_ways_are_proof() -> None:
    there, back = ip_packet(0x0A010101, 0x0A010102), ip_packet(0x0A010102, 0x0A010101)
    (e,) = found(P(0, there), P(1, back), P(0, there), P(1, back))
    assert e.strength is Strength.PROOF
    assert found(P(0, there), P(1, there), P(0, there), P(1, there)) == []  # a ping of such data


def test_packets_that_errors_quote_are_nothing() -> None:
    """A quoted packet was sent by the host that the error goes to."""
    quoted = ip_packet(0xC6336401, 0x0A000001)
    other = ip_packet(0x0A000001, 0xC6336401)
    assert found(P(0, quoted), P(1, other), P(0, quoted), P(1, other)) == []


def test_echoes_that_the_other_side_never_sent_are_strong() -> None:
    packets = [P(i % 2, bytes([i]) * 40) for i in range(10)]
    (e,) = found(*packets)
    assert (e.strength, e.detail.split()[0]) == (Strength.STRONG, "10")
    assert found(*packets[:6]) == []
    assert found(*packets, proto=ICMP6) == []


def test_pings_both_ways_are_nothing() -> None:
    sent = [bytes([i]) * 56 for i in range(8)]
    mine = [P(way, data) for data in sent for way in (0, 1)]
    theirs = [P(1 - way, data + b"x") for data in sent for way in (0, 1)]
    assert found(*mine, *theirs) == []


def test_replies_cut_short_by_the_host_are_nothing() -> None:
    packets = [P(way, bytes([i]) * (56 if way == 0 else 12)) for i in range(8) for way in (0, 1)]
    assert found(*packets) == []


@pytest.mark.parametrize("size", range(28))
def test_every_truncation_of_ptunnels_header_is_no_proof(size: int) -> None:
    start, reply = ptunnel(CLIENT), ptunnel(PROXY)
    for wire in (None, 28):
        assert found(P(0, start[:size], wire=wire), P(1, reply[:size], wire=wire)) == []
