"""SOCKS 4, 4a and 5: the client names where to go, the proxy answers in the same short form.

Numbers are big-endian. SOCKS 5, the client's side::

    0    1   version      5
    1    1   methods      how many follow; 0 none, 1 GSSAPI, 2 name and password, others assigned
    then, with method 2: 1, length, name, length, password; with method 1: 1, 1, length (2), token
    then the request:
    0    1   version      5
    1    1   command      1 connect, 2 bind, 3 associate UDP
    2    1   reserved     0
    3    1   address      1 IPv4 (4 bytes follow), 3 name (its length and it), 4 IPv6 (16)
         2   port

and the server's::

    0    1   version      5
    1    1   method       one of those offered; 255 none
    then, with method 2: 1, status (0 is good); with method 1: 1, 1, length (2), token
    then the reply, as the request, with a code of 0 to 8 in place of the command

and each datagram that the proxy relays for an association, both ways::

    0    2   reserved     0
    2    1   fragment     0 where datagrams are whole
    3    1   address      1 IPv4, 3 name, 4 IPv6, as above; of the far end, in both directions
         2   port         then the far end's datagram

SOCKS 4 and 4a::

    0    1   version      4                           0    1   version   0
    1    1   command      1 connect, 2 bind           1    1   code      90 to 93
    2    2   port                                     2    2   port
    4    4   address      4a: 0.0.0.x                 4    4   address
    8    n   user, ended by zero; 4a: then the name, ended by zero

Sources
-------
RFC 1928 (SOCKS 5), RFC 1929 (name and password), RFC 1961 (GSSAPI); Ying-Da Lee, "SOCKS: A protocol
for TCP proxy across firewall" and "SOCKS 4A: A Simple Extension to SOCKS 4 Protocol".

Strength
--------
Proof: an offered method agreed, and a request with its reply, or GSSAPI tokens both ways; SOCKS 4:
request and reply; a UDP flow whose every datagram has a relay's header, from the client to the
port that the reply to its association named, at that address or the proxy's own. Strong: an offered
method agreed, and a request, its reply not seen; name and password, or a request, that were not kept whole, with
all that the server says; the server's side alone, its method and reply; all methods refused, or name and password; SOCKS 5
or 4a requests where nothing of the server's direction was captured. Weak: the server said nothing; or
two relayed datagrams and more of each side, whose association was not seen, all with the same address and
port that someone can be asked at.

Mistaken for
------------
Scans for open proxies are the client's half of it; only an answer makes more than a weak finding.
An empty answer is no agreement. For a relay's datagrams a protocol whose header is the number 1 and six
bytes that stay.

Blind to
--------
SOCKS inside TLS; conversations joined after the reply; UDP relays to several far ends, or of a name, whose
answers come from an address, where their TCP connection does not end in the same batch of flows.
"""

import ipaddress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._columns import head
from classifier.detectors._dialogue import Dialogue, report
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

TCP, UDP = 6, 17
VERSION_5, VERSION_4, VERSION_4_REPLY = 5, 4, 0
GSSAPI, PASSWORD, NONE_ACCEPTABLE = 1, 2, 255
COMMANDS_5, CODES_5, ASSOCIATE = range(1, 4), range(9), 3
COMMANDS_4, CODES_4 = range(1, 3), range(90, 94)
IPV4, NAME, IPV6 = 1, 3, 4
KINDS = (IPV4, NAME, IPV6)
ADDRESS_BYTES = {IPV4: 4, IPV6: 16}
USER_MOST = 256
RELAY_BYTES, RELAYED_LEAST, RELAY_HEADER = 10, 2, {IPV4: 10, IPV6: 22}
GREETING_BYTES, REQUEST_4_LEAST, REPLY_4_BYTES = 2, 9, 8
NAME_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:")
_NAME = "socks"
_Address = int  # as one number


def _message(data: bytes, at: int, codes: range) -> int:
    """Return the end of a SOCKS 5 request or reply; 0 where it is none, -1 where it was cut."""
    if len(data) < at + 5:
        return -1
    kind = data[at + 3]
    if data[at] != VERSION_5 or data[at + 1] not in codes or data[at + 2] != 0:
        return 0
    size = 1 + data[at + 4] if kind == NAME else ADDRESS_BYTES.get(kind, -1)
    if size < 1:
        return 0
    end = at + 4 + size + 2
    if len(data) < end:
        return -1
    if kind == NAME and not NAME_BYTES.issuperset(data[at + 5 : end - 2]):
        return 0
    return end


