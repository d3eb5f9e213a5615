"""OpenVPN: each side picks a random 64-bit session id, and the other side's messages return it.

The first byte is ``opcode << 3 | key_id``. Over TCP each message has its length before it (2 bytes,
big-endian like all numbers here, not counting themselves). Opcodes: 3 soft reset, 4 control,
5 acknowledgement, 6 data v1, 7 client reset v2, 8 server reset v2, 9 data v2, 10 client reset v3,
11 control with wrapped key. 1 and 2, the resets before version 2.0, are obsolete.

Control messages (3-5, 7, 8, 10, 11), plain or with *tls-auth*::

    0     1   opcode, key id
    1     8   session id of the sender
    9     H   HMAC                       tls-auth only: 16, 20, 28, 32, 48 or 64 bytes
          4   replay packet id           tls-auth only: from 1
          4   replay time                tls-auth only: UTC seconds when the sender began
    9+L   1   n                          number of acknowledged packets, at most 8
          4n  acknowledged packet ids
          8   session id of the receiver only where n > 0
          4   packet id                  not in acknowledgements
              TLS records                only in control

So without TLS records a client reset has 14 + L bytes and a server reset 26 + L, L = 0 or H + 8.

Control messages with *tls-crypt*::

    0     1   opcode, key id
    1     8   session id of the sender
    9     4   replay packet id           from 1; from 0x0F000001 where early negotiation is offered
    13    4   replay time
    17    32  HMAC
    49        encrypted: the rest as above

A client reset has 54 bytes, a server reset 66 or a few more. With *tls-crypt-v2* the client's
first opcode is 10, and its wrapped key follows, whose last two bytes are its length.

Data::

    0     1   opcode 6, key id           v1: the encrypted packet follows
    0     1   opcode 9, key id           v2
    1     3   peer id                    assigned by the server, constant
    then, with an AEAD cipher (v2 at 4, v1 at 1):
          4   packet id                  from 1; with epoch keys 2 bytes of epoch, then 6
          16  tag
              ciphertext
    or, with CBC: HMAC, IV, ciphertext in whole blocks

Sources
-------
OpenVPN's documentation of its source: ``ssl_pkt.h`` (opcodes, early negotiation), ``tls_crypt.h``
(tls-crypt), ``doc/tls-crypt-v2.txt``, network protocol overview (``doc/doxygen``); draft
openvpn-wire-protocol (https://openvpn.github.io/openvpn-rfc/openvpn-wire-protocol.html). Xue et
al., "OpenVPN is Open to VPN Fingerprinting", USENIX Security 2022, on what resets give away.

Strength
--------
Proof: one side's session id stands in the other side's acknowledgement, at the place that one of
the seven layouts fixes: 64 random bits, opcode and count agree. Proof also for tls-crypt, which
encrypts acknowledgements: on both sides two control messages with the same session id and replay
time, and a replay packet id that rises by at most 16. Strong: a client reset then a server reset of
matching sizes (over TCP even where a snaplen left less than a session id); a client reset alone with a replay header, or (over TCP) plain; three control
messages of one side with the same session id and of more than one opcode; data v2 of one side with
a constant peer id and a packet id rising in small steps over four messages, or over two of each side
with the same peer id below 65536 (peers are counted from 0, or two have a random id; an opcode and an id that read as
four printable characters are another protocol's word), or data v1 over four of both sides with the same key, with no other message in the flow (v2: among other messages too), and
over TCP not from the SYN on, as a reset comes first; over TCP, where
the capture begins inside a message, two data v2 one behind the other's length (of a cipher in CBC mode: in
whole blocks behind the same rest). Strong too, for CBC, whose packet ids are
encrypted: data v2 alone, eight messages and more, two of each side at least, with the same key and
peer id on both (servers count peers from 0: below 65536), different sizes that leave whole blocks of 8 bytes behind the same
rest, and content that looks random; or over TCP four such messages of both sides together, in segments
of their own, among parts of others. Weak: a plain client reset alone, over UDP.

Mistaken for
------------
Gnutella, DNSCrypt, games and DNS have first bytes that read as a client reset (hundreds among a few
thousand flows); sizes, zeros and the answer tell them apart. GTP-U begins with 0x30, as data v1. A protocol that begins
with 0x48 to 0x4F, three bytes that stay, and a counter of 32 bits before what looks random.

Blind to
--------
Static-key mode, which has no header (see ``openvpn_static``); a disguise (see ``openvpn_obfuscated``); OpenVPN inside TLS or
behind an HTTP or SOCKS proxy's greeting; a TCP capture that begins inside a message, where no two
messages stand whole in what was kept; data v1 alone of a cipher in CBC mode.
"""

