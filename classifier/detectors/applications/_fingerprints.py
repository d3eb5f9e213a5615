"""What clients and servers say of themselves in the clear: fingerprints, banners, requests.

JA3 (Salesforce, 2017, github.com/salesforce/ja3) is the MD5 of the hello's version, ciphers,
extensions, groups and point formats as decimal numbers in the order sent, without GREASE. Browsers
have sent extensions in random order since 2023, so JA3 tells programs, not browsers, apart; JA4
sorts them. HASSH (Salesforce, 2018, github.com/salesforce/hassh) is the MD5 of the algorithms that
an SSH side offers for key exchange, encryption, integrity and compression.

They are no columns of the flow table: they are made for the flows that a detector, or a user, asks
about, and cost nothing otherwise.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._ssh import key_exchange
from classifier.detectors.applications.catalogue import APPLICATIONS
from classifier.detectors.applications.naming import Found, look_for_names, readable
from classifier.detectors.applications.tls import DTLS, describe_hellos
from classifier.tables import FlowBatch

__all__ = ["Fingerprints", "fingerprints", "hassh", "ja3"]

_GREASE = {n << 12 | n << 4 | 0x0A0A for n in range(16)}


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """What flows say of themselves. All arrays have shape (n,), with empty texts where nothing is.

    Attributes
    ----------
    server_name, alpn, ja3, ja4 : ndarray of object (str)
        Of the client hello of TLS, DTLS or QUIC; ``alpn`` is the first name that is offered.
    hassh, hassh_server : ndarray of object (str)
        Of the SSH client and server.
    client_banner, server_banner : ndarray of object (str)
        First lines of the two sides of SSH.
    method, target, user_agent, upgrade : ndarray of object (str)
        Of the HTTP request.
    """

    server_name: NDArray[np.object_]
    alpn: NDArray[np.object_]
    ja3: NDArray[np.object_]
    ja4: NDArray[np.object_]
    hassh: NDArray[np.object_]
    hassh_server: NDArray[np.object_]
    client_banner: NDArray[np.object_]
    server_banner: NDArray[np.object_]
    method: NDArray[np.object_]
    target: NDArray[np.object_]
    user_agent: NDArray[np.object_]
    upgrade: NDArray[np.object_]


def fingerprints(batch: FlowBatch) -> Fingerprints:
    """Return what the flows of a batch say of themselves.

    Parameters
    ----------
    batch : FlowBatch

    Returns
    -------
    Fingerprints
        Arrays of shape (n_flows,).

    Notes
    -----
    Goes through Python for each flow of TLS, QUIC, SSH and HTTP, some tens of microseconds each.
    To look at some flows only, give a batch of which ``flows`` holds just them.
    """
    n = batch.flows.size
    found = look_for_names(batch)
    texts = {name: np.full(n, "", object) for name in Fingerprints.__dataclass_fields__}
    _describe_hellos(found, texts)
    for row in np.flatnonzero(found.codes == APPLICATIONS.index("ssh")).tolist():
        _describe_ssh(batch, row, texts)
    for row, name in (*found.hosts, *found.google):
        texts["server_name"][row] = readable(name)
    web = [APPLICATIONS.index(name) for name in ("http", "websocket")]
    for row in np.flatnonzero(np.isin(found.codes, web)).tolist():
        _describe_request(batch, row, texts)
    return Fingerprints(**texts)


def _describe_hellos(found: Found, texts: dict[str, NDArray[np.object_]]) -> None:
    for hellos in found.hellos:
        if hellos.flow.size == 0:
            continue
        spans, texts["ja4"][hellos.flow] = describe_hellos(hellos.payload, hellos.rows)
        places = zip(hellos.flow.tolist(), hellos.rows.tolist(), spans.tolist(), strict=True)
        for flow, (start, stop, declared, transport), span in places:
            body = hellos.payload[start:stop].tobytes()
            texts["server_name"][flow] = readable(hellos.payload[span[0] : span[1]].tobytes())
            texts["alpn"][flow] = readable(hellos.payload[span[2] : span[3]].tobytes())
            if len(body) == declared:
                texts["ja3"][flow] = ja3(body, dtls=transport == DTLS)


class _Reader:
    """Vectors one after another; reading beyond the end raises ``EOFError``."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, n: int) -> bytes:
        if self.at + n > len(self.data):
            raise EOFError
        self.at += n
        return self.data[self.at - n : self.at]

    def vector(self, width: int) -> bytes:
        return self.take(int.from_bytes(self.take(width)))


