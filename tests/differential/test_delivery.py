"""However a capture comes, its rows are the same: packed, in four files, from a pipe, as bytes."""

import gzip
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import dpkt
import frames as f
import pytest

from classifier.datasets import demo
from classifier.pipeline import make_options
from classifier.run import replay
from classifier.wire import Source

DEMO = demo()
PIECE = 200  # bytes of an IP payload in one fragment, a multiple of 8


def in_fragments(frame: bytes, ident: int) -> list[bytes]:
    """Cut the IPv4 datagram in an Ethernet frame into fragments."""
    header, payload = frame[14:34], frame[34 : 14 + int.from_bytes(frame[16:18])]
    out = []
    for at in range(0, len(payload), PIECE):
        more = 0x2000 if at + PIECE < len(payload) else 0
        ip = header[:2] + f.u16(20 + len(payload[at : at + PIECE]), ident, more | at // 8)
        out.append(frame[:14] + ip + header[8:] + payload[at : at + PIECE])
    return out


def records(*, fragmented: bool) -> list[tuple[float, bytes]]:
    """Return the frames of the demo, UDP over IPv4 in fragments where asked."""
    out: list[tuple[float, bytes]] = []
    with DEMO.capture.open("rb") as file:
        for ident, (ts, frame) in enumerate(dpkt.pcap.UniversalReader(file), start=1):
            datagram = frame[12:15] == b"\x08\x00\x45" and frame[23] == 17
            cut = fragmented and datagram and frame[20:22] in (b"\0\0", b"\x40\0")
            pieces = in_fragments(frame, ident) if cut and len(frame) > 34 + PIECE else [frame]
            out += [(float(ts), piece) for piece in pieces]
    return out


def pcap(path: Path, chosen: list[tuple[float, bytes]]) -> Path:
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file, snaplen=262144, nano=True)
        for ts, frame in chosen:
            writer.writepkt(frame, ts)
    return path


def is_later_fragment(frame: bytes) -> bool:
    return frame[12:15] == b"\x08\x00\x45" and int.from_bytes(frame[20:22]) & 0x1FFF > 0


def cuts(chosen: list[tuple[float, bytes]]) -> list[int]:
    """Return three borders near the quarters, before a later fragment where there is one."""
    quarters = [quarter * len(chosen) // 4 for quarter in (1, 2, 3)]
    return [
        next((i for i in range(at, len(chosen)) if is_later_fragment(chosen[i][1])), at)
        for at in quarters
    ]


def ndjson(sources: list[Source], out: Path) -> list[dict[str, Any]]:
    options = make_options(registry=DEMO.register, policy=DEMO.policy)
    with replay(sources, options, False) as rows:
        rows.write(out)
        assert not rows.reading.problems
    return [json.loads(line) for line in out.read_text().splitlines()]


def without_places(row: dict[str, Any]) -> dict[str, Any]:
    """Leave out what names a file, or counts its frames."""
    evidence = [
        {**item, "packet": 0, "detail": re.sub(r"\d+", "#", item["detail"])}
        for item in row["evidence"]
    ]
    return {**row, "capture": "", "evidence": evidence}


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "fragmented"])
def given(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("delivery")
    chosen = records(fragmented=request.param)
    capture = pcap(folder / "all.pcap", chosen)
    return chosen, capture, ndjson([capture], folder / "all.ndjson")


def piped(data: bytes) -> Iterator[BinaryIO]:
    """Yield the reading end of a pipe that gives so many bytes at once that records are cut."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb", buffering=0) as to:
            for at in range(0, len(data), 1013):
                to.write(data[at : at + 1013])

    thread = threading.Thread(target=write)
    thread.start()
    with os.fdopen(reading, "rb") as end:
        yield end
    thread.join()


def test_the_capture_has_what_could_differ(given: Any) -> None:
    chosen, _, rows = given
    assert {row["strength"] for row in rows} >= {"proof", ""}
    assert len({row["verdict"] for row in rows}) > 1
    inside_datagrams = [is_later_fragment(chosen[at][1]) for at in cuts(chosen)]
    assert all(inside_datagrams) or not any(is_later_fragment(frame) for _, frame in chosen)


@pytest.mark.parametrize("way", ["gzip", "bytes", "pipe"])
def test_rows_do_not_depend_on_the_way(given: Any, way: str, tmp_path: Path) -> None:
    _, capture, expected = given
    data = capture.read_bytes()
    if way == "gzip":
        packed = tmp_path / "all.gz"
        packed.write_bytes(gzip.compress(data))
        got = ndjson([packed], tmp_path / "out.ndjson")
    elif way == "bytes":
        got = ndjson([data], tmp_path / "out.ndjson")
    else:
        (got,) = [ndjson([end], tmp_path / "out.ndjson") for end in piped(data)]
    assert [{**row, "capture": ""} for row in got] == [{**row, "capture": ""} for row in expected]


def test_rows_do_not_depend_on_borders_of_files(given: Any, tmp_path: Path) -> None:
    chosen, _, expected = given
    borders = [0, *cuts(chosen), len(chosen)]
    parts: list[Source] = [
        pcap(tmp_path / f"part{i}.pcap", chosen[borders[i] : borders[i + 1]]) for i in range(4)
    ]
    got = ndjson(parts, tmp_path / "out.ndjson")
    assert [without_places(row) for row in got] == [without_places(row) for row in expected]
