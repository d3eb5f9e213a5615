"""Yggdrasil: versions and keys in clear."""

import pytest
from build import TCP, F, P, batch
from overlay_messages import yggdrasil

from classifier.detectors import run_detectors
from classifier.detectors.yggdrasil import DETECTOR
from classifier.tables import Strength

META = yggdrasil()


def found(*packets: P, **flow):
    return run_detectors(batch(F(TCP, list(packets), **flow)), [DETECTOR])


def test_both_sides_are_proof():
    (e,) = found(P(0, META), P(1, yggdrasil()))
    assert (e.strength, e.packet, e.starts, e.family) == (Strength.PROOF, 1, True, "yggdrasil")


def test_one_side_is_strong():
    assert found(P(1, META))[0].strength is Strength.STRONG


@pytest.mark.parametrize("at", [0, 4, 7, 11, 13, 15, 16, 19, 21])
def test_a_changed_byte_of_the_header_is_nothing(at):
    wrong = META[:at] + bytes([META[at] ^ 0x80]) + META[at + 1 :]
    assert found(P(0, wrong), P(1, wrong)) == []


def test_every_truncation_is_nothing_before_the_key():
    for n in range(1, len(META)):
        assert bool(found(P(0, META[:n]))) == (n >= 22)


# Sent by yggdrasil 0.4.7 (Debian 12) over TCP in the laboratory
OLD = bytes.fromhex("6d65746100048c1d6aa1524dca24c76553f6a08c2ee9126a56c0273833106b5f5757a8e6777c")
OLD_PEER = bytes.fromhex(
    "6d65746100048d0fed72a9c7dd60a6494f7291bb5ec87ee71309825d38f713772804394c619b"
)


def test_keys_of_release_04_both_ways_are_proof():
    (e,) = found(P(0, OLD), P(1, OLD_PEER))
    assert (e.strength, e.packet, e.starts) == (Strength.PROOF, 1, True)
    assert found(P(1, OLD_PEER))[0].strength is Strength.STRONG


@pytest.mark.parametrize("at", [0, 3, 4, 5])
def test_a_changed_byte_of_the_old_header_is_nothing(at):
    wrong = OLD[:at] + bytes([OLD[at] ^ 0x40]) + OLD[at + 1 :]
    assert found(P(0, wrong), P(1, wrong)) == []


def test_every_truncation_of_the_old_message_is_nothing_before_enough_of_the_key():
    for n in range(1, len(OLD)):
        assert bool(found(P(0, OLD[:n]))) == (n >= 22)


def test_the_word_before_text_is_nothing():
    assert found(P(0, OLD[:6] + b"name=viewport content=width=device")) == []
