"""The bytes of frames: the same as an independent reader of containers finds."""

import frames as f
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import containers

from classifier.errors import CaptureError
from classifier.wire import frames


@given(st.one_of(strategies.captures(), strategies.sections()), st.binary(max_size=40))
@settings(max_examples=150, deadline=None)
def test_frames_equal_those_of_the_twin(data: bytes, tail: bytes) -> None:
    wanted = containers.read(data + tail).packets
    got = []
    try:
        for frame in frames(data + tail):
            got.append(frame)  # noqa: PERF402 - what came before an error counts
    except CaptureError:
        pass  # no interface whose link type can be read
    assert [(g.number, g.ts_ns) for g in got] == [(w.frame, w.ts_ns) for w in wanted]
    for frame, twin in zip(got, wanted, strict=True):
        assert 0 <= frame.header_bytes <= len(frame.data)
        if twin.reason == 0:
            assert (frame.data, frame.wire_bytes) == (twin.data, twin.wire_bytes)
            assert frame.link == twin.link


def test_records_longer_than_the_buffer_holds_keep_their_place() -> None:
    packets = [f.eth(f.ip4(f.udp(1, 2, bytes([i % 251]) * 1400))) for i in range(2000)]
    for data in (f.pcap(packets), f.pcapng(packets)):  # 2.9 MB: the buffer moves several times
        assert [frame.data for frame in frames(data)] == packets


def test_headers_end_where_the_payload_begins() -> None:
    packets = {
        f.eth(f.ip4(f.udp(1, 2, b"secret"))): 14 + 20 + 8,
        f.eth(f.ip6(f.tcp(1, 2, payload=b"secret"), 6)): 14 + 40 + 20,
        f.eth(f.ip4(b"secret" * 4, 50)): 14 + 20,
        b"\xff" * 12 + b"\x08\x06" + b"secret" * 6: 14,  # ARP is in no flow
    }
    found = list(frames(f.pcap(list(packets))))
    assert [frame.header_bytes for frame in found] == list(packets.values())
