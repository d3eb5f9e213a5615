"""Tunnels in DNS: named ones by their messages, others by what they ask; look-ups are left alone."""

import struct

import pytest
from build import UDP, F, P, batch

from classifier.detectors import run_detectors
from classifier.detectors.dns_tunnel import DETECTOR
from classifier.tables import Evidence, Strength

A, NULL, CNAME, PTR, TXT, AAAA = 1, 10, 5, 12, 16, 28
VACK = b"VACK\x12\x34\x56\x78\0"
LOGIN = bytes.fromhex("10d19e10") + bytes(range(16))
PING = bytes.fromhex("10d19e30")


def name(text: str) -> bytes:
    return b"".join(bytes([len(x)]) + x.encode() for x in text.split(".")) + b"\0"


def ask(text: str, kind: int = TXT, ident: int = 7) -> bytes:
    return struct.pack(">6H", ident, 0x0100, 1, 0, 0, 0) + name(text) + struct.pack(">HH", kind, 1)


def answer(text: str, data: bytes, kind: int = TXT, *, rcode: int = 0) -> bytes:
    head = struct.pack(">6H", 7, 0x8180 | rcode, 1, 1 if data else 0, 0, 0)
    record = struct.pack(">HHHIH", 0xC00C, kind, 1, 60, len(data)) + data if data else b""
    return head + name(text) + struct.pack(">HH", kind, 1) + record


def text_of(data: bytes) -> bytes:
    return bytes([len(data)]) + data


def found(*packets: P) -> list[Evidence]:
    return run_detectors(batch(F(UDP, list(packets))), [DETECTOR])


def talk(names: list[str], kind: int, data: bytes) -> list[P]:
    return [
        P(way, message)
        for text in names
        for way, message in ((0, ask(text, kind)), (1, answer(text, data, kind)))
    ]


VERSION = "vaaaakap4aq.t.example.org"  # version 0x502, as iodine 0.8.0 asks


@pytest.mark.parametrize("reply", [VACK, b"h" + b"kzaugs2"])
def test_iodines_version_asked_and_answered_is_proof(reply: bytes) -> None:
    (e,) = found(P(0, ask(VERSION, NULL)), P(1, answer(VERSION, reply, NULL)))
    assert (e.strength, e.family, e.packet, e.starts) == (Strength.PROOF, "dns-tunnel", 1, True)


def test_iodines_version_without_an_answer_is_strong() -> None:
    assert found(P(0, ask(VERSION, NULL)))[0].strength is Strength.STRONG


def test_iodines_version_refused_by_a_resolver_is_nothing() -> None:
    assert found(P(0, ask(VERSION, NULL)), P(1, answer(VERSION, b"", NULL, rcode=3))) == []


def ping(counter: int, user: int = 0, more: int = 0) -> str:
    value = (user << 24 | 0x10 << 16 | counter) << 3 | more
    digits = [value >> 5 * n & 31 for n in range(6, -1, -1)]
    return "p" + "".join("abcdefghijklmnopqrstuvwxyz012345"[n] for n in digits)


def pings(*labels: str) -> list[P]:
    packets = []
    for label in labels:
        text = f"{label}.t.example.org"
        packets += [P(0, ask(text)), P(1, answer(text, text_of(b"t")))]
    return packets + [P(1, answer("t.example.org", text_of(b"t")))] * (6 - len(labels))


def test_three_pings_of_iodine_whose_counter_rises_are_strong() -> None:
    assert ping(0x5D6F) == "paaif01y"  # as iodine 0.8.0 sends it
    labels = [ping(0x5D6F + n) for n in range(3)]
    (e,) = found(*pings(labels[0], labels[1], labels[1].upper(), labels[2], "www", "www"))
    assert (e.strength, e.family, e.starts) == (Strength.STRONG, "dns-tunnel", False)
    assert "3 pings" in e.detail


@pytest.mark.parametrize(
    "labels",
    [
        [ping(0x5D6F), ping(0x5D70)],
        [ping(0x5D6F), ping(0x5D6E), ping(0x5D70)],
        [ping(0x5D6F), ping(0x5D9F), ping(0x5DFF)],
        [ping(0x5D6F, 16), ping(0x5D70, 16), ping(0x5D71, 16)],
        [ping(0x5D6F), ping(0x5D70, 1), ping(0x5D71, 2)],
        [ping(0x5D6F, more=1), ping(0x5D70, more=1), ping(0x5D71, more=1)],
        ["products", "pictures", "platform"],
    ],
)
def test_pings_that_are_few_or_do_not_count_are_nothing(labels: list[str]) -> None:
    six = [*labels, *["www"] * (6 - len(labels))]
    assert found(*pings(*six)) == []


