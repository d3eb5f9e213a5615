"""The published rule for TLS inside TLS."""

import pytest
from build import TCP, F, P, batch

from classifier.detectors import run_detectors
from classifier.detectors.tls_in_tls import DETECTOR
from classifier.tables import Strength

HELLO = b"\x16\3\1\1\0\1" + bytes(250)
CCS = b"\x14\3\3\0\1\1"


def found(up: int, down: int, *, ccs: bytes = CCS, start_seen: bool = True):
    packets = [
        P(0, HELLO),
        P(1, b"\x16\3\3" + bytes(1000)),
        P(0, ccs + bytes(74)),
        P(0, bytes(up - 80)),
        P(1, bytes(down)),
        P(0, bytes(100)),
    ]
    return run_detectors(batch(F(TCP, packets, start_seen=start_seen)), [DETECTOR])


@pytest.mark.parametrize(("up", "down"), [(650, 170), (1000, 180), (700, 3000), (700, 7500)])
def test_bursts_within_the_published_bounds_are_weak(up, down):
    (e,) = found(up, down)
    assert (e.strength, e.family, e.packet) == (Strength.WEAK, "tls-in-tls", 5)


@pytest.mark.parametrize(
    ("up", "down"), [(649, 170), (1001, 170), (700, 169), (700, 181), (700, 2999), (700, 7501)]
)
def test_bursts_outside_are_nothing(up, down):
    assert found(up, down) == []


def test_without_change_cipher_spec_or_syn_nothing_is_said():
    assert found(700, 175, ccs=b"\x17\3\3\0\1\1") == []
    assert found(700, 175, start_seen=False) == []


def test_every_truncation_of_the_change_cipher_spec_is_nothing():
    for kept in range(len(CCS)):
        packets = [P(0, HELLO), P(0, CCS[:kept], wire=80), P(0, bytes(620)), P(1, bytes(175))]
        flow = F(TCP, [*packets, P(0, bytes(100))])
        assert run_detectors(batch(flow), [DETECTOR]) == []
