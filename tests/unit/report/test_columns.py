from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from build import TCP, UDP, F, P, batch

from classifier.detectors.interface import Names
from classifier.identify import identify
from classifier.report.columns import (
    OBSERVED,
    REGISTRATION,
    SCHEMA,
    no_registration_columns,
    observed_columns,
    registration_columns,
)
from classifier.tables import COLUMNS, NO_WRAPPING, Evidence, FlowBatch, Strength

SERVICES = {"tls": "web", "dns": "infrastructure"}


def two_flows() -> FlowBatch:
    return batch(
        F(TCP, [P(0, b"abc"), P(1, b"d")], 40000, 443), F(UDP, [P(0, b"x"), P(1, b"yy")], 5, 6)
    )


def observed(
    flows: FlowBatch, applications: list[str], evidence: list[Evidence], **names: list[Any]
) -> list[dict[str, Any]]:
    n = flows.flows.size
    known = Names(
        np.array(applications, object),
        np.array(names.get("server_name", [""] * n), object),
        np.array([""] * n, object),
        np.array(names.get("starts", [False] * n), bool),
    )
    found = identify(flows, evidence)
    columns = observed_columns(flows, ["a.pcap"], known, SERVICES, found)
    columns.validate(full=True)
    return columns.to_pylist()


def seen(flow: int, strength: Strength, family: str, packet: int, starts: bool = False) -> Evidence:
    return Evidence(flow, "probe", strength, "a detail", packet, family, starts)


def test_schema_has_the_names_order_and_types_of_the_contract() -> None:
    assert SCHEMA.names == [c.name for c in COLUMNS]
    assert SCHEMA.metadata == {b"schema_version": b"1"}
    assert [*OBSERVED, *REGISTRATION, "verdict", "rule"] == SCHEMA.names
    assert SCHEMA.field("evidence").type.value_type.field("packet").type == pa.int64()


def test_observed_columns_say_what_the_flow_is() -> None:
    first, second = observed(two_flows(), ["tls", "unknown"], [], server_name=["a.example", ""])
    assert list(first) == list(OBSERVED)
    assert (first["flow_id"], first["proto"], first["capture"]) == (0, "tcp", "a.pcap")
    assert (first["orig_ip"], first["orig_port"]) == ("10.0.0.1", 40000)
    assert (first["resp_ip"], first["resp_port"]) == ("198.51.100.1", 443)
    assert (first["orig_packets"], first["orig_bytes"]) == (1, 43)
    assert (first["application"], first["service"]) == ("tls", "web")
    assert first["server_name"] == "a.example"
    assert (second["application"], second["service"]) == ("unknown", "unknown")
    assert (second["vlan"], second["encapsulation"], second["evidence"]) == ([], "", [])


def test_strong_evidence_renames_a_flow_and_its_service() -> None:
    first, second = observed(
        two_flows(),
        ["tls", "dns"],
        [seen(0, Strength.STRONG, "openvpn", 0), seen(1, Strength.PROOF, "dns-tunnel", 2)],
    )
    assert (first["application"], first["service"]) == ("openvpn", "vpn")
    assert (second["application"], second["service"]) == ("dns-tunnel", "vpn")


def test_weak_evidence_renames_only_what_is_unknown() -> None:
    first, second = observed(
        two_flows(),
        ["tls", "unknown"],
        [seen(0, Strength.WEAK, "tls-in-tls", 0), seen(1, Strength.WEAK, "fully-encrypted", 2)],
    )
    assert (first["application"], first["service"], first["family"]) == ("tls", "web", "tls-in-tls")
    assert (second["application"], second["service"]) == ("fully-encrypted", "vpn")


def test_bare_encapsulation_is_infrastructure() -> None:
    first, _ = observed(two_flows(), ["unknown"] * 2, [seen(0, Strength.PROOF, "vxlan", 0)])
    assert (first["application"], first["service"]) == ("vxlan", "infrastructure")
    assert not first["is_vpn"]


def test_evidence_names_the_frame_in_the_capture() -> None:
    _, second = observed(two_flows(), ["unknown"] * 2, [seen(1, Strength.PROOF, "wireguard", 3)])
    assert second["evidence"] == [
        {"detector": "probe", "strength": "proof", "detail": "a detail", "packet": 4}
    ]
    assert (second["strength"], second["method"]) == ("proof", "signature")
    assert (second["decided_packet"], second["bytes_before"]) == (2, 29)