def test_iodines_version_whose_answer_a_snaplen_took_is_strong() -> None:
    reply = answer(VERSION, VACK, NULL)
    (e,) = found(P(0, ask(VERSION, NULL)), P(1, reply[:40], wire=len(reply)))
    assert e.strength is Strength.STRONG


def test_iodines_own_datagrams_both_ways_are_proof() -> None:
    (e,) = found(P(0, LOGIN), P(1, LOGIN))
    assert (e.strength, e.packet) == (Strength.PROOF, 1)
    assert found(P(0, PING), P(0, PING))[0].strength is Strength.STRONG
    assert found(P(0, PING)) == []


def test_dnscat2s_session_in_two_questions_and_answers_is_proof() -> None:
    packets = []
    for ident in ("1a2b", "1a2c"):
        text = f"dnscat.{ident}01beef0011223344"
        back = text_of(f"{ident}01beef0055667788".encode())
        packets += [P(0, ask(text)), P(1, answer(text, back))]
    (e,) = found(*packets)
    assert (e.strength, e.packet) == (Strength.PROOF, 3)
    assert "0xbeef" in e.detail
    assert found(*packets[:2])[0].strength is Strength.STRONG


def test_dnscat2_with_another_session_in_the_answer_is_nothing() -> None:
    text = "1a2b01beef0011223344.t.example.org"
    assert found(P(0, ask(text)), P(1, answer(text, text_of(b"1a2b01dead0055667788")))) == []


def test_a_hash_that_points_to_its_like_elsewhere_is_nothing() -> None:
    text = "d41d018cd98f00b204e9.example.org"
    alias = answer(text, name("d41d018cd98f00b204e9.cdn.example.net"), CNAME)
    assert found(*[P(0, ask(text, A)), P(1, alias)] * 2) == []


def test_dns2tcps_control_label_answered_is_proof() -> None:
    text = "AAAAAAAAAA.=auth.t.example.org"
    (e,) = found(P(0, ask(text)), P(1, answer(text, text_of(b"HZsAAAAAAAAABASE"))))
    assert (e.strength, e.packet) == (Strength.PROOF, 1)
    assert found(P(0, ask(text)))[0].strength is Strength.STRONG
    assert found(P(0, ask(text)), P(1, answer(text, text_of(b"v=spf1 -all")))) == []


def test_dns2tcps_control_label_whose_answer_a_snaplen_took_is_strong() -> None:
    text = "AAAAAAAAAA.=auth.t.example.org"
    whole = answer(text, text_of(b"HZsAAAAAAAAABASE"))
    cut = P(1, whole[:46], wire=len(whole))
    assert found(P(0, ask(text)), cut)[0].strength is Strength.STRONG


def test_long_names_of_one_zone_with_data_in_the_answers_are_strong() -> None:
    names = [f"{i:02d}{'q' * 55}.t.example.org" for i in range(8)]
    (e,) = found(*talk(names, TXT, text_of(b"x" * 60)))
    assert e.strength is Strength.STRONG
    assert found(*talk(names[:7], TXT, text_of(b"x" * 60))) == []


def test_names_with_null_records_are_strong() -> None:
    names = [f"{i:02d}qqqq.t.example.org" for i in range(8)]
    assert found(*talk(names, NULL, b"x" * 60))[0].strength is Strength.STRONG


def test_long_names_asked_for_addresses_are_weak() -> None:
    names = [f"{i:02d}{'q' * 55}.t.example.org" for i in range(8)]
    assert found(*talk(names, A, b"x" * 30))[0].strength is Strength.WEAK


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ([f"host{i}.example.org" for i in range(12)], A),  # short
        ([f"{'q' * 55}.zone{i}.example{i}.org" for i in range(12)], TXT),  # of many zones
        ([".".join(f"{i:032x}") + ".ip6.arpa" for i in range(12)], PTR),  # reverse names
        ([f"{i:02d}{'q' * 55}._tcp.local" for i in range(12)], TXT),  # multicast DNS
        (["q" * 55 + ".t.example.org"] * 12, TXT),  # the same name again
    ],
)
def test_ordinary_look_ups_are_nothing(names: list[str], kind: int) -> None:
    assert found(*talk(names, kind, text_of(b"x" * 60))) == []


def test_long_names_without_data_in_the_answers_are_nothing() -> None:
    names = [f"{i:02d}{'q' * 55}.t.example.org" for i in range(12)]
    assert found(*talk(names, TXT, b"")) == []


