"""Links, IP and transport: what a packet row holds, and why a packet is in no flow."""

from typing import Any

import frames as f
import pytest
import strategies as own
from reading import read_rows

from classifier.tables import ENCAPSULATIONS, NO_WRAPPING
from classifier.wire import REASONS, Reason

IN4 = f.ip4(f.udp(40000, 53, b"question"))
IN6 = f.ip6(f.udp(40000, 53, b"question"))


def row_of(
    packet: bytes, *, link: int = f.RAW, wire: int | None = None, decapsulate: bool = False
) -> Any:
    record = f.Record(f.START, packet, wire)
    _, [(rows, payloads)] = read_rows(f.pcap([record], link=link), decapsulate=decapsulate)
    row = {name: rows[0][name].item() for name in rows.dtype.names or ()}
    return row | {"payload": payloads[0], "vlans": vlans_of(row), "wraps": wraps_of(row)}


def vlans_of(row: dict[str, int]) -> list[int]:
    ids = [row["wrapping"] >> 12 * i & 0xFFF for i in range(4)]
    return [i for i in ids if i != 0xFFF]


def wraps_of(row: dict[str, int]) -> list[str]:
    codes = [row["wrapping"] >> 48 + 4 * i & 0xF for i in range(4)]
    return [ENCAPSULATIONS[c] for c in codes if c]


def reason_of(packet: bytes, *, link: int = f.RAW, wire: int | None = None) -> Reason:
    return Reason(row_of(packet, link=link, wire=wire)["reason"])


def test_reasons_have_one_name_each() -> None:
    assert len(REASONS) == len(set(REASONS)) == max(Reason) + 1


# --- links --------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", own.LINKS)
@pytest.mark.parametrize("packet", [IN4, IN6])
def test_ip_is_found_on_each_link_type(link: int, packet: bytes) -> None:
    row = row_of(f.link(packet, link), link=link)
    assert row["reason"] == Reason.IN_FLOW
    assert row["ip_version"] == packet[0] >> 4
    assert (row["src_port"], row["dst_port"], row["payload"]) == (40000, 53, b"question")
    assert row["wrapping"] == int(NO_WRAPPING)


@pytest.mark.parametrize("link", [12, 14, 228, 229, 101])
def test_all_numbers_of_raw_ip_are_read(link: int) -> None:
    assert row_of(IN6, link=link)["ip_version"] == 6


@pytest.mark.parametrize("family", ["02000000", "00000002"])
def test_null_link_family_has_either_byte_order(family: str) -> None:
    assert reason_of(bytes.fromhex(family) + IN4, link=f.NULL) == Reason.IN_FLOW


@pytest.mark.parametrize("family", [24, 28, 30, 10])
def test_null_link_knows_ipv6_of_each_system(family: int) -> None:
    packet = family.to_bytes(4, "little") + IN6
    assert row_of(packet, link=f.NULL)["ip_version"] == 6


@pytest.mark.parametrize("family", ["02000100", "02010000", "07000000", "00000000"])
def test_null_link_of_another_family_is_not_ip(family: str) -> None:
    assert reason_of(bytes.fromhex(family) + IN4, link=f.NULL) == Reason.NON_IP_OTHER


@pytest.mark.parametrize(
    ("tags", "ids"),
    [
        ([(0x8100, 5)], [5]),
        ([(0x88A8, 100), (0x8100, 200)], [100, 200]),
        ([(0x9100, 1), (0x9200, 2), (0x8100, 3)], [1, 2, 3]),
        ([(0x8100, 0xE005)], [5]),  # priority bits are no part of the id
        ([(0x8100, i) for i in range(1, 9)], [1, 2, 3, 4]),
        ([(0x8100, 0)], [0]),  # priority tag
    ],
)
def test_vlan_ids_are_kept_outermost_first(tags: list[tuple[int, int]], ids: list[int]) -> None:
    row = row_of(f.eth(IN4, None, tags), link=f.ETHERNET)
    assert row["reason"] == Reason.IN_FLOW
    assert row["vlans"] == ids


