"""n2n: communities in clear, and what only looks like it."""

import pytest
from build import UDP, F, P, batch
from overlay_messages import n2n
from vpn_messages import secret

from classifier.detectors import run_detectors
from classifier.detectors.n2n import DETECTOR
from classifier.tables import Strength

NAME = b"our-village"


def found(*packets: P, **flow):
    return run_detectors(batch(F(UDP, list(packets), **flow)), [DETECTOR])


@pytest.mark.parametrize("version", [2, 3])
def test_the_same_community_both_ways_is_proof(version):
    register = n2n(NAME, 5, version=version)
    (e,) = found(P(0, register), P(1, n2n(NAME, 7, version=version, flags=0x20)))
    assert (e.strength, e.packet, e.starts, e.family) == (Strength.PROOF, 1, True, "n2n")


# As n2n 1.3.1 sends them: what stands behind the name's zero was never set
OLD = bytes.fromhex(
    "010300006c616200f87f0000c01ccdc7f87f0000d6d08fe526a47208be7f7581"
    "0200000000000000000000000000000000000000"
    "0200d06800000000000000000000000000000000"
    "010000000000000000000000000000"
)
OLD_BACK = bytes.fromhex(
    "010300006c616200c47f0000c0dcfe39c47f00007208be7f7581d6d08fe526a4"
    "0200000000000000000000000000000000000000"
    "02001e6100000000000000000000000000000000"
    "010000000000000000000000000000"
)


def test_version_1_both_ways_is_proof_and_alone_strong_when_it_comes_again():
    (e,) = found(P(0, OLD), P(1, OLD_BACK))
    assert (e.strength, e.packet, e.starts) == (Strength.PROOF, 1, False)
    assert found(P(0, OLD), P(0, OLD))[0].strength is Strength.STRONG
    assert found(P(0, OLD)) == []  # a name of three letters, once
    register = OLD[:1] + b"\1" + OLD[2:]
    assert found(P(0, register), P(1, OLD_BACK))[0].starts


@pytest.mark.parametrize("at", [0, 1, 3, 4, 32, 33, 45, 52, 60, 71])
def test_version_1_with_another_byte_is_nothing(at):
    wrong = OLD[:at] + b"\xee" + OLD[at + 1 :]
    assert found(P(0, wrong), P(1, OLD_BACK)) == []


def test_version_1_cut_by_a_snaplen_within_an_address_or_on_the_wire_is_nothing():
    for size in range(len(OLD)):
        packets = P(0, OLD[:size], wire=len(OLD)), P(1, OLD_BACK[:size], wire=len(OLD))
        assert bool(found(*packets)) == (size >= 48)
    assert found(P(0, OLD[:86]), P(1, OLD_BACK[:86])) == []


def test_packets_in_mid_conversation_are_proof_without_the_start():
    (e,) = found(P(1, n2n(NAME, 3)), P(0, n2n(NAME, 3)))
    assert (e.strength, e.starts) == (Strength.PROOF, False)


def test_one_side_is_strong_if_the_name_is_long_or_comes_again():
    assert found(P(0, n2n(NAME, 5)))[0].strength is Strength.STRONG
    assert found(P(0, n2n(b"us", 5))) == []
    assert found(P(0, n2n(b"us", 5)), P(0, n2n(b"us", 5)))[0].strength is Strength.STRONG


def test_another_community_of_the_other_side_is_no_proof():
    assert found(P(0, n2n(NAME, 5)), P(1, n2n(b"elsewhere", 7)))[0].strength is Strength.STRONG


def test_every_truncation_is_nothing_before_the_community_ends():
    message = n2n(NAME, 5)
    for kept in range(1, len(message)):
        assert bool(found(P(0, message[:kept], wire=len(message)))) == (kept >= 24)
    for n in range(1, 34):
        assert found(P(0, message[:n])) == []


@pytest.mark.parametrize(
    "message",
    [
        n2n(b"a\0b", 5),
        n2n(b"\xc3\xa4hnlich", 5),
        n2n(NAME, 0),
        n2n(NAME, 13),
        b"\x03\x07\x00\x2c" + secret(40),  # RADIUS: access reject, its authenticator is random
        b"\x01" + n2n(NAME, 5)[1:],
        n2n(NAME, 5)[:1] + b"\x80" + n2n(NAME, 5)[2:],
    ],
    ids=["hole", "not ascii", "type 0", "type 13", "radius", "version", "hops"],
)
def test_near_misses_are_nothing(message):
    assert found(P(0, message), P(1, message)) == []
