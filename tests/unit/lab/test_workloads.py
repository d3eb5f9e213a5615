"""Workloads are drawn from the seed, and the traffic program carries them out to the byte."""

import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from classifier.lab import traffic, workloads
from classifier.lab.host import Host
from classifier.lab.workloads import KINDS, TLS, Connection, Way, draw, small

HOST = cast(Host, None)  # drawing asks no host
WAY = Way(HOST, HOST, "10.0.0.1")
TCP_ONLY = Way(HOST, HOST, "10.0.0.1", udp=False, tls=False, limit=5000)


def test_the_same_seed_draws_the_same_workload() -> None:
    assert draw(random.Random(3), WAY) == draw(random.Random(3), WAY)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_ends_within_the_time_of_a_run(kind: str) -> None:
    for seed in range(100):
        made = KINDS[kind](random.Random(seed), WAY)
        assert made
        assert all(up >= 8 and down > 0 and pause >= 0 for c in made for up, down, pause in c.steps)
        assert workloads.Workload(kind, tuple(made)).seconds() < 25


def test_a_carrier_without_datagrams_or_tls_gets_none_and_small_steps() -> None:
    for seed in range(200):
        for connection in draw(random.Random(seed), TCP_ONLY).connections:
            assert connection.proto == "tcp"
            assert connection.port != TLS
            assert all(max(up, down) <= 5000 for up, down, _ in connection.steps)


def test_behind_a_proxy_everyone_browses() -> None:
    way = Way(HOST, HOST, "172.16.9.1", proxy="socks5://192.0.2.1:1080", udp=False)
    made = [draw(random.Random(seed), way) for seed in range(100)]
    assert all("pages" in work.name for work in made)
    assert sum(len(work.connections) for work in made) > 25 * len(made)


def test_all_kinds_and_mixtures_are_drawn() -> None:
    names = {draw(random.Random(seed), WAY).name for seed in range(500)}
    assert set(KINDS) <= names
    assert any(name.count("+") == 2 for name in names)


def test_the_small_workload_is_always_the_same() -> None:
    assert small(WAY) == small(TCP_ONLY)


def free(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def service() -> Iterator[dict[str, int]]:
    """Run the service on this machine's loopback."""
    ports = {"plain": free(socket.SOCK_STREAM), "udp": free(socket.SOCK_DGRAM)}
    setup = json.dumps({"address": "127.0.0.1", "tls": 0, **ports})
    argv = [sys.executable, "-I", workloads.PROGRAM, "serve", setup]
    process = subprocess.Popen(argv)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", ports["plain"])).close()
            break
        except ConnectionRefusedError:
            time.sleep(0.02)
    yield ports
    process.terminate()
    process.wait()


def run(ports: dict[str, int], **more: object) -> dict[str, object]:
    connections = [
        {"at": 0, "proto": "tcp", "port": ports["plain"], "steps": [[100, 70_000, 0], [9, 1, 0]]},
        {"at": 0, "proto": "udp", "port": ports["udp"], "steps": [[100, 300, 0.2]] * 2},
    ]
    plan = {"target": "127.0.0.1", "connections": connections, **more}
    return traffic.Driver(plan).run()


def test_bytes_are_counted_each_way(service: dict[str, int]) -> None:
    assert run(service) == {"up": 309, "down": 70_601, "done": 2, "failed": []}


def test_the_program_prints_what_came_of_a_plan(service: dict[str, int], tmp_path: Path) -> None:
    steps = [[50, 60, 0]]
    plan = {"target": "127.0.0.1", "connections": []}
    plan["connections"] = [{"at": 0, "proto": "tcp", "port": service["plain"], "steps": steps}]
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    order = json.dumps({"plan": str(tmp_path / "plan.json")})
    argv = [sys.executable, "-I", workloads.PROGRAM, "drive", order]
    done = subprocess.run(argv, capture_output=True, check=True)
    assert json.loads(done.stdout) == {"up": 50, "down": 60, "done": 1, "failed": []}


def test_a_forwarded_port_goes_to_this_host(service: dict[str, int]) -> None:
    forwards = {"80": service["plain"]}
    plan = {"target": "192.0.2.1", "forwards": forwards}
    plan["connections"] = [{"at": 0, "proto": "tcp", "port": 80, "steps": [[8, 5, 0]]}]
    assert traffic.Driver(plan).run()["down"] == 5


def test_a_connection_that_fails_is_told() -> None:
    port = free(socket.SOCK_STREAM)
    plan = {"target": "127.0.0.1"}
    plan["connections"] = [{"at": 0, "proto": "tcp", "port": port, "steps": [[8, 5, 0]]}]
    result = traffic.Driver(plan).run()
    assert result["done"] == 0
    assert result["failed"] == [f"tcp/{port}: [Errno 111] Connection refused"]


def proxy(listener: socket.socket, script: list[tuple[bytes, bytes]]) -> None:
    """Answer as a proxy would, then as the service behind it does."""
    peer, _ = listener.accept()
    with peer:
        for expected, answer in script:
            got = b""
            while len(got) < len(expected):
                got += peer.recv(len(expected) - len(got))
            if got != expected:
                return
            peer.sendall(answer)
        peer.recv(65_536)
        peer.sendall(b"seven b")


HTTP = [
    (
        b"CONNECT 172.16.9.1:80 HTTP/1.1\r\nHost: 172.16.9.1:80\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nVia: x\r\n\r\n",
    )
]
ASK = bytes.fromhex("05010001ac1009010050")  # RFC 1928, section 4: 172.16.9.1, port 80
SOCKS = [(b"\x05\x01\x00", b"\x05\x00"), (ASK, bytes.fromhex("05000001000000000000"))]
LOGIN = [
    (b"\x05\x01\x02", b"\x05\x02"),
    (b"\x01\x01u\x02pw", b"\x01\x00"),  # RFC 1929, section 2
    (ASK, bytes.fromhex("05000001000000000000")),
]


@pytest.mark.parametrize(
    ("kind", "login", "script"),
    [("http", "", HTTP), ("socks5", "", SOCKS), ("socks5", "u:pw", LOGIN)],
    ids=["http", "socks5", "socks5-login"],
)
def test_proxies_are_asked_as_their_standards_say(
    kind: str, login: str, script: list[tuple[bytes, bytes]]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=proxy, args=(listener, script))
        thread.start()
        where = {"kind": kind, "host": "127.0.0.1", "port": listener.getsockname()[1]}
        plan = {"target": "172.16.9.1", "proxy": {**where, "login": login}}
        plan["connections"] = [{"at": 0, "proto": "tcp", "port": 80, "steps": [[8, 7, 0]]}]
        result = traffic.Driver(plan).run()
        thread.join()
    assert (result["down"], result["failed"]) == (7, [])


def test_a_plan_says_where_the_proxy_is() -> None:
    way = Way(HOST, HOST, "172.16.9.1", proxy="socks5://u:pw@[2001:db8::1]:1080")
    work = workloads.Workload("w", (Connection(0, "tcp", 80, ((8, 8, 0.0),)),))
    plan = workloads._plan(way, work, "ca")
    assert plan["proxy"] == {
        "kind": "socks5",
        "host": "2001:db8::1",
        "port": 1080,
        "login": "u:pw",
    }
    json.dumps(plan)
