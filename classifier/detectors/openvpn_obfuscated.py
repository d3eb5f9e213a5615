"""OpenVPN under a simple disguise: its alphabet of first bytes and its sizes survive.

The patch "scramble" exchanges bytes (XOR with a word, XOR with the position, reversal of all but the
first) and leaves sizes and, over TCP, the length of two bytes before each message alone. So the first
byte of a message, opcode and key id, becomes another one, but always the same one::

    client's reset          n bytes, 14 to 86: opcode, session id 8, HMAC and replay id 0 to 72,
                            no acknowledgements 1, packet id 4
    server's reset          n + 12: with one acknowledgement 4 and the client's session id 8
    with tls-crypt-v2       n is 54; the client's reset holds its wrapped key, 290 and more; the server's
                            may hold 6 more, which agree on sending that key again
    acknowledgement of k    n + 4 + 4k, k from 1 to 8: no packet id; own session id behind the first byte, the
                        other side's at the end
    control, data           any size

Opcode rule of the paper: the first message of either side has a symbol of its own; of all messages seen
there are 4 to 10 symbols; once there are four, neither side's first symbol comes again.

Sources
-------
D. Xue et al., "OpenVPN is Open to VPN Fingerprinting", USENIX Security 2022, section 5 (opcodes; the
paper looks at 100 packets, of which 32 are kept here). Sizes: OpenVPN's network protocol,
https://build.openvpn.net/doxygen/network_protocol.html, and openvpn-wire-protocol
(https://openvpn.github.io/openvpn-rfc/openvpn-wire-protocol.html). The disguise: the patch
``02-tunnelblick-openvpn_xorpatch`` of Tunnelblick.

Strength
--------
Strong: the opcode rule, resets of these sizes that no other message shares a symbol with and that do
not repeat each other's session id, as answers of STUN do their request's transaction, and one
symbol of either side, at least three times, whose messages all have the size of an acknowledgement and
of a side the same random eight bytes behind the first, as all ways of the disguise leave them (tls-crypt,
by its resets' size, may be reversed, and is spared that).
The rule of opcodes alone says nothing here: it holds for much that begins with a type in a byte.
Measured by `benchmarks/chance.py` on 109,688 flows of the laboratory and of public captures, OpenVPN's own
among them: none is taken for a disguised one; of 127 real handshakes under an XOR 126 are found.

Mistaken for
------------
A protocol of one's own with a type in the first byte, a first answer that is 12 bytes longer than its
request, and short messages in steps of four bytes behind a random id of the side.

Blind to
--------
A disguise that pads or draws a new key for each
message (obfs4, Shadowsocks); flows without their first messages.
"""

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._findings import Meaning
from classifier.detectors._messages import NO_ROW, Case, Ints, Mask, Messages, report, scan
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

TCP, UDP = 6, 17
LENGTH_BYTES = 2  # before each message over TCP
RESET_LEAST, RESET_MOST = 14, 86
ANSWER_MORE = 12  # of the server's reset beside the client's
CRYPT, WRAPPED_LEAST, ANSWER_TLV = 54, 290, 6  # of tls-crypt-v2
ACK_LEAST, ACK_MOST, ACK_STEP = 8, 36, 4  # beside the client's reset
ACKS_LEAST = 3
SESSION, SESSION_BYTES = 5, 4  # a part of it, in which reversal leaves no zeros of both sides
OWN, OWN_BYTES = 1, 8  # all of it; in an acknowledgement that is reversed, the other side's
BEGIN_LEAST = 0.75  # share of a flow's segments that begin with a message
SYMBOLS_LEAST, SYMBOLS_MOST = 4, 10
CLIENT_RESETS, SERVER_RESETS = (0x08, 0x38, 0x50), (0x10, 0x40)  # without a disguise

_FAMILY = "openvpn"
DISGUISED = Meaning(
    Strength.STRONG,
    "resets by size, then {value} acknowledgements by size, under first bytes that are no opcodes",
    _FAMILY,
)


def _first(m: Messages, rows: Ints) -> Ints:
    """Return, for packet rows of flows, which message each is; 0 where there is no such row."""
    found = np.zeros(rows.size, np.int64)
    (some,) = (rows < NO_ROW).nonzero()
    order = np.argsort(m.row)  # flows need not stand in the order of their packets
    found[some] = order[np.searchsorted(m.row, rows[some], sorter=order)]
    return found


def _reset(ours: Ints, theirs: Ints) -> Ints:
    """Return the bytes of a reset without answer, by the first messages of both; 0 if they are none."""
    plain = (theirs - ours == ANSWER_MORE) & (ours >= RESET_LEAST) & (ours <= RESET_MOST)
    more = theirs - (CRYPT + ANSWER_MORE)
    wrapped = ((more == 0) | (more == ANSWER_TLV)) & (ours >= CRYPT + WRAPPED_LEAST)
    return np.where(plain, ours, np.where(wrapped, CRYPT, 0))