def _begins(data: bytes, codes: range) -> bool:
    """Tell whether the first bytes of a request or reply, three at most, may be such."""
    wanted = ((VERSION_5,), codes, (0,))
    return all(byte in some for byte, some in zip(data, wanted, strict=False))


def _token(data: bytes, at: int) -> int:
    """Return the end of a GSSAPI message (RFC 1961 section 3.2), 0 or -1."""
    if len(data) < at + 4:
        return -1
    size = int.from_bytes(data[at + 2 : at + 4], "big")
    if data[at] != 1 or data[at + 1] != 1 or size == 0:
        return 0
    return at + 4 + size  # the token itself need not have been kept whole


def _password(data: bytes, at: int) -> int:
    """Return the end of name and password (RFC 1929 section 2), 0 or -1."""
    if len(data) < at + 2:
        return -1
    after_name = at + 2 + data[at + 1]
    if data[at] != 1 or data[at + 1] == 0:
        return 0
    return after_name + 1 + data[after_name] if len(data) > after_name else -1


def _version_5(d: Dialogue) -> Evidence | None:
    client, server = d.client, d.server
    if len(client) < GREETING_BYTES + 1 or client[0] != VERSION_5 or client[1] == 0:
        return None
    at = GREETING_BYTES + client[1]
    methods = client[GREETING_BYTES:at]
    if len(methods) < client[1] or NONE_ACCEPTABLE in methods or len(set(methods)) < len(methods):
        return None
    if not server:
        return _unanswered(d, at)
    if len(server) < GREETING_BYTES or server[0] != VERSION_5:
        return None
    method = server[1]
    if method == NONE_ACCEPTABLE and len(server) == GREETING_BYTES:
        text = "SOCKS 5 methods, all refused"
        return report(d, _NAME, Strength.STRONG, text, said=at, answered=GREETING_BYTES)
    if method not in methods:
        return None
    answered = GREETING_BYTES
    if method == GSSAPI:
        said, ended = _token(client, at), _token(server, answered)
        if said > 0 and ended > 0:
            text = "SOCKS 5 method GSSAPI agreed, tokens both ways"
            return report(d, _NAME, Strength.PROOF, text, said=at + 4, answered=answered + 4)
        return None
    if method == PASSWORD:
        at = _password(client, at)
        if at == 0 or len(server) < 4 or server[2] != 1:
            return None
        answered = 4
        if at < 0 or at > len(client):
            return _cut(d, methods=GREETING_BYTES + client[1])
        if server[3] != 0:
            text = "SOCKS 5 name and password, refused"
            return report(d, _NAME, Strength.STRONG, text, said=at, answered=answered)
    said, ended = _message(client, at, COMMANDS_5), _message(server, answered, CODES_5)
    if said < 0 < ended and _begins(client[at : at + 3], COMMANDS_5):
        text = f"SOCKS 5 method {method} agreed, a request not kept whole, and a reply"
        return report(d, _NAME, Strength.STRONG, text, said=len(client), answered=ended)
    if said <= 0 or ended == 0:
        return None
    if ended > 0:
        text = f"SOCKS 5 method {method} agreed, request and its reply"
        return report(d, _NAME, Strength.PROOF, text, said=said, answered=ended)
    text = f"SOCKS 5 method {method} agreed and a request, reply not seen"
    return report(d, _NAME, Strength.STRONG, text, said=said, answered=answered)


def _cut(d: Dialogue, methods: int) -> Evidence | None:
    """Judge name and password that were cut or lost, by what the server went on with."""
    ended = _message(d.server, 4, CODES_5)
    if d.server[3] != 0 or ended <= 0:
        return None
    text = "SOCKS 5 name and password agreed, not kept whole, accepted, and a reply"
    return report(d, _NAME, Strength.STRONG, text, said=methods, answered=ended)


def _unanswered(d: Dialogue, at: int) -> Evidence | None:
    """Judge a greeting to which no answer was captured."""
    if PASSWORD in d.client[GREETING_BYTES:at] and _password(d.client, at) > 0:
        at = _password(d.client, at)
    said = _message(d.client, at, COMMANDS_5)
    if said > 0 and d.packets_of_server() == 0:
        text = "SOCKS 5 methods and request, the other direction not captured"
        return report(d, _NAME, Strength.STRONG, text, said=said)
    if len(d.client) == at or said > 0:
        return report(d, _NAME, Strength.WEAK, "SOCKS 5 methods, no answer", said=at)
    return None