def test_more_than_eight_tags_are_not_followed() -> None:
    assert reason_of(f.eth(IN4, None, [(0x8100, 1)] * 9), link=1) == Reason.NON_IP_OTHER


@pytest.mark.parametrize("labels", [[16], [16, 17, 18]])
@pytest.mark.parametrize("ethertype", [0x8847, 0x8848])
def test_mpls_labels_are_passed(labels: list[int], ethertype: int) -> None:
    assert row_of(f.eth(f.mpls(IN6, labels), ethertype), link=1)["ip_version"] == 6
    pseudowire = f.mpls(bytes(40), labels)
    assert reason_of(f.eth(pseudowire, ethertype), link=1) == Reason.NON_IP_MPLS


@pytest.mark.parametrize("address", [True, False])
@pytest.mark.parametrize("compressed", [True, False])
def test_ppp_fields_may_be_compressed(address: bool, compressed: bool) -> None:
    for packet in (IN4, IN6):
        framed = f.ppp(packet, address=address, compressed=compressed)
        assert row_of(framed, link=f.PPP)["payload"] == b"question"


@pytest.mark.parametrize("protocol", [0x0281, 0x0283])
def test_labels_in_ppp_are_passed(protocol: int) -> None:
    head = b"\xff\x03" + f.u16(protocol)
    for packet in (IN4, IN6):
        row = row_of(head + f.mpls(packet, [16, 17]), link=f.PPP)
        assert row["payload"] == b"question"
    assert reason_of(head + f.mpls(bytes(40), [16]), link=f.PPP) == Reason.NON_IP_MPLS
    for size in range(4, 12):
        cut = (head + f.mpls(IN4, [16, 17]))[:size]
        assert reason_of(cut, link=f.PPP) == Reason.TRUNCATED_LINK


@pytest.mark.parametrize(
    ("ethertype", "body", "reason"),
    [
        (0x0806, bytes(28), Reason.NON_IP_ARP),
        (0x8035, bytes(28), Reason.NON_IP_ARP),
        (0x0027, bytes.fromhex("424203") + bytes(36), Reason.NON_IP_LLC),
        (0x8863, bytes(20), Reason.NON_IP_PPP),
        (0x8864, bytes.fromhex("1100 0001 0004 c021 0901"), Reason.NON_IP_PPP),
        (0x88CC, bytes(20), Reason.NON_IP_LLDP),
        (0x888E, bytes(20), Reason.NON_IP_EAPOL),
        (0x88B5, bytes(20), Reason.NON_IP_OTHER),
        (0x8100, b"\x00", Reason.TRUNCATED_LINK),
        (0x8847, b"\x00", Reason.TRUNCATED_LINK),
        (0x8847, bytes.fromhex("00010140"), Reason.TRUNCATED_LINK),
        (0x8864, b"\x11\x00", Reason.TRUNCATED_LINK),
        (0x0800, b"", Reason.MALFORMED_IP_HEADER),
    ],
)
def test_frames_without_ip_are_counted_by_kind(ethertype: int, body: bytes, reason: Reason) -> None:
    assert reason_of(f.eth(body, ethertype), link=1) == reason


def test_snap_with_ip_is_read() -> None:
    snap = bytes.fromhex("aaaa03000000 0800") + IN4
    assert reason_of(f.eth(snap, len(snap)), link=1) == Reason.IN_FLOW
    cisco = bytes.fromhex("aaaa0300000c 2000") + bytes(30)
    assert reason_of(f.eth(cisco, len(cisco)), link=1) == Reason.NON_IP_LLC