@pytest.mark.parametrize("size", range(len(ask(VERSION, NULL))))
def test_every_truncation_of_a_message_gives_no_proof(size: int) -> None:
    whole = [ask(VERSION, NULL), answer(VERSION, VACK, NULL)]
    for cut in ([whole[0][:size], whole[1]], [whole[0], whole[1][:size]]):
        for wire in (None, len(whole[0])):
            packets = [P(way, data, wire=wire) for way, data in enumerate(cut)]
            assert all(e.strength <= Strength.PROOF for e in found(*packets))
    assert found(P(0, whole[0][:size]), P(1, whole[1][:size])) in ([], found(P(0, whole[0][:size])))


def one_each(*names: str, kind: int = NULL, port: int = 30001, **flow: int) -> list[F]:
    """Questions as a resolver asks them: each from a port of its own."""
    return [
        F(UDP, [P(0, ask(text, kind)), P(1, answer(text, b"data", kind))], port + n, 53, **flow)
        for n, text in enumerate(names)
    ]


def in_flows(*flows: F) -> list[tuple[int, Strength]]:
    return [(e.flow, e.strength) for e in run_detectors(batch(*flows), [DETECTOR])]


def test_questions_under_the_zone_that_a_version_names_are_strong_in_flows_of_their_own() -> None:
    asked = F(UDP, [P(0, ask(VERSION, NULL)), P(1, answer(VERSION, VACK, NULL))], 30000, 53)
    rest = one_each("lab40hei.T.example.org", "www.example.org", "a.b.t.example.org", "example.org")
    assert in_flows(asked, *rest) == [
        (0, Strength.PROOF),
        (1, Strength.STRONG),
        (3, Strength.STRONG),
    ]
    (_, e, _) = run_detectors(batch(asked, *rest), [DETECTOR])
    assert (e.detail, e.packet) == (
        "question under the zone of a tunnel (packet 2), packet 3",
        2,
    )


def test_another_host_or_server_asks_for_itself() -> None:
    asked = F(UDP, [P(0, ask(VERSION, NULL)), P(1, answer(VERSION, VACK, NULL))], 30000, 53)
    for other in ({"orig": 0x0A000002}, {"resp": 0xC6336402}):
        assert len(in_flows(asked, *one_each("lab40hei.t.example.org", **other))) == 1


def test_three_pings_in_flows_of_their_own_name_a_zone() -> None:
    labels = [ping(n).split(".")[0] + ".t.example.org" for n in (70, 71, 74)]
    assert [flow for flow, _ in in_flows(*one_each(*labels, "0abc.t.example.org"))] == [0, 1, 2, 3]
    assert in_flows(*one_each(*labels[:2], "0abc.t.example.org")) == []
    assert in_flows(*one_each(*labels[::-1], "0abc.t.example.org")) == []
    assert in_flows(*one_each(*labels[:2], labels[2].replace("t.ex", "u.ex"))) == []


def test_what_is_not_answered_by_a_record_names_no_zone() -> None:
    rest = one_each("lab40hei.t.example.org", "www.example.org")
    for answers in ([], [P(1, answer(VERSION, b"", NULL, rcode=3))]):
        asked = F(UDP, [P(0, ask(VERSION, NULL)), *answers], 30000, 53)
        assert all(flow == 0 for flow, _ in in_flows(asked, *rest))
    labels = [ping(n) + ".t.example.org" for n in (70, 71, 74)]
    refused = [
        F(UDP, [P(0, ask(label, NULL)), P(1, answer(label, b"", NULL, rcode=3))], 30000 + n, 53)
        for n, label in enumerate(labels)
    ]
    assert in_flows(*refused, *rest) == []


def test_a_control_label_of_dns2tcp_names_a_zone() -> None:
    control = "AAAAAAAAAAA.=auth.t.example.org"
    packets = [P(0, ask(control)), P(1, answer(control, text_of(b"AAAABBBBCCCCDDDD")))]
    rest = one_each("SGVsbG8.t.example.org", kind=TXT)
    assert [flow for flow, _ in in_flows(F(UDP, packets, 30000, 53), *rest)] == [0, 1]


def test_every_truncation_of_a_question_under_a_zone_is_nothing() -> None:
    asked = F(UDP, [P(0, ask(VERSION, NULL)), P(1, answer(VERSION, VACK, NULL))], 30000, 53)
    question = ask("lab40hei.t.example.org", NULL)
    for kept in range(len(question)):
        cut = F(UDP, [P(0, question[:kept], wire=len(question))], 30001, 53)
        assert len(in_flows(asked, cut)) == 1 + (kept >= len(question) - 4)  # type and class
