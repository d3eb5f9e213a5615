"""Client hellos inside QUIC: the packets of RFC 9001 and RFC 9369, in pieces, cut, and hostile."""

import itertools

import numpy as np
import pytest
from build import F, P, batch
from hypothesis import given
from hypothesis import strategies as st
from reference import quic as twin
from reference.quic import SALTS, crypto, seal
from reference.quic import keys as keys_of
from reference.tls import ja4, parse_hello
from unit.detectors.applications.examples import UDP, be, h
from unit.detectors.applications.test_tls import hello

from classifier.detectors.applications import _quic_kernels, name_applications, quic
from classifier.detectors.interface import Names

IDENTIFIER = h("8394c8f03e515708")
# RFC 9001 A.2 and RFC 9369 A.2 send the same hello.
FRAME = h(
    "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c000004"
    "13011302010000c000000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d00170018"
    "00100007000504616c706e000500050100000000003300260024001d00209370b2c9caa47fbabaf4559fedba75"
    "3de171fa71f50f1ce15d43e994ec74d748002b0003020304000d0010000e040305030603020308040805080600"
    "2d00020101001c00024001003900320408ffffffffffffffff05048000ffff07048000ffff0801100104800075"
    "300901100f088394c8f03e51570806048000ffff"
)
HELLO = FRAME[4:]
PADDED = FRAME + bytes(1162 - len(FRAME))
FINGERPRINT = ja4(parse_hello(HELLO[4:], len(HELLO) - 4), "q")
# First bytes and tag of the protected packets in the documents. The tag depends on all between.
DOCUMENTS = [
    (1, "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11d242b123dc9bd8bab936b47d",
     "e221af44860018ab0856972e194cd934"),
    (0x6B3343CF, "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485dd04de806071bf03",
     "a18b2faa745b6fe189cf772a9f84cbfc"),
]  # fmt: skip


def named(*datagrams: bytes | P, port: int = 443) -> Names:
    packets = [d if isinstance(d, P) else P(0, d) for d in datagrams]
    return name_applications(batch(F(UDP, packets, resp_port=port)))


def read(*datagrams: bytes | P) -> tuple[str, str]:
    names = named(*datagrams)
    return names.server_name[0], names.ja4[0]


WHOLE = ("example.com", FINGERPRINT)


@pytest.mark.parametrize(
    ("version", "key", "iv", "hp"),
    [
        (1, "1f369613dd76d5467730efcbe3b1a22d", "fa044b2f42a3fd3b46fb255c",
         "9f50449e04a0e810283a1e9933adedd2"),
        (0x6B3343CF, "8b1a0bc121284290a29e0971b5cd045d", "91f73e2351d8fa91660e909f",
         "45b95e15235d6f45a6b19cbcb0294ba9"),
    ],
)  # fmt: skip
def test_keys_are_those_of_the_documents(version: int, key: str, iv: str, hp: str) -> None:
    found = quic.client_keys(version, h(SALTS[version]), IDENTIFIER)
    assert found == (h(key), h(iv), h(hp)) == keys_of(version, IDENTIFIER)


@pytest.mark.parametrize(("version", "beginning", "tag"), DOCUMENTS)
def test_the_packets_of_the_documents_are_read(version: int, beginning: str, tag: str) -> None:
    packet = seal(PADDED, IDENTIFIER, version=version)
    assert packet.startswith(h(beginning))
    assert packet.endswith(h(tag))
    assert len(packet) == 1200
    assert read(packet) == WHOLE
    assert FINGERPRINT.startswith("q13d0211an")


@pytest.mark.parametrize("version", SALTS)
def test_every_version_with_a_known_salt_is_read(version: int) -> None:
    assert read(seal(PADDED, IDENTIFIER, version=version)) == WHOLE


def test_a_reserved_version_is_read_as_the_clients_own() -> None:
    negotiation = h("80 00000000 00 08") + IDENTIFIER + h("00000001 6b3343cf")
    packet = seal(PADDED, IDENTIFIER, version=0x1A2A3A4A)  # the salt of version 1
    assert read(packet, P(1, negotiation)) == WHOLE


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_packet_numbers_of_any_width_are_read(width: int) -> None:
    assert read(seal(PADDED, IDENTIFIER, width=width, packet_number=0x7B)) == WHOLE


def test_an_unknown_version_stays_quic_without_a_name() -> None:
    names = named(seal(PADDED, IDENTIFIER, version=0xFF000001))
    assert (names.application[0], names.server_name[0]) == ("quic", "")


