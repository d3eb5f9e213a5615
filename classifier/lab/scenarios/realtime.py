"""Datagrams and sockets of live programs: WebSocket, gRPC, WebRTC, calls, games, random bytes."""

import json
from collections.abc import Iterator
from pathlib import Path

from classifier.lab.host import Daemon
from classifier.lab.stage import TCP, UDP, Stage, Ways, scenario

PYTHON = "/usr/bin/python3"  # Debian's, which has Debian's modules
PROGRAM = str(Path(__file__).parents[1] / "peers.py")


def _serve(stage: Stage, kind: str, port: int, **more: object) -> Daemon:
    setup = {"address": stage.address, "port": port, **more}
    daemon = stage.server.start(PYTHON, PROGRAM, kind, "serve", json.dumps(setup))
    daemon.wait_output("ready")
    return daemon


def _ask(stage: Stage, kind: str, port: int, seconds: float = 40, **more: object) -> None:
    setup = {"address": stage.address, "port": port, "seed": stage.rng.getrandbits(32), **more}
    stage.client.run(PYTHON, PROGRAM, kind, "ask", json.dumps(setup), seconds=seconds)


def _certificate(stage: Stage) -> dict[str, str]:
    certificate, key = stage.authority.issue("www.example.net", "serverAuth")
    return {"certificate": certificate, "key": key}


def _messages(stage: Stage, kind: str, module: str, tls: bool) -> Iterator[Ways]:
    port = stage.pick(443, 8443) if tls else stage.pick(80, 8080, 50051)
    ca = stage.authority.certificate if tls else ""
    _serve(stage, kind, port, **(_certificate(stage) if tls else {}))
    stage.claim(TCP, port, "tls" if tls else module)
    yield None
    for _ in range(stage.number(1, 1, 6)):
        count, most = stage.number(10, 4, 60), stage.pick(200, 2_000, 20_000)
        _ask(stage, kind, port, count=count, most=most, ca=ca)


for _kind, _shows, _program, _module in (
    ("websocket", "WebSocket: messages both ways", "module.websockets:python3-websockets", "http"),
    ("grpc", "gRPC: calls and streams", "module.grpc:python3-grpcio", "http2"),
):
    for _tls in (False, True):

        @scenario(
            f"{_kind}-{'tls' if _tls else 'plain'}",
            f"{_shows}{' inside TLS' if _tls else ''}",
            _program,
            ways=False,
            ipv6=True,
        )
        def _run(
            stage: Stage, kind: str = _kind, module: str = _module, tls: bool = _tls
        ) -> Iterator[Ways]:
            yield from _messages(stage, kind, module, tls)


@scenario(
    "aiortc-webrtc",
    "WebRTC: ICE, DTLS and a data channel between two peers",
    "module.aiortc:python3-aiortc",
    ways=False,
    loss=False,
)
def _webrtc(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(8080, 80)
    _serve(stage, "webrtc", port)
    stage.claim(TCP, port, "http")
    stage.claim(UDP, 0, "webrtc")
    yield None
    _ask(stage, "webrtc", port, count=stage.number(20, 10, 150), most=stage.pick(100, 1_000))


@scenario(
    "games-udp",
    "A game: positions 20 to 60 times a second by UDP",
    "python3",
    ways=False,
    ipv6=True,
)
def _game(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(27015, 7777, 3074)
    _serve(stage, "game", port)
    stage.claim(UDP, port, "game")
    yield None
    for _ in range(stage.number(1, 1, 3)):
        _ask(stage, "game", port, count=stage.number(60, 60, 240), rate=stage.pick(20, 30, 60))


@scenario(
    "random-udp",
    "Random bytes both ways over UDP: no protocol at all",
    "python3",
    ways=False,
    ipv6=True,
)
def _random(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(9000, 1194, 51820, 443)
    _serve(stage, "random", port)
    stage.claim(UDP, port, "random")
    yield None
    for _ in range(stage.number(2, 2, 15)):
        _ask(stage, "random", port, count=stage.number(10, 2, 60), most=stage.pick(300, 1_200))


@scenario(
    "sipp-calls",
    "Calls: SIP, and RTP as telephones send it",
    "sipp:sip-tester",
    ways=False,
    nat=False,
    loss=False,
)
def _calls(stage: Stage) -> Iterator[Ways]:
    address, sound = stage.server.address, stage.pick(16384, 10000, 40000)
    calls, length = stage.number(2, 1, 5), stage.number(1500, 800, 3000)
    stage.server.start("sipp", "-sn", "uas", "-i", address, "-p", "5060", "-nostdin", "-bg")
    stage.server.wait_listen("udp", 5060)
    _serve(stage, "rtp", sound)
    stage.claim(UDP, 5060, "sip")
    stage.claim(UDP, sound, "rtp")
    yield None
    own = stage.client.address
    for _ in range(calls):
        argv = ["sipp", "-sn", "uac", f"{address}:5060", "-i", own, "-p", "5060", "-m", "1"]
        call = stage.client.start(*argv, "-d", str(length), "-nostdin", "-trace_err")
        _ask(stage, "rtp", sound, count=length // 20)
        call.wait_end(20)


@scenario(
    "tigervnc-desktop",
    "VNC: a desktop looked at piece by piece",
    "Xtigervnc:tigervnc-standalone-server",
    ways=False,
)
def _vnc(stage: Stage) -> Iterator[Ways]:
    address, display = stage.server.address, stage.pick(5, 1, 20)
    port = 5900 + display
    stage.server.start(
        *["Xtigervnc", f":{display}", "-rfbport", str(port), "-interface", address, "-nolock"],
        *["-SecurityTypes", "None", "-geometry", stage.pick("800x600", "1024x768", "640x480")],
        *["-nolisten", "unix"],  # the abstract socket is the host's own
    )
    stage.claim(TCP, port, "vnc")
    stage.server.wait_listen("tcp", port)
    yield None
    for _ in range(stage.number(1, 1, 4)):
        setup = {"address": address, "port": port, "seed": stage.rng.getrandbits(32)}
        setup["count"] = stage.number(20, 10, 90)
        stage.client.run(PYTHON, PROGRAM, "vnc", "ask", json.dumps(setup), seconds=60)