import numpy as np

from classifier._jit import inline, kernel
from classifier.detectors._chains import find_chains
from classifier.detectors._findings import (
    FIRST,
    FLOW_ROW,
    LAST,
    MEANING,
    STARTS,
    VALUE,
    Meaning,
    collect,
)
from classifier.detectors._reading import be16, be32, be64, looks_random, row_of
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR", "probe"]

TCP, UDP = 6, 17
SOFT_RESET, CONTROL, ACK, DATA_V1, CLIENT_RESET, SERVER_RESET = 3, 4, 5, 6, 7, 8
DATA_V2, CLIENT_RESET_V3, CONTROL_WKC = 9, 10, 11
SESSION_ID, AFTER_SESSION_ID = 1, 9
# Least lengths by opcode, from 0; a message is never shorter, whatever protects it. Data: header,
# packet id, tag and one byte.
LEAST_BYTES = np.array([0, 0, 0, 14, 14, 22, 22, 14, 26, 25, 344, 54], np.int64)
# L of the tables above: nothing, or an HMAC and eight bytes of replay header
LAYOUTS = np.array([0, 24, 28, 36, 40, 56, 72], np.int64)
REPLAY_BYTES = 8
# A server reset is longer than the client's by one acknowledgement and the client's session id;
# with tls-crypt it may hold early negotiation (a few type-length-value fields) besides.
PLAIN_RESET, ACK_BYTES, MOST_ACKS = 14, 12, 8
CRYPT_RESET, CRYPT_HEADER, CRYPT_LONGER_MOST = 54, 17, 76
WRAPPED_KEY_LEAST, WRAPPED_KEY_MOST = 290, 1024  # tag 32, key 256, length 2; and its stated limit
EARLY_NEGOTIATION = 0x0F
REPLAY_MOST = 1 << 16
TIME_LEAST = 1_000_000_000  # 2001, the year of the first release
REPLAY_STEP, DATA_STEP = 16, 64  # rises that are still one run: losses and reordering
RUN_LEAST, CONTROL_LEAST = 4, 3
TALK = (1 << CONTROL) | (1 << ACK)  # opcodes that a handshake of three messages has
# With epoch keys, the first epoch and the zero bytes of a packet id below 2**32
EPOCH_START = 0x00010000
TAG_OFFSET, TAG_BYTES = 8, 12  # from the packet id: ciphertext or tag, whichever form it has
# Of CBC: HMAC of 16 bytes or more, IV and a block of 8, whole blocks; peers count from 0
CBC_LEAST, CBC_BLOCK, PEERS_MOST = 36, 8, 1 << 16
CBC_LEAST_BOTH, CBC_LEAST_SIDE = 8, 2  # the latter of AEAD too, with the same peer id
CBC_AMONG_LEAST = 4  # over TCP, each in a segment of its own with its length
MESSAGES_PER_PART = 2  # TCP segments that are a message, for each that is a part or several
FOREIGN_LIMIT = 1  # messages of a UDP flow that are no OpenVPN

# Kinds of hit
ECHO_PLAIN, ECHO_AUTH, CRYPT_BOTH, TWO_RESETS, LONE_CRYPT, LONE_AUTH, LONE_V3 = 1, 2, 3, 4, 5, 6, 7
LONE_PLAIN_TCP, LONE_PLAIN_UDP, DATA_RUN, ONE_SIDE, CBC_BOTH, DATA_AMONG = 8, 9, 10, 11, 12, 13
CBC_AMONG = 14