def _numbers(data: bytes) -> list[int]:
    """Return 16-bit numbers without GREASE, leaving out an odd last byte."""
    pairs = (int.from_bytes(data[i : i + 2]) for i in range(0, len(data) - 1, 2))
    return [n for n in pairs if n not in _GREASE]


def ja3(body: bytes, *, dtls: bool = False) -> str:
    """Return the JA3 fingerprint of a client hello.

    Parameters
    ----------
    body : bytes
        The whole hello after its handshake header (RFC 8446 4.1.2).
    dtls : bool
        It holds a cookie after the session identifier.

    Returns
    -------
    str
        32 hexadecimal digits; empty where the hello is not well-formed.
    """
    extensions: list[int] = []
    groups: list[int] = []
    formats: list[int] = []
    reader = _Reader(body)
    try:
        version = int.from_bytes(reader.take(2))
        reader.take(32)
        reader.vector(1)
        if dtls:
            reader.vector(1)
        ciphers = _numbers(reader.vector(2))
        reader.vector(1)
        rest = _Reader(reader.vector(2) if reader.at < len(body) else b"")
        while rest.at < len(rest.data):
            kind = int.from_bytes(rest.take(2))
            value = rest.vector(2)
            if kind in _GREASE:
                continue
            extensions.append(kind)
            if kind == 10:  # supported groups (RFC 8422 5.1.1)
                groups = _numbers(value[2:])
            elif kind == 11:  # point formats (RFC 8422 5.1.2)
                formats = list(value[1:])
    except EOFError:
        return ""
    lists = ("-".join(map(str, numbers)) for numbers in (ciphers, extensions, groups, formats))
    return hashlib.md5(f"{version},{','.join(lists)}".encode(), usedforsecurity=False).hexdigest()


def hassh(head: bytes, *, server: bool = False) -> str:
    """Return the HASSH fingerprint of one side of SSH.

    Parameters
    ----------
    head : bytes
        What the side sent first: its banner and its key exchange.
    server : bool
        The side is the server's, which is known by the algorithms of its own direction.

    Returns
    -------
    str
        32 hexadecimal digits; empty where the key exchange is not there or cut.
    """
    lists = key_exchange(head)
    if not lists:
        return ""
    # Key exchange, host keys, then pairs of client's and server's: ciphers, integrity, compression
    chosen = [lists[0], *(lists[i + server] for i in (2, 4, 6))]
    return hashlib.md5(b";".join(chosen), usedforsecurity=False).hexdigest()


def _heads(batch: FlowBatch, row: int) -> tuple[bytes, bytes]:
    f = batch.flows[row]
    heads = (batch.payload[f[f"{side}_start"] : f[f"{side}_stop"]] for side in ("orig", "resp"))
    first, second = (head.tobytes() for head in heads)
    return first, second


def _describe_ssh(batch: FlowBatch, row: int, texts: dict[str, NDArray[np.object_]]) -> None:
    client, server = _heads(batch, row)
    lists = key_exchange(client)
    # RFC 8308 2.1: only a server offers this; the capture began late
    if lists and b"ext-info-s" in lists[0].split(b","):
        client, server = server, client
    for side, head in (("client", client), ("server", server)):
        line, end, _ = head.partition(b"\n")
        if end and line.startswith(b"SSH-"):
            texts[f"{side}_banner"][row] = readable(line.rstrip(b"\r"))
    texts["hassh"][row] = hassh(client)
    texts["hassh_server"][row] = hassh(server, server=True)


def _describe_request(batch: FlowBatch, row: int, texts: dict[str, NDArray[np.object_]]) -> None:
    for head in _heads(batch, row):
        lines = head.partition(b"\r\n\r\n")[0].split(b"\r\n")
        words = lines[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/"):
            continue
        texts["method"][row], texts["target"][row] = readable(words[0]), readable(words[1])
        for line in lines[1:]:
            key, _, value = line.partition(b":")
            name = {b"user-agent": "user_agent", b"upgrade": "upgrade"}.get(key.lower())
            if name and not texts[name][row]:
                texts[name][row] = readable(value.strip())
        return
