"""What rooms hand to each other: row layouts, enumerations, evidence, and the flow columns.

Column names are a contract with users; they are written down here and nowhere else.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COLUMNS",
    "DIR",
    "ENCAPSULATIONS",
    "FAMILIES",
    "FLOW",
    "FLOW_RECORD",
    "KEPT",
    "NO_WRAPPING",
    "PACKET",
    "PACKET_LIMIT",
    "PREVALENCE",
    "PROTOCOL_NAMES",
    "SCHEMA_VERSION",
    "SERIES",
    "Column",
    "Evidence",
    "FlowBatch",
    "Kind",
    "Strength",
    "Verdict",
    "canonical_family",
    "protocol_name",
    "protocol_number",
]

SCHEMA_VERSION = 1

#: Packets of a flow whose sizes, times and first payload bytes are kept.
PACKET_LIMIT = 32

#: Share of VPN flows that shipped probabilities refer to.
PREVALENCE = 0.01


class Strength(IntEnum):
    """How much a piece of evidence proves; greater is surer."""

    NONE = 0
    WEAK = 1  # shape, randomness, timing, address lists
    STRONG = 2  # the protocol's structure, seen in one direction or without a handshake
    PROOF = 3  # collision negligible, normally a fact seen in both directions

    @property
    def label(self) -> str:
        """The word in the ``strength`` column; empty for none."""
        return "" if self is Strength.NONE else self.name.lower()


class Verdict(IntEnum):
    """What a policy concludes; greater is harsher."""

    ALLOW = 0
    FLAG = 1
    WOULD_THROTTLE = 2
    WOULD_BLOCK = 3

    @property
    def label(self) -> str:
        """The word in the ``verdict`` column."""
        return self.name.lower()


class Kind(StrEnum):
    """What sort of carrier a flow is."""

    NONE = ""
    VPN = "vpn"
    PROXY = "proxy"
    TUNNEL = "tunnel"
    ANONYMITY = "anonymity"
    ENCAPSULATION = "encapsulation"  # bare wrapping, never ``is_vpn``


#: Family name -> kind of carrier. The spelling of the ``family`` column.
FAMILIES: dict[str, Kind] = {
    **dict.fromkeys(
        [
            "openvpn",
            "wireguard",
            "ipsec",
            "l2tp",
            "pptp",
            "sstp",
            "softether",
            "anyconnect",
            "fortinet",
            "globalprotect",
            "pulse",
            "tinc",
            "n2n",
            "nebula",
            "zerotier",
            "tailscale",
            "hamachi",
            "fastd",
            "vtun",
            "warp",
            "yggdrasil",
            "lightway",
            "generic-vpn",
        ],
        Kind.VPN,
    ),
    **dict.fromkeys(
        [
            "socks",
            "http-connect",
            "shadowsocks",
            "vmess",
            "vless",
            "trojan",
            "hysteria",
            "tuic",
            "psiphon",
            "ultrasurf",
        ],
        Kind.PROXY,
    ),
    **dict.fromkeys(
        [
            "ssh-tunnel",
            "dns-tunnel",
            "icmp-tunnel",
            "http-tunnel",
            "stunnel",
            "kcptun",
            "fully-encrypted",
            "tls-in-tls",
        ],
        Kind.TUNNEL,
    ),
    **dict.fromkeys(["tor", "obfs4"], Kind.ANONYMITY),
    **dict.fromkeys(
        [
            "gre",
            "ipip",
            "6in4",
            "4in6",
            "6to4",
            "teredo",
            "vxlan",
            "geneve",
            "gtp-u",
            "erspan",
            "nvgre",
            "etherip",
        ],
        Kind.ENCAPSULATION,
    ),
}

_FAMILY_BY_FOLDED = {name.replace("-", ""): name for name in FAMILIES}


def canonical_family(name: str) -> str:
    """Return the column's spelling of a family name, ignoring case, ``-`` and ``_``.

    An unknown name comes back lower-cased, so that labels of other tools survive.
    """
    folded = name.strip().lower().replace("-", "").replace("_", "")
    return _FAMILY_BY_FOLDED.get(folded, name.strip().lower())


#: IP protocol number -> name in the ``proto`` column (IANA keywords, lower case).
PROTOCOL_NAMES: dict[int, str] = {
    1: "icmp",
    2: "igmp",
    4: "ipip",
    6: "tcp",
    17: "udp",
    33: "dccp",
    41: "6in4",
    46: "rsvp",
    47: "gre",
    50: "esp",
    51: "ah",
    58: "icmp6",
    88: "eigrp",
    89: "ospf",
    97: "etherip",
    103: "pim",
    108: "ipcomp",
    112: "vrrp",
    115: "l2tp",
    132: "sctp",
    136: "udplite",
}
_PROTOCOL_NUMBERS = {name: number for number, name in PROTOCOL_NAMES.items()} | {
    "icmpv6": 58,
    "ipv6-icmp": 58,
    "ipv6": 41,
    "ipencap": 4,
}


def protocol_name(number: int) -> str:
    """Return the ``proto`` column's word for an IP protocol number."""
    return PROTOCOL_NAMES.get(number, f"ip-{number}")


