"""Features equal those of a slow twin, and depend on nothing that they must not depend on."""

import build
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import features as twin

from classifier.model import FEATURE_NAMES, compute_features
from classifier.tables import FlowBatch

TCP, UDP = 6, 17


def vector(data: bytes, width: int) -> bytes:
    return len(data).to_bytes(width) + data


@st.composite
def hellos(draw: st.DrawFn) -> bytes:
    """A hello in its handshake message, mostly whole."""
    client = draw(st.booleans())
    versions = draw(st.lists(st.sampled_from([0x0303, 0x0304, 0x7F1C, 0x1A1A]), max_size=3))
    listed = b"".join(v.to_bytes(2) for v in versions)
    extensions = b""
    for kind in draw(st.lists(st.sampled_from([0, 10, 16, 43, 51, 0x1A1A]), max_size=5)):
        if kind == 43:
            value = vector(listed, 1) if client else (listed[:2] or b"\x03\x04")
        else:
            value = draw(st.binary(max_size=8))
        extensions += kind.to_bytes(2) + vector(value, 2)
    body = b"\x03\x03" + bytes(32) + vector(draw(st.binary(max_size=32)), 1)
    body += vector(draw(st.binary(max_size=8)), 2) + vector(b"\0", 1) if client else b"\x13\x01\0"
    body += draw(st.sampled_from([vector(extensions, 2), vector(extensions, 2), b"", b"\0\xff"]))
    declared = len(body) + draw(st.sampled_from([0, 0, 0, 1, 500]))
    return bytes([1 if client else 2]) + declared.to_bytes(3) + body


@st.composite
def tls(draw: st.DrawFn) -> bytes:
    kinds = draw(st.lists(st.sampled_from([20, 21, 22, 23, 23, 99]), max_size=5))
    bodies = [draw(hellos()), *(draw(st.binary(max_size=40)) for _ in kinds)]
    kinds = [22, *kinds]
    out = b""
    for kind, body in zip(kinds, bodies, strict=True):
        out += bytes([kind, 3, draw(st.sampled_from([1, 3, 3, 9]))]) + vector(body, 2)
    return out[: draw(st.sampled_from([len(out), len(out), 8, 20]))]


@st.composite
def long_headers(draw: st.DrawFn) -> bytes:
    version = draw(st.sampled_from([0, 1, 0x6B3343CF, 0xFF00001D, 0xBABABABA]))
    ids = [vector(draw(st.binary(max_size=22)), 1) for _ in range(2)]
    return bytes([draw(st.sampled_from([0x80, 0xC3]))]) + version.to_bytes(4) + b"".join(ids)


@st.composite
def framed(draw: st.DrawFn) -> bytes:
    width, order = draw(st.sampled_from([2, 4])), draw(st.sampled_from(["big", "little"]))
    body = draw(st.binary(max_size=60))
    own = draw(st.sampled_from([0, width]))
    return (len(body) + own).to_bytes(width, order) + body


payloads = st.one_of(
    st.binary(max_size=40),
    st.integers(0, 700).map(bytes),
    st.sampled_from([b"", b"", b"\x04" + bytes(31), bytes(range(32)), b"GET / HTTP/1.1\r\n\r\n"]),
    tls(),
    long_headers(),
    framed(),
)


@st.composite
def flows(draw: st.DrawFn) -> build.F:
    proto = draw(st.sampled_from([TCP, TCP, UDP, 50]))
    packets = []
    now = 0
    for _ in range(draw(st.integers(1, 32))):
        now += draw(st.sampled_from([0, 1, 999_999, 16_000_000, 10**9, 1_300_000_000, 25 * 10**9]))
        data = draw(payloads)
        wire = draw(st.sampled_from([None, None, None, len(data) + 700]))
        seq = draw(st.sampled_from([None, None, None, None, 1000, 2000, 2**32 - 5]))
        flags = draw(st.sampled_from([0x18, 0x18, 0x10, 0x02, 0x11, 0x04]))
        packets.append(build.P(draw(st.integers(0, 1)), data, now, wire, seq, flags))
    ends = draw(st.permutations([1, 2, 3]))
    ports = draw(st.permutations([443, 40000, 1194]))
    return build.F(proto, packets, ports[0], ports[1], draw(st.booleans()), ends[0], ends[1])


several = st.lists(flows(), min_size=1, max_size=5)


def matrix(batch: FlowBatch) -> np.ndarray:
    return compute_features(batch)[1]


@given(flows())
def test_first_packets_and_bytes_are_those_of_the_twin(flow: build.F) -> None:
    batch = build.batch(flow)
    packets = [
        twin.Packet(
            int(p["ts_ns"]),
            int(p["direction"]),
            int(p["ip_bytes"]),
            int(p["payload_bytes"]),
            int(p["seq"]),
            batch.payload[p["start"] : p["stop"]].tobytes(),
        )
        for p in batch.packets
    ]
    expected = twin.series(packets, flow.proto == TCP) | twin.payload(packets, flow.proto)
    for side in twin.SIDES:
        head = batch.payload[batch.flows[f"{side}_start"][0] : batch.flows[f"{side}_stop"][0]]
        said = twin.records(head.tobytes() if flow.proto == TCP else b"")
        expected |= dict(zip((f"{side}_tls_{n}" for n in twin.RECORDS), said, strict=True))
    found = dict(zip(FEATURE_NAMES, matrix(batch)[0], strict=True))
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-5, atol=2e-5, err_msg=name)


