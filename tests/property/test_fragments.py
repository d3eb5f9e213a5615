"""What holds for the reassembly of fragments whatever comes, and however it is cut."""

import frames as f
import strategies as own
from hypothesis import given
from hypothesis import strategies as st
from reading import assert_same_flows, plain, run

PLACE_IN_FILE = ("capture", "frame")


@given(own.fragmented(), st.sampled_from([None, 1, 3]))
def test_reassembly_equals_its_twin(records: list[f.Record], cut: int | None) -> None:
    assert_same_flows(f.pcap(records, link=f.RAW, nano=True), idle_timeout_s=None, cut=cut)


@given(own.fragmented(opened=True))
def test_reassembled_tunnels_equal_their_twin(records: list[f.Record]) -> None:
    data = f.pcap(records, link=f.RAW, nano=True)
    assert_same_flows(data, idle_timeout_s=None, decapsulate=True)


@given(own.fragmented(), st.integers(0, 40), st.sampled_from([None, 1, 5]))
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