def _version_4(d: Dialogue) -> Evidence | None:
    client, server = d.client, d.server
    if len(client) < REQUEST_4_LEAST or client[0] != VERSION_4 or client[1] not in COMMANDS_4:
        return None
    user_end = client.find(0, 8, 8 + USER_MOST)
    if user_end < 0 or not client[8:user_end].isascii() or client[2:4] == b"\0\0":
        return None
    said, version = user_end + 1, "4"
    if client[4:7] == b"\0\0\0" and client[7] != 0:
        name_end = client.find(0, said, said + USER_MOST)
        if name_end <= said or not NAME_BYTES.issuperset(client[said:name_end]):
            return None
        said, version = name_end + 1, "4a"
    elif client[4] == 0 or client[4] >= 0xF0:
        return None  # no address that anyone can be connected to
    if not server:
        alone = d.packets_of_server() == 0 and version == "4a"
        strength = Strength.STRONG if alone else Strength.WEAK
        text = f"SOCKS {version} request, no answer captured"
        return report(d, _NAME, strength, text, said=said)
    if len(server) < REPLY_4_BYTES or server[0] != VERSION_4_REPLY or server[1] not in CODES_4:
        return None
    text = f"SOCKS {version} request and its reply"
    return report(d, _NAME, Strength.PROOF, text, said=said, answered=REPLY_4_BYTES)


def _server_alone(d: Dialogue) -> Evidence | None:
    """Judge the server's half of SOCKS 5 without the client's."""
    if d.client or len(d.server) < GREETING_BYTES or d.server[0] != VERSION_5:
        return None
    at = {0: 2, PASSWORD: 4}.get(d.server[1], 0)
    if at == 4 and d.server[2:4] != b"\1\0":
        return None
    ended = _message(d.server, at, CODES_5) if at else 0
    if ended <= 0:
        return None
    text = "SOCKS 5 method and reply of a server, its client not captured"
    return report(d, _NAME, Strength.STRONG, text, said=0, answered=ended)


def _relay(batch: FlowBatch, flow: int) -> Evidence | None:
    """Judge the datagrams of a UDP flow: one header in all of them, of both sides."""
    start, stop = (int(batch.flows[f"packets_{end}"][flow]) for end in ("start", "stop"))
    header, counts, frames = b"", [0, 0], []
    for p in batch.packets[start:stop]:
        data = batch.payload[p["start"] : p["stop"]].tobytes()
        if p["payload_bytes"] == 0:
            continue
        size = RELAY_HEADER.get(data[3], 0) if len(data) > 3 else 0
        header = header or data[:size]
        if size == 0 or len(data) < size or data[:size] != header or header[:3] != bytes(3):
            return None
        counts[int(p["direction"])] += 1
        frames.append(int(p["frame"]))
    if min(counts) < RELAYED_LEAST:
        return None
    address = ipaddress.ip_address(header[4:-2])
    odd = address.is_unspecified or address.is_multicast or address.is_loopback
    if odd or (address.version == 4 and (header[4] == 0 or address.is_reserved)):
        return None
    ends = (_address(batch.flows[flow], side) for side in ("orig", "resp"))
    if header[-2:] == bytes(2) or int(address) in ends:
        return None  # what is relayed comes from a third host
    text = f"{sum(counts)} datagrams of a SOCKS 5 relay, both ways for one far end"
    return Evidence(
        flow=flow,
        detector=_NAME,
        strength=Strength.WEAK,
        detail=f"{text}, packets {frames[0]} and {frames[-1]}",
        packet=stop - 1,
        family=_NAME,
        starts=False,
    )


class _Relay(NamedTuple):
    """A relay for UDP that a proxy named in the reply to an association."""

    client: _Address
    server: _Address
    named: _Address
    port: int
    frame: int


