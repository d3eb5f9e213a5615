"""The flows of the same endpoints, told while a capture is read."""

from pathlib import Path

import frames
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import classifier
from classifier.model import PairBook, pair_features, pairs
from classifier.pipeline import Reading, make_options
from classifier.wire import capture

DEMO = classifier.datasets.demo()


def told(data: bytes | Path, **options: bool) -> np.ndarray:
    """Return what each flow was told, by flow."""
    reading = Reading([data], make_options(**options), pairs=PairBook())
    assert reading.pairs is not None
    rows = {}
    for batch in reading.batches():
        ids = batch.flows["flow_id"]
        rows.update(zip(ids.tolist(), reading.pairs.take(ids), strict=True))
    return np.array([rows[flow] for flow in sorted(rows)], np.float32).reshape(-1, 6)


def datagram(source: int, target: int, port: int) -> bytes:
    body = frames.udp(port, 443, b"a") if port % 2 else frames.tcp(port, 443, b"a")
    return frames.ip4(body, 17 if port % 2 else 6, src=source, dst=target)


captures = st.lists(
    st.builds(datagram, st.integers(1, 3), st.integers(1, 3), st.integers(1000, 1005)),
    min_size=1,
    max_size=40,
).map(lambda packets: frames.pcap(packets, link=frames.RAW))


@given(captures)
def test_book_says_what_the_table_of_flows_says(data: bytes) -> None:
    flows = np.concatenate([b.flows for b in Reading([data], make_options()).batches()])
    flows = flows[np.argsort(flows["flow_id"])]
    np.testing.assert_allclose(told(data), pair_features(flows), rtol=1e-6)


def test_book_says_the_same_of_the_demo_however_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = told(DEMO.capture)
    assert np.nanmax(whole[:, 0]) > 3
    monkeypatch.setattr("classifier.flows.table.BATCH_FLOWS", 5)
    np.testing.assert_array_equal(told(DEMO.capture), whole)
    monkeypatch.setattr(capture, "BUFFER_BYTES", 4096)
    np.testing.assert_array_equal(told(DEMO.capture), whole)


def test_captures_that_are_kept_apart_know_nothing_of_each_other() -> None:
    data = frames.pcap([datagram(1, 2, 1001)], link=frames.RAW)
    for separate, expected in ((True, [0, 0]), (False, [0])):
        reading = Reading([data, data], make_options(separate=separate), pairs=PairBook())
        assert reading.pairs is not None
        rows = [reading.pairs.take(b.flows["flow_id"]) for b in reading.batches()]
        assert np.concatenate(rows)[:, 0].tolist() == expected


def test_book_forgets_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "MOST_PAIRS", 2)
    ends = [(1, 2), (1, 3), (1, 2), (1, 4), (1, 2)]
    packets = [datagram(*pair, 1001 + 2 * k) for k, pair in enumerate(ends)]
    data = frames.pcap(packets, link=frames.RAW)
    assert told(data)[:, 0].tolist() == [0, 0, 1, 0, 0]


def test_what_was_told_is_kept_until_it_is_taken_and_no_longer() -> None:
    reading = Reading([DEMO.capture], make_options(), pairs=PairBook())
    assert reading.pairs is not None
    for batch in reading.batches():
        reading.pairs.take(batch.flows["flow_id"])
    assert reading.pairs._told == {}