def protocol_number(name: str) -> int:
    """Return the IP protocol number for a name or a decimal number.

    Raises
    ------
    ValueError
        If the text is neither.
    """
    text = name.strip().lower()
    if text in _PROTOCOL_NUMBERS:
        return _PROTOCOL_NUMBERS[text]
    digits = text.removeprefix("ip-")
    if not (digits.isdecimal() and len(digits) <= 3 and int(digits) <= 255):
        raise ValueError(f"{name[:40]!r} is not an IP protocol, nor the number of one")
    return int(digits)


#: Encapsulations by the 4-bit code that ``wire`` puts into ``wrapping``; 0 is none.
ENCAPSULATIONS = (
    "",
    "gre",
    "ipip",
    "6in4",
    "4in6",
    "vxlan",
    "geneve",
    "gtp-u",
    "teredo",
    "l2tp",
    "6to4",
    "erspan",
    "nvgre",
    "pptp-gre",
    "etherip",
    "mpls-in-ip",
)

# ``wrapping`` packs four VLAN ids (12 bits each, outermost first, 0xFFF = none) in bits 0-47 and
# four encapsulation codes (4 bits each, outermost first, 0 = none) in bits 48-63. VLAN id 0xFFF is
# reserved by IEEE 802.1Q, so it can stand for "none".
NO_WRAPPING = np.uint64(0x0000_FFFF_FFFF_FFFF)

#: One captured packet, as ``wire`` hands it to ``flows``. Host byte order everywhere.
PACKET = np.dtype(
    [
        ("ts_ns", "i8"),  # UTC nanoseconds since 1970
        ("src_hi", "u8"),  # IPv6: upper 64 bits; IPv4: 0
        ("src_lo", "u8"),  # IPv6: lower 64 bits; IPv4: the address
        ("dst_hi", "u8"),
        ("dst_lo", "u8"),
        ("wrapping", "u8"),  # VLAN ids and encapsulations, see above
        ("frame", "i8"),  # number in the capture file, from 1
        ("flow_id", "i8"),  # written by ``flows``; -1 where in none
        ("ip_bytes", "u4"),  # IP total length on the wire
        ("payload_start", "u4"),  # in the read buffer; payload[start:stop] is what was captured
        ("payload_stop", "u4"),
        ("payload_bytes", "u4"),  # on the wire, after the transport header
        ("seq", "u4"),  # TCP sequence number, else 0
        ("fragment_id", "u4"),  # IP identification
        ("src_port", "u2"),  # 0 where the transport has none
        ("dst_port", "u2"),
        ("checksum", "u2"),  # of the transport header
        ("icmp", "u2"),  # type << 8 | code
        ("capture", "u2"),  # row in the list of captures
        ("proto", "u1"),  # IP protocol number
        ("ip_version", "u1"),  # 4 or 6
        ("tcp_flags", "u1"),
        ("reason", "u1"),  # 0 = belongs in a flow, else wire.REASONS row why not
        ("fragment", "u1"),  # 0 whole, 1 first fragment, 2 later fragment
        ("truncated", "u1"),  # 1 where the capture holds less than was on the wire
    ],
    align=True,
)