def _association(batch: FlowBatch, flow: int, evidence: Evidence) -> _Relay | None:
    """Return the relay that a flow's reply names, where the request is an association."""
    client_side = 0 if head(batch, flow, "orig")[:1] == bytes([VERSION_5]) else 1
    d = Dialogue.of(batch, flow, client_side)
    method = d.server[1] if len(d.server) > 1 else NONE_ACCEPTABLE
    at, answered = GREETING_BYTES + d.client[1], GREETING_BYTES
    if method == PASSWORD:
        at, answered = _password(d.client, at), 4
    said, ended = _message(d.client, at, COMMANDS_5), _message(d.server, answered, CODES_5)
    if said <= 0 or ended <= 0 or d.client[at + 1] != ASSOCIATE or d.server[answered + 1] != 0:
        return None
    if d.server[answered + 3] == NAME:
        return None
    named = int.from_bytes(d.server[answered + 4 : ended - 2])
    ends = [_address(batch.flows[flow], side) for side in ("orig", "resp")]
    frame = int(batch.packets["frame"][evidence.packet])
    port = int.from_bytes(d.server[ended - 2 : ended])
    return _Relay(ends[client_side], ends[1 - client_side], named, port, frame)


def _address(flow: np.void, side: str) -> _Address:
    return int(flow[f"{side}_hi"]) << 64 | int(flow[f"{side}_lo"])


def _associated(batch: FlowBatch, flow: int, relays: list[_Relay]) -> Evidence | None:
    """Judge a UDP flow by the relays that proxies named."""
    f = batch.flows[flow]
    ends = [(_address(f, side), int(f[f"{side}_port"])) for side in ("orig", "resp")]
    for relay in relays:
        for (client, _), (place, port) in (ends, ends[::-1]):
            same = client == relay.client and port == relay.port
            if not same or place not in (relay.named, relay.server):
                continue
            some = batch.packets[int(f["packets_start"]) : int(f["packets_stop"])]
            some = some[some["payload_bytes"] > 0]
            begins = [batch.payload[p["start"] : p["stop"]][:4].tobytes() for p in some]
            if all(len(b) == 4 and b[:2] == bytes(2) and b[3] in KINDS for b in begins):
                frames = some["frame"][[0, -1]].tolist()
                text = f"{len(begins)} datagrams to the relay that a SOCKS 5 proxy named"
                words = f"{text} (packet {relay.frame}), packets {frames[0]} and {frames[1]}"
                row = int(f["packets_stop"]) - 1
                return Evidence(flow, _NAME, Strength.PROOF, words, row, _NAME, starts=False)
    return None


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows in which one side begins as a client and the other as a server, or not at all."""
    chosen = np.zeros(heads.size, np.bool_)
    pairs = (
        (heads.orig, heads.orig_kept, heads.resp, heads.resp_kept),
        (heads.resp, heads.resp_kept, heads.orig, heads.orig_kept),
    )
    for client, said, server, answered in pairs:
        silent = answered == 0
        five = (said > 2) & (client[:, 0] == VERSION_5) & ((client[:, 1] > 0) | silent)
        chosen |= five & (silent | (server[:, 0] == VERSION_5))
        four = (said >= REQUEST_4_LEAST) & (client[:, 0] == VERSION_4) & (client[:, 1] <= 2)
        chosen |= four & (silent | ((server[:, 0] == 0) & (server[:, 1] >= CODES_4[0])))
    chosen &= heads.has_proto(TCP)
    relay = heads.has_proto(UDP)
    for first, kept in ((heads.orig, heads.orig_kept), (heads.resp, heads.resp_kept)):
        relay &= (kept >= RELAY_BYTES) & (first[:, :3] == 0).all(axis=1)
        relay &= np.isin(first[:, 3], KINDS)
    return chosen | relay


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find SOCKS handshakes among the TCP flows of a batch, and its relays among the UDP flows."""
    found = []
    udp = batch.flows["proto"] == UDP
    relays = []
    for flow in np.flatnonzero(~udp).tolist():
        for side in (0, 1):
            d = Dialogue.of(batch, flow, side)
            five = _version_5(d)
            evidence = five or _version_4(d) or _server_alone(d)
            if evidence is not None:
                found.append(evidence)
                proven = five is not None and five.strength is Strength.PROOF
                relay = _association(batch, flow, evidence) if proven else None
                relays += [relay] if relay is not None else []
                break
    for flow in np.flatnonzero(udp).tolist():
        relayed = _associated(batch, flow, relays) or _relay(batch, flow)
        found += [relayed] if relayed is not None else []
    return sorted(found, key=lambda evidence: evidence.flow)


DETECTOR = Detector(_NAME, _NAME, (TCP, UDP), 2048, detect, select)
