"""What people do inside a tunnel: sizes, pauses and mixtures drawn from the seed.

A workload is a list of connections, each with steps ``(up, down, pause)``: bytes sent, bytes
answered, seconds until the next. `classifier.lab.traffic` carries them out with real sockets. The
shapes are ours: log-normal sizes and think times within the bounds of each kind, compressed so that
a run takes seconds; they are no model of anyone's measured traffic.
"""

import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from classifier.errors import LabError
from classifier.lab.host import Daemon, Host

__all__ = ["KINDS", "Connection", "Report", "Service", "Way", "Workload", "draw", "drive", "small"]

PLAIN, TLS, DATAGRAMS = 80, 443, 5004  # ports of the service behind a tunnel
PROGRAM = str(Path(__file__).with_name("traffic.py"))
NAME = "inner.example.net"
Step = tuple[int, int, float]


@dataclass(frozen=True, slots=True)
class Way:
    """How a client reaches a service through its tunnel.

    ``client`` sends to ``target``, an address of ``far`` that exists only behind the tunnel. Give
    ``bind`` where the client must use its inner address, ``proxy`` (``socks5://host:port`` or
    ``http://host:port``) where programs ask a proxy, ``forwards`` (port of the target to local
    port) where they connect to a forwarded port. Without ``udp`` no datagrams are sent, without
    ``tls`` no inner TLS.
    """

    client: Host
    far: Host
    target: str
    bind: str = ""
    proxy: str = ""
    forwards: dict[int, int] = field(default_factory=dict)
    udp: bool = True
    tls: bool = True
    limit: int = 0
    """For slow carriers: at most so many bytes each way in one step, and one kind of work of few
    connections; 0: any."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One inner connection: when it begins, where to, and its steps."""

    at: float
    proto: str
    port: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Workload:
    """What one client does, by name, and the connections that are it."""

    name: str
    connections: tuple[Connection, ...]

    def seconds(self) -> float:
        """Return how long it takes on a perfect link."""
        return max((c.at + sum(step[2] for step in c.steps) for c in self.connections), default=0.0)


@dataclass(frozen=True, slots=True)
class Report:
    """What the clients measured, all ways together."""

    up_bytes: int
    down_bytes: int
    connections: int
    failed: tuple[str, ...]


def _between(rng: random.Random, least: float, most: float) -> float:
    """Draw log-uniformly: small values are as common as large ones."""
    return float(least * (most / least) ** rng.random())


def _web(rng: random.Random, at: float, steps: Sequence[Step], way: Way) -> Connection:
    secure = way.tls and rng.random() < 0.8
    return Connection(round(at, 3), "tls" if secure else "tcp", TLS if secure else PLAIN, (*steps,))


def _pages(rng: random.Random, way: Way) -> list[Connection]:
    """Load a few pages: each opens several connections for what belongs to it."""
    made, at = [], 0.0
    browsing = bool(way.proxy or way.forwards)  # there each inner connection is a flow outside
    for _ in range(rng.randint(7, 14) if browsing else rng.randint(2, 5)):
        for _ in range(rng.randint(1, 5)):
            steps = [
                (rng.randint(250, 1200), int(_between(rng, 300, 90_000)), rng.uniform(0, 0.1))
                for _ in range(rng.randint(1, 5))
            ]
            made.append(_web(rng, at + rng.uniform(0, 0.15), steps, way))
        at += _between(rng, 0.2, 1.0) if browsing else _between(rng, 0.3, 2.0)
    return made


def _download(rng: random.Random, way: Way) -> list[Connection]:
    return [_web(rng, 0, [(400, int(_between(rng, 100_000, 1_500_000)), 0.1)], way)]


def _upload(rng: random.Random, way: Way) -> list[Connection]:
    return [_web(rng, 0, [(int(_between(rng, 100_000, 1_200_000)), 300, 0.1)], way)]


def _typing(rng: random.Random, way: Way) -> list[Connection]:
    """Type lines in a terminal: one small step for each key, a longer answer for each line."""
    steps: list[Step] = []
    for _ in range(rng.randint(2, 5)):
        keys = rng.randint(4, 14)
        steps += [(36, 36, round(_between(rng, 0.04, 0.3), 3)) for _ in range(keys)]
        steps.append((36, int(_between(rng, 60, 3_000)), round(_between(rng, 0.2, 1.0), 3)))
    return [Connection(0, "tcp", PLAIN, tuple(steps))]


def _stream(rng: random.Random, way: Way) -> list[Connection]:
    """Watch: a piece of video at fixed times."""
    piece, pause = int(_between(rng, 20_000, 200_000)), rng.choice((0.4, 0.6, 1.0))
    steps = [(300, int(piece * rng.uniform(0.7, 1.3)), pause) for _ in range(rng.randint(4, 8))]
    return [_web(rng, 0, steps, way)]


def _call(rng: random.Random, way: Way) -> list[Connection]:
    """Talk: a datagram each way every 20 or 30 ms."""
    if not way.udp:
        return _typing(rng, way)
    size, pause = rng.choice((60, 100, 172, 212)), rng.choice((0.02, 0.03))
    steps = tuple((size, size, pause) for _ in range(rng.randint(80, 200)))
    return [Connection(0, "udp", DATAGRAMS, steps)]