@given(flows())
def test_sums_are_those_of_the_packets(flow: build.F) -> None:
    batch = build.batch(flow)
    found = dict(zip(FEATURE_NAMES, matrix(batch)[0], strict=True))
    stamps = batch.packets["ts_ns"].astype(np.float64) / 1e9
    sizes = batch.packets["ip_bytes"].astype(np.float64)
    expected = {"packets": sizes.size, "bytes": sizes.sum(), "duration_s": np.ptp(stamps)}
    rows = {"": np.arange(sizes.size)}
    for d, side in enumerate(twin.SIDES):
        rows[f"{side}_"] = np.flatnonzero(batch.packets["direction"] == d)
        own = sizes[rows[f"{side}_"]]
        filled = batch.packets["payload_bytes"][rows[f"{side}_"]] > 0
        expected[f"{side}_packets"], expected[f"{side}_bytes"] = own.size, own.sum()
        expected[f"{side}_payload_packet_share"] = filled.mean() if own.size else np.nan
        for name, of in (("min", np.min), ("max", np.max), ("mean", np.mean), ("std", np.std)):
            expected[f"{side}_bytes_{name}"] = of(own) if own.size else np.nan
    for side, mine in rows.items():
        gaps = np.diff(batch.packets["ts_ns"][mine]) / 1e9
        for name, of in (("min", np.min), ("max", np.max), ("mean", np.mean), ("std", np.std)):
            expected[f"{side}iat_{name}_s"] = of(gaps) if gaps.size else np.nan
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-3, err_msg=name)


@given(several)
def test_nothing_is_infinite(some: list[build.F]) -> None:
    assert not np.isinf(matrix(build.batch(*some))).any()


@given(several, st.randoms(use_true_random=False))
def test_other_order_of_flows_gives_the_same_rows(some: list[build.F], random: object) -> None:
    batch = build.batch(*some)
    order = list(range(len(some)))
    random.shuffle(order)  # type: ignore[attr-defined]
    moved = FlowBatch(batch.flows[order].copy(), batch.packets, batch.payload)
    np.testing.assert_array_equal(matrix(moved), matrix(batch)[order])


@given(several)
def test_addresses_and_ports_change_nothing_by_their_values(some: list[build.F]) -> None:
    renamed = [
        f._replace(
            orig=0xFFFFFFFF - 7 * f.orig,
            resp=0xFFFFFFFF - 7 * f.resp,
            orig_port=f.resp_port ^ 0x1234,
            resp_port=f.orig_port ^ 0x4321,
        )
        for f in some
    ]
    np.testing.assert_array_equal(matrix(build.batch(*renamed)), matrix(build.batch(*some)))


@given(several)
def test_time_of_day_changes_nothing(some: list[build.F]) -> None:
    later = build.batch(*some, start_ns=1_234_567_890 * 10**9)
    np.testing.assert_array_equal(matrix(later), matrix(build.batch(*some)))


@given(several)
def test_flows_that_begin_later_change_nothing(some: list[build.F]) -> None:
    whole = matrix(build.batch(*some))
    np.testing.assert_array_equal(matrix(build.batch(*some[:-1])), whole[:-1])


def exchanged(batch: FlowBatch) -> FlowBatch:
    """Return the flows as if the other endpoint had been taken for the originator."""
    flows, packets = batch.flows.copy(), batch.packets.copy()
    for name in batch.flows.dtype.names or ():
        for side, other in (("orig_", "resp_"), ("resp_", "orig_")):
            if name.startswith(side):
                flows[name] = batch.flows[other + name.removeprefix(side)]
    packets["direction"] ^= 1
    return FlowBatch(flows, packets, batch.payload)


#: Features that say something of one side alone, or of the order of the sides.
ONE_SIDED = ("ppi_roundtrips", "quic_")


@given(several)
def test_exchanged_endpoints_exchange_the_sides(some: list[build.F]) -> None:
    batch = build.batch(*some)
    here, there = matrix(batch), matrix(exchanged(batch))
    for i, name in enumerate(FEATURE_NAMES):
        if name.startswith(ONE_SIDED):
            continue
        other = name
        if name.startswith("orig_"):
            other = "resp_" + name.removeprefix("orig_")
        elif name.startswith("resp_"):
            other = "orig_" + name.removeprefix("resp_")
        sign = -1 if name.startswith("ppi_dir") or name.endswith("_balance") else 1
        found = sign * there[:, FEATURE_NAMES.index(other)]
        np.testing.assert_array_equal(found, here[:, i], err_msg=name)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=6))
@pytest.mark.parametrize("proto", [TCP, UDP])
def test_any_bytes_are_taken(proto: int, data: list[bytes]) -> None:
    packets = [build.P(k % 2, part) for k, part in enumerate(data)]
    assert not np.isinf(matrix(build.batch(build.F(proto, packets)))).any()
