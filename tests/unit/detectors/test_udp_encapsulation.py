"""VXLAN, GENEVE, GTP-U and Teredo."""

import struct

import numpy as np
import pytest
from build import UDP, F, P, batch
from vpn_messages import ethernet, ipv4, ipv6, ovpn_data_v1, secret

from classifier.detectors.udp_encapsulation import DETECTOR, probe
from classifier.tables import FAMILIES, Kind, Strength

TEREDO = "20010000" + "0" * 24
ARP = bytes.fromhex("0001080006040001") + secret(20)


def vxlan(frame: bytes, network: int = 42, flags: int = 8) -> bytes:
    return struct.pack(">II", flags << 24, network << 8) + frame


def geneve(ethertype: int, content: bytes, options: bytes = b"") -> bytes:
    return struct.pack(">BBHI", len(options) // 4, 0, ethertype, 42 << 8) + options + content


def gtp(packet: bytes, flags: int = 0x30, optional: bytes = b"") -> bytes:
    return struct.pack(">BBHI", flags, 255, len(optional + packet), 7) + optional + packet


AUTHENTICATED = bytes.fromhex("00010000") + bytes(9)
ORIGIN = bytes.fromhex("0000f227") + secret(4)
GOOD = {
    "vxlan": vxlan(ethernet(ipv4())),
    "vxlan policy": b"\x88\x08\x12\x34" + vxlan(ethernet(ipv4()))[4:],
    "vxlan generic": b"\x0c\0\0\3" + vxlan(ethernet(ipv4()))[4:],
    "vxlan generic ip": b"\x0c\0\0\1" + vxlan(ipv4())[4:],
    "vxlan generic ip6": b"\x0c\0\0\2" + vxlan(ipv6())[4:],
    "vxlan arp": vxlan(ethernet(ARP, 0x0806)),
    "vxlan tagged": vxlan(ethernet(ipv6(), 0x86DD, bytes.fromhex("81000007"))),
    "vxlan padded": vxlan(ethernet(ipv4(b"x")) + bytes(60 - 35)),
    "geneve": geneve(0x6558, ethernet(ipv4())),
    "geneve ip": geneve(0x0800, ipv4(), bytes(8)),
    "gtp-u": gtp(ipv4()),
    "gtp-u six": gtp(ipv6()),
    "gtp-u sequence": gtp(ipv4(), 0x32, bytes(4)),
    "gtp-u extension": gtp(ipv4(), 0x34, bytes([0, 0, 0, 0x85, 1, 0, 9, 0])),
    "teredo": ipv6(source=TEREDO),
    "teredo origin": ORIGIN + ipv6(source=TEREDO),
    "teredo both": AUTHENTICATED + ORIGIN + ipv6(source=TEREDO),
    "teredo bubble": ipv6(b"", source=TEREDO, proto=59),
}


def found(*packets: P, **flow):
    return DETECTOR.detect(batch(F(UDP, list(packets), **flow)))


def kind(message: bytes, *, kept: int | None = None) -> int:
    data = np.frombuffer(message[:kept], np.uint8).copy()
    return probe(data, 0, data.size, len(message))


@pytest.mark.parametrize("name", GOOD)
def test_a_valid_packet_inside_is_strong_on_any_port(name):
    (e,) = found(P(0, GOOD[name]))
    assert (e.family, e.strength) == (name.split()[0], Strength.STRONG)
    assert FAMILIES[e.family] is Kind.ENCAPSULATION


@pytest.mark.parametrize("name", GOOD)
def test_every_truncation_by_snaplen_is_the_message_or_cannot_be_told(name):
    message = GOOD[name]
    told = [kind(message, kept=kept) for kept in range(len(message))]
    assert set(told) <= {-1, kind(message)}
    assert told[:8] == [-1] * 8


@pytest.mark.parametrize("name", GOOD)
def test_every_truncation_on_the_wire_is_not_ours(name):
    message = GOOD[name]
    if name == "vxlan padded":
        message = message[: 8 + 14 + 21]
    assert all(kind(message[:n]) in (0, -1) for n in range(len(message)))


@pytest.mark.parametrize(
    "message",
    [
        vxlan(ethernet(ipv4()), flags=0x0C),
        b"\x88\x80\x12\x34" + vxlan(ethernet(ipv4()))[4:],
        b"\x0c\0\0\4" + vxlan(ethernet(ipv4()))[4:],
        b"\x0c\0\1\3" + vxlan(ethernet(ipv4()))[4:],
        b"\x0c\0\0\2" + vxlan(ipv4())[4:],
        b"\x0c\0\0\1" + vxlan(ipv4())[4:] + b"more",
        vxlan(ethernet(ipv4()) + b"more than padding can be" * 3),
        vxlan(ethernet(secret(40))),
        vxlan(ethernet(ipv6())),
        geneve(0x0800, secret(40)),
        gtp(ipv4() + b"x"),
        gtp(ipv4())[:-1],
        ipv6(),
        ipv6(source=TEREDO) + b"x",
    ],
)
def test_a_header_or_content_that_does_not_fit_is_not_encapsulation(message):
    assert found(P(0, message)) == []


def test_openvpn_data_that_begins_as_gtp_u_does_is_not_gtp_u():
    assert found(*[P(0, ovpn_data_v1(0xFF005000 + n, 80)) for n in range(4)]) == []


def test_dns_with_identifier_zero_is_not_teredo():
    assert found(P(0, bytes.fromhex("000001000001000000000000") + secret(24))) == []


def test_frames_that_cannot_be_checked_are_passed_over_a_few_times():
    stp = vxlan(ethernet(secret(40), 0x88CC))
    assert found(P(0, stp), P(0, GOOD["vxlan"]))[0].packet == 1
    assert found(*[P(0, stp)] * 9, P(0, GOOD["vxlan"])) == []


def test_signalling_first_is_not_held_against_gtp_u():
    echo = bytes.fromhex("320100040000000000000000")
    assert found(P(0, echo), P(0, GOOD["gtp-u"]))[0].family == "gtp-u"
