"""SOCKS 4, 4a and 5: agreement, refusal, silence, and what only begins like it."""

import pytest
from build import TCP, UDP, F, P, batch

from classifier.detectors import run_detectors
from classifier.detectors.socks import DETECTOR
from classifier.tables import Evidence, Strength

# RFC 1928 sections 3, 4 and 6
GREETING, AGREED = b"\5\1\0", b"\5\0"
NAME = b"\5\1\0\3\x0bexample.com\x01\xbb"
IPV4 = b"\5\1\0\1\xc6\x33\x64\x07\x00\x50"
IPV6 = b"\5\1\0\4" + bytes(15) + b"\1\x00\x50"
REPLY = b"\5\0\0\1" + bytes(6)
# RFC 1929 section 2, RFC 1961 section 3.2
PASSWORD, GOOD, BAD = b"\1\4user\6secret", b"\1\0", b"\1\1"
TOKEN = b"\1\1\0\4abcd"
# SOCKS 4 and 4a
FOUR = b"\4\1\x00\x50\xc6\x33\x64\x07me\0"
FOUR_A = b"\4\1\x00\x50\0\0\0\7\0example.com\0"
GRANTED = b"\0\x5a" + bytes(6)


def found(*packets: P) -> list[Evidence]:
    return run_detectors(batch(F(TCP, list(packets))), [DETECTOR])


@pytest.mark.parametrize("request_", [NAME, IPV4, IPV6])
def test_method_agreed_request_and_reply_are_proof(request_):
    (e,) = found(P(0, GREETING), P(1, AGREED), P(0, request_), P(1, REPLY), P(0, b"GET /"))
    assert (e.strength, e.family, e.packet, e.starts) == (Strength.PROOF, "socks", 3, True)
    assert e.detail == "SOCKS 5 method 0 agreed, request and its reply, packets 3 and 4"


def test_name_and_password_accepted_go_before_the_request():
    talk = [P(0, b"\5\2\0\2"), P(1, b"\5\2"), P(0, PASSWORD), P(1, GOOD), P(0, NAME), P(1, REPLY)]
    (e,) = found(*talk)
    assert (e.strength, e.packet) == (Strength.PROOF, 5)


def test_name_and_password_refused_are_strong():
    (e,) = found(P(0, b"\5\1\2"), P(1, b"\5\2"), P(0, PASSWORD), P(1, BAD))
    assert (e.strength, e.packet) == (Strength.STRONG, 3)


def test_tokens_of_gssapi_both_ways_are_proof():
    (e,) = found(P(0, b"\5\1\1"), P(1, b"\5\1"), P(0, TOKEN), P(1, TOKEN))
    assert e.strength is Strength.PROOF


def test_everything_in_one_segment_each_way_is_the_same():
    (e,) = found(P(0, GREETING + NAME + b"\x16\3\1"), P(1, AGREED + REPLY))
    assert e.strength is Strength.PROOF


def test_a_request_whose_reply_was_not_seen_is_strong():
    (e,) = found(P(0, GREETING), P(1, AGREED), P(0, NAME))
    assert e.strength is Strength.STRONG


def test_an_empty_answer_of_the_server_is_no_agreement():
    (e,) = found(P(0, GREETING + NAME), P(1, b""))
    assert e.strength is Strength.WEAK


def test_the_clients_direction_alone_is_strong_with_a_request():
    (e,) = found(P(0, GREETING), P(0, NAME))
    assert e.strength is Strength.STRONG
    assert found(P(0, GREETING))[0].strength is Strength.WEAK


def test_the_servers_direction_alone_is_strong():
    (e,) = found(P(0, AGREED + REPLY))
    assert (e.strength, e.packet, e.starts) == (Strength.STRONG, 0, False)
    assert found(P(0, AGREED + REPLY[:-1])) == []


def test_all_methods_refused_is_strong():
    (e,) = found(P(0, GREETING), P(1, b"\5\xff"))
    assert (e.strength, e.packet) == (Strength.STRONG, 1)


