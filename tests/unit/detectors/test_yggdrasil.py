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