_NAME = "openvpn"
_MEANINGS = {
    ECHO_PLAIN: Meaning(
        Strength.PROOF, "session id of one side acknowledged by the other, no tls-auth", _NAME
    ),
    ECHO_AUTH: Meaning(
        Strength.PROOF,
        "session id of one side acknowledged by the other, tls-auth with HMAC of {value} bytes",
        _NAME,
    ),
    CRYPT_BOTH: Meaning(
        Strength.PROOF,
        "control messages both ways, constant session ids and counting replay ids (tls-crypt)",
        _NAME,
    ),
    TWO_RESETS: Meaning(
        Strength.STRONG, "client reset then server reset {value} bytes longer", _NAME
    ),
    LONE_CRYPT: Meaning(Strength.STRONG, "client reset of tls-crypt, no answer seen", _NAME),
    LONE_AUTH: Meaning(
        Strength.STRONG,
        "client reset of tls-auth with HMAC of {value} bytes, no answer seen",
        _NAME,
    ),
    LONE_V3: Meaning(
        Strength.STRONG, "client reset with a wrapped key of {value} bytes (tls-crypt-v2)", _NAME
    ),
    LONE_PLAIN_TCP: Meaning(Strength.STRONG, "plain client reset in a TCP message", _NAME),
    LONE_PLAIN_UDP: Meaning(Strength.WEAK, "shaped like a plain client reset", _NAME),
    DATA_RUN: Meaning(
        Strength.STRONG, "{value} data messages with rising packet ids, and nothing else", _NAME
    ),
    DATA_AMONG: Meaning(
        Strength.STRONG,
        "{value} data messages with the same peer id and rising packet ids, among others",
        _NAME,
    ),
    CBC_AMONG: Meaning(
        Strength.STRONG,
        "{value} data messages with the same peer id, in whole blocks, among others",
        _NAME,
    ),
    CBC_BOTH: Meaning(
        Strength.STRONG,
        "{value} data messages with the same peer id both ways, in whole blocks, and nothing else",
        _NAME,
    ),
    ONE_SIDE: Meaning(
        Strength.STRONG, "{value} control messages of one side with the same session id", _NAME
    ),
}


@kernel
def probe(buf, start, stop, wire_bytes):
    """Tell which OpenVPN message a UDP payload, or a TCP message without its length, is.

    Parameters
    ----------
    buf : ndarray of uint8, read
    start, stop : int
        ``0 <= start <= stop <= buf.size``: what was captured of the message.
    wire_bytes : int
        The message's length on the wire.

    Returns
    -------
    int
        0 not ours, -1 cannot tell, else the opcode.
    """
    if wire_bytes < PLAIN_RESET:
        return 0
    if stop <= start:
        return -1
    opcode = np.int64(buf[start]) >> 3
    if opcode < SOFT_RESET or opcode > CONTROL_WKC or wire_bytes < LEAST_BYTES[opcode]:
        return 0
    if opcode >= CLIENT_RESET and opcode != DATA_V2 and buf[start] & 7 != 0:
        return 0  # hard resets come with key 0 alone
    if stop - start < AFTER_SESSION_ID:
        return -1
    if opcode == DATA_V1 or opcode == DATA_V2:
        return opcode
    return opcode if looks_random(buf, start + SESSION_ID, start + AFTER_SESSION_ID) else 0


# Columns of ``state``, int64, one row per direction
SID, SID_ROW, N_CONTROL, REPLAY_ID, REPLAY_TIME, N_REPLAY = 0, 1, 2, 3, 4, 5
HEADER, PACKET_ID, RUN, BEST_RUN, RUN_ROW = 6, 7, 8, 9, 10
RESET_BYTES, RESET_ROW, OPCODES = 11, 12, 13
N_BLOCKS, BLOCK_HEADER, BLOCK_REST, N_OTHER = 14, 15, 16, 17
FIRST_BLOCK, LAST_BLOCK, BLOCK_BYTES, SIZES_DIFFER, CONTROL_ROW = 18, 19, 20, 21, 22
_STATE_COLUMNS = 23


@inline
def _echo(buf, start, stop, wire_bytes, session_id):
    """Return the layout under which a control message acknowledges ``session_id``, else -1."""
    opcode = np.int64(buf[start]) >> 3
    for k in range(LAYOUTS.size):
        at = start + AFTER_SESSION_ID + LAYOUTS[k]
        if at >= stop:
            break
        n = np.int64(buf[at])
        end = at + 9 + 4 * n
        if n < 1 or n > MOST_ACKS or end > stop or be64(buf, end - 8) != session_id:
            continue
        # Packet ids count from 0 in each session; an HMAC may read as a count but not as ids too
        if be16(buf, at + 1) == 0 and (opcode != ACK or end - start == wire_bytes):
            return LAYOUTS[k]
    return np.int64(-1)


@inline
def _is_talk(side):
    """Tell whether control messages of one side are what one session says: of several opcodes."""
    mixed = side[OPCODES] & (side[OPCODES] - 1) != 0  # more than one bit
    return side[N_CONTROL] >= CONTROL_LEAST and side[OPCODES] & TALK != 0 and mixed


