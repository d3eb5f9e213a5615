"""OpenVPN with a static key: no header, whole blocks."""

import random

import pytest
from build import TCP, UDP, F, P, batch
from vpn_messages import secret

from classifier.detectors import run_detectors
from classifier.detectors.openvpn_static import DETECTOR, _came_soon, _carries_tcp
from classifier.tables import Strength

MAC_AND_IV = 36  # SHA1 and AES
BLOCKS = (2, 4, 4, 6, 9, 4, 80, 4, 12, 4)


def found(*packets: P, **flow):
    return run_detectors(batch(F(UDP, list(packets), **flow)), [DETECTOR])


def talk(overhead: int = MAC_AND_IV, block: int = 16, sizes=BLOCKS) -> list[P]:
    return [P(n % 2, secret(overhead + block * size)) for n, size in enumerate(sizes)]


def test_whole_blocks_both_ways_are_strong():
    (e,) = found(*talk())
    assert (e.strength, e.family, e.packet, e.starts) == (Strength.STRONG, "openvpn", 7, False)
    assert e.detail.endswith("packets 1 and 8")  # from which it was known


def test_a_mac_of_28_bytes_is_strong_and_what_leaves_no_rest_weak():
    assert found(*talk(28 + 16))[0].strength is Strength.STRONG
    for mac in (16, 32, 48, 64):
        (e,) = found(*talk(mac + 16))
        assert (e.strength, e.family) == (Strength.WEAK, "openvpn")


# Behind MAC and IV, in blocks: an acknowledgement has 4, SYN and its answer have 5, a keepalive 2
OPENED = "<4 >4 <4 <5 >5 <4 <20 >4 >60 <4 >9 <4"


def inside(mac: int, exchange: str = OPENED) -> list[P]:
    sizes = [(int(word[0] == ">"), int(word[1:])) for word in exchange.split()]
    return [P(d, secret(mac + 16 + 16 * size)) for d, size in sizes]


@pytest.mark.parametrize("mac", [0, 16, 32, 48, 64])
def test_without_a_rest_a_tcp_connection_inside_is_strong(mac):
    for evidence in (found(*inside(mac)), over_tcp(inside(mac))):
        assert [(e.strength, e.family) for e in evidence] == [(Strength.STRONG, "openvpn")]
        assert "a TCP connection is opened" in evidence[0].detail


@pytest.mark.parametrize(
    "exchange",
    [
        "<4 >4 <4 <5 >6 <4 <20 >4 >60 <4 >9 <4",  # SYN answered by another size
        "<4 >4 <4 <5 <5 <4 <20 >4 >60 <4 >9 <4",  # by its own side
        "<4 >4 <4 <5 >5 <4 <20 >4 >60 <4 >9 <3",  # something between keepalive and acknowledgement
        "<4 >6 <6 <5 >5 <4 <20 >7 >60 <4 >9 <8",  # three acknowledgements
        "<4 >4 <4 <5 >5 <4 <6 >4 >8 <4 >9 <4",  # all of much the same size, and no keepalive
    ],
)
def test_without_a_rest_what_is_no_tcp_connection_stays_weak(exchange):
    for evidence in (found(*inside(32, exchange)), over_tcp(inside(32, exchange))):
        assert [e.strength for e in evidence] == [Strength.WEAK]


def test_it_is_known_when_enough_was_seen_and_never_taken_back():
    later = [*talk(), *[P(n % 2, secret(MAC_AND_IV + 16 * (5 + n))) for n in range(12)]]
    assert found(*later)[0].packet == found(*talk())[0].packet
    assert found(*later, P(0, secret(100 + 1))) == []
    (e,) = found(*inside(32), *inside(32))
    assert e.packet == 8  # the fourth message of the other side


def test_keepalives_stand_for_something_long():
    exchange = "<2 >2 <4 >4 <4 <5 >5 <4 <6 >4 >6 <4"
    assert found(*inside(32, exchange))[0].strength is Strength.STRONG


def test_one_size_fewer_will_do_beside_keepalives_and_acknowledgements():
    assert found(*talk(sizes=(2, 2, 4, 4, 7, 7, 4, 4)))[0].strength is Strength.STRONG
    assert found(*talk(sizes=(3, 3, 4, 4, 7, 7, 4, 4))) == []


