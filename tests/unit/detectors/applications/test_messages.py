"""Parsers beyond fixed bytes: DNS, records, BER, hosts, runs of packets. Near misses beside hits."""

import pytest
from build import F, P, batch
from unit.detectors.applications.examples import ANSWER, NETBIOS, TCP, UDP, be, dns, h, http

from classifier.detectors.applications import name_applications


def named(*flows: F) -> list[str]:
    return list(name_applications(batch(*flows)).application)


def datagram(message: bytes, port: int = 4000) -> str:
    return named(F(UDP, [P(0, message)], resp_port=port))[0]


def test_a_query_is_dns_on_any_port() -> None:
    assert datagram(dns("example.com")) == "dns"
    assert datagram(dns("example.com", 65)) == "dns"


@pytest.mark.parametrize(
    "message",
    [
        dns("example.com")[:4] + h("0000 0000 0000 0000"),  # a query without a question
        dns("example.com")[:6] + h("0003") + dns("example.com")[8:],  # three records, no room
        dns("example.com", 0),  # type 0
        dns("example.com", 300),  # a type that is not assigned
        dns("example.com")[:-1] + b"\x09",  # class 9
        dns("example.com")[:12] + h("7f") + dns("example.com")[13:],  # a label of 127
        dns("example.com", 1, 0x4800 | 0x0100),  # operation 9
        dns("example.com") + b"more",  # bytes that no record accounts for
        dns("example.com", 1, 0x0103),  # a query with a result code
    ],
)
def test_what_is_nearly_a_dns_message_is_not_dns(message: bytes) -> None:
    assert datagram(message) == "unknown"


def test_an_mdns_answer_without_question_is_mdns_on_its_port_only_by_content() -> None:
    record = be(1, b"printer") + be(1, b"local") + b"\0" + h("0001 8001 00000078 0004 0a000001")
    answer = h("0000 8400 0000 0001 0000 0000") + record
    assert datagram(answer, 5353) == "mdns"
    assert datagram(b"\x99" * 60, 5353) == "unknown"


def test_labels_of_raw_bytes_are_dns_where_the_port_agrees() -> None:
    query = h("1a2b 0100 0001 0000 0000 0000") + be(1, b"\xbd\xbe\xbf" * 9) + b"\0" + h("000a 0001")
    assert datagram(query, 53) == "dns"
    assert datagram(query) == "unknown"


def test_a_netbios_name_is_told_from_dns_by_its_encoding() -> None:
    assert datagram(dns(NETBIOS, 32, 0x0110)) == "nbns"
    assert datagram(dns(NETBIOS.lower(), 16)) == "dns"


def test_dns_answers_over_tcp_may_be_longer_than_a_segment() -> None:
    message = be(2, dns("example.com", 1, 0x8180, ANSWER * 3, 3))
    assert named(F(TCP, [P(0, message)], resp_port=5300)) == ["dns"]
    assert named(F(TCP, [P(0, message[:-3])], resp_port=5300)) == ["unknown"]


def test_records_in_the_middle_of_a_session_are_tls() -> None:
    two = h("17 0303 0020") + b"\x9e" * 32 + h("17 0303 0018") + b"\x35" * 24
    one = two[:37]
    torn = one[:20]
    assert named(F(TCP, [P(0, two)], resp_port=9), F(TCP, [P(0, one)], resp_port=9)) == ["tls"] * 2
    assert named(F(TCP, [P(0, torn)], resp_port=9)) == ["unknown"]
    assert named(F(TCP, [P(0, torn, wire=37)], resp_port=443)) == ["tls"]


def test_records_are_found_though_the_capture_begins_inside_one() -> None:
    one = h("17 0303 0400") + b"\x9e" * 100
    packets = [P(0, b"\x42" * 200), P(0, one, wire=1029), P(0, one, wire=1029)]
    assert named(F(TCP, packets, resp_port=9)) == ["tls"]
    assert named(F(TCP, packets[:2], resp_port=9)) == ["unknown"]


@pytest.mark.parametrize("record", ["17 0305 0020", "18 0403 0020", "17 0303 0000", "17 0303 5000"])
def test_what_is_nearly_a_record_is_not_tls(record: str) -> None:
    message = h(record) + b"\x9e" * 32
    assert named(F(TCP, [P(0, message), P(1, message)], resp_port=443)) == ["unknown"]