@inline
def _note_control(buf, start, stop, wire_bytes, mine, row):
    """Note session id, replay header and server reset of a control message in ``mine``."""
    session_id = be64(buf, start + SESSION_ID)
    if mine[N_CONTROL] == 0 or mine[SID] != session_id:
        mine[SID], mine[SID_ROW], mine[N_CONTROL], mine[N_REPLAY] = session_id, row, 0, 0
        mine[OPCODES] = 0
    if not _is_talk(mine):  # what follows says no more
        mine[CONTROL_ROW] = row
    mine[N_CONTROL] += 1
    mine[OPCODES] |= 1 << (np.int64(buf[start]) >> 3)
    if buf[start] >> 3 == SERVER_RESET:
        mine[RESET_BYTES], mine[RESET_ROW] = wire_bytes, row
    if stop - start < CRYPT_HEADER or wire_bytes < CRYPT_RESET:
        return
    replay_id, time = be32(buf, start + 9), be32(buf, start + 13)
    step = replay_id - mine[REPLAY_ID]
    if time >= TIME_LEAST and time == mine[REPLAY_TIME] and 0 < step <= REPLAY_STEP:
        mine[N_REPLAY] += 1
    mine[REPLAY_ID], mine[REPLAY_TIME] = replay_id, time


@inline
def _is_word(buf, at):
    """Tell whether four bytes are printable: a name of another protocol's, before its own counter."""
    printable = 0
    for i in range(at, at + 4):
        printable += 0x20 <= buf[i] <= 0x7E
    return printable == 4


@inline
def _note_data(buf, start, stop, wire_bytes, mine, row):
    """Note peer id, packet id and block size of a data message in ``mine``."""
    v2 = buf[start] >> 3 == DATA_V2
    at = start + (4 if v2 else 1)
    secret = at + TAG_OFFSET
    if secret + TAG_BYTES > stop or not looks_random(buf, secret, secret + TAG_BYTES):
        mine[N_OTHER] += 1
        return
    if v2 and _is_word(buf, start):
        mine[N_OTHER] += 1
        return
    header = be32(buf, start) if v2 else np.int64(buf[start])
    rest = wire_bytes % CBC_BLOCK
    if mine[N_BLOCKS] == 0:
        mine[BLOCK_HEADER], mine[BLOCK_REST], mine[FIRST_BLOCK] = header, rest, row
        mine[BLOCK_BYTES] = wire_bytes
    mine[SIZES_DIFFER] |= mine[BLOCK_BYTES] != wire_bytes
    if mine[N_BLOCKS] < CBC_LEAST_BOTH - CBC_LEAST_SIDE:
        mine[LAST_BLOCK] = row
    same = mine[BLOCK_HEADER] == header and mine[BLOCK_REST] == rest and wire_bytes >= CBC_LEAST
    if not (v2 and same and looks_random(buf, at, at + TAG_OFFSET)):
        mine[N_OTHER] += 1
    mine[N_BLOCKS] += 1
    packet_id = be32(buf, at)
    if packet_id == EPOCH_START:
        packet_id = be32(buf, at + 4)
    step = packet_id - mine[PACKET_ID]
    same = mine[RUN] > 0 and mine[HEADER] == header
    if same and -DATA_STEP < step < 0:
        return  # overtaken on the way
    mine[RUN] = mine[RUN] + 1 if same and 0 < step <= DATA_STEP else 1
    mine[HEADER], mine[PACKET_ID] = header, packet_id
    if mine[RUN] > mine[BEST_RUN]:
        mine[BEST_RUN] = mine[RUN]
        if mine[RUN] <= RUN_LEAST:  # what follows says no more
            mine[RUN_ROW] = row


@inline
def _count_blocks(state):
    """Return how many data messages both sides sent in whole blocks, all alike; 0 where not all."""
    n = state[0, N_BLOCKS] + state[1, N_BLOCKS]
    alike = state[0, BLOCK_HEADER] == state[1, BLOCK_HEADER]
    alike = alike and state[0, BLOCK_REST] == state[1, BLOCK_REST]
    alike = alike and (state[0, BLOCK_HEADER] & 0xFFFFFF) < PEERS_MOST
    both = state[0, N_BLOCKS] > 0 and state[1, N_BLOCKS] > 0
    return n if alike and both and state[0, N_OTHER] + state[1, N_OTHER] == 0 else 0