def test_ppi_names_the_link_inside() -> None:
    head = bytes.fromhex("0000 0c00 01000000 00000000")
    assert reason_of(head + f.eth(IN4), link=192) == Reason.IN_FLOW
    assert reason_of(b"\x00\x00\xff\xff\x01\x00\x00\x00" + bytes(30), link=192) == (
        Reason.TRUNCATED_LINK
    )
    assert reason_of(bytes.fromhex("0000 0800 69000000") + bytes(30), link=192) == (
        Reason.UNSUPPORTED_LINK
    )


@pytest.mark.parametrize("link", own.LINKS)
def test_a_packet_without_bytes_is_truncated(link: int) -> None:
    expected = Reason.TRUNCATED_NETWORK if link == f.RAW else Reason.TRUNCATED_LINK
    assert reason_of(b"", link=link, wire=60) == expected


# --- IPv4 ---------------------------------------------------------------------------------------


def test_ipv4_options_are_passed() -> None:
    row = row_of(f.ip4(f.udp(1, 2, b"x"), options=bytes(40)))
    assert (row["payload"], row["ip_bytes"]) == (b"x", 69)


def test_ipv4_total_length_0_is_that_of_the_frame() -> None:
    """Segmentation offload: the capture point sees the packet before the length is set."""
    packet = f.ip4(f.tcp(1, 2, bytes(3000)), 6, total=0)
    row = row_of(packet)
    assert (row["ip_bytes"], row["payload_bytes"], row["truncated"]) == (3040, 3000, 0)
    cut = row_of(packet[:100], wire=3040)
    assert (cut["ip_bytes"], cut["payload_bytes"], cut["truncated"]) == (3040, 3000, 1)
    assert len(cut["payload"]) == 60


def test_bytes_after_the_ipv4_packet_are_padding() -> None:
    row = row_of(f.eth(f.ip4(f.udp(1, 2, b"x"))) + bytes(18), link=1)
    assert (row["payload"], row["payload_bytes"], row["ip_bytes"]) == (b"x", 1, 29)


def test_a_jumbo_frame_is_read() -> None:
    row = row_of(f.ip4(f.udp(1, 2, bytes(8960))))
    assert row["payload_bytes"] == len(row["payload"]) == 8960


@pytest.mark.parametrize(
    ("packet", "wire", "reason"),
    [
        (f.ip4(version=5), None, Reason.MALFORMED_IP_VERSION),
        (f.ip4(b"1234", ihl=4), None, Reason.MALFORMED_IP_HEADER),
        (f.ip4(b"1234", total=19), None, Reason.MALFORMED_IP_HEADER),
        (f.ip4(b"1234", ihl=15), None, Reason.MALFORMED_IP_HEADER),
        (IN4[:19], None, Reason.MALFORMED_IP_HEADER),
        (IN4[:19], 36, Reason.TRUNCATED_NETWORK),
        (f.ip4(bytes(60), options=bytes(20))[:39], 100, Reason.TRUNCATED_NETWORK),
        (f.ip4(b"123"), None, Reason.MALFORMED_TRANSPORT),
        (f.ip4(b"123", 6), None, Reason.MALFORMED_TRANSPORT),
        (f.ip4(f.udp(1, 2))[:23], 28, Reason.TRUNCATED_TRANSPORT),
    ],
)
def test_ipv4_packets_that_cannot_be_read(packet: bytes, wire: int | None, reason: Reason) -> None:
    assert reason_of(f.eth(packet, 0x0800), link=1, wire=wire and wire + 14) == reason


def test_ethertype_and_ip_version_must_agree() -> None:
    assert reason_of(f.eth(IN6, 0x0800), link=1) == Reason.MALFORMED_IP_VERSION
    assert reason_of(f.eth(IN4 + bytes(20), 0x86DD), link=1) == Reason.MALFORMED_IP_VERSION


# --- IPv6 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [0, 43, 60, 135, 139, 140])
@pytest.mark.parametrize("size", [6, 14, 2046])
def test_ipv6_extension_headers_are_passed(kind: int, size: int) -> None:
    body = f.extension(17, f.udp(1, 2, b"x"), body=bytes(size))
    row = row_of(f.ip6(body, kind))
    assert (row["proto"], row["payload"], row["dst_port"]) == (17, b"x", 2)


