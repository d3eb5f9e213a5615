"""A relay in the path, where the kernel cannot impair it: delay, jitter, loss, order, rate, VLAN.

::

    gate --- west [relay] mid0 === mid1 [relay] east --- net       === is the link that is captured

How this works: one process holds a packet socket on each of the four interfaces and copies frames
from ``west`` to ``mid0`` and from ``mid1`` to ``east``, and back. Each direction on each side has
a `Shaper`, which says when a frame leaves; until then it waits in one heap. On the middle link
frames carry the VLAN tag, if there is one. All draws come from the seed; which frame gets which
draw depends on the order of arrival. The file runs as a program inside a host, with the standard
library alone.
"""

import contextlib
import heapq
import json
import random
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Shaper", "main", "tagged", "untagged"]

ETH_P_ALL = 0x0003
SOL_PACKET, PACKET_IGNORE_OUTGOING, SO_RCVBUFFORCE = 263, 23, 33  # Linux: packet(7), socket(7)
PACKET_OUTGOING = 4
TPID = b"\x81\x00"
FRAME_BYTES = 65_600
BACKLOG_S = 0.25  # a queue that would hold a frame for longer drops it, as routers do


@dataclass(slots=True)
class Shaper:
    """Decides when a frame leaves; the wire is free again when the last byte is out.

    Parameters
    ----------
    rng : random.Random
        Where the draws come from.
    delay_s, jitter_s : float
        Each frame waits ``delay_s`` and up to ``jitter_s`` more; it never overtakes by jitter.
    loss, reorder : float
        Probabilities. A reordered frame is held back so that later ones overtake it.
    rate_bytes : float
        Bytes per second; 0 means no limit.
    """

    rng: random.Random
    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    reorder: float = 0.0
    rate_bytes: float = 0.0
    counts: dict[str, int] = field(
        default_factory=lambda: {"frames": 0, "lost": 0, "reordered": 0, "overrun": 0}
    )
    _free: float = 0.0
    _last: float = 0.0

    def admit(self, now: float, frame_bytes: int) -> float | None:
        """Return when a frame that arrives now leaves, or None where it is lost."""
        self.counts["frames"] += 1
        if self.rng.random() < self.loss:
            self.counts["lost"] += 1
            return None
        start = now
        if self.rate_bytes:
            start = max(now, self._free)
            if start - now > BACKLOG_S:
                self.counts["overrun"] += 1
                return None
            start = self._free = start + frame_bytes / self.rate_bytes
        due = start + self.delay_s + self.rng.random() * self.jitter_s
        if self.rng.random() < self.reorder:
            self.counts["reordered"] += 1
            return due + 0.002 + self.rng.random() * max(0.002, self.delay_s)
        self._last = due = max(due, self._last)
        return due


def tagged(frame: bytes, vlan: int) -> bytes:
    """Return the frame with an 802.1Q tag of this VLAN, priority 0."""
    return frame[:12] + TPID + struct.pack("!H", vlan) + frame[12:]


def untagged(frame: bytes) -> bytes:
    """Return the frame without its tag; the kernel has usually taken it off already."""
    return frame[:12] + frame[16:] if frame[12:14] == TPID else frame


def _open(name: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    made.bind((name, 0))
    made.setblocking(False)
    with contextlib.suppress(OSError):  # Linux before 4.20; outgoing frames are told apart below
        made.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    with contextlib.suppress(OSError):
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 23)
    return made


Way = tuple[socket.socket, Shaper, Callable[[bytes], bytes]]
Waiting = tuple[float, int, bytes, socket.socket]


def _ways(setup: dict[str, object]) -> dict[socket.socket, Way]:
    """Return, for each socket, where its frames go, through which shaper, and how changed."""
    near, far, seed = setup["near"], setup["far"], setup["seed"]
    assert isinstance(near, dict)
    assert isinstance(far, dict)
    vlan = int(str(setup["vlan"]))

    def put(frame: bytes) -> bytes:
        return tagged(frame, vlan) if vlan else frame

    west, mid0, mid1, east = (_open(name) for name in ("west", "mid0", "mid1", "east"))
    made: dict[socket.socket, Way] = {}
    routes = [(west, mid0, near, put), (mid0, west, near, untagged)]
    routes += [(mid1, east, far, untagged), (east, mid1, far, put)]
    for number, (source, target, leg, change) in enumerate(routes):
        made[source] = target, Shaper(random.Random(f"{seed} {number}"), **leg), change
    return made


def _take(source: socket.socket, way: Way, heap: list[Waiting], serial: int) -> int:
    """Admit what has arrived at one socket; return the next serial number."""
    target, shaper, change = way
    for _ in range(256):
        try:
            frame, origin = source.recvfrom(FRAME_BYTES)
        except (BlockingIOError, InterruptedError):
            break
        if origin[2] == PACKET_OUTGOING:
            continue
        due = shaper.admit(time.monotonic(), len(frame))
        if due is not None:
            heapq.heappush(heap, (due, serial, change(frame), target))
            serial += 1
    return serial


def _relay(ways: dict[socket.socket, Way]) -> None:
    heap: list[Waiting] = []
    serial = 0
    sources = list(ways)
    while True:
        wait = max(0.0, heap[0][0] - time.monotonic()) if heap else None
        for source in select.select(sources, [], [], wait)[0]:
            serial = _take(source, ways[source], heap, serial)
        now = time.monotonic()
        while heap and heap[0][0] <= now:
            _, _, frame, target = heapq.heappop(heap)
            with contextlib.suppress(
                OSError
            ):  # a full queue or an oversized frame: lost, as on a wire
                target.send(frame)


def main(arguments: list[str]) -> int:
    """Relay until terminated; then print what was done, as JSON."""
    ways = _ways(json.loads(arguments[0]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sys.stdout.write("relaying\n")
    sys.stdout.flush()
    try:
        _relay(ways)
    except SystemExit:
        total: dict[str, int] = {}
        for _, shaper, _ in ways.values():
            for name, count in shaper.counts.items():
                total[name] = total.get(name, 0) + count
        sys.stdout.write(json.dumps(total) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