def test_acknowledgements_and_keepalives_are_an_eighth_of_all():
    sizes = (4, 6, 7, 9, 11, 12, 14, 16)
    assert found(*talk(sizes=sizes))[0].strength is Strength.STRONG
    assert found(*talk(sizes=(*sizes, 17))) == []
    assert found(*talk(28 + 16, sizes=(*sizes, 17))) == []
    assert found(*talk(sizes=(5, *sizes[1:])))[0].strength is Strength.STRONG  # in Ethernet frames


def test_blowfish_needs_more_sizes():
    sizes = (5, 7, 7, 9, 11, 13, 15, 20)
    assert found(*talk(28, 8, sizes))
    assert found(*talk(28, 8, (5, 6, 7, 8, 9, 5, 6, 7))) == []


def over_tcp(packets: list[P], size: int = 0, **flow):
    """Return what is found where each message has a segment, or segments of a size hold them all."""
    framed = [P(d, len(m).to_bytes(2) + m) for d, m, *_ in packets]
    if size:
        whole = [b"".join(p.payload for p in framed if p.direction == d) for d in (0, 1)]
        framed = [
            P(d, w[i : i + size]) for d, w in enumerate(whole) for i in range(0, len(w), size)
        ]
    return run_detectors(batch(F(TCP, framed, **flow)), [DETECTOR])


FEW_BYTES = (2, 4, 4, 6, 9, 4, 10, 4, 12, 4)


@pytest.mark.parametrize("size", [0, 400, 200, 97])
def test_messages_over_tcp_are_found_however_they_are_cut_into_segments(size):
    (e,) = over_tcp(talk(sizes=FEW_BYTES), size)
    assert (e.strength, e.family, e.detail[:11]) == (Strength.STRONG, "openvpn", "8 messages ")


def test_seven_messages_over_tcp_or_one_of_a_side_are_too_few():
    assert over_tcp(talk(sizes=FEW_BYTES[:7])) == []
    packets = talk(sizes=FEW_BYTES)
    assert over_tcp([P(int(n == 3), p.payload) for n, p in enumerate(packets)]) == []


def test_one_length_over_tcp_that_is_none_or_of_another_rest_is_nothing():
    packets = talk(sizes=FEW_BYTES)
    for other in (secret(30), secret(1800), secret(MAC_AND_IV + 70)):
        assert over_tcp([*packets[:5], P(1, other), *packets[5:]]) == []


def test_no_rest_over_tcp_is_weak_and_blowfish_needs_twelve_messages():
    assert over_tcp(talk(32 + 16, sizes=FEW_BYTES))[0].strength is Strength.WEAK
    sizes = (5, 7, 7, 9, 11, 13, 15, 20, 5, 7, 9, 11)
    assert over_tcp(talk(28, 8, sizes))[0].strength is Strength.STRONG
    assert over_tcp(talk(28, 8, sizes[:11])) == []


def test_a_byte_that_stays_the_same_over_tcp_is_a_header():
    same = [P(d, m[:5] + b"\x9c" + m[6:]) for d, m, *_ in talk(sizes=FEW_BYTES)]
    assert over_tcp(same) == []


KEEPALIVE = bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748")
TIME = (1_700_000_000).to_bytes(4)


@pytest.mark.parametrize("proto", [UDP, TCP])
@pytest.mark.parametrize("mac", [b"", secret(20)], ids=["none", "sha1"])
def test_a_keepalive_in_clear_is_proof(proto, mac):
    message = mac + (1).to_bytes(4) + TIME + KEEPALIVE
    framed = message if proto == UDP else len(message).to_bytes(2) + message
    (e,) = run_detectors(batch(F(proto, [P(0, framed)])), [DETECTOR])
    assert (e.strength, e.family) == (Strength.PROOF, "openvpn")
    for other in (framed[:-1], framed + b"\0", framed[:-1] + b"\x47"):
        assert run_detectors(batch(F(proto, [P(0, other)])), [DETECTOR]) == []


def clear(packet_id: int, size: int = 60, time: bytes = TIME) -> bytes:
    return packet_id.to_bytes(4) + time + b"\x45\0" + size.to_bytes(2) + bytes(size - 4)


