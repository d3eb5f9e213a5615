"""OpenVPN with a static key: no header, whole blocks."""

import pytest
from build import TCP, UDP, F, P, batch
from vpn_messages import secret

from classifier.detectors import run_detectors
from classifier.detectors.openvpn_static import DETECTOR
from classifier.tables import Strength

MAC_AND_IV = 36  # SHA1 and AES
BLOCKS = (2, 4, 4, 6, 9, 4, 80, 4, 12, 4)


def found(*packets: P, **flow):
    return run_detectors(batch(F(UDP, list(packets), **flow)), [DETECTOR])


def talk(overhead: int = MAC_AND_IV, block: int = 16, sizes=BLOCKS) -> list[P]:
    return [P(n % 2, secret(overhead + block * size)) for n, size in enumerate(sizes)]


def test_whole_blocks_both_ways_are_strong():
    (e,) = found(*talk())
    assert (e.strength, e.family, e.packet, e.starts) == (Strength.STRONG, "openvpn", 9, False)
    assert e.detail.endswith("packets 1 and 10")


@pytest.mark.parametrize("mac", [16, 28, 32, 48, 64])
def test_other_macs_are_found(mac):
    assert found(*talk(mac + 16))


def test_blowfish_needs_more_sizes():
    sizes = (5, 7, 7, 9, 11, 13, 15, 20)
    assert found(*talk(28, 8, sizes))
    assert found(*talk(28, 8, (5, 6, 7, 8, 9, 5, 6, 7))) == []


def test_messages_in_tcp_segments_of_their_own_are_found():
    packets = [P(d, len(m).to_bytes(2) + m) for d, m, *_ in talk()]
    assert run_detectors(batch(F(TCP, packets)), [DETECTOR])
    packets[4] = P(0, packets[4].payload[:-1])
    assert run_detectors(batch(F(TCP, packets)), [DETECTOR]) == []


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
        short = size < 60 or size in (76, 84) or size % 8 != 4
        assert (found(packets[0], P(1, cut), *packets[2:]) == []) == short
        kept = found(packets[0], P(1, cut, wire=len(packets[1].payload)), *packets[2:])
        assert bool(kept) == (size >= 18)


@pytest.mark.parametrize("overhead", [36, 44, 64])
def test_blocks_twice_as_long_are_another_protocol(overhead):
    blocks = tuple(2 * size for size in BLOCKS)
    assert found(*talk(overhead - overhead % 16 + overhead % 16, sizes=blocks)) == []