@inline
def _observe(buf, start, stop, wire_bytes, state, direction, row, hit):
    """Take one message into ``state``; return whether it proves OpenVPN, and how in ``hit``."""
    mine, other = state[direction], state[1 - direction]
    opcode = np.int64(buf[start]) >> 3
    if opcode == DATA_V1 or opcode == DATA_V2:
        _note_data(buf, start, stop, wire_bytes, mine, row)
        return False
    _note_control(buf, start, stop, wire_bytes, mine, row)
    if other[N_CONTROL] == 0:
        return False
    hit[FIRST], hit[LAST] = min(row, other[SID_ROW]), max(row, other[SID_ROW])
    layout = _echo(buf, start, stop, wire_bytes, other[SID])
    if layout >= 0:
        hit[MEANING] = ECHO_PLAIN if layout == 0 else ECHO_AUTH
        hit[VALUE] = layout - REPLAY_BYTES
        return True
    hit[MEANING] = CRYPT_BOTH
    return mine[N_REPLAY] > 0 and other[N_REPLAY] > 0


@inline
def _reset_kind(buf, start, stop, wire_bytes, tcp):
    """Return the kind of hit that a client reset alone is, plus its number << 8, or 0."""
    if stop - start < min(wire_bytes, CRYPT_HEADER):
        return np.int64(0)
    whole = stop - start == wire_bytes
    kind = number = np.int64(0)
    at = start + AFTER_SESSION_ID  # of the replay header
    if buf[start] >> 3 == CLIENT_RESET_V3:
        number = be16(buf, stop - 2) if whole else 0
        fits = number == wire_bytes - CRYPT_RESET and number >= WRAPPED_KEY_LEAST
        kind = LONE_V3 if fits and number <= WRAPPED_KEY_MOST else 0
    elif whole and be32(buf, stop - 4) == 0 and buf[stop - 5] == 0:
        for k in range(LAYOUTS.size):
            if wire_bytes == PLAIN_RESET + LAYOUTS[k]:
                kind, number = LONE_AUTH, LAYOUTS[k] - REPLAY_BYTES
                at = start + AFTER_SESSION_ID + number
    if kind == LONE_AUTH and number < 0:
        return np.int64(LONE_PLAIN_TCP if tcp else LONE_PLAIN_UDP)
    if kind == 0 and wire_bytes == CRYPT_RESET:
        kind = LONE_CRYPT
    if kind == 0 or be32(buf, at + 4) < TIME_LEAST:
        return np.int64(0)
    replay_id = be32(buf, at)
    if replay_id >> 24 == EARLY_NEGOTIATION:
        replay_id &= 0xFFFFFF
    return kind | (number << 8) if 1 <= replay_id <= REPLAY_MOST else np.int64(0)


