"""Name the applications of a batch of flows.

How this works
--------------
``name_flows`` compares the first messages of every flow with the signatures and writes a code;
``name_runs`` looks at flows that are still unknown for what a run of packets has in common;
``places`` finds client hellos and Host lines, ``hellos`` adds those inside QUIC. Python handles
only the flows with a name to decode. Work is in proportion to the messages looked at: for TCP the head of each direction, for
UDP six datagrams at most (thirty-two while nothing is known).
"""

import functools
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.detectors.applications._kernels import name_flows, name_runs
from classifier.detectors.applications.catalogue import APPLICATIONS, CATALOGUE
from classifier.detectors.applications.hellos import Hellos, joined_hellos
from classifier.detectors.applications.patterns import SignatureTable, compile_signatures
from classifier.detectors.applications.places import find_hellos, find_hosts
from classifier.detectors.applications.signatures_devices import DEVICES
from classifier.detectors.applications.signatures_infrastructure import INFRASTRUCTURE
from classifier.detectors.applications.signatures_internet import INTERNET
from classifier.detectors.applications.tls import describe_hellos
from classifier.detectors.interface import Names
from classifier.tables import FlowBatch

__all__ = ["Found", "look_for_names", "name_applications", "readable"]

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
    113: "pgm",
    132: "sctp",
}

#: What an application is called on a port that is registered for a use of it.
_BY_PORT = {
    ("tls", 465): "smtps",
    ("tls", 563): "nntps",
    ("tls", 636): "ldaps",
    ("tls", 3269): "ldaps",
    ("tls", 853): "dot",
    ("tls", 990): "ftps",
    ("tls", 993): "imaps",
    ("tls", 995): "pop3s",
    ("tls", 2083): "radsec",
    ("tls", 4460): "nts-ke",
    ("tls", 5061): "sips",
    ("tls", 5671): "amqps",
    ("tls", 6514): "syslog-tls",
    ("tls", 6697): "ircs",
    ("tls", 8883): "mqtts",
    ("quic", 853): "doq",
    ("dns", 5353): "mdns",
    ("dns", 5355): "llmnr",
}

#: What the first ALPN name of a client hello says the application is (IANA's list of
#: ALPN identifiers).
_BY_ALPN = {
    b"dot": "dot",
    b"doq": "doq",
    b"ntske/1": "nts-ke",
    b"ftp": "ftps",
    b"imap": "imaps",
    b"pop3": "pop3s",
    b"nntp": "nntps",
    b"irc": "ircs",
    b"xmpp-client": "xmpps",
    b"xmpp-server": "xmpps",
    b"mqtt": "mqtts",
    b"sip/2": "sips",
    b"coap": "coaps",
    b"co": "coaps",
    b"radius/1.0": "radsec",
    b"radius/1.1": "radsec",
    b"postgresql": "postgresql",
    b"tds/8.0": "tds",
    b"smb": "smb",
    b"stun.turn": "stun",
    b"stun.nat-discovery": "stun",
    b"bep/1.0": "syncthing",  # Syncthing's Block Exchange Protocol 1
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
        compile_signatures(INTERNET + DEVICES + INFRASTRUCTURE),
        by_protocol,
        np.cumsum([0, *counts]).astype(np.int64),
        np.array([port for entry in CATALOGUE.values() for port in entry.ports], np.int64),
        np.array(APPLICATIONS, object),
    )


#: Names that are remembered as text: the same few are asked for again and again.
_NAMES_KNOWN = 4096

#: C0 controls, DEL, and ``\\``, which begins an escape.
_ESCAPED = re.compile(rb"[\x00-\x1f\x7f\\]|\xc2[\x80-\x9f]")