def test_what_a_model_says_is_known_at_the_end_of_a_flow() -> None:
    """It counts the packets and bytes of a whole flow; weak evidence does not tell a box earlier."""
    flows = batch(*[F(UDP, [P(i % 2, b"x") for i in range(5)])] * 4)
    for side in ("orig", "resp"):  # more came than the 32 packets that are kept
        flows.flows[f"{side}_packets"], flows.flows[f"{side}_bytes"] = 100, 9000
    evidence = [
        seen(1, Strength.WEAK, "tls-in-tls", 6),
        seen(2, Strength.STRONG, "openvpn", 11),
        seen(3, Strength.WEAK, "tls-in-tls", 16),
    ]
    said = np.array([0.8, 0.8, 0.8, 0.1])
    found = identify(flows, evidence, probability=said)
    assert found.is_vpn.tolist() == [True, True, True, False]
    assert found.method.tolist() == ["model", "behaviour", "signature", "behaviour"]
    assert found.decided_packet.tolist() == [200, 200, 2, 2]
    assert found.bytes_before.tolist() == [18000, 18000, 29, 29]
    last = flows.flows["last_ns"]
    second = flows.packets["ts_ns"][[11, 16]]
    assert found.decided_ns.tolist() == [*last[:2], *second]
    strict = identify(flows, evidence, probability=np.full(4, 0.95), threshold=0.95)
    assert strict.decided_packet.tolist() == [200, 200, 200, 200]


def test_sctp_starts_with_an_init_chunk_and_with_nothing_else() -> None:
    init, data = bytes.fromhex("0100 0014"), bytes.fromhex("0003 0014")
    flows = batch(
        F(132, [P(0, init), P(1, data)]), F(132, [P(0, data), P(1, init)]), F(132, [P(0, b"")])
    )
    made = observed(flows, ["sctp"] * 3, [])
    assert [row["start_seen"] for row in made] == [True, False, False]


@pytest.mark.parametrize("source", ["flow", "names", "evidence"])
def test_a_start_is_seen_whoever_saw_it(source: str) -> None:
    flows = two_flows()
    flows.flows["start_seen"] = [0, source == "flow"]
    evidence = [seen(1, Strength.PROOF, "wireguard", 2, True)] if source == "evidence" else []
    made = observed(flows, ["unknown"] * 2, evidence, starts=[False, source == "names"])
    assert [row["start_seen"] for row in made] == [False, True]


def test_wrapping_is_written_outermost_first() -> None:
    flows = two_flows()
    vlans = NO_WRAPPING & ~np.uint64(0xFFFFFF) | np.uint64(100 | 7 << 12)
    flows.flows["wrapping"][0] = vlans | np.uint64(5 << 48) | np.uint64(1 << 52)
    first, second = observed(flows, ["unknown"] * 2, [])
    assert (first["vlan"], first["encapsulation"]) == ([100, 7], "vxlan/gre")
    assert (second["vlan"], second["encapsulation"]) == ([], "")


def test_bytes_that_are_no_utf8_are_spelled_out() -> None:
    name = b"caf\xe9.example".decode("utf-8", "surrogateescape")
    first, second = observed(two_flows(), ["tls"] * 2, [], server_name=[name, "\ud800"])
    assert first["server_name"] == "caf\\xe9.example"
    assert second["server_name"] == "\\xed\\xa0\\x80"


def test_no_flows_give_no_rows() -> None:
    assert observed(batch(), [], []) == []


def test_registration_columns_name_entry_side_and_near_miss() -> None:
    entries = pa.table(
        {"registration_id": ["R-1", "R-2"], "organisation": ["A", "B"], "category": ["bank", None]}
    )
    columns = registration_columns(
        np.array([1, -1, 0], np.int32),
        np.array([2, 0, 1], np.int8),
        np.array([0, 1, 0], np.int8),
        ("", "expired"),
        entries,
    )
    assert tuple(columns) == REGISTRATION
    assert pa.table(columns).to_pylist() == [
        dict(zip(REGISTRATION, (True, "R-2", "B", "", "server", ""), strict=True)),
        dict(zip(REGISTRATION, (False, "", "", "", "", "expired"), strict=True)),
        dict(zip(REGISTRATION, (True, "R-1", "A", "bank", "client", ""), strict=True)),
    ]


def test_without_a_register_nothing_is_registered() -> None:
    columns = no_registration_columns(2)
    assert (
        pa.table(columns).to_pylist()
        == [dict(zip(REGISTRATION, (False, "", "", "", "", ""), strict=True))] * 2
    )


def test_an_empty_register_matches_nothing() -> None:
    empty = pa.table(
        {n: pa.array([], pa.string()) for n in ("registration_id", "organisation", "category")}
    )
    none = np.zeros(2, np.int8)
    columns = registration_columns(np.full(2, -1, np.int32), none, none, ("",), empty)
    assert columns["organisation"].to_pylist() == ["", ""]
