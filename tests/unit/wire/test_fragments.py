"""Fragmented datagrams: what is put together, what is not, and what flows see of both."""

import frames as f
import pytest
import strategies as own
from reading import Outcome, assert_same_flows, plain, run

A, B = 0x0A000001, 0x0A000002
MESSAGE = bytes(range(256)) * 5
PLACE_IN_FILE = ("capture", "frame")


def cut(
    datagram: bytes, *, size: int = 480, ident: int = 7, proto: int = 17, src: int = A
) -> list[bytes]:
    """IPv4 fragments of at most ``size`` bytes."""
    starts = range(0, len(datagram), size)
    return [
        f.ip4(
            datagram[at : at + size],
            proto,
            src,
            B,
            ident=ident,
            fragment=at // 8,
            more=at + size < len(datagram),
        )
        for at in starts
    ]


def cut6(datagram: bytes, *, size: int = 480, following: int = 17) -> list[bytes]:
    return [
        f.ip6(
            f.fragment6(
                following,
                datagram[at : at + size],
                ident=9,
                offset=at // 8,
                more=at + size < len(datagram),
            ),
            44,
        )
        for at in range(0, len(datagram), size)
    ]


PIECES = cut(f.udp(500, 500, MESSAGE))
OTHER = f.ip4(f.udp(1, 2, b"x"), 17, A, B)


def outcome(packets: list[bytes] | list[f.Record], **options: bool) -> Outcome:
    """Run packets, as the twins do and however they are cut into calls."""
    data = f.pcap(packets, link=f.RAW)
    assert_same_flows(data, **options)
    got = run(data, **options)
    for size in (1, 2):
        assert plain(run(data, cut=size, **options)) == plain(got)
    return got


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1], [2, 0, 1]])
def test_the_packet_that_completes_a_datagram_holds_all_of_it(order: list[int]) -> None:
    got = outcome([PIECES[i] for i in order])
    assert got.payloads == [[b"", b"", MESSAGE]]
    [flow] = got.flows
    assert (flow["orig_port"], flow["orig_packets"]) == (500, 3)
    assert flow["orig_bytes"] == sum(len(p) for p in PIECES)
    assert (flow["orig_payload_bytes"], flow["orig_payload_packets"]) == (len(MESSAGE), 1)
    assert got.packets[0]["payload_bytes"].tolist() == [0, 0, len(MESSAGE)]
    assert (got.reassembled, got.table.fragments, got.table.fragments_alone) == (3, 3, 0)


def test_ipv6_datagrams_are_put_together_also_with_extension_headers_inside() -> None:
    datagram = f.udp(500, 500, MESSAGE)
    for pieces in (cut6(datagram), cut6(f.extension(17, datagram), following=60)):
        for order in (pieces, pieces[::-1]):
            got = outcome(order)
            assert got.payloads == [[b"", b"", MESSAGE]]
            assert got.flows["proto"].tolist() == [17]


def test_a_tcp_segment_in_fragments_is_one_segment() -> None:
    syn = f.ip4(f.tcp(1, 2, seq=99, flags=f.SYN), 6, A, B)
    segment = f.tcp(1, 2, MESSAGE, seq=100, flags=24)
    after = f.ip4(f.tcp(1, 2, b"end", seq=100 + len(MESSAGE), flags=24), 6, A, B)
    got = outcome([syn, *cut(segment, proto=6), after])
    assert got.heads == [(MESSAGE + b"end", b"")]
    [flow] = got.flows
    assert (flow["orig_gaps"], flow["orig_retransmissions"]) == (0, 0)
    assert flow["orig_flags"].tolist() == [0, 1, 0, 2, 2, 0, 0, 0]


def test_a_tcp_header_cut_in_two_is_read() -> None:
    segment = f.tcp(1, 2, b"hello", seq=5, flags=24)
    got = outcome(cut(segment, size=8, proto=6))
    assert got.heads == [(b"hello", b"")]
    assert got.flows["orig_port"].tolist() == [1]


def test_a_datagram_that_never_comes_whole_stays_as_it_was_read() -> None:
    got = outcome([PIECES[0], PIECES[2], OTHER])
    assert got.payloads[0] == [MESSAGE[:472], b""]
    assert got.flows["orig_port"].tolist() == [500, 1]
    assert got.reassembled == 0


def test_a_later_fragment_before_its_first_gets_its_ports() -> None:
    got = outcome([PIECES[1], OTHER, PIECES[0]])
    assert got.flows["orig_port"].tolist() == [500, 1]
    assert got.table.fragments_alone == 0


def test_packets_between_the_pieces_stay_where_they_were() -> None:
    got = outcome([PIECES[0], OTHER, PIECES[1], OTHER, PIECES[2], OTHER])
    assert got.flow_ids == [0, 1, 0, 1, 0, 1]
    assert got.payloads[0][2] == MESSAGE


def test_a_piece_captured_twice_is_used_once() -> None:
    got = outcome([PIECES[0], PIECES[0], PIECES[1], PIECES[2]])
    assert got.payloads == [[b"", b"", b"", MESSAGE]]
    assert got.reassembled == 4