def test_a_hello_over_two_datagrams_is_put_together() -> None:
    long = hello(values={"0015": bytes(1000)})
    message = h("01") + be(3, long)
    first = seal(crypto(0, message[:900]) + bytes(250), IDENTIFIER)
    second = seal(crypto(900, message[900:]) + bytes(500), IDENTIFIER, packet_number=3)
    expected = ("example.com", ja4(parse_hello(long, len(long)), "q"))
    assert expected[1].startswith("q13d1516h2_8daaf6152771")
    assert read(first, second) == expected
    assert read(second, first) == expected
    assert read(first, first, second)[0] == "example.com"
    assert read(first)[1] == ""
    assert read(second) == ("", "")


def test_frames_in_any_order_among_others_are_put_together() -> None:
    cuts = [0, 1, 7, 60, 100, 150, 200, len(HELLO)]
    pieces = [crypto(a, HELLO[a:b]) for a, b in itertools.pairwise(cuts)]
    ack = h("02 05 00 01 00 01 02") + h("03 05 00 00 00 01 02 03")
    mixed = pieces[3] + bytes(9) + pieces[6] + b"\x01" + pieces[0] + ack + pieces[5] + pieces[1]
    mixed += pieces[4] + bytes(300) + pieces[2]
    assert read(seal(mixed, IDENTIFIER)) == WHOLE
    assert read(seal(crypto(0, HELLO[:99]) + crypto(40, HELLO[40:]), IDENTIFIER)) == WHOLE


def test_packets_that_share_a_datagram_are_read() -> None:
    one = seal(crypto(0, HELLO[:100]), IDENTIFIER, packet_number=0)
    two = seal(crypto(100, HELLO[100:]), IDENTIFIER, packet_number=1)
    handshake = h("e0 00000001 00 00 4020") + bytes(32)
    early = h("d0 00000001 08") + IDENTIFIER + h("00 4020") + bytes(32)
    assert read(one + two) == WHOLE
    assert read(one + early + two + bytes(300)) == WHOLE
    assert read(one + handshake + two) == WHOLE


def test_after_a_retry_the_hello_is_read_under_the_new_identifier() -> None:
    other = h("f067a5502a4262b5")
    retry = h("f0 00000001 00 08") + other + b"token" + bytes(16)
    first = seal(crypto(0, HELLO[:100]) + bytes(1000), IDENTIFIER)
    again = seal(PADDED, other, token=b"token", packet_number=3)
    assert read(first, P(1, retry), again) == WHOLE
    assert read(P(1, retry), again) == WHOLE


def test_the_first_identifier_makes_the_keys_after_the_server_chose_its_own() -> None:
    first = seal(crypto(0, HELLO[:100]) + bytes(1000), IDENTIFIER)
    second = seal(
        crypto(100, HELLO[100:]) + bytes(1000), h("aabbccdd"), keyed_by=IDENTIFIER, packet_number=3
    )
    assert read(first, second) == WHOLE
    assert read(second) == ("", "")


def test_the_servers_packets_are_not_taken_for_the_clients() -> None:
    answer = seal(crypto(0, HELLO) + bytes(900), h("0102"), keyed_by=IDENTIFIER, side="server")
    assert read(P(1, answer)) == ("", "")
    assert read(P(1, answer), P(0, seal(PADDED, IDENTIFIER))) == WHOLE
    turned = [P(0, answer), P(1, seal(PADDED, IDENTIFIER))]
    assert read(*turned) == WHOLE


def test_no_truncation_of_a_datagram_has_a_name() -> None:
    packet = seal(PADDED, IDENTIFIER)
    cuts = [*range(1, 80), *range(80, 1200, 61)]
    flows = [F(UDP, [P(0, packet[:n], wire=1200)], resp_port=443) for n in cuts]
    flows += [F(UDP, [P(0, packet[:n])], resp_port=443) for n in cuts]
    names = name_applications(batch(*flows))
    assert not any(names.server_name)
    assert not any(names.ja4)


@pytest.mark.parametrize("at", [0, 3, 7, 17, 18, 22, 40, 700, 1199])
def test_a_changed_bit_leaves_no_name(at: int) -> None:
    packet = bytearray(seal(PADDED, IDENTIFIER))
    packet[at] ^= 1
    assert read(bytes(packet)) == ("", "")