def test_ip_packets_in_clear_behind_a_counter_and_a_time_are_proof():
    (e,) = found(*[P(n % 2, clear(n)) for n in range(1, 5)])
    assert e.strength is Strength.PROOF
    assert found(*[P(n % 2, clear(9)) for n in range(4)]) == []
    assert found(*[P(n % 2, clear(n, time=bytes([n] * 4))) for n in range(1, 5)]) == []
    assert found(*[P(n % 2, clear(n) + b"\0") for n in range(1, 5)]) == []


def test_sizes_without_keepalive_and_acknowledgement_are_nothing():
    assert found(*talk(sizes=(8, 9, 10, 11, 8, 9, 10, 11))) == []


def test_three_sizes_are_too_few():
    assert found(*talk(sizes=(2, 4, 6, 4, 2, 4, 6, 4, 2, 4))) == []


def test_three_messages_of_a_side_are_too_few():
    assert found(*talk(sizes=BLOCKS[:7])) == []


def test_one_side_alone_is_nothing():
    assert found(*[P(0, p.payload) for p in talk()]) == []


def test_one_other_size_is_nothing():
    assert found(*talk(), P(0, secret(MAC_AND_IV + 70))) == []


@pytest.mark.parametrize("blocks", [1, 3])
def test_sizes_that_tinc_alone_sends_are_nothing(blocks):
    assert found(*talk(sizes=(blocks, *BLOCKS))) == []


@pytest.mark.parametrize("at", [0, 5, 15])
def test_a_byte_that_stays_the_same_is_a_header(at):
    packets = talk()
    same = [P(d, m[:at] + b"\x9c" + m[at + 1 :]) for d, m, *_ in packets]
    assert found(*same) == []


def test_text_of_whole_blocks_is_nothing():
    packets = [
        P(d, (b"all work and no play " * 99)[n : n + len(m)]) for n, (d, m, *_) in enumerate(talk())
    ]
    assert found(*packets) == []


def test_every_truncation_of_a_message_is_nothing_but_by_a_snaplen():
    packets = talk()
    for size in range(1, len(packets[1].payload)):
        cut = packets[1].payload[:size]
        short = size < 68 or size == 84 or size % 16 != 4
        assert (found(packets[0], P(1, cut), *packets[2:]) == []) == short
        kept = found(packets[0], P(1, cut, wire=len(packets[1].payload)), *packets[2:])
        assert bool(kept) == (size >= 18)


@pytest.mark.parametrize("overhead", [36, 44, 64])
def test_blocks_twice_as_long_are_another_protocol(overhead):
    blocks = tuple(2 * size for size in BLOCKS)
    assert found(*talk(overhead - overhead % 16 + overhead % 16, sizes=blocks)) == []


QUICK = (4, 4, 7, 7, 5, 5, 2, 2, 2, 2)


def test_sizes_drawn_from_a_few_seldom_show_a_connection() -> None:
    rng = random.Random(1)
    for sizes in ([64, 96, 112, 128], [80, 96, 112, 352], [64, 96, 96, 112, 112, 128, 368]):
        shown = 0
        for _ in range(500):
            n = rng.randint(16, 32)
            sides, often = rng.choices([0, 1], k=n), range(0, n * 50_000_000, 50_000_000)
            soon = _came_soon(sides, list(often))
            shown += _carries_tcp(sides, rng.choices(sizes, k=n), soon)
        assert shown <= (5 if 64 in sizes else 25), "more where nothing is as short as a keepalive"


def test_what_is_as_short_as_a_keepalive_comes_after_silence():
    slow = [p._replace(ts_ns=k * 600_000_000) for k, p in enumerate(talk(sizes=QUICK))]
    assert [e.strength for e in found(*slow)] == [Strength.STRONG]
    assert found(*talk(sizes=QUICK)) == []
    assert found(*talk(sizes=QUICK[:8])) != [], "one of each side asks for the peer's options"


def test_a_connection_beside_hasty_keepalives_is_nothing():
    exchange = "<2 >2 <4 >4 <4 <5 >5 <4 <6 >4 >6 <4"
    hasty = inside(32, f"{exchange} <2 >2 <2 >2")
    assert found(*hasty) == []
    slow = [p._replace(ts_ns=k * 600_000_000) for k, p in enumerate(hasty)]
    assert [e.strength for e in found(*slow)] == [Strength.STRONG]
