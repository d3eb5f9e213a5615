"""The time features of ISCXVPN2016: written-down captures, and what the published table shows."""

import io
import lzma
from pathlib import Path

import frames
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import iscx as twin

import classifier
from classifier.model import ISCX_FEATURES, iscx_features

NAMES = [feature.name for feature in ISCX_FEATURES]
TABLE = Path(__file__).parents[4] / "shared" / "iscxvpn2016" / "scenario_a1"
A, B = 0x0A000001, 0xC6336401


def capture(packets: list[tuple[int, int, int, int]], proto: int = 6) -> bytes:
    """Return a capture of one flow: (microseconds, 0 or 1 for the sender, payload, TCP flags)."""
    records = []
    for us, sender, size, flags in packets:
        ports, ends = ((40000, 443), (A, B)) if sender == 0 else ((443, 40000), (B, A))
        if proto == 6:
            body = frames.tcp(*ports, bytes(size), flags=flags)
        else:
            body = frames.udp(*ports, bytes(size))
        data = frames.ip4(body, proto, src=ends[0], dst=ends[1])
        records.append(frames.Record(1_700_000_000_000_000_000 + us * 1000, data))
    return frames.pcap(records, link=frames.RAW)


EXAMPLE = [
    (0, 0, 10, 0x18),
    (100_000, 1, 20, 0x18),
    (300_000, 0, 0, 0x10),
    (2_300_000, 0, 30, 0x18),  # after 2 s of silence
    (2_700_000, 1, 60, 0x18),
    (4_200_000, 1, 0, 0x10),  # after 1.5 s
]


def test_values_of_an_example_are_those_worked_out_by_hand() -> None:
    frame = iscx_features(capture(EXAMPLE))
    assert len(frame) == 1
    row = frame.iloc[0]
    assert (row["flow_id"], row["window"], row["packets"]) == (0, 0, 6)
    assert row["first_us"] == 1_700_000_000_000_000
    expected = {
        "duration": 4_200_000,
        "min_fiat": 300_000,
        "max_fiat": 2_000_000,
        "mean_fiat": 1_150_000,
        "std_fiat": 1_202_081.5280171307,
        "min_biat": 1_500_000,
        "max_biat": 2_600_000,
        "mean_biat": 2_050_000,
        "std_biat": 777_817.4593052023,
        "flowPktsPerSecond": 6 / 4.2,
        "flowBytesPerSecond": (6 * 40 + 120) / 4.2,
        "min_flowiat": 100_000,
        "max_flowiat": 2_000_000,
        "mean_flowiat": 840_000,
        "std_flowiat": 856_154.1917201598,
        "min_active": 1_900_000,
        "mean_active": 2_100_000,
        "max_active": 2_300_000,
        "std_active": 282_842.71247461904,
        "min_idle": 1_500_000,
        "mean_idle": 1_750_000,
        "max_idle": 2_000_000,
        "std_idle": 353_553.3905932738,
    }
    for name in NAMES:
        assert row[name] == pytest.approx(expected[name], rel=1e-12), name


def test_columns_are_those_of_the_paper() -> None:
    assert len(NAMES) == len(set(NAMES)) == 23


def test_published_names_are_those_of_the_files() -> None:
    frame = iscx_features(capture(EXAMPLE), published_names=True)
    assert frame["total_fiat"][0] == 300_000
    assert frame["min_fiat"][0] == 2_000_000
    assert frame["max_fiat"][0] == 1_150_000
    assert frame["mean_fiat"][0] == pytest.approx(1_202_081.528)


def test_single_packet_has_no_times() -> None:
    row = iscx_features(capture([(5, 0, 100, 0)], 17)).iloc[0]
    for name in NAMES:
        least = name.split("_")[0] in ("min", "max")
        assert row[name] == (-1 if least else 0), name


def test_packet_after_the_timeout_begins_a_window() -> None:
    packets = [(0, 0, 1, 0), (15_000_000, 1, 1, 0), (15_000_001, 1, 1, 0), (16_000_000, 1, 1, 0)]
    frame = iscx_features(capture(packets, 17))
    assert frame["packets"].tolist() == [2, 2]
    assert frame["window"].tolist() == [0, 1]
    # its first packet counts as forward, though the responder sent it
    assert frame["min_fiat"].tolist() == [-1, -1]
    assert frame["min_biat"].tolist() == [-1, -1]


def test_fin_ends_a_flow_and_belongs_to_it_however_late() -> None:
    packets = [(0, 0, 1, 0x18), (60_000_000, 0, 0, 0x11), (60_000_010, 1, 0, 0x10)]
    frame = iscx_features(capture(packets))
    assert frame["packets"].tolist() == [2, 1]
    assert frame["duration"].tolist() == [60_000_000, 0]
    assert frame["max_idle"].tolist() == [60_000_000, -1]