@inline
def _conclude(state, reset, reset_bytes, reset_row, hit):
    """Judge a flow without proof in which all is OpenVPN; return whether ``hit`` was filled.

    ``reset`` is what ``_reset_kind`` said of the first client reset, 0 where there was none.
    """
    orig, resp = state[0], state[1]
    if reset != 0:
        hit[MEANING], hit[VALUE] = reset & 0xFF, reset >> 8
        hit[FIRST] = hit[LAST] = reset_row
        answer = orig if orig[RESET_BYTES] > 0 else resp
        if hit[MEANING] == LONE_V3:
            reset_bytes = CRYPT_RESET
        longer = answer[RESET_BYTES] - reset_bytes
        encrypted = hit[MEANING] == LONE_V3 or hit[MEANING] == LONE_CRYPT
        if longer == ACK_BYTES or (encrypted and ACK_BYTES <= longer <= CRYPT_LONGER_MOST):
            hit[MEANING], hit[VALUE], hit[LAST] = TWO_RESETS, longer, answer[RESET_ROW]
        if hit[MEANING] != LONE_PLAIN_UDP:
            return True
    more = orig if orig[N_CONTROL] >= resp[N_CONTROL] else resp
    if _is_talk(more):
        hit[MEANING], hit[VALUE] = ONE_SIDE, more[N_CONTROL]
        hit[FIRST], hit[LAST] = more[SID_ROW], more[CONTROL_ROW]
        return True
    if reset != 0:
        return True
    best, worst = (orig, resp) if orig[BEST_RUN] >= resp[BEST_RUN] else (resp, orig)
    v1 = best[HEADER] <= 0xFF
    hit[MEANING], hit[VALUE] = DATA_RUN, 2 * RUN_LEAST if v1 else RUN_LEAST
    hit[FIRST] = hit[LAST] = max(best[RUN_ROW], worst[RUN_ROW] if v1 else best[RUN_ROW])
    if orig[N_CONTROL] + resp[N_CONTROL] > 0:
        hit[MEANING] = DATA_AMONG
        return not v1 and best[BEST_RUN] >= RUN_LEAST
    if min(best[BEST_RUN], worst[BEST_RUN] if v1 else best[BEST_RUN]) >= RUN_LEAST:
        return not v1 or best[HEADER] == worst[HEADER]
    if not v1 and worst[BEST_RUN] >= CBC_LEAST_SIDE and best[HEADER] == worst[HEADER]:
        hit[VALUE] = 2 * CBC_LEAST_SIDE
        hit[FIRST] = hit[LAST] = max(best[RUN_ROW], worst[RUN_ROW])
        return best[HEADER] & 0xFFFFFF < PEERS_MOST
    hit[MEANING], hit[VALUE] = CBC_BOTH, CBC_LEAST_BOTH
    hit[FIRST] = min(orig[FIRST_BLOCK], resp[FIRST_BLOCK])
    hit[LAST] = max(orig[LAST_BLOCK], resp[LAST_BLOCK])
    alike = orig[BLOCK_HEADER] == resp[BLOCK_HEADER] and orig[BLOCK_REST] == resp[BLOCK_REST]
    few = orig[BLOCK_HEADER] & 0xFFFFFF < PEERS_MOST and orig[N_OTHER] + resp[N_OTHER] == 0
    differ = orig[SIZES_DIFFER] + resp[SIZES_DIFFER] > 0 or orig[BLOCK_BYTES] != resp[BLOCK_BYTES]
    enough = orig[N_BLOCKS] + resp[N_BLOCKS] >= CBC_LEAST_BOTH
    enough = enough and min(orig[N_BLOCKS], resp[N_BLOCKS]) >= CBC_LEAST_SIDE
    return alike and few and differ and enough


@inline
def _is_layout(longer):
    """Tell whether a plain reset may be longer by this, by one of the layouts."""
    found = False
    for k in range(LAYOUTS.size):
        found |= LAYOUTS[k] == longer
    return found


