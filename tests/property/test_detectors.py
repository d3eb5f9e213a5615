"""No bytes at all crash a detector or pass for a VPN by chance; kernels agree with their twins."""

import numpy as np
import pytest
from build import TCP, UDP, F, P, batch
from hypothesis import given
from hypothesis import strategies as st
from reference import detectors as twin
from vpn_messages import (
    esp,
    ike,
    ovpn_control,
    ovpn_crypt,
    ovpn_data_v2,
    secret,
    wg_cookie,
    wg_data,
    wg_initiation,
    wg_response,
)

from classifier._jit import Kernel
from classifier.detectors import DETECTORS, run_detectors
from classifier.detectors.esp import probe as esp_probe
from classifier.detectors.ike import probe as ike_probe
from classifier.detectors.openvpn import probe as openvpn_probe
from classifier.detectors.wireguard import probe as wireguard_probe
from classifier.tables import FLOW, SERIES, FlowBatch, Strength

SID = bytes.fromhex("a1b2c3d4e5f60718")
PROBES = {
    "wireguard": (wireguard_probe, twin.wireguard),
    "openvpn": (openvpn_probe, twin.openvpn),
    "ike": (ike_probe, twin.ike),
    "esp": (esp_probe, twin.esp),
}
MESSAGES = (
    wg_initiation(7),
    wg_response(9, 7),
    wg_cookie(7),
    wg_data(7, 1, 96),
    ovpn_control(7, SID),
    ovpn_control(8, SID, acks=(0,), peer=SID, hmac=20),
    ovpn_crypt(7, SID, 1, 5),
    ovpn_data_v2(1, 2),
    ike(SID),
    ike(SID, SID, version=0x10, exchange=2, flags=1, following=5),
    bytes(4) + ike(SID),
    esp(5000, 1),
    b"\xff",
    b"IKETCP" + (70).to_bytes(2, "big") + bytes(4) + ike(SID),
    secret(60),
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Return a message with a few bytes changed, cut, or bytes added."""
    message = bytearray(draw(st.sampled_from(MESSAGES)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(message) - 1))
        message[at] = draw(st.sampled_from([0, 1, 4, 0x10, 0x20, 0x38, 0x7F, 0xFF]))
    end = draw(st.integers(0, len(message)) | st.just(len(message)))
    return bytes(message[:end]) + draw(st.binary(max_size=4) | st.just(b""))


PAYLOADS = mutated() | st.binary(max_size=200)


@pytest.mark.parametrize("name", PROBES)
@given(message=PAYLOADS, beyond=st.integers(0, 200) | st.just(0))
def test_a_probe_agrees_with_its_slow_twin(name, message, beyond):
    kernel, slow = PROBES[name]
    wire_bytes = len(message) + beyond
    data = np.frombuffer(b"\xaa" + message + b"\xaa", np.uint8).copy()
    assert kernel(data, 1, 1 + len(message), wire_bytes) == slow(message, wire_bytes)


@given(
    proto=st.sampled_from([UDP, TCP, 4, 41, 47, 50, 51, 97, 1]),
    packets=st.lists(st.tuples(st.integers(0, 1), PAYLOADS, st.integers(0, 99)), max_size=12),
    ports=st.tuples(st.sampled_from([500, 4500, 40000]), st.sampled_from([53, 500, 4500])),
)
def test_any_flow_is_read_without_harm_and_evidence_points_into_it(proto, packets, ports):
    flow = F(
        proto,
        [P(d, m, wire=len(m) + (more if more > 50 else 0)) for d, m, more in packets],
        orig_port=ports[0],
        resp_port=ports[1],
    )
    ahead = F(UDP, [P(0, secret(40))])
    found = run_detectors(batch(ahead, flow, ahead))
    for e in found:
        assert e.flow == 1
        assert 1 <= e.packet <= len(packets)
        assert e.detail.isprintable()


def random_flows(n_flows: int, proto: int, port: int, seed: int) -> FlowBatch:
    """Return flows of 8 packets each way with random payload of random length."""
    rng = np.random.default_rng(seed)
    per, kept = 16, 64
    n = n_flows * per
    flows, packets = np.zeros(n_flows, FLOW), np.zeros(n, SERIES)
    flows["proto"], flows["orig_port"], flows["resp_port"] = proto, 40000, port
    flows["packets_start"] = np.arange(n_flows) * per
    flows["packets_stop"] = flows["packets_start"] + per
    packets["start"] = np.arange(n) * kept
    packets["payload_bytes"] = rng.integers(1, 200, n)
    packets["stop"] = packets["start"] + np.minimum(packets["payload_bytes"], kept)
    packets["direction"] = np.arange(n) % 2
    packets["frame"] = np.arange(n) + 1
    for side, row in (("orig", 0), ("resp", 1)):
        flows[f"{side}_start"] = packets["start"][row::per]
        flows[f"{side}_stop"] = packets["start"][row::per] + kept
    return FlowBatch(flows, packets, rng.integers(0, 256, n * kept, np.uint8))


@pytest.mark.parametrize(("proto", "port"), [(UDP, 50000), (UDP, 4500), (TCP, 443)])
def test_of_20000_flows_of_random_bytes_none_is_strong_evidence(proto, port):
    found = run_detectors(random_flows(20_000, proto, port, seed=1))
    assert [e for e in found if e.strength >= Strength.STRONG] == []


def test_random_bytes_behind_each_lone_first_byte_are_never_strong():
    flows = random_flows(20_480, UDP, 50000, seed=2)
    flows.payload[flows.packets["start"]] = np.arange(flows.packets.size) // 16 % 256
    found = run_detectors(flows)
    assert [e for e in found if e.strength >= Strength.STRONG] == []


@given(payloads=st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=10))
def test_random_payloads_are_never_strong_evidence(payloads):
    packets = [P(n % 2, m) for n, m in enumerate(payloads)]
    found = run_detectors(batch(F(UDP, packets), F(TCP, packets)))
    assert [e for e in found if e.strength >= Strength.STRONG] == []


def test_each_kernel_has_been_compiled_for_one_signature():
    run_detectors(batch(*[F(p, [P(0, b"x" * 60)]) for p in (UDP, TCP, 4, 41, 47, 50, 51, 97)]))
    for detector in DETECTORS:
        scan = detector.detect.__globals__.get("scan")
        if isinstance(
            scan, Kernel
        ):  # some rules need no kernel; where none is selected, none is compiled
            assert len(scan.signatures) <= 1
            assert scan.signatures or detector.select is not None