def _idle(rng: random.Random, way: Way) -> list[Connection]:
    """Do nothing for a while, between two small things: what is left is keepalive."""
    return [
        Connection(0, "tcp", PLAIN, ((200, 400, 0.0),)),
        Connection(round(rng.uniform(3, 7), 2), "tcp", PLAIN, ((200, 400, 0.0),)),
    ]


def _names(rng: random.Random, way: Way) -> list[Connection]:
    """Ask short questions by datagram, or over TCP where there are none."""
    made = []
    for _ in range(rng.randint(4, 14)):
        at = round(rng.uniform(0, 3), 3)
        step = (rng.randint(30, 60), rng.randint(60, 400), 0.3)
        port = DATAGRAMS if way.udp else PLAIN
        made.append(Connection(at, "udp" if way.udp else "tcp", port, (step,)))
    return made


KINDS: dict[str, Callable[[random.Random, Way], list[Connection]]] = {
    "pages": _pages,
    "download": _download,
    "upload": _upload,
    "typing": _typing,
    "stream": _stream,
    "call": _call,
    "idle": _idle,
    "names": _names,
}


FEW = ("download", "idle", "names", "typing", "upload")  # kinds of few connections


def draw(rng: random.Random, way: Way) -> Workload:
    """Draw what one client does: one kind, or a mixture of two or three.

    Parameters
    ----------
    rng : random.Random
        Where sizes, pauses and kinds come from.
    way : Way
        Says whether datagrams and TLS are possible.
    """
    count = 1 if way.limit else rng.choice((1, 1, 2, 3))
    kinds = rng.sample(FEW if way.limit else sorted(KINDS), count)
    if (way.proxy or way.forwards) and not way.limit and "pages" not in kinds:
        kinds[0] = "pages"
    connections: list[Connection] = []
    for number, kind in enumerate(kinds):
        start = number * rng.uniform(0, 1.5)
        connections += [
            Connection(round(c.at + start, 3), c.proto, c.port, _limited(c.steps, way.limit))
            for c in KINDS[kind](rng, way)
        ]
    return Workload("+".join(kinds), tuple(connections))


def _limited(steps: Sequence[Step], limit: int) -> tuple[Step, ...]:
    if not limit:
        return tuple(steps)
    return tuple((min(up, limit), min(down, limit), pause) for up, down, pause in steps)


def small(way: Way) -> Workload:
    """Return a workload of a few kilobytes that is always the same."""
    steps = ((120, 400, 0.05), (200, 3_000, 0.05), (90, 90, 0.05), (60, 700, 0.0))
    return Workload("small", (Connection(0, "tcp", PLAIN, steps),))


class Service:
    """The traffic service behind a tunnel: one on each address, started once."""

    def __init__(self, certificate: str, key: str, ca: str) -> None:
        self._certificate = {"certificate": certificate, "key": key}
        self.ca = ca
        self._running: dict[tuple[str, str], Daemon] = {}

    def start(self, far: Host, address: str) -> None:
        """Start the service on the host's address, unless it runs there."""
        if (far.name, address) in self._running:
            return
        ports = {"plain": PLAIN, "tls": TLS, "udp": DATAGRAMS}
        setup = json.dumps({"address": address, **ports, **self._certificate})
        daemon = far.start(sys.executable, "-I", PROGRAM, "serve", setup)
        self._running[far.name, address] = daemon
        for proto, port in (("tcp", PLAIN), ("tcp", TLS), ("udp", DATAGRAMS)):
            far.wait_listen(proto, port, address)


def _plan(way: Way, workload: Workload, ca: str) -> dict[str, Any]:
    plan: dict[str, Any] = {"target": way.target, "bind": way.bind, "ca": ca, "name": NAME}
    if way.proxy:
        kind, _, place = way.proxy.partition("://")
        login, _, place = place.rpartition("@")
        host, _, port = place.rpartition(":")
        plan["proxy"] = {"kind": kind, "host": host.strip("[]"), "port": int(port), "login": login}
    plan["forwards"] = {str(port): local for port, local in way.forwards.items()}
    plan["connections"] = [asdict(connection) for connection in workload.connections]
    return plan


def drive(jobs: Sequence[tuple[Way, Workload]], service: Service, seconds: float = 90.0) -> Report:
    """Carry out workloads through their ways, all at once.

    Raises
    ------
    LabError
        If a connection failed, or nothing came back: the tunnel does not carry traffic.
    """
    for way, _ in jobs:
        service.start(way.far, way.target)
    running = []
    for number, (way, workload) in enumerate(jobs):
        plan = json.dumps(_plan(way, workload, service.ca))
        path = way.client.write(f"plan{number}.json", plan)
        argv = [sys.executable, "-I", PROGRAM, "drive", json.dumps({"plan": path})]
        running.append(way.client.start(*argv))
    totals = {"up": 0, "down": 0, "done": 0}
    failed: list[str] = []
    for daemon in running:
        daemon.wait_end(seconds)
        lines = daemon.output().splitlines() or [""]
        if daemon.process.returncode or not lines[-1].startswith("{"):
            raise LabError(f"the traffic program ended early: {lines[-1] or 'no output'}")
        result = json.loads(lines[-1])
        failed += result["failed"]
        for name in totals:
            totals[name] += result[name]
    if failed:
        raise LabError(f"{len(failed)} connections failed through the tunnel, one with {failed[0]}")
    if jobs and not totals["down"]:
        raise LabError("nothing came back through the tunnel")
    return Report(totals["up"], totals["down"], totals["done"], tuple(failed))
