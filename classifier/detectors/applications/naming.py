"""Name the applications of a batch of flows.

How this works
--------------
``name_flows`` compares the first messages of every flow with the signatures and writes a code;
``name_runs`` looks at flows that are still unknown for what a run of packets has in common;
``find_names`` finds client hellos and Host lines. Python handles only the flows with a name to
decode. Work is in proportion to the messages looked at: for TCP the head of each direction, for
UDP six datagrams at most (thirty-two while nothing is known).
"""

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.detectors.applications._kernels import name_flows, name_runs
from classifier.detectors.applications._places import HELLO_COLUMNS, find_names
from classifier.detectors.applications.catalogue import APPLICATIONS, CATALOGUE
from classifier.detectors.applications.patterns import SignatureTable, compile_signatures
from classifier.detectors.applications.signatures_infrastructure import INFRASTRUCTURE
from classifier.detectors.applications.signatures_internet import INTERNET
from classifier.detectors.applications.tls import describe_hellos
from classifier.detectors.interface import Names
from classifier.tables import FlowBatch

__all__ = ["name_applications"]

#: RFC 1035 2.3.4 and RFC 6066 3: no host name is longer.
NAME_CHARACTERS = 255

_BY_PROTOCOL = {
    1: "icmp",
    2: "igmp",
    33: "dccp",
    46: "rsvp",
    58: "icmp6",
    88: "eigrp",
    89: "ospf",
    103: "pim",
    112: "vrrp",
    132: "sctp",
}

#: What an application is called on a port that is registered for a use of it.
_BY_PORT = {
    ("tls", 465): "smtps",
    ("tls", 636): "ldaps",
    ("tls", 3269): "ldaps",
    ("tls", 853): "dot",
    ("tls", 993): "imaps",
    ("tls", 995): "pop3s",
    ("tls", 5061): "sips",
    ("tls", 8883): "mqtts",
    ("dns", 5353): "mdns",
    ("dns", 5355): "llmnr",
}

#: Infrastructure that goes by its port where the capture holds no payload at all.
_BARE = ("dns", "mdns", "llmnr", "nbns", "ntp", "dhcp", "dhcpv6", "ssdp", "snmp")


class _Tables(NamedTuple):
    signatures: SignatureTable
    by_protocol: NDArray[np.int16]
    port_offsets: NDArray[np.int64]
    ports: NDArray[np.int64]
    names: NDArray[np.object_]


@functools.cache
def _tables() -> _Tables:
    """Return what the kernels read."""
    by_protocol = np.zeros(256, np.int16)
    for number, name in _BY_PROTOCOL.items():
        by_protocol[number] = APPLICATIONS.index(name)
    counts = [len(entry.ports) for entry in CATALOGUE.values()]
    return _Tables(
        compile_signatures(INTERNET + INFRASTRUCTURE),
        by_protocol,
        np.cumsum([0, *counts]).astype(np.int64),
        np.array([port for entry in CATALOGUE.values() for port in entry.ports], np.int64),
        np.array(APPLICATIONS, object),
    )


def readable(name: bytes) -> str:
    r"""Return a name from the wire as printable ASCII, all else and ``\`` as ``\xNN``."""
    text = ""
    if name.isascii() and b"\\" not in name and name.decode("ascii").isprintable():
        return name[:NAME_CHARACTERS].decode("ascii")
    for byte in name:
        piece = chr(byte) if 0x20 <= byte <= 0x7E and byte != 0x5C else f"\\x{byte:02x}"
        if len(text) + len(piece) > NAME_CHARACTERS:
            break
        text += piece
    return text


def _refine(flows: NDArray[np.void], codes: NDArray[np.int16]) -> None:
    """Rename applications whose port says more than their content."""
    original = codes.copy()
    for (name, port), better in _BY_PORT.items():
        rows = np.flatnonzero(original == APPLICATIONS.index(name))
        on_port = (flows["resp_port"][rows] == port) | (flows["orig_port"][rows] == port)
        codes[rows[on_port]] = APPLICATIONS.index(better)


def _name_bare(batch: FlowBatch, codes: NDArray[np.int16]) -> None:
    """Name infrastructure by its port where no payload was captured to contradict it."""
    flows = batch.flows
    rows = np.flatnonzero((codes == 0) & (flows["proto"] == 17))
    sent = flows["orig_payload_bytes"][rows] + flows["resp_payload_bytes"][rows] > 0
    kept = flows["orig_stop"][rows] - flows["orig_start"][rows]
    kept = kept + flows["resp_stop"][rows] - flows["resp_start"][rows]
    rows = rows[sent & (kept == 0)]
    if rows.size == 0:
        return
    for name in _BARE:
        ports = CATALOGUE[name].ports
        # The responder's alone: an originator's port may be any.
        codes[rows[np.isin(flows["resp_port"][rows], ports)]] = APPLICATIONS.index(name)


def name_applications(batch: FlowBatch) -> Names:
    """Name the applications of flows by what their packets hold.

    Parameters
    ----------
    batch : FlowBatch

    Returns
    -------
    Names
        ``application`` is one of ``APPLICATIONS``; ``unknown`` for VPN protocols, which detectors
        name, and for all that cannot be told.

    Notes
    -----
    A port settles only content that agrees with it, apart from infrastructure of which the capture
    holds no payload.
    """
    flows, packets, payload = batch.flows, batch.packets, batch.payload
    tables = _tables()
    codes = np.zeros(flows.size, np.int16)
    starts = np.zeros(flows.size, np.bool_)
    nbns, quic, rtp, tls, dtls, http, websocket = (
        APPLICATIONS.index(name)
        for name in ("nbns", "quic", "rtp", "tls", "dtls", "http", "websocket")
    )
    name_flows(
        flows,
        packets,
        payload,
        tuple(tables.signatures),
        nbns,
        tables.by_protocol,
        tables.port_offsets,
        tables.ports,
        codes,
        starts,
    )
    name_runs(flows, packets, payload, tls, quic, rtp, codes)
    spans = np.zeros((flows.size, 2), np.int64)
    hellos = np.zeros((flows.size, HELLO_COLUMNS), np.int64)
    found = find_names(flows, packets, payload, codes, http, websocket, tls, dtls, spans, hellos)
    ja4 = np.full(flows.size, "", object)
    if found:
        with_hello = hellos[:found, 0]
        spans[with_hello], ja4[with_hello] = describe_hellos(
            payload, np.ascontiguousarray(hellos[:found, 1:])
        )
    server_name = np.full(flows.size, "", object)
    known: dict[bytes, str] = {}
    for row in np.flatnonzero(spans[:, 1] > spans[:, 0]).tolist():
        name = payload[spans[row, 0] : spans[row, 1]].tobytes()
        text = known.get(name)
        if text is None:
            text = known[name] = readable(name)
        server_name[row] = text
    _refine(flows, codes)
    _name_bare(batch, codes)
    return Names(tables.names[codes], server_name, ja4, starts)