@inline
def _judge(packets, payload, flow, whole, state, hit):
    """Fill ``hit`` for a flow; return whether there was anything.

    Messages are the payloads of UDP, one after another, or what the head of each TCP direction
    holds, the originator's first: its session id is then known when the responder acknowledges it.
    Where the heads say nothing (cut by a snaplen, or a few long messages), ``whole`` takes the TCP
    segments that are one message each. One loop serves all three, for the sake of compile time.
    """
    tcp = flow.proto == TCP and not whole
    n_foreign = n_ours = reset = reset_bytes = short_bytes = np.int64(0)
    reset_row = short_row = row = flow.packets_start
    direction = short_side = np.int64(0)
    at = flow.orig_start
    while True:
        if tcp:
            if at + 3 > (flow.orig_stop if direction == 0 else flow.resp_stop):
                if direction == 1:
                    break
                direction, at = np.int64(1), flow.resp_start
                continue
            wire_bytes, start = be16(payload, at), at + 2
            head_stop = flow.orig_stop if direction == 0 else flow.resp_stop
            stop = min(start + wire_bytes, head_stop)
            at = start + wire_bytes
        else:
            if row == flow.packets_stop:
                break
            p = packets[row]
            row += 1
            wire_bytes, start, stop = np.int64(p.payload_bytes), p.start, p.stop
            direction = np.int64(p.direction)
            if wire_bytes == 0:
                continue
            if whole:
                wire_bytes -= 2
                if stop - start < 2 or be16(payload, start) != wire_bytes:
                    n_foreign += 1
                    continue
                start += 2
        opcode = probe(payload, start, stop, wire_bytes)
        if whole and opcode < 0 and stop > start:
            # A snaplen left no session id; the lengths of two resets in segments of their own do
            if payload[start] == SERVER_RESET << 3:
                longer = wire_bytes - short_bytes
                encrypted = short_bytes == CRYPT_RESET and ACK_BYTES <= longer <= CRYPT_LONGER_MOST
                fits = short_bytes > 0 and (longer == ACK_BYTES or encrypted)
                if fits and direction != short_side:
                    hit[MEANING], hit[VALUE] = TWO_RESETS, longer
                    hit[FIRST], hit[LAST], hit[STARTS] = short_row, row - 1, 1 - short_side
                    return True
            elif payload[start] == CLIENT_RESET << 3 or payload[start] == CLIENT_RESET_V3 << 3:
                short_row, short_side = row - 1, direction
                if payload[start] == CLIENT_RESET_V3 << 3:
                    short_bytes = np.int64(CRYPT_RESET)
                elif _is_layout(wire_bytes - PLAIN_RESET):
                    short_bytes = wire_bytes
        if opcode == 0:
            n_foreign += 1
            if tcp or (n_foreign > FOREIGN_LIMIT and not whole):
                return False
        if opcode <= 0:
            continue
        mine = row - 1
        if tcp:
            head = flow.orig_start if direction == 0 else flow.resp_start
            mine = row_of(packets, row, flow.packets_stop, direction, start - 2 - head)
        if opcode == CLIENT_RESET or opcode == CLIENT_RESET_V3:
            hit[STARTS] |= n_ours == 0 and direction == 0
            if reset == 0:
                reset = _reset_kind(payload, start, stop, wire_bytes, flow.proto == TCP)
                reset_bytes, reset_row = wire_bytes, mine
        n_ours += 1
        if _observe(payload, start, stop, wire_bytes, state, direction, mine, hit):
            return True
    pure = n_foreign == 0 or (whole and n_ours >= MESSAGES_PER_PART * n_foreign)
    if whole and not pure and state[0, N_CONTROL] + state[1, N_CONTROL] == 0:
        # Bulk fills segments with parts of messages; those sent alone, as the other side's
        # acknowledgements are, still tell: length, key, peer id and a rising packet id each
        side = 0 if state[0, BEST_RUN] >= state[1, BEST_RUN] else 1
        among = state[side, BEST_RUN] >= RUN_LEAST and state[side, HEADER] > 0xFF
        hit[MEANING], hit[VALUE] = DATA_AMONG, RUN_LEAST
        hit[FIRST] = hit[LAST] = state[side, RUN_ROW]
        if not among:
            among = _count_blocks(state) >= CBC_AMONG_LEAST
            hit[MEANING], hit[VALUE] = CBC_AMONG, _count_blocks(state)
            hit[FIRST] = min(state[0, FIRST_BLOCK], state[1, FIRST_BLOCK])
            hit[LAST] = max(state[0, LAST_BLOCK], state[1, LAST_BLOCK])
        return among and reset == 0
    return pure and _conclude(state, reset, reset_bytes, reset_row, hit)


@inline
def _opens_with_data(payload, flow):
    """Tell whether a stream's first message is data, which none is that begins in the capture."""
    opcode = payload[flow.orig_start + 2] >> 3 if flow.orig_stop - flow.orig_start > 2 else 0
    return opcode == DATA_V1 or opcode == DATA_V2


@kernel
def scan(flows, packets, payload, hits):
    """Look at the UDP and TCP flows of a batch.

    Parameters
    ----------
    flows, packets, payload : ndarray of FLOW, SERIES, uint8, read
    hits : ndarray of int64, shape (n_flows, 6), written
        See ``_findings``.

    Returns
    -------
    int
        Rows of ``hits`` that were filled.
    """
    n_hits = 0
    state = np.zeros((2, _STATE_COLUMNS), np.int64)
    for f in range(flows.size):
        flow, hit = flows[f], hits[n_hits]
        if flow.proto != UDP and flow.proto != TCP:
            continue
        if flow.proto == TCP and flow.start_seen != 0 and _opens_with_data(payload, flow):
            continue
        for whole in range(2 if flow.proto == TCP else 1):
            hit[FLOW_ROW], hit[STARTS], hit[VALUE] = f, 0, 0
            state[:] = 0
            if _judge(packets, payload, flow, whole == 1, state, hit):
                n_hits += 1
                break
    return n_hits


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find OpenVPN among the UDP and TCP flows of a batch."""
    found = collect(batch, DETECTOR.name, scan, _MEANINGS)
    return [*found, *find_chains(batch, {e.flow for e in found})]


DETECTOR = Detector(_NAME, _NAME, (UDP, TCP), 1500, detect)