def test_a_client_that_did_not_send_the_first_packet_is_found():
    (e,) = found(P(1, GREETING), P(0, AGREED), P(1, NAME), P(0, REPLY))
    assert (e.strength, e.starts) == (Strength.PROOF, False)


@pytest.mark.parametrize("request_", [FOUR, FOUR_A])
def test_socks_4_request_and_reply_are_proof(request_):
    (e,) = found(P(0, request_), P(1, GRANTED), P(0, b"GET /"))
    assert (e.strength, e.packet) == (Strength.PROOF, 1)


def test_socks_4_alone_is_weak_and_4a_alone_strong():
    assert found(P(0, FOUR))[0].strength is Strength.WEAK
    assert found(P(0, FOUR_A))[0].strength is Strength.STRONG
    assert found(P(0, FOUR_A), P(1, b""))[0].strength is Strength.WEAK


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        (GREETING + NAME, b"\5\1" + REPLY),  # a method that was not offered
        (b"\5\2\0\0" + NAME, AGREED + REPLY),  # a method offered twice
        (b"\5\0\1", AGREED + REPLY),  # no method
        (GREETING + b"\5\1\1\1" + bytes(6), AGREED + REPLY),  # reserved byte
        (GREETING + b"\5\4\0\1" + bytes(6), AGREED + REPLY),  # command
        (GREETING + b"\5\1\0\2" + bytes(6), AGREED + REPLY),  # kind of address
        (GREETING + b"\5\1\0\3\3\0\1\2\0\x50", AGREED + REPLY),  # no name
        (GREETING + NAME, AGREED + b"\5\x09\0\1" + bytes(6)),  # code of reply
        (GREETING + NAME, b"HTTP/1.1 400 Bad Request\r\n"),
        (FOUR, b"\0\x59" + bytes(6)),
        (FOUR, b"SSH-2.0-OpenSSH"),
        (b"\4\1\0\0\xc6\x33\x64\x07me\0", GRANTED),  # port 0
        (b"\4\1\0\x50\xff\x33\x64\x07me\0", GRANTED),  # no address of a host
        (b"\4\1\0\x50\xc6\x33\x64\x07" + b"\x80" * 300, GRANTED),
        (b"\5\0\x0b\3\x10\0\0\0", b"\5\0\x0c\3\x10\0\0\0"),  # DCE/RPC bind
    ],
)
def test_near_misses_are_nothing(said, answered):
    assert found(P(0, said), P(1, answered)) == []


def test_every_truncation_is_less_but_never_an_error():
    client, server = b"\5\2\0\2" + PASSWORD + NAME, b"\5\2" + GOOD + REPLY
    for n in range(1, len(client)):
        evidence = found(P(0, client[:n], wire=len(client)), P(1, server))
        kept = n >= len(b"\5\2\0\2")  # the methods; the server's side is whole
        assert [e.strength for e in evidence if e.strength > Strength.WEAK] == (
            [Strength.STRONG] if kept else []
        )
    other = client[: -len(NAME)] + b"\5\4"  # no command
    assert found(P(0, other, wire=len(client)), P(1, server)) == []
    for n in range(1, len(server)):
        for e in found(P(0, client), P(1, server[:n], wire=len(server))):
            assert e.strength <= Strength.STRONG
    for n in range(len(FOUR_A)):
        assert found(P(0, FOUR_A[:n]), P(1, GRANTED)) == []


# RFC 1928 section 7: relayed for 172.16.9.1, port 5004, as dante 1.4 sent it in the laboratory
RELAYED = bytes.fromhex("00000001ac100901138c8f3a11c07e")


def relayed(*packets: P) -> list[Evidence]:
    return run_detectors(batch(F(UDP, list(packets))), [DETECTOR])


def test_relayed_datagrams_both_ways_for_one_far_end_are_weak_without_their_association():
    (e,) = relayed(*[P(n % 2, RELAYED + bytes([n])) for n in range(4)])
    assert (e.strength, e.family, e.packet) == (Strength.WEAK, "socks", 3)
    assert e.detail == "4 datagrams of a SOCKS 5 relay, both ways for one far end, packets 1 and 4"