def _judge(batch: FlowBatch) -> list[Evidence]:
    m = Messages(batch, LENGTH_BYTES + OWN + OWN_BYTES)
    tcp = (batch.flows["proto"] == TCP)[m.flow]
    symbol = np.where(tcp, m.bytes[:, LENGTH_BYTES], m.bytes[:, 0]).astype(np.int64)
    size = np.where(tcp, m.be(0, LENGTH_BYTES), m.wire)
    begins = (size + LENGTH_BYTES * tcp <= m.wire) & (m.kept > LENGTH_BYTES * tcp)
    # Over TCP a segment may begin inside a message: its symbol is none
    n, n_not = (m.count(mask).sum(axis=1) for mask in (begins, ~begins))
    first = [m.first(m.direction == side) for side in (0, 1)]
    whole = (n >= BEGIN_LEAST * (n + n_not)) & (first[0] < NO_ROW) & (first[1] < NO_ROW)
    if not whole.any():
        return []
    begun = [_first(m, rows) for rows in first]
    reset = _reset(size[begun[0]], size[begun[1]])
    fits = whole & (reset > 0)
    ours, theirs = symbol[begun[0]], symbol[begun[1]]
    fits &= ours != theirs
    session = np.where(
        tcp, m.be(LENGTH_BYTES + SESSION, SESSION_BYTES), m.be(SESSION, SESSION_BYTES)
    )
    fits &= session[begun[0]] != session[begun[1]]
    plain = np.isin(ours, CLIENT_RESETS) & np.isin(theirs, SERVER_RESETS)
    if not (fits & ~plain).any():
        return []
    key = (m.flow * 256 + symbol)[begins]
    seen, again = _alphabet(m, key, ours, theirs)
    fits &= ~plain & ~again & (seen >= SYMBOLS_LEAST) & (seen <= SYMBOLS_MOST)
    more = (size - reset[m.flow])[begins]
    acks, last, best = _acknowledgements(m, key, more, m.row[begins], fits)
    fits &= (reset == CRYPT) | _in_session(m, begins & (symbol == best[m.flow]), tcp)
    case = Case(fits & (acks >= ACKS_LEAST), DISGUISED, first[0], last, acks)
    return report(batch, DETECTOR.name, [case], np.ones(m.n_flows, np.bool_))


def _alphabet(m: Messages, key: Ints, ours: Ints, theirs: Ints) -> tuple[Ints, Mask]:
    """Count the symbols of each flow, and tell where a reset comes after four of them.

    ``key`` is 256 times the flow and its symbol, in the order of the flows and their messages.
    """
    new = np.zeros(key.size, np.bool_)
    new[np.unique(key, return_index=True)[1]] = True
    total, (flow, symbol) = np.cumsum(new), np.divmod(key, 256)
    start = np.searchsorted(flow, flow)
    before = total - new - np.where(start > 0, total[start - 1], 0)
    reset = (symbol == ours[flow]) | (symbol == theirs[flow])
    late = np.bincount(flow[reset & (before >= SYMBOLS_LEAST)], minlength=m.n_flows) > 0
    return np.bincount(flow[new], minlength=m.n_flows), late


def _acknowledgements(
    m: Messages, key: Ints, more: Ints, row: Ints, fits: Mask
) -> tuple[Ints, Ints, Ints]:
    """Count the messages of the symbol that acknowledges, and find the third's row and the symbol.

    That is the symbol whose messages all have a size that acknowledgements have; of several, the
    commonest.
    """
    fit = (more >= ACK_LEAST) & (more <= ACK_MOST) & (more % ACK_STEP == 0)
    n, n_fit = (np.bincount(keys, minlength=256 * m.n_flows) for keys in (key, key[fit]))
    n[n != n_fit] = 0
    table = n.reshape(-1, 256)
    best = np.argmax(table, axis=1)
    acks = np.where(fits, table[np.arange(m.n_flows), best], 0)
    chosen = key % 256 == best[key // 256]
    flow, rows = key[chosen] // 256, row[chosen]
    third = np.arange(flow.size) - np.searchsorted(flow, flow) == ACKS_LEAST - 1
    last = np.zeros(m.n_flows, np.int64)
    last[flow[third]] = rows[third]
    return acks, last, best


def _in_session(m: Messages, acks: Mask, tcp: Mask) -> Mask:
    """Tell in which flows acknowledgements have a random session id, of a side always the same."""
    own = [LENGTH_BYTES + OWN, OWN]
    session = np.where(tcp, *(m.be(at, OWN_BYTES) for at in own))
    random = np.where(tcp, *(m.random(at, at + OWN_BYTES) for at in own))
    acks = acks & (m.kept >= np.where(tcp, *own) + OWN_BYTES)
    theirs = m.value(acks, session)
    wrong = acks & ((session != theirs[m.flow, m.direction]) | ~random)
    one: Mask = (m.count(wrong).sum(axis=1) == 0) & (theirs[:, 0] != theirs[:, 1])
    return one | (m.count(acks).sum(axis=1) == 0)  # a snaplen left none of it


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows whose first messages have the sizes of resets."""
    tcp = heads.has_proto(TCP)
    sizes = []
    for head, kept in ((heads.orig, heads.orig_kept), (heads.resp, heads.resp_kept)):
        framed = head[:, 0].astype(np.int64) << 8 | head[:, 1]
        sizes.append(np.where(tcp, framed, kept))
    return _reset(sizes[0], sizes[1]) > 0


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find OpenVPN in disguise among the UDP and TCP flows of a batch."""
    return scan(batch, _judge)


DETECTOR = Detector("openvpn-obfuscated", _FAMILY, (UDP, TCP), RESET_MOST, detect, select)