def test_a_chain_of_ipv6_extension_headers_is_followed_to_sixteen() -> None:
    body, following = f.udp(1, 2, b"x"), 17
    for n in range(1, 20):
        body, following = f.extension(following, body), 60
        assert row_of(f.ip6(body, following))["proto"] == (17 if n <= 16 else 60)


def test_ah_and_esp_end_the_chain() -> None:
    assert row_of(f.ip6(bytes(40), 51))["proto"] == 51
    assert row_of(f.ip6(bytes(40), 50))["proto"] == 50


@pytest.mark.parametrize("length", [0, 65536])
def test_ipv6_jumbo_payload_length_is_that_of_the_option(length: int) -> None:
    """RFC 2675 section 2; without the option a length of 0 is that of the frame."""
    options = b"\xc2\x04" + f.u32(length) if length else b"\x01\x04" + bytes(4)
    body = f.extension(6, f.tcp(1, 2, bytes(100)), body=options)
    row = row_of(f.ip6(body, 0, length=0))
    assert row["ip_bytes"] == 40 + (length or 128)
    assert row["payload_bytes"] == (length or 128) - 28


def test_ipv6_jumbo_payload_of_4_gb_does_not_wrap() -> None:
    body = f.extension(17, f.udp(1, 2), body=b"\xc2\x04" + f.u32(2**32 - 1))
    assert row_of(f.ip6(body, 0, length=0))["ip_bytes"] == 2**32 - 1


@pytest.mark.parametrize(
    ("packet", "wire", "reason"),
    [
        (IN6[:39], None, Reason.MALFORMED_IP_HEADER),
        (IN6[:39], 56, Reason.TRUNCATED_NETWORK),
        (f.ip6(b"\x11", 60), None, Reason.MALFORMED_IPV6_EXTENSION),
        (f.ip6(b"\x11\x01" + bytes(6), 60), None, Reason.MALFORMED_IPV6_EXTENSION),
        (f.ip6(f.extension(17, f.udp(1, 2)), 60)[:44], 56, Reason.TRUNCATED_NETWORK),
        (f.ip6(f.extension(17, b"123"), 60), None, Reason.MALFORMED_TRANSPORT),
    ],
)
def test_ipv6_packets_that_cannot_be_read(packet: bytes, wire: int | None, reason: Reason) -> None:
    assert reason_of(f.eth(packet, 0x86DD), link=1, wire=wire and wire + 14) == reason


# --- fragments ----------------------------------------------------------------------------------


def test_ipv4_fragments_are_told_apart() -> None:
    first = row_of(f.ip4(f.udp(1, 2, bytes(16), length=999), ident=7, more=True))
    later = row_of(f.ip4(bytes(24), ident=7, fragment=3))
    assert (first["fragment"], first["fragment_id"], first["dst_port"]) == (1, 7, 2)
    assert (later["fragment"], later["dst_port"], later["payload_bytes"]) == (2, 0, 24)


def test_ipv6_fragments_are_told_apart() -> None:
    datagram = f.udp(1, 2, bytes(16))
    rows = [
        row_of(f.ip6(f.fragment6(17, datagram, ident=9, offset=offset, more=more), 44))
        for offset, more in ((0, True), (3, False), (0, False))
    ]
    assert [r["fragment"] for r in rows] == [1, 2, 0]  # the last one is whole: RFC 6946
    assert [r["fragment_id"] for r in rows] == [9, 9, 9]
    assert [r["dst_port"] for r in rows] == [2, 0, 2]


# --- transport ----------------------------------------------------------------------------------


