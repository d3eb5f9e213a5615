"""What holds for the capture reader whatever the bytes are."""

import bz2
import gzip
import io
import lzma

import captures as shared_captures
import frames as f
import lz4.frame
import numpy as np
import pytest
import strategies as own
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from reading import assert_same_flows, assert_same_packets, plain, read_rows, run

from classifier.errors import CaptureError
from classifier.wire import Reason

MAGICS = [
    f.pcap_header(),
    f.pcap_header(order=">", nano=True),
    f.pcap_header(modified=True),
    f.pcap_header(link=f.RAW),
    f.shb(),
    f.shb(order=">") + f.idb(order=">"),
]
TRUNCATED = {Reason.TRUNCATED_LINK, Reason.TRUNCATED_NETWORK, Reason.TRUNCATED_TRANSPORT}


def small_records() -> list[f.Record]:
    dns = f.udp(40000, 53, b"\x12\x34\x01\x00" + bytes(8))
    hello = f.tcp(40001, 443, b"\x16\x03\x01" + bytes(30), seq=7, flags=24)
    return f.timed(
        [
            f.eth(f.ip4(f.tcp(40001, 443, seq=6, flags=2), 6)),
            f.eth(f.ip4(hello, 6), None, [(0x8100, 5)]),
            f.eth(f.ip6(f.extension(17, dns), 0)),
            f.eth(bytes(28), 0x0806),
            f.eth(f.ip4(dns, ident=3, more=True)),
        ]
    )


def assert_balanced(data: bytes, *, decapsulate: bool = False) -> None:
    """No bytes crash the reader, and every packet is in a flow or counted with a reason."""
    try:
        got = run(data, decapsulate=decapsulate)
    except CaptureError as error:
        if "; " not in str(error):
            raise
        return
    counts = got.counts
    assert sum(counts) == got.packets_read
    in_flows = sum(int(x["orig_packets"] + x["resp_packets"]) for x in got.flows)
    assert in_flows == counts[0] == sum(i >= 0 for i in got.flow_ids)


@given(own.captures())
def test_reader_equals_its_twin(data: bytes) -> None:
    assert_same_packets(data)


@given(own.captures(wrapped=True), st.booleans())
def test_reader_equals_its_twin_on_encapsulated_packets(data: bytes, decapsulate: bool) -> None:
    assert_same_packets(data, decapsulate=decapsulate)


@given(own.sections())
def test_pcapng_reader_equals_its_twin(data: bytes) -> None:
    try:
        assert_same_packets(data)
    except CaptureError as error:
        if "link type" not in str(error):
            raise


@given(own.captures(), st.data())
def test_reader_equals_its_twin_on_changed_bytes(data: bytes, choose: st.DataObject) -> None:
    """The header stays: a file that is no capture has no twin."""
    changed = bytearray(data)
    for _ in range(choose.draw(st.integers(1, 5))):
        at = choose.draw(st.integers(28, len(data) - 1))
        changed[at] = choose.draw(st.integers(0, 255))
    try:
        assert_same_packets(bytes(changed), decapsulate=True)
    except CaptureError as error:
        if "link type" not in str(error):
            raise


@given(st.sampled_from(MAGICS), st.binary(max_size=300))
def test_no_bytes_after_a_magic_crash_the_reader(magic: bytes, rest: bytes) -> None:
    assert_balanced(magic + rest)
    assert_balanced(magic + rest, decapsulate=True)


@given(st.binary(max_size=60))
def test_no_bytes_at_all_crash_the_reader(data: bytes) -> None:
    assert_balanced(data)


@given(st.sampled_from([b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00", b"BZh9",
                        b"\x04\x22\x4d\x18"]), st.binary(max_size=80))  # fmt: skip
def test_no_bytes_after_a_compressor_s_magic_crash_the_reader(magic: bytes, rest: bytes) -> None:
    assert_balanced(magic + rest)


@pytest.mark.parametrize("make", [f.pcap, f.pcapng])
def test_each_truncation_of_a_capture_keeps_the_packets_before_it(make) -> None:  # type: ignore[no-untyped-def]
    whole = make(small_records())
    _, [(rows, payloads)] = read_rows(whole)
    ends = [len(make(small_records()[:n])) for n in range(rows.size + 1)]
    for cut in range(1, len(whole)):
        try:
            capture, found = read_rows(whole[:cut])
        except CaptureError:
            assert cut < 24, "only the file header is needed"
            continue
        n = sum(end <= cut for end in ends[1:])
        assert capture.packets_read == n
        at_an_end = cut in ends or (make is f.pcapng and cut == len(f.shb()))
        assert bool(capture.damage) == (not at_an_end)
        if n:
            [(some, some_payloads)] = found
            assert [int(r["reason"]) for r in some] == [int(r["reason"]) for r in rows[:n]]
            assert some_payloads == payloads[:n]
            for name in set(rows.dtype.names or ()) - {"flow_id"}:
                assert np.array_equal(some[name], rows[:n][name]), name
        assert_balanced(whole[:cut])


