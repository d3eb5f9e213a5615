"""Captures that threads read give what one reading gives."""

import io
import itertools
import warnings
from pathlib import Path

import frames as f
import pytest
import strategies as own
from hypothesis import given, settings
from hypothesis import strategies as st

import classifier
from classifier.datasets import demo
from classifier.pipeline import Options, Reading

PLACES = ("packets_start", "packets_stop", "orig_start", "orig_stop", "resp_start", "resp_stop")


def raw(records: list[f.Record]) -> bytes:
    return f.pcap(records, link=f.RAW, nano=True)


def outcome(sources: list[object], threads: int, **options: object) -> tuple[object, ...]:
    """Everything that comes of a reading, as plain values in the order of flows."""
    reading = Reading(list(sources), Options(threads=threads, **options))  # type: ignore[arg-type]
    found = []
    for batch in reading.batches():
        data = batch.payload.tobytes()
        for flow in batch.flows:
            packets = batch.packets[flow["packets_start"] : flow["packets_stop"]]
            fields = {n: flow[n].tolist() for n in flow.dtype.names if n not in PLACES}
            shown = [n for n in packets.dtype.names if n not in ("start", "stop")]
            rows = [{n: p[n].item() for n in shown} for p in packets]
            payload = [data[p["start"] : p["stop"]] for p in packets]
            heads = [data[flow[s + "_start"] : flow[s + "_stop"]] for s in ("orig", "resp")]
            found.append((fields, rows, payload, heads))
    found.sort(key=lambda row: row[0]["flow_id"])
    problems = [str(problem) for problem in reading.problems]
    assert reading.accounting.balanced
    return found, dict(reading.accounting), reading.captures, problems


def cut(records: list[f.Record], places: list[int]) -> list[bytes]:
    edges = [0, *sorted(places), len(records)]
    return [raw(records[a:b]) for a, b in itertools.pairwise(edges)]


traffic = st.one_of(own.bursts(), own.conversations())
places = st.lists(st.integers(0, 300), min_size=1, max_size=4)


@given(traffic, places, st.sampled_from([None, 1e-6, 600.0]), st.sampled_from([None, 30.0]))
def test_threads_read_captures_as_one_does(
    records: list[f.Record], places: list[int], idle: float | None, active: float | None
) -> None:
    files = cut(records, places)
    timeouts = {"idle_timeout_s": idle, "active_timeout_s": active}
    assert outcome(files, 3, **timeouts) == outcome(files, 1, **timeouts)