def test_gap_of_one_second_is_not_idle_and_a_longer_one_is() -> None:
    assert iscx_features(capture([(0, 0, 1, 0), (1_000_000, 0, 1, 0)], 17))["max_idle"][0] == -1
    longer = [(0, 0, 1, 0), (1_000_001, 0, 1, 0)]
    assert iscx_features(capture(longer, 17))["max_idle"][0] == 1_000_001
    assert iscx_features(capture(longer, 17), idle_s=5)["max_idle"][0] == -1


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_window_of_no_length_is_refused(seconds: float) -> None:
    with pytest.raises(classifier.ClassifierError, match="no time"):
        iscx_features(capture(EXAMPLE), seconds)


def test_rows_name_the_flows_of_a_run() -> None:
    demo = classifier.datasets.demo()
    run = classifier.classify(demo.capture)
    frame = iscx_features(demo.capture, 15)
    counted = frame.groupby("flow_id")["packets"].sum()
    flows = run.flows.set_index("flow_id")
    transport = flows[flows["proto"].isin(["tcp", "udp"])]
    assert counted.tolist() == (transport["orig_packets"] + transport["resp_packets"]).tolist()
    assert counted.index.tolist() == transport.index.tolist()


def test_stream_gives_what_the_file_gives() -> None:
    data = capture(EXAMPLE)
    np.testing.assert_array_equal(iscx_features(io.BytesIO(data)), iscx_features(data))


packets = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 400_000, 1_000_000, 1_000_001, 7_000_000, 15_000_000, 40_000_000]),
        st.integers(0, 1),
        st.integers(0, 1400),
        st.sampled_from([0x18, 0x18, 0x18, 0x11]),
    ),
    min_size=1,
    max_size=40,
)


@given(packets, st.sampled_from([15, 60]))
def test_windows_equal_those_of_the_twin(drawn: list[tuple[int, int, int, int]], s: int) -> None:
    us = 0
    told = []
    for gap, sender, size, flags in drawn:
        us += gap
        told.append((us, sender, size, flags))
    frame = iscx_features(capture(told), s)
    flow = [
        twin.Packet(us, str(sender), 40 + size, bool(flags & 1)) for us, sender, size, flags in told
    ]
    cut = twin.windows(flow, s * 1_000_000)
    assert frame["packets"].tolist() == [len(part) for _, part in cut]
    expected = [twin.features(forward, part, 1_000_000) for forward, part in cut]
    np.testing.assert_allclose(frame[NAMES].to_numpy(), expected, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("timeout_s", [15, 30, 60])
def test_published_table_shows_what_is_said_of_it(timeout_s: int) -> None:
    path = TABLE / f"TimeBasedFeatures-Dataset-{timeout_s}s-VPN.arff.xz"
    if not path.exists():
        pytest.skip("the published table is not here")
    lines = lzma.decompress(path.read_bytes()).decode().splitlines()
    names = [line.split()[1] for line in lines if line.startswith("@ATTRIBUTE")][:23]
    right = timeout_s == 60
    assert names == [f.name if right else f.published for f in ISCX_FEATURES]
    rows = lines[[line.startswith("@DATA") for line in lines].index(True) + 1 :]
    values = np.array([row.split(",")[:23] for row in rows if row.strip(", ")], float)
    t = dict(zip(NAMES, values.T, strict=True))
    rounded = 1 + 6e-3  # three digits
    for what in ("fiat", "biat", "flowiat", "active", "idle"):
        some = t[f"max_{what}"] >= 0
        assert (t[f"min_{what}"] <= t[f"max_{what}"])[some].all()
        assert (t[f"min_{what}"] <= t[f"mean_{what}"] * rounded + 1)[some].all(), what
        assert (t[f"mean_{what}"] <= t[f"max_{what}"] * rounded + 1)[some].all(), what
        assert (t[f"mean_{what}"] == 0)[~some].all()
        assert (t[f"std_{what}"] == 0)[~some].all()
    idle = t["max_idle"] >= 0
    assert t["min_idle"][idle].min() > 1e6
    assert (t["max_idle"] == t["max_flowiat"])[idle].all()
    assert t["max_flowiat"][~idle].max() <= 1e6
    for kind in ("min", "max"):
        assert (t[f"{kind}_active"] >= t[f"{kind}_idle"]).all()
    two = idle & (abs(t["min_idle"] + t["max_idle"] - 2 * t["mean_idle"]) < 1)
    two &= (t["max_idle"] > t["min_idle"]) & (t["std_idle"] < 1e7)
    sample = (t["max_idle"] - t["min_idle"])[two] / np.sqrt(2)
    assert np.median(abs(t["std_idle"][two] - sample)) < 1
    alone = t["duration"] == 0
    assert (t["flowPktsPerSecond"] == 0)[alone].all()
    packet_bytes = t["flowBytesPerSecond"][~alone] / t["flowPktsPerSecond"][~alone]
    assert packet_bytes.min() >= 28 * 0.99