def test_dtls_records_fill_the_datagram() -> None:
    record = h("17 fefd 0001 000000000001 0020") + b"\x7b" * 32
    assert datagram(record) == "dtls"
    assert datagram(record[:-1]) == "unknown"
    assert datagram(record + b"\0") == "unknown"


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (h("30 26 020101 0406") + b"public" + h("a019") + b"\x02" * 25, "snmp"),
        (h("30 8126 020101 0406") + b"public" + h("a019") + b"\x02" * 25, "snmp"),
        (h("30 26 020102 0406") + b"public" + h("a019") + b"\x02" * 25, "unknown"),  # no version 3
        (
            h("30 27 020101 0406") + b"public" + h("a019") + b"\x02" * 25,
            "unknown",
        ),  # a byte missing
        (h("30 85 0000000026 020101 0406") + b"public" + b"\0" * 27, "unknown"),
        (h("30 80"), "unknown"),
    ],
)
def test_snmp_is_one_value_that_fills_the_datagram(message: bytes, name: str) -> None:
    assert datagram(message) == name


def rtp(number: int, source: int = 0x11223344, kind: int = 0) -> bytes:
    return (
        h("80")
        + bytes([kind])
        + number.to_bytes(2)
        + h("00000000")
        + source.to_bytes(4)
        + b"\xd5" * 160
    )


def test_one_source_with_rising_numbers_is_rtp() -> None:
    assert named(F(UDP, [P(0, rtp(65534 + n & 0xFFFF)) for n in range(5)])) == ["rtp"]
    assert named(F(UDP, [P(n % 2, rtp(n // 2, 5 + n % 2)) for n in range(6)])) == ["rtp"]


def test_falling_numbers_or_changing_sources_are_not_rtp() -> None:
    falling = F(UDP, [P(0, rtp(900 - n)) for n in range(9)])
    several = F(UDP, [P(0, rtp(n, 77 + n)) for n in range(9)])
    few = F(UDP, [P(0, rtp(n)) for n in range(3)])
    assert named(falling, several, few) == ["unknown"] * 3


def short_header(n: int) -> bytes:
    return (
        bytes([0x40 | (n * 37 & 0x3F)])
        + h("c1d2e3f4a5b6c7d8")
        + bytes((n * 91 + k * 7) & 0xFF for k in range(40))
    )


def test_short_headers_with_one_identifier_are_quic_on_its_port() -> None:
    packets = [P(0, short_header(n)) for n in range(6)]
    assert named(F(UDP, packets, resp_port=443), F(UDP, packets, resp_port=444)) == [
        "quic",
        "unknown",
    ]


def test_a_first_byte_that_never_changes_is_no_protected_header() -> None:
    data = [P(0, h("48 000001") + n.to_bytes(4) + b"\xc3" * 60) for n in range(6)]
    assert named(F(UDP, data, resp_port=443)) == ["unknown"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Host: example.com", "example.com"),
        ("hOST:example.com:8080", "example.com"),
        ("Host: [2001:db8::1]:80", "[2001:db8::1]"),
        ("Host:", ""),
        ("X-Host: example.com", ""),
        ("Host: a\x1b]0;b", r"a\x1b]0;b"),
    ],
)
def test_the_host_line_is_the_server_name(line: str, shown: str) -> None:
    request = f"GET / HTTP/1.1\r\n{line}\r\n\r\nHost: not.this\r\n".encode("latin-1")
    names = name_applications(batch(F(TCP, [P(0, request)], resp_port=80)))
    assert (names.application[0], names.server_name[0]) == ("http", shown.replace("\x1b", r"\x1b"))


def test_a_host_that_may_go_on_beyond_the_capture_is_left_out() -> None:
    names = name_applications(batch(F(TCP, [P(0, http("GET")[:30], wire=40)], resp_port=80)))
    assert (names.application[0], names.server_name[0]) == ("http", "")


@pytest.mark.parametrize(
    "message",
    [
        b"GET / FTP/1.1\r\n\r\n",
        b"GOT / HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 OK\r\n",
        b"SSH_2.0-x\r\n",
        b"RFB 003.008\n\n\n",
        h("13") + b"BitTorrent Protocol",
        b"@RSYNC: 31\n",
    ],
)
def test_what_is_nearly_a_greeting_names_nothing(message: bytes) -> None:
    assert named(F(TCP, [P(0, message)], resp_port=40001)) == ["unknown"]


def test_stun_needs_its_cookie_and_its_length() -> None:
    good = h("0001 0008 2112a442") + bytes(12) + bytes(8)
    assert datagram(good) == "stun"
    assert datagram(good + b"\0") == "unknown"
    assert datagram(good[:4] + h("2112a443") + good[8:]) == "unknown"
    assert datagram(good[:4] + h("2112a443") + good[8:], 3478) == "stun"
