"""What holds for the reassembly of fragments whatever comes, and however it is cut."""

import frames as f
import strategies as own
from hypothesis import given
from hypothesis import strategies as st
from reading import assert_same_flows, plain, run

PLACE_IN_FILE = ("capture", "frame")


@st.composite
def fragmented(draw: st.DrawFn, *, opened: bool = False) -> list[f.Record]:
    """Pieces of a few datagrams, mostly fitting ones, some lost, doubled, late or out of order."""
    packets: list[bytes] = []
    for ident in range(draw(st.integers(1, 4))):
        proto, datagram = draw(own.transports())
        if opened:
            proto, datagram = 47, own.gre(f.ip4(datagram, proto, 0x0B000001, 0x0B000002))
        size = draw(st.sampled_from([8, 16, 24, 480, 1480]))
        for at in range(0, min(len(datagram), 30 * size), size):
            body, more = datagram[at : at + size], at + size < len(datagram)
            kind = draw(st.sampled_from(["good"] * 8 + ["lost", "twice", "odd", "shifted"]))
            place = at // 8 + (kind == "shifted")
            body = body[: draw(st.integers(0, 20))] if kind == "odd" else body
            if draw(st.booleans()) or proto == 1:
                packet = f.ip4(body, proto, ident=ident % 3, fragment=place, more=more)
            else:
                part = f.fragment6(proto, body, ident=ident % 3, offset=place, more=more)
                packet = f.ip6(part, 44)
            packets += [packet] * {"lost": 0, "twice": 2}.get(kind, 1)
    order = draw(st.permutations(packets)) if draw(st.booleans()) else packets
    now, records = f.START, []
    for packet in order:
        now += draw(st.sampled_from([0, 1, 10**6, 10**9, 16 * 10**9, -(10**9)]))
        keep = draw(st.sampled_from([len(packet)] * 4 + [60]))
        records.append(f.Record(now, packet[:keep], len(packet)))
    return records


@given(fragmented(), st.sampled_from([None, 1, 3]))
def test_reassembly_equals_its_twin(records: list[f.Record], cut: int | None) -> None:
    assert_same_flows(f.pcap(records, link=f.RAW, nano=True), idle_timeout_s=None, cut=cut)


@given(fragmented(opened=True))
def test_reassembled_tunnels_equal_their_twin(records: list[f.Record]) -> None:
    data = f.pcap(records, link=f.RAW, nano=True)
    assert_same_flows(data, idle_timeout_s=None, decapsulate=True)


@given(fragmented(), st.integers(0, 40), st.sampled_from([None, 1, 5]))
def test_fragments_across_the_border_of_files_give_the_same_flows(
    records: list[f.Record], border: int, cut: int | None
) -> None:
    whole = run(f.pcap(records, link=f.RAW, nano=True))
    parts = [f.pcap(some, link=f.RAW, nano=True) for some in (records[:border], records[border:])]
    got = run(*parts, cut=cut)
    assert plain(got, without=PLACE_IN_FILE) == plain(whole, without=PLACE_IN_FILE)
    assert got.flow_ids == whole.flow_ids
    assert sum(got.counts) == got.packets_read


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 64), st.booleans()), max_size=40))
def test_any_set_of_pieces_is_read_as_the_twin_reads_it(
    pieces: list[tuple[int, int, bool]],
) -> None:
    packets = [
        f.ip4(bytes([at]) * size, 17, ident=1, fragment=at, more=more) for at, size, more in pieces
    ]
    assert_same_flows(f.pcap(packets, link=f.RAW))