@pytest.mark.parametrize(
    "frames",
    [
        b"", bytes(1000), h("01") * 500, h("06"), h("0600"), h("06ffffffffffffffff00"), h("0640"),
        h("02ffffffffffffffff") * 20, h("02 00 00 bfffffff 00") + bytes(900), h("1c000000"), h("08"),
        crypto(1, HELLO[1:]), crypto(0, HELLO[:3]), crypto(5000, HELLO), crypto(0, b"") * 300,
        crypto(0, h("02") + HELLO[1:]),
    ],
)  # fmt: skip
def test_frames_without_a_hello_leave_no_name(frames: bytes) -> None:
    assert read(seal(frames + bytes(max(0, 100 - len(frames))), IDENTIFIER)) == ("", "")


def test_a_hello_without_a_name_is_not_one_with_an_empty_fingerprint() -> None:
    body = hello(extensions="002b 000d")
    name, fingerprint = read(seal(crypto(0, h("01") + be(3, body)) + bytes(900), IDENTIFIER))
    assert (name, fingerprint[:8]) == ("", "q13i1502")


def test_the_work_for_a_flow_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, derived = [], []
    open_packet, client_keys = quic.open_packet, quic.client_keys
    monkeypatch.setattr(quic, "open_packet", lambda *a: (opened.append(1), open_packet(*a))[1])
    monkeypatch.setattr(quic, "client_keys", lambda *a: (derived.append(1), client_keys(*a))[1])
    many = b"".join(
        seal(bytes(20), IDENTIFIER[:6] + n.to_bytes(2), keyed_by=b"x") for n in range(20)
    )
    assert read(many, many, P(1, many), P(1, many)) == ("", "")
    assert len(opened) <= quic.MOST_PACKETS
    assert len(derived) <= quic.MOST_KEYS
    opened.clear()
    right = seal(bytes(20), IDENTIFIER) * 20
    assert read(right, right) == ("", "")
    assert len(opened) == quic.MOST_PACKETS


def test_no_more_than_so_many_frames_are_read() -> None:
    scattered = b"".join(crypto(i, HELLO[i : i + 1]) for i in range(len(HELLO)))
    assert len(HELLO) > _quic_kernels.MOST_PIECES
    assert read(seal(scattered, IDENTIFIER)) == ("example.com", "")
    pairs = b"".join(crypto(i, HELLO[i : i + 2]) for i in range(0, len(HELLO), 2))
    assert read(seal(pairs, IDENTIFIER)) == WHOLE


def test_flows_of_a_batch_do_not_mix() -> None:
    flows = [
        F(UDP, [P(0, seal(PADDED, n.to_bytes(8)))] if n % 3 else [P(0, b"\x01")], resp_port=443)
        for n in range(30)
    ]
    names = name_applications(batch(*flows))
    assert list(names.server_name) == ["example.com" if n % 3 else "" for n in range(30)]


@pytest.mark.parametrize(
    ("alpn", "application"),
    [(b"h3", "quic"), (b"doq", "doq"), (b"smb", "smb"), (b"\xff", "quic"), (b"", "quic")],
)
def test_the_alpn_name_says_what_quic_carries(alpn: bytes, application: str) -> None:
    body = hello(values={"0010": be(2, be(1, alpn))})
    packet = seal(crypto(0, h("01") + be(3, body)) + bytes(900), IDENTIFIER)
    assert named(packet, port=4433).application[0] == application


def chlo(name: bytes) -> bytes:
    values = b"\x2d" * 30 + name + b"Q043"
    tags = b"PAD\0" + (30).to_bytes(4, "little")
    tags += b"SNI\0" + (30 + len(name)).to_bytes(4, "little")
    tags += b"VER\0" + len(values).to_bytes(4, "little")
    return b"CHLO" + h("0300 0000") + tags + values


def test_googles_own_hello_has_its_name_in_the_clear() -> None:
    packet = (
        h("0d 6aafa8b6deba1aec") + b"Q043" + h("01") + bytes(12) + h("a001 0004") + chlo(b"g.co")
    )
    assert read(packet + bytes(900)) == ("g.co", "")
    sealed = seal(crypto(0, chlo(b"g.co")) + bytes(900), IDENTIFIER, version=0x54303531)
    assert read(sealed) == ("g.co", "")


@pytest.mark.parametrize("cut", range(0, 80, 3))
def test_googles_own_hello_is_cut_without_harm(cut: int) -> None:
    assert quic.google_name(chlo(b"google.com")[:cut]) in (b"", b"google.com")
    assert quic.google_name(b"CHLO" + h("ffff 0000") + b"SNI\0" + h("ffffffff")) == b""