def piece(at: int, payload: bytes, *, more: bool = True) -> bytes:
    return f.ip4(payload, 17, A, B, ident=7, fragment=at // 8, more=more)


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(piece(472, bytes(16)), id="over the end of the first"),
        pytest.param(piece(0, bytes(496)), id="longer than the first"),
        pytest.param(piece(480, bytes(12)), id="not a multiple of eight, but not the last"),
        pytest.param(piece(1400, bytes(16), more=False), id="another end"),
        pytest.param(piece(2000, bytes(16)), id="beyond the end"),
        pytest.param(piece(65528, bytes(16), more=False), id="beyond 65,535 bytes"),
    ],
)
def test_pieces_that_do_not_fit_spoil_the_datagram(odd: bytes) -> None:
    for packets in ([PIECES[0], odd, *PIECES[1:]], [PIECES[2], odd, *PIECES[:2]]):
        got = outcome(packets)
        assert got.reassembled == 0
        assert MESSAGE not in got.payloads[0]
        assert sum(got.counts) == 4


def test_more_pieces_than_a_datagram_can_need_spoil_it() -> None:
    datagram = f.udp(1, 2, bytes(1200))
    assert outcome(cut(datagram, size=16)).reassembled == 76
    assert outcome(cut(datagram, size=8)).reassembled == 0


def test_pieces_of_several_datagrams_are_told_apart() -> None:
    one, two = f.udp(1, 2, b"1" * 900), f.udp(3, 4, b"2" * 900)
    apart = [
        (cut(one, ident=1), cut(two, ident=2)),
        (cut(one, src=A), cut(two, src=A + 9)),
        (cut(one, proto=17), cut(two, proto=136)),
    ]
    for first, second in apart:
        got = outcome([first[0], second[0], second[1], first[1]])
        assert got.reassembled == 4
        assert [p[-1][:1] for p in got.payloads] == [b"1", b"2"]


@pytest.mark.parametrize(("seconds", "made"), [(30, 3), (31, 0)])
def test_a_piece_joins_within_30_seconds(seconds: int, made: int) -> None:
    times = [0, 0, seconds]
    records = [f.Record(f.START + t * f.SECOND, p) for t, p in zip(times, PIECES, strict=True)]
    assert outcome(records).reassembled == made
    assert outcome([r._replace(ts_ns=2 * f.START - r.ts_ns) for r in records]).reassembled == made


@pytest.mark.parametrize(("between", "made"), [(4093, 3), (4094, 0)])
def test_a_datagram_is_given_up_after_4096_packets(between: int, made: int) -> None:
    data = f.pcap([*PIECES[:2], *[OTHER] * between, PIECES[2]], link=f.RAW)
    assert_same_flows(data)
    want = run(data)
    assert want.reassembled == made
    for size in (100, 4095):
        assert plain(run(data, cut=size)) == plain(want)
    if not made:
        assert want.flows["orig_port"].tolist() == [500, 1]


def test_a_datagram_is_given_up_after_4_mib() -> None:
    large = f.ip4(f.udp(1, 2, bytes(60_000)), 17, A, B)
    for n, made in ((69, 3), (70, 0)):
        data = f.pcap([*PIECES[:2], *[large] * n, PIECES[2]], link=f.RAW)
        assert run(data).reassembled == made
        assert plain(run(data, cut=3)) == plain(run(data))


def test_a_datagram_may_cross_the_border_of_two_files() -> None:
    packets = f.timed([OTHER, *PIECES[:2], OTHER, PIECES[2], OTHER])
    whole = run(f.pcap(packets, link=f.RAW))
    assert whole.reassembled == 3
    for n in range(1, len(packets)):
        parts = run(f.pcap(packets[:n], link=f.RAW), f.pcap(packets[n:], link=f.RAW))
        assert plain(parts, without=PLACE_IN_FILE) == plain(whole, without=PLACE_IN_FILE)


def test_fragments_cut_by_a_snaplen_show_what_was_captured() -> None:
    records = [f.Record(f.START, p[:100], len(p)) for p in PIECES]
    got = outcome(records)
    assert got.reassembled == 3
    assert got.payloads == [[b"", b"", MESSAGE[:72]]]
    assert got.packets[0]["payload_bytes"].tolist() == [0, 0, len(MESSAGE)]


@pytest.mark.parametrize("wrap", ["gre", "ipip or 6in4", "vxlan"])
def test_a_tunnel_in_fragments_is_opened(wrap: str) -> None:
    inside = f.ip4(f.udp(5000, 6000, MESSAGE), 17, 0x0B000001, 0x0B000002)
    outer = own.WRAPPERS[wrap](inside)
    pieces = cut(outer[20:], proto=outer[9])
    got = outcome(pieces, decapsulate=True)
    inner = got.flows[-1]
    assert (inner["orig_port"], inner["resp_port"]) == (5000, 6000)
    assert got.payloads[-1] == [MESSAGE]
    assert got.flows[0]["orig_packets"] == 2


def test_fragments_inside_a_fragmented_tunnel_are_put_together() -> None:
    inner = cut(f.udp(5000, 6000, MESSAGE), size=800, src=0x0B000001)
    packets = []
    for i, packet in enumerate(inner):
        packets += cut(b"\0\0\x08\0" + packet, proto=47, ident=20 + i)
    got = outcome(packets, decapsulate=True)
    assert got.flows[-1]["orig_port"] == 5000
    assert got.payloads[-1][-1] == MESSAGE


def test_memory_is_bounded_however_many_pieces_wait() -> None:
    from classifier.wire import Reassembly, open_capture

    packets = [
        f.ip4(bytes(1400), 17, A + i, B, ident=i % 65536, fragment=5, more=True)
        for i in range(9000)
    ]
    reassembly = Reassembly()
    n = most = 0
    for rows, buffer in open_capture(f.pcap(packets, link=f.RAW)).batches():
        for settled, payload in reassembly.settle(rows, buffer):
            n += settled.size
            most = max(most, payload.size)
    n += sum(rows.size for rows, _ in reassembly.finish())
    assert n == 9000
    assert most <= 64 << 20
