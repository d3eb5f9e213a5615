"""Reading a file by stretches gives what reading it buffer by buffer gives."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import frames as f
import pytest
import strategies as own
from captures import shared
from hypothesis import given
from hypothesis import strategies as st
from reading import collect, plain

from classifier import pipeline
from classifier.datasets import demo
from classifier.errors import CaptureError
from classifier.flows import FlowTable, table
from classifier.pipeline import Options, Reading
from classifier.wire import capture, fragments

timeouts = st.sampled_from([None, 1e-6, 0.5, 600.0])


@contextmanager
def sizes(
    *, least: int, buffer: int = 4096, rows: int = 4096, most: int = 10_000
) -> Iterator[None]:
    """Read with a small buffer, fragments apart, and by stretches where so much of a file is left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capture, "LEAST_STRETCH", least)
        patch.setattr(capture, "BUFFER_BYTES", buffer)
        patch.setattr(capture, "ROWS", rows)
        patch.setattr(pipeline, "_STRETCH", most)
        patch.setattr(table, "BATCH_FLOWS", 3)
        patch.setattr(fragments, "MOST_BETWEEN", 2)
        yield


def outcome(path: Path, options: Options) -> tuple[Any, ...]:
    """Return the flows, how they were batched, the books, and what is wrong with the file."""
    reading = Reading([path], options)
    try:
        batches = list(reading.batches())
    except CaptureError as error:
        return str(error), []
    ids = [batch.flows["flow_id"].tolist() for batch in batches]
    flows = plain(collect(batches, [], FlowTable(), [], 0))
    return flows, ids, reading.accounting, [str(problem) for problem in reading.problems]


def assert_same(path: Path, options: Options, **how: int) -> None:
    with sizes(**{**how, "least": 1 << 40}):
        expected = outcome(path, options)
    with sizes(**{"least": 1, **how}):
        assert outcome(path, options) == expected