@pytest.mark.parametrize("record", small_records())
def test_each_snaplen_gives_a_truncation_or_a_flow(record: f.Record) -> None:
    for keep in range(len(record.data)):
        cut = f.Record(record.ts_ns, record.data[:keep], len(record.data))
        _, [(rows, _)] = read_rows(f.pcap([cut]))
        reason = int(rows[0]["reason"])
        assert reason in TRUNCATED | {Reason.IN_FLOW, Reason.NON_IP_ARP}
        assert reason or rows[0]["truncated"]
        assert_same_packets(f.pcap([cut]))


@given(own.ip_packets)
def test_each_snaplen_of_any_packet_is_accounted_for(packet: bytes) -> None:
    cuts = [f.Record(f.START, packet[:n], len(packet)) for n in range(min(len(packet), 90))]
    assert_balanced(f.pcap(cuts, link=f.RAW), decapsulate=True)


@given(st.lists(own.ethernet_frames(), min_size=1, max_size=5))
def test_byte_order_resolution_and_container_change_nothing(packets: list[bytes]) -> None:
    want = plain(run(f.pcap(packets)))
    for order in "<>":
        for nano in (False, True):
            assert plain(run(f.pcap(packets, order=order, nano=nano))) == want
            assert plain(run(f.pcapng(packets, order=order, nano=nano))) == want
        assert plain(run(f.pcap(packets, order=order, modified=True))) == want


class OneByteAtATime(io.RawIOBase):
    """A pipe that gives single bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def readable(self) -> bool:
        return True

    def readinto(self, target, /) -> int:  # type: ignore[no-untyped-def]
        piece = self.data[self.at : self.at + 1]
        target[: len(piece)] = piece
        self.at += len(piece)
        return len(piece)


class ReadOnly:
    """The least that a file object can be."""

    def __init__(self, data: bytes) -> None:
        self.inner = io.BytesIO(data)

    def read(self, n: int) -> bytes:
        return self.inner.read(n)


PACKERS = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zstd": zstandard.compress,
    "lz4": lz4.frame.compress,
    "gzip, two members": lambda d: gzip.compress(d[:100]) + gzip.compress(d[100:]),
    "zstd, two frames": lambda d: zstandard.compress(d[:100]) + zstandard.compress(d[100:]),
    "lz4, two frames": lambda d: lz4.frame.compress(d[:100]) + lz4.frame.compress(d[100:]),
    "plain": lambda d: d,
}


@pytest.mark.parametrize("packer", PACKERS)
def test_packing_and_kind_of_source_change_nothing(packer: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    data = f.pcapng(small_records() * 300)
    packed = PACKERS[packer](data)
    want = plain(run(data))
    path = tmp_path / "no-suffix"
    path.write_bytes(packed)
    for source in (
        packed,
        bytearray(packed),
        memoryview(packed),
        path,
        str(path),
        io.BytesIO(packed),
        ReadOnly(packed),
        OneByteAtATime(packed),
    ):
        got = run(source)  # type: ignore[arg-type]
        assert plain(got) == want
        assert not got.captures[0].damage


@pytest.mark.parametrize("packer", ["gzip", "xz", "bzip2", "zstd", "lz4"])
def test_each_truncation_of_a_packed_capture_is_noticed(packer: str) -> None:
    packed = PACKERS[packer](f.pcap(small_records()))
    for cut in range(8, len(packed)):
        try:
            capture, _ = read_rows(packed[:cut])
        except CaptureError:
            continue
        assert capture.damage, f"{cut} of {len(packed)} bytes"


@pytest.mark.slow
@pytest.mark.parametrize("decapsulate", [False, True])
@pytest.mark.parametrize("kind", ["malformed", "ordinary", "vpn"])
def test_engine_equals_its_twins_on_shared_captures(kind: str, decapsulate: bool) -> None:
    for path in shared_captures.shared(kind):
        data = path.read_bytes()
        try:
            assert_same_packets(data, decapsulate=decapsulate)
            assert_same_flows(data, decapsulate=decapsulate)
        except CaptureError as error:
            if "link type" not in str(error):
                raise