#: One of a flow's first ``PACKET_LIMIT`` packets, as detectors read them.
SERIES = np.dtype(
    [
        ("ts_ns", "i8"),
        ("frame", "i8"),  # number in the capture file, from 1
        ("start", "i8"),  # payload[start:stop]: its first bytes, as far as they were kept
        ("stop", "i8"),
        ("ip_bytes", "u4"),  # IP total length on the wire
        ("payload_bytes", "u4"),  # on the wire, after the transport header
        ("seq", "u4"),  # TCP sequence number
        ("capture", "u2"),
        ("direction", "u1"),  # 0 from the originator, 1 from the responder
        ("tcp_flags", "u1"),
    ],
    align=True,
)

#: The same while its flow lives, in the order of arrival among the packets of all flows.
KEPT = np.dtype(
    [
        ("ts_ns", "i8"),
        ("frame", "i8"),
        ("ip_bytes", "u4"),
        ("payload_bytes", "u4"),
        ("seq", "u4"),
        ("before", "i4"),  # row of the flow's packet before this one, -1 = none
        ("digest", "u4"),  # to see one captured twice
        ("start_low", "u4"),  # arena[start : start + kept]; 48 bits
        ("start_high", "u2"),
        ("kept", "u2"),
        ("capture", "u2"),
        ("direction", "u1"),  # bit 0: from endpoint ``b``; bit 1: a later fragment
        ("tcp_flags", "u1"),
    ],
    align=True,
)

#: Statistics of one direction of a flow, from its second packet on: two cache lines.
DIR = np.dtype(
    [
        ("packets", "i8"),
        ("bytes", "i8"),  # IP total lengths
        ("payload_bytes", "i8"),
        ("last_ns", "i8"),
        ("bytes_sumsq", "u8"),
        ("iat_sumsq", "u8"),  # ns^2, with ``iat_sumsq_high``; stays at its greatest
        ("iat_min", "i8"),  # ns
        ("iat_max", "i8"),
        ("first_ns", "i8"),
        ("flags_low", "u8"),  # counts of FIN SYN RST PSH, 16 bits each, saturating
        ("flags_high", "u8"),  # ACK URG ECE CWR
        ("iat_sumsq_high", "u4"),
        ("payload_packets", "u4"),
        ("bytes_min", "u4"),
        ("bytes_max", "u4"),
        ("next_seq", "u4"),  # TCP: the byte expected next
        ("retransmissions", "u4"),  # TCP segments that bring nothing beyond next_seq
        ("gaps", "u4"),  # TCP: times that next_seq was jumped over
        ("digest", "u4"),  # of the last packet, to see one captured twice
        ("missing_low", "u4"),  # TCP: bytes that gaps jumped over; 48 bits, at most
        ("missing_high", "u2"),
        ("kept", "u2"),  # payload bytes kept so far
    ],
    align=True,
)