FRAMES = st.one_of(
    st.builds(crypto, st.integers(0, 12), st.binary(max_size=6)),
    st.builds(crypto, st.sampled_from([4090, 4095, 4096, 20000]), st.binary(max_size=9)),
    st.sampled_from(
        [b"\0", b"\0\0\0", b"\1", h("02 05 00 01 00 0203"), h("03 05 00 00 00 01 02 03")]
    ),
    st.sampled_from(
        [h("08 00 02 6162"), h("06 ff"), h("06 00 7f"), h("1c 00"), h("02 05 00 7fff 00")]
    ),
    st.binary(max_size=5),
)
PACKETS = st.lists(st.lists(FRAMES, max_size=9).map(b"".join), max_size=3)


@given(st.lists(PACKETS, min_size=1, max_size=4))
def test_crypto_frames_are_joined_as_the_twin_does(flows: list[list[bytes]]) -> None:
    every = [packet for packets in flows for packet in packets]
    spans = np.cumsum([0, *map(len, every)])
    borders = np.cumsum([0, *map(len, flows)])
    joined = np.zeros(len(flows) * _quic_kernels.MOST_BYTES, np.uint8)
    sizes = np.zeros(len(flows), np.int64)
    data = np.frombuffer(bytearray(b"".join(every)), np.uint8)
    _quic_kernels.join_crypto(data, spans, borders, joined, sizes)
    for i, packets in enumerate(flows):
        start = i * _quic_kernels.MOST_BYTES
        found = joined[start : start + sizes[i]].tobytes()
        assert found == twin.joined(packets, _quic_kernels.MOST_PIECES, _quic_kernels.MOST_BYTES)


def test_a_long_hello_is_cut_and_no_more_pieces_than_allowed_are_joined() -> None:
    long = b"".join(crypto(at, bytes([at // 500]) * 500) for at in range(0, 6000, 500))
    scattered = b"".join(crypto(at, b"x") for at in range(300))
    for frames, size in ((long, 4096), (scattered, 200)):
        expected = twin.joined([frames], _quic_kernels.MOST_PIECES, _quic_kernels.MOST_BYTES)
        joined, sizes = np.zeros(4096, np.uint8), np.zeros(1, np.int64)
        spans = np.array([0, len(frames)])
        data = np.frombuffer(bytearray(frames), np.uint8)
        _quic_kernels.join_crypto(data, spans, np.array([0, 1]), joined, sizes)
        assert joined[: sizes[0]].tobytes() == expected
        assert len(expected) == size


SEALED = [
    seal(PADDED, IDENTIFIER),
    seal(FRAME, IDENTIFIER, version=0x6B3343CF, token=b"t" * 70),
    seal(bytes(20), IDENTIFIER, version=0x0A1A2A3A),
    h("e000000001 04 01020304 00 4015") + bytes(21),  # a packet of 0-RTT's form
    h("c000000001 15") + bytes(60),
    h("c000000001 00 00 00 13") + bytes(19),
]


@st.composite
def datagrams(draw: st.DrawFn) -> bytes:
    data = bytearray(b"".join(draw(st.lists(st.sampled_from(SEALED), min_size=1, max_size=3))))
    for at in draw(st.lists(st.integers(0, 60), max_size=2)):
        if at < len(data):
            data[at] = draw(st.sampled_from([0, 1, 20, 21, 0x40, 0x7F, 0xC0, 0xD0, 0xF0, 0xFF]))
    return bytes(data[: draw(st.just(len(data)) | st.integers(0, len(data)))])


@given(st.lists(st.lists(datagrams(), max_size=3), min_size=1, max_size=3))
def test_initial_packets_are_found_where_the_twin_finds_them(flows: list[list[bytes]]) -> None:
    some = batch(*[F(UDP, [P(i % 2, d) for i, d in enumerate(sent)]) for sent in flows])
    versions = set(quic._VERSIONS.tolist())
    sent_from = [(place, i % 2, d) for place, sent in enumerate(flows) for i, d in enumerate(sent)]
    starts = some.packets["start"].tolist()
    expected = [
        [place, side, row, version, *(start + at for at in where)]
        for row, (start, (place, side, data)) in enumerate(zip(starts, sent_from, strict=True))
        for version, *where in twin.initials(data, versions)
    ]
    assert quic.find_packets(some, np.arange(len(flows))).tolist() == expected
