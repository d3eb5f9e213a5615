"""GRE and what is built on it: NVGRE, ERSPAN, PPTP's data."""

import struct

import numpy as np
import pytest
from build import F, P, batch
from vpn_messages import ethernet, ipv4, ipv6, secret

from classifier.detectors.gre import DETECTOR, probe
from classifier.tables import Strength

GRE = 47


def gre(ethertype: int, content: bytes, flags: int = 0, options: bytes = b"") -> bytes:
    return struct.pack(">HH", flags, ethertype) + options + content


def pptp(call: int, sequence: int, size: int = 30) -> bytes:
    return struct.pack(">HHHHI", 0x3001, 0x880B, size, call, sequence) + secret(size)


def found(*packets: P):
    return DETECTOR.detect(batch(F(GRE, list(packets))))


def kind(message: bytes, *, kept: int | None = None) -> int:
    data = np.frombuffer(message[:kept], np.uint8).copy()
    return probe(data, 0, data.size, len(message))


@pytest.mark.parametrize(
    "message",
    [
        gre(0x0800, ipv4()),
        gre(0x86DD, ipv6()),
        gre(0x0800, ipv4(), 0x2000, b"\0\0\0\x2a"),
        gre(0x0800, ipv4(), 0xB000, bytes(12)),
        gre(0x6558, ethernet(ipv4())),
        gre(0x6558, ethernet(ipv4(), tag=bytes.fromhex("81000064"))),
        gre(0x6558, ethernet(ipv4()), 0x2000, b"\0\0\0\x2a"),
    ],
)
def test_gre_with_a_valid_packet_inside_is_proof(message):
    (e,) = found(P(0, message))
    assert (e.family, e.strength) == ("gre", Strength.PROOF)


def test_gre_whose_content_cannot_be_checked_is_strong():
    assert found(P(0, gre(0x8847, secret(40))))[0].strength is Strength.STRONG
    assert found(P(0, gre(0, b"")))[0].strength is Strength.STRONG


def test_a_large_key_before_ethernet_is_nvgre():
    (e,) = found(P(0, gre(0x6558, ethernet(ipv4()), 0x2000, b"\0\x20\0\1")))
    assert (e.family, e.strength) == ("nvgre", Strength.PROOF)


def test_mirrored_frames_are_erspan():
    (e,) = found(P(0, gre(0x88BE, bytes(8) + ethernet(ipv4()), 0x1000, bytes(4))))
    assert (e.family, e.strength) == ("erspan", Strength.STRONG)


def test_pptp_data_from_both_sides_is_proof_and_from_one_strong():
    assert [(e.family, e.strength) for e in found(P(0, pptp(1, 0)), P(1, pptp(2, 0)))] == [
        ("pptp", Strength.PROOF)
    ]
    assert found(P(0, pptp(1, 0)), P(0, pptp(1, 1)))[0].strength is Strength.STRONG


def test_reserved_bits_and_wrong_lengths_are_not_gre():
    assert kind(gre(0x0800, ipv4(), 0x0010)) == 0
    assert kind(gre(0x0800, ipv4(), 0x4000)) == 0
    assert kind(gre(0x0800, b"", 0x2000)) == 0
    assert kind(pptp(1, 0)[:20]) == 0
    assert kind(struct.pack(">HHHH", 0x1001, 0x880B, 0, 1) + bytes(4)) == 0


def test_every_truncation_by_snaplen_is_read_without_harm():
    for message in (gre(0x0800, ipv4()), gre(0x6558, ethernet(ipv6(), 0x86DD)), pptp(1, 0)):
        for kept in range(len(message)):
            assert (kind(message, kept=kept) == -1) == (kept < (6 if message[1] & 1 else 4))


def test_a_packet_longer_than_its_carrier_is_not_valid():
    assert kind(gre(0x0800, ipv4()[:-1])) == 1
