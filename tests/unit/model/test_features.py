"""Features of flows: what they are for flows that are written down here."""

import build
import numpy as np
import pytest

from classifier.model import (
    FEATURE_NAMES,
    FEATURE_SCHEMA_VERSION,
    FEATURES,
    compute_features,
    feature_schema_hash,
)
from classifier.model.schema import BLOCKS, column

HELLO = bytes(range(32, 127))


def features(*flows: build.F, **more: np.ndarray) -> dict[str, np.ndarray]:
    names, matrix = compute_features(build.batch(*flows), **more)
    return {name: matrix[:, i] for i, name in enumerate(names)}


def test_matrix_has_a_column_for_each_feature_and_a_row_for_each_flow() -> None:
    names, matrix = compute_features(build.batch(build.F(17, [build.P(0, b"a")])))
    assert names == FEATURE_NAMES
    assert matrix.shape == (1, len(FEATURES))
    assert matrix.dtype == np.float32


def test_names_are_different() -> None:
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)


def test_nothing_in_gives_nothing_out() -> None:
    assert compute_features(build.batch())[1].shape == (0, len(FEATURES))


def test_sequence_holds_packets_with_payload_alone() -> None:
    packets = [
        build.P(0, b"", ts_ns=0, flags=2),
        build.P(0, b"abc", ts_ns=5_000_000),
        build.P(1, b"", ts_ns=6_000_000),
        build.P(1, b"defgh", ts_ns=25_500_000),
    ]
    found = features(build.F(6, packets))
    assert found["ppi_len"] == 2
    assert found["ppi_ipt_ms_01"] == 0
    assert found["ppi_ipt_ms_02"] == 20.5
    assert (found["ppi_dir_01"], found["ppi_dir_02"]) == (1, -1)
    assert (found["ppi_size_01"], found["ppi_size_02"]) == (3, 5)
    assert np.isnan(found["ppi_size_03"])
    assert found["ppi_roundtrips"] == 1


def test_retransmitted_segment_is_not_in_the_sequence() -> None:
    packets = [build.P(0, b"abc", seq=1000), build.P(0, b"abc", seq=1000), build.P(0, b"d")]
    assert features(build.F(6, packets))["ppi_len"] == 2


@pytest.mark.parametrize(
    ("size", "bin_"), [(1, 1), (15, 1), (16, 2), (31, 2), (32, 3), (512, 7), (1024, 7), (1025, 8)]
)
def test_sizes_are_binned_as_in_datazoo(size: int, bin_: int) -> None:
    found = features(build.F(17, [build.P(1, bytes(size))]))
    assert found[f"resp_size_bin_{bin_}"] == 1
    assert sum(found[f"resp_size_bin_{k}"] for k in range(1, 9)) == 1


def test_measures_of_text_are_those_of_text() -> None:
    found = features(build.F(17, [build.P(0, HELLO)]))
    assert found["orig_seg1_bytes"] == 95
    assert found["orig_seg1_entropy"] == 1
    assert found["orig_seg1_printable_share"] == 1
    assert found["orig_seg1_printable_first"] == 95
    assert found["orig_seg1_printable_run"] == 95
    assert found["orig_seg1_high_share"] == 0
    ones = sum(byte.bit_count() for byte in HELLO) / 95
    assert found["orig_seg1_ones"][0] == pytest.approx(ones)


def test_zeros_have_no_entropy() -> None:
    found = features(build.F(17, [build.P(0, bytes(64))]))
    assert found["orig_seg1_entropy"] == 0
    assert found["orig_seg1_zero_share"] == 1
    assert found["orig_seg1_bit_runs"] == 0


def test_first_bytes_that_stay_and_those_that_count_are_told() -> None:
    packets = [build.P(0, bytes([4, 0, 0, 0, k]) + bytes([7 * k & 255]) * 11) for k in range(4)]
    found = features(build.F(17, packets))
    assert found["orig_constant_bytes"] == 4
    assert found["orig_counting_bytes"] == 1


def test_length_prefix_is_seen() -> None:
    packets = [build.P(0, n.to_bytes(2) + bytes(n)) for n in (20, 300, 77)]
    assert features(build.F(6, packets))["orig_length_share"] == 1


def test_flows_of_the_same_endpoints_are_counted_in_their_order() -> None:
    one = build.F(6, [build.P(0, b"a", ts_ns=0)])
    two = build.F(17, [build.P(0, b"a", ts_ns=2_000_000_000)])
    back = build.F(17, [build.P(0, b"a", ts_ns=3_000_000_000)], orig=two.resp, resp=two.orig)
    other = build.F(17, [build.P(0, b"a", ts_ns=4_000_000_000)], orig=7)
    found = features(one, two, back, other)
    assert found["pair_flows"].tolist() == [0, 1, 2, 0]
    assert found["pair_gap_s"][1:3].tolist() == [2, 1]
    assert found["pair_tcp_share"][1:3].tolist() == [1, 0.5]
    assert found["pair_same_proto_share"][1:3].tolist() == [0, 0.5]
    assert found["pair_same_orig_share"][1:3].tolist() == [1, 0]
    assert np.isnan(found["pair_gap_s"][[0, 3]]).all()


def test_parts_of_ja4_are_numbers() -> None:
    flows = [build.F(6, [build.P(0, b"a")])] * 2
    ja4 = np.array(["t13d1516h2_8daaf6152771_e5627efa2ab1", ""], object)
    found = features(*flows, ja4=ja4, server_name=np.array(["example.com", ""], object))
    first = column("ja4_transport")
    row = [found[name][0] for name in FEATURE_NAMES[first : first + 7]]
    assert row == [1, 13, 1, 15, 16, 2, 11]
    assert all(np.isnan(found[name][1]) for name in FEATURE_NAMES[first : first + 7])


def test_schema_that_changes_gets_another_version() -> None:
    assert (FEATURE_SCHEMA_VERSION, feature_schema_hash()[:16]) == (1, "a1b2271629c5a8d8")


def test_blocks_that_nobody_asks_for_stay_empty_and_change_no_other() -> None:
    flows = build.batch(build.F(6, [build.P(0, HELLO), build.P(1, b"ab")]), build.F(17, []))
    every = compute_features(flows)[1]
    for name, block in BLOCKS.items():
        some = compute_features(flows, blocks=[name])[1]
        own = [column(feature.name) for feature in block]
        assert np.array_equal(some[:, own], every[:, own], equal_nan=True)
        assert np.isnan(np.delete(some, own, axis=1)).all()
