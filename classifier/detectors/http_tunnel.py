r"""Tunnels in plain HTTP: GNU httptunnel, and WebSockets opened for a tunnel or carrying SSH.

GNU httptunnel, one request on each of two connections at a time::

    GET /index.html?crap=1700000000 HTTP/1.1       answered 200, frames in the body
    POST /index.html?crap=1700000000 HTTP/1.1      frames in the body, nothing answered meanwhile

its frames, big-endian: type (0x01 open, 0x02 data, 0x03 padding, 0x04 error), length (2), data; or
one byte alone (0x45 padding, 0x46 close, 0x47 disconnect).

WebSockets, field lines of the request, answered 101::

    Sec-WebSocket-Protocol: chisel-v3                              chisel
    Sec-WebSocket-Protocol: v1, authorization.bearer.<token>       wstunnel, of /<prefix>/events

and the first frame of the server, whose frames are not masked: 0x82 (binary) or 0x81, length (1, or
126 and 2 bytes), ``SSH-2.0-``.

Sources
-------
larsbrinkhoff/httptunnel ``HACKING``, ``http.c``; jpillora/chisel ``share/version.go``; erebe/wstunnel
``src/tunnel/transport``; RFC 6455 sections 4 and 5.2 (WebSocket), RFC 4253 section 4.2 (SSH).

Strength
--------
Proof: the WebSocket's protocol name and 101, or SSH behind 101; httptunnel's GET, answered 200 with
a frame first in the body. Strong: httptunnel's POST with its opening frame, or its GET answered
200 where the body was not kept, or either where a snaplen cut its first line; a WebSocket's request where no answer was captured. Weak: requests
that were answered otherwise.

Mistaken for
------------
WebSockets of web pages and of noVNC (``binary``) name other protocols.

Blind to
--------
All of it inside TLS, as chisel and wstunnel mostly go; httptunnel's connections joined later, and
those of other paths; web shells.
"""

import re

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._dialogue import Dialogue, report
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

TCP = 6
GET, POST = b"GET /", b"POST /index.html"
CRAP = re.compile(rb"(GET|POST) /index\.html\?crap=[0-9]{6,12} HTTP/1\.1\r\n")
BEGUN = re.compile(rb"(GET|POST) /index\.html\?crap=[0-9]{4,12}(?: [HTP/1.]{0,8}\r?)?\Z")
UPGRADE = re.compile(rb"\nUpgrade: *websocket\r\n", re.IGNORECASE)
PROTOCOL = re.compile(rb"\nSec-WebSocket-Protocol: *([^\r\n]{1,200})", re.IGNORECASE)
CHISEL = re.compile(rb"chisel-v[0-9]{1,3}$")
BEARER = re.compile(rb"v1, *authorization\.bearer\.[A-Za-z0-9_-]")
NAMES = (b"chisel-v", b"authorization.bearer.")
EVENTS = re.compile(rb"GET /[^ ?]{1,100}/events(?:\?[^ ]{0,200})? HTTP/1\.1\r\n")
SSH_FRAME = re.compile(rb"[\x81\x82](?:[\x00-\x7d]|\x7e[\x00-\xff]{2})SSH-2\.0-")
SWITCHED, FINE = re.compile(rb"HTTP/1\.1 101[ \r]"), re.compile(rb"HTTP/1\.[01] 200[ \r]")
END = b"\r\n\r\n"
OPEN = b"\1\0\1"
LONG_FRAMES, SHORT_FRAMES = range(1, 5), range(0x45, 0x48)
_NAME = "http-tunnel"


def _body(data: bytes) -> int:
    """Return where the body begins, 0 where the header goes on."""
    return data.find(END) + len(END) if END in data else 0


def _httptunnel(d: Dialogue) -> Evidence | None:
    request = CRAP.match(d.client)
    if request is None:
        return _cut(d)
    said = request.end()
    if request[1] == b"POST":
        body = _body(d.client)
        if not d.server and body and OPEN.startswith(d.client[body : body + 3]):
            opened = len(d.client) > body
            text = f"httptunnel's POST{' and its opening frame' if opened else ''}"
            strength = Strength.STRONG if opened else Strength.WEAK
            return report(d, _NAME, strength, text, said=body)
        return None
    if not FINE.match(d.server):
        strength = Strength.WEAK if d.packets_of_server() else Strength.STRONG
        text = "httptunnel's GET, not answered 200"
        return report(d, _NAME, strength, text, said=said, answered=min(len(d.server), 12))
    body = _body(d.server)
    if body == 0 or len(d.server) == body:
        text = "httptunnel's GET, answered 200"
        return report(d, _NAME, Strength.STRONG, text, said=said, answered=12)
    if d.server[body] in LONG_FRAMES or d.server[body] in SHORT_FRAMES:
        text = "httptunnel's GET, answered 200 with its frames"
        return report(d, _NAME, Strength.PROOF, text, said=said, answered=body + 1)
    return None


def _cut(d: Dialogue) -> Evidence | None:
    """Judge a request whose first line a snaplen cut."""
    request = BEGUN.match(d.client)
    if request is None or not d.is_cut():
        return None
    fine = bool(FINE.match(d.server)) if request[1] == b"GET" else not d.server
    text = f"httptunnel's {request[1].decode()}, cut before its end"
    text += ", answered 200" if d.server and fine else ""
    strength = Strength.STRONG if fine else Strength.WEAK
    return report(d, _NAME, strength, text, said=len(d.client), answered=min(len(d.server), 12))


def _websocket(d: Dialogue) -> Evidence | None:
    end = _body(d.client)
    request = d.client[:end] if end else d.client
    if UPGRADE.search(request) is None:
        return None
    agreed = SWITCHED.match(d.server) is not None
    protocol = PROTOCOL.search(request)
    name = protocol[1].strip() if protocol else b""
    who = "chisel" if CHISEL.match(name) else ""
    if BEARER.match(name) and EVENTS.match(request):
        who = "wstunnel"
    body = _body(d.server)
    if agreed and body and SSH_FRAME.match(d.server, body):
        text = f"SSH in a WebSocket{f' of {who}' if who else ''}"
        return report(d, _NAME, Strength.PROOF, text, said=len(request), answered=body + 10)
    if not who:
        return None
    if agreed:
        text = f"WebSocket of {who}, agreed"
        return report(d, _NAME, Strength.PROOF, text, said=len(request), answered=12)
    strength = Strength.WEAK if d.packets_of_server() else Strength.STRONG
    text = f"WebSocket of {who} asked for, not agreed"
    return report(d, _NAME, strength, text, said=len(request), answered=min(len(d.server), 12))


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose httptunnel's path, and requests answered 101, or not at all where they name a tunnel.

    Every other request of the web is answered with another code, and left out.
    """
    crap = heads.starts_with(b"GET /index.html?crap=") | heads.starts_with(
        b"POST /index.html?crap="
    )
    switched = heads.starts_with(b"HTTP/1.1 101")
    silent = ((heads.orig_kept == 0) | (heads.resp_kept == 0)) & heads.starts_with(GET)
    chosen: NDArray[np.bool_] = crap | switched
    return chosen | heads.holds(silent & ~chosen, NAMES, "orig", "resp")


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find tunnels among the HTTP flows of a batch."""
    found = []
    for flow in range(batch.flows.size):
        first = Dialogue.of(batch, flow)
        d = first if first.client.startswith((GET, POST)) else Dialogue.of(batch, flow, 1)
        evidence = _httptunnel(d) or _websocket(d)
        if evidence is not None:
            found.append(evidence)
    return found


DETECTOR = Detector(_NAME, _NAME, (TCP,), 2048, detect, select)
