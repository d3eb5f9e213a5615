"""Flow rows for tests that need no capture."""

from typing import Any

import pyarrow as pa

from classifier.report.columns import SCHEMA

_ROW: dict[str, Any] = {
    "community_id": "1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
    "capture": "office.pcap",
    "proto": "tcp",
    "orig_ip": "10.0.0.1",
    "orig_port": 40000,
    "resp_ip": "198.51.100.1",
    "resp_port": 443,
    "vlan": [],
    "first_ns": 1_700_000_000_000_000_001,
    "last_ns": 1_700_000_001_000_000_001,
    "orig_packets": 3,
    "resp_packets": 2,
    "orig_bytes": 300,
    "resp_bytes": 200,
    "start_seen": True,
    "parent_flow_id": -1,
    "application": "tls",
    "service": "web",
    "is_vpn": False,
    "vpn_probability": 0.005,
    "evidence": [],
    "decided_packet": 0,
    "decided_ns": 0,
    "bytes_before": 0,
    "registered": False,
    "verdict": "allow",
    "rule": "default",
}

WIREGUARD: dict[str, Any] = {
    "proto": "udp",
    "application": "wireguard",
    "service": "vpn",
    "is_vpn": True,
    "kind": "vpn",
    "family": "wireguard",
    "vpn_probability": 0.999,
    "strength": "proof",
    "method": "signature",
    "evidence": [
        {"detector": "wireguard", "strength": "proof", "detail": "handshake", "packet": 12}
    ],
    "decided_packet": 2,
    "decided_ns": 1_700_000_000_500_000_000,
    "bytes_before": 176,
    "verdict": "would_block",
    "rule": "unregistered, certain",
}


def rows(*changes: dict[str, Any]) -> pa.Table:
    """Return a table of flow rows, each like the others but for what is given."""
    full = [
        {f.name: "" for f in SCHEMA} | _ROW | {"flow_id": i} | change
        for i, change in enumerate(changes)
    ]
    return pa.Table.from_pylist(full, schema=SCHEMA)