#: A live flow apart from its two directions: two cache lines. Endpoint ``a`` is the smaller one.
FLOW_RECORD = np.dtype(
    [
        ("a_hi", "u8"),
        ("a_lo", "u8"),
        ("b_hi", "u8"),
        ("b_lo", "u8"),
        ("ports", "u8"),  # proto << 40 | ip_version << 32 | port of a << 16 | port of b
        ("last_ns", "i8"),
        ("flow_id", "i8"),
        ("tail", "i4"),  # row of the last kept packet
        ("state", "u2"),  # bits, see flows/_kernels.py
        ("n_series", "u1"),
        ("parent_high", "u1"),  # 40 bits: the number of the parent + 1, 0 none
        ("first_ns", "i8"),
        ("iat_min", "i8"),
        ("iat_max", "i8"),
        ("iat_sumsq", "u8"),  # as in DIR
        ("wrapping", "u8"),
        ("side", "i4", (2,)),  # of a and b: row of its DIR; 0 none; else ~row of its only packet
        ("iat_sumsq_high", "u4"),
        ("parent_low", "u4"),
        ("duplicates", "u4"),
        ("icmp", "u2"),
        ("kept", "u2"),  # payload bytes kept so far
    ],
    align=True,
)


def _oriented(side: str) -> list[tuple[str, str]]:
    columns = {
        "packets": "i8",
        "bytes": "i8",
        "payload_bytes": "i8",
        "first_ns": "i8",
        "last_ns": "i8",
        "bytes_sumsq": "u8",
        "iat_sumsq": "f8",
        "iat_min": "i8",
        "iat_max": "i8",
        "payload_packets": "u4",
        "bytes_min": "u4",
        "bytes_max": "u4",
        "retransmissions": "u4",
        "gaps": "u4",
        "missing_bytes": "u8",
    }
    return [(f"{side}_{name}", kind) for name, kind in columns.items()]


#: An ended flow, oriented, as ``flows`` hands it to the rooms above.
FLOW = np.dtype(
    [
        ("flow_id", "i8"),
        ("parent_flow_id", "i8"),
        ("first_ns", "i8"),
        ("last_ns", "i8"),
        ("orig_hi", "u8"),
        ("orig_lo", "u8"),
        ("resp_hi", "u8"),
        ("resp_lo", "u8"),
        ("wrapping", "u8"),
        ("frame", "i8"),  # of the first packet
        *_oriented("orig"),
        *_oriented("resp"),
        ("orig_flags", "u2", (8,)),  # counts of FIN SYN RST PSH ACK URG ECE CWR
        ("resp_flags", "u2", (8,)),
        ("iat_min", "i8"),
        ("iat_max", "i8"),
        ("iat_sumsq", "f8"),
        ("packets_start", "i8"),  # rows of FlowBatch.packets
        ("packets_stop", "i8"),
        ("orig_start", "i8"),  # FlowBatch.payload: head of the originator's stream. TCP: in
        ("orig_stop", "i8"),  # sequence order up to the first hole; else: first kept payload
        ("resp_start", "i8"),
        ("resp_stop", "i8"),
        ("duplicates", "u4"),
        ("orig_port", "u2"),
        ("resp_port", "u2"),
        ("icmp", "u2"),  # type << 8 | code of the first packet
        ("capture", "u2"),
        ("proto", "u1"),
        ("ip_version", "u1"),
        ("start_seen", "u1"),  # TCP: the SYN was seen; else 0 until a detector knows
    ],
    align=True,
)


