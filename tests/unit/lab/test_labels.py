"""Labels come from what was started, and every flow has one."""

import pytest

from classifier.errors import LabError
from classifier.lab.labels import (
    COLUMNS,
    TCP,
    UDP,
    Claim,
    FiveTuple,
    Seen,
    five_tuple,
    label,
    rows,
    survey,
    text,
)

ETHERNET = bytes(12)


def ipv4(proto: int, src: bytes, dst: bytes, body: bytes, fragment: int = 0) -> bytes:
    """Return an Ethernet frame; the header is as RFC 791 has it, without a checksum."""
    size = (20 + len(body)).to_bytes(2)
    head = b"\x45\x00" + size + bytes(2) + fragment.to_bytes(2) + bytes([64, proto]) + bytes(2)
    return ETHERNET + b"\x08\x00" + head + src + dst + body


A, B = bytes([10, 0, 0, 1]), bytes([192, 0, 2, 1])
PORTS = (40000).to_bytes(2) + (1194).to_bytes(2) + bytes(8)
FLOW = FiveTuple(UDP, "10.0.0.1", 40000, "192.0.2.1", 1194)
VPN = Claim(UDP, "192.0.2.1", 1194, 1, "openvpn", "openvpn")


def test_five_tuple_of_a_datagram() -> None:
    assert five_tuple(ipv4(UDP, A, B, PORTS)) == FLOW


def test_tags_are_looked_behind() -> None:
    frame = ipv4(UDP, A, B, PORTS)
    assert five_tuple(frame[:12] + b"\x81\x00\x00\x64" + frame[12:]) == FLOW


def test_later_fragments_and_what_is_not_ip_have_none() -> None:
    assert five_tuple(ipv4(UDP, A, B, PORTS, fragment=100)) is None
    assert five_tuple(ipv4(UDP, A, B, PORTS, fragment=0x2000)) == FLOW
    assert five_tuple(ETHERNET + b"\x08\x06" + bytes(28)) is None


def test_ipv6_extension_headers_are_walked() -> None:
    head = b"\x60" + bytes(5) + bytes([0, 64])
    addresses = bytes(15) + b"\x01" + bytes(15) + b"\x02"
    hop_by_hop = bytes([44]) + bytes(7)
    first = bytes([UDP]) + bytes(7)
    frame = ETHERNET + b"\x86\xdd" + head + addresses + hop_by_hop + first + PORTS
    assert five_tuple(frame) == FiveTuple(UDP, "::1", 40000, "::2", 1194)


def test_survey_counts_both_directions_of_a_flow_together() -> None:
    back = ipv4(UDP, B, A, PORTS[2:4] + PORTS[:2] + bytes(8))
    there = ipv4(UDP, A, B, PORTS)
    assert survey([(there, 100), (back, 50), (there, 1)]) == {FLOW: Seen(3, 151)}


def test_a_flow_is_what_was_started_at_either_end() -> None:
    assert label(FLOW, [VPN]) == VPN
    assert label(FLOW.reversed(), [VPN]) == VPN


def test_exact_port_goes_before_any_port_and_the_later_claim_before_the_earlier() -> None:
    any_port = Claim(UDP, "192.0.2.1", 0, 0, "", "tftp")
    other = VPN._replace(family="wireguard")
    assert label(FLOW, [VPN, any_port]) == VPN
    assert label(FLOW._replace(dport=5), [VPN, any_port]) == any_port
    assert label(FLOW, [VPN, other]) == other


def test_control_messages_are_ordinary_unless_claimed() -> None:
    echo = FiveTuple(1, "10.0.0.1", 0, "192.0.2.1", 0)
    unclaimed = label(echo, [VPN])
    assert unclaimed is not None
    assert (unclaimed.is_vpn, unclaimed.family, unclaimed.application) == (0, "", "icmp")
    tunnel = Claim(1, "192.0.2.1", 0, 1, "icmp-tunnel", "icmp")
    assert label(echo, [tunnel]) == tunnel


def test_a_flow_that_nothing_explains_is_an_error() -> None:
    with pytest.raises(LabError, match=r"a\.pcapng: nothing was started at either end"):
        rows("a.pcapng", [FLOW._replace(proto=TCP)], [VPN])


def test_rows_name_each_flow_once_with_the_columns_of_the_contract() -> None:
    table = rows("a.pcapng", [FLOW, FLOW.reversed(), FLOW], [VPN])
    assert table == [
        ("a.pcapng", "udp", "10.0.0.1", 40000, "192.0.2.1", 1194, 1, "openvpn", "openvpn")
    ]
    assert text(table).splitlines()[0] == ",".join(COLUMNS)
    assert ",".join(COLUMNS).startswith("path,proto,src,sport,dst,dport,is_vpn,family")
