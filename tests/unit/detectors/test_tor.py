"""Tor's cells in TLS records."""

import pytest
from build import TCP, F, P, batch
from vpn_messages import secret

from classifier.detectors import run_detectors
from classifier.detectors.tor import DETECTOR
from classifier.tables import Strength

HELLO = b"\x16\3\3\0\x50\1" + bytes(79)


def record(size: int) -> bytes:
    return b"\x17\3\3" + size.to_bytes(2) + secret(size)


def found(*records: tuple[int, int], kept: int | None = None):
    packets = [P(0, HELLO), P(1, HELLO)]
    packets += [P(d, record(n)[:kept], wire=n + 5) for d, n in records]
    return run_detectors(batch(F(TCP, packets)), [DETECTOR])


@pytest.mark.parametrize("added", [16, 17, 24])
def test_three_records_of_cells_each_way_are_weak(added):
    (e,) = found(*[(n % 2, 514 * (1 + n // 4) + added) for n in range(6)])
    assert (e.strength, e.family, e.packet) == (Strength.WEAK, "tor", 7)


def test_two_records_one_way_are_nothing():
    assert found(*[(int(n > 3), 531) for n in range(6)]) == []


def test_records_with_different_additions_are_nothing():
    assert found(*[(n % 2, 514 + (16, 17, 24)[n % 3]) for n in range(6)]) == []


def test_cells_of_512_bytes_are_nothing():
    assert found(*[(n % 2, 512 + 17) for n in range(12)]) == []


def test_cells_among_more_records_of_other_sizes_are_nothing():
    other = [(n % 2, 700 + n) for n in range(10)]
    assert found(*[(n % 2, 531) for n in range(6)], *other) == []


def test_every_truncation_of_the_record_header_is_nothing():
    for kept in range(5):
        assert found(*[(n % 2, 531) for n in range(8)], kept=kept) == []
    assert found(*[(n % 2, 531) for n in range(8)], kept=5) != []
