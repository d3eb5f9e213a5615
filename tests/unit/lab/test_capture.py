"""What tcpdump wrote is rewritten as pcapng, packet for packet."""

import struct
from pathlib import Path

import dpkt
import pytest

from classifier.errors import LabError
from classifier.lab.capture import PCAP_NANO, Record, read_pcap, write_pcapng

RECORDS = [
    Record(1_700_000_000_123_456_789, bytes(range(60)), 60),
    Record(1_700_000_000_123_456_790, bytes(61), 1514),
]


def pcap(records: list[Record]) -> bytes:
    out = struct.pack("<IHHiIII", PCAP_NANO, 2, 4, 0, 0, 262144, 1)
    for ts_ns, frame, wire_bytes in records:
        seconds, nanos = divmod(ts_ns, 1_000_000_000)
        out += struct.pack("<IIII", seconds, nanos, len(frame), wire_bytes) + frame
    return out


def test_records_are_read_with_their_time_and_their_size_on_the_wire(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(RECORDS))
    assert list(read_pcap(path)) == RECORDS


@pytest.mark.parametrize("cut", [1, 23, 30, 80, 101])
def test_a_file_cut_anywhere_is_an_error(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(RECORDS)[:cut])
    with pytest.raises(LabError, match=r"a\.pcap"):
        list(read_pcap(path))


def test_pcapng_is_read_by_dpkt_with_the_same_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    write_pcapng(path, RECORDS, "a run", snaplen=96)
    with path.open("rb") as file:
        reader = dpkt.pcapng.Reader(file)
        read = [(float(seconds), frame) for seconds, frame in reader]
    assert [frame for _, frame in read] == [record.frame for record in RECORDS]
    assert read[0][0] == pytest.approx(1_700_000_000.123456789)


def test_pcapng_is_read_by_the_library_with_times_and_sizes(tmp_path: Path) -> None:
    import classifier

    path = tmp_path / "a.pcapng"
    write_pcapng(path, RECORDS, "a run", snaplen=96)
    assert classifier.classify(path).accounting["packets_read"] == 2


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_pcapng(tmp_path / name, RECORDS, "a run")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
