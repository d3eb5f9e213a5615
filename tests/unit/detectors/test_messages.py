"""Messages of flows as columns: when enough of them were seen."""

import numpy as np
from build import UDP, F, P, batch

from classifier.detectors._messages import NO_ROW, Messages

TALK = [P(int(side == ">"), b"x") for side in "<<><>>"]


def enough(n: int, sides: int, *flows: list[P]) -> list[tuple[int, int]]:
    m = Messages(batch(*[F(UDP, packets) for packets in flows]), 1)
    row, count = m.enough(m.wire > 0, n, sides)
    return list(zip(row.tolist(), count.tolist(), strict=True))


def test_enough_is_the_row_at_which_the_slower_side_had_its_messages():
    assert enough(1, 2, TALK) == [(2, 3)]
    assert enough(2, 2, TALK) == [(4, 5)]
    assert enough(3, 2, TALK) == [(5, 6)]
    assert enough(4, 2, TALK) == [(NO_ROW, 6)]


def test_enough_of_either_side_is_the_row_of_the_faster_one():
    assert enough(2, 1, TALK) == [(1, 2)]
    assert enough(3, 1, TALK) == [(3, 4)]


def test_enough_keeps_flows_apart():
    assert enough(1, 2, TALK[:2], TALK, TALK[:1]) == [(NO_ROW, 2), (4, 3), (NO_ROW, 1)]
    m = Messages(batch(F(UDP, TALK)), 1)
    row, count = m.enough(np.zeros(len(TALK), np.bool_), 1)
    assert (row.tolist(), count.tolist()) == ([NO_ROW], [0])