def test_udp_length_shorter_than_ip_bounds_the_payload() -> None:
    row = row_of(f.ip4(f.udp(1, 2, b"payload and more", length=15)))
    assert (row["payload"], row["payload_bytes"], row["ip_bytes"]) == (b"payload", 7, 44)


@pytest.mark.parametrize("length", [0, 7, 25, 0xFFFF])
def test_udp_length_that_cannot_be_is_ignored(length: int) -> None:
    assert row_of(f.ip4(f.udp(1, 2, b"payload", length=length)))["payload"] == b"payload"


def test_udp_lite_coverage_is_no_length() -> None:
    assert row_of(f.ip4(f.udp(1, 2, b"payload", length=8), 136))["payload"] == b"payload"


def test_tcp_fields_are_read() -> None:
    segment = f.tcp(1, 2, b"x", seq=0xFFFFFFFE, flags=0x12, options=bytes(40), checksum=0xABCD)
    row = row_of(f.ip4(segment, 6))
    assert (row["seq"], row["tcp_flags"], row["checksum"]) == (0xFFFFFFFE, 0x12, 0xABCD)
    assert (row["payload"], row["payload_bytes"]) == (b"x", 1)


def test_tcp_data_offset_beyond_the_segment_leaves_no_payload() -> None:
    row = row_of(f.ip4(f.tcp(1, 2, b"payload", offset=15), 6))
    assert (row["payload"], row["payload_bytes"], row["reason"]) == (b"", 0, 0)


def test_tcp_data_offset_below_five_is_taken_as_five() -> None:
    assert row_of(f.ip4(f.tcp(1, 2, b"payload", offset=2), 6))["payload"] == b"payload"


def test_a_snaplen_inside_the_tcp_header_keeps_the_ports() -> None:
    row = row_of(f.ip4(f.tcp(1, 2, bytes(100), seq=9), 6)[:24], wire=140)
    assert (row["dst_port"], row["payload"], row["payload_bytes"]) == (2, b"", 100)
    assert row["truncated"] == 1


@pytest.mark.parametrize("proto", [1, 58])
def test_icmp_type_and_code_are_kept(proto: int) -> None:
    row = row_of(f.ip4(b"\x08\x01" + bytes(6) + b"ping", proto))
    assert (row["icmp"], row["payload"], row["src_port"]) == (0x0801, b"ping", 0)


@pytest.mark.parametrize("proto", [33, 132])
def test_sctp_and_dccp_have_ports(proto: int) -> None:
    row = row_of(f.ip4(f.u16(5, 6) + bytes(8) + b"data", proto))
    assert (row["src_port"], row["dst_port"], row["payload"]) == (5, 6, b"data")


@pytest.mark.parametrize("proto", [47, 50, 51, 2, 89, 255])
def test_other_protocols_have_all_as_payload(proto: int) -> None:
    row = row_of(f.ip4(b"abcd", proto))
    assert (row["payload"], row["src_port"], row["dst_port"]) == (b"abcd", 0, 0)


# --- encapsulation ------------------------------------------------------------------------------

INSIDE = {
    "gre": ["gre"], "gre, all fields": ["gre"], "gre, ethernet": ["gre"], "gre in ipv6": ["gre"],
    "pptp-gre": ["pptp-gre"], "erspan": ["erspan"], "vxlan": ["vxlan"], "geneve": ["geneve"],
    "geneve, ip": ["geneve"], "gtp-u": ["gtp-u"], "gtp-u, extended": ["gtp-u"],
    "l2tp": ["l2tp"], "l2tp, all fields": ["l2tp"], "etherip": ["etherip"],
}  # fmt: skip


@pytest.mark.parametrize("packet", [IN4, IN6])
@pytest.mark.parametrize("name", sorted(INSIDE))
def test_the_inner_packet_is_the_row_with_decapsulate(name: str, packet: bytes) -> None:
    outer = own.WRAPPERS[name](packet)
    row = row_of(outer, decapsulate=True)
    assert (row["ip_version"], row["dst_port"], row["payload"]) == (packet[0] >> 4, 53, b"question")
    assert (row["wraps"], row["ip_bytes"]) == (INSIDE[name], len(packet))
    assert row_of(outer)["wraps"] == []
    assert row_of(outer)["ip_bytes"] == len(outer)


