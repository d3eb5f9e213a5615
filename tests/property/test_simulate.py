"""The box's kernels equal their slow twins, and lose or invent nothing."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from reference import queueing

from classifier.simulate._kernels import hold_back, serve

packets = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 30), st.integers(0, 2)), min_size=0, max_size=60
)


@given(packets, st.integers(1, 3), st.one_of(st.none(), st.integers(1, 4)))
def test_queues_equal_the_twin(
    rows: list[tuple[int, int, int]], servers: int, room: int | None
) -> None:
    gaps, service, queue = ([row[i] for row in rows] for i in range(3))
    arrive = np.cumsum(gaps).astype(np.float64) if rows else np.zeros(0)
    depart = np.empty(len(rows))
    serve(
        arrive,
        np.array(service, np.float64),
        np.array(queue, np.int32),
        np.zeros((3, servers)),
        np.zeros((3, room or 0)),
        np.zeros(3, np.int64),
        depart,
    )
    twin = queueing.serve(
        [Fraction(t) for t in arrive], [Fraction(s) for s in service], queue, servers, room
    )
    assert depart.tolist() == [-1.0 if t is None else float(t) for t in twin]


@given(packets, st.integers(1, 40), st.integers(0, 50))
def test_token_buckets_equal_the_twin(
    rows: list[tuple[int, int, int]], burst: int, most: int
) -> None:
    gaps, sizes, bucket = ([row[i] for row in rows] for i in range(3))
    arrive = np.cumsum(gaps).astype(np.float64) if rows else np.zeros(0)
    depart = np.empty(len(rows))
    rate = 0.25  # bytes per ns: a power of two, so that floats are exact
    hold_back(
        arrive,
        np.array(sizes, np.int64),
        np.array(bucket, np.int32),
        rate,
        float(burst),
        float(most),
        np.full(3, float(burst)),
        np.zeros(3),
        depart,
    )
    twin = queueing.hold_back(
        [Fraction(t) for t in arrive], sizes, bucket, Fraction(rate), burst, Fraction(most)
    )
    assert depart.tolist() == [-1.0 if t is None else float(t) for t in twin]