@dataclass(frozen=True, slots=True)
class FlowBatch:
    """Ended flows with their first packets: what detectors and features work on.

    Attributes
    ----------
    flows : ndarray of FLOW, shape (n_flows,)
    packets : ndarray of SERIES, shape (n_packets,)
        ``packets[f["packets_start"]:f["packets_stop"]]`` are flow ``f``'s first packets in the
        order of the capture, with no packet left out, ``PACKET_LIMIT`` at most.
    payload : ndarray of uint8, shape (n_bytes,)
        What ``start``/``stop`` in both other tables index. ``stop - start`` may be less than
        ``payload_bytes``: the capture was cut by a snaplen, or only the first bytes were kept.
    """

    flows: NDArray[np.void]
    packets: NDArray[np.void]
    payload: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that a detector saw.

    Attributes
    ----------
    flow : int
        Row in ``FlowBatch.flows``.
    detector : str
        Name of the detector.
    strength : Strength
    detail : str
        What was seen, so that anyone can check it by hand; frame numbers as in the capture.
    packet : int
        Row in ``FlowBatch.packets`` that completed the observation.
    family : str
        A key of ``FAMILIES``, or empty where no family is named.
    starts : bool
        The flow's first packet is one that the protocol starts with.
    known_ns : int
        When another flow told it, 0 where none did: a box knew no sooner.
    """

    flow: int
    detector: str
    strength: Strength
    detail: str
    packet: int
    family: str
    starts: bool = False
    known_ns: int = 0


class Column(NamedTuple):
    """A column of the flow table: name, Arrow type as text, and meaning."""

    name: str
    type: str
    meaning: str


#: The flow columns, in the order of every output.
COLUMNS: tuple[Column, ...] = (
    Column("flow_id", "int64", "row number by first packet, from 0"),
    Column("community_id", "string", "Community ID v1, seed 0"),
    Column("capture", "string", "file name of the first packet"),
    Column("proto", "string", "transport: tcp udp icmp icmp6 sctp esp ah gre ...; ip-N if unnamed"),
    Column("orig_ip", "string", "originator: sent the first packet (TCP: the SYN where seen)"),
    Column("orig_port", "int64", "its port, 0 where none"),
    Column("resp_ip", "string", "responder"),
    Column("resp_port", "int64", "its port, 0 where none"),
    Column("vlan", "list<int64>", "outer VLAN ids, outermost first"),
    Column("encapsulation", "string", "with decapsulate: what wrapped this flow"),
    Column("first_ns", "int64", "least time stamp, UTC nanoseconds since 1970"),
    Column("last_ns", "int64", "greatest time stamp"),
    Column("orig_packets", "int64", "packets from the originator"),
    Column("resp_packets", "int64", "packets from the responder"),
    Column("orig_bytes", "int64", "IP total lengths on the wire, bytes"),
    Column("resp_bytes", "int64", "the same from the responder"),
    Column("start_seen", "bool", "the flow's beginning is in the capture"),
    Column("parent_flow_id", "int64", "flow this one continues after a timeout, else -1"),
    Column("application", "string", "best name for what the flow is, or unknown"),
    Column("service", "string", "class of use: web mail voice messaging ... vpn unknown"),
    Column("server_name", "string", "TLS or QUIC server name, or HTTP host"),
    Column("ja4", "string", "JA4 of the client hello"),
    Column("is_vpn", "bool", "vpn_probability reached the threshold"),
    Column("kind", "string", "vpn proxy tunnel anonymity encapsulation, or empty"),
    Column("family", "string", "protocol family, whenever evidence names one"),
    Column("vpn_probability", "float64", "probability that the flow is a VPN, tunnel or proxy"),
    Column("strength", "string", "of the strongest evidence: proof strong weak, or empty"),
    Column("method", "string", "signature behaviour model, or empty"),
    Column(
        "evidence",
        "list<struct<detector: string, strength: string, detail: string, packet: int64>>",
        "everything that was seen; packet is the frame number in the file, from 1",
    ),
    Column("decided_packet", "int64", "packets of the flow until it was identified, 0 where not"),
    Column("decided_ns", "int64", "time of that packet, 0 where none"),
    Column("bytes_before", "int64", "bytes that had passed before it"),
    Column("registered", "bool", "an endpoint was registered at the flow's first packet"),
    Column("registration_id", "string", "the matched entry"),
    Column("organisation", "string", "its holder"),
    Column("category", "string", "the holder's category"),
    Column("matched_side", "string", "client or server"),
    Column("near_miss", "string", "expired not_yet wrong_side wrong_scope not_active, or empty"),
    Column("verdict", "string", "allow flag would_throttle would_block"),
    Column("rule", "string", "the rule that decided, default where none did"),
)
