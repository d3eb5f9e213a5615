"""Records lie two in a cache line, where they fit."""

import numpy as np
import pytest

from classifier.registry._grow import Trie
from classifier.registry._table_kernels import SLOTS_V4, SLOTS_V6

LINE = 64


def fewest_lines(sizes):
    """Return the fewest lines that hold records, two in each at most."""
    left, lines = sorted(sizes), 0
    while left:
        largest = left.pop()
        if left and left[0] + largest <= LINE:
            left.pop(0)
        lines += 1
    return lines


@pytest.mark.parametrize(
    ("kind", "slots", "size_of"),
    [
        (np.uint16, SLOTS_V4, lambda n: (n + 1) // 2 * 4 + (n + 1) * 4),
        (np.uint64, SLOTS_V6, lambda n: -(-(n * 8 + (n + 1) * 4) // 8) * 8),
    ],
)
@pytest.mark.parametrize("n_records", [1, 2, 3, 200])
def test_no_comparison_leaves_its_line_and_no_line_is_wasted(kind, slots, size_of, n_records):
    rng = np.random.default_rng(n_records)
    n = rng.integers(1, slots + 1, n_records)
    trie = Trie(kind, slots=slots)
    starts = rng.integers(1, 1 << 15, n.sum()).astype(np.uint64)
    rows = np.arange(1, (n + 1).sum() + 1, dtype=np.uint32)
    places = trie.add_records(n, rows, starts)
    assert np.array_equal(places >> 27, n)
    begin = (places & (1 << 27) - 1).astype(np.int64) * trie.unit * 4
    sizes = np.array([size_of(k) for k in n])
    assert np.all(begin % LINE + np.maximum(sizes, 32) <= LINE)
    order = np.argsort(begin)
    assert np.all((begin + sizes)[order][:-1] <= begin[order][1:])
    assert np.unique(begin // LINE).size == fewest_lines(sizes.tolist())
    # What was written is there.
    words = trie.words()
    heads = np.cumsum(n) - n
    for k, at in enumerate(begin):
        keys = words.view(kind)[at // np.dtype(kind).itemsize :][: n[k]]
        assert np.array_equal(keys, starts[heads[k] : heads[k] + n[k]].astype(kind) - 1)
        head = -(-int(n[k]) * np.dtype(kind).itemsize // 4)
        mine = words[at // 4 + head :][: n[k] + 1]
        assert np.array_equal(mine, rows[heads[k] + k :][: n[k] + 1])