def test_a_header_with_an_address_of_the_flow_s_own_is_no_relay_s():
    for own in (0x0A000001, 0xC6336401):
        header = RELAYED[:4] + own.to_bytes(4) + RELAYED[8:]
        assert relayed(*[P(n % 2, header + bytes([n])) for n in range(4)]) == []


def test_relayed_datagrams_over_ipv6_are_read():
    header = b"\0\0\0\4" + bytes.fromhex("20010db8") + bytes(11) + b"\1\x13\x8c"
    assert relayed(*[P(n % 2, header + b"data") for n in range(4)])


@pytest.mark.parametrize("n", [1, 2, 3])
def test_fewer_than_two_relayed_datagrams_of_a_side_are_nothing(n):
    assert relayed(*[P(k % 2, RELAYED) for k in range(n)]) == []


@pytest.mark.parametrize("at", range(10))
def test_a_relay_header_that_changes_is_nothing(at):
    other = RELAYED[:at] + bytes([RELAYED[at] ^ 0x10]) + RELAYED[at + 1 :]
    assert relayed(*[P(n % 2, RELAYED) for n in range(4)], P(0, other)) == []


@pytest.mark.parametrize(
    "place",
    ["0000000100", "7f000001138c", "e0000001138c", "f8000001138c", "00100901138c", "ac1009010000"],
)
def test_a_far_end_that_nobody_can_ask_is_nothing(place):
    datagram = b"\0\0\0\1" + bytes.fromhex(place).ljust(6, b"\0") + b"data"
    assert relayed(*[P(n % 2, datagram) for n in range(4)]) == []


def test_every_truncation_of_a_relay_header_is_nothing():
    for n in range(10):
        assert relayed(*[P(k % 2, RELAYED[:n]) for k in range(4)]) == []
    assert relayed(*[P(k % 2, RELAYED[:10]) for k in range(4)])


PROXY, NAMED = 0xC6336401, 0xCB007107
DNS = b"\0\0\0\1\x08\x08\x08\x08\0\x35question"
NAME_RELAYED = b"\0\0\0\3\x07example\0\x35question"


def associated(*datagrams: bytes, place: int = NAMED, named: int = NAMED, **flow) -> list[Evidence]:
    said = b"\5\1\0" + b"\5\3\0\1" + bytes(6)
    reply = b"\5\0" + b"\5\0\0\1" + named.to_bytes(4) + b"\xc0\x01"
    tcp = F(TCP, [P(0, said), P(1, reply)], resp=PROXY, resp_port=1080)
    packets = [P(n % 2, datagram) for n, datagram in enumerate(datagrams)]
    udp = F(UDP, packets, **{"resp": place, "resp_port": 0xC001} | flow)
    return [e for e in run_detectors(batch(udp, tcp), [DETECTOR]) if e.flow == 0]


def test_datagrams_to_the_relay_that_a_proxy_named_are_proof():
    (e,) = associated(NAME_RELAYED, DNS)
    assert (e.strength, e.family, e.packet) == (Strength.PROOF, "socks", 1)
    assert e.detail.endswith("named (packet 4), packets 1 and 2")
    assert associated(DNS, DNS, place=PROXY, named=0)[0].strength is Strength.PROOF


@pytest.mark.parametrize(
    "other",
    [{"place": 0xCB007108}, {"resp_port": 0xC002}, {"orig": 0x0A000009}],
    ids=["address", "port", "client"],
)
def test_datagrams_to_another_relay_are_nothing(other):
    assert associated(NAME_RELAYED, DNS, **other) == []


@pytest.mark.parametrize("datagram", [b"\1" + DNS[1:], DNS[:3] + b"\2" + DNS[4:], DNS[:3]])
def test_a_datagram_without_the_relays_header_is_nothing(datagram):
    assert associated(DNS, DNS, DNS, datagram) == []
