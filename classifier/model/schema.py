"""The schema of flow features: name, unit, formula and source of each column, in their order.

Every feature of a direction exists for both (``orig_`` and ``resp_``). Missing is NaN: a feature
that is not defined for a flow (a mean of nothing, a TLS field of a flow without TLS) is never 0.
No feature depends on the value of an address, a port, a name or a time of day.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = [
    "BLOCKS",
    "FEATURES",
    "FEATURE_NAMES",
    "FEATURE_SCHEMA_VERSION",
    "PPI_PACKETS",
    "Feature",
    "column",
    "feature_schema_hash",
]

#: Raised with each change of a name, an order or a meaning.
FEATURE_SCHEMA_VERSION = 1

#: Packets with payload in the sequence features, as in CESNET DataZoo.
PPI_PACKETS = 30

_SIDES = (("orig", "originator"), ("resp", "responder"))
_DATAZOO = "CESNET DataZoo, docs/features.md"
_WU = "Wu et al. 2023 (USENIX Security), section 4"
_OWN = "own"

#: Upper bounds of the bins of packet histograms: bytes, or milliseconds.
BINS = ("0-15", "16-31", "32-63", "64-127", "128-255", "256-511", "512-1024", "above 1024")


@dataclass(frozen=True, slots=True)
class Feature:
    """A column of the feature matrix.

    Attributes
    ----------
    name : str
    unit : str
        Empty for a count or a share.
    formula : str
        What it is, and when it is missing.
    source : str
        Where its definition is from.
    """

    name: str
    unit: str
    formula: str
    source: str


def _flow() -> Iterator[Feature]:
    def own(name: str, unit: str, formula: str) -> Feature:
        return Feature(name, unit, formula, _OWN)

    yield own("is_tcp", "", "1 for TCP, else 0")
    yield own("is_udp", "", "1 for UDP, else 0")
    yield own("start_seen", "", "TCP: 1 where the SYN was captured, else 0; missing for others")
    yield Feature("duration_s", "s", "last less first time stamp", _DATAZOO)
    yield own("packets", "", "packets of both directions")
    yield own("bytes", "B", "IP total lengths of both directions")
    yield own("packet_rate", "1/s", "packets / duration_s; missing where the duration is 0")
    yield own("byte_rate", "B/s", "bytes / duration_s; missing where the duration is 0")
    yield own("packet_balance", "", "(orig - resp) / (orig + resp) of packets")
    yield own("byte_balance", "", "(orig - resp) / (orig + resp) of bytes")
    yield own("payload_balance", "", "the same of payload bytes; missing without payload")
    yield own("header_share", "", "1 - payload bytes / bytes")
    yield own("iat_min_s", "s", "least time between packets; missing below two packets")
    yield own("iat_max_s", "s", "greatest time between packets")
    yield own("iat_mean_s", "s", "mean time between packets")
    yield own("iat_std_s", "s", "standard deviation (population) of the time between packets")
    for side, who in _SIDES:
        yield Feature(f"{side}_packets", "", f"packets from the {who}", _DATAZOO)
        yield Feature(f"{side}_bytes", "B", f"IP total lengths from the {who}", _DATAZOO)
        yield own(f"{side}_payload_bytes", "B", "bytes after the transport header")
        yield own(f"{side}_payload_packet_share", "", "packets with payload / packets")
        yield own(f"{side}_payload_mean", "B", "payload bytes / packets with payload")
        yield own(f"{side}_bytes_min", "B", "least IP total length")
        yield own(f"{side}_bytes_max", "B", "greatest IP total length")
        yield own(f"{side}_bytes_mean", "B", "mean IP total length")
        yield own(f"{side}_bytes_std", "B", "standard deviation (population) of IP total lengths")
        yield own(f"{side}_duration_s", "s", "last less first time stamp of the direction")
        yield own(f"{side}_packet_rate", "1/s", "packets / the flow's duration")
        yield own(f"{side}_byte_rate", "B/s", "bytes / the flow's duration")
        yield own(f"{side}_iat_min_s", "s", "least time between packets of the direction")
        yield own(f"{side}_iat_max_s", "s", "greatest time between packets of the direction")
        yield own(f"{side}_iat_mean_s", "s", "mean time between packets of the direction")
        yield own(f"{side}_iat_std_s", "s", "standard deviation of the time between packets")
        yield own(f"{side}_retransmission_share", "", "TCP: retransmitted segments / packets")
        for flag in ("fin", "syn", "rst"):
            yield Feature(
                f"{side}_{flag}", "", f"TCP: 1 where a packet has {flag.upper()}", _DATAZOO
            )
        yield own(f"{side}_psh_share", "", "TCP: packets with PSH / packets with payload")


def _series() -> Iterator[Feature]:
    n = PPI_PACKETS
    for k in range(1, n + 1):
        text = "time since the packet before; 0 for the first"
        yield Feature(f"ppi_ipt_ms_{k:02d}", "ms", text, _DATAZOO)
    for k in range(1, n + 1):
        text = "direction: 1 from the originator, -1 from the responder"
        yield Feature(f"ppi_dir_{k:02d}", "", text, _DATAZOO)
    for k in range(1, n + 1):
        yield Feature(f"ppi_size_{k:02d}", "B", "payload bytes", _DATAZOO)
    yield Feature("ppi_len", "", f"packets in the sequence, {n} at most", _DATAZOO)
    yield Feature("ppi_duration_s", "s", "time from its first to its last packet", _DATAZOO)
    text = "times that a responder's packet follows an originator's"
    yield Feature("ppi_roundtrips", "", text, _DATAZOO)

    def own(name: str, unit: str, formula: str) -> Feature:
        return Feature(name, unit, formula, _OWN)

    yield own("gap_long_n", "", "gaps of 1 s or more among all first packets")
    yield own("gap_long_s", "s", "their sum: the idle time")
    yield own("gap_max_s", "s", "greatest gap among the first packets; missing below two")
    yield own("active_s", "s", "time of the first packets less gap_long_s; missing below two")
    yield own("gap_long_mean_s", "s", "mean long gap; missing without one")
    yield own("gap_long_cv", "", "their standard deviation / mean; missing below two: the rhythm")
    yield own("gap_whole_s", "s", "mean distance of long gaps from a whole second")
    text = (
        "places after the first two packets with sizes a, b, c in directions d, -d, d, all 200 B "
        "or less, a - c in 4..28 and |a - b| <= 8: a TCP handshake inside"
    )
    yield own("inner_handshakes", "", text)
    yield own("bursts", "", "runs of packets in one direction")
    for side, _ in _SIDES:
        for k, name in enumerate(BINS, 1):
            text = f"packets with {name} bytes of payload"
            yield Feature(f"{side}_size_bin_{k}", "", text, _DATAZOO)
        for k, name in enumerate(BINS, 1):
            text = f"packets {name} whole ms after the one before in the direction"
            yield Feature(f"{side}_ipt_bin_{k}", "", text, _DATAZOO)
        yield own(f"{side}_sizes", "", "packets with payload of the direction")
        yield own(f"{side}_size_mean", "B", "their mean payload")
        yield own(f"{side}_size_std", "B", "standard deviation (population) of their payload")
        yield own(f"{side}_size_max", "B", "greatest payload")
        yield own(f"{side}_size_max_share", "", "share of packets that have it")
        yield own(f"{side}_size_mode", "B", "commonest payload, the first of equally common ones")
        yield own(f"{side}_size_mode_share", "", "share of packets that have it")
        yield own(f"{side}_size_distinct_share", "", "different payload sizes / packets")
        yield own(f"{side}_size_late_min", "B", "least payload after the direction's first two")
        yield own(f"{side}_size_late_max", "B", "greatest payload after the direction's first two")
        yield own(f"{side}_residue4_share", "", "share of the commonest remainder of sizes by 4")
        yield own(f"{side}_residue16_share", "", "share of the commonest remainder of sizes by 16")
        yield own(f"{side}_ip_max", "B", "greatest IP total length of the first packets")
        yield own(f"{side}_burst_packets_max", "", "most packets of a run of the direction")
        yield own(f"{side}_burst_bytes_mean", "B", "mean payload of its runs")
        yield own(f"{side}_burst_bytes_max", "B", "greatest payload of a run")
        yield own(f"{side}_burst_bytes_1", "B", "payload of its first run")
        yield own(f"{side}_burst_bytes_2", "B", "payload of its second run")
        yield own(f"{side}_burst_bytes_3", "B", "payload of its third run")


def _payload() -> Iterator[Feature]:
    def own(name: str, unit: str, formula: str) -> Feature:
        return Feature(name, unit, formula, _OWN)

    for side, _ in _SIDES:
        for k in (1, 2):
            s = f"{side}_seg{k}"
            yield own(f"{s}_bytes", "B", f"bytes looked at of payload {k} of the direction")
            text = "entropy of its bytes / log2(min(bytes, 256)); missing below two bytes"
            yield own(f"{s}_entropy", "", text)
            yield Feature(f"{s}_ones", "", "bits set per byte", _WU)
            yield Feature(f"{s}_printable_share", "", "share of bytes 0x20 to 0x7E", _WU)
            yield Feature(f"{s}_printable_first", "", "printable bytes before any other", _WU)
            yield Feature(f"{s}_printable_run", "", "most printable bytes in a row", _WU)
            yield own(f"{s}_zero_share", "", "share of bytes 0x00")
            yield own(f"{s}_high_share", "", "share of bytes from 0x80 on")
            yield own(f"{s}_repeat_share", "", "share of bytes that repeat the one before")
            text = "chi-square of byte values against uniform / 255: 1 for random bytes"
            yield own(f"{s}_chi2", "", text)
            yield own(f"{s}_bit_runs", "", "changes from bit to bit / (bits - 1): 0.5 for random")
        text = "of the first 16 bytes of payloads 1 to 8 of the direction, those always equal"
        yield own(f"{side}_constant_bytes", "", text + "; missing below three payloads of 16 bytes")
        yield own(f"{side}_counting_bytes", "", "likewise, those that go up by one each time")
        text = "payloads whose first two or four bytes, either order, give the rest's length"
        yield own(f"{side}_length_share", "", f"share of {text} or their own")
        text = "share of payloads that begin with the header of a TLS record"
        yield own(f"{side}_record_share", "", text)
        yield own(f"{side}_lead_distinct", "", "different first bytes / payloads")
    yield Feature(
        "quic_long", "", "UDP: 1 where the first payload has a QUIC long header", "RFC 8999"
    )
    text = "1: version 1, 2: version 2, 3: drafts, 4: others"
    yield Feature("quic_version_kind", "", text, "RFC 9000, RFC 9369")
    yield Feature("quic_dcid_bytes", "B", "destination's connection identifier", "RFC 8999")
    yield Feature("quic_scid_bytes", "B", "source's connection identifier", "RFC 8999")


def _records() -> Iterator[Feature]:
    tls = "RFC 8446, RFC 5246"
    for side, _ in _SIDES:
        text = "TLS records in the kept head of the stream, 32 at most; missing where it is no TLS"
        yield Feature(f"{side}_tls_records", "", text, tls)
        yield Feature(f"{side}_tls_first_type", "", "content type of the first record", tls)
        yield Feature(f"{side}_tls_first_bytes", "B", "length field of the first record", tls)
        yield Feature(f"{side}_tls_handshake_bytes", "B", "sum of clear handshake records", tls)
        yield Feature(f"{side}_tls_data_records", "", "records of application data", tls)
        yield Feature(f"{side}_tls_data_bytes_1", "B", "length of the first such record", tls)
        yield Feature(f"{side}_tls_data_bytes_2", "B", "length of the second", tls)
        yield Feature(f"{side}_tls_data_bytes_3", "B", "length of the third", tls)
        yield Feature(f"{side}_tls_data_max", "B", "greatest of the kept head", tls)
        yield Feature(f"{side}_tls_alerts", "", "alert records", tls)
        yield Feature(f"{side}_tls_hello", "", "handshake type of the first message, else 0", tls)
        text = "extensions of the hello, GREASE included; missing without a whole hello"
        yield Feature(f"{side}_tls_extensions", "", text, tls)
        yield Feature(f"{side}_tls_session_bytes", "B", "length of its session identifier", tls)
        text = "highest version it offers or chooses, minor number: 4 for TLS 1.3"
        yield Feature(f"{side}_tls_version", "", text, tls)


def _hello() -> Iterator[Feature]:
    ja4 = "FoxIO, JA4 (technical_details/JA4.md)"
    yield Feature("ja4_transport", "", "1 TCP, 2 DTLS, 3 QUIC; missing without a JA4", ja4)
    yield Feature("ja4_version", "", "13 to 10 for TLS, 3 and 2 for SSL, 21 to 23 for DTLS", ja4)
    yield Feature("ja4_named", "", "1 where a server name is sent", ja4)
    yield Feature("ja4_ciphers", "", "number of ciphers, 99 at most", ja4)
    yield Feature("ja4_extensions", "", "number of extensions, 99 at most", ja4)
    text = "first ALPN: 0 none, 1 h1, 2 h2, 3 h3, 4 dt or dq, 5 other"
    yield Feature("ja4_alpn_kind", "", text, ja4)
    yield Feature(
        "name_characters", "", "length of the server name; 0 where none is sent", "RFC 6066"
    )


def _pairs() -> Iterator[Feature]:
    def own(name: str, unit: str, formula: str) -> Feature:
        return Feature(name, unit, formula, _OWN)

    yield own("pair_flows", "", "flows between the same two endpoints that began before")
    yield own("pair_tcp_share", "", "share of TCP among them; missing without one")
    yield own("pair_same_proto_share", "", "share of the flow's own protocol among them")
    yield own("pair_same_orig_share", "", "share with the same originator among them")
    yield own("pair_gap_s", "s", "time since the last of them began; missing without one")
    yield own("pair_gap_mean_s", "s", "mean time between their beginnings, this flow's included")


#: Columns by the function that computes them.
BLOCKS: dict[str, tuple[Feature, ...]] = {
    "flow": tuple(_flow()),
    "series": tuple(_series()),
    "payload": tuple(_payload()),
    "records": tuple(_records()),
    "hello": tuple(_hello()),
    "pairs": tuple(_pairs()),
}

#: All columns, in the order of the matrix.
FEATURES: tuple[Feature, ...] = tuple(f for block in BLOCKS.values() for f in block)

FEATURE_NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)

_COLUMNS = {name: i for i, name in enumerate(FEATURE_NAMES)}


def column(name: str) -> int:
    """Return the place of a feature in the matrix."""
    return _COLUMNS[name]


def feature_schema_hash() -> str:
    """Return a digest of the schema: equal hashes mean equal columns in equal order."""
    rows = [f"{f.name}\t{f.unit}\t{f.formula}\t{f.source}" for f in FEATURES]
    text = "\n".join([str(FEATURE_SCHEMA_VERSION), *rows])
    return hashlib.sha256(text.encode()).hexdigest()
