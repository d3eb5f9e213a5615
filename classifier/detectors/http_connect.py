r"""HTTP CONNECT: a proxy is asked for a tunnel, agrees, and both sides go on with something else.

First lines of each side, each followed by header fields and an empty line::

    CONNECT host:port HTTP/1.1
    HTTP/1.1 2xx

Behind the two empty lines the stream belongs to the host and the client.

Sources
-------
A. Luotonen, "Tunneling TCP based protocols through Web proxy servers", draft-luotonen-web-proxy-tunneling-01,
section 3.2 (the reason phrase); RFC 9110 sections 9.3.6 (any 2xx is agreement), 10.2.4 (Server), 11.7 (Proxy-Authenticate), 15.5 and 15.6
(407 comes from a proxy, 502 and 504 from a proxy or gateway; 400, 404, 405 and 501 from a server that does not know the
method or the target; 403, 500 and 503 from any), RFC 9112 section 3.2.3 (authority-form), RFC 9209 (Proxy-Status).

Strength
--------
Proof: request, an answer of 2xx, and data behind either. Strong: both without data behind them, or
the request where nothing of the server's direction was captured, or "200 Connection established" where
nothing of the client's was, or refused as a proxy refuses: with 407, 502 or 504, or with 403, 500 or 503
beside a field Proxy-... or a Server that says so; either also where a snaplen cut the request's first line. No tunnel comes
of it, but request and answer are the protocol's. Weak: the
request with any other answer, as servers that are no proxy give it, or without one. A request
repeated on the same connection after 407 counts as the first would have.

Mistaken for
------------
Scans of web servers for open proxies, where a gateway answers 502 or 504 to all.

Blind to
--------
CONNECT inside TLS, of HTTP/2 and HTTP/3; tunnels joined after the answer.
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
BEGINS = b"CONNECT "
MOST_REQUESTS = 8  # on one connection: each but the last was refused
REQUEST = re.compile(
    rb"CONNECT (?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~-]{1,255}):[0-9]{1,5} HTTP/1\.[01]\r?\n"
)
# What a snaplen may leave of that line
BEGUN = re.compile(rb"CONNECT [][A-Za-z0-9._~:-]+(?: [HTP/1.0]{0,8}\r?)?\Z")
ANSWERED = re.compile(rb"HTTP/1\.[01] (?:([1-5][0-9]{2})[ \r\n]?|([1-5])[0-9]?\Z)")
ANSWER = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])[ \r\n]")
REFUSALS = frozenset({"407", "502", "504"})  # of a proxy or gateway, RFC 9110 15.5, 15.6
REFUSALS_OF_ANY = frozenset({"403", "500", "503"})  # but of a proxy where it says that it is one
SAYS_PROXY = re.compile(
    rb"\n(?:Proxy-|X-Squid-)[A-Za-z-]+: |\nServer: [^\r\n]{0,64}(?:proxy|squid|privoxy)",
    re.IGNORECASE,
)
# What proxies write behind 200, since the first draft on tunnels through them
ESTABLISHED = tuple(b"HTTP/1.%d 200 Connection established\r\n" % minor for minor in (0, 1))
EMPTY_LINE = re.compile(rb"\r?\n\r?\n")
_NAME = "http-connect"


def _end_of_fields(data: bytes, at: int) -> int:
    """Return where the header behind a first line ends; -1 where that was not kept."""
    found = EMPTY_LINE.search(data, at)
    return found.end() if found else -1


def _refuses(code: str, server: bytes) -> bool:
    """Tell whether a proxy's answer refuses, by its code and header."""
    return code in REFUSALS or (code in REFUSALS_OF_ANY and SAYS_PROXY.search(server) is not None)


def _later(d: Dialogue) -> re.Match[bytes] | None:
    """Return the first line of an agreement behind a refusal too long to have been kept whole."""
    start, stop = (int(d.batch.flows[f"packets_{end}"][d.flow]) for end in ("start", "stop"))
    for p in d.batch.packets[start:stop]:
        if p["direction"] != d.client_side and p["stop"] > p["start"]:
            line = ANSWER.match(d.batch.payload[p["start"] : p["stop"]].tobytes())
            if line is not None and line[1][:1] == b"2":
                return line
    return None


def _judge(d: Dialogue) -> Evidence | None:
    request = REQUEST.match(d.client)
    if not d.client:
        return _server_alone(d)
    if request is None:
        return _judge_cut(d) if BEGUN.match(d.client) and d.is_cut() else None
    if not d.server:
        alone = d.packets_of_server() == 0
        strength = Strength.STRONG if alone else Strength.WEAK
        text = "CONNECT request, no answer captured"
        return report(d, _NAME, strength, text, said=request.end())
    answer = ANSWER.match(d.server)
    if answer is None:
        return None
    for _ in range(MOST_REQUESTS):
        if answer[1][:1] == b"2":
            break
        again = d.client.find(b"\n" + BEGINS, request.end())
        later = d.server.find(b"HTTP/1.", answer.end())
        request_again = REQUEST.match(d.client, again + 1) if again >= 0 else None
        answer_again = ANSWER.match(d.server, later) if later >= 0 else None
        if request_again is None or answer_again is None:
            request, answer = request_again or request, _later(d) or answer
            break
        request, answer = request_again, answer_again
    code = answer[1].decode()
    said, answered = (
        _end_of_fields(d.client, request.end() - 2),
        _end_of_fields(d.server, answer.end() - 1),
    )
    strength, text = Strength.STRONG, f"CONNECT request and its answer {code}"
    if code[0] != "2":
        header = d.server[: max(answered, 0) or None]
        strength = Strength.STRONG if _refuses(code, header) else Strength.WEAK
        text = f"CONNECT request, answered {code}"
    elif said > 0 and answered > 0 and d.more(said, answered):
        strength, text = Strength.PROOF, f"{text}, data behind them"
    return report(d, _NAME, strength, text, said=request.end(), answered=answer.end())


def _judge_cut(d: Dialogue) -> Evidence | None:
    """Judge a request whose first line a snaplen cut, by what was answered."""
    answer = ANSWERED.match(d.server)
    if answer is None:
        return None
    code = (answer[1] or answer[2] + b"xx").decode()
    agreed = code[0] == "2" or _refuses(code, d.server)
    text = f"CONNECT request, cut before its end, answered {code}"
    strength = Strength.STRONG if agreed else Strength.WEAK
    return report(d, _NAME, strength, text, said=len(d.client), answered=answer.end())


def _server_alone(d: Dialogue) -> Evidence | None:
    """Judge an agreement whose request was not captured."""
    line = next((at for at in ESTABLISHED if d.server[: len(at)].lower() == at.lower()), b"")
    if not line:
        return None
    text = "a proxy's answer 200 Connection established, the other direction not captured"
    return report(d, _NAME, Strength.STRONG, text, said=0, answered=len(line))


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows that begin with the method, or with the agreement alone."""
    chosen = heads.starts_with(BEGINS)
    for line in ESTABLISHED:
        chosen |= heads.starts_with(line[: line.index(b"onnection")])
    return chosen


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find requests for a tunnel, and what was answered."""
    found = []
    for flow in range(batch.flows.size):
        dialogues = (Dialogue.of(batch, flow, side) for side in (0, 1))
        found += [e for e in map(_judge, dialogues) if e is not None][:1]
    return found


DETECTOR = Detector(_NAME, _NAME, (TCP,), 2048, detect, select)