@given(
    own.conversations(most=200),
    timeouts,
    timeouts,
    st.sampled_from([1, 4, 1_000_000]),
    st.sampled_from([1, 3, 50]),
    st.sampled_from([1, 3000, 1 << 20]),
    st.integers(0, 40),
)
def test_any_conversation(
    records: list[f.Record],
    idle: float | None,
    active: float | None,
    max_flows: int,
    rows: int,
    most: int,
    cut: int,
) -> None:
    options = Options(idle_timeout_s=idle, active_timeout_s=active, max_flows=max_flows)
    whole = f.pcap(records, link=f.RAW, nano=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.pcap")
        path.write_bytes(whole[: len(whole) - cut])
        assert_same(path, options, rows=rows, most=most)


@given(own.sections(), st.integers(0, 3), st.binary(max_size=3))
def test_any_pcapng(data: bytes, copies: int, end: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.pcapng")
        path.write_bytes(data * (copies + 1) + end)
        assert_same(path, Options(), rows=5)


@given(
    own.conversations(most=12),
    own.fragmented(),
    own.fragmented(opened=True),
    st.booleans(),
    st.sampled_from([1, 2, 7, 50]),
    st.sampled_from([2048, 4096]),
)
def test_any_fragments(
    before: list[f.Record],
    some: list[f.Record],
    opened: list[f.Record],
    decapsulate: bool,
    rows: int,
    buffer: int,
) -> None:
    options = Options(decapsulate=decapsulate, idle_timeout_s=None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.pcap")
        path.write_bytes(f.pcap([*before, *some, *before, *opened], link=f.RAW, nano=True))
        assert_same(path, options, rows=rows, buffer=buffer)


@pytest.mark.parametrize("rows", [7, 4096])
def test_datagrams_put_together_between_other_packets(tmp_path: Path, rows: int) -> None:
    packets = []
    for i in range(60):
        whole = f.udp(1000 + i, 53, bytes(range(100)))
        packets.append(f.ip4(whole[:64], ident=i, more=True))
        packets.append(f.ip4(whole[64:], ident=i, fragment=8))
        packets += [f.ip4(f.udp(2000 + i, 53, bytes([i, n]))) for n in range(i % 9)]
    path = tmp_path / "a.pcap"
    path.write_bytes(f.pcap(packets, link=f.RAW))
    assert_same(path, Options(), rows=rows)
    with sizes(least=1):
        reading = Reading([path], Options())
        assert sum(batch.flows.size for batch in reading.batches()) == 60 + 53
    assert reading.accounting["fragments_reassembled"] == 120


@pytest.mark.parametrize("before", range(150, 220, 10))
def test_records_that_are_read_again_are_of_their_own_section(tmp_path: Path, before: int) -> None:
    whole = f.udp(1000, 53, bytes(range(100)))
    first, last = f.ip4(whole[:64], more=True), f.ip4(whole[64:], fragment=8)
    others = [f.ip4(f.udp(2000 + i, 53, b"a")) for i in range(before)]  # 64 bytes each, in a block
    data = f.shb() + f.idb(link=f.RAW) + b"".join(map(f.epb, [*others, first, *others[:9]]))
    data += f.shb() + f.idb() + b"".join(f.epb(f.eth(p)) for p in [*others[:20], last, *others])
    path = tmp_path / "a.pcapng"
    path.write_bytes(data)
    assert_same(path, Options())


@pytest.mark.parametrize("buffer", [4096, 70_000])
def test_the_demo(buffer: int) -> None:
    assert_same(demo().capture, Options(), buffer=buffer)


def test_captures_of_others() -> None:
    """Those with fragments, damage, several links and many interfaces are among them."""
    for path in shared()[::7]:
        assert_same(path, Options(), buffer=400_000, most=1_000_000)


@pytest.mark.parametrize("buffer", [20 * 180, 4096])
def test_fragments_are_put_together_where_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buffer: int
) -> None:
    packets = [f.ip4(f.udp(7, 53, bytes(112)))]  # with the head of the file 180 bytes
    for i in range(200):
        whole = f.udp(1000 + i, 53, bytes(range(100)))
        packets.append(f.ip4(whole[:64], ident=i, more=True))  # both pieces together, likewise
        packets.append(f.ip4(whole[64:], ident=i, fragment=8))
    path = tmp_path / "a.pcap"
    path.write_bytes(f.pcap(packets, link=f.RAW))
    found: list[int] = []
    add = Reading._add_capture

    def noted(reading: Reading, of: capture.Capture) -> None:
        found.append(of.reassembled)
        add(reading, of)

    monkeypatch.setattr(Reading, "_add_capture", noted)
    with sizes(least=1, buffer=buffer, most=1 << 20):
        for _ in Reading([path], Options()).batches():
            pass
    # But for the first buffer, which shows whether packets can be read at all; where datagrams lie
    # across buffers, for the one behind it too, and for the last packets of the file
    assert 2 * (200 - 4096 // 180 * 3) <= found[0] <= 2 * (200 - 19)


def test_nearly_all_is_read_so(monkeypatch: pytest.MonkeyPatch) -> None:
    alone: list[int] = []
    add = FlowTable.add

    def counted(self: FlowTable, packets: Any, buffer: Any) -> Any:
        alone.append(packets.size)
        return add(self, packets, buffer)

    monkeypatch.setattr(FlowTable, "add", counted)
    with sizes(least=1, most=1 << 20):
        reading = Reading([demo().capture], Options())
        for _ in reading.batches():
            pass
    assert 0 < sum(alone) < reading.accounting["packets_read"] / 4


def test_progress_ends_with_the_last_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(f.pcap([f.ip4(f.udp(7, 53, bytes(100)))] * 500, link=f.RAW))
    told: list[tuple[int, int]] = []
    with sizes(least=1, most=1 << 20):
        reading = Reading([path, path], Options(), lambda *some: told.append(some))
        for _ in reading.batches():
            pass
    size = path.stat().st_size
    assert (size, 2 * size) in told
    assert told[-1] == (2 * size, 2 * size)


def test_a_file_that_shrinks_meanwhile_ends_there(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    data = demo().capture.read_bytes()
    path.write_bytes(data)
    with sizes(least=1, most=1):
        reading = Reading([path], Options(active_timeout_s=1e-6))  # flows end at once
        batches = reading.batches()
        next(batches)
        path.write_bytes(data[: len(data) // 2])
        for _ in batches:
            pass
    assert 0 < reading.accounting["packets_read"] < 1602
    assert reading.accounting.balanced