@pytest.mark.parametrize(
    ("outer", "wraps"),
    [
        (f.ip4(IN4, 4), ["ipip"]),
        (f.ip4(IN6, 41), ["6in4"]),
        (f.ip6(IN4, 4), ["4in6"]),
        (own.WRAPPERS["teredo"](IN6), ["teredo"]),
        (own.WRAPPERS["teredo, both heads"](IN6), ["teredo"]),
        (own.WRAPPERS["vxlan"](own.WRAPPERS["gre"](IN4)), ["vxlan", "gre"]),
    ],
)
def test_the_inner_packet_of_nested_and_bare_encapsulation(outer: bytes, wraps: list[str]) -> None:
    row = row_of(outer, decapsulate=True)
    assert (row["dst_port"], row["payload"], row["wraps"]) == (53, b"question", wraps)


def test_vlan_ids_inside_follow_those_outside() -> None:
    outer = f.eth(own.WRAPPERS["gre, ethernet"](IN4), None, [(0x8100, 3)])
    assert row_of(outer, link=1, decapsulate=True)["vlans"] == [3, 7]


def test_only_four_layers_are_opened() -> None:
    packet = IN4
    for _ in range(6):
        packet = f.ip4(packet, 4)
    row = row_of(packet, decapsulate=True)
    assert row["wraps"] == ["ipip"] * 4
    assert (row["proto"], row["ip_bytes"]) == (4, len(IN4) + 2 * 20)


def test_hostile_depth_is_no_recursion() -> None:
    packet = IN4
    while len(packet) < 65000:
        packet = f.ip4(packet, 4)
    assert row_of(packet, decapsulate=True)["wraps"] == ["ipip"] * 4


@pytest.mark.parametrize("name", sorted(own.WRAPPERS))
def test_an_inner_packet_that_cannot_be_read_leaves_the_outer_one(name: str) -> None:
    inner = IN6 if "teredo" in name else IN4
    outer = own.WRAPPERS[name](inner)
    broken = bytearray(outer)
    broken[-len(inner)] = inner[0] & 0xF0 | 0x1 if inner is IN4 else 0x90
    row = row_of(bytes(broken), decapsulate=True)
    assert (row["reason"], row["wraps"], row["ip_bytes"]) == (0, [], len(outer))
    for keep in range(len(outer) - len(inner) + 3):
        cut = row_of(outer[:keep], wire=len(outer), decapsulate=True)
        assert cut["wraps"] == []


@pytest.mark.parametrize(
    "payload",
    [
        f.udp(9, 4789, b"\x00" + bytes(60)),
        f.udp(9, 6081, b"\xff" + bytes(60)),
        f.udp(2152, 2152, bytes.fromhex("32ff0008") + bytes(60)),
        f.udp(2152, 2152, bytes.fromhex("34ff0008 00000000 00000085 00") + bytes(60)),
        f.udp(3544, 9, bytes.fromhex("0001ffff") + bytes(60)),
        f.udp(1701, 1701, bytes.fromhex("0202ffff ffffffff ffff") + bytes(60)),
        f.udp(1701, 1701, bytes.fromhex("c8020014") + bytes(60)),
    ],
)
def test_what_only_has_the_port_of_an_encapsulation_stays_closed(payload: bytes) -> None:
    assert row_of(f.ip4(payload), decapsulate=True)["wraps"] == []


def test_a_fragment_is_not_opened() -> None:
    assert row_of(f.ip4(IN4, 4, more=True), decapsulate=True)["wraps"] == []
    assert row_of(f.ip4(IN4, 4, fragment=9), decapsulate=True)["wraps"] == []
