"""SSH as a tunnel: what the client asks for first is no session, as its size shows.

Ciphers and MACs are chosen in the clear, so the size of a packet tells its payload up to the padding
of a block. After the login a client of a shell, a command or a subsystem (scp, sftp, git, rsync) opens
a session, which has one size; what else a client may ask for has others::

    client   SERVICE_REQUEST ssh-userauth         17 bytes of payload; first after the key exchange
    server   SERVICE_ACCEPT                       17
    server   USERAUTH_SUCCESS                      1; nothing else of the server's is so small
    client   CHANNEL_OPEN session                 24
             CHANNEL_OPEN tun@openssh.com         40  (ssh -w)
             CHANNEL_OPEN direct-tcpip            45 and both addresses as text  (-L, -D, -W, -J)
             GLOBAL_REQUEST tcpip-forward         27 and the address as text  (-R)
             GLOBAL_REQUEST no-more-sessions@     34: a session is not wanted, or stands before it
                            openssh.com
    server   CHANNEL_OPEN_CONFIRMATION            17

Sources
-------
RFC 4253 sections 6, 7.1 and 10 (packets, key exchange, services), RFC 4252 section 5.1, RFC 4254
sections 5.1, 6.1, 7.1 and 7.2 (channels, sessions, forwarding), and the registries of RFC 4250: by them
a client can ask for a session or a forwarding, and for nothing else. OpenSSH's PROTOCOL, 2.2 and 2.3
(``no-more-sessions``, ``tun``), and PROTOCOL.chacha20poly1305 for that cipher's blocks.

Strength
--------
Weak: it is deduced from sizes of ciphertext. That the flow pads as reckoned is seen at three messages
whose payload is known, the service's request and answer and the login's success.

Mistaken for
------------
A client that says something of its own before it opens a session. What is asked for need not be used,
and a login through a jump host is a tunnel on its way to it.

Blind to
--------
Forwardings beside or after a session (sshuttle runs a program in one; ``ssh -D`` without ``-N``),
compression, captures cut inside the key exchange, ciphers of the same size for both (a session's opening
and ``no-more-sessions`` with AES-CTR and a MAC over plain text), paddings at random, a login that takes more than
the packets that are kept.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._columns import head
from classifier.detectors._ssh import COMPRESSIONS, Sizes, key_exchange, sizes
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch, Strength

__all__ = ["DETECTOR"]

TCP = 6
NEWKEYS_BYTES = 16  # in the clear: 4 + 1 + 1 and 10 of padding
SERVICE, SUCCESS, SESSION, NO_MORE, CONFIRMED = 17, 1, 24, 34, 17
FORWARD_LEAST = 27
NEEDED = (
    COMPRESSIONS + 1
)  # name lists; the rest is cut off where a segment is longer than what is kept
READ = 1536

_FAMILY = "ssh-tunnel"


def _messages(batch: FlowBatch, flow: int) -> list[tuple[int, int, int]]:
    """Return row, direction and bytes of the packets that bring something new, in their order."""
    start, stop = (int(batch.flows[name][flow]) for name in ("packets_start", "packets_stop"))
    packets = batch.packets[start:stop]
    columns = (packets[name].tolist() for name in ("payload_bytes", "direction", "seq"))
    ends: list[int | None] = [None, None]
    found = []
    for row, (size, side, seq) in enumerate(zip(*columns, strict=True), start):
        end, after = ends[side], (seq + size) & 0xFFFFFFFF
        # Sent again, or a hole: compared around the number's end (RFC 9293 3.4)
        if size and (end is None or 0 < (after - end) & 0xFFFFFFFF < 1 << 31):
            ends[side] = after
            found.append((row, side, size))
    return found


def _after_login(
    messages: list[tuple[int, int, int]], client: Sizes, server: Sizes
) -> list[tuple[int, int, int]]:
    """Return the messages from the server's word that the login succeeded; empty where not seen."""
    service = client.packet(SERVICE)
    asked = next(
        (
            i
            for i, (_, side, size) in enumerate(messages)
            if side == 0 and size in (service, service + NEWKEYS_BYTES)
        ),
        len(messages),
    )
    left = itertools.dropwhile(
        lambda m: m[1] == 0 or m[2] != server.packet(SERVICE), messages[asked + 1 :]
    )
    return list(
        itertools.dropwhile(lambda m: m[1] == 0 or m[2] != server.packet(SUCCESS), list(left)[1:])
    )


def _is_forwarding(size: int, sizes_: Sizes) -> bool:
    """Tell whether so many bytes ask for no session: one message, or one and ``no-more-sessions``."""
    other = sizes_.packet(FORWARD_LEAST)  # and of keepalive@openssh.com
    if sizes_.is_one(2 * sizes_.packet(SESSION)):  # two messages look like one
        return sizes_.is_one(size) and other < size < sizes_.packet(SESSION) + sizes_.packet(1)
    rest = size - sizes_.packet(NO_MORE)
    return any(sizes_.is_one(n) and n > other for n in (size, rest))


def _judge(batch: FlowBatch, flow: int) -> Evidence | None:
    lists = [key_exchange(head(batch, flow, side), NEEDED) for side in ("orig", "resp")]
    if not all(lists):
        return None
    client, server = (sizes(lists[0], lists[1], side) for side in (0, 1))
    if client is None or server is None:
        return None
    after = _after_login(_messages(batch, flow), client, server)
    opening = client.packet(SESSION)
    asked = [(row, size) for row, side, size in after if side == 0 and size >= opening]
    if not asked or not _is_forwarding(asked[0][1], client):
        return None
    if len(asked) > 1 and asked[1][1] in (opening, opening + client.packet(NO_MORE)):
        return None
    login, row = after[0][0], asked[0][0]
    frames = batch.packets["frame"][[login, row]].tolist()
    return Evidence(
        flow=flow,
        detector=DETECTOR.name,
        strength=Strength.WEAK,
        detail=f"after the login {asked[0][1]} bytes, where a session is opened by {opening}, "
        f"packets {frames[0]} and {frames[1]}",
        packet=row,
        family=_FAMILY,
        starts=True,
    )


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose SSH from its SYN on, of which both sides' banners were kept."""
    both = (heads.orig[:, :4] == heads.resp[:, :4]).all(axis=1)
    begun: NDArray[np.bool_] = heads.starts_with(b"SSH-") & (heads.column("start_seen") > 0)
    return begun & both & heads.has_proto(TCP)


def detect(batch: FlowBatch) -> list[Evidence]:
    """Judge SSH flows one by one."""
    found = (_judge(batch, flow) for flow in range(batch.flows.size))
    return [evidence for evidence in found if evidence is not None]


DETECTOR = Detector("ssh-tunnel", _FAMILY, (TCP,), READ, detect, select)