def datagram(ident: int, at: int, step: int = 0) -> list[f.Record]:
    """A datagram in three fragments."""
    body = f.udp(1000 + ident % 3, 53, bytes(range(250)) * 16)
    return [
        f.Record(
            f.START + at + i * step,
            f.ip4(body[o : o + 1480], ident=ident, fragment=o // 8, more=o < 2960),
        )
        for i, o in enumerate((0, 1480, 2960))
    ]


def filler(n: int, at: int) -> list[f.Record]:
    return [f.Record(f.START + at + i, f.ip4(f.udp(5000 + i % 9, 53, b"x"))) for i in range(n)]


@settings(max_examples=15)
@given(
    st.lists(st.sampled_from([0, 1, 4093, 4100]), min_size=4, max_size=4),
    st.lists(st.integers(0, 2), min_size=4, max_size=4),
    st.lists(st.integers(0, 7), min_size=12, max_size=12),
)
def test_fragments_at_borders_are_put_together(
    sizes: list[int], idents: list[int], slots: list[int]
) -> None:
    """Pieces of datagrams are at the beginnings and ends of captures, some far from the others."""
    pieces = [piece for i, ident in enumerate(idents) for piece in datagram(ident, i, 10**6)]
    files = []
    for i, size in enumerate(sizes):
        front, end = (
            [p for p, at in zip(pieces, slots, strict=True) if at == n] for n in (2 * i, 2 * i + 1)
        )
        files.append(raw(front + filler(size, 10**6 * i) + end))
    assert outcome(files, 2) == outcome(files, 1)


def test_a_capture_may_lie_between_the_pieces_of_a_datagram() -> None:
    first, *rest = datagram(7, 0, 1000)
    files = [raw([first]), raw(filler(10, 1)), raw(rest)]
    found = outcome(files, 2)
    assert found == outcome(files, 1)
    assert found[1]["fragments_reassembled"] == 3  # type: ignore[index,call-overload]


@pytest.mark.parametrize("between", [0, 5000])
def test_what_is_held_for_fragments_is_once_in_a_capture_that_is_read_again(between: int) -> None:
    """The second capture sends old bytes alone, so that its flow must be taken apart."""
    first, *rest = datagram(7, 0, 10**6)
    stream = [
        f.Record(f.START + i, f.ip4(f.tcp(9, 80, bytes(10), seq=10 * (i % 60)), 6))
        for i in range(110)
    ]
    second = [*filler(between, 100), *rest, *stream[60:], *filler(5000, 10**7)]
    files = [raw([*stream[:60], first]), raw(second)]
    assert outcome(files, 2) == outcome(files, 1)


def test_rows_of_the_demo_in_pieces_are_those_of_one_thread(tmp_path: Path) -> None:
    from classifier.wire import frames

    capture = demo().capture
    records = [f.Record(frame.ts_ns, frame.data, frame.wire_bytes) for frame in frames(capture)]
    paths = []
    for i, first in enumerate(range(0, len(records), 300)):
        paths.append(tmp_path / f"{i}.pcap")
        paths[-1].write_bytes(f.pcap(records[first : first + 300], link=1, nano=True))
    one, many = (classifier.classify(paths, threads=n) for n in (1, 3))
    assert len(paths) > 3
    assert one.table.equals(many.table)
    assert dict(one.accounting) == dict(many.accounting)
    batches = list(classifier.iter_flows(paths, threads=2))
    assert sum(batch.num_rows for batch in batches) == one.table.num_rows


def test_what_cannot_be_read_is_told_in_its_place(tmp_path: Path) -> None:
    records = filler(30, 0)
    cut_off = raw(records[10:20])[:-5]
    sources = [raw(records[:10]), b"no capture", cut_off, tmp_path / "missing", raw(records[20:])]
    found = outcome(sources, 2)
    assert found == outcome(sources, 1)
    assert found[1]["captures_failed"] == 2  # type: ignore[index,call-overload]
    assert len(found[3]) == 3  # type: ignore[arg-type]


def test_flows_beyond_the_most_are_evicted_as_by_one_thread() -> None:
    files = [raw(filler(50, i * 1000)) for i in range(3)]
    one, two = (outcome(files, threads, max_flows=5)[1] for threads in (1, 2))
    assert one == two
    assert two["evictions"] > 0  # type: ignore[index]


def test_a_stream_is_read_in_turn() -> None:
    records = filler(30, 0)
    files = [raw(records[:10]), raw(records[10:])]
    streams = [io.BytesIO(data) for data in files]
    assert outcome(streams, 2)[0] == outcome(files, 1)[0]


def test_time_that_runs_back_asks_for_one_thread() -> None:
    late = [
        f.Record(f.START - 3600 * f.SECOND * (i % 2) + i, r.data)
        for i, r in enumerate(filler(9000, 0))
    ]
    files = [raw(filler(9000, -(10**13))), raw(late)]
    with pytest.raises(classifier.ClassifierError, match=r"run back .*; read in one thread"):
        outcome(files, 2)


def test_reading_that_is_given_up_ends_its_threads() -> None:
    files = [raw(filler(2000, i * 10_000)) for i in range(8)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batches = Reading(list(files), Options(threads=3, idle_timeout_s=1e-9)).batches()
        next(batches)
        batches.close()


@pytest.mark.parametrize("threads", [0, -1, 257, 1.5, None, "2", True])
def test_a_number_of_threads_that_is_none_is_refused(threads: object) -> None:
    with pytest.raises(classifier.ClassifierError, match="threads"):
        classifier.classify(demo().capture, threads=threads)  # type: ignore[arg-type]