@functools.lru_cache(_NAMES_KNOWN)
def readable(name: bytes) -> str:
    r"""Return a name from the wire as text.

    Valid UTF-8 stays as it is; bytes that are none, control characters and ``\`` become ``\xNN``.
    """
    if name.isascii() and b"\\" not in name and name.decode("ascii").isprintable():
        return name[:NAME_CHARACTERS].decode("ascii")
    # An escape takes four characters: more bytes than these cannot show
    kept = _ESCAPED.sub(
        lambda found: b"".join(b"\\x%02x" % byte for byte in found[0]), name[: 4 * NAME_CHARACTERS]
    )
    text = kept.decode("utf-8", "backslashreplace")
    if len(text) <= NAME_CHARACTERS:
        return text
    inside = text.rfind("\\x", NAME_CHARACTERS - 3, NAME_CHARACTERS + 1)
    return text[: inside if inside >= 0 else NAME_CHARACTERS]


def _refine(flows: NDArray[np.void], codes: NDArray[np.int16]) -> None:
    """Rename applications whose port says more than their content."""
    original = codes.copy()
    ports = [flows[f"{side}_port"] for side in ("resp", "orig")]
    for name in dict.fromkeys(name for name, _ in _BY_PORT):
        rows = np.flatnonzero(original == APPLICATIONS.index(name))
        here = [port[rows] for port in ports]
        for (application, port), better in _BY_PORT.items():
            if application == name:
                on_port = rows[(here[0] == port) | (here[1] == port)]
                codes[on_port] = APPLICATIONS.index(better)


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


class Found(NamedTuple):
    """What names the flows of a batch, before it is text.

    Attributes
    ----------
    codes : ndarray of int16, shape (n_flows,)
        Places in ``APPLICATIONS``.
    starts : ndarray of bool, shape (n_flows,)
    hosts : list of (flow row, value of the Host line)
    hellos : tuple of Hellos
    google : list of (flow row, server name)
    """

    codes: NDArray[np.int16]
    starts: NDArray[np.bool_]
    hosts: list[tuple[int, bytes]]
    hellos: tuple[Hellos, Hellos]
    google: list[tuple[int, bytes]]


def look_for_names(batch: FlowBatch) -> Found:
    """Name flows by their first messages, and find client hellos and Host lines."""
    flows, packets, payload = batch.flows, batch.packets, batch.payload
    tables = _tables()
    codes = np.zeros(flows.size, np.int16)
    starts = np.zeros(flows.size, np.bool_)
    nbns, quic, rtp, tls, dtls, stun, http, websocket = (
        APPLICATIONS.index(name)
        for name in ("nbns", "quic", "rtp", "tls", "dtls", "stun", "http", "websocket")
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
    hosts = find_hosts(batch, np.flatnonzero((codes == http) | (codes == websocket)))
    hellos = find_hellos(batch, codes == tls, codes == dtls, codes == stun)
    in_place, joined, google = joined_hellos(batch, hellos, np.flatnonzero(codes == quic))
    return Found(codes, starts, hosts, (in_place, joined), google)


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
    found = look_for_names(batch)
    codes = found.codes
    ja4 = np.full(codes.size, "", object)
    server_name = np.full(codes.size, "", object)
    named = [*found.hosts, *found.google]
    for hellos in found.hellos:
        if hellos.flow.size == 0:
            continue
        spans, ja4[hellos.flow] = describe_hellos(hellos.payload, hellos.rows)
        for row, span in zip(hellos.flow.tolist(), spans.tolist(), strict=True):
            start, stop, alpn, alpn_stop = span
            if stop > start:
                named.append((row, hellos.payload[start:stop].tobytes()))
            if alpn_stop > alpn:
                better = _BY_ALPN.get(hellos.payload[alpn:alpn_stop].tobytes())
                if better:
                    codes[row] = APPLICATIONS.index(better)
    # Of several names of a flow the last one stays; of a long one no more is read
    texts = [readable(raw[: 4 * NAME_CHARACTERS]) for _, raw in named]
    server_name[[row for row, _ in named]] = texts
    _refine(batch.flows, codes)
    _name_bare(batch, codes)
    return Names(_tables().names[codes], server_name, ja4, found.starts)
